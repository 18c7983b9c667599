//! `/alerts`: what monitoring says is wrong, and what the census does. Gates hold while anything fires that monitoring said.

use super::State;
use super::body::{Ask, Named, Strict};
use super::guard::Caller;
use super::page::{self, Page};
use super::problem::{Kind, Problem};
use crate::store::alerts::{self, ALERTS_MAX, Alert as Row, OF_CENSUS};
use axum::extract::State as At;
use axum::response::Response;
use http::{StatusCode, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// Alerts in one request: Alertmanager groups some tens.
const AT_ONCE_MAX: usize = 1_000;
/// Characters of an alert's name.
const NAME_MAX: usize = 256;

/// Something that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Alert {
    /// What it is known by: its fingerprint, or its `alertname`.
    name: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Its labels.
    labels: Value,
    /// What it says for people.
    annotations: Value,
    /// Whether gates hold while it fires. What the census says holds none.
    holds: bool,
}

impl From<Row> for Alert {
    fn from(mut row: Row) -> Self {
        let (labels, annotations) = (row.detail["labels"].take(), row.detail["annotations"].take());
        Self { name: row.name, since: row.since, labels, annotations, holds: row.holds }
    }
}

/// Which alerts.
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

/// A page, by a name: see [`Page`].
type AlertPage = Page<Alert>;

/// List what fires, by name.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "rollouts", params(List), responses(
    (status = 200, description = "A page of alerts that fire", body = AlertPage)
))]
pub(super) async fn list(At(state): At<State>, uri: Uri, Ask(asked): Ask<List>) -> Result<Response, Problem> {
    let limit = page::limit(asked.limit)?;
    let after = page::parts::<1>(asked.after.as_deref())?.map(|[name]| name).unwrap_or_default();
    let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let rows = alerts::list(&state.app.store, &after, most).await?;
    Ok(page::cut(rows, limit, |row| page::place(&[&row.name])).map(Alert::from).answer(&uri))
}

/// What Alertmanager's webhook sends; its other fields are not heeded.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct Raised {
    /// What fires, and what does not any more.
    #[schema(max_items = 1000)]
    alerts: Vec<One>,
}

/// One alert, as Alertmanager has it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RaisedAlert)]
pub(super) struct One {
    /// `firing` or `resolved`.
    status: AlertStatus,
    /// Its labels.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// What it says for people.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// What it is known by; its `alertname` if absent.
    #[serde(default)]
    fingerprint: String,
    /// Since when; now if absent.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Timestamp>,
}

/// Whether an alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum AlertStatus {
    /// It does.
    Firing,
    /// Not any more.
    Resolved,
}

/// Say what fires, in the words of Alertmanager's webhook: point its receiver here, with an API token.
#[utoipa::path(post, path = "/api/v1/alerts", tag = "rollouts", request_body = Raised, responses(
    (status = 204, description = "Noted")
))]
pub(super) async fn raise(
    At(state): At<State>,
    caller: Caller,
    Strict(raised): Strict<Raised>,
) -> Result<StatusCode, Problem> {
    if raised.alerts.len() > AT_ONCE_MAX {
        return Err(
            Problem::malformed("alerts", format!("there are more than {AT_ONCE_MAX}")).field("alerts")
        );
    }
    let now = state.now();
    let (mut firing, mut resolved) = (Vec::new(), Vec::new());
    for (at, alert) in raised.alerts.into_iter().enumerate() {
        let field = format!("alerts[{at}]");
        let known = alert.labels.get("alertname").cloned().unwrap_or_default();
        let name = if alert.fingerprint.is_empty() { known } else { alert.fingerprint };
        if name.is_empty() {
            let reason = "it has neither a fingerprint nor the label alertname";
            return Err(Problem::malformed(&field, reason).field(field));
        }
        super::body::line(&field, &name, NAME_MAX)?;
        if name.starts_with(OF_CENSUS) {
            let reason = format!("names that begin with \"{OF_CENSUS}\" are the census's own");
            return Err(Problem::malformed(&field, reason).field(field));
        }
        match alert.status {
            AlertStatus::Resolved => resolved.push(name),
            AlertStatus::Firing => {
                let detail = json!({ "labels": alert.labels, "annotations": alert.annotations });
                firing.push(Row { name, since: alert.starts_at.unwrap_or(now), detail, holds: true });
            }
        }
    }
    if !alerts::change(&state.app.store, now, &caller.actor(), &firing, &resolved).await? {
        let reason = format!("there would be more than {ALERTS_MAX}");
        let remedy = "remove those that are gone (DELETE /api/v1/alerts/NAME)";
        return Err(Problem::new(Kind::Conflict, "keep", "alerts", reason, remedy));
    }
    state.ring();
    Ok(StatusCode::NO_CONTENT)
}

/// Remove an alert of which monitoring will never say that it is resolved.
#[utoipa::path(delete, path = "/api/v1/alerts/{name}", tag = "rollouts", params(("name" = String, Path)),
    responses((status = 204, description = "Removed")))]
pub(super) async fn remove(
    At(state): At<State>,
    caller: Caller,
    Named(name): Named,
) -> Result<StatusCode, Problem> {
    if !alerts::remove(&state.app.store, state.now(), &caller.actor(), &name).await? {
        return Err(Problem::not_found("alert", &name));
    }
    state.ring();
    Ok(StatusCode::NO_CONTENT)
}
