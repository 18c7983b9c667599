//! `/status`: how the fleet and the server are.

use super::State;
use super::hosts::silent_since;
use super::problem::Problem;
use crate::store::{Dialect, census, feed_list, findings, host_list};
use axum::Json;
use axum::extract::State as At;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use trust::standing::Custody;
use utoipa::ToSchema;

/// Alarms that are shown.
const ALARMS_MAX: i64 = 1000;

/// How the fleet and the server are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// The server's version.
    version: &'static str,
    /// Where it keeps things: `sqlite` or `postgresql`.
    store: &'static str,
    /// What time it is there.
    #[schema(value_type = String, format = DateTime)]
    now: Timestamp,
    /// How many hosts are in which state.
    hosts: BTreeMap<String, i64>,
    /// How many active hosts have not been heard of for too long.
    silent: i64,
    /// How many open findings there are of each verdict.
    findings: BTreeMap<String, i64>,
    /// Findings under attack: a host is sent attempts for a CVE to which it is vulnerable.
    findings_attacked: i64,
    /// On how many hosts.
    hosts_attacked: i64,
    /// What is wrong with which feed.
    alarms: Vec<Alarm>,
    /// Who approves plans, and what must be signed anew.
    trust: TrustStatus,
}

/// Who approves plans.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TrustStatus {
    /// Whether anybody does yet.
    founded: bool,
    /// The server approves by itself: whoever captures it can install what they like.
    one_key: bool,
    /// What people must sign anew, and by when; what else is wrong.
    alarms: Vec<String>,
}

/// Something is wrong with a feed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alarm {
    /// Its name.
    feed: String,
    /// What.
    alarm: String,
}

/// How the fleet and the server are.
#[utoipa::path(get, path = "/api/v1/status", tag = "status", responses(
    (status = 200, description = "Counts and alarms", body = Status)
))]
pub(super) async fn status(At(state): At<State>) -> Result<Json<Status>, Problem> {
    let store = &state.app.store;
    let (findings_attacked, hosts_attacked) = census::count_attacked(store).await?;
    let alarms = feed_list::list(store, true, "", ALARMS_MAX).await?;
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        store: match store.dialect() {
            Dialect::Sqlite => "sqlite",
            Dialect::Postgres => "postgresql",
        },
        now: state.now(),
        hosts: host_list::by_state(store).await?,
        silent: host_list::silent(store, silent_since(&state)).await?,
        findings: findings::counts(store).await?,
        findings_attacked,
        hosts_attacked,
        alarms: alarms.into_iter().map(|feed| Alarm { feed: feed.name, alarm: feed.alarm }).collect(),
        trust: TrustStatus {
            founded: state.signing.is_founded(),
            one_key: state.signing.custody() == Some(Custody::Server),
            alarms: state.signing.alarms(state.now()),
        },
    }))
}
