//! API tokens: a secret that starts with `pal_`, its hash in the store.

use super::roles::Role;
use super::secrets;
use crate::store::people::User;
use crate::store::tokens::{self, Token};
use crate::store::{Error, Store};
use jiff::{SignedDuration, Timestamp};

/// What every API token starts with, so that scanners for leaked secrets know it.
pub const PREFIX: &str = "pal_";
/// The longest life of a token: a year, 366 days as there are leap years.
pub const LIFE_MAX: SignedDuration = SignedDuration::from_hours(24 * 366);
/// That a token was used is written at most so often.
const USED_STEP: SignedDuration = SignedDuration::from_mins(1);

/// The token of that secret with its owner, if it has not ended.
pub async fn find(store: &Store, now: Timestamp, secret: &str) -> Result<Option<(Token, User)>, Error> {
    if !secret.starts_with(PREFIX) {
        return Ok(None);
    }
    let hash = secrets::kept(secret);
    let found = tokens::by_hash(store, now, &hash).await?;
    Ok(found.filter(|(_, _, kept)| secrets::same(kept, &hash)).map(|(token, user, _)| (token, user)))
}

/// What a token may do now: its owner may have lost a role since it was made.
pub fn role(token: &Token, owner: &User) -> Role {
    token.role.min(owner.role)
}

/// Whether it is time to write down that it was used.
pub fn is_use_worth_writing(token: &Token, now: Timestamp) -> bool {
    token.used_at.is_none_or(|used| now.duration_since(used) >= USED_STEP)
}
