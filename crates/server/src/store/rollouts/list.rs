//! Rollouts as people list them.

use super::{parsed, small, time};
use crate::store::{Doing, Error, Store};
use jiff::Timestamp;
use rollout::rollout::State;
use serde::Serialize;
use sqlx::Row as _;
use utoipa::ToSchema;

/// A rollout in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ListedRollout)]
pub struct Listed {
    /// Its plan's id.
    pub plan: String,
    /// The plan's title.
    pub title: String,
    /// The plan's environment.
    pub environment: String,
    /// Its state's word.
    pub state: String,
    /// The same with its particulars.
    pub state_text: String,
    /// When its state changed last.
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: Timestamp,
    /// Hosts in it.
    pub hosts: u32,
    /// Of these, proven.
    pub proven: u32,
}

/// Rollouts, the newest first; of one state's word, if it is given. At most 1,000.
pub async fn list(store: &Store, word: Option<&str>) -> Result<Vec<Listed>, Error> {
    // Waves count what they settle; nobody counts jobs for a list.
    let rows = sqlx::query(
        "SELECT r.plan, p.title, p.environment, r.word, r.state, r.changed_at, \
         (SELECT CAST(COALESCE(SUM(w.hosts + w.late), 0) AS BIGINT) FROM rollout_waves w WHERE w.plan = r.plan), \
         (SELECT CAST(COALESCE(SUM(w.proven), 0) AS BIGINT) FROM rollout_waves w WHERE w.plan = r.plan) \
         FROM rollouts r JOIN plans p ON p.id = r.plan WHERE $1 = '' OR r.word = $1 ORDER BY r.plan DESC LIMIT 1000",
    )
    .bind(word.unwrap_or_default().to_owned())
    .fetch_all(store.reader())
    .await
    .doing("list rollouts")?;
    let listed = |row: &sqlx::any::AnyRow| {
        Ok(Listed {
            plan: row.get(0),
            title: row.get(1),
            environment: row.get(2),
            state: row.get(3),
            state_text: parsed::<State>(row, 4, "a rollout's state")?.to_string(),
            changed_at: time(row, 5)?,
            hosts: small(row, 6)?,
            proven: small(row, 7)?,
        })
    };
    rows.iter().map(listed).collect()
}
