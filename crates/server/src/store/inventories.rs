//! Inventories: what a host has and had.
//!
//! STUB until the branch `hosts` is merged: take that file instead.

use super::{Doing, Error, Store};
use advisory::Advisory;
use exposure::Inventory;
use flate2::read::ZlibDecoder;
use jiff::Timestamp;
use sqlx::Row;
use std::io::Read;
use wire::v1::{Parts, Pieces};

/// An inventory and since when it was so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Since when.
    pub from: Timestamp,
    /// Of the whole.
    pub hash: String,
    /// What the host had.
    pub inventory: Inventory,
    /// What its package manager said its fixes close.
    pub closes: Vec<Advisory>,
}

/// When a host had which inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Since when.
    pub from: Timestamp,
    /// Until when; `None`: still.
    pub until: Option<Timestamp>,
    /// Of the whole.
    pub hash: String,
}

/// What a host has.
pub async fn current(store: &Store, host: &str) -> Result<Option<Stored>, Error> {
    at(store, host, Timestamp::MAX).await
}

/// What a host had at that time.
pub async fn at(store: &Store, host: &str, at: Timestamp) -> Result<Option<Stored>, Error> {
    let row = sqlx::query(
        "SELECT from_at, hash, pieces FROM inventories WHERE host = $1 AND from_at <= $2
         AND (until_at IS NULL OR until_at > $2)",
    )
    .bind(host.to_owned())
    .bind(at.as_microsecond())
    .fetch_optional(store.reader())
    .await
    .doing("read an inventory")?;
    let Some(row) = row else { return Ok(None) };
    let damaged = |reason: String| Error::Damaged { object: format!("the inventory of {host}"), reason };
    let parts: Parts =
        serde_json::from_str(row.get(2)).map_err(|problem| damaged(problem.to_string()))?;
    let mut pieces = Pieces { parts, ..Pieces::default() };
    for hash in pieces.parts.values() {
        let body: Vec<u8> = sqlx::query_scalar("SELECT body FROM pieces WHERE hash = $1")
            .bind(hash.clone())
            .fetch_one(store.reader())
            .await
            .doing("read a piece of an inventory")?;
        let mut text = String::new();
        ZlibDecoder::new(&*body)
            .take(128 << 20)
            .read_to_string(&mut text)
            .map_err(|problem| damaged(problem.to_string()))?;
        pieces.bodies.insert(hash.clone(), text);
    }
    let from = Timestamp::from_microsecond(row.get(0)).map_err(|problem| damaged(problem.to_string()))?;
    let (inventory, closes) =
        wire::v1::join(host, from, &pieces).map_err(|problem| damaged(problem.to_string()))?;
    Ok(Some(Stored { from, hash: row.get(1), inventory, closes }))
}

/// The last `most` intervals, the newest first.
pub async fn history(store: &Store, host: &str, most: i64) -> Result<Vec<Interval>, Error> {
    let rows = sqlx::query(
        "SELECT from_at, until_at, hash FROM inventories WHERE host = $1 ORDER BY from_at DESC LIMIT $2",
    )
    .bind(host.to_owned())
    .bind(most)
    .fetch_all(store.reader())
    .await
    .doing("read a host's history")?;
    Ok(rows
        .iter()
        .map(|row| Interval {
            from: Timestamp::from_microsecond(row.get(0)).unwrap_or(Timestamp::MIN),
            until: row
                .get::<Option<i64>, _>(1)
                .map(|until| Timestamp::from_microsecond(until).unwrap_or(Timestamp::MAX)),
            hash: row.get(2),
        })
        .collect())
}
