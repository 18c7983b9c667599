//! `/plans`: what is to be rolled out, from what is asked for to the text that approvers sign.

use super::State;
use super::body::{Ask, Named, Strict};
use super::guard::Caller;
use super::page::{self, Page};
use super::problem::{Kind, Problem};
use super::proposals::{self, Proposal};
use super::{etag, hosts::TEXT_MAX};
use crate::planning::{self, Asked, LeftOut};
use crate::store::plans::{self, Plan as Row, State as Stands};
use crate::store::{host_list, rehearsals, words};
use axum::Json;
use axum::extract::State as At;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// A plan.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "a plan's text is what approvers know as the plan")]
pub(super) struct Plan {
    /// Its id, UUIDv7.
    id: String,
    /// For people, one line.
    title: String,
    /// Whose approvers sign it.
    environment: String,
    /// Where it stands.
    state: Stands,
    /// What stands in its way.
    blocks: Vec<String>,
    /// Hosts that were selected and are not in it, by reason.
    left_out: Vec<LeftOut>,
    /// SHA-256 of its text, hex; empty before there is one.
    digest: String,
    /// Who asked for it.
    created_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The open proposal about it.
    proposal: Option<String>,
    /// What was asked for.
    asked: Asked,
    /// What hosts were asked, and said; left out of lists.
    rehearsals: Vec<Rehearsal>,
    /// Its text, if `body=true` was asked for and there is one.
    #[schema(value_type = Option<Object>)]
    plan: Option<Value>,
    /// Hosts in it.
    hosts: i64,
}

/// "What would this do to you?", asked of one host for all of its class.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rehearsal {
    /// The class's name.
    class: String,
    /// Who is asked.
    host: Who,
    /// How many hosts it stands for.
    hosts: i64,
    /// Whether it has answered.
    state: RehearsalState,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// What stands in the way there.
    blocks: Vec<String>,
    /// Units that would be restarted.
    restarts: Vec<String>,
    /// Why it would have to be rebooted.
    reboot: Option<String>,
    /// Bytes to be fetched.
    download_bytes: u64,
    /// Packages that would change.
    changes: usize,
}

/// Whether a host has answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RehearsalState {
    /// Not yet.
    Asked,
    /// It has.
    Answered,
    /// It has not for so long that another one was asked.
    Silent,
}

/// A host.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HostName)]
pub(super) struct Who {
    /// Its id.
    pub(super) id: String,
    /// Its name for itself; its id if it is not there any more.
    pub(super) name: String,
}

/// Ask for a plan. Hosts are asked first what it would do to them: its state goes from `rehearsing` to `ready` or
/// `blocked`, with an event.
#[utoipa::path(post, path = "/api/v1/plans", tag = "plans", request_body = Asked, responses(
    (status = 202, description = "The plan, rehearsing", body = Plan)
))]
pub(super) async fn create(
    At(state): At<State>,
    caller: Caller,
    Strict(asked): Strict<Asked>,
) -> Result<(StatusCode, Json<Plan>), Problem> {
    let id = state.planning.ask(&asked, &caller.actor(), state.now()).await?;
    state.ring();
    let row = find(&state, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(&state, row, true, false).await?)))
}

/// Which plans.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Only those in that state.
    #[param(inline)]
    state: Option<Stands>,
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type PlanPage = Page<Plan>;

/// List plans, in the order of their making.
#[utoipa::path(get, path = "/api/v1/plans", tag = "plans", params(List), responses(
    (status = 200, description = "A page of plans, without rehearsals and texts", body = PlanPage)
))]
pub(super) async fn list(At(state): At<State>, uri: Uri, Ask(asked): Ask<List>) -> Result<Response, Problem> {
    let limit = page::limit(asked.limit)?;
    let after = page::parts::<1>(asked.after.as_deref())?.map(|[id]| id).unwrap_or_default();
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = plans::list(&state.app.store, asked.state, &after, most).await?;
    let page = page::cut(rows, limit, |row| page::place(&[&row.id]));
    let mut items = Vec::with_capacity(page.items.len());
    for row in page.items {
        items.push(shown(&state, row, false, false).await?);
    }
    Ok(Page { items, next: page.next }.answer(&uri))
}

/// How much of a plan.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HowMuch {
    /// With its text: up to 10 MiB.
    #[serde(default)]
    #[param(required = false)]
    body: bool,
}

/// One plan.
#[utoipa::path(get, path = "/api/v1/plans/{id}", tag = "plans", params(("id" = String, Path), HowMuch), responses(
    (status = 200, description = "The plan, with an ETag", body = Plan),
    (status = 304, description = "It is as If-None-Match has it")
))]
pub(super) async fn get(
    At(state): At<State>,
    Named(id): Named,
    Ask(asked): Ask<HowMuch>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = find(&state, &id).await?;
    let revision = row.revision;
    etag::tagged(&headers, revision, &shown(&state, row, true, asked.body).await?)
}

/// The canonical bytes of a plan, or of a word about one, so that a signer compares their SHA-256 with what is signed.
#[utoipa::path(get, path = "/api/v1/plans/{id}/bytes", tag = "plans", params(("id" = String, Path)), responses(
    (status = 200, description = "The bytes, up to 10 MiB", body = serde_json::Value)
))]
pub(super) async fn bytes(At(state): At<State>, Named(id): Named) -> Result<Response, Problem> {
    let bytes = match plans::body(&state.app.store, &id).await? {
        None => words::body(&state.app.store, &id).await?,
        plan => plan,
    };
    let bytes = bytes.ok_or_else(|| {
        let remedy = "wait until it is ready, or see what stands in its way";
        Problem::new(Kind::NotFound, "find", format!("the text of plan {id}"), "there is none", remedy)
    })?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}

/// Propose a plan that is ready, so that approvers can sign it. If it is proposed already, that proposal is given.
#[utoipa::path(post, path = "/api/v1/plans/{id}/propose", tag = "plans", params(("id" = String, Path)), responses(
    (status = 200, description = "The proposal", body = Proposal)
))]
pub(super) async fn propose(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
) -> Result<Json<Proposal>, Problem> {
    let row = find(&state, &id).await?;
    let proposal = state.planning.propose(&row, &caller.actor(), state.now()).await?;
    state.ring();
    Ok(Json(proposals::shown(&state, proposal, false)?))
}

/// Why.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Why {
    /// For the audit log, and for approvers who are asked to sign the withdrawal.
    #[param(max_length = 256)]
    reason: Option<String>,
}

/// Drop a plan that is not in force; of one that is in force, propose the withdrawal.
#[utoipa::path(delete, path = "/api/v1/plans/{id}", tag = "plans", params(("id" = String, Path), Why), responses(
    (status = 200, description = "It is in force: the proposal to withdraw it", body = Proposal),
    (status = 204, description = "Dropped")
))]
pub(super) async fn remove(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    Ask(why): Ask<Why>,
) -> Result<Response, Problem> {
    let reason = why.reason.unwrap_or_default();
    super::body::line("reason", &reason, TEXT_MAX)?;
    let row = find(&state, &id).await?;
    let (actor, now) = (caller.actor(), state.now());
    let proposal = state.planning.drop_plan(&row, &caller.user.name, &reason, &actor, now).await?;
    state.ring();
    Ok(match proposal {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(proposal) => Json(proposals::shown(&state, proposal, false)?).into_response(),
    })
}

/// The plan of that id, or that there is none.
pub(super) async fn find(state: &State, id: &str) -> Result<Row, Problem> {
    plans::get(&state.app.store, id).await?.ok_or_else(|| Problem::not_found("plan", id))
}

async fn shown(state: &State, row: Row, rehearsed: bool, body: bool) -> Result<Plan, Problem> {
    let store = &state.app.store;
    let internal = |problem: serde_json::Error| Problem::internal(&problem);
    let proposal = state.signing.open_about(&row.id).await?;
    let mut rehearsals = Vec::new();
    if rehearsed {
        let all = rehearsals::of_plan(store, &row.id).await?;
        let silent_after = planning::silent_after(&state.app.config);
        for one in all {
            rehearsals.push(rehearsal(state, one, silent_after).await?);
        }
    }
    let plan = if body { plans::body(store, &row.id).await? } else { None };
    let planning::Kept { asked, .. } = serde_json::from_str(&row.asked).map_err(internal)?;
    Ok(Plan {
        proposal: proposal.map(|proposal| proposal.id),
        asked,
        left_out: serde_json::from_str(&row.left_out).map_err(internal)?,
        plan: plan.map(|bytes| serde_json::from_slice(&bytes)).transpose().map_err(internal)?,
        rehearsals,
        id: row.id,
        title: row.title,
        environment: row.environment,
        state: row.state,
        blocks: row.blocks,
        digest: row.digest,
        created_by: row.created_by,
        created_at: row.created_at,
        hosts: row.hosts,
    })
}

async fn rehearsal(
    state: &State,
    one: rehearsals::Rehearsal,
    silent_after: jiff::SignedDuration,
) -> Result<Rehearsal, Problem> {
    let name = host_list::get(&state.app.store, &one.host).await?.map(|host| host.name);
    let host = Who { name: name.unwrap_or_else(|| one.host.clone()), id: one.host };
    let is_silent = one.answer.is_none() && state.now().duration_since(one.asked_at) > silent_after;
    let (answered, answer) = match one.answer {
        Some((_, answer)) => (RehearsalState::Answered, Some(answer)),
        None if is_silent => (RehearsalState::Silent, None),
        None => (RehearsalState::Asked, None),
    };
    let answer = answer.as_ref();
    Ok(Rehearsal {
        class: one.class,
        host,
        hosts: one.hosts,
        state: answered,
        asked_at: one.asked_at,
        blocks: answer.map(|answer| answer.blocks.clone()).unwrap_or_default(),
        restarts: answer.map(|answer| answer.restarts.clone()).unwrap_or_default(),
        reboot: answer.and_then(|answer| answer.reboot.clone()),
        download_bytes: answer.map_or(0, |answer| answer.download_bytes),
        changes: answer.map_or(0, |answer| answer.changes.len()),
    })
}
