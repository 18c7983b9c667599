//! The answer for one host: what it lacks, most urgent first, and what could not be judged.

mod build;
mod command;
mod entry;
mod reach;

pub use build::{Facts, explain, report, verdicts};
pub use reach::{Reach, Seen, is_kernel, named};

use crate::inventory::{ArchiveClass, Package, System};
use crate::ssvc::{Decision, Rank};
use crate::verdict::{Explanation, Verdict};
use advisory::Kind;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is wrong with one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of this shape: `palisade.check/1`.
    pub schema: String,
    /// The host's name.
    pub host: String,
    /// The root looked at.
    pub root: String,
    /// When.
    pub observed: Timestamp,
    /// Which system.
    pub system: System,
    /// Security entries, one per source package, most urgent first.
    pub entries: Vec<Entry>,
    /// Other pending updates: nothing says that they close a hole.
    pub other: Vec<Other>,
    /// What could not be judged.
    pub undetermined: Vec<Unjudged>,
    /// What the reader should know and need not act on: support phases, feeds not given.
    pub notes: Vec<String>,
    /// Counts.
    pub summary: Summary,
}

/// One source package that needs something done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Source package.
    pub source: String,
    /// The gravest kind among its findings.
    pub kind: Kind,
    /// Where it stands in the queue, and why.
    pub rank: Rank,
    /// Binary packages and what would change.
    pub changes: Vec<Change>,
    /// What to do.
    pub remedy: Remedy,
    /// The exact command that does it, where there is one.
    pub command: Option<String>,
    /// Class of the archive the fix comes from.
    pub class: Option<ArchiveClass>,
    /// CVEs that the remedy closes.
    pub closes: Vec<String>,
    /// CVEs that stay open: no fix, or none that can be installed now.
    pub stay_open: Vec<String>,
    /// What the fix closes could not be read, or not all of it: `closes` is a part.
    pub unread: bool,
    /// Bulletins, where a feed names them.
    pub bulletins: Vec<String>,
    /// How reachable it is here.
    pub reach: Reach,
    /// Every finding with its explanation.
    pub findings: Vec<Finding>,
}

/// One binary package of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Installed version.
    pub from: String,
    /// Version that would be installed; `None` if nothing would change.
    pub to: Option<String>,
}

impl Change {
    /// An installed package that stays as it is.
    fn none(package: &Package) -> Self {
        Self {
            name: package.name.clone(),
            arch: package.arch.clone(),
            from: package.version.clone(),
            to: None,
        }
    }
}

/// What to do about an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Remedy {
    /// Upgrade the packages.
    Upgrade,
    /// The fix is installed; restart what still runs the old code.
    Restart {
        /// Who.
        by: Vec<String>,
    },
    /// The fix is installed; boot the new kernel.
    Reboot {
        /// What runs the old kernel.
        by: Vec<String>,
    },
    /// A fix is announced but cannot be installed now.
    Blocked {
        /// Why.
        why: String,
    },
    /// There is no fix: shield it, or do without it.
    None {
        /// Why.
        why: String,
    },
}

/// One advisory applied to one package of this host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// Advisory id.
    pub advisory: String,
    /// CVEs it is about here.
    pub cves: Vec<String>,
    /// What it means.
    pub verdict: Verdict,
    /// How that was found.
    pub explanation: Explanation,
}

/// A pending update that nothing calls a security fix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Other {
    /// Source package.
    pub source: String,
    /// Its binary packages.
    pub changes: Vec<Change>,
    /// Where it comes from.
    pub class: ArchiveClass,
    /// What is known of it: "point release, names no CVE", "rebuild of the same source".
    pub note: String,
}

/// Something that could not be judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unjudged {
    /// What: a part of the inventory, a package, a feed's record.
    pub what: String,
    /// Why not.
    pub why: String,
    /// What would help; empty where nothing does.
    pub remedy: String,
}

impl fmt::Display for Unjudged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.why)?;
        if !self.remedy.is_empty() {
            write!(out, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Counts of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Installed packages looked at.
    pub packages: usize,
    /// Entries by decision.
    pub act: usize,
    /// Entries by decision.
    pub attend: usize,
    /// Entries by decision.
    pub track_closely: usize,
    /// Entries by decision.
    pub track: usize,
    /// Distinct CVEs that the entries' remedies close.
    pub cves_closed: usize,
    /// Distinct CVEs that stay open.
    pub cves_open: usize,
    /// Entries of which it could not be read, or not fully, what they close: `cves_closed` is a lower bound.
    pub unread: usize,
    /// Entries whose code listens for the network.
    pub listening: usize,
    /// Entries whose code runs, listening or not.
    pub running: usize,
    /// Binary packages with a pending change.
    pub pending: usize,
    /// Other pending updates.
    pub other: usize,
    /// Things that could not be judged.
    pub undetermined: usize,
}

/// From which decision on a check counts as failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bar {
    /// Only *act*.
    Act,
    /// *Attend* and *act*.
    Attend,
    /// Every entry.
    #[default]
    Any,
}

impl Bar {
    /// The mildest decision that is over it.
    pub fn least(self) -> Decision {
        match self {
            Self::Act => Decision::Act,
            Self::Attend => Decision::Attend,
            Self::Any => Decision::Track,
        }
    }
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Everything was judged and nothing is at or over the bar.
    Clean,
    /// Something is at or over the bar.
    Findings,
    /// Nothing is at or over the bar, but something could not be judged.
    Undetermined,
}

impl Report {
    /// How the check ended, measured at `bar`. What could not be judged never counts as clean.
    pub fn outcome(&self, bar: Bar) -> Outcome {
        let least = bar.least();
        if self.entries.iter().any(|entry| entry.rank.decision >= least) {
            Outcome::Findings
        } else if self.undetermined.is_empty() {
            Outcome::Clean
        } else {
            Outcome::Undetermined
        }
    }
}
