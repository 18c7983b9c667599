//! Counts of jobs, by the database.

use super::{id, parsed, small, wide};
use crate::store::{Doing, Error};
use jiff::Timestamp;
use rollout::engine::Tally;
use rollout::gate::Health;
use rollout::plan::{HostId, PlanId};
use sqlx::{AnyConnection, Row as _};
use std::collections::BTreeMap;

/// Jobs of a wave that are not settled, and of these queued ones.
pub async fn open(reading: &mut AnyConnection, plan: PlanId, wave: usize) -> Result<(u32, u32), Error> {
    let row = sqlx::query(
        "SELECT COUNT(*), COUNT(CASE WHEN counts = 'queued' THEN 1 END) FROM rollout_jobs \
         WHERE plan = $1 AND wave = $2 AND counts IN ('queued', 'preparing', 'under-change')",
    )
    .bind(plan.to_string())
    .bind(wide(wave))
    .fetch_one(reading)
    .await
    .doing("count a wave's open jobs")?;
    Ok((small(&row, 0)?, small(&row, 1)?))
}

/// The charged job of a wave that has been under change for longest: the one whose lease or deadline ends first.
async fn longest(
    reading: &mut AnyConnection,
    plan: PlanId,
    wave: usize,
) -> Result<Option<(HostId, rollout::job::State)>, Error> {
    let row = sqlx::query(
        "SELECT host, state FROM rollout_jobs WHERE plan = $1 AND wave = $2 AND counts IN ('preparing', 'under-change') \
         AND charged = 1 ORDER BY until_at, host LIMIT 1",
    )
    .bind(plan.to_string())
    .bind(wide(wave))
    .fetch_optional(reading)
    .await
    .doing("read who is under change for longest")?;
    row.map(|row| Ok((HostId(id(&row, 0)?), parsed(&row, 1, "a job's state")?))).transpose()
}

/// Jobs of a rollout with which a rollback is not done.
pub async fn back(reading: &mut AnyConnection, plan: PlanId) -> Result<u32, Error> {
    let row = sqlx::query("SELECT COUNT(*) FROM rollout_jobs WHERE plan = $1 AND returns = 1")
        .bind(plan.to_string())
        .fetch_one(reading)
        .await
        .doing("count who is to go back")?;
    small(&row, 0)
}

/// Alerts that fire.
pub async fn alerts(reading: &mut AnyConnection) -> Result<u32, Error> {
    let row = sqlx::query("SELECT COUNT(*) FROM alerts WHERE holds = 1")
        .fetch_one(reading)
        .await
        .doing("count alerts")?;
    small(&row, 0)
}

/// What the engine asks about the present wave of a rollout: everything. `evidence`: from when on a host counts as heard.
pub async fn whole(
    reading: &mut AnyConnection,
    plan: PlanId,
    wave: usize,
    evidence: Timestamp,
    samples: u32,
) -> Result<Tally, Error> {
    let (open, queued) = open(&mut *reading, plan, wave).await?;
    let longest = longest(&mut *reading, plan, wave).await?;
    let row = sqlx::query(
        "SELECT COUNT(CASE WHEN j.wave = $2 AND j.counts = 'proven' AND j.late = 0 AND h.healthy = 1 THEN 1 END), \
         COUNT(CASE WHEN j.counts = 'proven' THEN 1 END), \
         COUNT(CASE WHEN j.counts = 'proven' AND h.healthy = 0 THEN 1 END), \
         COUNT(CASE WHEN j.counts = 'queued' THEN 1 END), \
         COUNT(CASE WHEN j.counts = 'queued' AND h.healthy = 0 THEN 1 END) \
         FROM rollout_jobs j JOIN rollout_health h ON h.host = j.host AND (j.fence = 0 OR h.machine = j.machine) \
         WHERE j.plan = $1 AND j.counts IN ('proven', 'queued') AND (j.counts = 'proven' OR j.direction = 'forward') \
         AND h.heard_at >= $3 AND h.healthy IS NOT NULL",
    )
    .bind(plan.to_string())
    .bind(wide(wave))
    .bind(evidence.as_microsecond())
    .fetch_one(&mut *reading)
    .await
    .doing("count who was heard")?;
    Ok(Tally {
        open,
        queued,
        longest,
        proven_heard: small(&row, 0)?,
        samples,
        patched: Health { heard: small(&row, 1)?, unhealthy: small(&row, 2)? },
        unpatched: Health { heard: small(&row, 3)?, unhealthy: small(&row, 4)? },
        alerts: Some(alerts(&mut *reading).await?),
        back: back(reading, plan).await?,
    })
}

/// How many jobs count as what, by wave.
pub async fn by_wave(
    reading: &mut AnyConnection,
    plan: PlanId,
) -> Result<BTreeMap<usize, BTreeMap<String, u32>>, Error> {
    let rows =
        sqlx::query("SELECT wave, counts, COUNT(*) FROM rollout_jobs WHERE plan = $1 GROUP BY wave, counts")
            .bind(plan.to_string())
            .fetch_all(reading)
            .await
            .doing("count jobs")?;
    let mut waves: BTreeMap<usize, BTreeMap<String, u32>> = BTreeMap::new();
    for row in &rows {
        waves.entry(small(row, 0)?).or_default().insert(row.get(1), small(row, 2)?);
    }
    Ok(waves)
}
