//! The audit log: who changed what, when. Append-only; each entry's hash covers the one before, so that an entry changed,
//! left out or put in between is found, also offline on an export.

use super::{Doing, Error, Store, Writing};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::fmt;

/// Who changed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person, by name, in a session or with the password.
    Person(String),
    /// A person's API token.
    Token {
        /// The person's name.
        owner: String,
        /// The token's id.
        id: String,
    },
    /// A host, by id.
    Host(String),
    /// A policy, by name.
    Policy(String),
    /// The server by itself: first start, sweeps; or whoever has its shell.
    Server,
}

impl fmt::Display for Actor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(name) => write!(out, "person:{name}"),
            Self::Token { owner, id } => write!(out, "token:{owner}/{id}"),
            Self::Host(id) => write!(out, "host:{id}"),
            Self::Policy(name) => write!(out, "policy:{name}"),
            Self::Server => out.write_str("server"),
        }
    }
}

/// One entry as it is exported: one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place, from 1 on, without gaps.
    pub seq: i64,
    /// When, microseconds since 1970.
    pub at: i64,
    /// Who, in [`Actor`]'s words.
    pub actor: String,
    /// What was done: `host.revoke`.
    pub action: String,
    /// To what.
    pub object: String,
    /// Particulars; never a secret.
    pub detail: Value,
    /// [`Entry::expected_hash`] with the previous entry's hash (empty for the first).
    pub hash: String,
}

impl Entry {
    /// SHA-256 in hex over the previous hash and every field, each with its length before it, so that no two entries
    /// have the same bytes.
    pub fn expected_hash(&self, previous: &str) -> String {
        let mut digest = Sha256::new();
        let (seq, at, detail) = (self.seq.to_string(), self.at.to_string(), self.detail.to_string());
        for field in [previous, &seq, &at, &self.actor, &self.action, &self.object, &detail] {
            digest.update((field.len() as u64).to_be_bytes());
            digest.update(field.as_bytes());
        }
        advisory::digest::hex(&digest.finalize())
    }
}

/// Records a change, in the transaction that makes it. Ask for it late: others wait from here on.
pub async fn record(
    writing: &mut Writing,
    at: Timestamp,
    actor: &Actor,
    action: &str,
    object: &str,
    detail: Value,
) -> Result<(), Error> {
    // The lock on this row makes the chain one.
    let head = sqlx::query("UPDATE audit_head SET seq = seq + 1 WHERE one = 1 RETURNING seq, hash")
        .fetch_one(&mut **writing)
        .await
        .doing("lock the audit log")?;
    let previous: String = head.get(1);
    let mut entry = Entry {
        seq: head.get(0),
        at: at.as_microsecond(),
        actor: actor.to_string(),
        action: action.to_owned(),
        object: object.to_owned(),
        detail,
        hash: String::new(),
    };
    entry.hash = entry.expected_hash(&previous);
    sqlx::query(
        "INSERT INTO audit (seq, at, actor, action, object, detail, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(entry.seq)
    .bind(entry.at)
    .bind(entry.actor)
    .bind(entry.action)
    .bind(entry.object)
    .bind(entry.detail.to_string())
    .bind(entry.hash.clone())
    .execute(&mut **writing)
    .await
    .doing("record a change in the audit log")?;
    sqlx::query("UPDATE audit_head SET hash = $1 WHERE one = 1")
        .bind(entry.hash)
        .execute(&mut **writing)
        .await
        .doing("close the audit log's chain")?;
    Ok(())
}

/// Up to `most` entries after `seq`, in order.
pub async fn after(store: &Store, seq: i64, most: i64) -> Result<Vec<Entry>, Error> {
    let text =
        "SELECT seq, at, actor, action, object, detail, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2";
    read(store, text, seq, most).await
}

/// Up to `most` entries before `seq`, the newest first.
pub async fn before(store: &Store, seq: i64, most: i64) -> Result<Vec<Entry>, Error> {
    let text = "SELECT seq, at, actor, action, object, detail, hash FROM audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2";
    read(store, text, seq, most).await
}

async fn read(store: &Store, text: &'static str, seq: i64, most: i64) -> Result<Vec<Entry>, Error> {
    let rows = sqlx::query(text).bind(seq).bind(most).fetch_all(store.reader()).await;
    rows.doing("read the audit log")?.iter().map(entry).collect()
}

fn entry(row: &AnyRow) -> Result<Entry, Error> {
    Ok(Entry {
        seq: row.get(0),
        at: row.get(1),
        actor: row.get(2),
        action: row.get(3),
        object: row.get(4),
        detail: serde_json::from_str(row.get(5)).map_err(|problem| Error::Damaged {
            object: format!("entry {} of the audit log", row.get::<i64, _>(0)),
            reason: problem.to_string(),
        })?,
        hash: row.get(6),
    })
}

/// Where a chain breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq}: {reason}")]
pub struct Broken {
    /// The first entry that does not fit.
    pub seq: i64,
    /// Why.
    pub reason: String,
}

/// Follows a chain entry by entry.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    seq: i64,
    hash: String,
}

impl Chain {
    /// Takes the next entry; errors if it is not the one that must follow, or was changed.
    pub fn follow(&mut self, entry: &Entry) -> Result<(), Broken> {
        let broken = |reason: String| Err(Broken { seq: entry.seq, reason });
        if entry.seq != self.seq + 1 {
            return broken(format!("{} must follow here: entries are missing or out of order", self.seq + 1));
        }
        if entry.hash != entry.expected_hash(&self.hash) {
            return broken(
                "its hash does not cover what it says: it, or one before it, was changed".to_owned(),
            );
        }
        self.seq = entry.seq;
        self.hash.clone_from(&entry.hash);
        Ok(())
    }

    /// How many entries were followed, and the last one's hash: whoever noted it down elsewhere can tell whether the
    /// end was cut off.
    pub fn end(&self) -> (i64, &str) {
        (self.seq, &self.hash)
    }
}

/// Follows the stored log to its end; `None`: whole.
pub async fn verify_store(store: &Store) -> Result<Option<Broken>, Error> {
    const PAGE: i64 = 1_000;
    let mut chain = Chain::default();
    loop {
        let page = after(store, chain.seq, PAGE).await?;
        for entry in &page {
            if let Err(broken) = chain.follow(entry) {
                return Ok(Some(broken));
            }
        }
        if page.is_empty() {
            break;
        }
    }
    let head = sqlx::query("SELECT seq, hash FROM audit_head WHERE one = 1");
    let head = head.fetch_one(store.reader()).await.doing("read the audit log's head")?;
    let (seq, hash): (i64, String) = (head.get(0), head.get(1));
    if (seq, hash.as_str()) == chain.end() {
        return Ok(None);
    }
    Ok(Some(Broken { seq, reason: format!("the log ends at {}: entries were cut off", chain.seq) }))
}
