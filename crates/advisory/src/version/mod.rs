//! Ecosystems' version orders, as keys that compare by bytes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A version order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Debian's.
    Dpkg,
    /// RPM's, with epoch, `~` and `^`.
    Rpm,
    /// Alpine's.
    Apk,
    /// Semantic versioning 2.0.
    Semver,
    /// Python's, PEP 440.
    Pep440,
    /// npm's.
    Npm,
}

impl fmt::Display for Order {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Dpkg => "dpkg",
            Self::Rpm => "rpm",
            Self::Apk => "apk",
            Self::Semver => "semver",
            Self::Pep440 => "PEP 440",
            Self::Npm => "npm",
        })
    }
}

/// A parsed version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Box<[u8]>);
