//! A wave's books: who is under change, what came of the others. One row for each wave, changed by one statement.
//!
//! [`Row::grant`] is the model of that statement: what it refuses is the statement's `WHERE`. A store in SQL is held
//! against it by `sim::ledger`.

use crate::capacity::Full;
use crate::job::{Count, Job};
use crate::order::Direction;
use crate::plan::{HostId, Wave};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A wave's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Counts openings, halts and resumptions: whoever decided by an older one is refused.
    pub epoch: u64,
    /// Whether it grants.
    pub door: Door,
    /// Hosts that it named when it opened: every gate's denominator.
    pub hosts: u32,
    /// Hosts charged.
    pub inflight: u32,
    /// Hosts that may be.
    pub inflight_max: u32,
    /// Proven, without late joiners.
    pub proven: u32,
    /// Skipped.
    pub skipped: u32,
    /// Failed, rolled back, inconsistent, quarantined; late joiners, too.
    pub failed: u32,
    /// Lost; late joiners, too.
    pub lost: u32,
    /// Failed and lost hosts that are borne.
    pub bad_max: u32,
    /// Late joiners so far.
    pub late: u32,
}

/// Whether a wave grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// Not yet, or no more.
    Shut,
    /// Forward.
    Open,
    /// Back: the rollout is rolled back, and no budget counts.
    Back,
}

/// Why nothing was granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The wave does not grant.
    Shut,
    /// It was opened or shut since.
    Epoch,
    /// As many hosts are under change as may be.
    Slots {
        /// So many.
        inflight: u32,
    },
    /// More hosts failed or were lost than are borne.
    Budget {
        /// So many.
        bad: u32,
        /// Borne.
        bad_max: u32,
    },
    /// A service group has no place.
    Group(Full),
    /// The job is not waiting for a grant.
    Job,
}

impl Row {
    /// The row of a wave that was not opened yet.
    pub fn new(wave: &Wave) -> Self {
        Self {
            epoch: 0,
            door: Door::Shut,
            hosts: u32::try_from(wave.hosts().count()).unwrap_or(u32::MAX),
            inflight: 0,
            inflight_max: wave.hosts_at_once_max,
            proven: 0,
            skipped: 0,
            failed: 0,
            lost: 0,
            bad_max: wave.gate.bad_max,
            late: 0,
        }
    }

    /// Failed and lost.
    pub fn bad(&self) -> u32 {
        self.failed.saturating_add(self.lost)
    }

    /// Whether no more may fail.
    pub fn is_over(&self) -> bool {
        self.bad() > self.bad_max
    }

    /// Whether a grant decided in `epoch` may be made.
    ///
    /// `UPDATE wave SET inflight = inflight + 1 WHERE epoch = $ AND inflight < inflight_max AND (door = 'open' AND
    /// failed + lost <= bad_max OR door = 'back')`
    pub fn may_grant(&self, epoch: u64, direction: Direction) -> Result<(), Refusal> {
        if epoch != self.epoch {
            return Err(Refusal::Epoch);
        }
        match (self.door, direction) {
            (Door::Open, Direction::Forward) if self.is_over() => {
                return Err(Refusal::Budget { bad: self.bad(), bad_max: self.bad_max });
            }
            (Door::Open, Direction::Forward) | (Door::Back, Direction::Back) => {}
            (Door::Shut | Door::Open | Door::Back, _) => return Err(Refusal::Shut),
        }
        if self.inflight >= self.inflight_max {
            return Err(Refusal::Slots { inflight: self.inflight });
        }
        Ok(())
    }

    /// The row after a grant.
    pub fn grant(&self, epoch: u64, direction: Direction) -> Result<Self, Refusal> {
        self.may_grant(epoch, direction)?;
        Ok(Self { inflight: self.inflight + 1, ..*self })
    }

    /// The row after a job that was `before` became `after`. A wave that has more failures than it bears grants no more
    /// from this statement on. A grant's place is taken by [`Row::grant`], not here.
    #[must_use]
    pub fn settle(&self, before: &Job, after: &Job) -> Self {
        let mut row = *self;
        if before.charged && !after.charged {
            row.inflight = row.inflight.saturating_sub(1);
        }
        for (count, back) in [(before.state.count(), true), (after.state.count(), false)] {
            let number = match count {
                Count::Open => continue,
                Count::Proven if after.late => continue,
                Count::Proven => &mut row.proven,
                Count::Skipped => &mut row.skipped,
                Count::Failed => &mut row.failed,
                Count::Lost => &mut row.lost,
            };
            *number = if back { number.saturating_sub(1) } else { number.saturating_add(1) };
        }
        if row.is_over() && row.door == Door::Open {
            row.door = Door::Shut;
            row.epoch += 1;
        }
        row
    }

    /// The row after the door was opened or shut.
    #[must_use]
    pub fn turn(&self, door: Door) -> Self {
        Self { door, epoch: self.epoch + 1, ..*self }
    }
}

/// A store of wave rows and service groups. Each call is one transaction.
pub trait Ledger {
    /// What can go wrong in the store.
    type Error: fmt::Debug;
    /// Takes a place of the wave and of every group, or nothing.
    fn grant(&mut self, ask: &Ask<'_>) -> Result<Result<(), Refusal>, Self::Error>;
    /// Books what became of a host's job.
    fn settle(&mut self, ask: &Ask<'_>, before: &Job, after: &Job) -> Result<(), Self::Error>;
    /// Opens or shuts a wave.
    fn turn(&mut self, wave: usize, door: Door) -> Result<(), Self::Error>;
    /// A wave's row.
    fn row(&mut self, wave: usize) -> Result<Row, Self::Error>;
}

/// Who asks for a grant.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The host.
    pub host: HostId,
    /// Its wave.
    pub wave: usize,
    /// Its service groups.
    pub groups: &'a [String],
    /// The wave's epoch when it was decided.
    pub epoch: u64,
    /// Where to.
    pub direction: Direction,
    /// When.
    pub now: Timestamp,
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shut => out.write_str("its wave is not open"),
            Self::Epoch => out.write_str("its wave was opened or shut meanwhile"),
            Self::Slots { inflight } => {
                write!(out, "{inflight} hosts of its wave are under change, the most at once")
            }
            Self::Budget { bad, bad_max } => {
                write!(out, "{bad} hosts of its wave failed or were lost; {bad_max} are borne")
            }
            Self::Group(full) => full.fmt(out),
            Self::Job => out.write_str("it is not waiting"),
        }
    }
}
