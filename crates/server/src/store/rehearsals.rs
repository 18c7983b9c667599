//! "What would this do to you?", asked of one host for each class of a plan, and what the host answered.

use super::{Doing, Error, Store, Writing};
use jiff::Timestamp;
use sqlx::Row;
use sqlx::any::AnyRow;
use uuid::Uuid;
use wire::v1::Rehearsed;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// UUIDv7.
    pub id: Uuid,
    /// The plan's id.
    pub plan: String,
    /// The class's name.
    pub class: String,
    /// The host's id.
    pub host: String,
    /// How many hosts it stands for.
    pub hosts: i64,
    /// Source packages that are to be upgraded.
    pub sources: Vec<String>,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it was answered, and what.
    pub answer: Option<(Timestamp, Rehearsed)>,
}

const REHEARSAL: &str = "SELECT r.id, r.plan, r.class, r.host, r.hosts, r.sources, r.asked_at, r.answer_at, r.answer \
    FROM rehearsals r";

/// Stores a question.
pub async fn insert(writing: &mut Writing, new: &Rehearsal) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO rehearsals (id, plan, class, host, hosts, sources, asked_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(new.id.to_string())
    .bind(new.plan.clone())
    .bind(new.class.clone())
    .bind(new.host.clone())
    .bind(new.hosts)
    .bind(serde_json::json!(new.sources).to_string())
    .bind(new.asked_at.as_microsecond())
    .execute(&mut **writing)
    .await
    .doing("store a rehearsal")?;
    Ok(())
}

/// Those of a plan, in the order of asking.
pub async fn of_plan(store: &Store, plan: &str) -> Result<Vec<Rehearsal>, Error> {
    let text = with(" WHERE r.plan = $1 ORDER BY r.id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(plan.to_owned())
        .fetch_all(store.reader())
        .await
        .doing("read a plan's rehearsals")?;
    rows.iter().map(rehearsal_of).collect()
}

/// All that wait for an answer, of plans that still rehearse.
pub async fn open(store: &Store) -> Result<Vec<Rehearsal>, Error> {
    let text = with(
        " JOIN plans p ON p.id = r.plan WHERE r.answer_at IS NULL AND p.state = 'rehearsing' ORDER BY r.id",
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .fetch_all(store.reader())
        .await
        .doing("read open rehearsals")?;
    rows.iter().map(rehearsal_of).collect()
}

/// Stores an answer; gives the plan's id, `None` if nobody asked this host, or it has answered, or nobody wants to know any
/// more.
pub async fn answer(
    writing: &mut Writing,
    now: Timestamp,
    host: &str,
    answer: &Rehearsed,
) -> Result<Option<String>, Error> {
    const DOING: &str = "store a rehearsal's answer";
    let plan: Option<String> = sqlx::query_scalar(
        "UPDATE rehearsals SET answer_at = $1, answer = $2 WHERE id = $3 AND host = $4 AND answer_at IS NULL \
         AND EXISTS (SELECT 1 FROM plans p WHERE p.id = rehearsals.plan AND p.state = 'rehearsing') RETURNING plan",
    )
    .bind(now.as_microsecond())
    .bind(serde_json::to_string(answer).expect("an answer is JSON"))
    .bind(answer.id.to_string())
    .bind(host.to_owned())
    .fetch_optional(&mut **writing)
    .await
    .doing(DOING)?;
    if let Some(plan) = &plan {
        // A step that has not read this answer must begin anew.
        sqlx::query("UPDATE plans SET revision = revision + 1 WHERE id = $1")
            .bind(plan.clone())
            .execute(&mut **writing)
            .await
            .doing(DOING)?;
    }
    Ok(plan)
}

fn with(rest: &'static str) -> String {
    format!("{REHEARSAL}{rest}")
}

fn rehearsal_of(row: &AnyRow) -> Result<Rehearsal, Error> {
    let id: String = row.get(0);
    let damaged =
        |reason: &str| Error::Damaged { object: format!("rehearsal {id}"), reason: reason.to_owned() };
    let time = |at: i64| Timestamp::from_microsecond(at).map_err(|_| damaged("a time is out of range"));
    let answer = match (row.get::<Option<i64>, _>(7), row.get::<Option<&str>, _>(8)) {
        (Some(at), Some(answer)) => {
            Some((time(at)?, serde_json::from_str(answer).map_err(|_| damaged("its answer is not JSON"))?))
        }
        _ => None,
    };
    Ok(Rehearsal {
        plan: row.get(1),
        class: row.get(2),
        host: row.get(3),
        hosts: row.get(4),
        sources: serde_json::from_str(row.get(5)).map_err(|_| damaged("its sources are not JSON"))?,
        asked_at: time(row.get(6))?,
        answer,
        id: Uuid::parse_str(&id).map_err(|_| damaged("its id is none"))?,
    })
}
