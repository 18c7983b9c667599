//! What hosts had, from when until when: intervals of pieces that are known by their hashes and stored once.

mod contents;

pub use contents::{Alike, Contents, alike, contents, packed, unpacked};

use super::events::{self, Kind};
use super::{Doing, Error, Store, Writing, commit, delete_past};
use advisory::Advisory;
use exposure::Inventory;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sqlx::{AssertSqlSafe, Row};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use wire::v1::{Broken, INFLATED_BYTES_MAX, Parts, Pieces, Report, join};

/// Parts of an inventory: eight and one for each first letter, thirty in practice.
pub const PARTS_MAX: usize = 256;
/// Bytes of a part's name: `candidates` and the like, or `packages.` and a letter.
const PART_BYTES_MAX: usize = 32;
/// Hashes asked for in one statement.
const HASHES_IN_STATEMENT: usize = 512;
/// A piece that nobody names is kept for so long after it was sent: a report that names it may be under way.
const PIECE_KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How often a reading that was overtaken by a change is tried.
const READINGS_MAX: usize = 3;

/// An inventory as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// From when on the host had it, by our clock.
    pub from: Timestamp,
    /// [`wire::v1::hash`] of its parts.
    pub hash: String,
    /// What the host had.
    pub inventory: Inventory,
    /// What its package manager says that its fixes close.
    pub closes: Vec<Advisory>,
}

/// From when until when a host had an inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// From when on, by our clock.
    pub from: Timestamp,
    /// Until when; none: still.
    pub until: Option<Timestamp>,
    /// When it was looked at, by the host's clock.
    pub observed: Timestamp,
    /// As in [`Stored::hash`].
    pub hash: String,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is what the host has from now on; its hash.
    Stored(String),
    /// It is what the host had already; its hash. Nothing was written.
    Unchanged(String),
    /// These hashes' bodies were left out, and the host's last inventory did not have them. Nothing was written.
    Missing(Vec<String>),
    /// It is no inventory. Nothing was written.
    Broken(Broken),
}

/// What [`prune`] deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Intervals that ended long ago.
    pub intervals: u64,
    /// Pieces that nobody names any more.
    pub pieces: u64,
}

/// What the host has now.
pub async fn current(store: &Store, host: &str) -> Result<Option<Stored>, Error> {
    // An open interval ends in the future.
    at(store, host, Timestamp::MAX, Knowing::Then).await
}

/// Whose knowledge of a moment is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowing {
    /// What we knew then.
    Then,
    /// What we know by now: a host that was cut off tells later what it had.
    Hindsight,
}

/// What the host had at a moment.
pub async fn at(store: &Store, host: &str, at: Timestamp, knowing: Knowing) -> Result<Option<Stored>, Error> {
    let at = at.as_microsecond();
    let text = match knowing {
        Knowing::Then => {
            "SELECT h.name, i.from_at, i.observed_at, i.hash FROM inventories i JOIN hosts h ON h.id = i.host \
             WHERE i.host = $1 AND i.from_at <= $2 AND (i.until_at IS NULL OR i.until_at > $2) \
             ORDER BY i.from_at DESC LIMIT 1"
        }
        Knowing::Hindsight => {
            "SELECT h.name, i.from_at, i.observed_at, i.hash FROM inventories i JOIN hosts h ON h.id = i.host \
             WHERE i.host = $1 AND i.observed_at <= $2 ORDER BY i.observed_at DESC, i.from_at DESC LIMIT 1"
        }
    };
    for _ in 0..READINGS_MAX {
        let row = sqlx::query(text)
            .bind(host.to_owned())
            .bind(at)
            .fetch_optional(store.reader())
            .await
            .doing("read an inventory")?;
        let Some(row) = row else { return Ok(None) };
        let (name, from, observed, hash): (String, i64, i64, String) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let rows = sqlx::query(
            "SELECT p.part, p.hash, c.body FROM parts p JOIN pieces c ON c.hash = p.hash \
             WHERE p.host = $1 AND p.from_at <= $2 AND (p.until_at IS NULL OR p.until_at > $2)",
        )
        .bind(host.to_owned())
        .bind(from)
        .fetch_all(store.reader())
        .await
        .doing("read an inventory's pieces")?;
        let rows: Vec<(String, String, Vec<u8>)> =
            rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
        let parts: Parts = rows.iter().map(|(part, hash, _)| (part.clone(), hash.clone())).collect();
        if wire::v1::hash(&parts) != hash {
            // Changed between the two readings; or damaged, which the last reading tells.
            continue;
        }
        let object = format!("inventory of host {host}");
        return blocking(move || {
            let mut pieces = Pieces { parts, bodies: BTreeMap::new() };
            for (_, hash, body) in rows {
                let body = inflate(&body).map_err(|reason| damaged(&format!("piece {hash}"), reason))?;
                pieces.bodies.insert(hash, body);
            }
            let (inventory, closes) = join(&name, moment(observed), &pieces)
                .map_err(|broken| damaged(&object, broken.to_string()))?;
            Ok(Some(Stored { from: moment(from), hash, inventory, closes }))
        })
        .await;
    }
    Err(damaged(&format!("inventory of host {host}"), "its parts are not those of its hash".to_owned()))
}

/// The last `most` inventories of a host that began before a moment, the newest first.
pub async fn history(
    store: &Store,
    host: &str,
    before: Timestamp,
    most: i64,
) -> Result<Vec<Interval>, Error> {
    let rows = sqlx::query(
        "SELECT from_at, until_at, observed_at, hash FROM inventories WHERE host = $1 AND from_at < $2 \
         ORDER BY from_at DESC LIMIT $3",
    )
    .bind(host.to_owned())
    .bind(before.as_microsecond())
    .bind(most)
    .fetch_all(store.reader())
    .await
    .doing("read a host's history")?;
    Ok(rows
        .iter()
        .map(|row| Interval {
            from: moment(row.get(0)),
            until: row.get::<Option<i64>, _>(1).map(moment),
            observed: moment(row.get(2)),
            hash: row.get(3),
        })
        .collect())
}

/// Stores what a host reports to have from now on. Pieces may be left out only if this host's own last inventory had
/// them: what other hosts have is none of its business.
pub async fn replace(
    store: &Store,
    now: Timestamp,
    host: &str,
    observed: Timestamp,
    report: &Report,
) -> Result<Replaced, Error> {
    if let Some(broken) = misshapen(&report.parts) {
        return Ok(Replaced::Broken(broken));
    }
    let hash = wire::v1::hash(&report.parts);
    let before = sqlx::query("SELECT from_at, hash FROM inventories WHERE host = $1 AND until_at IS NULL")
        .bind(host.to_owned())
        .fetch_optional(store.reader())
        .await
        .doing("read a host's last inventory")?
        .map(|row| (row.get::<i64, _>(0), row.get::<String, _>(1)));
    if before.as_ref().is_some_and(|(_, before)| *before == hash) {
        return Ok(Replaced::Unchanged(hash));
    }
    let had: Parts = sqlx::query("SELECT part, hash FROM parts WHERE host = $1 AND until_at IS NULL")
        .bind(host.to_owned())
        .fetch_all(store.reader())
        .await
        .doing("read a host's last inventory")?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    let left_out = report.parts.values().filter(|hash| !report.bodies.contains_key(*hash));
    let (known, mut missing): (Vec<&String>, Vec<&String>) =
        left_out.partition(|hash| had.values().any(|own| own == *hash));
    if !missing.is_empty() {
        missing.sort();
        missing.dedup();
        return Ok(Replaced::Missing(missing.into_iter().cloned().collect()));
    }
    let known = bodies(store, &known).await?;
    let report = report.clone();
    let checked = blocking(move || Ok(check(report, known))).await?;
    let Checked { parts, new, release } = match checked {
        Ok(checked) => checked,
        Err(broken) => return Ok(Replaced::Broken(broken)),
    };

    let mut writing = store.begin().await?;
    let number: Option<i64> =
        sqlx::query_scalar("UPDATE hosts SET release = $1 WHERE id = $2 RETURNING number")
            .bind(release)
            .bind(host.to_owned())
            .fetch_optional(&mut *writing)
            .await
            .doing("store a host's release")?;
    let number = number.ok_or_else(|| damaged(&format!("host {host}"), "it was removed".to_owned()))?;
    // The row of the host is locked: nobody else replaces its inventory now, but somebody may just have.
    let still: Option<i64> =
        sqlx::query_scalar("SELECT from_at FROM inventories WHERE host = $1 AND until_at IS NULL")
            .bind(host.to_owned())
            .fetch_optional(&mut *writing)
            .await
            .doing("read a host's last inventory")?;
    if still != before.as_ref().map(|(from, _)| *from) {
        let object = format!("inventory of host {host}");
        return Err(damaged(&object, "another report of the host was stored meanwhile".to_owned()));
    }
    // Two intervals never begin at once, whatever the clock does.
    let from = before.map_or(i64::MIN, |(from, _)| from + 1).max(now.as_microsecond());
    write(&mut writing, host, from, observed, &hash, (&had, &parts), new).await?;
    let told = json!({ "number": number, "hash": hash });
    events::tell(&mut writing, now, Kind::Inventory, host, &told).await?;
    commit(writing, "store an inventory").await?;
    Ok(Replaced::Stored(hash))
}

/// Deletes what ended longer than `keep` ago, in small transactions, and pieces that nobody names any more.
pub async fn prune(store: &Store, now: Timestamp, keep: SignedDuration) -> Result<Pruned, Error> {
    const DOING: &str = "delete old inventories";
    let before = |age| now.saturating_sub(age).unwrap_or(Timestamp::MIN).as_microsecond();
    let ended = before(keep);
    let intervals = delete_past(
        store,
        "DELETE FROM inventories WHERE (host, from_at) IN \
         (SELECT host, from_at FROM inventories WHERE until_at < $1 LIMIT $2)",
        ended,
        DOING,
    )
    .await?;
    delete_past(
        store,
        "DELETE FROM parts WHERE (host, part, from_at) IN \
         (SELECT host, part, from_at FROM parts WHERE until_at < $1 LIMIT $2)",
        ended,
        DOING,
    )
    .await?;
    let pieces = delete_past(
        store,
        "DELETE FROM pieces WHERE hash IN (SELECT hash FROM pieces WHERE sent_at < $1 \
         AND NOT EXISTS (SELECT 1 FROM parts WHERE parts.hash = pieces.hash) LIMIT $2)",
        before(PIECE_KEPT),
        DOING,
    )
    .await?;
    Ok(Pruned { intervals, pieces })
}

async fn write(
    writing: &mut Writing,
    host: &str,
    from: i64,
    observed: Timestamp,
    hash: &str,
    (had, parts): (&Parts, &Parts),
    new: BTreeMap<String, Vec<u8>>,
) -> Result<(), Error> {
    const DOING: &str = "store an inventory";
    sqlx::query("UPDATE inventories SET until_at = $1 WHERE host = $2 AND until_at IS NULL")
        .bind(from)
        .bind(host.to_owned())
        .execute(&mut **writing)
        .await
        .doing(DOING)?;
    sqlx::query("INSERT INTO inventories (host, from_at, observed_at, hash) VALUES ($1, $2, $3, $4)")
        .bind(host.to_owned())
        .bind(from)
        .bind(observed.as_microsecond())
        .bind(hash.to_owned())
        .execute(&mut **writing)
        .await
        .doing(DOING)?;
    // In the order of hashes: two hosts that send the same pieces wait for each other instead of locking each other.
    for (hash, body) in new {
        sqlx::query(
            "INSERT INTO pieces (hash, body, sent_at) VALUES ($1, $2, $3) \
             ON CONFLICT (hash) DO UPDATE SET sent_at = excluded.sent_at",
        )
        .bind(hash)
        .bind(body)
        .bind(from)
        .execute(&mut **writing)
        .await
        .doing(DOING)?;
    }
    for part in had.iter().filter(|(part, hash)| parts.get(*part) != Some(*hash)).map(|(part, _)| part) {
        sqlx::query("UPDATE parts SET until_at = $1 WHERE host = $2 AND part = $3 AND until_at IS NULL")
            .bind(from)
            .bind(host.to_owned())
            .bind(part.clone())
            .execute(&mut **writing)
            .await
            .doing(DOING)?;
    }
    for (part, hash) in parts.iter().filter(|(part, hash)| had.get(*part) != Some(*hash)) {
        sqlx::query("INSERT INTO parts (host, part, from_at, hash) VALUES ($1, $2, $3, $4)")
            .bind(host.to_owned())
            .bind(part.clone())
            .bind(from)
            .bind(hash.clone())
            .execute(&mut **writing)
            .await
            .doing(DOING)?;
    }
    Ok(())
}

/// A report that is an inventory.
struct Checked {
    parts: Parts,
    /// Bodies that were sent and are named, compressed.
    new: BTreeMap<String, Vec<u8>>,
    release: String,
}

/// Checks a report's pieces, together with those that its host had before, and compresses the new ones.
fn check(report: Report, known: BTreeMap<String, String>) -> Result<Checked, Broken> {
    let mut pieces = Pieces { parts: report.parts, bodies: report.bodies };
    // A body that no part names was not asked for.
    let named: std::collections::BTreeSet<&String> = pieces.parts.values().collect();
    pieces.bodies.retain(|hash, _| named.contains(hash));
    let sent: Vec<String> = pieces.bodies.keys().cloned().collect();
    pieces.bodies.extend(known);
    let (inventory, _) = join("", Timestamp::UNIX_EPOCH, &pieces)?;
    let new = sent.into_iter().map(|hash| {
        let body = deflate(&pieces.bodies[&hash]);
        (hash, body)
    });
    let new = new.collect();
    let release = crate::hosts::clean(&inventory.system.release.to_string(), RELEASE_BYTES_MAX);
    Ok(Checked { parts: pieces.parts, new, release })
}

/// Bytes of a release in words: `SUSE Linux Enterprise 15.6` with room.
const RELEASE_BYTES_MAX: usize = 128;

/// Why the table of contents is none, if it is none.
fn misshapen(parts: &Parts) -> Option<Broken> {
    if parts.len() > PARTS_MAX {
        let reason = format!("the inventory has {} parts, over {PARTS_MAX}", parts.len());
        return Some(Broken::Unreadable { part: "…".to_owned(), reason });
    }
    parts.iter().find_map(|(part, hash)| {
        let reason = if part.len() > PART_BYTES_MAX || part.chars().any(char::is_control) {
            "its name is no part's"
        } else if hash.len() != 64 || !hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            "its hash is no SHA-256 in hex"
        } else {
            return None;
        };
        let part = part.chars().filter(|one| !one.is_control()).take(PART_BYTES_MAX).collect();
        Some(Broken::Unreadable { part, reason: reason.to_owned() })
    })
}

/// Stored bodies by hash.
async fn compressed(store: &Store, hashes: &[&String]) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut found = Vec::with_capacity(hashes.len());
    for some in hashes.chunks(HASHES_IN_STATEMENT) {
        let mut text = String::from("SELECT hash, body FROM pieces WHERE hash IN (");
        for at in 1..=some.len() {
            let comma = if at == 1 { "" } else { ", " };
            let _ = write!(text, "{comma}${at}");
        }
        text.push(')');
        let mut query = sqlx::query(AssertSqlSafe(text)).persistent(some.len() == HASHES_IN_STATEMENT);
        for hash in some {
            query = query.bind((*hash).clone());
        }
        let rows = query.fetch_all(store.reader()).await.doing("read pieces of inventories")?;
        found.extend(rows.iter().map(|row| (row.get(0), row.get(1))));
    }
    Ok(found)
}

async fn bodies(store: &Store, hashes: &[&String]) -> Result<BTreeMap<String, String>, Error> {
    compressed(store, hashes)
        .await?
        .into_iter()
        .map(|(hash, body)| {
            let body = inflate(&body).map_err(|reason| damaged(&format!("piece {hash}"), reason))?;
            Ok((hash, body))
        })
        .collect()
}

/// Work that takes milliseconds, off the threads that answer.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|problem| {
        Err(damaged("an inventory", format!("the work on it was cut off: {problem}")))
    })
}

fn deflate(body: &str) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.as_bytes()).and_then(|()| encoder.finish()).expect("writing to memory cannot fail")
}

fn inflate(body: &[u8]) -> Result<String, String> {
    let mut text = String::new();
    // One more than allowed, so that what is cut is noticed by its hash.
    ZlibDecoder::new(body)
        .take(INFLATED_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|problem| problem.to_string())?;
    Ok(text)
}

fn damaged(object: &str, reason: String) -> Error {
    Error::Damaged { object: object.to_owned(), reason }
}

fn moment(at: i64) -> Timestamp {
    // Written from timestamps; out of range only when damaged, and then any time is as wrong.
    Timestamp::from_microsecond(at).unwrap_or(Timestamp::UNIX_EPOCH)
}
