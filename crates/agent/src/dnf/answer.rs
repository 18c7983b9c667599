//! What is asked of dnf's library, and what it says.

use crate::observe::rpm::{evr, split_source};
use serde::{Deserialize, Serialize};

/// A question: what would upgrading `wanted` do?
#[derive(Debug, Serialize)]
pub(super) struct Question {
    /// The scratch root.
    pub(super) root: String,
    /// dnf's configuration in it.
    pub(super) config: String,
    /// Whether metadata is to be fetched anew.
    pub(super) refresh: bool,
    pub(super) wanted: Vec<Wanted>,
    /// Of what else the file is asked, installed or not.
    pub(super) old: Vec<Old>,
}

/// A package by name, and by version or as the latest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) arch: String,
    /// `epoch:version-release`, a zero epoch left out; `None`: the latest that upgrades what is installed.
    pub(super) version: Option<String>,
}

/// An exact version whose file is asked for.
pub(super) type Old = Wanted;

/// What the change would do.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) installs: Vec<Told>,
    /// What goes: replaced by an install of the same name and architecture, or for good.
    pub(super) removes: Vec<Told>,
    /// Packages asked for as old that a repository offers.
    pub(super) old: Vec<Told>,
}

/// A package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) arch: String,
    epoch: u32,
    version: String,
    release: String,
    /// File name of the source package; empty if there is none.
    source: String,
    pub(super) repository: String,
    pub(super) sha256: Option<String>,
    pub(super) size_bytes: u64,
}

impl Told {
    /// Its version, as plans have it.
    pub(super) fn evr(&self) -> String {
        evr(self.epoch, &self.version, &self.release)
    }

    /// Name of its source package.
    pub(super) fn source(&self) -> &str {
        split_source(&self.source).map_or(&self.name, |(source, ..)| source)
    }

    /// Asks for exactly this one.
    pub(super) fn exact(&self) -> Wanted {
        Wanted { name: self.name.clone(), arch: self.arch.clone(), version: Some(self.evr()) }
    }
}

/// Reads an answer; dnf's own words if it refused.
pub(super) fn parse(bytes: &[u8]) -> Result<Answer, String> {
    #[derive(Deserialize)]
    struct Refused {
        error: String,
    }
    if let Ok(refused) = serde_json::from_slice::<Refused>(bytes) {
        return Err(refused.error.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    serde_json::from_slice(bytes).map_err(|error| format!("its answer cannot be read: {error}"))
}
