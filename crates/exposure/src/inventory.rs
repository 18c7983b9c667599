//! What one host has installed, running, mapped and listening, and when that was seen.

use advisory::{Module, Release};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// One look at one host, or at one root directory.
///
/// An empty list means "none seen"; whether everything could be seen is told by [`Inventory::gaps`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The host's name.
    pub host: String,
    /// When it was looked at.
    pub observed: Timestamp,
    /// The root directory looked at: `/`, or a chroot, image or container file system.
    pub root: String,
    /// Which system it is.
    pub system: System,
    /// Installed packages, sorted by name, architecture, version.
    pub packages: Vec<Package>,
    /// Enabled archives, in the package manager's order.
    pub archives: Vec<Archive>,
    /// What the package manager would change now, and what it keeps back, sorted by name and architecture.
    pub candidates: Vec<Candidate>,
    /// Booted and installed kernels.
    pub kernel: Kernel,
    /// Running processes that matter: they map files of packages, stale files, or listen.
    pub processes: Vec<Process>,
    /// What could not be read, and what depends on it.
    pub gaps: Vec<Gap>,
}

impl Inventory {
    /// The gaps of one part; empty if that part is complete.
    pub fn gaps_in(&self, part: Part) -> impl Iterator<Item = &Gap> {
        self.gaps.iter().filter(move |gap| gap.part == part)
    }
}

/// Which system a root directory holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// The release that advisories are published for.
    pub release: Release,
    /// `VERSION_ID` as it stands: `12`, `9.4`.
    pub version_id: String,
    /// `VERSION_CODENAME`; empty if there is none.
    pub codename: String,
    /// `PRETTY_NAME`.
    pub pretty: String,
    /// Native architecture in the package manager's words: `amd64`, `x86_64`.
    pub arch: String,
    /// Which package manager keeps this root.
    pub manager: Manager,
}

/// The package manager of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// dpkg and apt.
    Dpkg,
    /// rpm and dnf.
    Rpm,
    /// apk.
    Apk,
    /// pacman.
    Pacman,
    /// None found: nothing can be judged.
    Unknown,
}

impl fmt::Display for Manager {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Dpkg => "dpkg",
            Self::Rpm => "rpm",
            Self::Apk => "apk",
            Self::Pacman => "pacman",
            Self::Unknown => "no package manager that is known",
        })
    }
}

/// Whether several versions of a package are installed side by side: kernels on rpm hosts, with what is built for each.
pub fn lies_beside(name: &str) -> bool {
    name == "kernel" || name.starts_with("kernel-")
}

/// One installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Binary package name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Binary version, epoch included: `1:9.2p1-2+deb12u6`, `3.0.7-27.el9`.
    pub version: String,
    /// Source package name; the binary name where none is recorded.
    pub source: String,
    /// Source version; the binary version where none is recorded.
    pub source_version: String,
    /// How far it is installed.
    pub state: PackageState,
    /// Held by the operator.
    pub held: bool,
    /// Essential to the system.
    pub essential: bool,
    /// RPM module stream it was built in.
    pub module: Option<Module>,
    /// RPM vendor, or what else says who built it; empty if not recorded.
    pub vendor: String,
    /// Where this version comes from.
    pub origin: Origin,
}

impl Package {
    /// Under which letter packages that change together are kept together: the first of the source, in lower case. Packages
    /// of one source are in one batch.
    pub fn batch(&self) -> char {
        self.source.chars().next().unwrap_or('_').to_ascii_lowercase()
    }
}

/// How far a package is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageState {
    /// Unpacked and configured.
    Installed,
    /// Its files are there, its configuration is not finished.
    Unpacked,
    /// Unpacking was interrupted: files of two versions may lie side by side.
    HalfInstalled,
}

/// Where an installed version comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The distribution: this version, or at least this name, is in one of its archives.
    Vendor,
    /// Somebody else's archive, named; the distribution's advisories do not speak about it.
    Foreign(String),
    /// In no archive this host knows: built or installed by hand.
    Local,
    /// Archives could not be read, so nothing is known; taken for the vendor's, and said so.
    Unknown,
}

/// One enabled archive (one suite or repository).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Address without user or password.
    pub address: String,
    /// `Suite`: `oldstable-security`; repository id for dnf.
    pub suite: String,
    /// `Codename`: `bookworm-security`; empty if there is none.
    pub codename: String,
    /// `Origin`: `Debian`.
    pub origin: String,
    /// `Label`: `Debian-Security`.
    pub label: String,
    /// What it is for.
    pub class: ArchiveClass,
    /// `Date` of its index.
    pub date: Option<Timestamp>,
    /// `Valid-Until` of its index.
    pub valid_until: Option<Timestamp>,
    /// Whether the package manager trusts its signature.
    pub trusted: bool,
}

/// What an archive is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveClass {
    /// The distribution's security suite.
    Security,
    /// The distribution's release, renewed by point releases.
    PointRelease,
    /// The distribution's other updates (stable-updates, proposed, backports, rpm repositories without a split).
    Updates,
    /// Extended maintenance that has to be registered for.
    Esm,
    /// Not the distribution's.
    Foreign,
}

impl fmt::Display for ArchiveClass {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Security => "security",
            Self::PointRelease => "point release",
            Self::Updates => "updates",
            Self::Esm => "ESM",
            Self::Foreign => "foreign",
        })
    }
}

/// What the package manager would do with one package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Candidate {
    /// Binary package name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Installed version; `None` if it would be newly installed.
    pub from: Option<String>,
    /// Candidate version; `None` if it would be removed.
    pub to: Option<String>,
    /// Source package of the candidate.
    pub source: String,
    /// Source version of the candidate.
    pub source_version: String,
    /// The most security-minded class of archive that offers it.
    pub class: ArchiveClass,
    /// Archives that offer it, in words: `Debian-Security:12/oldstable-security`.
    pub archives: Vec<String>,
    /// Upgraded, new, removed or kept back.
    pub action: Action,
    /// Size of the download, bytes; 0 if not known.
    pub size_bytes: u64,
    /// Whether the file can be had right now.
    pub fetch: Fetch,
}

/// What the package manager would do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Upgrade it.
    Upgrade,
    /// Install it newly, as a dependency.
    Install,
    /// Remove it.
    Remove,
    /// A newer version is listed but would not be installed; why: held, phased, or not installable.
    KeptBack(String),
}

/// Whether a candidate's file can be had. "The index can promise what cannot be fetched."
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fetch {
    /// Looked up: the archive has it, with the size the index promises.
    Fetchable,
    /// Looked up: the archive does not have it; why.
    Missing(String),
    /// Not looked up; why.
    Unchecked(String),
}

/// Booted and installed kernels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// Release of the booted kernel (`uname -r`); `None` for a root that is not the running system.
    pub booted: Option<String>,
    /// Kernels installed in this root, by release.
    pub installed: Vec<InstalledKernel>,
}

/// One installed kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledKernel {
    /// Its release: `6.1.0-37-amd64`.
    pub release: String,
    /// The package that owns it; `None` if no package does.
    pub package: Option<String>,
    /// That package's version.
    pub version: Option<String>,
}

/// One running process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it was started.
    pub started: Option<Timestamp>,
    /// Its name (`comm`).
    pub name: String,
    /// The systemd unit it belongs to, from its cgroup: `nginx.service`.
    pub unit: Option<String>,
    /// The package of its executable.
    pub executable: Option<String>,
    /// Binary packages (`name:arch` never; plain names) whose files it maps, its executable's included; sorted.
    pub packages: Vec<String>,
    /// Files it maps that were deleted or replaced since.
    pub stale: Vec<StaleFile>,
    /// Sockets it listens on.
    pub sockets: Vec<Socket>,
    /// The kernel did not let it be inspected: what it maps and listens on is not known.
    pub hidden: bool,
}

/// A mapped file that is not the one on disk any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StaleFile {
    /// Its path when it was mapped.
    pub path: String,
    /// The package that owns that path now.
    pub package: Option<String>,
    /// The version of that package when the process started, if the package manager's log tells.
    pub version: Option<String>,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Socket {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Address it is bound to.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
}

impl Socket {
    /// Whether only this host can reach it.
    pub fn is_local(&self) -> bool {
        match self.address {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => {
                address.is_loopback() || address.to_ipv4_mapped().is_some_and(|mapped| mapped.is_loopback())
            }
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        match self.address {
            IpAddr::V4(address) => write!(out, "{protocol}/{address}:{}", self.port),
            IpAddr::V6(address) => write!(out, "{protocol}/[{address}]:{}", self.port),
        }
    }
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gap {
    /// Which part of the inventory is incomplete.
    pub part: Part,
    /// What could not be read: a path, a process.
    pub object: String,
    /// Why.
    pub reason: String,
    /// What to do about it; empty where nothing can be done.
    pub remedy: String,
}

/// A part of the inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// Which system it is.
    System,
    /// What is installed. Without it nothing can be judged.
    Packages,
    /// Which archives are enabled and how fresh they are.
    Archives,
    /// What could be upgraded.
    Candidates,
    /// What the candidates close.
    Changelogs,
    /// Which kernel is booted.
    Kernel,
    /// What runs and what it maps.
    Processes,
    /// Who listens.
    Sockets,
}

impl fmt::Display for Part {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::System => "system",
            Self::Packages => "packages",
            Self::Archives => "archives",
            Self::Candidates => "candidates",
            Self::Changelogs => "changelogs",
            Self::Kernel => "kernel",
            Self::Processes => "processes",
            Self::Sockets => "sockets",
        })
    }
}
