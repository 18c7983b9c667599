//! Hosts as people list and count them.

use super::filter::Select;
use super::{Doing, Error, Store};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// A host, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// UUIDv7.
    pub id: String,
    /// Small, for bitmaps; what findings know it by.
    pub number: i64,
    /// Its name for itself.
    pub name: String,
    /// `active`, `quarantined`, `revoked`.
    pub state: String,
    /// Why it is not active.
    pub reason: String,
    /// Its group.
    pub group: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `debian:12`; empty before its first inventory.
    pub release: String,
    /// Its agent's version.
    pub agent: String,
    /// Where it last spoke from.
    pub address: String,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// When it was last heard of.
    pub seen_at: Timestamp,
    /// Of the row.
    pub revision: i64,
    /// By how many seconds its clock was ahead of the server's when it was last heard, as it said; negative: behind. 0: by
    /// less than a minute.
    pub clock_ahead_seconds: i64,
}

/// Which hosts to list.
#[derive(Clone, Debug, Default)]
pub struct HostFilter {
    /// Of this state only.
    pub state: Option<String>,
    /// Only those that are active and were last heard of before that time; `false`: only the others.
    pub silent: Option<(bool, Timestamp)>,
    /// Only those after this name and id.
    pub after: Option<(String, String)>,
}

const HOST: &str = "SELECT id, number, name, state, reason, host_group, labels, release, agent, address,
    enrolled_at, seen_at, revision, clock_ahead_seconds FROM hosts";

/// A host's row, from column `first` on, in [`HOST`]'s order.
pub(super) fn host_of(row: &AnyRow, first: usize) -> Result<Host, Error> {
    let id: String = row.get(first);
    let damaged = |reason: &str| Error::Damaged { object: format!("host {id}"), reason: reason.to_owned() };
    let time = |column| {
        Timestamp::from_microsecond(row.get(first + column)).map_err(|_| damaged("a time is out of range"))
    };
    Ok(Host {
        number: row.get(first + 1),
        name: row.get(first + 2),
        state: row.get(first + 3),
        reason: row.get(first + 4),
        group: row.get(first + 5),
        labels: serde_json::from_str(row.get(first + 6)).map_err(|_| damaged("its labels are not JSON"))?,
        release: row.get(first + 7),
        agent: row.get(first + 8),
        address: row.get(first + 9),
        enrolled_at: time(10)?,
        seen_at: time(11)?,
        revision: row.get(first + 12),
        clock_ahead_seconds: row.get(first + 13),
        id,
    })
}

/// The host of that id.
pub async fn get(store: &Store, id: &str) -> Result<Option<Host>, Error> {
    let mut select = Select::new(HOST);
    select.only("id = ?", [id.into()]);
    select.fetch(store, "read a host").await?.first().map(|row| host_of(row, 0)).transpose()
}

/// Up to `most` hosts, in order of name and id.
pub async fn list(store: &Store, filter: &HostFilter, most: i64) -> Result<Vec<Host>, Error> {
    let mut select = Select::new(HOST);
    if let Some(state) = &filter.state {
        select.only("state = ?", [state.as_str().into()]);
    }
    match filter.silent {
        None => {}
        Some((true, since)) => {
            select.only("state = 'active' AND seen_at < ?", [since.as_microsecond().into()]);
        }
        Some((false, since)) => {
            select.only("NOT (state = 'active' AND seen_at < ?)", [since.as_microsecond().into()]);
        }
    }
    if let Some((name, id)) = &filter.after {
        select.only("(name, id) > (?, ?)", [name.as_str().into(), id.as_str().into()]);
    }
    select.push("ORDER BY name, id LIMIT ?", [most.into()]);
    select.fetch(store, "list hosts").await?.iter().map(|row| host_of(row, 0)).collect()
}

/// How many hosts are in which state.
pub async fn by_state(store: &Store) -> Result<BTreeMap<String, i64>, Error> {
    let rows = sqlx::query("SELECT state, COUNT(*) FROM hosts GROUP BY state")
        .fetch_all(store.reader())
        .await
        .doing("count hosts")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// How many active hosts were last heard of before then.
pub async fn silent(store: &Store, since: Timestamp) -> Result<i64, Error> {
    sqlx::query_scalar("SELECT COUNT(*) FROM hosts WHERE state = 'active' AND seen_at < $1")
        .bind(since.as_microsecond())
        .fetch_one(store.reader())
        .await
        .doing("count silent hosts")
}
