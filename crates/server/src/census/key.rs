//! The key under which all hosts of the fleet hash sources: made once, kept in the store, sealed as the server's own keys are.
//! Whoever has it and a sketch can tell of an address whether it may be in it, so it is in no log.

use crate::seal::Seal;
use crate::store::audit::{self, Actor};
use crate::store::{Doing, Error, Store, commit};
use advisory::digest::hex;
use jiff::Timestamp;
use traffic::census::Key;
use zeroize::Zeroizing;

/// Where it lies in the store's settings; what it is sealed about.
const SETTING: &str = "census.key";

/// The fleet's key, with its text for hosts.
pub(crate) struct FleetKey {
    /// 64 hex digits.
    pub(crate) text: Zeroizing<String>,
    /// Tells it from others.
    pub(crate) id: String,
}

impl std::fmt::Debug for FleetKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key.
        out.debug_struct("FleetKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Reads the key; makes it where there is none, or where it cannot be opened: with another key file, after a restore that began
/// with another authority. Of several servers at once, one makes it.
pub(crate) async fn fleet_key(store: &Store, seal: &Seal, now: Timestamp) -> Result<FleetKey, Error> {
    let before = read(store).await?;
    if let Some(key) = before.as_deref().and_then(|text| opened(seal, text)) {
        return Ok(key);
    }
    let damaged = |reason: String| Error::Damaged { object: "the key of the census".to_owned(), reason };
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|problem| damaged(problem.to_string()))?;
    let sealed = seal.close(SETTING.as_bytes(), &*bytes).map_err(damaged)?;
    let mut writing = store.begin().await?;
    let query = match &before {
        None => {
            sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
                .bind(SETTING)
                .bind(sealed)
        }
        Some(before) => sqlx::query("UPDATE settings SET value = $2 WHERE name = $1 AND value = $3")
            .bind(SETTING)
            .bind(sealed)
            .bind(before.clone()),
    };
    let made = query.execute(&mut *writing).await.doing("store the key of the census")?;
    if made.rows_affected() == 1 {
        let detail = serde_json::json!({ "again": before.is_some() });
        audit::record(&mut writing, now, &Actor::Server, "census.make-key", SETTING, detail).await?;
        commit(writing, "store the key of the census").await?;
    } else {
        drop(writing);
    }
    let text = read(store).await?;
    text.as_deref()
        .and_then(|text| opened(seal, text))
        .ok_or_else(|| damaged("another server has sealed it with another key file".to_owned()))
}

fn opened(seal: &Seal, text: &str) -> Option<FleetKey> {
    let bytes = Zeroizing::new(seal.open(SETTING.as_bytes(), text)?);
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(bytes.as_slice().try_into().ok()?);
    Some(FleetKey { text: Zeroizing::new(hex(&*bytes)), id: Key::new(*bytes).id() })
}

async fn read(store: &Store) -> Result<Option<String>, Error> {
    sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
        .bind(SETTING)
        .fetch_optional(store.reader())
        .await
        .doing("read the key of the census")
}
