//! What a job takes from its host, and gives back: its place in its service, by its owner's hooks, and its own updaters.
//!
//! The host is drained before the point of no return, so that one that cannot be drained has changed nothing. What was taken
//! is owed until it is given back; a host that is left broken keeps out of its service until a person has looked at it.

use super::{Act, Input, Job, Journal, Pause, Step, rest};
use crate::order::{Failure, Stage};

/// How often draining is begun before the host gives the job back.
const DRAINS_MAX: u32 = 2;

/// Whether a host takes part in its service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duty {
    /// Its owner has no hook: it is not ours to say.
    #[default]
    Unasked,
    /// It serves.
    On,
    /// It was drained, or is to be taken for it.
    Off,
}

impl Input<'_> {
    /// What is still owed when a job is over.
    pub(super) fn owed_on(&self) -> Option<Step> {
        let is_broken = self.journal.stage.leaves_broken() == Some(true);
        (self.seen.owed && !is_broken).then_some(Step { journal: None, act: Act::GiveBack })
    }
}

impl Job<'_> {
    /// Drains the host, if its owner wants that and it is not done.
    pub(super) fn drained(&self) -> Option<Step> {
        match self.input.seen.duty {
            Duty::Unasked | Duty::Off => None,
            Duty::On if self.input.seen.working => Some(rest(Pause::Working)),
            Duty::On if self.input.journal.tries >= DRAINS_MAX => {
                Some(self.input.enter(Stage::Failed(Failure::Drain)))
            }
            Duty::On => Some(self.retry(Act::Drain)),
        }
    }

    /// A host that was drained and may not begin for a while serves meanwhile.
    pub(super) fn serves_on(&self, pause: &Pause) -> Option<Step> {
        let seen = self.input.seen;
        let lasts = match pause {
            Pause::Lease | Pause::Window { .. } | Pause::NotBefore(_) | Pause::Expired => true,
            Pause::Idle
            | Pause::Plan
            | Pause::Clearance
            | Pause::Locked { .. }
            | Pause::Working
            | Pause::Person
            | Pause::Measuring
            | Pause::Watching
            | Pause::OtherMachine => false,
        };
        let is_due = lasts && seen.duty == Duty::Off && !seen.working;
        is_due.then(|| {
            // Its draining has worked: what may fail is counted anew when it is drained again.
            let journal = Journal { tries: 0, ..self.input.journal.clone() };
            Step { journal: (journal != *self.input.journal).then_some(journal), act: Act::GiveBack }
        })
    }

    /// Gives back what is owed, if there is anything, and at most until `tries_max`: it is owed on when the job is over.
    pub(super) fn given_back(&self, tries_max: u32) -> Option<Step> {
        let is_due = self.input.seen.owed && self.input.journal.tries < tries_max;
        is_due.then(|| self.retry(Act::GiveBack))
    }
}
