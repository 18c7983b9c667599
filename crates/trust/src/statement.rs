//! What is said about a rollout while it runs: it is not halted, or it is. Short, signed, and good for a short time.
//!
//! A host must hold a fresh [`NotHalted`] before it does what cannot be undone; silence stops it. The server says so with
//! the key that signs timestamps. [`Halted`] stops a host whoever of the server and the approvers says it, alone: to stop
//! is always safe.

use crate::keys::{self, Signer};
use crate::metadata;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use tough::schema::{Delegations, Role, RoleKeys, RoleType, Root, Signed};
use uuid::Uuid;

/// Bytes of a statement; one has some 400.
pub const STATEMENT_BYTES_MAX: usize = 4 << 10;
/// A statement is good for an hour at most, whatever it says.
pub const VALID_SECONDS_MAX: u32 = 3_600;
/// A statement may come from a clock that is this much ahead of ours.
pub const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_secs(60);

/// At `issued_at` the rollout was not halted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHalted {
    /// The rollout.
    pub rollout: Uuid,
    /// Counts the times that the rollout was halted or resumed; an order names the one that it was given in.
    pub epoch: u64,
    /// When it was said; whole seconds.
    pub issued_at: Timestamp,
    /// For how long it may be relied on, at most [`VALID_SECONDS_MAX`].
    pub valid_seconds: u32,
}

/// The rollout is halted: no host begins what it has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halted {
    /// The rollout.
    pub rollout: Uuid,
    /// The epoch that ends.
    pub epoch: u64,
    /// When it was said; whole seconds.
    pub issued_at: Timestamp,
}

/// Why a statement is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("read a statement: {0}")]
    NotAStatement(String),
    /// It says something else than what was asked for.
    #[error("read a statement: it is of another kind")]
    Kind,
    /// It is about something else.
    #[error("read a statement: it is about rollout {0}, epoch {1}")]
    About(Uuid, u64),
    /// Nobody who may has signed it.
    #[error("verify a statement: it is not signed by a key that may say so")]
    Unsigned,
    /// Too old to be relied on.
    #[error("rely on a statement of {issued_at}: it was good until {until}")]
    Stale {
        /// When it was said.
        issued_at: Timestamp,
        /// Until when it could be relied on.
        until: Timestamp,
    },
    /// From a time to come: one of two clocks is wrong.
    #[error("rely on a statement of {issued_at}: here it is {now}; one of the two clocks is wrong")]
    Clock {
        /// When it was said.
        issued_at: Timestamp,
        /// What time it is here.
        now: Timestamp,
    },
}

/// What is signed. Its type is inside, so that one thing signed is never another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "_type", rename_all = "kebab-case", deny_unknown_fields)]
enum Body {
    NotHalted {
        epoch: u64,
        #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
        issued_at: Timestamp,
        rollout: Uuid,
        valid_seconds: u32,
    },
    Halted {
        epoch: u64,
        #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
        issued_at: Timestamp,
        rollout: Uuid,
    },
}

impl NotHalted {
    /// Signs it; with the server's key, or nobody will believe it.
    pub fn sign(&self, signer: &Signer) -> Result<Vec<u8>, keys::Error> {
        let &Self { rollout, epoch, issued_at, valid_seconds } = self;
        sign(Body::NotHalted { epoch, issued_at, rollout, valid_seconds }, signer)
    }

    /// Whether it may be relied on for this rollout and epoch at `now`: neither older than it allows nor than `age_max`.
    pub fn covers(
        &self,
        rollout: Uuid,
        epoch: u64,
        now: Timestamp,
        age_max: SignedDuration,
    ) -> Result<(), Error> {
        if (self.rollout, self.epoch) != (rollout, epoch) {
            return Err(Error::About(self.rollout, self.epoch));
        }
        not_ahead(self.issued_at, now)?;
        let valid = SignedDuration::from_secs(i64::from(self.valid_seconds.min(VALID_SECONDS_MAX)));
        let until = self.issued_at.saturating_add(valid.min(age_max)).unwrap_or(self.issued_at);
        if now > until {
            return Err(Error::Stale { issued_at: self.issued_at, until });
        }
        Ok(())
    }

    pub(crate) fn verify(bytes: &[u8], root: &Root) -> Result<Self, Error> {
        let signed = read(bytes)?;
        root.verify_role(&signed).map_err(|_| Error::Unsigned)?;
        match signed.signed {
            Body::NotHalted { epoch, issued_at, rollout, valid_seconds } => {
                Ok(Self { rollout, epoch, issued_at, valid_seconds })
            }
            Body::Halted { .. } => Err(Error::Kind),
        }
    }
}

impl Halted {
    /// Signs it; with the server's key, or with any approver's.
    pub fn sign(&self, signer: &Signer) -> Result<Vec<u8>, keys::Error> {
        let &Self { rollout, epoch, issued_at } = self;
        sign(Body::Halted { epoch, issued_at, rollout }, signer)
    }

    /// `approvers`: the keys that may say so beside the server's.
    pub(crate) fn verify(bytes: &[u8], root: &Root, approvers: Option<&Delegations>) -> Result<Self, Error> {
        let signed = read(bytes)?;
        let mut anyone = root.clone();
        let role = anyone.roles.entry(RoleType::Timestamp).or_insert_with(none);
        role.threshold = NonZeroU64::MIN;
        if let Some(approvers) = approvers {
            role.keyids.extend(approvers.roles.iter().flat_map(|role| role.keyids.iter().cloned()));
            anyone.keys.extend(approvers.keys.iter().map(|(id, key)| (id.clone(), key.clone())));
        }
        anyone.verify_role(&signed).map_err(|_| Error::Unsigned)?;
        match signed.signed {
            Body::Halted { epoch, issued_at, rollout } => Ok(Self { rollout, epoch, issued_at }),
            Body::NotHalted { .. } => Err(Error::Kind),
        }
    }
}

impl Body {
    fn said(&self) -> (u64, Timestamp) {
        match self {
            Self::NotHalted { epoch, issued_at, .. } | Self::Halted { epoch, issued_at, .. } => {
                (*epoch, *issued_at)
            }
        }
    }
}

/// Only so that `tough` counts the signers: a statement is verified as if it were a timestamp, by the same code and
/// keys. Its expiry is looked at in [`NotHalted::covers`].
impl Role for Body {
    const TYPE: RoleType = RoleType::Timestamp;

    fn expires(&self) -> tough_jiff::Timestamp {
        metadata::to_tough(self.said().1)
    }

    fn version(&self) -> NonZeroU64 {
        NonZeroU64::MIN.saturating_add(self.said().0)
    }

    fn filename(&self, _consistent_snapshot: bool) -> String {
        "statement.json".to_owned()
    }
}

fn sign(body: Body, signer: &Signer) -> Result<Vec<u8>, keys::Error> {
    let mut statement = Signed { signed: body, signatures: Vec::new() };
    metadata::sign(&mut statement, signer)?;
    Ok(metadata::canonical(&statement))
}

fn read(bytes: &[u8]) -> Result<Signed<Body>, Error> {
    if bytes.len() > STATEMENT_BYTES_MAX {
        return Err(Error::NotAStatement(format!("it has more than {STATEMENT_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(bytes).map_err(|problem| Error::NotAStatement(metadata::printable(&problem)))
}

fn not_ahead(issued_at: Timestamp, now: Timestamp) -> Result<(), Error> {
    if issued_at > now.saturating_add(CLOCKS_DIFFER).unwrap_or(Timestamp::MAX) {
        return Err(Error::Clock { issued_at, now });
    }
    Ok(())
}

fn none() -> RoleKeys {
    RoleKeys { keyids: Vec::new(), threshold: NonZeroU64::MIN, _extra: std::collections::HashMap::new() }
}
