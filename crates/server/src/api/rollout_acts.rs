//! What people do to a rollout: start and stop it at once; have approvers sign that it goes on, or back.

use super::State;
use super::body::{Both, Named, Strict, line};
use super::guard::Caller;
use super::hosts::TEXT_MAX;
use super::problem::{Kind, Problem};
use super::proposals::{self, Proposal};
use super::rollouts::{find, host_id, known};
use crate::rollouts::{self, Acted, Status};
use axum::Json;
use axum::extract::State as At;
use rollout::rollout::{Event, Halt};
use rollout::word::Says;
use serde::Deserialize;
use utoipa::ToSchema;

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// For people and for the audit log.
    #[schema(min_length = 1, max_length = 256)]
    reason: String,
}

impl Reason {
    fn check(&self) -> Result<(), Problem> {
        if self.reason.trim().is_empty() {
            return Err(Problem::malformed("reason", "it is empty").field("reason"));
        }
        line("reason", &self.reason, TEXT_MAX)
    }

    /// Who, and why: a rollout's state says both.
    fn by(&self, caller: &Caller) -> String {
        format!("{}: {}", caller.user.name, self.reason)
    }
}

impl From<Acted> for Problem {
    fn from(problem: Acted) -> Self {
        match problem {
            Acted::Store(problem) => problem.into(),
            Acted::NotFound(reason) => Self::new(Kind::NotFound, "change", "the rollout", reason, ""),
            Acted::Refused(refused) => {
                let object = format!("the rollout, which is {}", refused.state);
                Self::new(Kind::Conflict, refused.event, object, refused.reason, "see what it waits for")
            }
        }
    }
}

async fn act(state: &State, caller: &Caller, id: &str, event: Event) -> Result<Json<Status>, Problem> {
    let plan = known(state, id).await?;
    rollouts::act(&state.app, plan, event, &caller.actor(), state.now()).await?;
    state.ring();
    find(state, id).await.map(Json)
}

/// Start a rollout that enough approvers have signed. A plan that it supersedes ends.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/start", tag = "rollouts", params(("id" = String, Path)),
    responses((status = 200, description = "The rollout as it is now", body = Status)))]
pub(super) async fn start(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
) -> Result<Json<Status>, Problem> {
    act(&state, &caller, &id, Event::Started).await
}

/// Pause a rollout: nobody begins any more. It goes on when its approvers sign that.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/pause", tag = "rollouts", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, description = "The rollout as it is now", body = Status)))]
pub(super) async fn pause(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    Strict(why): Strict<Reason>,
) -> Result<Json<Status>, Problem> {
    why.check()?;
    act(&state, &caller, &id, Event::Paused { by: why.by(&caller) }).await
}

/// Halt a rollout: as a pause, and it is said that something is wrong.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/halt", tag = "rollouts", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, description = "The rollout as it is now", body = Status)))]
pub(super) async fn halt(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    Strict(why): Strict<Reason>,
) -> Result<Json<Status>, Problem> {
    why.check()?;
    let halt = Halt::Ordered { by: caller.user.name.clone(), why: why.reason };
    act(&state, &caller, &id, Event::Halted(halt)).await
}

/// Propose that a rollout that stopped goes on. It does once its approvers have signed.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/resume", tag = "rollouts", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, description = "The proposal", body = Proposal)))]
pub(super) async fn resume(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    Strict(why): Strict<Reason>,
) -> Result<Json<Proposal>, Problem> {
    why.check()?;
    let rollout = find(&state, &id).await?;
    if !matches!(rollout.state.as_str(), "paused" | "halted") {
        let object = format!("the rollout, which is {}", rollout.state_text);
        let reason = "only one that is paused or halted goes on";
        return Err(Problem::new(Kind::Conflict, "resume", object, reason, "see what it waits for"));
    }
    word(&state, &caller, &id, Says::Resume { generation: rollout.generation.saturating_add(1) }, &why).await
}

/// Propose that hosts go back to the old versions. They do once the approvers have signed.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/back", tag = "rollouts", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, description = "The proposal", body = Proposal)))]
pub(super) async fn back(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    Strict(why): Strict<Reason>,
) -> Result<Json<Proposal>, Problem> {
    why.check()?;
    let rollout = find(&state, &id).await?;
    let reason = match rollout.state.as_str() {
        "draft" | "signed" | "armed" => Some("nothing was installed"),
        "rolling-back" | "rolled-back" => Some("it is rolled back already"),
        _ => None,
    };
    if let Some(reason) = reason {
        let object = format!("the rollout, which is {}", rollout.state_text);
        return Err(Problem::new(Kind::Conflict, "roll back", object, reason, "leave it as it is"));
    }
    word(&state, &caller, &id, Says::Back, &why).await
}

async fn word(
    state: &State,
    caller: &Caller,
    id: &str,
    says: Says,
    why: &Reason,
) -> Result<Json<Proposal>, Problem> {
    let plan = super::plans::find(state, id).await?;
    let proposal =
        state.planning.propose_word(&plan, says, &why.reason, &caller.actor(), state.now()).await?;
    state.ring();
    Ok(Json(proposals::shown(state, proposal, false)?))
}

/// Give a rollout up. Hosts that have begun finish.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/abort", tag = "rollouts", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, description = "The rollout as it is now", body = Status)))]
pub(super) async fn abort(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    Strict(why): Strict<Reason>,
) -> Result<Json<Status>, Problem> {
    why.check()?;
    act(&state, &caller, &id, Event::Aborted { by: why.by(&caller) }).await
}

/// Say that what a rollout installs was withdrawn by its vendor: as giving it up, and it is said why.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/retract", tag = "rollouts", params(("id" = String, Path)),
    request_body = Reason, responses((status = 200, description = "The rollout as it is now", body = Status)))]
pub(super) async fn retract(
    At(state): At<State>,
    caller: Caller,
    Named(id): Named,
    Strict(why): Strict<Reason>,
) -> Result<Json<Status>, Problem> {
    why.check()?;
    act(&state, &caller, &id, Event::Retracted { why: why.by(&caller) }).await
}

/// Say that somebody has looked at a host: the places that it holds are free again.
#[utoipa::path(post, path = "/api/v1/rollouts/{id}/hosts/{host}/free", tag = "rollouts",
    params(("id" = String, Path), ("host" = String, Path)), request_body = Reason,
    responses((status = 200, description = "The rollout as it is now", body = Status)))]
pub(super) async fn free(
    At(state): At<State>,
    caller: Caller,
    Both(id, host): Both,
    Strict(why): Strict<Reason>,
) -> Result<Json<Status>, Problem> {
    why.check()?;
    let plan = known(&state, &id).await?;
    let host = host_id(&host).ok_or_else(|| Problem::not_found("host in this rollout", &host))?;
    let (actor, now) = (caller.actor(), state.now());
    rollouts::free(&state.app, plan, host, &actor, now).await?;
    let detail = serde_json::json!({ "plan": id, "reason": why.reason });
    noted(&state, &actor, "rollout.free-reason", &host.to_string(), detail).await?;
    state.ring();
    find(&state, &id).await.map(Json)
}

/// The reason that an act of the engine has no room for.
async fn noted(
    state: &State,
    actor: &crate::store::audit::Actor,
    action: &str,
    object: &str,
    detail: serde_json::Value,
) -> Result<(), Problem> {
    let store = &state.app.store;
    let mut writing = store.begin().await?;
    crate::store::audit::record(&mut writing, state.now(), actor, action, object, detail).await?;
    crate::store::commit(writing, "note a reason").await?;
    Ok(())
}
