//! What the centre and a host say to each other about one job. A host asks (its check-in carries its last report); the
//! centre answers. What crosses the wire wraps these.

use crate::plan::{Digest, HostId, PlanId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Towards the plan's versions, or back to those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To the new versions.
    Forward,
    /// To the old ones, which the host kept. A host needs the approvers' signed word for it, too.
    Back,
}

/// What a host is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who.
    pub host: HostId,
    /// The plan.
    pub plan: PlanId,
    /// Its content. A host carries out only a plan that it has verified and that has this digest.
    pub digest: Digest,
    /// Where to.
    pub direction: Direction,
    /// Counts the grants of this job; only its highest is alive.
    pub fence: u64,
    /// The check-in that it answers. The lease counts from when that was sent, by the host's own clock since boot.
    pub nonce: u64,
}

/// "Not halted": the centre's word that this host may pass the point of no return. Signed by the centre's online key.
///
/// It answers one check-in: its age is counted from when that was sent, by the host's own clock since boot. So neither a
/// wrong clock nor a stored statement makes it look fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clearance {
    /// Who.
    pub host: HostId,
    /// The plan.
    pub plan: PlanId,
    /// The grant.
    pub fence: u64,
    /// The check-in that it answers.
    pub nonce: u64,
}

/// What a host sends, once a minute and whenever something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckIn {
    /// Drawn for each check-in.
    pub nonce: u64,
    /// What the machine's firmware says it is, hashed. Two machines with one key differ here.
    pub machine: u64,
    /// Where its last job stands.
    pub report: Option<Report>,
    /// Whether the plan's probes pass; `None`: not looked at.
    pub healthy: Option<bool>,
}

/// Where a host's job stands. Journaled before it is sent, so that one (fence, seq) has one content for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The plan.
    pub plan: PlanId,
    /// The grant.
    pub fence: u64,
    /// Counts this host's reports on this grant, from 1.
    pub seq: u64,
    /// The machine, as in [`CheckIn::machine`].
    pub machine: u64,
    /// The boot it was written in.
    pub boot: u64,
    /// Where it stands.
    pub stage: Stage,
}

/// What the centre answers. All of it may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// A new order, or the same again: its lease is renewed.
    pub order: Option<Order>,
    /// Pass the point of no return.
    pub clearance: Option<Clearance>,
    /// Give up the job of this plan and grant, unless the point of no return is passed.
    pub withdraw: Option<(PlanId, u64)>,
}

/// Where a host says that it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Looks whether it can.
    Preflight,
    /// Has all files, old and new; asks for the clearance.
    Fetched,
    /// Past the point of no return.
    Committed,
    /// The package manager works.
    Applying,
    /// Services are restarted, once, together.
    Restarting,
    /// Waits for the boot.
    AwaitingReboot,
    /// Looks whether everything is up.
    Verifying,
    /// Watches itself.
    Soaking,
    /// Puts the old versions back by itself.
    Reverting,
    /// Exact versions installed, running, healthy.
    Proven,
    /// Did not begin.
    Skipped(Skip),
    /// Gave the grant back before the point of no return.
    Withdrawn,
    /// Could not, and stays so.
    Failed(Failure),
    /// The old versions are back.
    RolledBack,
    /// Neither the old nor the new versions.
    Inconsistent,
}

/// Why a host did not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    /// Its owner wrote "never".
    Never,
    /// Its owner excludes one of the packages.
    Excluded,
    /// A package is held.
    Held,
    /// A package has neither the old nor the new version.
    Drifted,
    /// It is not of the class that the plan says.
    OtherClass,
    /// This plan was rolled back here.
    RolledBackBefore,
    /// A probe asks for a command that its owner does not allow.
    Command,
    /// A service that attempts are to be replayed to does not even answer harmless requests.
    Unanswered,
    /// Its package manager would do other than the plan says, which was made of what another host of the class has.
    Unfit,
}

/// Why a host failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// A file could not be had, or was another.
    Fetch,
    /// Too little room on the disk.
    Disk,
    /// Too few inodes.
    Inodes,
    /// The package manager's lock was not let go.
    Locked,
    /// Its package manager could not be asked what it would do.
    Unasked,
    /// Its owner's hook did not take it out of its service.
    Drain,
    /// The package manager did not install it; the old versions are as they were.
    NotApplied,
    /// New versions installed, a service or probe is down.
    Unhealthy,
    /// Old code is still mapped after the restarts.
    StillMapped,
    /// The reboots allowed were not enough.
    Reboots,
    /// It was booted anew, and not into the new kernel.
    Boot,
    /// The old versions could not be put back.
    NotReverted,
}

impl Stage {
    /// Nothing follows by itself.
    pub fn is_final(self) -> bool {
        self.leaves_broken().is_some()
    }

    /// Whether the host can only be here after the point of no return.
    pub fn is_past_return(self) -> bool {
        match self {
            Self::Committed
            | Self::Applying
            | Self::Restarting
            | Self::AwaitingReboot
            | Self::Verifying
            | Self::Soaking
            | Self::Reverting
            | Self::Proven
            | Self::RolledBack
            | Self::Inconsistent => true,
            Self::Failed(why) => why.is_past_return(),
            Self::Preflight | Self::Fetched | Self::Skipped(_) | Self::Withdrawn => false,
        }
    }
}

impl Stage {
    /// Whether a host that ended here is left broken, which a person has to look at; `None`: it has not ended.
    pub fn leaves_broken(self) -> Option<bool> {
        match self {
            Self::Proven | Self::Skipped(_) | Self::Withdrawn | Self::RolledBack => Some(false),
            Self::Failed(why) => Some(why.is_past_return()),
            Self::Inconsistent => Some(true),
            Self::Preflight
            | Self::Fetched
            | Self::Committed
            | Self::Applying
            | Self::Restarting
            | Self::AwaitingReboot
            | Self::Verifying
            | Self::Soaking
            | Self::Reverting => None,
        }
    }
}

impl Failure {
    /// Whether the host has begun to change itself.
    pub fn is_past_return(self) -> bool {
        match self {
            Self::Fetch | Self::Disk | Self::Inodes | Self::Locked | Self::Unasked | Self::Drain => false,
            Self::NotApplied
            | Self::Unhealthy
            | Self::StillMapped
            | Self::Reboots
            | Self::Boot
            | Self::NotReverted => true,
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Never => "its owner allows no plan",
            Self::Excluded => "its owner excludes a package",
            Self::Held => "a package is held",
            Self::Drifted => "a package has neither the plan's old version nor its new one",
            Self::OtherClass => "it is not of the plan's class",
            Self::RolledBackBefore => "this plan was rolled back here before",
            Self::Command => "a probe asks for a command that its owner does not allow",
            Self::Unanswered => {
                "a service that attempts are to be replayed to does not answer harmless requests"
            }
            Self::Unfit => "its package manager would do other than the plan says",
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Fetch => "a file could not be fetched",
            Self::Disk => "too little room on its disk",
            Self::Inodes => "too few inodes",
            Self::Locked => "its package manager stayed locked",
            Self::Unasked => "its package manager could not be asked what it would do",
            Self::Drain => "its owner's hook did not take it out of its service",
            Self::NotApplied => "the package manager did not install it",
            Self::Unhealthy => "a service or probe is down",
            Self::StillMapped => "old code is still mapped",
            Self::Reboots => "the reboots allowed were not enough",
            Self::Boot => "it was booted anew, and not into the new kernel",
            Self::NotReverted => "the old versions could not be put back",
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preflight => out.write_str("preflight"),
            Self::Fetched => out.write_str("fetched"),
            Self::Committed => out.write_str("committed"),
            Self::Applying => out.write_str("applying"),
            Self::Restarting => out.write_str("restarting"),
            Self::AwaitingReboot => out.write_str("awaiting reboot"),
            Self::Verifying => out.write_str("verifying"),
            Self::Soaking => out.write_str("soaking"),
            Self::Reverting => out.write_str("reverting"),
            Self::Proven => out.write_str("proven"),
            Self::Skipped(why) => write!(out, "skipped: {why}"),
            Self::Withdrawn => out.write_str("withdrawn"),
            Self::Failed(why) => write!(out, "failed: {why}"),
            Self::RolledBack => out.write_str("rolled back"),
            Self::Inconsistent => out.write_str("inconsistent"),
        }
    }
}
