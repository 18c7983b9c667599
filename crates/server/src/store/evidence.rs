//! What hosts saw of jobs that are over.

use super::packed::{pack, unpack};
use super::{Doing, Error, Store};
use crate::hosts::clean;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;
use utoipa::ToSchema;
use wire::v1::{EVIDENCE_BYTES_MAX, Evidence};

/// Jobs of one host whose evidence is kept: the oldest goes.
pub const KEPT_MAX: i64 = 200;
/// Reasons of one host that are shown, and bytes of each.
const REASONS_MAX: usize = 8;
const REASON_BYTES_MAX: usize = 512;

/// What one host saw of one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The plan's id.
    pub plan: String,
    /// The grant.
    pub fence: i64,
    /// When it came.
    pub at: Timestamp,
    /// As the host told it.
    pub seen: Value,
}

/// Stores what a host tells of a job that it was granted; false if it was granted none such. Told twice, the first stays. `seen`: what it
/// saw, as text.
pub async fn put(
    store: &Store,
    now: Timestamp,
    host: &str,
    told: &Evidence,
    seen: &str,
) -> Result<bool, Error> {
    const DOING: &str = "store a job's evidence";
    let Ok(fence) = i64::try_from(told.fence) else { return Ok(false) };
    let plan = told.plan.to_string();
    let mut writing = store.begin().await?;
    let granted: Option<i64> =
        sqlx::query_scalar("SELECT fence FROM rollout_jobs WHERE plan = $1 AND host = $2 AND fence >= $3")
            .bind(plan.clone())
            .bind(host.to_owned())
            .bind(fence)
            .fetch_optional(&mut *writing)
            .await
            .doing(DOING)?;
    if granted.is_none() {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO evidence (host, plan, fence, at, seen) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(host.to_owned())
    .bind(plan)
    .bind(fence)
    .bind(now.as_microsecond())
    .bind(pack(seen.as_bytes()))
    .execute(&mut *writing)
    .await
    .doing(DOING)?;
    sqlx::query(
        "DELETE FROM evidence WHERE host = $1 AND at < \
         (SELECT MIN(at) FROM (SELECT at FROM evidence WHERE host = $1 ORDER BY at DESC LIMIT $2) AS newest)",
    )
    .bind(host.to_owned())
    .bind(KEPT_MAX)
    .execute(&mut *writing)
    .await
    .doing(DOING)?;
    super::commit(writing, DOING).await?;
    Ok(true)
}

/// Why a host failed, or skipped the plan, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RolloutFailure)]
pub struct Failure {
    /// Its id.
    pub host: String,
    /// Its name; empty: it is not in the fleet any more.
    pub name: String,
    /// Each reason, one line.
    pub why: Vec<String>,
}

/// Why hosts of a rollout failed on their last grants, or skipped it, as far as they said; the first `most` of them, those that failed
/// before the others, or one host alone.
pub async fn failures(
    store: &Store,
    plan: &str,
    host: Option<&str>,
    most: i64,
) -> Result<Vec<Failure>, Error> {
    let rows = sqlx::query(
        "SELECT e.host, COALESCE(h.name, ''), e.seen FROM evidence e \
         JOIN rollout_jobs j ON j.plan = e.plan AND j.host = e.host AND j.fence = e.fence \
         LEFT JOIN hosts h ON h.id = e.host \
         WHERE e.plan = $1 AND j.counts IN ('failed', 'skipped') AND ($2 = '' OR e.host = $2) \
         ORDER BY j.counts, e.at, e.host LIMIT $3",
    )
    .bind(plan.to_owned())
    .bind(host.unwrap_or_default().to_owned())
    .bind(most)
    .fetch_all(store.reader())
    .await
    .doing("read why hosts failed")?;
    let mut failures = Vec::new();
    for row in rows {
        let host: String = row.get(0);
        let object = format!("the evidence of plan {plan} on host {host}");
        let seen = unpack(&object, row.get::<&[u8], _>(2), EVIDENCE_BYTES_MAX)?;
        let seen: Value = serde_json::from_slice(&seen)
            .map_err(|_| Error::Damaged { object, reason: "it is not JSON".to_owned() })?;
        let said = seen["why"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let why: Vec<String> = said.take(REASONS_MAX).map(|line| clean(line, REASON_BYTES_MAX)).collect();
        if !why.is_empty() {
            failures.push(Failure { host, name: row.get(1), why });
        }
    }
    Ok(failures)
}

/// Hosts that failed on their last grants and of which no evidence is here: it did not come yet, or the host sends none.
pub async fn unheard(store: &Store, plan: &str) -> Result<u32, Error> {
    let count: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM rollout_jobs j WHERE j.plan = $1 AND j.counts = 'failed' AND NOT EXISTS \
         (SELECT 1 FROM evidence e WHERE e.host = j.host AND e.plan = j.plan AND e.fence = j.fence)",
    )
    .bind(plan.to_owned())
    .fetch_one(store.reader())
    .await
    .doing("count hosts that failed and did not say why")?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Up to `most` of a host, the newest first, that came before `before`.
pub async fn of_host(store: &Store, host: &str, before: Timestamp, most: i64) -> Result<Vec<Stored>, Error> {
    let rows = sqlx::query(
        "SELECT plan, fence, at, seen FROM evidence WHERE host = $1 AND at < $2 ORDER BY at DESC, plan, fence LIMIT $3",
    )
    .bind(host.to_owned())
    .bind(before.as_microsecond())
    .bind(most)
    .fetch_all(store.reader())
    .await
    .doing("read a host's evidence")?;
    rows.iter()
        .map(|row| {
            let plan: String = row.get(0);
            let object = format!("the evidence of plan {plan} on host {host}");
            let damaged = |reason: &str| Error::Damaged { object: object.clone(), reason: reason.to_owned() };
            let seen = unpack(&object, row.get::<&[u8], _>(3), EVIDENCE_BYTES_MAX)?;
            Ok(Stored {
                fence: row.get(1),
                at: Timestamp::from_microsecond(row.get(2))
                    .map_err(|_| damaged("its time is out of range"))?,
                seen: serde_json::from_slice(&seen).map_err(|_| damaged("it is not JSON"))?,
                plan,
            })
        })
        .collect()
}
