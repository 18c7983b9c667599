//! Version 1 of the wire.
//!
//! An agent enrols once ([`Enrol`]), renews its certificate at two thirds of its life ([`Renew`]), and checks in every
//! minute or so ([`CheckIn`]). Only when the answer wants it does it send what changed of its inventory ([`Report`]).

mod pieces;

pub use pieces::{Broken, Parts, Piece, Pieces, assemble, hash, join, settle, split};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where an agent enrols; the only path that is answered without a client certificate.
pub const ENROL_PATH: &str = "/agent/v1/enrol";
/// Where it renews its certificate.
pub const RENEW_PATH: &str = "/agent/v1/renew";
/// Where it checks in.
pub const CHECK_IN_PATH: &str = "/agent/v1/check-in";
/// Where it reports its inventory.
pub const REPORT_PATH: &str = "/agent/v1/inventory";

/// Bytes of a request as sent: 16 MiB, over ten times a compressed inventory of 5,000 packages.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Bytes of a request after inflating: 128 MiB, eight times as many; text packs better only on purpose.
pub const INFLATED_BYTES_MAX: usize = 128 << 20;

/// A new host asks for a certificate. Answered by [`Enrolled`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// The enrolment token; good once.
    pub token: String,
    /// Certificate signing request, PEM. Its subject is not heeded: the server gives the id.
    pub csr: String,
    /// The host's name for itself.
    pub name: String,
    /// SHA-256 of its machine id, hex: the id itself stays on the host.
    pub machine: String,
    /// The agent's version.
    pub agent: String,
}

impl std::fmt::Debug for Enrol {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the token: it may end in a log.
        out.debug_struct("Enrol")
            .field("name", &self.name)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

/// The host's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The host's id from now on.
    pub host: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The certificates of the authority that signs servers and hosts, PEM.
    pub authority: String,
}

/// A host asks for its next certificate, over its present one. Answered by [`Renewed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// Certificate signing request with a new key, PEM.
    pub csr: String,
}

/// The host's next certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// PEM.
    pub certificate: String,
    /// As in [`Enrolled`]; an authority that changes is learned of here.
    pub authority: String,
}

/// "I am here, and this is what I have." A few hundred bytes. Answered by [`CheckedIn`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckIn {
    /// The agent's version.
    pub agent: String,
    /// As in [`Enrol`]. Another one under the same key is a copied image.
    pub machine: String,
    /// Drawn at random whenever the agent starts. Two that alternate under one key are two hosts.
    pub stream: String,
    /// Counts the check-ins of this stream, from 1.
    pub seq: u64,
    /// Hash of the host's inventory ([`Pieces::hash`]); empty before the first look.
    pub inventory: String,
}

/// What the server wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedIn {
    /// When to check in again, in seconds, give or take the agent's jitter.
    pub next_seconds: u32,
    /// Whether to send a [`Report`].
    pub report: bool,
}

/// What a host has now. Answered by [`Reported`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it was looked at, microseconds since 1970 by the host's clock.
    pub observed_at: i64,
    /// Every part's hash.
    pub parts: Parts,
    /// Bodies by hash: JSON texts. Those that this host's last inventory had may be left out.
    pub bodies: BTreeMap<String, String>,
}

/// What became of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Hashes whose bodies were left out and are not known; nothing was stored: send again with them. Empty: stored.
    pub missing: Vec<String>,
}

/// Why a request was refused, in RFC 9457's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// One of [`Refusal`]'s words, or one of a newer server.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people: operation, object, reason, remedy.
    pub detail: String,
}

/// What a refusal means for an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The token is wrong, used, expired or revoked: ask for another.
    Token,
    /// The host was revoked: it is no longer part of the fleet.
    Revoked,
    /// The host is held back until a person has looked: keep trying, rarely.
    Quarantined,
    /// The request cannot be read: a bug or another version.
    Malformed,
    /// Too much at once: come back after `Retry-After`.
    Busy,
}

impl Refusal {
    /// Its word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Revoked => "revoked",
            Self::Quarantined => "quarantined",
            Self::Malformed => "malformed",
            Self::Busy => "busy",
        }
    }
}
