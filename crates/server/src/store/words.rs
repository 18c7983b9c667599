//! What approvers said, or are asked to say, about plans under way.

use super::{Doing, Error, Store, Writing};
use rollout::plan::PlanId;
use rollout::word::Word;
use sqlx::{AssertSqlSafe, Row};

/// Stores a word.
pub async fn insert(writing: &mut Writing, word: &Word) -> Result<(), Error> {
    sqlx::query("INSERT INTO words (id, plan, body) VALUES ($1, $2, $3)")
        .bind(word.id.to_string())
        .bind(word.plan.to_string())
        .bind(word.bytes())
        .execute(&mut **writing)
        .await
        .doing("store a word of the approvers")?;
    Ok(())
}

/// A word's canonical bytes.
pub async fn body(store: &Store, id: &str) -> Result<Option<Vec<u8>>, Error> {
    sqlx::query_scalar("SELECT body FROM words WHERE id = $1")
        .bind(id.to_owned())
        .fetch_optional(store.reader())
        .await
        .doing("read a word of the approvers")
}

/// The words among these ids.
pub async fn among(store: &Store, ids: &[String]) -> Result<Vec<Word>, Error> {
    let text = format!(
        "SELECT id, body FROM words WHERE id IN (SELECT value FROM {})",
        store.dialect().scalars("$1")
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(serde_json::json!(ids).to_string())
        .fetch_all(store.reader())
        .await
        .doing("read words of the approvers")?;
    rows.iter().map(word_of).collect()
}

/// The words about a plan whose proposals are open, each with its proposal's id.
pub async fn proposed(store: &Store, plan: PlanId) -> Result<Vec<(String, Word)>, Error> {
    let rows = sqlx::query(
        "SELECT w.id, w.body, p.id FROM words w JOIN proposals p ON p.object = w.id \
         WHERE w.plan = $1 AND p.state = 'open' ORDER BY p.id",
    )
    .bind(plan.to_string())
    .fetch_all(store.reader())
    .await
    .doing("read proposed words of the approvers")?;
    rows.iter().map(|row| Ok((row.get(2), word_of(row)?))).collect()
}

fn word_of(row: &sqlx::any::AnyRow) -> Result<Word, Error> {
    Word::read(row.get(1)).map_err(|problem| Error::Damaged {
        object: format!("word {}", row.get::<String, _>(0)),
        reason: problem.to_string(),
    })
}
