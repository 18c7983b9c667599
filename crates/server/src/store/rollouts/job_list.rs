//! Jobs of a rollout as people list them.

use super::{jobs, reports, time, wide};
use crate::store::{Doing, Error, Store, evidence};
use jiff::Timestamp;
use rollout::plan::{HostId, PlanId};
use serde::Serialize;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

/// Which jobs are wanted. Whatever is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Of this wave.
    pub wave: Option<usize>,
    /// That count as this: `queued`, `preparing`, `under-change`, `proven`, `skipped`, `failed`, `lost`.
    pub counts: Option<String>,
    /// In this state, by its word: `awaiting-reboot`, `failed`.
    pub state: Option<String>,
    /// After this host's id.
    pub after: Option<HostId>,
}

/// A host's name and id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RolloutHost)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// Its name; empty: it is not in the fleet any more.
    pub name: String,
}

/// A host's job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RolloutJob)]
pub struct Listed {
    /// Whose.
    pub host: Named,
    /// Its wave, from 0.
    pub wave: u32,
    /// Where it stands, by a word: `awaiting-reboot`, `failed`.
    pub state: String,
    /// What it counts as: `queued`, `preparing`, `under-change`, `proven`, `skipped`, `failed`, `lost`.
    pub counts: String,
    /// `forward` or `back`.
    pub direction: String,
    /// Counts its grants.
    pub fence: u64,
    /// What the host said last; missing: nothing on this grant.
    pub stage: Option<String>,
    /// When it said something last.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub reported_at: Option<Timestamp>,
    /// End of its lease, or of its deadline, while it is under change.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// Whether it takes its places.
    pub charged: bool,
    /// Where it stands, in words.
    pub text: String,
}

/// A host's job with everything that it reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RolloutJobDetail)]
pub struct Detailed {
    /// The job.
    #[serde(flatten)]
    pub job: Listed,
    /// Why it failed, as far as it said.
    pub why: Vec<String>,
    /// Its reports, in the order of grants and numbers.
    pub reports: Vec<Reported>,
}

/// A report that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RolloutReport)]
pub struct Reported {
    /// The grant.
    pub fence: u64,
    /// Its number on this grant.
    pub seq: u64,
    /// When it came first.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What it said, in words.
    pub report: String,
    /// `changed`, `same` (known already), `stale` (of another grant, or too late).
    pub outcome: String,
}

const TEXT: &str = "SELECT j.host, j.state, j.direction, j.fence, j.machine, j.last, j.until_at, j.charged, j.begun, j.late, j.wave, \
     COALESCE(h.name, ''), (SELECT MAX(r.at) FROM rollout_reports r WHERE r.plan = j.plan AND r.host = j.host) \
     FROM rollout_jobs j LEFT JOIN hosts h ON h.id = j.host WHERE j.plan = $1";

/// Up to `most` jobs, in the order of hosts' ids.
pub async fn page(store: &Store, plan: PlanId, filter: &JobFilter, most: i64) -> Result<Vec<Listed>, Error> {
    let text = format!(
        "{TEXT} AND ($2 = -1 OR j.wave = $2) AND ($3 = '' OR j.counts = $3) \
         AND ($4 = '' OR j.state = $5 OR j.state LIKE $6) AND j.host > $7 ORDER BY j.host LIMIT $8"
    );
    let state = filter.state.as_deref().unwrap_or_default();
    // Words of states have no sign that LIKE reads; others match nothing.
    let state = if state.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') { state } else { "?" };
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(plan.to_string())
        .bind(filter.wave.map_or(-1, wide))
        .bind(filter.counts.clone().unwrap_or_default())
        .bind(state.to_owned())
        .bind(format!("\"{state}\""))
        .bind(format!("{{\"{state}\":%"))
        .bind(filter.after.map(|host| host.to_string()).unwrap_or_default())
        .bind(most)
        .fetch_all(store.reader())
        .await
        .doing("list jobs")?;
    rows.iter().map(listed).collect()
}

/// One host's job; `None`: it has none.
pub async fn of_host(store: &Store, plan: PlanId, host: HostId) -> Result<Option<Detailed>, Error> {
    let text = format!("{TEXT} AND j.host = $2");
    let row = sqlx::query(sqlx::AssertSqlSafe(text)).bind(plan.to_string()).bind(host.to_string());
    let Some(row) = row.fetch_optional(store.reader()).await.doing("read a job")? else { return Ok(None) };
    let reports = reports::of_host(store, plan, host).await?.into_iter().map(|kept| Reported {
        fence: kept.fence,
        seq: kept.seq,
        at: kept.at,
        report: kept.report.stage.to_string(),
        outcome: kept.outcome,
    });
    let (plan, host) = (plan.to_string(), host.to_string());
    let failed = evidence::failures(store, &plan, Some(&host), 1).await?.pop();
    let why = failed.map(|failed| failed.why).unwrap_or_default();
    Ok(Some(Detailed { job: listed(&row)?, why, reports: reports.collect() }))
}

fn listed(row: &AnyRow) -> Result<Listed, Error> {
    let job = jobs::job(row)?;
    let under_way = job.state.is_preparing() || job.state.is_under_change();
    let word = serde_json::to_value(job.state).unwrap_or_default();
    let word = word.as_str().or_else(|| Some(word.as_object()?.keys().next()?.as_str())).unwrap_or_default();
    Ok(Listed {
        host: Named { id: row.get(0), name: row.get(11) },
        wave: super::small(row, 10)?,
        state: word.to_owned(),
        counts: jobs::counts(job.state).to_owned(),
        direction: jobs::direction(job.direction).to_owned(),
        fence: job.fence,
        stage: job.last.map(|report| report.stage.to_string()),
        reported_at: row.get::<Option<i64>, _>(12).map(|_| time(row, 12)).transpose()?,
        until: under_way.then_some(job.until),
        charged: job.charged,
        text: job.state.to_string(),
    })
}
