//! Waves' books. One statement changes a row, and its `WHERE` holds the budget: it is `grant::Row::may_grant` in SQL, and
//! the tests hold both against each other.

use super::{small, wide};
use crate::store::{Doing, Error, Writing};
use rollout::grant::{Door, Row};
use rollout::order::Direction;
use rollout::plan::PlanId;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

/// Grants that a change of a row contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Towards the new versions.
    pub forward: u32,
    /// Towards the old ones.
    pub back: u32,
}

impl Granted {
    /// One grant.
    pub fn one(direction: Direction) -> Self {
        match direction {
            Direction::Forward => Self { forward: 1, back: 0 },
            Direction::Back => Self { forward: 0, back: 1 },
        }
    }
}

pub(super) async fn insert(writing: &mut Writing, plan: PlanId, wave: usize, row: &Row) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO rollout_waves (plan, wave, epoch, door, hosts, inflight, inflight_max, proven, skipped, failed, lost, \
         bad_max, late) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(plan.to_string())
    .bind(wide(wave))
    .bind(row.epoch.cast_signed())
    .bind(word(row.door))
    .bind(i64::from(row.hosts))
    .bind(i64::from(row.inflight))
    .bind(i64::from(row.inflight_max))
    .bind(i64::from(row.proven))
    .bind(i64::from(row.skipped))
    .bind(i64::from(row.failed))
    .bind(i64::from(row.lost))
    .bind(i64::from(row.bad_max))
    .bind(i64::from(row.late))
    .execute(&mut **writing)
    .await
    .doing("begin a wave's books")?;
    Ok(())
}

/// All waves of a rollout, in order.
pub async fn read(reading: &mut AnyConnection, plan: PlanId) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query(
        "SELECT epoch, door, hosts, inflight, inflight_max, proven, skipped, failed, lost, bad_max, late \
         FROM rollout_waves WHERE plan = $1 ORDER BY wave",
    )
    .bind(plan.to_string())
    .fetch_all(reading)
    .await
    .doing("read the books of waves")?;
    rows.iter().map(row).collect()
}

/// Books on a wave's row what lies between `before` and `after`. False: the row was opened or shut since `before` was
/// read, or has no room for what was granted; the transaction is to be dropped then.
pub async fn write(
    writing: &mut Writing,
    plan: PlanId,
    wave: usize,
    before: &Row,
    after: &Row,
    granted: Granted,
) -> Result<bool, Error> {
    let difference = |after: u32, before: u32| i64::from(after) - i64::from(before);
    let done = sqlx::query(
        "UPDATE rollout_waves SET epoch = $1, door = $2, inflight = inflight + $3, proven = proven + $4, \
         skipped = skipped + $5, failed = failed + $6, lost = lost + $7, late = late + $8, bad_max = $9 \
         WHERE plan = $10 AND wave = $11 AND epoch = $12 AND inflight + $3 BETWEEN 0 AND inflight_max \
         AND ($13 = 0 OR door = 'open' AND failed + lost <= bad_max) AND ($14 = 0 OR door = 'back')",
    )
    .bind(after.epoch.cast_signed())
    .bind(word(after.door))
    .bind(difference(after.inflight, before.inflight))
    .bind(difference(after.proven, before.proven))
    .bind(difference(after.skipped, before.skipped))
    .bind(difference(after.failed, before.failed))
    .bind(difference(after.lost, before.lost))
    .bind(difference(after.late, before.late))
    .bind(i64::from(after.bad_max))
    .bind(plan.to_string())
    .bind(wide(wave))
    .bind(before.epoch.cast_signed())
    .bind(i64::from(granted.forward))
    .bind(i64::from(granted.back))
    .execute(&mut **writing)
    .await
    .doing("write the books of a wave")?;
    Ok(done.rows_affected() == 1)
}

/// A door's word.
pub fn word(door: Door) -> &'static str {
    match door {
        Door::Shut => "shut",
        Door::Open => "open",
        Door::Back => "back",
    }
}

fn row(row: &AnyRow) -> Result<Row, Error> {
    let door = match row.get(1) {
        "shut" => Door::Shut,
        "open" => Door::Open,
        "back" => Door::Back,
        other => {
            let reason = format!("its door is {other:?}");
            return Err(Error::Damaged { object: "a wave's books".to_owned(), reason });
        }
    };
    Ok(Row {
        epoch: row.get::<i64, _>(0).cast_unsigned(),
        door,
        hosts: small(row, 2)?,
        inflight: small(row, 3)?,
        inflight_max: small(row, 4)?,
        proven: small(row, 5)?,
        skipped: small(row, 6)?,
        failed: small(row, 7)?,
        lost: small(row, 8)?,
        bad_max: small(row, 9)?,
        late: small(row, 10)?,
    })
}
