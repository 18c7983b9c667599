//! Whether the plan fits the host. A class was rehearsed by one host; others of it may lack what that one has, or have what stands
//! in the way. So each asks its own package manager, with the very files, before the point of no return: a host that the plan
//! does not fit skips it, having changed nothing.

use super::Job;
use crate::order::Direction;

/// Whether a plan fits a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fitness {
    /// Nothing is asked: the hand pretends.
    #[default]
    Unasked,
    /// It was not asked in this job, or did not answer.
    Unknown,
    /// The package manager would do this, and nothing else.
    Fits,
    /// It would not, or would do more.
    Unfit,
}

impl Job<'_> {
    /// Whether the package manager has still to be asked: as a part of fetching, when all files are there. On the way back nothing is
    /// skipped for its answer.
    pub(super) fn is_to_be_asked(&self) -> bool {
        match self.input.seen.fitness {
            Fitness::Unknown => self.work.direction == Direction::Forward,
            Fitness::Unasked | Fitness::Fits | Fitness::Unfit => false,
        }
    }

    /// Whether it was asked, and would do other than the plan says.
    pub(super) fn is_unfit(&self) -> bool {
        self.work.direction == Direction::Forward && self.input.seen.fitness == Fitness::Unfit
    }
}
