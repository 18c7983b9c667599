//! What a host sees of itself, and what follows from it without any memory.

use crate::plan::{Asked, Change, HostClass, HostId, Plan};
use jiff::Timestamp;

/// One look at the host. Everything that decides is looked up anew; no exit code is in it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, looked up by itself")]
pub struct Observation<'a> {
    /// The wall clock, which may be wrong.
    pub now: Timestamp,
    /// Time since boot, suspension included, milliseconds: what leases are measured by.
    pub uptime_ms: u64,
    /// This boot.
    pub boot: u64,
    /// What the firmware says the machine is, hashed.
    pub machine: u64,
    /// `debian:12`.
    pub release: &'a str,
    /// `amd64`.
    pub arch: &'a str,
    /// The group it was enrolled into.
    pub group: &'a str,
    /// The packages that the plan names, as the package database has them; those not installed are missing.
    pub packages: &'a [Seen<'a>],
    /// All files of the new versions lie in the cache, with the right digests.
    pub fetched: bool,
    /// All files of the old versions do.
    pub kept: bool,
    /// Whether they can be installed as the plan says, by what the package manager said in this job.
    pub fitness: super::Fitness,
    /// A fetch, a transaction of the package manager, a restart or a reboot is under way.
    pub working: bool,
    /// Who else holds the package manager's lock.
    pub locked_by: Option<&'a str>,
    /// Free on the file system that packages go to.
    pub disk_free_bytes: u64,
    /// Free inodes there.
    pub inodes_free: u64,
    /// Processes map files of the old versions.
    pub stale: bool,
    /// Something patched runs only after a reboot.
    pub reboot_needed: bool,
    /// A kernel of the plan is installed, and another is booted.
    pub kernel_old: bool,
    /// Something that the plan has newly installed here is still there.
    pub leftover: bool,
    /// Whether the host takes part in its service.
    pub duty: super::Duty,
    /// Something was taken from the host for a job, and not given back.
    pub owed: bool,
    /// All probes pass, and what is replayed is borne; `None`: not looked.
    pub healthy: Option<bool>,
    /// How the services that attempts are replayed to did before.
    pub before: Before,
}

/// What a host knows of how its services did before the change, which they are held against after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// It was measured, or nothing has to be.
    Known,
    /// It is being measured.
    Pending,
    /// A service does not even answer harmless requests.
    Unsound,
}

/// One package as the database has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Binary package.
    pub name: &'a str,
    /// Architecture.
    pub arch: &'a str,
    /// Version.
    pub version: &'a str,
    /// Unpacked and configured.
    pub whole: bool,
    /// Held by the operator.
    pub held: bool,
}

/// What the host's owner allows: it can only narrow what a plan asks.
#[derive(Clone, Debug)]
pub struct Local {
    /// No plan at all.
    pub never: bool,
    /// Packages that no plan changes here.
    pub excluded: Vec<String>,
    /// Names of commands that plans may have asked here.
    pub commands: std::collections::BTreeSet<String>,
    /// The owner's own windows.
    pub calendar: crate::window::Calendar,
}

impl Local {
    /// Whether the owner allows every command that the plan's probes ask for here: health that cannot be known afterwards is
    /// a reason not to begin.
    pub(super) fn allows(&self, plan: &Plan, host: HostId) -> bool {
        plan.probes_of(host).iter().all(|probe| match &probe.what {
            Asked::Command(name) => self.commands.contains(name),
            Asked::UnitActive(_) | Asked::TcpPort(_) | Asked::HttpPath(_) => true,
        })
    }
}

/// A plan that the agent has verified: signed by enough approvers, not older than one it had.
#[derive(Clone, Copy, Debug)]
pub struct Approved<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The digest of its bytes.
    pub digest: crate::plan::Digest,
    /// Its windows.
    pub calendar: &'a crate::window::Calendar,
    /// Approvers have signed that it goes back.
    pub back: bool,
}

/// Which versions a host has of what a class changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// All new ones.
    New,
    /// All old ones; what was to be newly installed may be there or not.
    Old,
    /// A package is half installed.
    Half,
    /// Some of either.
    Mixed,
    /// A package has a third version, or is missing.
    Other,
}

/// Inodes a package may take: the largest common ones (documentation, kernel headers) have some 10,000 files.
const INODES_PER_PACKAGE: u64 = 10_000;
/// Room for a package's file and its unpacked content: three to five times the file; twice, as old ones are replaced.
const DISK_FACTOR: u64 = 10;

impl Observation<'_> {
    fn seen(&self, change: &Change) -> Option<&Seen<'_>> {
        self.packages.iter().find(|seen| seen.name == change.name && seen.arch == change.arch)
    }

    /// Which versions are installed.
    pub fn installed(&self, class: &HostClass) -> Installed {
        let (mut new, mut old, mut half) = (true, true, false);
        for change in &class.changes {
            let seen = self.seen(change);
            half |= seen.is_some_and(|seen| !seen.whole);
            let version = seen.map(|seen| seen.version);
            let (is_new, is_old) = (version == Some(&change.to), version == change.from.as_deref());
            if !is_new && !is_old {
                return if half { Installed::Half } else { Installed::Other };
            }
            new &= is_new;
            old &= is_old || change.from.is_none();
        }
        match (half, new, old) {
            (true, _, _) => Installed::Half,
            (false, true, _) => Installed::New,
            (false, false, true) => Installed::Old,
            (false, false, false) => Installed::Mixed,
        }
    }

    /// Whether one of the class's packages is held.
    pub fn holds(&self, class: &HostClass) -> bool {
        class.changes.iter().filter_map(|change| self.seen(change)).any(|seen| seen.held)
    }

    /// Whether the disk has room for the class.
    pub fn has_room(&self, class: &HostClass) -> bool {
        let files = class.changes.iter().flat_map(|change| [Some(&change.file), change.back.as_ref()]);
        let bytes = files.flatten().fold(0_u64, |sum, file| sum.saturating_add(file.size_bytes));
        self.disk_free_bytes >= bytes.saturating_mul(DISK_FACTOR)
    }

    /// Whether the disk has inodes for the class.
    pub fn has_inodes(&self, class: &HostClass) -> bool {
        let packages = u64::try_from(class.changes.len()).unwrap_or(u64::MAX);
        self.inodes_free >= packages.saturating_mul(INODES_PER_PACKAGE).min(100_000)
    }
}
