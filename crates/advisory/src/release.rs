//! Which distribution release, or language ecosystem, something is about.

use crate::version::Order;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A distribution or a language ecosystem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Debian GNU/Linux.
    Debian,
    /// Ubuntu.
    Ubuntu,
    /// AlmaLinux.
    AlmaLinux,
    /// Rocky Linux.
    RockyLinux,
    /// Red Hat Enterprise Linux.
    RedHat,
    /// CentOS and CentOS Stream.
    CentOs,
    /// Fedora.
    Fedora,
    /// Oracle Linux.
    OracleLinux,
    /// Amazon Linux.
    AmazonLinux,
    /// SUSE Linux Enterprise.
    Suse,
    /// openSUSE Leap and Tumbleweed.
    OpenSuse,
    /// Azure Linux, Mariner before.
    AzureLinux,
    /// Alpine Linux.
    Alpine,
    /// The Python package index.
    PyPi,
    /// The npm registry.
    Npm,
    /// The Rust package registry.
    CratesIo,
    /// Anything else, by the name its vendor uses. It has no known version order.
    Other(String),
}

impl Family {
    /// The version order of the family; `None` for a family we do not know.
    pub fn order(&self) -> Option<Order> {
        match self {
            Self::Debian | Self::Ubuntu => Some(Order::Dpkg),
            Self::AlmaLinux
            | Self::RockyLinux
            | Self::RedHat
            | Self::CentOs
            | Self::Fedora
            | Self::OracleLinux
            | Self::AmazonLinux
            | Self::Suse
            | Self::OpenSuse
            | Self::AzureLinux => Some(Order::Rpm),
            Self::Alpine => Some(Order::Apk),
            Self::PyPi => Some(Order::Pep440),
            Self::Npm => Some(Order::Npm),
            Self::CratesIo => Some(Order::Semver),
            Self::Other(_) => None,
        }
    }

    /// The family that `ID` in os-release names.
    pub fn from_os_release_id(id: &str) -> Self {
        match id {
            "debian" => Self::Debian,
            "ubuntu" => Self::Ubuntu,
            "almalinux" => Self::AlmaLinux,
            "rocky" => Self::RockyLinux,
            "rhel" => Self::RedHat,
            "centos" => Self::CentOs,
            "fedora" => Self::Fedora,
            "ol" => Self::OracleLinux,
            "amzn" => Self::AmazonLinux,
            "sles" | "sled" | "sle-micro" => Self::Suse,
            "opensuse-leap" | "opensuse-tumbleweed" => Self::OpenSuse,
            "azurelinux" | "mariner" => Self::AzureLinux,
            "alpine" => Self::Alpine,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Debian => "Debian",
            Self::Ubuntu => "Ubuntu",
            Self::AlmaLinux => "AlmaLinux",
            Self::RockyLinux => "Rocky Linux",
            Self::RedHat => "Red Hat Enterprise Linux",
            Self::CentOs => "CentOS",
            Self::Fedora => "Fedora",
            Self::OracleLinux => "Oracle Linux",
            Self::AmazonLinux => "Amazon Linux",
            Self::Suse => "SUSE Linux Enterprise",
            Self::OpenSuse => "openSUSE",
            Self::AzureLinux => "Azure Linux",
            Self::Alpine => "Alpine",
            Self::PyPi => "PyPI",
            Self::Npm => "npm",
            Self::CratesIo => "crates.io",
            Self::Other(name) => name,
        })
    }
}

/// A release of a family: `Debian 12`, `AlmaLinux 9`, `Alpine 3.20`; the version is empty for language
/// ecosystems and for rolling distributions.
///
/// The version is what the vendor's advisories are published for: `12` for Debian 12.15, `9` for AlmaLinux 9.4
/// (the minor release is the host's `System::version_id`), `22.04` for Ubuntu, `3.20` for Alpine 3.20.3.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Release {
    /// Whose release.
    pub family: Family,
    /// Which one, as advisories name it; empty where there is only one.
    pub version: String,
}

impl Release {
    /// The release `version` of `family`.
    pub fn new(family: Family, version: impl Into<String>) -> Self {
        Self { family, version: version.into() }
    }

    /// The release that `ID` and `VERSION_ID` of os-release name; minor releases are cut where advisories are
    /// published per major release.
    pub fn from_os_release(id: &str, version_id: &str) -> Self {
        let family = Family::from_os_release_id(id);
        let parts = |count: usize| version_id.split('.').take(count).collect::<Vec<_>>().join(".");
        let version = match family {
            Family::Debian
            | Family::AlmaLinux
            | Family::RockyLinux
            | Family::RedHat
            | Family::CentOs
            | Family::OracleLinux
            | Family::Fedora => parts(1),
            Family::Alpine => parts(2),
            Family::Ubuntu
            | Family::AmazonLinux
            | Family::Suse
            | Family::OpenSuse
            | Family::AzureLinux
            | Family::Other(_) => version_id.to_owned(),
            Family::PyPi | Family::Npm | Family::CratesIo => String::new(),
        };
        Self { family, version }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.family)?;
        if !self.version.is_empty() {
            write!(out, " {}", self.version)?;
        }
        Ok(())
    }
}
