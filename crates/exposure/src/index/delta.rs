//! What a change of the fleet or of the bulletins changes: which hosts became, or ceased to be, affected.

use super::HostId;
use super::topic::Subject;
use roaring::RoaringBitmap;
use std::ops::{BitAndAssign, BitOrAssign};
use std::sync::Arc;

/// Hosts by what an advisory means for them. A host with several packages may be in more than one set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sets {
    /// [`Verdict::Affected`](crate::Verdict::Affected) for at least one package.
    pub affected: RoaringBitmap,
    /// [`Verdict::FixedStillRunning`](crate::Verdict::FixedStillRunning) for at least one package.
    pub still_running: RoaringBitmap,
    /// [`Verdict::Undetermined`](crate::Verdict::Undetermined) for at least one package.
    pub undetermined: RoaringBitmap,
}

impl Sets {
    /// Whether no host is in any set.
    pub fn is_empty(&self) -> bool {
        self.affected.is_empty() && self.still_running.is_empty() && self.undetermined.is_empty()
    }

    /// The hosts that are here and not in `other`, set by set.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            affected: &self.affected - &other.affected,
            still_running: &self.still_running - &other.still_running,
            undetermined: &self.undetermined - &other.undetermined,
        }
    }
}

impl BitOrAssign for Sets {
    fn bitor_assign(&mut self, other: Self) {
        self.affected |= other.affected;
        self.still_running |= other.still_running;
        self.undetermined |= other.undetermined;
    }
}

impl BitAndAssign<&RoaringBitmap> for Sets {
    fn bitand_assign(&mut self, hosts: &RoaringBitmap) {
        self.affected &= hosts;
        self.still_running &= hosts;
        self.undetermined &= hosts;
    }
}

/// What an advisory means for one host; none set is "not affected". More than one may be set, by different packages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standing {
    /// Vulnerable code is installed.
    pub affected: bool,
    /// Fixed, but vulnerable code still runs.
    pub still_running: bool,
    /// Could not be judged.
    pub undetermined: bool,
}

impl Standing {
    /// Whether the host is in no set.
    pub fn is_clean(self) -> bool {
        self == Self::default()
    }

    /// What is set here and not in `other`, as sets of the one `host`.
    pub(super) fn without(self, other: Self, host: HostId) -> Sets {
        let set = |is: bool, was: bool| {
            if is && !was { RoaringBitmap::from_iter([host]) } else { RoaringBitmap::new() }
        };
        Sets {
            affected: set(self.affected, other.affected),
            still_running: set(self.still_running, other.still_running),
            undetermined: set(self.undetermined, other.undetermined),
        }
    }
}

/// What changed about one advisory and one subject.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The advisory's id.
    pub advisory: Arc<str>,
    /// The package it speaks of.
    pub subject: Arc<Subject>,
    /// Hosts that became affected, still running or undetermined.
    pub entered: Sets,
    /// Hosts that ceased to be.
    pub left: Sets,
}
