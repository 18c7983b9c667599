//! Bulletins that their vendor takes back while a plan that answers them is under way.

use crate::store::{Doing, Error, Store};
use rollout::plan::Plan;
use serde_json::json;
use sqlx::{AssertSqlSafe, Row};

/// A bulletin of this plan that was withdrawn since the plan was made, in words. One that was withdrawn before was known
/// to those who signed.
pub async fn bulletin(store: &Store, plan: &Plan) -> Result<Option<String>, Error> {
    if plan.bulletins.is_empty() {
        return Ok(None);
    }
    let ids = store.dialect().scalars("$1");
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT id, summary FROM advisories WHERE until_at IS NULL AND withdrawn > $2 AND id IN (SELECT value FROM {ids}) \
         ORDER BY id LIMIT 1"
    )))
    .bind(json!(plan.bulletins).to_string())
    .bind(plan.created.as_microsecond())
    .fetch_optional(store.reader())
    .await
    .doing("look whether a plan's bulletins were withdrawn")?;
    Ok(row.map(|row| {
        let (id, summary): (String, String) = (row.get(0), row.get(1));
        format!("its vendor withdrew {id} ({summary})")
    }))
}
