//! Plans: what was asked for, what stands in its way, and at last one text.

use super::filter::Select;
use super::packed::{pack, unpack};
use super::{Doing, Error, Store, Writing};
use jiff::Timestamp;
use rollout::denylist::{Denylist, Entry, Key};
use rollout::plan::PlanId;
use sqlx::Row;
use sqlx::any::AnyRow;
use trust::{PlanName, PlanTarget};
use uuid::Uuid;

/// Bytes of a plan: what a host takes.
const PLAN_BYTES_MAX: usize = 10 << 20;

/// A plan as it is stored, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// UUIDv7.
    pub id: String,
    /// For people, one line.
    pub title: String,
    /// Whose approvers sign it.
    pub environment: String,
    /// Where it stands.
    pub state: State,
    /// JSON: what was asked for, with the seed of its waves.
    pub asked: String,
    /// What stands in its way.
    pub blocks: Vec<String>,
    /// JSON: hosts that were selected and are not in it, by reason.
    pub left_out: String,
    /// Hosts in it.
    pub hosts: i64,
    /// SHA-256 of its text, hex; empty before there is one.
    pub digest: String,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Counts its changes.
    pub revision: i64,
}

/// Where a plan stands before it is a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = PlanState)]
pub enum State {
    /// Hosts are asked what it would do to them.
    Rehearsing,
    /// Something stands in its way.
    Blocked,
    /// There is a text to be signed.
    Ready,
    /// Approvers have signed it.
    InForce,
    /// It is not in force any more, or never will be.
    Withdrawn,
}

impl State {
    /// Its word in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rehearsing => "rehearsing",
            Self::Blocked => "blocked",
            Self::Ready => "ready",
            Self::InForce => "in-force",
            Self::Withdrawn => "withdrawn",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Rehearsing, Self::Blocked, Self::Ready, Self::InForce, Self::Withdrawn]
            .into_iter()
            .find(|state| state.word() == word)
    }
}

/// A plan's text, and what is said with it.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// Canonical bytes.
    pub body: &'a [u8],
    /// Their SHA-256, hex.
    pub digest: &'a str,
    /// Hosts in it.
    pub hosts: i64,
    /// As in [`Plan::left_out`].
    pub left_out: &'a str,
}

const PLAN: &str = "SELECT id, title, environment, state, asked, blocks, left_out, hosts, digest, created_by, \
    created_at, revision FROM plans";

/// Stores a new plan.
pub async fn insert(writing: &mut Writing, new: &Plan) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO plans (id, title, environment, state, asked, blocks, left_out, hosts, digest, created_by, \
         created_at, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(new.id.clone())
    .bind(new.title.clone())
    .bind(new.environment.clone())
    .bind(new.state.word())
    .bind(new.asked.clone())
    .bind(serde_json::json!(new.blocks).to_string())
    .bind(new.left_out.clone())
    .bind(new.hosts)
    .bind(new.digest.clone())
    .bind(new.created_by.clone())
    .bind(new.created_at.as_microsecond())
    .bind(new.revision)
    .execute(&mut **writing)
    .await
    .doing("store a plan")?;
    Ok(())
}

/// The plan of that id.
pub async fn get(store: &Store, id: &str) -> Result<Option<Plan>, Error> {
    let mut select = Select::new(PLAN);
    select.only("id = ?", [id.into()]);
    select.fetch(store, "read a plan").await?.first().map(plan_of).transpose()
}

/// Up to `most` plans after that id, in the order of their making.
pub async fn list(store: &Store, state: Option<State>, after: &str, most: i64) -> Result<Vec<Plan>, Error> {
    let mut select = Select::new(PLAN);
    if let Some(state) = state {
        select.only("state = ?", [state.word().into()]);
    }
    select.only("id > ?", [after.into()]);
    select.push("ORDER BY id LIMIT ?", [most.into()]);
    select.fetch(store, "list plans").await?.iter().map(plan_of).collect()
}

/// A plan's canonical bytes, if there are any.
pub async fn body(store: &Store, id: &str) -> Result<Option<Vec<u8>>, Error> {
    let packed: Option<Option<Vec<u8>>> = sqlx::query_scalar("SELECT body FROM plans WHERE id = $1")
        .bind(id.to_owned())
        .fetch_optional(store.reader())
        .await
        .doing("read a plan's text")?;
    packed.flatten().map(|packed| unpack(&format!("plan {id}"), &packed, PLAN_BYTES_MAX)).transpose()
}

/// The bytes of `plans/SHA256.UUID.json`, whether it is a plan or a word; `None` unless they are the very ones.
pub async fn file(store: &Store, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let parts = name.strip_prefix("plans/").and_then(|rest| rest.strip_suffix(".json"));
    let id = parts.and_then(|parts| Uuid::try_parse(parts.split_once('.')?.1).ok());
    let Some(id) = id else { return Ok(None) };
    let text = id.to_string();
    let bytes = match body(store, &text).await? {
        Some(bytes) => Some(bytes),
        None => super::words::body(store, &text).await?,
    };
    Ok(bytes.filter(|bytes| PlanTarget::of(PlanName(id), bytes).is_some_and(|target| target.file() == name)))
}

/// A plan has its text: it can be signed. False if it was not rehearsing any more.
pub async fn ready(writing: &mut Writing, id: &str, text: Text<'_>) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE plans SET state = 'ready', blocks = '[]', body = $1, digest = $2, hosts = $3, left_out = $4, \
         revision = revision + 1 WHERE id = $5 AND state = 'rehearsing'",
    )
    .bind(pack(text.body))
    .bind(text.digest.to_owned())
    .bind(text.hosts)
    .bind(text.left_out.to_owned())
    .bind(id.to_owned())
    .execute(&mut **writing)
    .await
    .doing("store a plan's text")?;
    Ok(done.rows_affected() == 1)
}

/// Whether a plan still has that revision; until the transaction ends nobody can change it. To be asked before the first
/// write: if it does not, the transaction is to be dropped.
pub async fn unchanged(writing: &mut Writing, id: &str, revision: i64) -> Result<bool, Error> {
    let done = sqlx::query("UPDATE plans SET revision = revision + 1 WHERE id = $1 AND revision = $2")
        .bind(id.to_owned())
        .bind(revision)
        .execute(&mut **writing)
        .await
        .doing("hold a plan")?;
    Ok(done.rows_affected() == 1)
}

/// Something stands in a plan's way. False if it was not rehearsing any more.
pub async fn block(writing: &mut Writing, id: &str, blocks: &[String]) -> Result<bool, Error> {
    let done = sqlx::query(
        "UPDATE plans SET state = 'blocked', blocks = $1, revision = revision + 1 \
         WHERE id = $2 AND state = 'rehearsing'",
    )
    .bind(serde_json::json!(blocks).to_string())
    .bind(id.to_owned())
    .execute(&mut **writing)
    .await
    .doing("store what stands in a plan's way")?;
    Ok(done.rows_affected() == 1)
}

/// A plan goes from one of these states to another; false if it was in none of them.
pub async fn advance(writing: &mut Writing, id: &str, from: &[State], to: State) -> Result<bool, Error> {
    let mut done = 0;
    for from in from {
        done +=
            sqlx::query("UPDATE plans SET state = $1, revision = revision + 1 WHERE id = $2 AND state = $3")
                .bind(to.word())
                .bind(id.to_owned())
                .bind(from.word())
                .execute(&mut **writing)
                .await
                .doing("change a plan's state")?
                .rows_affected();
    }
    Ok(done > 0)
}

/// Versions that failed.
pub async fn denylist(store: &Store) -> Result<Denylist, Error> {
    let rows = sqlx::query(
        "SELECT package, version, class, plan, why, at FROM denied ORDER BY package, version, class",
    )
    .fetch_all(store.reader())
    .await
    .doing("read the denylist")?;
    let damaged =
        |reason: &str| Error::Damaged { object: "the denylist".to_owned(), reason: reason.to_owned() };
    let entries = rows.iter().map(|row| {
        let key = Key { package: row.get(0), version: row.get(1), class: row.get(2) };
        let plan = Uuid::parse_str(row.get(3)).map_err(|_| damaged("a plan's id is none"))?;
        let why: String = row.get(4);
        let why = serde_json::from_str(&why).unwrap_or(why);
        let at = Timestamp::from_microsecond(row.get(5)).map_err(|_| damaged("a time is out of range"))?;
        Ok((key, Entry { plan: PlanId(plan), at, why }))
    });
    let entries: Vec<(Key, Entry)> = entries.collect::<Result<_, Error>>()?;
    serde_json::from_value(serde_json::json!(entries)).map_err(|problem| damaged(&problem.to_string()))
}

fn plan_of(row: &AnyRow) -> Result<Plan, Error> {
    let id: String = row.get(0);
    let damaged = |reason: &str| Error::Damaged { object: format!("plan {id}"), reason: reason.to_owned() };
    Ok(Plan {
        title: row.get(1),
        environment: row.get(2),
        state: State::of(row.get(3)).ok_or_else(|| damaged("its state is not known"))?,
        asked: row.get(4),
        blocks: serde_json::from_str(row.get(5)).map_err(|_| damaged("its blocks are not JSON"))?,
        left_out: row.get(6),
        hosts: row.get(7),
        digest: row.get(8),
        created_by: row.get(9),
        created_at: Timestamp::from_microsecond(row.get(10))
            .map_err(|_| damaged("a time is out of range"))?,
        revision: row.get(11),
        id,
    })
}
