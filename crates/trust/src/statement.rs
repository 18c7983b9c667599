//! What the server says to one host, short and signed: it may pass the point of no return; it was heard.
//!
//! A host must hold a fresh [`NotHalted`] before it does what cannot be undone; silence stops it. It answers one check-in,
//! by its nonce: the host counts its age from when it asked, by its own clock since boot, so that neither a wrong clock
//! nor a stored statement makes it look fresh. There is no signed word for the opposite: to stop needs no proof.

use crate::keys::{self, Signer};
use crate::metadata;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use tough::schema::{Role, RoleType, Root, Signed};
use uuid::Uuid;

/// Bytes of a statement; one has some 400.
pub const STATEMENT_BYTES_MAX: usize = 4 << 10;

/// When this host asked, the rollout of this plan was not halted, and the host's grant was alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotHalted {
    /// The grant.
    pub fence: u64,
    /// Who.
    pub host: Uuid,
    /// When it was said, whole seconds: for people. No host relies on it.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub issued_at: Timestamp,
    /// The check-in that it answers.
    pub nonce: u64,
    /// The plan.
    pub plan: Uuid,
}

/// The server heard this host. So its agent runs and reaches it: said by nobody who only believes so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heard {
    /// Who.
    pub host: Uuid,
    /// When it was said, whole seconds: for people.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub issued_at: Timestamp,
    /// The check-in that it answers.
    pub nonce: u64,
}

/// Why a statement is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("read a statement: {0}")]
    NotAStatement(String),
    /// Nobody who may has signed it.
    #[error("verify a statement: it is not signed by a key that may say so")]
    Unsigned,
}

/// What is signed. Its type is inside, so that one thing signed is never another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "_type", rename_all = "kebab-case")]
enum Body {
    NotHalted(NotHalted),
    Heard(Heard),
}

impl Body {
    fn sign(self, signer: &Signer) -> Result<Vec<u8>, keys::Error> {
        let mut statement = Signed { signed: self, signatures: Vec::new() };
        metadata::sign(&mut statement, signer)?;
        Ok(metadata::canonical(&statement))
    }

    fn verify(bytes: &[u8], root: &Root) -> Result<Self, Error> {
        if bytes.len() > STATEMENT_BYTES_MAX {
            return Err(Error::NotAStatement(format!("it has more than {STATEMENT_BYTES_MAX} bytes")));
        }
        let signed: Signed<Self> = serde_json::from_slice(bytes)
            .map_err(|problem| Error::NotAStatement(metadata::printable(&problem)))?;
        root.verify_role(&signed).map_err(|_| Error::Unsigned)?;
        Ok(signed.signed)
    }
}

impl NotHalted {
    /// Signs it; with the server's key, or nobody will believe it.
    pub fn sign(&self, signer: &Signer) -> Result<Vec<u8>, keys::Error> {
        Body::NotHalted(*self).sign(signer)
    }

    pub(crate) fn verify(bytes: &[u8], root: &Root) -> Result<Self, Error> {
        match Body::verify(bytes, root)? {
            Body::NotHalted(said) => Ok(said),
            Body::Heard(_) => Err(Error::NotAStatement("it says something else".to_owned())),
        }
    }
}

impl Heard {
    /// Signs it; with the server's key, or nobody will believe it.
    pub fn sign(&self, signer: &Signer) -> Result<Vec<u8>, keys::Error> {
        Body::Heard(*self).sign(signer)
    }

    pub(crate) fn verify(bytes: &[u8], root: &Root) -> Result<Self, Error> {
        match Body::verify(bytes, root)? {
            Body::Heard(said) => Ok(said),
            Body::NotHalted(_) => Err(Error::NotAStatement("it says something else".to_owned())),
        }
    }
}

/// Only so that `tough` counts the signers: a statement is verified as if it were a timestamp, by the same code and
/// keys. It does not expire: a host measures its age by the check-in that it answers.
impl Role for Body {
    const TYPE: RoleType = RoleType::Timestamp;

    fn expires(&self) -> tough_jiff::Timestamp {
        match self {
            Self::NotHalted(said) => metadata::to_tough(said.issued_at),
            Self::Heard(said) => metadata::to_tough(said.issued_at),
        }
    }

    fn version(&self) -> NonZeroU64 {
        NonZeroU64::MIN
    }

    fn filename(&self, _consistent_snapshot: bool) -> String {
        "statement.json".to_owned()
    }
}
