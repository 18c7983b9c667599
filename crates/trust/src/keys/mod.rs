//! Keys of people and of the server: ed25519, in files or held by an ssh-agent.
//!
//! A public key is written as OpenSSH writes it, one line with a name at its end, so that an approver can use the key that
//! is already there (`~/.ssh/id_ed25519.pub`). An ssh-agent signs any bytes with plain ed25519 (RFC 8032), which is what
//! TUF wants.

mod file;
mod ssh_agent;

pub use file::FileKey;
pub use ssh_agent::{AgentKey, agent_keys};

use crate::metadata;
use ed25519_dalek::{Signature, VerifyingKey};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Characters of a public key's line: 80 for the key, the rest for its name.
const LINE_CHARS_MAX: usize = 512;

/// A key cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error("{doing} {path}: {problem}")]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        problem: std::io::Error,
    },
    /// Others may read it.
    #[error("read the key {path}: others may read it (mode {mode:03o}); chmod 600 {path}")]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is encrypted, and no passphrase was given.
    #[error("read the key: it is encrypted; give its passphrase")]
    Locked,
    /// The passphrase does not open it.
    #[error("read the key: the passphrase does not open it")]
    Passphrase,
    /// It is no key of ours.
    #[error("read the key: {0}; it must be an ed25519 key, PKCS #8 in PEM")]
    NotAKey(&'static str),
    /// A text that is no public key.
    #[error("read a public key: {0}; give a line as OpenSSH writes it: ssh-ed25519 AAAA… name")]
    NotPublic(&'static str),
    /// No chance to be had.
    #[error("make a key: the system gives no random numbers: {0}")]
    Chance(String),
    /// The ssh-agent.
    #[error("ask the ssh-agent to {doing}: {problem}; see whether \"ssh-add -l\" lists the key")]
    Agent {
        /// What was asked.
        doing: &'static str,
        /// What came back.
        problem: String,
    },
}

/// A key's id: SHA-256 of its public half as TUF writes it, 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(crate) String);

/// A public key with the name of its holder.
#[derive(Clone, Debug)]
pub struct PublicKey {
    bytes: [u8; 32],
    name: String,
}

/// What signs.
#[derive(Debug)]
pub enum Signer {
    /// A key in a file.
    File(FileKey),
    /// A key that an ssh-agent holds.
    Agent(AgentKey),
}

impl Signer {
    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        match self {
            Self::File(key) => key.public(),
            Self::Agent(key) => key.public(),
        }
    }

    /// Signs `bytes`: ed25519, 64 bytes. An ssh-agent may ask its holder first, and this waits.
    pub fn sign(&self, bytes: &[u8]) -> Result<[u8; 64], Error> {
        match self {
            Self::File(key) => Ok(key.sign(bytes)),
            Self::Agent(key) => key.sign(bytes),
        }
    }
}

impl KeyId {
    /// The first eight digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..8).unwrap_or(&self.0)
    }

    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl PublicKey {
    /// A key of 32 bytes; `None` when they are no point of the curve, or `name` has control characters or is too long.
    pub fn new(bytes: [u8; 32], name: &str) -> Option<Self> {
        let good = VerifyingKey::from_bytes(&bytes).is_ok_and(|key| !key.is_weak());
        // 100: an ssh-ed25519 line without its name takes 80.
        let named = name.len() <= LINE_CHARS_MAX - 100 && !name.chars().any(char::is_control);
        (good && named).then(|| Self { bytes, name: name.trim().to_owned() })
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        metadata::key_id(&metadata::tuf_key(self))
    }

    /// Whose it is, as its holder wrote.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Whether `signed` is this key's over `bytes`.
    pub fn verifies(&self, bytes: &[u8], signed: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.bytes)
            .is_ok_and(|key| key.verify_strict(bytes, &Signature::from_bytes(signed)).is_ok())
    }
}

/// Names are for people; keys are the same when their bytes are.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

/// OpenSSH's line.
impl fmt::Display for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = ssh_key::public::Ed25519PublicKey(self.bytes);
        let key = ssh_key::PublicKey::new(key.into(), self.name.as_str());
        // A name without control characters can always be written.
        out.write_str(key.to_openssh().map_err(|_| fmt::Error)?.trim_end())
    }
}

/// Reads OpenSSH's line.
impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self, Error> {
        let line = line.trim();
        if line.len() > LINE_CHARS_MAX {
            return Err(Error::NotPublic("the line is too long"));
        }
        let key = ssh_key::PublicKey::from_openssh(line)
            .map_err(|_| Error::NotPublic("it is not a line of OpenSSH"))?;
        let bytes = key.key_data().ed25519().ok_or(Error::NotPublic("it is not an ed25519 key"))?.0;
        Self::new(bytes, key.comment()).ok_or(Error::NotPublic("it is weak, or its name is not plain text"))
    }
}
