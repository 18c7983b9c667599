//! The hosts of the fleet, and what people and the server change about them.

use super::audit::{self, Actor};
use super::events::{self, Kind};
use super::{Doing, Error, Store, Writing, census, commit};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Hosts in one reading of [`all`].
const PAGE: i64 = 5_000;
/// Hosts in one statement of [`saw`]: six values each, under SQLite's 32,766.
const SEEN_IN_STATEMENT: usize = 256;
/// Statements of [`saw`] in one transaction, so that other writers get their turn: some 20 ms.
const SEEN_STATEMENTS: usize = 8;
/// Between two of them: 50,000 hosts, half of a large fleet, are written within five seconds.
const SEEN_REST: Duration = Duration::from_millis(200);

/// The statement of [`saw`] up to its values; `column5` is the run, 0 if none. Whatever stands to the right is as it was
/// before.
const SEEN_BEGINS: &str = "UPDATE hosts SET seen_at = v.column2, address = v.column3, agent = v.column4, \
     turns = CASE WHEN v.column5 IN (0, hosts.stream) THEN hosts.turns \
       WHEN v.column5 = hosts.stream_was THEN hosts.turns + 1 ELSE 0 END, \
     address_was = CASE WHEN v.column5 IN (0, hosts.stream) THEN hosts.address_was ELSE hosts.address END, \
     stream_was = CASE WHEN v.column5 IN (0, hosts.stream) THEN hosts.stream_was ELSE hosts.stream END, \
     stream = CASE WHEN v.column5 = 0 THEN hosts.stream ELSE v.column5 END, clock_ahead_seconds = v.column6 FROM (VALUES ";

/// Where a host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// Part of the fleet.
    Active,
    /// Held back until a person has looked: two hosts seem to share its key.
    Quarantined,
    /// No longer part of the fleet; for good.
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

    /// The state of a word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Active, Self::Quarantined, Self::Revoked].into_iter().find(|state| state.word() == word)
    }
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// UUIDv7, as in its certificates.
    pub id: String,
    /// Small, for bitmaps; never given twice.
    pub number: u32,
    /// Its name for itself; not unique.
    pub name: String,
    /// Where it stands.
    pub state: HostState,
    /// Why it is not active; empty if it is.
    pub reason: String,
    /// The group it was enrolled into, or was moved to.
    pub group: String,
    /// What people say about it.
    pub labels: BTreeMap<String, String>,
    /// The release it runs, in words; empty before its first inventory.
    pub release: String,
    /// Its agent's version.
    pub agent: String,
    /// The address it last spoke from.
    pub address: String,
    /// SHA-256 of its machine id, hex; empty: whatever its next check-in says.
    pub machine: String,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// When it was last heard, some thirty seconds behind.
    pub seen_at: Timestamp,
    /// Counts what was changed about it, for ETags. Being seen is no change.
    pub revision: i64,
}

impl Host {
    /// Whether an active host has not been heard of for `silent_minutes`.
    pub fn is_silent(&self, now: Timestamp, silent_minutes: u32) -> bool {
        let most = SignedDuration::from_mins(i64::from(silent_minutes));
        self.state == HostState::Active && now.duration_since(self.seen_at) > most
    }
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "moved once, kept nowhere")]
pub enum Changed {
    /// Done, or it was so already; the host as it is now.
    Done(Host),
    /// There is no such host.
    Missing,
    /// Somebody else changed it meanwhile: its revision is another one.
    Stale,
}

/// A host that was heard: what [`saw`] writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// From where.
    pub address: String,
    /// Its agent's version.
    pub agent: String,
    /// The run of its agent, in short; 0: not known.
    pub stream: i64,
    /// By how many seconds its clock was ahead of the server's, as it said; 0: by less than a minute.
    pub clock_ahead_seconds: i64,
}

/// `SELECT` or `RETURNING` of a whole host.
macro_rules! columns {
    () => {
        "id, number, name, state, reason, host_group, labels, release, agent, address, machine, enrolled_at, \
         seen_at, revision"
    };
}

pub(super) fn host(row: &AnyRow) -> Result<Host, Error> {
    let id: String = row.get(0);
    let damaged = |reason: &str| Error::Damaged { object: format!("host {id}"), reason: reason.to_owned() };
    let time = |column: usize| {
        Timestamp::from_microsecond(row.get(column)).map_err(|_| damaged("a time is out of range"))
    };
    Ok(Host {
        number: u32::try_from(row.get::<i64, _>(1)).map_err(|_| damaged("its number is out of range"))?,
        name: row.get(2),
        state: HostState::of(row.get(3)).ok_or_else(|| damaged("its state is not known"))?,
        reason: row.get(4),
        group: row.get(5),
        labels: serde_json::from_str(row.get(6)).map_err(|_| damaged("its labels are not texts by name"))?,
        release: row.get(7),
        agent: row.get(8),
        address: row.get(9),
        machine: row.get(10),
        enrolled_at: time(11)?,
        seen_at: time(12)?,
        revision: row.get(13),
        id,
    })
}

/// The host `id`.
pub async fn get(store: &Store, id: &str) -> Result<Option<Host>, Error> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM hosts WHERE id = $1"))
        .bind(id.to_owned())
        .fetch_optional(store.reader())
        .await
        .doing("read a host")?;
    row.as_ref().map(host).transpose()
}

/// Up to 100 hosts that call themselves `name`.
pub async fn by_name(store: &Store, name: &str) -> Result<Vec<Host>, Error> {
    let rows =
        sqlx::query(concat!("SELECT ", columns!(), " FROM hosts WHERE name = $1 ORDER BY id LIMIT 100"))
            .bind(name.to_owned())
            .fetch_all(store.reader())
            .await
            .doing("read hosts by name")?;
    rows.iter().map(host).collect()
}

/// Up to `most` hosts after the id `after`, by id.
pub async fn page(store: &Store, after: &str, most: i64) -> Result<Vec<Host>, Error> {
    let rows = sqlx::query(concat!("SELECT ", columns!(), " FROM hosts WHERE id > $1 ORDER BY id LIMIT $2"))
        .bind(after.to_owned())
        .bind(most)
        .fetch_all(store.reader())
        .await
        .doing("read hosts")?;
    rows.iter().map(host).collect()
}

/// All hosts, by id. For starting, not for answering.
pub async fn all(store: &Store) -> Result<Vec<Host>, Error> {
    let mut hosts: Vec<Host> = Vec::new();
    loop {
        let after = hosts.last().map_or("", |host| host.id.as_str());
        let more = page(store, after, PAGE).await?;
        if more.is_empty() {
            return Ok(hosts);
        }
        hosts.extend(more);
    }
}

/// Moves a host to another group, or gives it other labels (all of them). `revision`: only if it is still that one.
pub async fn relabel(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    group: Option<&str>,
    labels: Option<&BTreeMap<String, String>>,
    revision: Option<i64>,
) -> Result<Changed, Error> {
    let (mut writing, mut host) = match open(store, id, revision, |_| false).await? {
        Ok(open) => open,
        Err(changed) => return Ok(changed),
    };
    host.group = group.unwrap_or(&host.group).to_owned();
    host.labels = labels.unwrap_or(&host.labels).clone();
    let text = serde_json::to_string(&host.labels).expect("texts by name are JSON");
    sqlx::query("UPDATE hosts SET host_group = $1, labels = $2 WHERE id = $3")
        .bind(host.group.clone())
        .bind(text)
        .bind(id.to_owned())
        .execute(&mut *writing)
        .await
        .doing("relabel a host")?;
    let detail = json!({ "group": host.group, "labels": host.labels });
    tell(writing, now, actor, "host.relabel", &host, detail).await?;
    Ok(Changed::Done(host))
}

/// Takes a host out of the fleet for good: it and its certificates are refused from now on. What it had stays known.
pub async fn revoke(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    reason: &str,
) -> Result<Changed, Error> {
    let (mut writing, mut host) = match open(store, id, None, |host| host.state == HostState::Revoked).await?
    {
        Ok(open) => open,
        Err(changed) => return Ok(changed),
    };
    (host.state, host.reason) = (HostState::Revoked, reason.to_owned());
    set_state(&mut writing, &host).await?;
    sqlx::query(
        "UPDATE certificates SET revoked_at = $1, reason = $2 WHERE host = $3 AND revoked_at IS NULL",
    )
    .bind(now.as_microsecond())
    .bind(reason.to_owned())
    .bind(id.to_owned())
    .execute(&mut *writing)
    .await
    .doing("revoke a host's certificates")?;
    tell(writing, now, actor, "host.revoke", &host, json!({ "reason": reason })).await?;
    Ok(Changed::Done(host))
}

/// Holds an active host back until a person has looked. Not active: nothing is done.
pub async fn quarantine(store: &Store, now: Timestamp, id: &str, reason: &str) -> Result<Changed, Error> {
    let (mut writing, mut host) = match open(store, id, None, |host| host.state != HostState::Active).await? {
        Ok(open) => open,
        Err(changed) => return Ok(changed),
    };
    (host.state, host.reason) = (HostState::Quarantined, reason.to_owned());
    set_state(&mut writing, &host).await?;
    tell(writing, now, &Actor::Server, "host.quarantine", &host, json!({ "reason": reason })).await?;
    Ok(Changed::Done(host))
}

/// Lets a host out of quarantine; the machine that checks in next is taken for it. Not in quarantine: nothing is done.
pub async fn release(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    reason: &str,
) -> Result<Changed, Error> {
    let (mut writing, mut host) =
        match open(store, id, None, |host| host.state != HostState::Quarantined).await? {
            Ok(open) => open,
            Err(changed) => return Ok(changed),
        };
    let was = std::mem::take(&mut host.reason);
    (host.state, host.machine) = (HostState::Active, String::new());
    set_state(&mut writing, &host).await?;
    sqlx::query("UPDATE hosts SET stream = 0, stream_was = 0, turns = 0 WHERE id = $1")
        .bind(id.to_owned())
        .execute(&mut *writing)
        .await
        .doing("forget the runs of a host's agent")?;
    tell(writing, now, actor, "host.release", &host, json!({ "reason": reason, "was": was })).await?;
    Ok(Changed::Done(host))
}

/// Forgets a host and what it had. Its number is not given again.
pub async fn remove(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    reason: &str,
) -> Result<Changed, Error> {
    let (mut writing, host) = match open(store, id, None, |_| false).await? {
        Ok(open) => open,
        Err(changed) => return Ok(changed),
    };
    for text in [
        "DELETE FROM parts WHERE host = $1",
        "DELETE FROM inventories WHERE host = $1",
        "DELETE FROM certificates WHERE host = $1",
        "DELETE FROM evidence WHERE host = $1",
        "DELETE FROM hosts WHERE id = $1",
    ] {
        sqlx::query(text).bind(id.to_owned()).execute(&mut *writing).await.doing("remove a host")?;
    }
    census::forget(&mut writing, host.number).await?;
    tell(writing, now, actor, "host.remove", &host, json!({ "reason": reason, "name": host.name })).await?;
    Ok(Changed::Done(host))
}

/// Takes `machine` for the machine of a host that has none on record, as after its release. Gives whether it was so.
pub async fn bind(store: &Store, now: Timestamp, id: &str, machine: &str) -> Result<bool, Error> {
    let (mut writing, mut host) = match open(store, id, None, |host| !host.machine.is_empty()).await? {
        Ok(open) => open,
        Err(Changed::Done(host)) => return Ok(host.machine == machine),
        Err(Changed::Missing | Changed::Stale) => return Ok(false),
    };
    machine.clone_into(&mut host.machine);
    set_state(&mut writing, &host).await?;
    tell(writing, now, &Actor::Host(id.to_owned()), "host.bind", &host, json!({})).await?;
    Ok(true)
}

/// Active hosts two runs of whose agents have taken turns eight times: id, and where the two spoke from. A run that has
/// ended does not come back: these are copies that speak through different servers, none of which hears them both.
///
/// What an older run said may be written once late by each server that heard it, after what the newer one said: a server
/// writes every half a minute, and clocks differ. Eight turns are four such servers, each later than the one before.
pub async fn in_turns(store: &Store) -> Result<Vec<(String, String, String)>, Error> {
    let rows = sqlx::query(
        "SELECT id, address, address_was FROM hosts WHERE turns >= 8 AND state = $1 ORDER BY id LIMIT $2",
    )
    .bind(HostState::Active.word())
    .bind(PAGE)
    .fetch_all(store.reader())
    .await
    .doing("look for hosts that take turns")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect())
}

/// Writes when, where and with which agent hosts were heard. No revision, no event: it happens every minute. Between its
/// transactions it rests, until `hurry`: a hundred thousand rows at once would be felt by those who are being answered.
///
/// It counts, too, how often two runs of a host's agent take turns: see [`in_turns`].
pub async fn saw(store: &Store, seen: &[Seen], hurry: &CancellationToken) -> Result<(), Error> {
    for (nth, turn) in seen.chunks(SEEN_IN_STATEMENT * SEEN_STATEMENTS).enumerate() {
        if nth > 0 {
            let _ = timeout(SEEN_REST, hurry.cancelled()).await;
        }
        let mut writing = store.begin().await?;
        for some in turn.chunks(SEEN_IN_STATEMENT) {
            // Numbers of ours; both databases call the columns of VALUES so.
            let mut text = String::from(SEEN_BEGINS);
            for row in 0..some.len() {
                let at = 6 * row;
                let comma = if row == 0 { "" } else { ", " };
                let _ = write!(
                    text,
                    "{comma}(${}, CAST(${} AS BIGINT), ${}, ${}, CAST(${} AS BIGINT), CAST(${} AS BIGINT))",
                    at + 1,
                    at + 2,
                    at + 3,
                    at + 4,
                    at + 5,
                    at + 6
                );
            }
            text.push_str(") AS v WHERE hosts.id = v.column1 AND hosts.seen_at < v.column2");
            let mut query = sqlx::query(AssertSqlSafe(text)).persistent(some.len() == SEEN_IN_STATEMENT);
            for host in some {
                query = query
                    .bind(host.id.clone())
                    .bind(host.at.as_microsecond())
                    .bind(host.address.clone())
                    .bind(host.agent.clone())
                    .bind(host.stream)
                    .bind(host.clock_ahead_seconds);
            }
            query.execute(&mut *writing).await.doing("store when hosts were seen")?;
        }
        commit(writing, "store when hosts were seen").await?;
    }
    Ok(())
}

/// Begins to change a host: locks it, and counts the change. Errors with what became of it if there is nothing to do:
/// it `is_so` already, is not there, or has another revision.
async fn open(
    store: &Store,
    id: &str,
    revision: Option<i64>,
    is_so: impl FnOnce(&Host) -> bool,
) -> Result<Result<(Writing, Host), Changed>, Error> {
    let mut writing = store.begin().await?;
    let row = sqlx::query(concat!(
        "UPDATE hosts SET revision = revision + 1 WHERE id = $1 AND ($2 < 0 OR revision = $2) RETURNING ",
        columns!()
    ))
    .bind(id.to_owned())
    .bind(revision.unwrap_or(-1))
    .fetch_optional(&mut *writing)
    .await
    .doing("change a host")?;
    if let Some(row) = row {
        let host = host(&row)?;
        if !is_so(&host) {
            return Ok(Ok((writing, host)));
        }
        // The count is taken back with the transaction.
        writing.rollback().await.doing("leave a host as it is")?;
        return Ok(Err(get(store, id).await?.map_or(Changed::Missing, Changed::Done)));
    }
    let there: Option<i64> = sqlx::query_scalar("SELECT number FROM hosts WHERE id = $1")
        .bind(id.to_owned())
        .fetch_optional(&mut *writing)
        .await
        .doing("change a host")?;
    Ok(Err(if there.is_some() { Changed::Stale } else { Changed::Missing }))
}

async fn set_state(writing: &mut Writing, host: &Host) -> Result<(), Error> {
    sqlx::query("UPDATE hosts SET state = $1, reason = $2, machine = $3 WHERE id = $4")
        .bind(host.state.word())
        .bind(host.reason.clone())
        .bind(host.machine.clone())
        .bind(host.id.clone())
        .execute(&mut **writing)
        .await
        .doing("change a host's state")?;
    Ok(())
}

/// Records the change, tells of it and commits. The event carries the action, so that followers may tell removals.
async fn tell(
    mut writing: Writing,
    now: Timestamp,
    actor: &Actor,
    action: &str,
    host: &Host,
    detail: serde_json::Value,
) -> Result<(), Error> {
    audit::record(&mut writing, now, actor, action, &host.id, detail).await?;
    let told = told(action, host);
    events::tell(&mut writing, now, Kind::Host, &host.id, &told).await?;
    commit(writing, "change a host").await
}

/// What an event of [`Kind::Host`] carries.
pub(super) fn told(action: &str, host: &Host) -> serde_json::Value {
    json!({ "action": action, "number": host.number, "name": host.name, "state": host.state })
}
