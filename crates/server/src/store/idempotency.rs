//! Answers to writes that carried an idempotency key, so that a write sent twice is done once.

use super::{Doing, Error, Store, commit};
use jiff::{SignedDuration, Timestamp};
use sqlx::Row;

/// How long an answer is kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// After so long a write that never answered may be taken up again: its server is gone. Twice a request's longest time.
const ABANDONED: SignedDuration = SignedDuration::from_secs(60);

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing yet: it is yours; answer, then [`keep`] or [`release`].
    Yours,
    /// Another request.
    Other,
    /// The same request, which has not been answered yet.
    UnderWay,
    /// The same request, and its answer.
    Answered {
        /// HTTP status.
        status: i64,
        /// As it was kept.
        body: String,
    },
}

/// Takes a key for a request, or tells what it stands for. `key` and `request` are hashes.
pub async fn take(
    store: &Store,
    now: Timestamp,
    actor: &str,
    key: &str,
    request: &str,
) -> Result<Place, Error> {
    let mut writing = store.begin().await?;
    sqlx::query("DELETE FROM idempotency WHERE expires_at <= $1")
        .bind(now.as_microsecond())
        .execute(&mut *writing)
        .await
        .doing("forget old idempotency keys")?;
    let taken = sqlx::query(
        "INSERT INTO idempotency (actor, idem_key, request, status, body, expires_at) VALUES ($1, $2, $3, 0, '', $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(actor.to_owned())
    .bind(key.to_owned())
    .bind(request.to_owned())
    .bind(after(now, ABANDONED))
    .execute(&mut *writing)
    .await
    .doing("take an idempotency key")?;
    if taken.rows_affected() == 1 {
        commit(writing, "take an idempotency key").await?;
        return Ok(Place::Yours);
    }
    let row = sqlx::query("SELECT request, status, body FROM idempotency WHERE actor = $1 AND idem_key = $2")
        .bind(actor.to_owned())
        .bind(key.to_owned())
        .fetch_one(&mut *writing)
        .await
        .doing("look up an idempotency key")?;
    Ok(match (row.get::<&str, _>(0) == request, row.get::<i64, _>(1)) {
        (false, _) => Place::Other,
        (true, 0) => Place::UnderWay,
        (true, status) => Place::Answered { status, body: row.get(2) },
    })
}

/// Keeps the answer to a request whose key was taken.
pub async fn keep(
    store: &Store,
    now: Timestamp,
    actor: &str,
    key: &str,
    status: i64,
    body: &str,
) -> Result<(), Error> {
    let mut writing = store.begin().await?;
    sqlx::query(
        "UPDATE idempotency SET status = $1, body = $2, expires_at = $3 WHERE actor = $4 AND idem_key = $5",
    )
    .bind(status)
    .bind(body.to_owned())
    .bind(after(now, KEPT))
    .bind(actor.to_owned())
    .bind(key.to_owned())
    .execute(&mut *writing)
    .await
    .doing("keep an answer")?;
    commit(writing, "keep an answer").await
}

/// Gives a key back: nothing was done.
pub async fn release(store: &Store, actor: &str, key: &str) -> Result<(), Error> {
    let mut writing = store.begin().await?;
    sqlx::query("DELETE FROM idempotency WHERE actor = $1 AND idem_key = $2 AND status = 0")
        .bind(actor.to_owned())
        .bind(key.to_owned())
        .execute(&mut *writing)
        .await
        .doing("give an idempotency key back")?;
    commit(writing, "give an idempotency key back").await
}

fn after(now: Timestamp, long: SignedDuration) -> i64 {
    now.checked_add(long).unwrap_or(Timestamp::MAX).as_microsecond()
}
