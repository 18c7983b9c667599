//! A plan as TUF sees it: a name, a length, a digest.

use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Bytes of one plan: 10 MiB, some 50,000 hosts with 200 bytes each.
pub const PLAN_BYTES_MAX: u64 = 10 << 20;

/// Folder of the plans among the targets; also the name of the role that lists them.
pub(crate) const PLANS: &str = "plans";

/// The name of a plan: `plans/UUID.json`, the UUID in lower case with hyphens. No other text is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanName(pub Uuid);

/// A plan that approvers have signed for, or are asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTarget {
    /// Its name.
    pub name: PlanName,
    /// Its length in bytes.
    pub length: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
}

/// A text that names no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "read the name of a plan: {0:?} is none; one looks like plans/0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21.json"
)]
pub struct NotAPlan(String);

impl PlanName {
    /// The file that a server offers, below its targets: `plans/SHA256.UUID.json`, so that an old and a new plan of one
    /// name can be there at once (TUF's consistent snapshots).
    pub fn file(&self, sha256: &[u8; 32]) -> String {
        format!("{PLANS}/{}.{}.json", hex(sha256), self.0)
    }
}

impl PlanTarget {
    /// Describes `bytes` under `name`; `None` when there are more than [`PLAN_BYTES_MAX`].
    pub fn of(name: PlanName, bytes: &[u8]) -> Option<Self> {
        let length = u64::try_from(bytes.len()).ok().filter(|length| *length <= PLAN_BYTES_MAX)?;
        Some(Self { name, length, sha256: sha256(bytes) })
    }

    /// Whether `bytes` are this plan.
    pub fn is(&self, bytes: &[u8]) -> bool {
        Self::of(self.name, bytes).as_ref() == Some(self)
    }

    /// The file that a server offers; see [`PlanName::file`].
    pub fn file(&self) -> String {
        self.name.file(&self.sha256)
    }
}

impl fmt::Display for PlanName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{PLANS}/{}.json", self.0)
    }
}

impl FromStr for PlanName {
    type Err = NotAPlan;

    fn from_str(text: &str) -> Result<Self, NotAPlan> {
        let inner = text.strip_prefix("plans/").and_then(|rest| rest.strip_suffix(".json"));
        let name = inner.and_then(|inner| Uuid::try_parse(inner).ok()).map(PlanName);
        // Uuid reads many spellings; one plan has one.
        name.filter(|name| name.to_string() == text).ok_or_else(|| NotAPlan(text.chars().take(80).collect()))
    }
}

/// SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.push(char::from(b"0123456789abcdef"[usize::from(byte >> 4)]));
        text.push(char::from(b"0123456789abcdef"[usize::from(byte & 15)]));
        text
    })
}
