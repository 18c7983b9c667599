//! Version 1 of the wire.
//!
//! An agent enrols once ([`Enrol`]), renews its certificate at two thirds of its life ([`Renew`]), and checks in every
//! minute or so ([`CheckIn`]). Only when the answer wants it does it send what changed of its inventory ([`Report`]).
//!
//! A check-in also carries where the host's job of a rollout stands, in `rollout`'s words, and its answer what the host is
//! to do ([`Told`]). Agents and servers that know nothing of rollouts leave both out.

pub mod census;
mod pieces;

pub use pieces::{Broken, Parts, Piece, Pieces, assemble, hash, join, settle, split};

use rollout::order;
use rollout::plan::{Change, Digest, PlanId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Where an agent enrols; the only path that is answered without a client certificate.
pub const ENROL_PATH: &str = "/agent/v1/enrol";
/// Where it renews its certificate.
pub const RENEW_PATH: &str = "/agent/v1/renew";
/// Where it checks in.
pub const CHECK_IN_PATH: &str = "/agent/v1/check-in";
/// Where it reports its inventory.
pub const REPORT_PATH: &str = "/agent/v1/inventory";

/// Where it fetches what approvers have signed: `…/metadata/NAME` and `…/targets/plans/NAME`, as TUF clients do.
pub const TRUST_PATH: &str = "/agent/v1/trust/";
/// Where it says what a rehearsal found.
pub const REHEARSAL_PATH: &str = "/agent/v1/rehearsal";
/// Where it shows what a job that is over rested on ([`Evidence`]).
pub const EVIDENCE_PATH: &str = "/agent/v1/evidence";
/// Bytes of [`Evidence::seen`] as text: 256 KiB, for a plan of a thousand packages.
pub const EVIDENCE_BYTES_MAX: usize = 256 << 10;
/// Where it waits for a hint: answered with [`Hint`] when there is something to ask for, or after
/// [`HINT_SECONDS_MAX`].
pub const HINT_PATH: &str = "/agent/v1/hint";
/// How long the server keeps a host waiting for a hint, seconds.
pub const HINT_SECONDS_MAX: u32 = 240;

/// Clocks that differ by less are not told of: a minute. An answer says its second (`Date`), and may take half a minute to come.
pub const CLOCK_TOLD_SECONDS_MIN: i64 = 60;

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
    /// The root of what approvers sign, as TUF has it; missing while nobody has founded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_root: Option<String>,
    /// The group that it was enrolled into; empty from a server that does not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
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
    /// What the host says about the plan it carries out; missing from an agent that carries out none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<order::CheckIn>,
    /// Whether the server is to say, signed, that it heard this: asked after the agent itself was changed, until it is
    /// said. It answers the nonce of `job`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vouch: bool,
    /// By how many seconds the host's clock is ahead of the server's, as the server's last answer told; negative: behind.
    /// 0: by less than [`CLOCK_TOLD_SECONDS_MIN`], or not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clock_ahead_seconds: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(seconds: &i64) -> bool {
    *seconds == 0
}

/// What the server wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedIn {
    /// When to check in again, in seconds, give or take the agent's jitter.
    pub next_seconds: u32,
    /// Whether to send a [`Report`].
    pub report: bool,
    /// What the host is to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Told>,
    /// Whether somebody wants to know what a change would do here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearse: Option<Rehearse>,
    /// Whether the server keeps a connection open on which it hints ([`HINT_PATH`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hint: bool,
    /// "Heard", signed by the server, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<String>,
}

/// What a host is to do. None of it is believed: what counts is signed, or can only stop the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// A new order, or the same again: its lease is renewed. Good only for a plan that approvers have signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<order::Order>,
    /// The approvers' word that an order back rests on: where it is listed. It is read only as they signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<Uuid>,
    /// "Not halted", signed by the server: pass the point of no return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clearance: Option<String>,
    /// Give up the job of this plan and grant, unless the point of no return is passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdraw: Option<(PlanId, u64)>,
    /// A plan under way that names this host, whose turn may not have come yet: its probes are to be looked at, so that
    /// patched hosts can be compared with others. Good only for a plan that approvers have signed. Every host that is told
    /// fetches the plan: a server tells as many as a comparison needs, not the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watch>,
}

/// A plan whose probes are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The plan.
    pub plan: PlanId,
    /// Its content.
    pub digest: Digest,
}

/// "What would this do to you?" Nothing is changed by it. Answered by [`Rehearsed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearse {
    /// To be named in the answer.
    pub id: Uuid,
    /// Source packages that are to be upgraded whole, as far as they are installed.
    pub sources: Vec<String>,
}

/// What a change would do to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsed {
    /// As in [`Rehearse`].
    pub id: Uuid,
    /// Everything that would change, closed under dependencies, with the files' digests.
    pub changes: Vec<Change>,
    /// What stands in the way: held packages, removals, files that cannot be had, no room. Empty: nothing.
    pub blocks: Vec<String>,
    /// Units that would be restarted, as far as that can be told.
    pub restarts: Vec<String>,
    /// Why it would have to be rebooted; `None`: it would not.
    pub reboot: Option<String>,
    /// Bytes to be fetched, new files and old.
    pub download_bytes: u64,
}

/// What a host saw of a job that is over, so that people need not go there to see what "proven" rests on. Answered by [`Noted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The plan.
    pub plan: PlanId,
    /// The grant.
    pub fence: u64,
    /// How it ended, and what was seen and done: an object whose `schema` names its format.
    pub seen: serde_json::Value,
}

/// What became of a rehearsal's answer, or of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Somebody still wanted it.
    pub wanted: bool,
}

/// Whether there is something to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Check in now; otherwise wait again.
    pub now: bool,
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
