//! `/rollouts`: plans under way, read.

use super::State;
use super::body::{Ask, Both, Named};
use super::page::{self, Page};
use super::problem::Problem;
use crate::rollouts::{self, Status};
use crate::store::rollouts::job_list::{self, JobFilter};
use crate::store::rollouts::list::Listed;
use axum::Json;
use axum::extract::State as At;
use axum::response::Response;
use http::Uri;
use rollout::plan::{HostId, PlanId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// A rollout's state by its word.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the words of docs/rollout.md")]
pub(super) enum RolloutState {
    Draft,
    Signed,
    Armed,
    Wave,
    Paused,
    Halted,
    RollingBack,
    RolledBack,
    Complete,
    Aborted,
    Superseded,
    Retracted,
}

/// What a host counts as.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the words of docs/rollout.md")]
pub(super) enum Counts {
    Queued,
    Preparing,
    UnderChange,
    Proven,
    Skipped,
    Failed,
    Lost,
}

/// Its word, as serde writes it.
fn word<T: Serialize>(value: T) -> Option<String> {
    serde_json::to_value(value).ok()?.as_str().map(str::to_owned)
}

/// Which rollouts.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Only those in that state.
    #[param(inline)]
    state: Option<RolloutState>,
}

/// Rollouts, the newest first; the last thousand.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rollouts {
    /// The rollouts.
    items: Vec<Listed>,
}

/// List rollouts, the newest first; at most a thousand.
#[utoipa::path(get, path = "/api/v1/rollouts", tag = "rollouts", params(List), responses(
    (status = 200, description = "Rollouts", body = Rollouts)
))]
pub(super) async fn list(At(state): At<State>, Ask(asked): Ask<List>) -> Result<Json<Rollouts>, Problem> {
    let word = asked.state.and_then(word);
    Ok(Json(Rollouts { items: rollouts::list(&state.app, word.as_deref()).await? }))
}

/// Where a rollout stands: its waves, gates, services, and what it waits for.
#[utoipa::path(get, path = "/api/v1/rollouts/{id}", tag = "rollouts", params(("id" = String, Path)), responses(
    (status = 200, description = "The rollout of that plan", body = Status)
))]
pub(super) async fn get(At(state): At<State>, Named(id): Named) -> Result<Json<Status>, Problem> {
    find(&state, &id).await.map(Json)
}

/// Which hosts of a rollout.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Jobs {
    /// Only those of this wave, from 0.
    #[param(minimum = 0, maximum = 63)]
    wave: Option<u32>,
    /// Only those that count as this.
    #[param(inline)]
    counts: Option<Counts>,
    /// Only those in this state: `awaiting-reboot`, `failed`.
    #[param(max_length = 64)]
    state: Option<String>,
    /// How many.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the page before.
    after: Option<String>,
}

/// A page, by a name: see [`Page`].
type JobPage = Page<job_list::Listed>;

/// List a rollout's hosts, by id. Those of waves that have not begun come when the rollout is started.
#[utoipa::path(get, path = "/api/v1/rollouts/{id}/hosts", tag = "rollouts", params(("id" = String, Path), Jobs),
    responses((status = 200, description = "A page of hosts with their jobs", body = JobPage)))]
pub(super) async fn jobs(
    At(state): At<State>,
    Named(id): Named,
    uri: Uri,
    Ask(asked): Ask<Jobs>,
) -> Result<Response, Problem> {
    let limit = page::limit(asked.limit)?;
    let after = match page::parts::<1>(asked.after.as_deref())? {
        None => None,
        Some([host]) => Some(HostId(Uuid::parse_str(&host).map_err(|_| page::wrong())?)),
    };
    let plan = known(&state, &id).await?;
    let filter = JobFilter {
        wave: asked.wave.map(|wave| usize::try_from(wave).unwrap_or(usize::MAX)),
        counts: asked.counts.and_then(word),
        state: asked.state,
        after,
    };
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let jobs = rollouts::jobs(&state.app, plan, &filter, most).await?;
    Ok(page::cut(jobs, limit, |job| page::place(&[&job.host.id])).answer(&uri))
}

/// One host of a rollout, with everything that it reported.
#[utoipa::path(get, path = "/api/v1/rollouts/{id}/hosts/{host}", tag = "rollouts",
    params(("id" = String, Path), ("host" = String, Path)),
    responses((status = 200, description = "The host's job", body = job_list::Detailed)))]
pub(super) async fn job(
    At(state): At<State>,
    Both(id, host): Both,
) -> Result<Json<job_list::Detailed>, Problem> {
    let plan = known(&state, &id).await?;
    let none = || Problem::not_found("host in this rollout", &host);
    let found = rollouts::job(&state.app, plan, host_id(&host).ok_or_else(none)?).await?;
    found.map(Json).ok_or_else(none)
}

/// The rollout of that plan, or that there is none.
pub(super) async fn find(state: &State, id: &str) -> Result<Status, Problem> {
    let none = || Problem::not_found("rollout", id);
    let plan = plan_id(id).ok_or_else(none)?;
    rollouts::status(&state.app, plan, state.now()).await?.ok_or_else(none)
}

/// The plan of that id, if it has a rollout.
pub(super) async fn known(state: &State, id: &str) -> Result<PlanId, Problem> {
    find(state, id).await?;
    plan_id(id).ok_or_else(|| Problem::not_found("rollout", id))
}

fn plan_id(id: &str) -> Option<PlanId> {
    Uuid::parse_str(id).ok().filter(|parsed| parsed.to_string() == id).map(PlanId)
}

pub(super) fn host_id(id: &str) -> Option<HostId> {
    Uuid::parse_str(id).ok().filter(|parsed| parsed.to_string() == id).map(HostId)
}
