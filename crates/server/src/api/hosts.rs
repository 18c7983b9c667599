//! `/hosts`: the fleet's machines.

use super::State;
use super::body::{Ask, Named, Strict, line};
use super::guard::Caller;
use super::page::{self, Page};
use super::problem::{Kind, Problem};
use super::{etag, select};
use crate::store::host_list::{self, Host as Row, HostFilter};
use crate::store::hosts::{self, Changed};
use axum::extract::State as At;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// The longest reason, group, label's name or value, in characters.
pub(super) const TEXT_MAX: usize = 256;
/// Labels of one host.
pub(super) const LABELS_MAX: usize = 64;

/// A host.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Host {
    /// Its id, UUIDv7.
    id: String,
    /// Its name for itself.
    name: String,
    /// Whether it is heard.
    state: Heard,
    /// Why it is not active; empty if it is.
    reason: String,
    /// Its group.
    group: String,
    /// Its labels.
    labels: BTreeMap<String, String>,
    /// `debian:12`; empty before its first inventory.
    release: String,
    /// Its agent's version.
    agent: String,
    /// Where it last spoke from.
    address: String,
    /// When it enrolled.
    #[schema(value_type = String, format = DateTime)]
    enrolled_at: Timestamp,
    /// When it was last heard of.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// It is active and has not been heard of for too long.
    silent: bool,
    /// By how many seconds its clock was ahead of the server's when it was last heard, as it said; negative: behind. Nothing: by
    /// less than a minute.
    clock_ahead_seconds: Option<i64>,
}

/// Whether a host is heard.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = HostState)]
pub(super) enum Heard {
    /// It is.
    Active,
    /// Not until a person has looked.
    Quarantined,
    /// Not any more.
    Revoked,
}

impl Heard {
    fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        }
    }

    fn of(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "quarantined" => Self::Quarantined,
            _ => Self::Revoked,
        }
    }
}

/// A host last heard of before then is silent.
pub(super) fn silent_since(state: &State) -> Timestamp {
    let long = SignedDuration::from_mins(i64::from(state.app.config.agents.silent_minutes));
    state.now().checked_sub(long).unwrap_or(Timestamp::MIN)
}

impl Host {
    fn of(row: Row, silent_since: Timestamp) -> Self {
        let state = Heard::of(&row.state);
        Self {
            silent: matches!(state, Heard::Active) && row.seen_at < silent_since,
            state,
            id: row.id,
            name: row.name,
            reason: row.reason,
            group: row.group,
            labels: row.labels,
            release: row.release,
            agent: row.agent,
            address: row.address,
            enrolled_at: row.enrolled_at,
            seen_at: row.seen_at,
            clock_ahead_seconds: Some(row.clock_ahead_seconds).filter(|seconds| *seconds != 0),
        }
    }
}

/// Which hosts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Only those that it selects.
    selector: Option<String>,
    /// Only those in that state.
    #[param(inline)]
    state: Option<Heard>,
    /// Only those that are silent, or only those that are not.
    silent: Option<bool>,
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type HostPage = Page<Host>;

/// List hosts, by name.
#[utoipa::path(get, path = "/api/v1/hosts", tag = "hosts", params(List), responses(
    (status = 200, description = "A page of hosts", body = HostPage)
))]
pub(super) async fn list(At(state): At<State>, uri: Uri, Ask(asked): Ask<List>) -> Result<Response, Problem> {
    let limit = page::limit(asked.limit)?;
    let selector = select::parse(&state, asked.selector.as_deref())?;
    let after = page::parts::<2>(asked.after.as_deref())?.map(|[name, id]| (name, id));
    let silent_since = silent_since(&state);
    let filter = HostFilter {
        state: asked.state.map(|state| state.word().to_owned()),
        silent: asked.silent.map(|silent| (silent, silent_since)),
        after: None,
    };
    let store = &state.app.store;
    let fetch = |after, most| {
        let filter = HostFilter { after, ..filter.clone() };
        async move { host_list::list(store, &filter, most).await }
    };
    let place = |host: &Row| (host.name.clone(), host.id.clone());
    let (rows, next) = select::scan(limit, after, selector.as_ref(), fetch, |host| host, place).await?;
    let items = rows.into_iter().map(|row| Host::of(row, silent_since)).collect();
    let next = next.map(|(name, id)| page::place(&[&name, &id]));
    Ok(Page { items, next }.answer(&uri))
}

/// One host.
#[utoipa::path(get, path = "/api/v1/hosts/{id}", tag = "hosts", params(("id" = String, Path)), responses(
    (status = 200, description = "The host, with an ETag", body = Host),
    (status = 304, description = "It is as If-None-Match has it")
))]
pub(super) async fn get(
    At(state): At<State>,
    Named(id): Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&state, &id).await?;
    etag::tagged(&headers, row.revision, &Host::of(row, silent_since(&state)))
}

/// The host of that id, or that there is none.
pub(super) async fn find(state: &State, id: &str) -> Result<Row, Problem> {
    host_list::get(&state.app.store, id).await?.ok_or_else(|| Problem::not_found("host", id))
}

/// What is to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Arrange {
    /// Its new group.
    #[schema(max_length = 256)]
    group: Option<String>,
    /// All its labels from now on.
    labels: Option<BTreeMap<String, String>>,
}

/// Refuses labels that would not be readable.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Problem> {
    if labels.len() > LABELS_MAX {
        return Err(Problem::malformed("labels", format!("there are more than {LABELS_MAX}")).field("labels"));
    }
    for (key, value) in labels {
        let field = format!("labels.{key}");
        if key.is_empty() {
            return Err(Problem::malformed("labels", "one has no name").field("labels"));
        }
        line(&field, key, TEXT_MAX)?;
        line(&field, value, TEXT_MAX)?;
    }
    Ok(())
}

/// Put a host into a group, and label it.
#[utoipa::path(patch, path = "/api/v1/hosts/{id}", tag = "hosts", request_body = Arrange,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag it must have")),
    responses((status = 200, description = "The host as it is now", body = Host)))]
pub(super) async fn arrange(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    headers: HeaderMap,
    Strict(asked): Strict<Arrange>,
) -> Result<Response, Problem> {
    if let Some(group) = &asked.group {
        line("group", group, TEXT_MAX)?;
    }
    if let Some(labels) = &asked.labels {
        check_labels(labels)?;
    }
    let revision = etag::expected(&headers)?;
    let (group, labels) = (asked.group.as_deref(), asked.labels.as_ref());
    let (store, actor) = (&state.app.store, caller.actor());
    let changed = hosts::relabel(store, state.now(), &actor, &id, group, labels, revision).await?;
    done(&state, &id, &changed)?;
    get(At(state), Named(id), HeaderMap::new()).await
}

/// Why.
#[derive(Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Why {
    /// For the audit log, and for whoever looks at the host later.
    #[schema(min_length = 1, max_length = 256)]
    #[param(min_length = 1, max_length = 256)]
    reason: String,
}

impl Why {
    fn check(&self) -> Result<(), Problem> {
        if self.reason.trim().is_empty() {
            return Err(Problem::malformed("reason", "it is empty").field("reason"));
        }
        line("reason", &self.reason, TEXT_MAX)
    }
}

/// Revoke a host: its certificates are good for nothing from now on.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/revoke", tag = "hosts", request_body = Why,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag it must have")),
    responses((status = 200, description = "The host as it is now", body = Host)))]
pub(super) async fn revoke(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    headers: HeaderMap,
    Strict(why): Strict<Why>,
) -> Result<Response, Problem> {
    why.check()?;
    unchanged(&state, &id, &headers).await?;
    let (store, actor) = (&state.app.store, caller.actor());
    done(&state, &id, &hosts::revoke(store, state.now(), &actor, &id, &why.reason).await?)?;
    get(At(state), Named(id), HeaderMap::new()).await
}

/// Let a host out of quarantine; the machine that checks in next is taken for it.
#[utoipa::path(post, path = "/api/v1/hosts/{id}/release", tag = "hosts", request_body = Why,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header, description = "The ETag it must have")),
    responses((status = 200, description = "The host as it is now", body = Host)))]
pub(super) async fn release(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    headers: HeaderMap,
    Strict(why): Strict<Why>,
) -> Result<Response, Problem> {
    why.check()?;
    let host = unchanged(&state, &id, &headers).await?;
    if host.state != "quarantined" {
        let reason = format!("it is {}, not quarantined", host.state);
        return Err(Problem::new(
            Kind::Conflict,
            "release",
            format!("host {id}"),
            reason,
            "leave it as it is",
        ));
    }
    let (store, actor) = (&state.app.store, caller.actor());
    done(&state, &id, &hosts::release(store, state.now(), &actor, &id, &why.reason).await?)?;
    get(At(state), Named(id), HeaderMap::new()).await
}

/// Remove a host and its inventories. The audit log keeps that it was there, and why it was removed.
#[utoipa::path(delete, path = "/api/v1/hosts/{id}", tag = "hosts",
    params(("id" = String, Path), Why, ("If-Match" = Option<String>, Header, description = "The ETag it must have")),
    responses((status = 204, description = "Removed")))]
pub(super) async fn remove(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    headers: HeaderMap,
    Ask(why): Ask<Why>,
) -> Result<StatusCode, Problem> {
    why.check()?;
    unchanged(&state, &id, &headers).await?;
    let (store, actor) = (&state.app.store, caller.actor());
    done(&state, &id, &hosts::remove(store, state.now(), &actor, &id, &why.reason).await?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The host, if it still has the revision that the request is about.
async fn unchanged(state: &State, id: &str, headers: &HeaderMap) -> Result<Row, Problem> {
    let expected = etag::expected(headers)?;
    let host = find(state, id).await?;
    if expected.is_some_and(|expected| expected != host.revision) {
        return Err(Problem::stale("host", id));
    }
    Ok(host)
}

fn done(state: &State, id: &str, changed: &Changed) -> Result<(), Problem> {
    match changed {
        Changed::Done(_) => {
            state.ring();
            Ok(())
        }
        Changed::Missing => Err(Problem::not_found("host", id)),
        Changed::Stale => Err(Problem::stale("host", id)),
    }
}
