//! `/enrolment-tokens`: how hosts get into the fleet.

use super::State;
use super::authority;
use super::body::{Ask, Named, Strict, line};
use super::guard::Caller;
use super::hosts::{TEXT_MAX, check_labels};
use super::page::{self, Page};
use super::problem::Problem;
use crate::store::enrolment;
use crate::store::enrolment_list::{self, Token as Row};
use axum::Json;
use axum::extract::State as At;
use axum::response::Response;
use http::{StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// How long a token is good if nobody says: long enough to walk to the machine.
const VALID_MINUTES: u32 = 60;
/// The longest: 30 days, for images that are rolled out over weeks.
const VALID_MINUTES_MAX: u32 = 30 * 24 * 60;
/// The most hosts of one token: whoever has more makes more.
const HOSTS_MAX: u32 = 10_000;
/// The group of hosts that are given none.
const GROUP: &str = "default";

/// An enrolment token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EnrolmentToken)]
pub(super) struct Token {
    /// Its id.
    id: String,
    /// The group that a host gets.
    group: String,
    /// The labels that a host gets.
    labels: BTreeMap<String, String>,
    /// Who made it.
    created_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// How many hosts may enrol with it.
    hosts: i64,
    /// How many have.
    used: i64,
    /// When it was last used.
    #[schema(value_type = Option<String>, format = DateTime)]
    used_at: Option<Timestamp>,
    /// The host that used it last.
    host: Option<String>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<Timestamp>,
}

impl From<Row> for Token {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            group: row.group,
            labels: row.labels,
            created_by: row.created_by,
            created_at: row.created_at,
            expires_at: row.expires_at,
            hosts: row.hosts,
            used: row.used,
            used_at: row.used_at,
            host: row.host,
            revoked_at: row.revoked_at,
        }
    }
}

/// Which tokens.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// List enrolment tokens, in the order of their making.
#[utoipa::path(get, path = "/api/v1/enrolment-tokens", tag = "enrolment", params(List), responses(
    (status = 200, description = "A page of tokens, without their secrets", body = Page<Token>)
))]
pub(super) async fn list(At(state): At<State>, uri: Uri, Ask(asked): Ask<List>) -> Result<Response, Problem> {
    let limit = page::limit(asked.limit)?;
    let after = page::parts::<1>(asked.after.as_deref())?.map(|[id]| id).unwrap_or_default();
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = enrolment_list::list(&state.app.store, &after, most).await?;
    Ok(page::cut(rows, limit, |row| page::place(&[&row.id])).map(Token::from).answer(&uri))
}

/// What a token is to give.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewEnrolmentToken)]
pub(super) struct New {
    /// The group that a host gets; `default` if absent.
    #[schema(min_length = 1, max_length = 256)]
    group: Option<String>,
    /// The labels that a host gets.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// How many hosts may enrol with it; 1 if absent.
    #[schema(minimum = 1, maximum = 10000)]
    hosts: Option<u32>,
    /// How long it is good; 60 if absent.
    #[schema(minimum = 1, maximum = 43200)]
    valid_minutes: Option<u32>,
}

/// A token with its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MadeEnrolmentToken)]
pub(super) struct Made {
    /// The token.
    token: Token,
    /// What the agent enrols with. Shown this once.
    secret: String,
    /// Fingerprint of the authority that the agent is to expect.
    authority: String,
    /// The port on which this server hears agents.
    agents_port: u16,
}

/// Make a token, for one host or for some.
#[utoipa::path(post, path = "/api/v1/enrolment-tokens", tag = "enrolment", request_body = New, responses(
    (status = 201, description = "The token, with its secret", body = Made)
))]
pub(super) async fn create(
    At(state): At<State>,
    caller: Caller,
    Strict(new): Strict<New>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let group = new.group.as_deref().unwrap_or(GROUP);
    line("group", group, TEXT_MAX)?;
    if group.is_empty() {
        return Err(Problem::malformed("group", "it is empty").field("group"));
    }
    check_labels(&new.labels)?;
    let minutes = new.valid_minutes.unwrap_or(VALID_MINUTES);
    if !(1..=VALID_MINUTES_MAX).contains(&minutes) {
        let reason = format!("{minutes} is not from 1 to {VALID_MINUTES_MAX}");
        return Err(Problem::malformed("valid_minutes", reason).field("valid_minutes"));
    }
    let hosts = new.hosts.unwrap_or(1);
    if !(1..=HOSTS_MAX).contains(&hosts) {
        return Err(
            Problem::malformed("hosts", format!("{hosts} is not from 1 to {HOSTS_MAX}")).field("hosts")
        );
    }
    let (store, now, valid) = (&state.app.store, state.now(), SignedDuration::from_mins(i64::from(minutes)));
    let authority = authority::standing(&state).await?;
    let (token, secret) =
        enrolment::create(store, now, &caller.actor(), group, &new.labels, valid, hosts).await?;
    state.ring();
    let row = enrolment_list::get(store, &token.id).await?;
    let row = row.ok_or_else(|| Problem::not_found("enrolment token", &token.id))?;
    let made = Made {
        token: row.into(),
        secret: secret.reveal().to_owned(),
        authority: authority.fingerprint,
        agents_port: state.app.config.server.agents.port(),
    };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Revoke a token. Hosts that came with it stay.
#[utoipa::path(delete, path = "/api/v1/enrolment-tokens/{id}", tag = "enrolment", params(("id" = String, Path)),
    responses((status = 204, description = "Revoked")))]
pub(super) async fn revoke(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
) -> Result<StatusCode, Problem> {
    if !enrolment::revoke(&state.app.store, state.now(), &caller.actor(), &id).await? {
        return Err(Problem::not_found("enrolment token", &id));
    }
    state.ring();
    Ok(StatusCode::NO_CONTENT)
}
