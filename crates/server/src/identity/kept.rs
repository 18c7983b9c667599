//! The authority as it lies in the store's settings; beside it, while it is being replaced, the next one.

use super::ca::Ca;
use super::{Error, key_file};
use crate::seal::Seal;
use crate::store::{self, Doing, Store, Writing};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use std::path::Path;

/// Where the authority lies in the store's settings; what audit entries and events call it.
pub(super) const PRESENT: &str = "authority";
/// Where the one lies that is to take its place.
pub(super) const NEXT: &str = "authority.next";

/// An authority as it is stored.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(flatten)]
    key: Key,
    /// PEM.
    pub(super) certificate: String,
    /// Of the next one: when it takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) takeover: Option<Takeover>,
}

/// The private key.
#[derive(Serialize, Deserialize)]
enum Key {
    /// PEM.
    #[serde(rename = "key")]
    Clear(String),
    /// The same, sealed about the certificate.
    #[serde(rename = "sealed")]
    Sealed(String),
}

/// How one authority follows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// From then on hosts get certificates of the next one.
    pub since: Timestamp,
    /// Then the last certificate of the present one has ended, every host trusts the next one, and it is the only one.
    pub until: Timestamp,
}

/// Both, as their texts.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Texts {
    pub(super) present: String,
    pub(super) next: Option<String>,
}

impl Texts {
    /// Reads them; `None`: the store has no authority.
    pub(super) async fn read(store: &Store) -> Result<Option<Self>, store::Error> {
        let rows = sqlx::query("SELECT name, value FROM settings WHERE name IN ($1, $2)")
            .bind(PRESENT)
            .bind(NEXT)
            .fetch_all(store.reader())
            .await
            .doing("read the fleet's authority")?;
        let of = |name: &str| rows.iter().find(|row| row.get::<&str, _>(0) == name).map(|row| row.get(1));
        Ok(of(PRESENT).map(|present| Self { present, next: of(NEXT) }))
    }

    /// Their names and what they say.
    pub(super) fn kept(&self) -> Result<Vec<(&'static str, Kept)>, Error> {
        let next = self.next.iter().map(|next| (NEXT, next));
        let both = [(PRESENT, &self.present)].into_iter().chain(next);
        both.map(|(name, text)| Ok((name, Kept::read(text)?))).collect()
    }
}

impl Kept {
    /// Makes a new one, with its key in clear.
    pub(super) fn make(now: Timestamp) -> Result<Self, Error> {
        let (key, certificate) = Ca::make(now)?;
        Ok(Self { key: Key::Clear(key), certificate, takeover: None })
    }

    pub(super) fn read(text: &str) -> Result<Self, Error> {
        serde_json::from_str(text).map_err(|problem| Error::Damaged(problem.to_string()))
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).expect("texts and times are JSON")
    }

    pub(super) fn is_clear(&self) -> bool {
        matches!(self.key, Key::Clear(_))
    }

    pub(super) fn sealed(self, seal: &Seal) -> Result<Self, Error> {
        let Self { key, certificate, takeover } = self;
        let key = match key {
            Key::Clear(key) => {
                let sealed = seal.close(certificate.as_bytes(), key.as_bytes());
                Key::Sealed(sealed.map_err(|reason| Error::Certificate {
                    object: "the fleet's authority".to_owned(),
                    reason,
                })?)
            }
            sealed @ Key::Sealed(_) => sealed,
        };
        Ok(Self { key, certificate, takeover })
    }

    /// Opens it; a sealed one with the key in the file.
    pub(super) fn open(self, key_file: Option<&Path>) -> Result<Ca, Error> {
        let Self { key, certificate: pem, .. } = self;
        let key = match key {
            Key::Clear(key) => key,
            Key::Sealed(sealed) => {
                let path = key_file.ok_or_else(|| Error::Damaged("its key is sealed".to_owned()))?;
                let wrong = |reason: &str| Error::KeyFile {
                    file: path.display().to_string(),
                    reason: reason.to_owned(),
                };
                let seal = key_file::read(path)?.ok_or_else(|| wrong("it is not there"))?;
                let key = seal.open(pem.as_bytes(), &sealed).and_then(|key| String::from_utf8(key).ok());
                key.ok_or_else(|| wrong("its key is another one"))?
            }
        };
        Ca::of(&key, pem)
    }
}

/// Stores one where there is none of its name; gives whether it was so.
pub(super) async fn add(
    writing: &mut Writing,
    name: &'static str,
    kept: &Kept,
) -> Result<bool, store::Error> {
    let added =
        sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
            .bind(name)
            .bind(kept.text())
            .execute(&mut **writing)
            .await
            .doing("store the fleet's authority")?;
    Ok(added.rows_affected() == 1)
}

/// Replaces the one of that name.
pub(super) async fn set(writing: &mut Writing, name: &'static str, kept: &Kept) -> Result<(), store::Error> {
    sqlx::query("UPDATE settings SET value = $2 WHERE name = $1")
        .bind(name)
        .bind(kept.text())
        .execute(&mut **writing)
        .await
        .doing("change the fleet's authority")?;
    Ok(())
}

/// Takes one out; gives its text.
pub(super) async fn take(writing: &mut Writing, name: &'static str) -> Result<Option<String>, store::Error> {
    sqlx::query_scalar("DELETE FROM settings WHERE name = $1 RETURNING value")
        .bind(name)
        .fetch_optional(&mut **writing)
        .await
        .doing("take the fleet's authority out")
}
