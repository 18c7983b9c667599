//! Sources of the fleet in windows of a day that end at the same hour, for whoever looks for growth.

use super::{DAY_HOURS, kept_sketch};
use crate::store::{Doing, Error, Store};
use futures_util::TryStreamExt;
use sqlx::Row;
use std::collections::BTreeMap;
use traffic::census::Sketch;

/// What was seen of a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Distinct sources: of the last window first, then of those before it.
    pub sources: Vec<u64>,
    /// Hosts that saw it in the last window.
    pub hosts: u64,
}

/// Windows of a day each, the last one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// How many hosts had a log in each; 0: it was not observed.
    pub hosts: Vec<u64>,
    /// Signatures with an attempt in the last window.
    pub signatures: BTreeMap<String, Seen>,
}

/// Windows that end before the hour `end`: the last one, and `before` more.
pub async fn windows(store: &Store, end: i64, before: usize) -> Result<Windows, Error> {
    let count = i64::try_from(before).unwrap_or(i64::MAX).saturating_add(1);
    let first = end - count * DAY_HOURS;
    let mut found = Windows { hosts: hosts(store, end, count).await?, ..Windows::default() };
    let mut rows = sqlx::query(
        "SELECT signature, hour, sources FROM census_fleet_hours WHERE hour >= $1 AND hour < $2 AND signature IN \
         (SELECT signature FROM census_fleet_hours WHERE hour >= $3 AND hour < $2 AND attempts > 0) \
         ORDER BY signature, hour",
    )
    .bind(first)
    .bind(end)
    .bind(end - DAY_HOURS)
    .fetch(store.reader());
    // One signature at a time: a window's sketch takes four kilobytes.
    let mut at: Option<(String, Vec<Sketch>)> = None;
    while let Some(row) = rows.try_next().await.doing("read the fleet's hours")? {
        let (name, hour): (String, i64) = (row.get(0), row.get(1));
        let sources = kept_sketch(|| format!("the fleet's sources of {name}"), row.get(2))?;
        if at.as_ref().is_none_or(|(known, _)| *known != name) {
            found.put(at.take());
            at = Some((name, vec![Sketch::default(); before + 1]));
        }
        let window = usize::try_from((end - 1 - hour) / DAY_HOURS).unwrap_or(usize::MAX);
        if let Some(sketch) = at.as_mut().and_then(|(_, windows)| windows.get_mut(window)) {
            sketch.unite(&sources);
        }
    }
    drop(rows);
    found.put(at);
    let rows =
        sqlx::query("SELECT signature, COUNT(*) FROM census_hosts WHERE last_hour >= $1 GROUP BY signature")
            .bind(end - DAY_HOURS)
            .fetch_all(store.reader())
            .await
            .doing("count hosts by signature")?;
    for row in rows {
        if let Some(seen) = found.signatures.get_mut(row.get::<&str, _>(0)) {
            seen.hosts = row.get::<i64, _>(1).unsigned_abs();
        }
    }
    Ok(found)
}

impl Windows {
    fn put(&mut self, counted: Option<(String, Vec<Sketch>)>) {
        if let Some((name, windows)) = counted {
            let sources = windows.iter().map(|sketch| sketch.count().count).collect();
            self.signatures.insert(name, Seen { sources, hosts: 0 });
        }
    }
}

/// Hosts that had a log in each window: the lesser number of its two days, so that a window is not observed if one of them was
/// not. Of today fewer may have told yet: yesterday counts then.
async fn hosts(store: &Store, end: i64, count: i64) -> Result<Vec<u64>, Error> {
    let last_day = (end - 1).div_euclid(DAY_HOURS);
    let rows = sqlx::query("SELECT day, hosts FROM census_requests WHERE day > $1 AND day <= $2")
        .bind(last_day - count - 1)
        .bind(last_day)
        .fetch_all(store.reader())
        .await
        .doing("read the fleet's days")?;
    let days: BTreeMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let hosts = |day: i64| days.get(&day).map_or(0, |hosts| hosts.unsigned_abs());
    Ok((0..count)
        .map(|window| {
            let (last, first) = (last_day - window, (end - (window + 1) * DAY_HOURS).div_euclid(DAY_HOURS));
            if window == 0 { hosts(last).max(hosts(first)) } else { hosts(last).min(hosts(first)) }
        })
        .collect())
}

/// The first day of which anything was told; `None`: nothing ever was.
pub async fn first_day(store: &Store) -> Result<Option<i64>, Error> {
    sqlx::query_scalar("SELECT MIN(day) FROM census_requests")
        .fetch_one(store.reader())
        .await
        .doing("read the fleet's first day")
}

/// Signatures that came to the fleet in or after an hour: name and first hour.
pub async fn since(store: &Store, hour: i64) -> Result<Vec<(String, i64)>, Error> {
    let rows = sqlx::query(
        "SELECT signature, first_hour FROM census_signatures WHERE first_hour >= $1 ORDER BY signature LIMIT 1000",
    )
    .bind(hour)
    .fetch_all(store.reader())
    .await
    .doing("read new signatures")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
