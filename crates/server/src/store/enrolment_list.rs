//! Enrolment tokens as people list them.

use super::filter::Select;
use super::{Error, Store};
use jiff::Timestamp;
use sqlx::Row;
use std::collections::BTreeMap;

/// An enrolment token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// UUIDv7.
    pub id: String,
    /// The group that a host gets.
    pub group: String,
    /// The labels that a host gets.
    pub labels: BTreeMap<String, String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// How many hosts may enrol with it.
    pub hosts: i64,
    /// How many have.
    pub used: i64,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
    /// The host that used it last.
    pub host: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

const TOKEN: &str =
    "SELECT id, host_group, labels, created_by, created_at, expires_at, used_at, host, revoked_at,
    hosts, used
    FROM enrolment_tokens";

/// Up to `most` tokens after that id, in the order of their making.
pub async fn list(store: &Store, after: &str, most: i64) -> Result<Vec<Token>, Error> {
    let mut select = Select::new(TOKEN);
    select.only("id > ?", [after.into()]);
    select.push("ORDER BY id LIMIT ?", [most.into()]);
    read(store, select).await
}

/// The token of that id.
pub async fn get(store: &Store, id: &str) -> Result<Option<Token>, Error> {
    let mut select = Select::new(TOKEN);
    select.only("id = ?", [id.into()]);
    Ok(read(store, select).await?.pop())
}

async fn read(store: &Store, select: Select) -> Result<Vec<Token>, Error> {
    select
        .fetch(store, "read enrolment tokens")
        .await?
        .iter()
        .map(|row| {
            let id: String = row.get(0);
            let damaged = |reason: String| Error::Damaged { object: format!("enrolment token {id}"), reason };
            let time = |microseconds| {
                Timestamp::from_microsecond(microseconds).map_err(|problem| damaged(problem.to_string()))
            };
            Ok(Token {
                group: row.get(1),
                labels: serde_json::from_str(row.get(2)).map_err(|problem| damaged(problem.to_string()))?,
                created_by: row.get(3),
                created_at: time(row.get(4))?,
                expires_at: time(row.get(5))?,
                used_at: row.get::<Option<i64>, _>(6).map(time).transpose()?,
                host: row.get(7),
                hosts: row.get(9),
                used: row.get(10),
                revoked_at: row.get::<Option<i64>, _>(8).map(time).transpose()?,
                id,
            })
        })
        .collect()
}
