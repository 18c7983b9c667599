//! One host's job as the centre knows it. `step` holds every transition; nothing else changes a job.
//!
//! A job is *charged* from its grant on: it takes a place of its wave and of its service groups. Before the point of no
//! return a lease that ran out gives the place back. After it only the host's own final report does, or a person: a
//! host that is silent, broken or half patched may be away, so it counts as away.

use crate::order::{Direction, Failure, Report, Skip, Stage};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a host's job stands, as far as the centre knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the stages of order::Stage, as the centre has them")]
pub enum State {
    /// Not granted.
    Queued,
    /// Granted; nothing heard since.
    Offered,
    Preflight,
    Fetched,
    /// Cleared: from here on the host may have passed the point of no return, whether it has said so or not.
    Committed,
    Applying,
    Restarting,
    AwaitingReboot,
    Verifying,
    Soaking,
    Reverting,
    Proven,
    Skipped(Skip),
    Failed(Failure),
    /// No final report by the deadline, or never heard of.
    Lost,
    RolledBack,
    Inconsistent,
    /// Two machines, or two histories, under one key.
    Quarantined,
}

/// One host's job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Where it stands.
    pub state: State,
    /// Where to.
    pub direction: Direction,
    /// Counts the grants.
    pub fence: u64,
    /// The machine that it was granted to.
    pub machine: u64,
    /// The last report that counted.
    pub last: Option<Report>,
    /// Before the point of no return: until when it is granted. After it: the deadline of the final report.
    pub until: Timestamp,
    /// Whether it takes its places.
    pub charged: bool,
    /// When it was cleared, if it has not given the clearance back: never granted forward again.
    pub begun: Option<Begun>,
    /// Whether it joined late: not in the wave's frozen number.
    pub late: bool,
}

/// The last clearance of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The boot that asked.
    pub boot: u64,
    /// When.
    pub at: Timestamp,
}

/// What happens to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The books gave it its places.
    Granted {
        /// Where to.
        direction: Direction,
        /// To which machine.
        machine: u64,
        /// The lease.
        until: Timestamp,
    },
    /// The host was heard before the point of no return.
    Renewed {
        /// The new lease.
        until: Timestamp,
    },
    /// The host may pass the point of no return.
    Cleared {
        /// The deadline of its final report; it stays what it was if it was cleared before.
        until: Timestamp,
        /// The boot that asked.
        boot: u64,
    },
    /// The host reported.
    Reported(Report),
    /// The sweep came by.
    Swept,
    /// A host that was never granted has been silent for too long.
    Silent,
    /// A host taken for silent was heard.
    Heard,
    /// Another machine checked in under the same key.
    Doubled,
    /// A person has looked at the host and frees its places.
    Freed,
}

/// What came of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The job changed.
    Changed,
    /// Nothing to change: it is so already, or not yet due.
    Same,
    /// A report of another grant, or an older one: to be recorded, never applied.
    Stale,
}

/// What a job counts as in its wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Count {
    /// Not settled.
    Open,
    /// Proven.
    Proven,
    /// Skipped.
    Skipped,
    /// Failed, rolled back, inconsistent or quarantined.
    Failed,
    /// Lost.
    Lost,
}

impl State {
    /// What it counts as.
    pub fn count(self) -> Count {
        match self {
            Self::Proven => Count::Proven,
            Self::Skipped(_) => Count::Skipped,
            Self::Failed(_) | Self::RolledBack | Self::Inconsistent | Self::Quarantined => Count::Failed,
            Self::Lost => Count::Lost,
            Self::Queued
            | Self::Offered
            | Self::Preflight
            | Self::Fetched
            | Self::Committed
            | Self::Applying
            | Self::Restarting
            | Self::AwaitingReboot
            | Self::Verifying
            | Self::Soaking
            | Self::Reverting => Count::Open,
        }
    }

    /// Granted, and surely before the point of no return.
    pub fn is_preparing(self) -> bool {
        matches!(self, Self::Offered | Self::Preflight | Self::Fetched)
    }

    /// Perhaps past the point of no return, and not settled.
    pub fn is_under_change(self) -> bool {
        self.count() == Count::Open && !self.is_preparing() && self != Self::Queued
    }
}

impl Job {
    /// A job that waits for its grant.
    pub const fn queued(late: bool) -> Self {
        Self {
            state: State::Queued,
            direction: Direction::Forward,
            fence: 0,
            machine: 0,
            last: None,
            until: Timestamp::UNIX_EPOCH,
            charged: false,
            begun: None,
            late,
        }
    }

    /// Whether what this machine says about its health speaks for the job: another machine under the same key does not
    /// stand for the one that was granted, which may be dead.
    pub fn is_of(&self, machine: u64) -> bool {
        self.fence == 0 || self.machine == machine
    }

    /// The only way a job changes.
    #[must_use]
    pub fn step(&self, event: Event, now: Timestamp) -> (Self, Outcome) {
        match event {
            Event::Granted { direction, machine, until } => self.granted(direction, machine, until),
            Event::Renewed { until } if self.state.is_preparing() => self.changed(|job| job.until = until),
            Event::Cleared { until, boot } if self.state == State::Fetched => self.changed(|job| {
                job.state = State::Committed;
                job.until = until;
                job.begun = Some(Begun { boot, at: now });
            }),
            Event::Cleared { boot, .. } if self.state == State::Committed => {
                self.changed(|job| job.begun = Some(Begun { boot, at: now }))
            }
            Event::Reported(report) => self.reported(report),
            Event::Swept => self.swept(now),
            Event::Silent if self.state == State::Queued => self.changed(|job| job.state = State::Lost),
            Event::Heard if self.state == State::Lost && self.begun.is_none() => {
                self.changed(|job| job.state = State::Queued)
            }
            // Its places stay taken if it may be under change: one of the two machines may be away.
            Event::Doubled if self.state != State::Quarantined => self.changed(|job| {
                job.charged = job.charged && !job.state.is_preparing();
                job.state = State::Quarantined;
            }),
            Event::Freed if self.charged && self.state.count() != Count::Open => {
                self.changed(|job| job.charged = false)
            }
            // Not for this state: nothing happens.
            Event::Renewed { .. }
            | Event::Cleared { .. }
            | Event::Silent
            | Event::Heard
            | Event::Doubled
            | Event::Freed => (*self, Outcome::Same),
        }
    }

    fn changed(&self, change: impl FnOnce(&mut Self)) -> (Self, Outcome) {
        let mut job = *self;
        change(&mut job);
        (job, Outcome::Changed)
    }

    /// Which states a grant may take a job from; it is asked before the books are.
    pub fn can_be_granted(&self, direction: Direction) -> bool {
        match direction {
            Direction::Forward => self.state == State::Queued && self.direction == Direction::Forward,
            // Back goes whoever has gone forward and was not sent back yet, or gave that grant back.
            Direction::Back => match self.direction {
                Direction::Forward => match self.state {
                    State::Proven | State::Inconsistent => true,
                    State::Failed(why) => why.is_past_return(),
                    State::Queued
                    | State::Offered
                    | State::Preflight
                    | State::Fetched
                    | State::Committed
                    | State::Applying
                    | State::Restarting
                    | State::AwaitingReboot
                    | State::Verifying
                    | State::Soaking
                    | State::Reverting
                    | State::Skipped(_)
                    | State::Lost
                    | State::RolledBack
                    | State::Quarantined => false,
                },
                Direction::Back => self.state == State::Queued,
            },
        }
    }

    fn granted(&self, direction: Direction, machine: u64, until: Timestamp) -> (Self, Outcome) {
        if !self.can_be_granted(direction) {
            return (*self, Outcome::Same);
        }
        self.changed(|job| {
            job.state = State::Offered;
            job.direction = direction;
            job.fence += 1;
            job.machine = machine;
            job.last = None;
            job.until = until;
            job.charged = true;
            job.begun = None;
        })
    }

    /// Reports are applied in the order of their numbers, once, and only those of the living grant.
    fn reported(&self, report: Report) -> (Self, Outcome) {
        if report.fence != self.fence {
            return (*self, Outcome::Stale);
        }
        if self.state == State::Quarantined || self.state == State::Queued {
            return (*self, Outcome::Stale);
        }
        if report.machine != self.machine {
            return self.step(Event::Doubled, self.until);
        }
        match self.last {
            Some(last) if report.seq == last.seq && report != last => {
                return self.step(Event::Doubled, self.until);
            }
            Some(last) if report.seq == last.seq => return (*self, Outcome::Same),
            Some(last) if report.seq < last.seq => return (*self, Outcome::Stale),
            Some(_) | None => {}
        }
        let cleared = !self.state.is_preparing();
        if report.stage.is_past_return() && !cleared {
            // A host that says it went on without our word is not the host we know.
            return self.step(Event::Doubled, self.until);
        }
        // A journal does not go back: a host that has begun and says that it has not is two hosts.
        let had_begun = self.last.is_some_and(|last| last.stage.is_past_return());
        if had_begun && !report.stage.is_past_return() {
            return self.step(Event::Doubled, self.until);
        }
        // A lost host that says it has not begun yet stays lost until it has something final to say.
        if self.state == State::Lost && !report.stage.is_final() {
            return self.changed(|job| job.last = Some(report));
        }
        self.changed(|job| {
            job.last = Some(report);
            job.state = match report.stage {
                // It was cleared, and has not begun: nothing is taken back until it says that it gives up.
                Stage::Preflight | Stage::Fetched if cleared => State::Committed,
                Stage::Preflight => State::Preflight,
                Stage::Fetched => State::Fetched,
                Stage::Committed => State::Committed,
                Stage::Applying => State::Applying,
                Stage::Restarting => State::Restarting,
                Stage::AwaitingReboot => State::AwaitingReboot,
                Stage::Verifying => State::Verifying,
                Stage::Soaking => State::Soaking,
                Stage::Reverting => State::Reverting,
                Stage::Proven => State::Proven,
                Stage::Skipped(why) => State::Skipped(why),
                Stage::Withdrawn => State::Queued,
                Stage::Failed(why) => State::Failed(why),
                Stage::RolledBack => State::RolledBack,
                Stage::Inconsistent => State::Inconsistent,
            };
            job.charged = report.stage.leaves_broken().unwrap_or(job.charged);
            if report.stage == Stage::Withdrawn {
                job.begun = None;
            }
        })
    }

    fn swept(&self, now: Timestamp) -> (Self, Outcome) {
        if now < self.until {
            return (*self, Outcome::Same);
        }
        if self.state.is_preparing() {
            return self.changed(|job| {
                job.state = State::Queued;
                job.charged = false;
            });
        }
        if self.state.is_under_change() {
            return self.changed(|job| job.state = State::Lost);
        }
        (*self, Outcome::Same)
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queued => out.write_str("queued"),
            Self::Offered => out.write_str("offered"),
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
            Self::Failed(why) => write!(out, "failed: {why}"),
            Self::Lost => out.write_str("lost"),
            Self::RolledBack => out.write_str("rolled back"),
            Self::Inconsistent => out.write_str("inconsistent"),
            Self::Quarantined => out.write_str("quarantined"),
        }
    }
}
