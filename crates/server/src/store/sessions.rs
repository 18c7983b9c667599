//! Sessions, and log-ins under way.

use super::audit::{self, Actor};
use super::people::{User, time, user_of};
use super::{Doing, Error, Store, commit};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sqlx::Row;

/// Log-ins through an identity provider under way at once; more are refused until some end. 10,000 × 300 bytes = 3 MB.
const LOGINS_MAX: i64 = 10_000;

/// A session, found by its secret.
#[derive(Clone, Debug)]
pub struct Session {
    /// Hash of its secret.
    pub hash: String,
    /// Whose it is.
    pub user: User,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends if it is not used.
    pub expires_at: Timestamp,
}

/// Begins a session; the one that the browser had, if any, ends.
pub async fn begin(
    store: &Store,
    now: Timestamp,
    user: &User,
    hash: &str,
    ends: Option<&str>,
    expires_at: Timestamp,
) -> Result<(), Error> {
    let mut writing = store.begin().await?;
    sqlx::query("DELETE FROM sessions WHERE hash = $1 OR expires_at <= $2")
        .bind(ends.unwrap_or_default().to_owned())
        .bind(now.as_microsecond())
        .execute(&mut *writing)
        .await
        .doing("end old sessions")?;
    sqlx::query("INSERT INTO sessions (hash, owner, created_at, expires_at) VALUES ($1, $2, $3, $4)")
        .bind(hash.to_owned())
        .bind(user.id.clone())
        .bind(now.as_microsecond())
        .bind(expires_at.as_microsecond())
        .execute(&mut *writing)
        .await
        .doing("begin a session")?;
    let actor = Actor::Person(user.name.clone());
    audit::record(&mut writing, now, &actor, "session.begin", &user.id, json!({})).await?;
    commit(writing, "begin a session").await
}

/// The session of that hash, if it has not ended and its owner is not disabled.
pub async fn find(store: &Store, now: Timestamp, hash: &str) -> Result<Option<Session>, Error> {
    let row = sqlx::query(
        "SELECT s.hash, s.created_at, s.expires_at,
                u.id, u.name, u.password, u.subject, u.role, u.disabled, u.created_at, u.revision
         FROM sessions s JOIN users u ON u.id = s.owner
         WHERE s.hash = $1 AND s.expires_at > $2 AND u.disabled = 0",
    )
    .bind(hash.to_owned())
    .bind(now.as_microsecond())
    .fetch_optional(store.reader())
    .await
    .doing("look up a session")?;
    row.map(|row| {
        let damaged =
            || Error::Damaged { object: "a session".to_owned(), reason: "a time is out of range".to_owned() };
        Ok(Session {
            hash: row.get(0),
            created_at: time(row.get(1)).ok_or_else(damaged)?,
            expires_at: time(row.get(2)).ok_or_else(damaged)?,
            user: user_of(&row, 3)?,
        })
    })
    .transpose()
}

/// Lets a session live longer: it was used.
pub async fn extend(store: &Store, hash: &str, expires_at: Timestamp) -> Result<(), Error> {
    let mut writing = store.begin().await?;
    sqlx::query("UPDATE sessions SET expires_at = $1 WHERE hash = $2 AND expires_at < $1")
        .bind(expires_at.as_microsecond())
        .bind(hash.to_owned())
        .execute(&mut *writing)
        .await
        .doing("extend a session")?;
    commit(writing, "extend a session").await
}

/// Ends a session.
pub async fn end(store: &Store, now: Timestamp, session: &Session) -> Result<(), Error> {
    let mut writing = store.begin().await?;
    sqlx::query("DELETE FROM sessions WHERE hash = $1")
        .bind(session.hash.clone())
        .execute(&mut *writing)
        .await
        .doing("end a session")?;
    let actor = Actor::Person(session.user.name.clone());
    audit::record(&mut writing, now, &actor, "session.end", &session.user.id, json!({})).await?;
    commit(writing, "end a session").await
}

/// A log-in through an identity provider, under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// What the ID token must carry.
    pub nonce: String,
    /// PKCE's secret.
    pub verifier: String,
    /// Where the person wanted to go.
    pub back_to: String,
}

/// Keeps a log-in until the person comes back; not if too many are under way.
pub async fn begin_login(
    store: &Store,
    now: Timestamp,
    state: &str,
    login: &Login,
    lives: SignedDuration,
) -> Result<bool, Error> {
    let mut writing = store.begin().await?;
    sqlx::query("DELETE FROM logins WHERE expires_at <= $1")
        .bind(now.as_microsecond())
        .execute(&mut *writing)
        .await
        .doing("forget old log-ins")?;
    let under_way: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM logins")
        .fetch_one(&mut *writing)
        .await
        .doing("count log-ins")?;
    if under_way >= LOGINS_MAX {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO logins (state, nonce, verifier, back_to, expires_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(state.to_owned())
    .bind(login.nonce.clone())
    .bind(login.verifier.clone())
    .bind(login.back_to.clone())
    .bind(now.checked_add(lives).unwrap_or(Timestamp::MAX).as_microsecond())
    .execute(&mut *writing)
    .await
    .doing("keep a log-in")?;
    commit(writing, "keep a log-in").await?;
    Ok(true)
}

/// The log-in of that state, once.
pub async fn finish_login(store: &Store, now: Timestamp, state: &str) -> Result<Option<Login>, Error> {
    let mut writing = store.begin().await?;
    let row =
        sqlx::query("DELETE FROM logins WHERE state = $1 RETURNING nonce, verifier, back_to, expires_at")
            .bind(state.to_owned())
            .fetch_optional(&mut *writing)
            .await
            .doing("take up a log-in")?;
    commit(writing, "take up a log-in").await?;
    Ok(row.filter(|row| row.get::<i64, _>(3) > now.as_microsecond()).map(|row| Login {
        nonce: row.get(0),
        verifier: row.get(1),
        back_to: row.get(2),
    }))
}
