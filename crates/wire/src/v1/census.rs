//! What a host counted in its web logs. Addresses stay on the host: what travels are numbers, by hour and signature, and
//! summaries of sources that can be united ([`traffic::census::Sketch`]).

use serde::{Deserialize, Serialize};

/// Where a host asks how to count (GET, [`Terms`]) and says what it counted (POST, [`Counted`]).
pub const CENSUS_PATH: &str = "/agent/v1/census";
/// Hours in one [`Counted`]: a week. What is more is sent next time.
pub const HOURS_MAX: usize = 168;
/// Signatures in one hour.
pub const SIGNATURES_MAX: usize = 2_000;
/// Bytes of a signature's id.
pub const SIGNATURE_BYTES_MAX: usize = 200;
/// CVEs of one signature.
pub const CVES_MAX: usize = 20;

/// How hosts of one fleet count, so that what they counted adds up.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What sources are hashed with: 64 hex digits, the same for the fleet. To be kept like a password.
    pub key: String,
    /// When to send counts again, seconds.
    pub next_seconds: u32,
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the key: it may end in a log.
        out.debug_struct("Terms").field("next_seconds", &self.next_seconds).finish_non_exhaustive()
    }
}

/// What a host counted. Each hour is told as a whole and replaces what was told of it before, so that it does no harm to tell it
/// twice. Answered by [`Taken`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Which key sources were hashed with ([`traffic::census::Key::id`]).
    pub key: String,
    /// How many logs are followed.
    pub logs: u32,
    /// Why some of what should be counted is not: logs that cannot be read, lines in no known format.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// In order; at most [`HOURS_MAX`].
    pub hours: Vec<Hour>,
}

/// One hour of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour {
    /// Hours since 1970, UTC.
    pub hour: i64,
    /// Requests of all kinds. An hour without a log is not told; an hour without requests is.
    pub requests: u64,
    /// Lines that no format could read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unread: u64,
    /// By signature, in order; at most [`SIGNATURES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempts>,
}

/// Attempts with one signature in one hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// The rule's id.
    pub signature: String,
    /// What the rule says it is about: `CVE-2001-0500`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cves: Vec<String>,
    /// How many.
    pub attempts: u64,
    /// How many of them were answered with 2xx.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub answered: u64,
    /// Their sources: a [`traffic::census::Sketch`], base64 with padding.
    pub sources: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// It was stored. Not, if the fleet's key is another now: ask for the terms, and begin anew.
    pub stored: bool,
    /// When to send again, seconds.
    pub next_seconds: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
