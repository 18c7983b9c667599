//! The advisory: OSV's shape plus what distributions know and OSV loses.

use crate::release::Release;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// One bulletin, parsed. One revision of it: a later revision is another `Advisory` with the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advisory {
    /// The vendor's id: `DSA-5800-1`, `ALSA-2025:10073`, `CVE-2026-1`.
    pub id: String,
    /// What it is about.
    pub kind: Kind,
    /// Where it was read, so that every verdict can name its document.
    pub document: Arc<Document>,
    /// One line; empty if the vendor gives none.
    pub summary: String,
    /// When the vendor published it.
    pub published: Option<Timestamp>,
    /// When the vendor last changed it.
    pub modified: Option<Timestamp>,
    /// When the vendor took it back; a withdrawn advisory affects nobody.
    pub withdrawn: Option<Timestamp>,
    /// How it relates to other ids; only [`EdgeKind::Alias`] means "the same hole".
    pub edges: Vec<Edge>,
    /// Vendor's and scorers' severities.
    pub severities: Vec<Severity>,
    /// What it says about which package.
    pub claims: Vec<Claim>,
    /// Addresses of pages about it.
    pub references: Vec<String>,
    /// The vendor asks for a reboot after the update (updateinfo `reboot_suggested`).
    pub reboot: bool,
}

impl Advisory {
    /// An advisory of `kind` that says nothing yet.
    pub fn new(id: impl Into<String>, kind: Kind, document: Arc<Document>) -> Self {
        Self {
            id: id.into(),
            kind,
            document,
            summary: String::new(),
            published: None,
            modified: None,
            withdrawn: None,
            edges: Vec::new(),
            severities: Vec::new(),
            claims: Vec::new(),
            references: Vec::new(),
            reboot: false,
        }
    }

    /// The CVE ids this advisory closes: its own id, aliases, upstream and related ids that are CVE ids, each once, in
    /// the order of the text. Related ids count because AlmaLinux and others name their CVEs only there.
    pub fn cves(&self) -> Vec<&str> {
        let mut cves = Vec::new();
        let ids = std::iter::once(self.id.as_str()).chain(
            self.edges
                .iter()
                .filter(|edge| match edge.kind {
                    EdgeKind::Alias | EdgeKind::Upstream | EdgeKind::Related => true,
                    EdgeKind::Supersedes | EdgeKind::Regresses => false,
                })
                .map(|edge| edge.id.as_str()),
        );
        for id in ids {
            if let Some(cve) = cve_of(id)
                && !cves.contains(&cve)
            {
                cves.push(cve);
            }
        }
        cves
    }
}

/// The CVE id that an id is or stands for: Debian and Ubuntu publish per-CVE records as `DEBIAN-CVE-…`, `UBUNTU-CVE-…`.
pub fn cve_of(id: &str) -> Option<&str> {
    let cve = id.strip_prefix("DEBIAN-").or_else(|| id.strip_prefix("UBUNTU-")).unwrap_or(id);
    cve.starts_with("CVE-").then_some(cve)
}

/// What an advisory is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Closes a hole.
    Security,
    /// Repairs an earlier security update.
    Regression,
    /// Came with a point release of the distribution and names no CVE.
    PointRelease,
    /// Support for something ends.
    EndOfLife,
    /// A bug fix or an enhancement, not security (updateinfo has them side by side).
    Maintenance,
}

/// The raw text a record came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Document {
    /// The feed: a path, an address, or the host's package manager ("apt").
    pub feed: String,
    /// The record within the feed: a zip entry, an advisory id, a changelog.
    pub entry: String,
    /// SHA-256 of the record's bytes, lower-case hex, 64 characters.
    pub sha256: String,
}

/// A typed relation to another id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Edge {
    /// How.
    pub kind: EdgeKind,
    /// To what.
    pub id: String,
}

/// How one advisory relates to another id. Only `Alias` merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeKind {
    /// Another name of the same hole.
    Alias,
    /// The hole upstream of which this one is the distribution's record.
    Upstream,
    /// Has something to do with it.
    Related,
    /// Replaces it.
    Supersedes,
    /// Repairs what it broke.
    Regresses,
}

/// A severity in one scheme. Kept as text: what it means is decided in ranking.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A CVSS vector, version 2, 3.x or 4.0, as published.
    Cvss(String),
    /// A vendor's own word: `Important`, `medium`.
    Vendor(String),
}

/// What an advisory says about one package in one release.
///
/// Versions are kept as text beside the release whose order compares them: a version that does not parse must become
/// *undetermined* in matching, not vanish here. `introduced` `None` means "from the beginning"; the affected range is
/// `[introduced, fixed)`, or `[introduced, last_affected]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// In which release.
    pub release: Release,
    /// Through which channel the fix comes.
    pub channel: Channel,
    /// Whether `name` is a source or a binary package.
    pub name_kind: NameKind,
    /// The package's name.
    pub name: String,
    /// The module stream it is built for (RPM modularity).
    pub module: Option<Module>,
    /// A build flavour with its own versions: `ksplice`, `fips`, `uek`.
    pub flavour: Option<String>,
    /// The architecture, where the claim is for one only.
    pub arch: Option<String>,
    /// First affected version; `None` is from the beginning.
    pub introduced: Option<String>,
    /// First version that is not affected any more.
    pub fixed: Option<String>,
    /// Last affected version, where the vendor gives that instead of `fixed`.
    pub last_affected: Option<String>,
    /// Exact affected versions, where the vendor enumerates them (OSV `versions`). Besides the range.
    pub versions: Vec<String>,
    /// What the vendor says.
    pub state: State,
    /// Why, in the vendor's words or ours; empty where the state speaks for itself.
    pub reason: Reason,
}

/// Text that says why. Empty is allowed.
pub type Reason = String;

/// Where a fix comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// The release itself, or not said.
    Main,
    /// The security suite.
    Security,
    /// A point release.
    PointRelease,
    /// Long term support by other people, free of charge (Debian LTS).
    Lts,
    /// Paid or registered extended maintenance (Ubuntu Pro/ESM, Debian ELTS).
    Esm,
    /// Extended updates of a minor release, by number: `9.4`.
    Eus(String),
}

impl fmt::Display for Channel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => out.write_str("main"),
            Self::Security => out.write_str("security"),
            Self::PointRelease => out.write_str("point release"),
            Self::Lts => out.write_str("LTS"),
            Self::Esm => out.write_str("ESM"),
            Self::Eus(minor) => write!(out, "EUS {minor}"),
        }
    }
}

/// What a package name names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NameKind {
    /// A source package; compared with source versions.
    Source,
    /// A binary package; compared with binary versions.
    Binary,
}

/// An RPM module stream: `nodejs:18`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Module {
    /// `nodejs`.
    pub name: String,
    /// `18`.
    pub stream: String,
}

impl fmt::Display for Module {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.name, self.stream)
    }
}

/// What a vendor says about a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Fixed in `Claim::fixed`.
    Fixed,
    /// Affected, no fix yet.
    Affected,
    /// Not affected.
    NotAffected,
    /// Affected, and will stay so.
    WontFix,
    /// Affected, fix put off (no-DSA, postponed).
    Deferred,
    /// The package or release gets no fixes any more.
    EndOfLife,
    /// The vendor has not judged, or we could not read what it says.
    Undetermined,
}
