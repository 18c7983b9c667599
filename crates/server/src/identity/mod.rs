//! Who is who on the wire: the fleet's own authority, which signs the certificates of servers and of hosts.
//!
//! It is made at the first start and kept in the store, so that every server of a fleet signs with the same key; sealed,
//! with a key in a file outside of it. A host makes its own key; the authority sees only its public half. A certificate
//! says nothing but the host's id.

mod ca;
mod kept;
mod key_file;
mod peer;
mod rotation;
mod tls;

pub use kept::Takeover;
pub use peer::Peer;
pub use rotation::{Standing, Successor};
pub use tls::AgentsTls;

use crate::store::audit::{self, Actor};
use crate::store::{self, Store, commit};
use ca::Ca;
use jiff::Timestamp;
use kept::{Kept, NEXT, PRESENT, Texts};
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use uuid::Uuid;

/// How long a host's certificate is good at most.
pub const HOST_DAYS_MAX: u32 = 30;

/// An authority cannot be opened, or cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The authority cannot be read back.
    #[error("open the fleet's authority: {0}; restore a backup of the store")]
    Damaged(String),
    /// The authority cannot be opened with the file that holds the key to it.
    #[error(
        "open the fleet's authority with {file}: {reason}; copy the file of the server that made the authority, or the \
         copy that was kept of it, to there"
    )]
    KeyFile {
        /// The file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// A certificate cannot be made.
    #[error("make a certificate for {object}: {reason}")]
    Certificate {
        /// For whom.
        object: String,
        /// Why not.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("set up TLS: {0}")]
    Tls(String),
    /// One is being replaced already.
    #[error(
        "replace the fleet's authority: it is being replaced already; \"palisade authority show\" tells until when"
    )]
    Rotating,
    /// None is being replaced.
    #[error(
        "retire the fleet's authority: no other is there to follow; make one with \"palisade authority rotate\""
    )]
    NotRotating,
    /// Hosts may still have certificates of it, and know no other.
    #[error(
        "retire the fleet's authority: hosts may depend on it until {until:.0}; wait, or say --early and enrol those that \
         are left behind anew"
    )]
    Early {
        /// Until when.
        until: Timestamp,
    },
    /// A host's request for a certificate is refused.
    #[error(
        "sign a host's certificate: {0}; send a request (PKCS #10, PEM) made with an ECDSA P-256 or Ed25519 key"
    )]
    Request(&'static str),
}

/// A certificate as signed for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The certificate.
    pub pem: String,
    /// Its serial, 32 hex digits.
    pub serial: String,
    /// SHA-256 of the public key, hex.
    pub public_key: String,
    /// From when on it is good.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// The fleet's authority. While it is being replaced it is two, for as long as hosts depend on the older one.
pub struct Authority {
    key_file: Option<PathBuf>,
    now: RwLock<Arc<Trusted>>,
}

/// Whom the fleet trusts, until that changes.
struct Trusted {
    texts: Texts,
    /// Signs servers' certificates: every host trusts it.
    present: Ca,
    /// Signs hosts' certificates, where there is one.
    next: Option<Ca>,
}

impl Trusted {
    fn open(texts: Texts, key_file: Option<&Path>) -> Result<Self, Error> {
        let present = Kept::read(&texts.present)?.open(key_file)?;
        let next = texts.next.as_deref().map(|next| Kept::read(next)?.open(key_file)).transpose()?;
        Ok(Self { texts, present, next })
    }

    fn signs_hosts(&self) -> &Ca {
        self.next.as_ref().unwrap_or(&self.present)
    }

    fn all(&self) -> impl Iterator<Item = &Ca> {
        [&self.present].into_iter().chain(&self.next)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        out.debug_struct("Authority").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the fleet's authority; makes it where there is none. Of several servers that start at once, one makes it. Its
    /// key is sealed with that of `key_file`, which is made with it.
    pub async fn open_sealed(store: &Store, now: Timestamp, key_file: &Path) -> Result<Self, Error> {
        Self::open_with(store, now, Some(key_file)).await
    }

    /// As [`Authority::open_sealed`], with the key in clear in the store: for stores that are thrown away.
    pub async fn open(store: &Store, now: Timestamp) -> Result<Self, Error> {
        Self::open_with(store, now, None).await
    }

    async fn open_with(store: &Store, now: Timestamp, key_file: Option<&Path>) -> Result<Self, Error> {
        let texts = if let Some(texts) = Texts::read(store).await? {
            texts
        } else {
            let mut made = Kept::make(now)?;
            if let Some(path) = key_file {
                made = made.sealed(&key_file::read_or_make(path)?)?;
            }
            let mut writing = store.begin().await?;
            if kept::add(&mut writing, PRESENT, &made).await? {
                let detail = serde_json::json!({});
                audit::record(&mut writing, now, &Actor::Server, "authority.create", PRESENT, detail).await?;
            }
            commit(writing, "store the fleet's authority").await?;
            let gone = || Error::Damaged("it is gone as soon as it was stored".to_owned());
            Texts::read(store).await?.ok_or_else(gone)?
        };
        let now = RwLock::new(Arc::new(Trusted::open(texts, key_file)?));
        Ok(Self { key_file: key_file.map(Path::to_owned), now })
    }

    /// Takes what the store says now, if that is another authority, or another one is to follow.
    pub async fn reload(&self, store: &Store) -> Result<(), Error> {
        let Some(texts) = Texts::read(store).await? else { return Ok(()) };
        if texts != self.trusted().texts {
            let trusted = Trusted::open(texts, self.key_file.as_deref())?;
            tracing::info!(
                authority = trusted.present.fingerprint(),
                next = trusted.next.as_ref().map(Ca::fingerprint),
                "follows the fleet's authority"
            );
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trusted);
        }
        Ok(())
    }

    /// Whether the store has an authority whose key lies in it in clear.
    pub async fn is_clear(store: &Store) -> Result<bool, Error> {
        let Some(texts) = Texts::read(store).await? else { return Ok(false) };
        Ok(texts.kept()?.iter().any(|(_, kept)| kept.is_clear()))
    }

    /// Whether the store's authority, if it has one, can be opened with that file.
    pub async fn verify(store: &Store, key_file: &Path) -> Result<(), Error> {
        match Texts::read(store).await? {
            Some(texts) => Trusted::open(texts, Some(key_file)).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Seals the key of an authority that lies in the store in clear.
    pub async fn seal(store: &Store, now: Timestamp, key_file: &Path) -> Result<(), Error> {
        let Some(texts) = Texts::read(store).await? else { return Ok(()) };
        let mut writing = store.begin().await?;
        for (name, kept) in texts.kept()? {
            kept::set(&mut writing, name, &kept.sealed(&key_file::read_or_make(key_file)?)?).await?;
        }
        changed(writing, now, "authority.seal").await
    }

    /// Forgets the authority: the next start makes another, and every host has to be enrolled anew.
    pub async fn forget(store: &Store, now: Timestamp) -> Result<(), Error> {
        let mut writing = store.begin().await?;
        for name in [PRESENT, NEXT] {
            kept::take(&mut writing, name).await?;
        }
        changed(writing, now, "authority.forget").await
    }

    /// The certificates that agents and people are to trust, PEM: two while it is being replaced, first the one that
    /// servers show.
    pub fn pem(&self) -> String {
        self.trusted().all().map(|ca| ca.pem.as_str()).collect()
    }

    /// SHA-256 of the certificate that servers show, hex: what a person compares at the first contact.
    pub fn fingerprint(&self) -> String {
        self.trusted().present.fingerprint()
    }

    /// Signs a certificate for the host `id` over the key of its request (PKCS #10, PEM), good for `days` (1 to
    /// [`HOST_DAYS_MAX`]). The request must be signed by that key; whatever else it asks for is not heeded.
    pub fn sign_host(&self, csr: &str, id: Uuid, now: Timestamp, days: u32) -> Result<Signed, Error> {
        self.trusted().signs_hosts().sign_host(csr, id, now, days)
    }

    fn trusted(&self) -> Arc<Trusted> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        self.trusted().all().map(|ca| ca.certificate.clone()).collect()
    }
}

async fn changed(mut writing: store::Writing, now: Timestamp, action: &str) -> Result<(), Error> {
    audit::record(&mut writing, now, &Actor::Server, action, PRESENT, serde_json::json!({})).await?;
    Ok(commit(writing, "change the fleet's authority").await?)
}
