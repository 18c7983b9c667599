//! The certificates that hosts were given.

use super::audit::{self, Actor};
use super::events::{self, Kind};
use super::{Doing, Error, Store, Writing, commit, hosts};
use crate::identity::Signed;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use sqlx::Row;

/// Certificates that a host may be given within [`RENEWALS_WITHIN`]: retries of lost answers, not a loop.
const RENEWALS_MAX: i64 = 5;
/// See [`RENEWALS_MAX`].
const RENEWALS_WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// What became of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Stored: it may be handed out.
    Stored,
    /// Another host has a certificate over the same key.
    OthersKey,
    /// The host was given too many within the hour.
    TooOften,
}

/// Stores a host's next certificate.
pub async fn renew(store: &Store, now: Timestamp, host: &str, signed: &Signed) -> Result<Given, Error> {
    let mut writing = store.begin().await?;
    let since = now.saturating_sub(RENEWALS_WITHIN).unwrap_or(Timestamp::MIN);
    // `not_before` lies an hour before the signing.
    let recent: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM certificates WHERE host = $1 AND not_before > $2")
            .bind(host.to_owned())
            .bind(since.saturating_sub(RENEWALS_WITHIN).unwrap_or(Timestamp::MIN).as_microsecond())
            .fetch_one(&mut *writing)
            .await
            .doing("count a host's certificates")?;
    if recent > RENEWALS_MAX {
        return Ok(Given::TooOften);
    }
    if !add(&mut writing, host, signed).await? {
        return Ok(Given::OthersKey);
    }
    let detail = json!({ "serial": signed.serial, "not_after": signed.not_after.to_string() });
    audit::record(&mut writing, now, &Actor::Host(host.to_owned()), "host.renew", host, detail).await?;
    commit(writing, "store a certificate").await?;
    Ok(Given::Stored)
}

/// Stores a certificate; gives `false`, and stores nothing, if its key is another host's.
pub(super) async fn add(writing: &mut Writing, host: &str, signed: &Signed) -> Result<bool, Error> {
    let other: Option<String> =
        sqlx::query_scalar("SELECT host FROM certificates WHERE public_key = $1 AND host <> $2 LIMIT 1")
            .bind(signed.public_key.clone())
            .bind(host.to_owned())
            .fetch_optional(&mut **writing)
            .await
            .doing("look for a key's other hosts")?;
    if other.is_some() {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO certificates (serial, host, public_key, not_before, not_after, revoked_at, reason) \
         VALUES ($1, $2, $3, $4, $5, NULL, '')",
    )
    .bind(signed.serial.clone())
    .bind(host.to_owned())
    .bind(signed.public_key.clone())
    .bind(signed.not_before.as_microsecond())
    .bind(signed.not_after.as_microsecond())
    .execute(&mut **writing)
    .await
    .doing("store a certificate")?;
    Ok(true)
}

/// Revokes one certificate of a host that stays: a key that was lost. Gives whether there was one to revoke.
pub async fn revoke(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    serial: &str,
    reason: &str,
) -> Result<bool, Error> {
    let mut writing = store.begin().await?;
    let row = sqlx::query(
        "UPDATE certificates SET revoked_at = $1, reason = $2 WHERE serial = $3 AND revoked_at IS NULL \
         RETURNING host",
    )
    .bind(now.as_microsecond())
    .bind(reason.to_owned())
    .bind(serial.to_owned())
    .fetch_optional(&mut *writing)
    .await
    .doing("revoke a certificate")?;
    let Some(row) = row else { return Ok(false) };
    let host: String = row.get(0);
    let detail = json!({ "serial": serial, "reason": reason });
    audit::record(&mut writing, now, actor, "certificate.revoke", &host, detail).await?;
    let told = json!({ "action": "certificate.revoke", "serial": serial });
    events::tell(&mut writing, now, Kind::Host, &host, &told).await?;
    commit(writing, "revoke a certificate").await?;
    Ok(true)
}

/// Serials that are revoked but have not ended, for the roster. Those of revoked hosts are refused by host.
pub async fn revoked(store: &Store, now: Timestamp) -> Result<Vec<String>, Error> {
    sqlx::query_scalar(
        "SELECT c.serial FROM certificates c JOIN hosts h ON h.id = c.host \
         WHERE c.revoked_at IS NOT NULL AND c.not_after > $1 AND h.state <> $2",
    )
    .bind(now.as_microsecond())
    .bind(hosts::HostState::Revoked.word())
    .fetch_all(store.reader())
    .await
    .doing("read revoked certificates")
}
