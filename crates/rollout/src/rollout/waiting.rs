//! Why a rollout does not go on right now, in the operator's words.

use super::{At, Phase, State};
use crate::capacity::Full;
use crate::gate::Number;
use crate::plan::{HostId, after};
use jiff::Timestamp;
use std::fmt;

/// Why a rollout does not go on right now, for the operator.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// For approvers.
    Signers {
        /// So many have signed.
        have: usize,
        /// So many are needed.
        need: usize,
    },
    /// To be started.
    Start,
    /// For the plan's first hour.
    NotBefore(Timestamp),
    /// For a window.
    Window {
        /// When it opens; `None`: not within a year.
        opens: Option<Timestamp>,
    },
    /// For hosts that have not asked.
    Asking {
        /// So many.
        hosts: u32,
    },
    /// For places of the wave.
    Slots {
        /// Hosts under change.
        inflight: u32,
        /// Hosts that may be.
        inflight_max: u32,
    },
    /// For a place of a service group.
    Group(Full),
    /// For hosts under change.
    UnderChange {
        /// So many.
        hosts: u32,
        /// The one that has been for longest, and where it stands.
        longest: Option<(HostId, crate::job::State)>,
    },
    /// For the soak.
    Soak {
        /// Until then.
        until: Timestamp,
    },
    /// For the gate: the numbers that do not let it open.
    Gate(Vec<Number>),
    /// For the approvers' word that it goes on.
    Resumption {
        /// Why it stopped.
        why: String,
    },
    /// For hosts that go back.
    Back {
        /// So many.
        hosts: u32,
    },
}

impl Waiting {
    /// For the soak of a wave that settled at `since`.
    pub fn soak(since: Timestamp, seconds: u32) -> Self {
        Self::Soak { until: after(since, seconds.into()) }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signers { have, need } => write!(out, "{have} of {need} approvers have signed"),
            Self::Start => out.write_str("signed; to be started"),
            Self::NotBefore(at) => write!(out, "the plan begins at {at}"),
            Self::Window { opens: Some(at) } => {
                write!(out, "no window is open for long enough; next at {at}")
            }
            Self::Window { opens: None } => out.write_str("no window opens for long enough within a year"),
            Self::Asking { hosts } => write!(out, "{hosts} hosts have not asked yet"),
            Self::Slots { inflight, inflight_max } => {
                write!(out, "{inflight} hosts are under change, at most {inflight_max} at once")
            }
            Self::Group(full) => full.fmt(out),
            Self::UnderChange { hosts, longest: Some((host, state)) } => {
                write!(out, "{hosts} hosts are under change; for longest {host} ({state})")
            }
            Self::UnderChange { hosts, longest: None } => write!(out, "{hosts} hosts are under change"),
            Self::Soak { until } => write!(out, "soaks until {until}"),
            Self::Gate(numbers) => {
                out.write_str("the gate holds: ")?;
                for (at, number) in numbers.iter().enumerate() {
                    write!(out, "{}{number}", if at == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::Resumption { why } => write!(out, "{why}; goes on when its approvers sign that"),
            Self::Back { hosts } => write!(out, "{hosts} hosts are still to go back"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draft => out.write_str("draft"),
            Self::Signed { signers } => write!(out, "signed by {}", signers.len()),
            Self::Armed => out.write_str("armed"),
            Self::Wave(at) => at.fmt(out),
            Self::Paused { by, at } => write!(out, "paused by {by} in {at}"),
            Self::Halted { why, at } => write!(out, "halted in {at}: {why}"),
            Self::RollingBack { by } => write!(out, "rolling back, by {by}"),
            Self::RolledBack => out.write_str("rolled back"),
            Self::Complete => out.write_str("complete"),
            Self::Aborted { by } => write!(out, "aborted by {by}"),
            Self::Superseded { by } => write!(out, "superseded by {by}"),
            Self::Retracted { why } => write!(out, "retracted: {why}"),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Open => "open",
            Phase::Soak { .. } => "soak",
            Phase::Gate { .. } => "gate",
        };
        write!(out, "wave {}, {phase}", self.wave)
    }
}
