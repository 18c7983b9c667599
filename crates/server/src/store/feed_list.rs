//! Feeds as people see them.

use super::filter::Select;
use super::{Error, Store};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::Row;

/// What became of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Its name.
    pub name: String,
    /// Path or URL, without credentials.
    pub location: String,
    /// Last time that it was read whole.
    pub read_at: Option<Timestamp>,
    /// Last time that it was asked.
    pub asked_at: Option<Timestamp>,
    /// SHA-256 of what was read.
    pub sha256: String,
    /// How many advisories it held.
    pub records: i64,
    /// What is wrong with it; empty: nothing.
    pub alarm: String,
    /// What could not be read of it.
    pub problems: Value,
    /// Of the row.
    pub revision: i64,
}

/// Up to `most` feeds after that name, in order of names; only those with an alarm, if so asked.
pub async fn list(store: &Store, alarms_only: bool, after: &str, most: i64) -> Result<Vec<Feed>, Error> {
    let mut select = Select::new(FEED);
    select.only("name > ?", [after.into()]);
    if alarms_only {
        select.only("alarm <> ''", []);
    }
    select.push("ORDER BY name LIMIT ?", [most.into()]);
    read(store, select).await
}

/// The feed of that name.
pub async fn get(store: &Store, name: &str) -> Result<Option<Feed>, Error> {
    let mut select = Select::new(FEED);
    select.only("name = ?", [name.into()]);
    Ok(read(store, select).await?.pop())
}

const FEED: &str =
    "SELECT name, location, read_at, asked_at, sha256, records, alarm, problems, revision FROM feeds";

async fn read(store: &Store, select: Select) -> Result<Vec<Feed>, Error> {
    let time = |microseconds: Option<i64>| microseconds.and_then(|at| Timestamp::from_microsecond(at).ok());
    select
        .fetch(store, "read feeds")
        .await?
        .iter()
        .map(|row| {
            let name: String = row.get(0);
            Ok(Feed {
                location: row.get(1),
                read_at: time(row.get(2)),
                asked_at: time(row.get(3)),
                sha256: row.get(4),
                records: row.get(5),
                alarm: row.get(6),
                problems: serde_json::from_str(row.get(7)).map_err(|problem| Error::Damaged {
                    object: format!("feed {name}"),
                    reason: problem.to_string(),
                })?,
                revision: row.get(8),
                name,
            })
        })
        .collect()
}
