//! Sessions of browsers: a secret in a cookie, its hash in the store.

use super::secrets::{self, NoRandomness};
use crate::store::people::User;
use crate::store::sessions::{self, Session};
use crate::store::{Error, Store};
use jiff::{SignedDuration, Timestamp};

/// The cookie. `__Host-`: browsers take it over HTTPS only, for this host and all its paths.
pub const COOKIE: &str = "__Host-palisade";
/// A session that is not used ends after so long.
const IDLE: SignedDuration = SignedDuration::from_hours(1);
/// However much it is used, it ends after so long.
const WHOLE: SignedDuration = SignedDuration::from_hours(12);
/// It is written that it lives longer only when that is by more than so much.
const STEP: SignedDuration = SignedDuration::from_mins(1);

/// Why no session began.
#[derive(Debug, thiserror::Error)]
pub enum BeginError {
    /// No secret could be made.
    #[error(transparent)]
    Secret(#[from] NoRandomness),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Begins a session with a new secret, and ends the one that the browser had: an id from before the log-in is worth
/// nothing after it. Gives the secret.
pub async fn begin(
    store: &Store,
    now: Timestamp,
    user: &User,
    had: Option<&str>,
) -> Result<String, BeginError> {
    let secret = secrets::secret("")?;
    let ends = had.map(secrets::kept);
    sessions::begin(store, now, user, &secrets::kept(&secret), ends.as_deref(), end(now, now)).await?;
    Ok(secret)
}

/// The session of that secret, if it has not ended.
pub async fn find(store: &Store, now: Timestamp, secret: &str) -> Result<Option<Session>, Error> {
    let hash = secrets::kept(secret);
    let found = sessions::find(store, now, &hash).await?;
    Ok(found.filter(|session| secrets::same(&session.hash, &hash)))
}

/// Until when a session that is used now is to live, if that is worth writing down.
pub fn extended(session: &Session, now: Timestamp) -> Option<Timestamp> {
    let end = end(session.created_at, now);
    (end.duration_since(session.expires_at) > STEP).then_some(end)
}

fn end(created: Timestamp, used: Timestamp) -> Timestamp {
    let after = |from: Timestamp, long| from.checked_add(long).unwrap_or(Timestamp::MAX);
    after(used, IDLE).min(after(created, WHOLE))
}

/// What a page must send back with each write, so that no other site can write in its name. Made of the cookie's secret,
/// which no script can read, and kept nowhere.
pub fn csrf_token(secret: &str) -> String {
    secrets::kept(&format!("csrf {secret}"))
}

/// `Set-Cookie` for a new session.
pub fn cookie(secret: &str) -> String {
    format!("{COOKIE}={secret}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}", WHOLE.as_secs())
}

/// `Set-Cookie` that takes it away.
pub fn no_cookie() -> String {
    format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
}
