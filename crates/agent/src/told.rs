//! What the agent says while it works: to a log, and for `palisade agent status`.

use crate::census::CensusStatus;
use crate::job::{JobStatus, Receipt};
use crate::settings::HandKind;
use advisory::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// One thing worth a line in a log. Unchanged check-ins are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The agent works.
    Started {
        /// The host's id.
        host: String,
        /// Whom it speaks to.
        server: String,
    },
    /// The server answered, for the first time or again.
    InTouch,
    /// The server does not answer, or not as it should. Told when it begins, and when the reason changes.
    OutOfTouch {
        /// Why.
        reason: String,
        /// Until the next try.
        again: Duration,
    },
    /// The server holds this host back until a person has looked.
    Quarantined(String),
    /// The server revoked this host. The agent ends.
    Revoked(String),
    /// The host changed.
    Changed {
        /// When it was looked at.
        at: Timestamp,
        /// How long looking took.
        took: Duration,
    },
    /// The server stored a report.
    Reported {
        /// When the host was looked at.
        observed: Timestamp,
        /// Pieces that were sent.
        pieces: usize,
        /// Bytes that were sent.
        bytes: usize,
    },
    /// The host has a new certificate.
    Renewed {
        /// Its last moment.
        until: Timestamp,
    },
    /// The host's job entered a stage.
    Stage(Receipt),
    /// A change was rehearsed; nothing was changed.
    Rehearsed {
        /// Packages that would change.
        changes: usize,
        /// What stands in the way.
        blocks: usize,
        /// How long it took.
        took: Duration,
    },
    /// Something went wrong that a person should know of; the agent goes on.
    Problem(Problem),
}

impl Told {
    /// Whether a person may have to do something.
    pub fn is_problem(&self) -> bool {
        match self {
            Self::OutOfTouch { .. } | Self::Quarantined(_) | Self::Revoked(_) | Self::Problem(_) => true,
            Self::Started { .. }
            | Self::InTouch
            | Self::Changed { .. }
            | Self::Reported { .. }
            | Self::Renewed { .. }
            | Self::Stage(_)
            | Self::Rehearsed { .. } => false,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { host, server } => write!(out, "host {host} speaks to {server}"),
            Self::InTouch => out.write_str("the server answers"),
            Self::OutOfTouch { reason, again } => {
                write!(out, "out of touch: {reason}; next try in {:.0} s", again.as_secs_f64())
            }
            Self::Quarantined(said) => {
                write!(out, "held back by the server: {said}; it goes on when a person has released the host")
            }
            Self::Revoked(said) => write!(out, "revoked by the server: {said}"),
            Self::Changed { at, took } => {
                write!(out, "the host changed, seen at {at:.0} in {:.1} s", took.as_secs_f64())
            }
            Self::Reported { observed, pieces, bytes } => {
                write!(out, "reported what was seen at {observed:.0}: {pieces} pieces, {bytes} bytes")
            }
            Self::Renewed { until } => write!(out, "new certificate, good until {until:.0}"),
            Self::Stage(Receipt { plan, fence, stage, hand, .. }) => {
                let pretended = if *hand == HandKind::Dry { " (DRY: pretended)" } else { "" };
                write!(out, "plan {plan}, grant {fence}: {stage}{pretended}")
            }
            Self::Rehearsed { changes, blocks, took } => write!(
                out,
                "rehearsed in {:.1} s, nothing changed: {changes} packages would, {blocks} things stand in the way",
                took.as_secs_f64()
            ),
            Self::Problem(problem) => problem.fmt(out),
        }
    }
}

/// How the host stands with its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contact {
    /// Not heard of it yet.
    Never,
    /// The last check-in was answered.
    InTouch,
    /// It was not.
    OutOfTouch,
    /// Held back until a person has looked.
    Quarantined,
    /// No longer part of the fleet.
    Revoked,
}

impl fmt::Display for Contact {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Never => "not yet",
            Self::InTouch => "in touch",
            Self::OutOfTouch => "out of touch",
            Self::Quarantined => "quarantined",
            Self::Revoked => "revoked",
        })
    }
}

/// How the agent was at its last try to reach the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub agent: String,
    /// Its process.
    pub pid: u32,
    /// Since when it runs.
    pub started: Timestamp,
    /// How it stands with the server.
    pub contact: Contact,
    /// When it last tried to reach the server.
    pub tried: Option<Timestamp>,
    /// When the server last answered.
    pub answered: Option<Timestamp>,
    /// By how many seconds this host's clock is ahead of the server's; negative: behind. 0: by less than a minute, or not known.
    #[serde(default)]
    pub clock_ahead_seconds: i64,
    /// What it said against us, or why it could not be reached; empty: nothing.
    pub said: String,
    /// How often it wants to be told, seconds; 0: not known yet.
    pub interval_seconds: u32,
    /// Hash of the host's inventory; empty before the first look.
    pub inventory: String,
    /// When the host was last looked at, processes at least.
    pub looked: Option<Timestamp>,
    /// Reports that wait to be sent.
    pub waiting: usize,
    /// Reports that were dropped unsent since the server stored one.
    pub dropped: usize,
    /// The last thing that went wrong since the agent started.
    pub problem: Option<Problem>,
    /// How it stands with rollouts.
    #[serde(default)]
    pub job: Option<JobStatus>,
    /// How the census of its logs stands; `None`: the owner wants none.
    #[serde(default)]
    pub census: Option<CensusStatus>,
}
