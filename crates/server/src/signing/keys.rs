//! The server's own keys: one that says what is newest, and in one-key mode one that approves. They lie in the store, sealed
//! with the key in the authority's file; a backup has the sealed form.

use super::Error;
use crate::identity;
use crate::seal::Seal;
use crate::store::audit::{self, Actor};
use crate::store::{Doing, Store, Writing, commit};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fmt;
use std::path::Path;
use trust::keys::{FileKey, PublicKey, Signer};
use zeroize::Zeroizing;

/// Where they lie in the store's settings.
const SETTING: &str = "trust.keys";
/// Several servers may make keys at once; each looks again so often.
const TRIES_MAX: usize = 8;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Use {
    /// Says what is newest, and that rollouts are not halted.
    Online,
    /// One-key mode: owns and approves.
    Approvals,
}

/// A key as it is stored.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(rename = "use")]
    used: Use,
    /// Its public half, OpenSSH's line.
    line: String,
    /// PKCS #8 in PEM, sealed about the line.
    sealed: String,
}

/// A key that this server can use.
pub(super) struct Held {
    pub(super) used: Use,
    pub(super) public: PublicKey,
    pem: Zeroizing<String>,
}

impl fmt::Debug for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        out.debug_struct("Held")
            .field("used", &self.used)
            .field("id", &self.public.id())
            .finish_non_exhaustive()
    }
}

impl Held {
    /// The key, to sign with.
    pub(super) fn signer(&self) -> Result<Signer, Error> {
        Ok(Signer::File(FileKey::from_pem(&self.pem, None, self.public.name())?))
    }
}

/// Opens keys that lie sealed in the store, and makes new ones.
#[derive(Debug)]
pub(super) struct Safe(pub(super) Seal);

impl Safe {
    pub(super) fn open(key_file: &Path) -> Result<Self, Error> {
        Ok(Self(identity::seal(key_file)?))
    }

    /// The keys in the store; those that cannot be opened are told of and left out.
    pub(super) async fn keys(&self, store: &Store) -> Result<Vec<Held>, Error> {
        let Some(text) = read(store).await? else { return Ok(Vec::new()) };
        let open = |kept: &Kept| {
            let held = self.unsealed(kept);
            if held.is_none() {
                tracing::error!(
                    "open the server's key {}: the authority's key file is not the one that it was sealed with; put the \
                     right file there, or have owners rotate the key (POST /api/v1/trust/changes with online)",
                    kept.line
                );
            }
            held
        };
        Ok(parse(&text)?.iter().filter_map(open).collect())
    }

    /// Makes sure that there is a key for this use, one that is none of `but`; gives it.
    pub(super) async fn ensure(
        &self,
        store: &Store,
        now: Timestamp,
        used: Use,
        but: &[PublicKey],
    ) -> Result<Held, Error> {
        for _ in 0..TRIES_MAX {
            let before = read(store).await?;
            let mut all = before.as_deref().map(parse).transpose()?.unwrap_or_default();
            let fits = |held: &Held| held.used == used && !but.contains(&held.public);
            if let Some(held) = all.iter().filter_map(|kept| self.unsealed(kept)).find(fits) {
                return Ok(held);
            }
            all.push(self.make(used)?);
            let mut writing = store.begin().await?;
            if replace(&mut writing, before.as_deref(), &all).await? {
                let detail = json!({ "key": all.last().map(|kept| &kept.line) });
                audit::record(&mut writing, now, &Actor::Server, "trust.make-key", SETTING, detail).await?;
                commit(writing, "store a key of the server").await?;
            }
        }
        Err(Error::Busy)
    }

    fn make(&self, used: Use) -> Result<Kept, Error> {
        let name = match used {
            Use::Online => "palisade server",
            Use::Approvals => "palisade server, approving alone",
        };
        let key = FileKey::generate(name)?;
        let line = key.public().to_string();
        let sealed = self.0.close(line.as_bytes(), key.to_pem(None)?.as_bytes());
        Ok(Kept { used, sealed: sealed.map_err(Error::Seal)?, line })
    }

    fn unsealed(&self, kept: &Kept) -> Option<Held> {
        let pem = Zeroizing::new(self.0.open(kept.line.as_bytes(), &kept.sealed)?);
        let pem = Zeroizing::new(std::str::from_utf8(&pem).ok()?.to_owned());
        Some(Held { used: kept.used, public: kept.line.parse().ok()?, pem })
    }
}

/// Forgets keys that stand for nothing any more, in the transaction that puts others in their place. A key that is to say what
/// is newest may wait to be named, unless another one was just now: `rotated`.
pub(super) async fn retain(writing: &mut Writing, named: &[PublicKey], rotated: bool) -> Result<(), Error> {
    let text: Option<String> = sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
        .bind(SETTING)
        .fetch_optional(&mut **writing)
        .await
        .doing("read the server's keys")?;
    let Some(text) = text else { return Ok(()) };
    let mut all = parse(&text)?;
    let before = all.len();
    all.retain(|kept| {
        kept.used == Use::Online && !rotated
            || kept.line.parse::<PublicKey>().is_ok_and(|key| named.contains(&key))
    });
    if all.len() < before && !replace(writing, Some(&text), &all).await? {
        return Err(Error::Busy);
    }
    Ok(())
}

async fn read(store: &Store) -> Result<Option<String>, Error> {
    let text = sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
        .bind(SETTING)
        .fetch_optional(store.reader())
        .await
        .doing("read the server's keys")?;
    Ok(text)
}

/// Writes all keys if they are still as they were read.
async fn replace(writing: &mut Writing, before: Option<&str>, all: &[Kept]) -> Result<bool, Error> {
    let text = serde_json::to_string(all).expect("texts are JSON");
    let query = match before {
        None => {
            sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
                .bind(SETTING)
                .bind(text)
        }
        Some(before) => sqlx::query("UPDATE settings SET value = $2 WHERE name = $1 AND value = $3")
            .bind(SETTING)
            .bind(text)
            .bind(before.to_owned()),
    };
    let done = query.execute(&mut **writing).await.doing("store a key of the server")?;
    Ok(done.rows_affected() == 1)
}

fn parse(text: &str) -> Result<Vec<Kept>, Error> {
    serde_json::from_str(text).map_err(|problem| {
        let object = "the server's keys".to_owned();
        Error::Store(crate::store::Error::Damaged { object, reason: problem.to_string() })
    })
}
