//! New documents of the trust on their way to being signed.

use super::filter::Select;
use super::packed::{pack, unpack};
use super::{Doing, Error, Store, Writing};
use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;
use trust::proposal::PROPOSAL_BYTES_MAX;

/// A proposal as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// UUIDv7.
    pub id: String,
    /// `founding`, `plan`, `word`, `withdraw`, `keys`.
    pub kind: String,
    /// The plan's or the word's id; empty for keys.
    pub object: String,
    /// For people, one line.
    pub title: String,
    /// The documents and who has signed them; lists leave it out.
    pub body: Vec<u8>,
    /// SHA-256 of what is to be signed, hex.
    pub digest: String,
    /// What it would change, in words.
    pub differences: Vec<String>,
    /// What it is to change, JSON.
    pub asked: String,
    /// `open`, `published`, `withdrawn`.
    pub state: String,
    /// Why it was withdrawn, or made again.
    pub why: String,
    /// JSON: who had signed what when it was published.
    pub signed: String,
    /// Its rollout knows that it was published.
    pub acted: bool,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When its documents were made.
    pub made_at: Timestamp,
    /// When it was published or withdrawn.
    pub ended_at: Option<Timestamp>,
    /// Counts its changes.
    pub revision: i64,
}

/// Which proposals to list.
#[derive(Clone, Debug, Default)]
pub struct ProposalFilter {
    /// In this state only.
    pub state: Option<String>,
    /// About this plan or word only.
    pub object: Option<String>,
    /// Whose rollout knows, or does not know yet, that they were published.
    pub acted: Option<bool>,
    /// Those after this id.
    pub after: String,
}

/// An open proposal's documents, made anew on what stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// See [`Proposal::body`].
    pub body: Vec<u8>,
    /// See [`Proposal::digest`].
    pub digest: String,
    /// See [`Proposal::differences`].
    pub differences: Vec<String>,
}

const PROPOSAL: &str = "SELECT id, kind, object, title, digest, asked, state, why, signed, acted, created_by, \
    created_at, made_at, ended_at, revision, differences FROM proposals";
const WITH_BODY: &str = "SELECT id, kind, object, title, digest, asked, state, why, signed, acted, created_by, \
    created_at, made_at, ended_at, revision, differences, body FROM proposals";

/// Stores a new one.
pub async fn insert(writing: &mut Writing, new: &Proposal) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO proposals (id, kind, object, title, body, asked, state, why, signed, acted, created_by, created_at, \
         made_at, revision, digest, differences) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(new.id.clone())
    .bind(new.kind.clone())
    .bind(new.object.clone())
    .bind(new.title.clone())
    .bind(pack(&new.body))
    .bind(new.asked.clone())
    .bind(new.state.clone())
    .bind(new.why.clone())
    .bind(new.signed.clone())
    .bind(i64::from(new.acted))
    .bind(new.created_by.clone())
    .bind(new.created_at.as_microsecond())
    .bind(new.made_at.as_microsecond())
    .bind(new.revision)
    .bind(new.digest.clone())
    .bind(json!(new.differences).to_string())
    .execute(&mut **writing)
    .await
    .doing("store a proposal")?;
    Ok(())
}

/// The proposal of that id.
pub async fn get(store: &Store, id: &str) -> Result<Option<Proposal>, Error> {
    let mut select = Select::new(WITH_BODY);
    select.only("id = ?", [id.into()]);
    let rows = select.fetch(store, "read a proposal").await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let mut proposal = proposal_of(row)?;
    proposal.body = unpack(&format!("proposal {id}"), row.get(16), PROPOSAL_BYTES_MAX)?;
    Ok(Some(proposal))
}

/// Up to `most` proposals without their documents, in the order of their making.
pub async fn list(store: &Store, filter: &ProposalFilter, most: i64) -> Result<Vec<Proposal>, Error> {
    let mut select = Select::new(PROPOSAL);
    if let Some(state) = &filter.state {
        select.only("state = ?", [state.as_str().into()]);
    }
    if let Some(object) = &filter.object {
        select.only("object = ?", [object.as_str().into()]);
    }
    if let Some(acted) = filter.acted {
        select.only("acted = ?", [i64::from(acted).into()]);
    }
    select.only("id > ?", [filter.after.as_str().into()]);
    select.push("ORDER BY id LIMIT ?", [most.into()]);
    select.fetch(store, "list proposals").await?.iter().map(proposal_of).collect()
}

/// Replaces an open proposal's documents; false if it is not open any more, or has another revision.
pub async fn sign(writing: &mut Writing, id: &str, revision: i64, body: &[u8]) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE proposals SET body = $1, revision = revision + 1 WHERE id = $2 AND revision = $3 AND state = 'open'",
    )
    .bind(pack(body))
    .bind(id.to_owned())
    .bind(revision)
    .execute(&mut **writing)
    .await
    .doing("add a signer to a proposal")?;
    Ok(done.rows_affected() == 1)
}

/// Makes an open proposal anew: nobody has signed it any more. As [`sign`].
pub async fn remake(
    writing: &mut Writing,
    now: Timestamp,
    id: &str,
    revision: i64,
    made: &Made,
    why: &str,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE proposals SET body = $1, why = $2, made_at = $3, digest = $6, differences = $7, \
         revision = revision + 1 WHERE id = $4 AND revision = $5 AND state = 'open'",
    )
    .bind(pack(&made.body))
    .bind(why.to_owned())
    .bind(now.as_microsecond())
    .bind(id.to_owned())
    .bind(revision)
    .bind(made.digest.clone())
    .bind(json!(made.differences).to_string())
    .execute(&mut **writing)
    .await
    .doing("make a proposal again")?;
    Ok(done.rows_affected() == 1)
}

/// Ends an open proposal: it is in force. As [`sign`].
pub async fn publish(
    writing: &mut Writing,
    now: Timestamp,
    id: &str,
    revision: i64,
    signed: &str,
    acted: bool,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE proposals SET state = 'published', why = '', signed = $1, acted = $2, ended_at = $3, \
         revision = revision + 1 WHERE id = $4 AND revision = $5 AND state = 'open'",
    )
    .bind(signed.to_owned())
    .bind(i64::from(acted))
    .bind(now.as_microsecond())
    .bind(id.to_owned())
    .bind(revision)
    .execute(&mut **writing)
    .await
    .doing("publish a proposal")?;
    Ok(done.rows_affected() == 1)
}

/// Its rollout knows.
pub async fn acted(writing: &mut Writing, id: &str) -> Result<(), Error> {
    sqlx::query("UPDATE proposals SET acted = 1 WHERE id = $1")
        .bind(id.to_owned())
        .execute(&mut **writing)
        .await
        .doing("note that a rollout knows of a proposal")?;
    Ok(())
}

/// Ends an open proposal: it will not come into force. False if it is not open any more.
pub async fn withdraw(writing: &mut Writing, now: Timestamp, id: &str, why: &str) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE proposals SET state = 'withdrawn', why = $1, ended_at = $2, revision = revision + 1 \
         WHERE id = $3 AND state = 'open'",
    )
    .bind(why.to_owned())
    .bind(now.as_microsecond())
    .bind(id.to_owned())
    .execute(&mut **writing)
    .await
    .doing("withdraw a proposal")?;
    Ok(done.rows_affected() == 1)
}

fn proposal_of(row: &AnyRow) -> Result<Proposal, Error> {
    let id: String = row.get(0);
    let object = format!("proposal {id}");
    let time = |at: i64| {
        Timestamp::from_microsecond(at).map_err(|_| Error::Damaged {
            object: object.clone(),
            reason: "a time is out of range".to_owned(),
        })
    };
    Ok(Proposal {
        kind: row.get(1),
        object: row.get(2),
        title: row.get(3),
        body: Vec::new(),
        digest: row.get(4),
        differences: serde_json::from_str(row.get(15)).map_err(|_| Error::Damaged {
            object: object.clone(),
            reason: "its differences are not JSON".to_owned(),
        })?,
        asked: row.get(5),
        state: row.get(6),
        why: row.get(7),
        signed: row.get(8),
        acted: row.get::<i64, _>(9) != 0,
        created_by: row.get(10),
        created_at: time(row.get(11))?,
        made_at: time(row.get(12))?,
        ended_at: row.get::<Option<i64>, _>(13).map(time).transpose()?,
        revision: row.get(14),
        id,
    })
}
