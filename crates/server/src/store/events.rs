//! What happened, in the order of commits: how replicas learn of each other's changes, and watchers of all.

use super::{Doing, Error, Store, Writing, count};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::Row;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A host was enrolled, renamed, labelled, quarantined, revoked or removed. Object: its id.
    Host,
    /// A host reported another inventory. Object: its id.
    Inventory,
    /// A feed was read, or failed. Object: its name.
    Feed,
    /// Advisories changed. Object: the feed's name.
    Advisories,
    /// Findings changed. Object: an advisory or a host's id.
    Findings,
    /// Users, tokens.
    Access,
    /// A plan, a proposal or the trust's documents changed. Object: the plan's or proposal's id.
    Plan,
    /// A rollout changed. Object: its plan's id.
    Rollout,
    /// Hosts are attacked that are vulnerable to it, or a signature starts to grow or is new. Object: a CVE or a signature.
    Census,
}

impl Kind {
    /// Its word in the store and in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Inventory => "inventory",
            Self::Feed => "feed",
            Self::Advisories => "advisories",
            Self::Findings => "findings",
            Self::Access => "access",
            Self::Plan => "plan",
            Self::Rollout => "rollout",
            Self::Census => "census",
        }
    }

    fn of(word: &str) -> Option<Self> {
        let all = [
            Self::Host,
            Self::Inventory,
            Self::Feed,
            Self::Advisories,
            Self::Findings,
            Self::Access,
            Self::Plan,
            Self::Rollout,
            Self::Census,
        ];
        all.into_iter().find(|kind| kind.word() == word)
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Its place in the order of commits; without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// What it is about.
    pub kind: Kind,
    /// Which.
    pub object: String,
    /// Particulars, by kind.
    pub detail: Value,
}

/// Tells of a change, in the transaction that makes it; gives its number. Ask for it late: others wait from here on.
pub async fn tell(
    writing: &mut Writing,
    at: Timestamp,
    kind: Kind,
    object: &str,
    detail: &Value,
) -> Result<i64, Error> {
    let seq = count(writing, "event").await?;
    sqlx::query("INSERT INTO events (seq, at, kind, object, detail) VALUES ($1, $2, $3, $4, $5)")
        .bind(seq)
        .bind(at.as_microsecond())
        .bind(kind.word())
        .bind(object.to_owned())
        .bind(detail.to_string())
        .execute(&mut **writing)
        .await
        .doing("tell of a change")?;
    Ok(seq)
}

/// The number of the last event.
pub async fn last(store: &Store) -> Result<i64, Error> {
    sqlx::query_scalar("SELECT value FROM counters WHERE name = 'event'")
        .fetch_one(store.reader())
        .await
        .doing("read the last event")
}

/// Up to `most` events after `seq`, in order.
pub async fn after(store: &Store, seq: i64, most: i64) -> Result<Vec<Event>, Error> {
    let rows =
        sqlx::query("SELECT seq, at, kind, object, detail FROM events WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(seq)
            .bind(most)
            .fetch_all(store.reader())
            .await
            .doing("read events")?;
    rows.iter()
        .map(|row| {
            let seq: i64 = row.get(0);
            let damaged =
                |reason: &str| Error::Damaged { object: format!("event {seq}"), reason: reason.to_owned() };
            Ok(Event {
                seq,
                at: Timestamp::from_microsecond(row.get(1))
                    .map_err(|_| damaged("its time is out of range"))?,
                kind: Kind::of(row.get(2)).ok_or_else(|| damaged("its kind is not known"))?,
                object: row.get(3),
                detail: serde_json::from_str(row.get(4)).map_err(|_| damaged("its detail is not JSON"))?,
            })
        })
        .collect()
}
