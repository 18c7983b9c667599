//! What is kept only for a while.

use super::DAY_HOURS;
use crate::store::{Doing, Error, Store, commit, delete_past};
use jiff::Timestamp;

/// For how long, days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Hours of hosts and of the fleet.
    pub hours_days: u32,
    /// Days of the fleet.
    pub days: u32,
}

/// Deletes what is past. Whole days only: a day whose hours are gone is not counted any more, not even in part.
pub async fn prune(store: &Store, now: Timestamp, kept: Kept) -> Result<(), Error> {
    let today = now.as_second().div_euclid(3_600 * DAY_HOURS);
    let (hours_from, days_from) = (today - i64::from(kept.hours_days), today - i64::from(kept.days));
    delete_past(
        store,
        "DELETE FROM census_hours WHERE (host, day) IN (SELECT host, day FROM census_hours WHERE day < $1 LIMIT $2)",
        hours_from,
        "delete hours that are past",
    )
    .await?;
    let mut writing = store.begin().await?;
    for (statement, limit) in [
        // One more day: windows of a day end at any hour.
        ("DELETE FROM census_fleet_hours WHERE hour < $1", (hours_from - 1) * DAY_HOURS),
        ("DELETE FROM census_days WHERE day < $1", days_from),
        ("DELETE FROM census_requests WHERE day < $1", days_from),
        ("DELETE FROM census_hosts WHERE last_hour < $1", days_from * DAY_HOURS),
        ("DELETE FROM census_attacked WHERE until_at < $1", days_from * DAY_HOURS * 3_600_000_000),
        ("DELETE FROM census_alarms WHERE until_at < $1", days_from * DAY_HOURS * 3_600_000_000),
    ] {
        sqlx::query(statement)
            .bind(limit)
            .execute(&mut *writing)
            .await
            .doing("delete counts that are past")?;
    }
    commit(writing, "delete counts that are past").await
}
