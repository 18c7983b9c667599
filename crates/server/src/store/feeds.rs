//! What became of each feed, and what signal feeds say.

use super::advisories::deflate;
use super::{Doing, Error, Store, Writing};
use advisory::format::lifecycle::Lifecycle;
use advisory::{Problem, Signals};
use flate2::read::ZlibDecoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use std::io::Read;

/// Bytes of what a signal feed says, inflated: all of EPSS has 30 MB in JSON.
const BODY_BYTES_MAX: u64 = 256 << 20;

/// What became of one feed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Path or URL, without credentials.
    pub location: String,
    /// Last time it was read whole.
    pub read: Option<Timestamp>,
    /// Last time it was asked.
    pub asked: Option<Timestamp>,
    /// `ETag` of what was read.
    pub etag: String,
    /// `Last-Modified` of what was read.
    pub modified: String,
    /// SHA-256 of what was read, hex.
    pub sha256: String,
    /// Records of what was read.
    pub records: i64,
    /// When the newest record it ever had was changed.
    pub newest: Option<Timestamp>,
    /// Since when it cannot be had.
    pub failing: Option<Timestamp>,
    /// What is wrong with it, a line each; empty: nothing.
    pub alarm: String,
    /// What could not be read of it.
    pub problems: Vec<Problem>,
}

/// What a feed says besides advisories.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Signalled {
    /// Exploitation. CVSS vectors stay with their advisories.
    pub signals: Signals,
    /// Until when releases and packages are supported.
    pub lifecycle: Lifecycle,
}

/// What became of a feed; none: it was never asked.
pub async fn get(store: &Store, name: &str) -> Result<Option<State>, Error> {
    let row = sqlx::query(
        "SELECT location, read_at, asked_at, etag, modified, sha256, records, newest, failing_at, alarm, problems \
         FROM feeds WHERE name = $1",
    )
    .bind(name.to_owned())
    .fetch_optional(store.reader())
    .await
    .doing("read a feed's state")?;
    let Some(row) = row else { return Ok(None) };
    let time = |at: usize| row.get::<Option<i64>, _>(at).and_then(|at| Timestamp::from_microsecond(at).ok());
    Ok(Some(State {
        location: row.get(0),
        read: time(1),
        asked: time(2),
        etag: row.get(3),
        modified: row.get(4),
        sha256: row.get(5),
        records: row.get(6),
        newest: time(7),
        failing: time(8),
        alarm: row.get(9),
        problems: serde_json::from_str(row.get(10)).map_err(|problem| Error::Damaged {
            object: format!("feed {name}"),
            reason: problem.to_string(),
        })?,
    }))
}

/// Writes what became of a feed.
pub async fn set(writing: &mut Writing, name: &str, state: &State) -> Result<(), Error> {
    let time = |at: Option<Timestamp>| at.map(Timestamp::as_microsecond);
    let problems = serde_json::to_string(&state.problems).expect("problems are texts");
    sqlx::query(
        "INSERT INTO feeds (name, location, read_at, asked_at, etag, modified, sha256, records, newest, failing_at, \
         alarm, problems, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1) \
         ON CONFLICT (name) DO UPDATE SET location = excluded.location, read_at = excluded.read_at, \
         asked_at = excluded.asked_at, etag = excluded.etag, modified = excluded.modified, sha256 = excluded.sha256, \
         records = excluded.records, newest = excluded.newest, failing_at = excluded.failing_at, alarm = excluded.alarm, \
         problems = excluded.problems, revision = feeds.revision + 1",
    )
    .bind(name.to_owned())
    .bind(state.location.clone())
    .bind(time(state.read))
    .bind(time(state.asked))
    .bind(state.etag.clone())
    .bind(state.modified.clone())
    .bind(state.sha256.clone())
    .bind(state.records)
    .bind(time(state.newest))
    .bind(time(state.failing))
    .bind(state.alarm.clone())
    .bind(problems)
    .execute(&mut **writing)
    .await
    .doing("store a feed's state")?;
    Ok(())
}

/// Writes what a feed says besides advisories.
pub async fn set_signals(writing: &mut Writing, name: &str, said: &Signalled) -> Result<(), Error> {
    let body = serde_json::to_vec(said).expect("signals have text keys only");
    sqlx::query(
        "INSERT INTO signals (feed, body) VALUES ($1, $2) ON CONFLICT (feed) DO UPDATE SET body = excluded.body",
    )
    .bind(name.to_owned())
    .bind(deflate(&body))
    .execute(&mut **writing)
    .await
    .doing("store a feed's signals")?;
    Ok(())
}

/// What all feeds say besides advisories.
pub async fn signals(store: &Store) -> Result<Signalled, Error> {
    let rows = sqlx::query("SELECT feed, body FROM signals ORDER BY feed")
        .fetch_all(store.reader())
        .await
        .doing("read signals")?;
    let mut all = Signalled::default();
    for row in rows {
        let damaged = |reason: String| Error::Damaged {
            object: format!("signals of {}", row.get::<String, _>(0)),
            reason,
        };
        let mut text = Vec::new();
        let body: Vec<u8> = row.get(1);
        ZlibDecoder::new(&*body)
            .take(BODY_BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(|problem| damaged(problem.to_string()))?;
        let said: Signalled =
            serde_json::from_slice(&text).map_err(|problem| damaged(problem.to_string()))?;
        all.signals.merge(said.signals);
        all.lifecycle.merge(said.lifecycle);
    }
    Ok(all)
}
