//! Hosts' jobs. Many are read and written by one statement; its text does not depend on how many.

use super::{id, json, parsed, small, time, wide};
use crate::store::{Dialect, Doing, Error, Writing};
use jiff::Timestamp;
use rollout::job::{Count, Job, State};
use rollout::order::Direction;
use rollout::plan::{HostId, Plan, PlanId};
use serde_json::{Value, json as object};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};
use std::collections::BTreeMap;

/// Jobs in one statement of [`queue`].
const QUEUED_AT_ONCE: usize = 5_000;

/// The jobs of these hosts; who has none is left out. (A cross join, because SQLite keeps its order: the hosts asked for
/// first, each by the key, instead of a plan's 100,000 jobs.)
pub async fn of_hosts(
    reading: &mut AnyConnection,
    dialect: Dialect,
    plan: PlanId,
    hosts: &[HostId],
) -> Result<BTreeMap<HostId, Job>, Error> {
    let text = format!(
        "SELECT j.host, j.state, j.direction, j.fence, j.machine, j.last, j.until_at, j.charged, j.begun, j.late \
         FROM {} asked CROSS JOIN rollout_jobs j WHERE j.plan = $2 AND j.host = asked.value",
        dialect.scalars("$1")
    );
    let rows = sqlx::query(AssertSqlSafe(text)).bind(json(&hosts)).bind(plan.to_string());
    rows.fetch_all(reading)
        .await
        .doing("read jobs")?
        .iter()
        .map(|row| Ok((HostId(id(row, 0)?), job(row)?)))
        .collect()
}

/// All late joiners of a plan.
pub async fn late(reading: &mut AnyConnection, plan: PlanId) -> Result<Vec<HostId>, Error> {
    let rows =
        sqlx::query("SELECT host FROM rollout_jobs WHERE plan = $1 AND late = 1").bind(plan.to_string());
    rows.fetch_all(reading)
        .await
        .doing("read late joiners")?
        .iter()
        .map(|row| Ok(HostId(id(row, 0)?)))
        .collect()
}

/// By which plans these hosts are charged.
pub async fn charged(
    reading: &mut AnyConnection,
    dialect: Dialect,
    hosts: &[HostId],
) -> Result<Vec<(HostId, PlanId)>, Error> {
    let text = format!(
        "SELECT j.host, j.plan FROM {} asked CROSS JOIN rollout_jobs j WHERE j.host = asked.value AND j.charged = 1",
        dialect.scalars("$1")
    );
    let rows = sqlx::query(AssertSqlSafe(text)).bind(json(&hosts)).fetch_all(reading).await;
    rows.doing("read which hosts are under change")?
        .iter()
        .map(|row| Ok((HostId(id(row, 0)?), PlanId(id(row, 1)?))))
        .collect()
}

/// Writes jobs; the rollout's row is locked.
pub async fn write(
    writing: &mut Writing,
    dialect: Dialect,
    plan: PlanId,
    jobs: &[(HostId, usize, Job)],
    now: Timestamp,
) -> Result<(), Error> {
    let rows: Vec<Value> = jobs.iter().map(|(host, wave, job)| row(*host, *wave, job)).collect();
    upsert(writing, dialect, plan, rows, now).await
}

/// Queues a job for every host that the plan names.
pub async fn queue(
    writing: &mut Writing,
    dialect: Dialect,
    plan: &Plan,
    now: Timestamp,
) -> Result<(), Error> {
    let hosts =
        plan.waves.iter().enumerate().flat_map(|(wave, named)| named.hosts().map(move |host| (host, wave)));
    let mut hosts: Vec<_> = hosts.collect();
    // In the order of the index: pages are written once.
    hosts.sort_unstable();
    for some in hosts.chunks(QUEUED_AT_ONCE) {
        let rows = some.iter().map(|&(host, wave)| row(host, wave, &Job::queued(false))).collect();
        upsert(writing, dialect, plan.id, rows, now).await?;
    }
    if let Some(text) = dialect.look_at_jobs() {
        sqlx::query(text).execute(&mut **writing).await.doing("look at the jobs that were queued")?;
    }
    Ok(())
}

async fn upsert(
    writing: &mut Writing,
    dialect: Dialect,
    plan: PlanId,
    rows: Vec<Value>,
    now: Timestamp,
) -> Result<(), Error> {
    let number = |name: &str| format!("CAST(r.value->>'{name}' AS BIGINT)");
    let text = format!(
        "INSERT INTO rollout_jobs (plan, host, wave, state, counts, direction, fence, machine, last, until_at, charged, begun, \
         late, returns, changed_at) \
         SELECT $2, r.value->>'host', {}, r.value->>'state', r.value->>'counts', r.value->>'direction', {}, {}, \
         r.value->>'last', {}, {}, r.value->>'begun', {}, {}, $3 FROM {} r WHERE 1 = 1 \
         ON CONFLICT (plan, host) DO UPDATE SET state = excluded.state, counts = excluded.counts, \
         direction = excluded.direction, fence = excluded.fence, machine = excluded.machine, last = excluded.last, \
         until_at = excluded.until_at, charged = excluded.charged, begun = excluded.begun, returns = excluded.returns, \
         changed_at = excluded.changed_at",
        number("wave"),
        number("fence"),
        number("machine"),
        number("until"),
        number("charged"),
        number("late"),
        number("returns"),
        dialect.elements("$1"),
    );
    sqlx::query(AssertSqlSafe(text))
        .bind(Value::from(rows).to_string())
        .bind(plan.to_string())
        .bind(now.as_microsecond())
        .execute(&mut **writing)
        .await
        .doing("write jobs")?;
    Ok(())
}

/// What the sweep has to look at.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    /// Leases and deadlines that ended by then.
    pub now: Timestamp,
    /// Hosts of this wave that were not granted and not heard since then.
    pub silent: Option<(usize, Timestamp)>,
}

/// Hosts whose jobs are due, up to `most`, with when each was heard last.
pub async fn due(
    reading: &mut AnyConnection,
    plan: PlanId,
    due: Due,
    most: i64,
) -> Result<Vec<(HostId, Option<Timestamp>)>, Error> {
    let rows = sqlx::query(
        "SELECT host FROM rollout_jobs WHERE plan = $1 AND counts IN ('preparing', 'under-change') AND until_at <= $2 \
         ORDER BY host LIMIT $3",
    )
    .bind(plan.to_string())
    .bind(due.now.as_microsecond())
    .bind(most)
    .fetch_all(&mut *reading)
    .await
    .doing("read whose time is over")?;
    // Only silence asks when a host was heard.
    let mut found: Vec<(HostId, Option<Timestamp>)> =
        rows.iter().map(|row| Ok((HostId(id(row, 0)?), None))).collect::<Result<_, Error>>()?;
    let Some((wave, since)) = due.silent else { return Ok(found) };
    let rows = sqlx::query(
        "SELECT j.host, h.heard_at FROM rollout_jobs j \
         LEFT JOIN rollout_health h ON h.host = j.host AND (j.fence = 0 OR h.machine = j.machine) \
         WHERE j.plan = $1 AND j.counts = 'queued' AND j.wave = $2 AND (h.heard_at IS NULL OR h.heard_at < $3) \
         ORDER BY j.host LIMIT $4",
    )
    .bind(plan.to_string())
    .bind(wide(wave))
    .bind(since.as_microsecond())
    .bind(most - wide(found.len()))
    .fetch_all(reading)
    .await
    .doing("read who is silent")?;
    for row in &rows {
        let heard = row.get::<Option<i64>, _>(1).map(|_| time(row, 1)).transpose()?;
        found.push((HostId(id(row, 0)?), heard));
    }
    Ok(found)
}

/// What a job counts as, in more words than the engine needs.
pub fn counts(state: State) -> &'static str {
    match state.count() {
        Count::Open if state == State::Queued => "queued",
        Count::Open if state.is_preparing() => "preparing",
        Count::Open => "under-change",
        Count::Proven => "proven",
        Count::Skipped => "skipped",
        Count::Failed => "failed",
        Count::Lost => "lost",
    }
}

/// Whether a rollback is not done with a job: its host is to go back, or is on its way.
fn returns(job: &Job) -> bool {
    job.can_be_granted(Direction::Back) || job.charged && job.state.count() == Count::Open
}

fn row(host: HostId, wave: usize, job: &Job) -> Value {
    object!({
        "host": host,
        "wave": wave,
        "state": json(&job.state),
        "counts": counts(job.state),
        "direction": direction(job.direction),
        "fence": job.fence.cast_signed(),
        "machine": job.machine.cast_signed(),
        "last": job.last.as_ref().map(json),
        "until": job.until.as_microsecond(),
        "charged": i64::from(job.charged),
        "begun": job.begun.as_ref().map(json),
        "late": i64::from(job.late),
        "returns": i64::from(returns(job)),
    })
}

/// A direction's word.
pub fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::Back => "back",
    }
}

/// A job from columns 1 to 9: state, direction, fence, machine, last, until, charged, begun, late.
pub(super) fn job(row: &AnyRow) -> Result<Job, Error> {
    let some = |at: usize| row.get::<Option<&str>, _>(at).is_some();
    Ok(Job {
        state: parsed(row, 1, "a job's state")?,
        direction: match row.get(2) {
            "forward" => Direction::Forward,
            "back" => Direction::Back,
            other => {
                let reason = format!("its direction is {other:?}");
                return Err(Error::Damaged { object: "a job".to_owned(), reason });
            }
        },
        fence: small(row, 3)?,
        machine: row.get::<i64, _>(4).cast_unsigned(),
        last: some(5).then(|| parsed(row, 5, "a job's last report")).transpose()?,
        until: time(row, 6)?,
        charged: row.get::<i64, _>(7) == 1,
        begun: some(8).then(|| parsed(row, 8, "a job's clearance")).transpose()?,
        late: row.get::<i64, _>(9) == 1,
    })
}
