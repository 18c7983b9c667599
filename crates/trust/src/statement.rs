//! What the server says about one job while a rollout runs: the host may pass the point of no return. Short and signed.
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
}

impl NotHalted {
    /// Signs it; with the server's key, or nobody will believe it.
    pub fn sign(&self, signer: &Signer) -> Result<Vec<u8>, keys::Error> {
        let mut statement = Signed { signed: Body::NotHalted(*self), signatures: Vec::new() };
        metadata::sign(&mut statement, signer)?;
        Ok(metadata::canonical(&statement))
    }

    pub(crate) fn verify(bytes: &[u8], root: &Root) -> Result<Self, Error> {
        if bytes.len() > STATEMENT_BYTES_MAX {
            return Err(Error::NotAStatement(format!("it has more than {STATEMENT_BYTES_MAX} bytes")));
        }
        let signed: Signed<Body> = serde_json::from_slice(bytes)
            .map_err(|problem| Error::NotAStatement(metadata::printable(&problem)))?;
        root.verify_role(&signed).map_err(|_| Error::Unsigned)?;
        let Body::NotHalted(said) = signed.signed;
        Ok(said)
    }
}

/// Only so that `tough` counts the signers: a statement is verified as if it were a timestamp, by the same code and
/// keys. It does not expire: a host measures its age by the check-in that it answers.
impl Role for Body {
    const TYPE: RoleType = RoleType::Timestamp;

    fn expires(&self) -> tough_jiff::Timestamp {
        let Self::NotHalted(said) = self;
        metadata::to_tough(said.issued_at)
    }

    fn version(&self) -> NonZeroU64 {
        NonZeroU64::MIN
    }

    fn filename(&self, _consistent_snapshot: bool) -> String {
        "statement.json".to_owned()
    }
}
