//! What hosts reported, each number once; and which versions failed.

use super::{json, parsed, small, time};
use crate::store::{Dialect, Doing, Error, Store, Writing, delete_past};
use jiff::{SignedDuration, Timestamp};
use rollout::denylist::Denylist;
use rollout::job::Outcome;
use rollout::order::Report;
use rollout::plan::{HostId, PlanId};
use serde_json::{Value, json as object};
use sqlx::{AssertSqlSafe, Row as _};

/// One report as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The grant.
    pub fence: u64,
    /// Its number.
    pub seq: u64,
    /// When it came first.
    pub at: Timestamp,
    /// What it said.
    pub report: Report,
    /// What became of it: `changed`, `same`, `stale`.
    pub outcome: String,
}

/// Keeps reports. A number that was kept before stays as it was.
pub async fn keep(
    writing: &mut Writing,
    dialect: Dialect,
    reports: &[(HostId, Report, Outcome)],
    now: Timestamp,
) -> Result<(), Error> {
    let row = |(host, report, outcome): &(HostId, Report, Outcome)| {
        object!({
            "plan": report.plan,
            "host": host,
            "fence": report.fence.cast_signed(),
            "seq": report.seq.cast_signed(),
            "report": json(report),
            "outcome": match outcome {
                Outcome::Changed => "changed",
                Outcome::Same => "same",
                Outcome::Stale => "stale",
            },
        })
    };
    let rows: Vec<Value> = reports.iter().map(row).collect();
    let text = format!(
        "INSERT INTO rollout_reports (plan, host, fence, seq, at, report, outcome) \
         SELECT r.value->>'plan', r.value->>'host', CAST(r.value->>'fence' AS BIGINT), CAST(r.value->>'seq' AS BIGINT), \
         $2, r.value->>'report', r.value->>'outcome' FROM {} r WHERE 1 = 1 ON CONFLICT DO NOTHING",
        dialect.elements("$1")
    );
    sqlx::query(AssertSqlSafe(text))
        .bind(Value::from(rows).to_string())
        .bind(now.as_microsecond())
        .execute(&mut **writing)
        .await
        .doing("keep reports")?;
    Ok(())
}

/// A host's reports about a plan, in the order of grants and numbers.
pub async fn of_host(store: &Store, plan: PlanId, host: HostId) -> Result<Vec<Kept>, Error> {
    let rows = sqlx::query(
        "SELECT fence, seq, at, report, outcome FROM rollout_reports WHERE plan = $1 AND host = $2 ORDER BY fence, seq",
    )
    .bind(plan.to_string())
    .bind(host.to_string())
    .fetch_all(store.reader())
    .await
    .doing("read a host's reports")?;
    let kept = |row: &sqlx::any::AnyRow| {
        Ok(Kept {
            fence: small(row, 0)?,
            seq: small(row, 1)?,
            at: time(row, 2)?,
            report: parsed(row, 3, "a report")?,
            outcome: row.get(4),
        })
    };
    rows.iter().map(kept).collect()
}

/// Deletes reports from longer than `keep` ago about rollouts that have been over for as long; gives how many. What each host said
/// last stays with its job, and its evidence has a time of its own.
pub async fn prune(store: &Store, now: Timestamp, keep: SignedDuration) -> Result<u64, Error> {
    let text = "DELETE FROM rollout_reports WHERE (plan, host, fence, seq) IN \
         (SELECT r.plan, r.host, r.fence, r.seq FROM rollouts o JOIN rollout_reports r ON r.plan = o.plan \
         WHERE o.word IN ('complete', 'rolled-back', 'aborted', 'superseded', 'retracted') AND o.active = 0 \
         AND o.changed_at < $1 AND r.at < $1 LIMIT $2)";
    let before = now.saturating_sub(keep).unwrap_or(Timestamp::MIN).as_microsecond();
    delete_past(store, text, before, "delete old reports").await
}

/// Notes versions that failed. What is noted already keeps its first reason.
pub async fn deny(writing: &mut Writing, failed: &Denylist) -> Result<(), Error> {
    for (key, entry) in failed.entries() {
        sqlx::query(
            "INSERT INTO denied (package, version, class, plan, why, at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT DO NOTHING",
        )
        .bind(key.package.clone())
        .bind(key.version.clone())
        .bind(key.class.clone())
        .bind(entry.plan.to_string())
        .bind(json(&entry.why))
        .bind(entry.at.as_microsecond())
        .execute(&mut **writing)
        .await
        .doing("note what failed")?;
    }
    Ok(())
}
