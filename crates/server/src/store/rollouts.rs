//! Rollouts: where each stands, and the lock under which everything about it changes.
//!
//! Whoever writes anything of a rollout holds its row ([`lock`]), in the order of plans' ids. What is bounded (places of a
//! wave, of a service) is bounded once more by the statement that takes it.

pub mod evidence;
pub mod job_list;
pub mod jobs;
pub mod list;
pub mod reports;
pub mod services;
pub mod tally;
pub mod waves;
pub mod withdrawn;

use super::{Doing, Error, Store, Writing};
use flate2::read::ZlibDecoder;
use jiff::Timestamp;
use rollout::grant::Row;
use rollout::plan::{BYTES_MAX, Plan, PlanId};
use rollout::rollout::{At, Event, Halt, Phase, Rollout, State};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use std::io::Read as _;

/// A rollout's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it stands.
    pub rollout: Rollout,
    /// Answers about health since the present wave settled.
    pub samples: u32,
    /// Whether the sweep and the desk have something to do with it.
    pub active: bool,
    /// When its state changed last.
    pub changed_at: Timestamp,
    /// Counts the transactions that held its lock and were committed.
    pub revision: i64,
}

/// Locks a rollout until the transaction ends, and reads it; `None`: there is none. Several are to be locked in the order
/// of their plans' ids.
pub async fn lock(writing: &mut Writing, plan: PlanId) -> Result<Option<Stored>, Error> {
    let row = sqlx::query(
        "UPDATE rollouts SET revision = revision + 1 WHERE plan = $1 \
         RETURNING state, threshold, waves, generation, samples, active, changed_at, revision, plan",
    )
    .bind(plan.to_string())
    .fetch_optional(&mut **writing)
    .await
    .doing("lock a rollout")?;
    row.as_ref().map(stored).transpose()
}

/// Reads a rollout without a lock.
pub async fn read(reading: &mut AnyConnection, plan: PlanId) -> Result<Option<Stored>, Error> {
    let row = sqlx::query(
        "SELECT state, threshold, waves, generation, samples, active, changed_at, revision, plan \
         FROM rollouts WHERE plan = $1",
    )
    .bind(plan.to_string())
    .fetch_optional(reading)
    .await
    .doing("read a rollout")?;
    row.as_ref().map(stored).transpose()
}

/// Plans of the rollouts with which the desk and the sweep have something to do.
pub async fn active(store: &Store) -> Result<Vec<PlanId>, Error> {
    let rows = sqlx::query("SELECT plan FROM rollouts WHERE active = 1 ORDER BY plan");
    let rows = rows.fetch_all(store.reader()).await.doing("read which rollouts are under way")?;
    rows.iter().map(|row| id(row, 0).map(PlanId)).collect()
}

/// Begins a rollout's books: its row, its waves, the service groups that its plan names.
pub async fn insert(
    writing: &mut Writing,
    plan: &Plan,
    rollout: &Rollout,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO rollouts (plan, state, word, active, threshold, waves, generation, samples, settled_at, changed_at, \
         revision) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8, 1)",
    )
    .bind(plan.id.to_string())
    .bind(json(&rollout.state))
    .bind(word(&rollout.state))
    .bind(i64::from(is_active(rollout, &[])))
    .bind(wide(rollout.threshold))
    .bind(wide(rollout.waves))
    .bind(i64::from(rollout.generation))
    .bind(now.as_microsecond())
    .execute(&mut **writing)
    .await
    .doing("begin a rollout's books")?;
    for (number, wave) in plan.waves.iter().enumerate() {
        waves::insert(writing, plan.id, number, &Row::new(wave)).await?;
    }
    services::define(writing, plan).await
}

/// Writes where a rollout stands; its row is locked. Answers about health count anew when another wave settles.
pub async fn write(
    writing: &mut Writing,
    plan: PlanId,
    after: &Rollout,
    rows: &[Row],
    turned: bool,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE rollouts SET state = $1, word = $2, active = $3, generation = $4, \
         samples = CASE WHEN settled_at = $5 THEN samples ELSE 0 END, settled_at = $5, \
         changed_at = CASE WHEN $6 = 1 THEN $7 ELSE changed_at END WHERE plan = $8",
    )
    .bind(json(&after.state))
    .bind(word(&after.state))
    .bind(i64::from(is_active(after, rows)))
    .bind(i64::from(after.generation))
    .bind(settled(&after.state).map_or(0, Timestamp::as_microsecond))
    .bind(i64::from(turned))
    .bind(now.as_microsecond())
    .bind(plan.to_string())
    .execute(&mut **writing)
    .await
    .doing("write where a rollout stands")?;
    Ok(())
}

/// Whether the desk and the sweep have something to do with a rollout: it is signed and not over, or hosts still hold
/// places.
pub fn is_active(rollout: &Rollout, rows: &[Row]) -> bool {
    match &rollout.state {
        State::Draft | State::Signed { .. } => false,
        State::Armed
        | State::Wave(_)
        | State::Paused { .. }
        | State::Halted { .. }
        | State::RollingBack { .. } => true,
        State::RolledBack
        | State::Complete
        | State::Aborted { .. }
        | State::Superseded { .. }
        | State::Retracted { .. } => rows.iter().any(|row| row.inflight > 0),
    }
}

/// Since when the present wave has settled; `None`: it has not, or there is none.
pub fn settled(state: &State) -> Option<Timestamp> {
    match state {
        State::Wave(At { phase: Phase::Soak { since } | Phase::Gate { since }, .. }) => Some(*since),
        State::Wave(At { phase: Phase::Open, .. })
        | State::Draft
        | State::Signed { .. }
        | State::Armed
        | State::Paused { .. }
        | State::Halted { .. }
        | State::RollingBack { .. }
        | State::RolledBack
        | State::Complete
        | State::Aborted { .. }
        | State::Superseded { .. }
        | State::Retracted { .. } => None,
    }
}

/// A state's word, for lists.
pub fn word(state: &State) -> &'static str {
    match state {
        State::Draft => "draft",
        State::Signed { .. } => "signed",
        State::Armed => "armed",
        State::Wave(_) => "wave",
        State::Paused { .. } => "paused",
        State::Halted { .. } => "halted",
        State::RollingBack { .. } => "rolling-back",
        State::RolledBack => "rolled-back",
        State::Complete => "complete",
        State::Aborted { .. } => "aborted",
        State::Superseded { .. } => "superseded",
        State::Retracted { .. } => "retracted",
    }
}

/// Halts what was under way when a backup was made: the books are older than the hosts. Gives how many were.
pub async fn halt_restored(store: &Store, now: Timestamp) -> Result<u64, Error> {
    let mut writing = store.begin().await?;
    let text = "SELECT state, threshold, waves, generation, samples, active, changed_at, revision, plan \
                FROM rollouts WHERE word = 'wave' ORDER BY plan";
    let rows = sqlx::query(text).fetch_all(&mut *writing).await.doing("read which rollouts are under way")?;
    let mut count = 0;
    for row in &rows {
        let plan = PlanId(id(row, 8)?);
        let why = "the store was restored from a backup, which is older than the hosts".to_owned();
        let halt = Event::Halted(Halt::Ordered { by: "restore".to_owned(), why });
        let (halted, _) = stored(row)?.rollout.step(halt, now).map_err(|refused| Error::Damaged {
            object: format!("rollout {plan}"),
            reason: refused.to_string(),
        })?;
        let mut waves = waves::read(&mut writing, plan).await?;
        for (number, before) in waves.iter_mut().enumerate() {
            let after = before.turn(rollout::grant::Door::Shut);
            waves::write(&mut writing, plan, number, before, &after, waves::Granted::default()).await?;
            *before = after;
        }
        write(&mut writing, plan, &halted, &waves, true, now).await?;
        count += 1;
    }
    super::commit(writing, "halt what was under way").await?;
    Ok(count)
}

/// A plan's packed bytes; `None`: no such plan, or it is not made yet.
pub async fn packed_plan(store: &Store, plan: PlanId) -> Result<Option<Vec<u8>>, Error> {
    let body: Option<Option<Vec<u8>>> = sqlx::query_scalar("SELECT body FROM plans WHERE id = $1")
        .bind(plan.to_string())
        .fetch_optional(store.reader())
        .await
        .doing("read a plan")?;
    Ok(body.flatten())
}

/// Unpacks what [`packed_plan`] gives.
pub fn unpacked(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = ZlibDecoder::new(packed).take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|problem| problem.to_string())?;
    Ok(bytes)
}

fn stored(row: &AnyRow) -> Result<Stored, Error> {
    let rollout = Rollout {
        state: parsed(row, 0, "a rollout's state")?,
        threshold: small(row, 1)?,
        waves: small(row, 2)?,
        generation: small(row, 3)?,
    };
    Ok(Stored {
        rollout,
        samples: small(row, 4)?,
        active: row.get::<i64, _>(5) == 1,
        changed_at: time(row, 6)?,
        revision: row.get(7),
    })
}

/// What is kept as JSON, in a column of text.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("states and reports are numbers and texts")
}

pub(super) fn parsed<T: DeserializeOwned>(row: &AnyRow, at: usize, what: &str) -> Result<T, Error> {
    serde_json::from_str(row.get(at))
        .map_err(|problem| Error::Damaged { object: what.to_owned(), reason: problem.to_string() })
}

pub(super) fn small<T: TryFrom<i64>>(row: &AnyRow, at: usize) -> Result<T, Error> {
    let number: i64 = row.get(at);
    T::try_from(number).map_err(|_| Error::Damaged {
        object: "a number of a rollout".to_owned(),
        reason: format!("{number} is out of range"),
    })
}

pub(super) fn time(row: &AnyRow, at: usize) -> Result<Timestamp, Error> {
    Timestamp::from_microsecond(row.get(at)).map_err(|problem| Error::Damaged {
        object: "a time of a rollout".to_owned(),
        reason: problem.to_string(),
    })
}

pub(super) fn id(row: &AnyRow, at: usize) -> Result<uuid::Uuid, Error> {
    let text: &str = row.get(at);
    uuid::Uuid::parse_str(text)
        .map_err(|problem| Error::Damaged { object: format!("the id {text:?}"), reason: problem.to_string() })
}

pub(crate) fn wide(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
