//! What one claim means for one package on one host, with the reason.

use crate::inventory::Part;
use advisory::Order;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What one advisory means for one installed package. Each variant carries what is needed to act on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Vulnerable code is installed.
    Affected {
        /// What can be done.
        fix: Fix,
    },
    /// The fixed version is installed, but vulnerable code still runs: mapped by processes, or the booted kernel.
    FixedStillRunning {
        /// Who runs it: `nginx.service (pid 812)`, `booted kernel 6.1.0-37-amd64`.
        by: Vec<String>,
    },
    /// The fixed version, or a later one, is installed.
    Fixed,
    /// The vendor says this package is not affected, or the version lies outside the affected range.
    NotAffected {
        /// Which of both.
        why: String,
    },
    /// Could not be judged. Never taken for clean.
    Undetermined {
        /// Why not.
        why: Undetermined,
    },
}

/// What can be done about an affected package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "fix")]
pub enum Fix {
    /// An enabled archive offers a fixed version that the package manager would install.
    Fetchable {
        /// That version (binary).
        version: String,
    },
    /// The vendor announces a fix that this host cannot install now.
    Announced {
        /// The fixed version.
        version: String,
        /// Why not: no enabled archive has it, the file is missing, the package is held or kept back.
        why: String,
    },
    /// There is no fix.
    None {
        /// Not yet, never, or put off: in the vendor's words.
        why: String,
    },
}

/// Why something could not be judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Undetermined {
    /// The installed version does not parse in the release's order.
    InstalledVersion {
        /// The version.
        version: String,
    },
    /// The claim's version does not parse.
    ClaimVersion {
        /// The version.
        version: String,
    },
    /// The package was not built by the vendor that the claim speaks for.
    ForeignOrigin {
        /// Who built it, as far as known.
        origin: String,
    },
    /// The package's module stream, or the claim's, is not known.
    ModuleStream,
    /// The installed build is of another flavour than the claim.
    Flavour {
        /// The installed flavour.
        flavour: String,
    },
    /// Unpacking was interrupted, so the version on record says nothing about the files.
    HalfInstalled,
    /// The vendor has not judged.
    Vendor {
        /// The vendor's reason.
        reason: String,
    },
    /// A part of the inventory could not be read.
    Unseen {
        /// Which.
        part: Part,
        /// Why.
        reason: String,
    },
    /// The ecosystem has no version order that we know.
    NoOrder,
}

impl fmt::Display for Undetermined {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InstalledVersion { version } => {
                write!(out, "the installed version \"{version}\" cannot be read")
            }
            Self::ClaimVersion { version } => {
                write!(out, "the advisory's version \"{version}\" cannot be read")
            }
            Self::ForeignOrigin { origin } => write!(out, "not built by the distribution ({origin})"),
            Self::ModuleStream => out.write_str("its module stream is not known"),
            Self::Flavour { flavour } => {
                write!(out, "a {flavour} build, whose versions do not compare with the advisory's")
            }
            Self::HalfInstalled => {
                out.write_str("half-installed: files of two versions may lie side by side")
            }
            Self::Vendor { reason } if reason.is_empty() => out.write_str("the vendor has not judged"),
            Self::Vendor { reason } => write!(out, "the vendor has not judged: {reason}"),
            Self::Unseen { part, reason } => write!(out, "{part} could not be seen: {reason}"),
            Self::NoOrder => out.write_str("its ecosystem has no version order that we know"),
        }
    }
}

/// How a verdict was reached: enough to repeat it by hand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Explanation {
    /// The rule that decided, in words: "installed 1.2-3 < fixed 1.2-4".
    pub rule: String,
    /// Package the claim was compared with: binary name, or source name for source claims.
    pub package: String,
    /// Installed version that was compared.
    pub installed: String,
    /// Version of the claim that decided; empty if none did.
    pub claimed: String,
    /// The order that compared them.
    pub order: Option<Order>,
    /// Advisory id.
    pub advisory: String,
    /// Feed and entry of the document.
    pub document: String,
    /// SHA-256 of the document, hex.
    pub sha256: String,
    /// How fresh the facts are: date of the document or of the archive's index.
    pub freshness: String,
}
