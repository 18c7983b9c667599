//! What monitoring says is wrong, and what the census does. Gates hold while anything is that monitoring said.

use super::audit::{self, Actor};
use super::events::{self, Kind};
use super::{Doing, Error, Store, Writing, commit};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::Row;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What it is known by.
    pub name: String,
    /// Since when.
    pub since: Timestamp,
    /// What is said about it.
    pub detail: Value,
    /// Whether gates hold while it is. What the census says holds none: the fix must not wait until the attack is over.
    pub holds: bool,
}

/// What the names of the census's alerts begin with.
pub const OF_CENSUS: &str = "census:";

impl Alert {
    /// One of the census; its name without [`OF_CENSUS`].
    pub fn of_census(name: &str, since: Timestamp, detail: Value) -> Self {
        Self { name: format!("{OF_CENSUS}{name}"), since, detail, holds: false }
    }
}

/// Alerts at once. More than this is a monitoring that has gone wrong, and gates hold anyway.
pub const ALERTS_MAX: i64 = 10_000;

/// All that fire, by name.
pub async fn list(store: &Store, after: &str, most: i64) -> Result<Vec<Alert>, Error> {
    let rows = sqlx::query(
        "SELECT name, since_at, detail, holds FROM alerts WHERE name > $1 ORDER BY name LIMIT $2",
    )
    .bind(after.to_owned())
    .bind(most)
    .fetch_all(store.reader())
    .await
    .doing("list alerts")?;
    rows.iter()
        .map(|row| {
            let name: String = row.get(0);
            let damaged =
                |reason: &str| Error::Damaged { object: format!("alert {name}"), reason: reason.to_owned() };
            Ok(Alert {
                since: Timestamp::from_microsecond(row.get(1))
                    .map_err(|_| damaged("its time is out of range"))?,
                detail: serde_json::from_str(row.get(2)).map_err(|_| damaged("its detail is not JSON"))?,
                holds: row.get::<i64, _>(3) != 0,
                name,
            })
        })
        .collect()
}

/// Keeps those that fire, and removes those that do not any more. False if there would be more than [`ALERTS_MAX`]:
/// nothing was changed.
pub async fn change(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    firing: &[Alert],
    resolved: &[String],
) -> Result<bool, Error> {
    let mut writing = store.begin().await?;
    let mut changed = false;
    for name in resolved {
        changed |= end(&mut writing, now, actor, name).await?;
    }
    for alert in firing {
        changed |= fire(&mut writing, now, actor, alert).await?;
    }
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM alerts")
        .fetch_one(&mut *writing)
        .await
        .doing("count alerts")?;
    if count > ALERTS_MAX {
        return Ok(false);
    }
    if changed {
        events::tell(&mut writing, now, Kind::Rollout, "alerts", &json!({ "alerts": count })).await?;
    }
    commit(writing, "keep alerts").await?;
    Ok(true)
}

/// Removes one; false if there is none of that name.
pub async fn remove(store: &Store, now: Timestamp, actor: &Actor, name: &str) -> Result<bool, Error> {
    let mut writing = store.begin().await?;
    let removed = end(&mut writing, now, actor, name).await?;
    if removed {
        events::tell(&mut writing, now, Kind::Rollout, "alerts", &json!({ "removed": name })).await?;
        commit(writing, "remove an alert").await?;
    }
    Ok(removed)
}

/// Keeps one, in the transaction of what it is about; gives whether it was not there yet.
pub(super) async fn fire(
    writing: &mut Writing,
    now: Timestamp,
    actor: &Actor,
    alert: &Alert,
) -> Result<bool, Error> {
    let begun = sqlx::query(
        "INSERT INTO alerts (name, since_at, detail, holds) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING",
    )
    .bind(alert.name.clone())
    .bind(alert.since.as_microsecond())
    .bind(alert.detail.to_string())
    .bind(i64::from(alert.holds))
    .execute(&mut **writing)
    .await
    .doing("keep an alert")?;
    let begun = begun.rows_affected() == 1;
    if begun {
        audit::record(writing, now, actor, "alert.fire", &alert.name, alert.detail.clone()).await?;
    }
    Ok(begun)
}

/// Removes one, in the transaction of what it is about; gives whether it was there.
pub(super) async fn end(
    writing: &mut Writing,
    now: Timestamp,
    actor: &Actor,
    name: &str,
) -> Result<bool, Error> {
    let done = sqlx::query("DELETE FROM alerts WHERE name = $1")
        .bind(name.to_owned())
        .execute(&mut **writing)
        .await
        .doing("remove an alert")?;
    let removed = done.rows_affected() == 1;
    if removed {
        audit::record(writing, now, actor, "alert.resolve", name, json!({})).await?;
    }
    Ok(removed)
}
