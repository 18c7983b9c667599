//! Hosts: what is known of them, and what people change.
//!
//! STUB until the branch `hosts` is merged: take that file instead.

use super::audit::{self, Actor};
use super::events::{self, Kind};
use super::{Doing, Error, Store, commit};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// Whether a host is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// It is.
    Active,
    /// Not until a person has looked: two hosts have its key.
    Quarantined,
    /// Not any more.
    Revoked,
}

impl HostState {
    /// Its word in the store and in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        }
    }

    /// The state of that word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Active, Self::Quarantined, Self::Revoked].into_iter().find(|state| state.word() == word)
    }
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// UUIDv7.
    pub id: String,
    /// Small, for bitmaps.
    pub number: i64,
    /// Its name for itself.
    pub name: String,
    /// Whether it is heard.
    pub state: HostState,
    /// Why it is not active.
    pub reason: String,
    /// Its group.
    pub group: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `debian:12`.
    pub release: String,
    /// Its agent's version.
    pub agent: String,
    /// Where it last spoke from.
    pub address: String,
    /// SHA-256 of its machine id.
    pub machine: String,
    /// When it enrolled.
    pub enrolled_at: Timestamp,
    /// When it was last heard of.
    pub seen_at: Timestamp,
    /// Of the row.
    pub revision: i64,
}

fn host_of(row: &AnyRow, first: usize) -> Result<Host, Error> {
    let id: String = row.get(first);
    let damaged = |reason: &str| Error::Damaged { object: format!("host {id}"), reason: reason.to_owned() };
    let time = |column| {
        Timestamp::from_microsecond(row.get(first + column)).map_err(|_| damaged("a time is out of range"))
    };
    Ok(Host {
        number: row.get(first + 1),
        name: row.get(first + 2),
        state: HostState::of(row.get(first + 3)).ok_or_else(|| damaged("its state is not known"))?,
        reason: row.get(first + 4),
        group: row.get(first + 5),
        labels: serde_json::from_str(row.get(first + 6)).map_err(|_| damaged("its labels are not JSON"))?,
        release: row.get(first + 7),
        agent: row.get(first + 8),
        address: row.get(first + 9),
        machine: row.get(first + 10),
        enrolled_at: time(11)?,
        seen_at: time(12)?,
        revision: row.get(first + 13),
        id,
    })
}

/// The host of that id.
pub async fn get(store: &Store, id: &str) -> Result<Option<Host>, Error> {
    sqlx::query(
        "SELECT id, number, name, state, reason, host_group, labels, release, agent, address,
         machine, enrolled_at, seen_at, revision FROM hosts WHERE id = $1",
    )
    .bind(id.to_owned())
    .fetch_optional(store.reader())
    .await
    .doing("read a host")?
    .map(|row| host_of(&row, 0))
    .transpose()
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Done; how it is now.
    Done(Host),
    /// There is no such host.
    Missing,
    /// The row has another revision than was said.
    Stale,
}

/// Changes a host's group and labels.
pub async fn relabel(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    group: Option<&str>,
    labels: Option<&BTreeMap<String, String>>,
    revision: Option<i64>,
) -> Result<Changed, Error> {
    change(store, now, actor, id, "host.relabel", revision, |host| {
        if let Some(group) = group {
            host.group = group.to_owned();
        }
        if let Some(labels) = labels {
            host.labels.clone_from(labels);
        }
    })
    .await
}

/// Revokes a host.
pub async fn revoke(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    reason: &str,
) -> Result<Changed, Error> {
    change(store, now, actor, id, "host.revoke", None, |host| {
        host.state = HostState::Revoked;
        reason.clone_into(&mut host.reason);
    })
    .await
}

/// Releases a host from quarantine.
pub async fn release(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    reason: &str,
) -> Result<Changed, Error> {
    change(store, now, actor, id, "host.release", None, |host| {
        if host.state == HostState::Quarantined {
            host.state = HostState::Active;
            reason.clone_into(&mut host.reason);
        }
    })
    .await
}

/// Removes a host.
pub async fn remove(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    reason: &str,
) -> Result<Changed, Error> {
    let Some(host) = get(store, id).await? else { return Ok(Changed::Missing) };
    let mut writing = store.begin().await?;
    for text in [
        "DELETE FROM inventories WHERE host = $1",
        "DELETE FROM certificates WHERE host = $1",
        "DELETE FROM hosts WHERE id = $1",
    ] {
        sqlx::query(text).bind(id.to_owned()).execute(&mut *writing).await.doing("remove a host")?;
    }
    audit::record(&mut writing, now, actor, "host.remove", id, json!({ "reason": reason })).await?;
    events::tell(&mut writing, now, Kind::Host, id, &json!({ "removed": true })).await?;
    commit(writing, "remove a host").await?;
    Ok(Changed::Done(host))
}

async fn change(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    action: &str,
    revision: Option<i64>,
    edit: impl FnOnce(&mut Host),
) -> Result<Changed, Error> {
    let mut writing = store.begin().await?;
    let row = sqlx::query("UPDATE hosts SET revision = revision + 1 WHERE id = $1 RETURNING revision")
        .bind(id.to_owned())
        .fetch_optional(&mut *writing)
        .await
        .doing("change a host")?;
    let (Some(row), Some(mut host)) = (row, get(store, id).await?) else { return Ok(Changed::Missing) };
    let now_at: i64 = row.get(0);
    if revision.is_some_and(|revision| revision != now_at - 1) {
        return Ok(Changed::Stale);
    }
    edit(&mut host);
    host.revision = now_at;
    sqlx::query("UPDATE hosts SET state = $1, reason = $2, host_group = $3, labels = $4 WHERE id = $5")
        .bind(host.state.word())
        .bind(host.reason.clone())
        .bind(host.group.clone())
        .bind(json!(host.labels).to_string())
        .bind(id.to_owned())
        .execute(&mut *writing)
        .await
        .doing("change a host")?;
    audit::record(&mut writing, now, actor, action, id, json!({ "reason": host.reason })).await?;
    events::tell(&mut writing, now, Kind::Host, id, &json!({})).await?;
    commit(writing, "change a host").await?;
    Ok(Changed::Done(host))
}
