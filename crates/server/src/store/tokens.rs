//! API tokens.

use super::audit::{self, Actor};
use super::events::{self, Kind};
use super::people::{User, time, user_of};
use super::{Doing, Error, Store, Writing, commit};
use crate::people::roles::Role;
use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;
use sqlx::any::AnyRow;

/// An API token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// UUIDv7.
    pub id: String,
    /// Its owner's id.
    pub owner: String,
    /// Its owner's name.
    pub owner_name: String,
    /// What it is for, in the owner's words.
    pub name: String,
    /// The most it may do; its owner's role bounds it too.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A token to be made.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// Hash of its secret.
    pub hash: &'a str,
    /// Whose it is.
    pub owner: &'a User,
    /// See [`Token::name`].
    pub name: &'a str,
    /// See [`Token::role`].
    pub role: Role,
    /// See [`Token::expires_at`].
    pub expires_at: Timestamp,
}

fn token_of(row: &AnyRow) -> Result<Token, Error> {
    let id: String = row.get(0);
    let damaged =
        |reason: &str| Error::Damaged { object: format!("API token {id}"), reason: reason.to_owned() };
    let at = |microseconds| time(microseconds).ok_or_else(|| damaged("a time is out of range"));
    Ok(Token {
        owner: row.get(1),
        owner_name: row.get(2),
        name: row.get(3),
        role: Role::of(row.get(4)).ok_or_else(|| damaged("its role is not known"))?,
        created_at: at(row.get(5))?,
        expires_at: at(row.get(6))?,
        used_at: row.get::<Option<i64>, _>(7).map(at).transpose()?,
        revoked_at: row.get::<Option<i64>, _>(8).map(at).transpose()?,
        id,
    })
}

/// Makes a token.
pub async fn create(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    new: &NewToken<'_>,
) -> Result<Token, Error> {
    let mut writing = store.begin().await?;
    let token = insert(&mut writing, now, actor, new).await?;
    let detail = json!({ "token": token.id });
    events::tell(&mut writing, now, Kind::Access, &token.owner, &detail).await?;
    commit(writing, "make an API token").await?;
    Ok(token)
}

/// [`create`], in a transaction; the caller tells of it.
pub(super) async fn insert(
    writing: &mut Writing,
    now: Timestamp,
    actor: &Actor,
    new: &NewToken<'_>,
) -> Result<Token, Error> {
    let token = Token {
        id: uuid::Uuid::now_v7().to_string(),
        owner: new.owner.id.clone(),
        owner_name: new.owner.name.clone(),
        name: new.name.to_owned(),
        role: new.role,
        created_at: now,
        expires_at: new.expires_at,
        used_at: None,
        revoked_at: None,
    };
    sqlx::query(
        "INSERT INTO api_tokens (id, hash, owner, name, role, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(token.id.clone())
    .bind(new.hash.to_owned())
    .bind(token.owner.clone())
    .bind(token.name.clone())
    .bind(token.role.word())
    .bind(now.as_microsecond())
    .bind(token.expires_at.as_microsecond())
    .execute(&mut **writing)
    .await
    .doing("make an API token")?;
    let detail = json!({
        "owner": token.owner_name, "name": token.name, "role": token.role, "expires_at": token.expires_at,
    });
    audit::record(writing, now, actor, "token.create", &token.id, detail).await?;
    Ok(token)
}

/// The token with that hash of its secret, and its owner; not if it is expired or revoked, or its owner disabled.
/// The hash is given back, to be compared in constant time.
pub async fn by_hash(
    store: &Store,
    now: Timestamp,
    hash: &str,
) -> Result<Option<(Token, User, String)>, Error> {
    let row = sqlx::query(
        "SELECT t.id, t.owner, u.name, t.name, t.role, t.created_at, t.expires_at, t.used_at, t.revoked_at,
                u.id, u.name, u.password, u.subject, u.role, u.disabled, u.created_at, u.revision, t.hash
         FROM api_tokens t JOIN users u ON u.id = t.owner
         WHERE t.hash = $1 AND t.expires_at > $2 AND t.revoked_at IS NULL AND u.disabled = 0",
    )
    .bind(hash.to_owned())
    .bind(now.as_microsecond())
    .fetch_optional(store.reader())
    .await
    .doing("look up an API token")?;
    row.map(|row| Ok((token_of(&row)?, user_of(&row, 9)?, row.get(17)))).transpose()
}

/// Notes that a token was used.
pub async fn used(store: &Store, now: Timestamp, id: &str) -> Result<(), Error> {
    let mut writing = store.begin().await?;
    sqlx::query("UPDATE api_tokens SET used_at = $1 WHERE id = $2 AND (used_at IS NULL OR used_at < $1)")
        .bind(now.as_microsecond())
        .bind(id.to_owned())
        .execute(&mut *writing)
        .await
        .doing("note that a token was used")?;
    commit(writing, "note that a token was used").await
}

/// Up to `most` tokens after that id, in order of their making; of one owner, or of all.
pub async fn list(store: &Store, owner: Option<&str>, after: &str, most: i64) -> Result<Vec<Token>, Error> {
    sqlx::query(
        "SELECT t.id, t.owner, u.name, t.name, t.role, t.created_at, t.expires_at, t.used_at, t.revoked_at
         FROM api_tokens t JOIN users u ON u.id = t.owner
         WHERE t.id > $1 AND (t.owner = $2 OR $2 = '') ORDER BY t.id LIMIT $3",
    )
    .bind(after.to_owned())
    .bind(owner.unwrap_or_default().to_owned())
    .bind(most)
    .fetch_all(store.reader())
    .await
    .doing("list API tokens")?
    .iter()
    .map(token_of)
    .collect()
}

/// Revokes a token; of that owner only, if one is given. Whether there was one that was not revoked.
pub async fn revoke(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    id: &str,
    owner: Option<&str>,
) -> Result<bool, Error> {
    let mut writing = store.begin().await?;
    let revoked = sqlx::query(
        "UPDATE api_tokens SET revoked_at = $1
         WHERE id = $2 AND revoked_at IS NULL AND (owner = $3 OR $3 = '') RETURNING owner",
    )
    .bind(now.as_microsecond())
    .bind(id.to_owned())
    .bind(owner.unwrap_or_default().to_owned())
    .fetch_optional(&mut *writing)
    .await
    .doing("revoke an API token")?;
    let Some(revoked) = revoked else { return Ok(false) };
    audit::record(&mut writing, now, actor, "token.revoke", id, json!({})).await?;
    let owner: String = revoked.get(0);
    events::tell(&mut writing, now, Kind::Access, &owner, &json!({ "token": id })).await?;
    commit(writing, "revoke an API token").await?;
    Ok(true)
}
