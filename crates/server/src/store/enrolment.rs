//! Enrolment tokens.
//!
//! STUB until the branch `hosts` is merged: take that file instead.

use super::audit::{self, Actor};
use super::{Doing, Error, Store, commit};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeMap;

/// A token that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// UUIDv7.
    pub id: String,
}

/// Makes a token; gives it and its secret.
#[allow(clippy::too_many_arguments)]
pub async fn create(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    group: &str,
    labels: &BTreeMap<String, String>,
    valid: SignedDuration,
    _hosts: u32,
) -> Result<(Token, String), Error> {
    let id = uuid::Uuid::now_v7().to_string();
    let secret = format!("stub-{id}");
    let mut writing = store.begin().await?;
    sqlx::query(
        "INSERT INTO enrolment_tokens (id, hash, host_group, labels, created_by, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id.clone())
    .bind(advisory::digest::sha256(secret.as_bytes()))
    .bind(group.to_owned())
    .bind(json!(labels).to_string())
    .bind(actor.to_string())
    .bind(now.as_microsecond())
    .bind(now.checked_add(valid).unwrap_or(Timestamp::MAX).as_microsecond())
    .execute(&mut *writing)
    .await
    .doing("make an enrolment token")?;
    audit::record(&mut writing, now, actor, "enrolment.create", &id, json!({ "group": group })).await?;
    commit(writing, "make an enrolment token").await?;
    Ok((Token { id }, secret))
}

/// Revokes a token. Whether there was one to revoke.
pub async fn revoke(store: &Store, now: Timestamp, actor: &Actor, id: &str) -> Result<bool, Error> {
    let mut writing = store.begin().await?;
    let revoked =
        sqlx::query("UPDATE enrolment_tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
            .bind(now.as_microsecond())
            .bind(id.to_owned())
            .execute(&mut *writing)
            .await
            .doing("revoke an enrolment token")?;
    if revoked.rows_affected() == 0 {
        return Ok(false);
    }
    audit::record(&mut writing, now, actor, "enrolment.revoke", id, json!({})).await?;
    commit(writing, "revoke an enrolment token").await?;
    Ok(true)
}
