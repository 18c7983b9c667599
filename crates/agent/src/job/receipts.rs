//! What happened to this host's jobs, for the log and for `palisade agent status`.

use super::approvals::TrustStatus;
use crate::settings::{HandKind, Settings};
use crate::told::Told;
use advisory::Problem;
use jiff::Timestamp;
use rollout::converge::Journal;
use rollout::order::Direction;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Receipts that are kept.
const RECEIPTS_MAX: usize = 16;

/// One stage that a job entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// When, by the host's clock.
    pub at: Timestamp,
    /// The plan.
    pub plan: String,
    /// The grant.
    pub fence: u64,
    /// Where it stood, in words.
    pub stage: String,
    /// What carried it out; of [`HandKind::Dry`] nothing was done.
    pub hand: HandKind,
}

/// How the host stands with rollouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// What carries plans out.
    pub hand: HandKind,
    /// The owner wants no plan here.
    pub never: bool,
    /// Packages that the owner excludes.
    pub excluded: Vec<String>,
    /// The owner's windows.
    pub windows: usize,
    /// The plan of the last job.
    pub plan: Option<String>,
    /// That plan's title, while it is held.
    pub title: Option<String>,
    /// The grant.
    pub fence: Option<u64>,
    /// Whether it goes back.
    pub back: bool,
    /// Where it stands, in words.
    pub stage: Option<String>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Why it does not go on right now, in words.
    pub rests: Option<String>,
    /// What keeps this host from beginning anything at all.
    pub blocked: Option<Problem>,
    /// Who may tell it what to install.
    pub trust: TrustStatus,
    /// The last stages, newest last.
    pub receipts: Vec<Receipt>,
}

impl JobStatus {
    /// Of a host that can have no part in rollouts.
    pub(crate) fn stopped(settings: &Settings, problem: Problem) -> Self {
        let receipts = Receipts { blocked: Some(problem), ..Receipts::new(settings, None) };
        receipts.status(&Journal::default(), None, &TrustStatus::default())
    }
}

#[derive(Debug)]
pub(super) struct Receipts {
    hand: HandKind,
    never: bool,
    excluded: Vec<String>,
    windows: usize,
    kept: VecDeque<Receipt>,
    rests: Option<String>,
    blocked: Option<Problem>,
    /// What was told of the server's words last, so that it is told once.
    troubled: Option<Problem>,
}

impl Receipts {
    /// Goes on from what the status told before the agent ended.
    pub(super) fn new(settings: &Settings, before: Option<JobStatus>) -> Self {
        Self {
            hand: settings.agent.hand,
            never: settings.plans.never,
            excluded: settings.plans.excluded.clone(),
            windows: settings.plans.windows.len(),
            kept: before.map(|before| before.receipts.into()).unwrap_or_default(),
            rests: None,
            blocked: None,
            troubled: None,
        }
    }

    pub(super) fn entered(
        &mut self,
        journal: &Journal,
        hand: HandKind,
        now: Timestamp,
        log: &mut dyn FnMut(Told),
    ) {
        let Some(work) = journal.work else { return };
        if self.kept.len() == RECEIPTS_MAX {
            self.kept.pop_front();
        }
        let receipt = Receipt {
            at: now,
            plan: work.plan.to_string(),
            fence: work.fence,
            stage: journal.stage.to_string(),
            hand,
        };
        log(Told::Stage(receipt.clone()));
        self.kept.push_back(receipt);
    }

    pub(super) fn rests(&mut self, why: Option<String>) {
        (self.blocked, self.rests) = (None, why);
    }

    /// Nothing goes on until this is repaired. Told when it begins.
    pub(super) fn blocked(&mut self, problem: Problem, log: &mut dyn FnMut(Told)) {
        if self.blocked.as_ref() != Some(&problem) {
            log(Told::Problem(problem.clone()));
        }
        self.blocked = Some(problem);
    }

    /// The server said something that is not believed. Told once.
    pub(super) fn trouble(&mut self, problem: Problem, log: &mut dyn FnMut(Told)) {
        if self.troubled.as_ref() != Some(&problem) {
            log(Told::Problem(problem.clone()));
        }
        self.troubled = Some(problem);
    }

    pub(super) fn status(&self, journal: &Journal, title: Option<String>, trust: &TrustStatus) -> JobStatus {
        let work = journal.work;
        let last = self.kept.back().filter(|last| work.is_some_and(|work| last.fence == work.fence));
        JobStatus {
            hand: self.hand,
            never: self.never,
            excluded: self.excluded.clone(),
            windows: self.windows,
            plan: work.map(|work| work.plan.to_string()),
            title,
            fence: work.map(|work| work.fence),
            back: work.is_some_and(|work| work.direction == Direction::Back),
            stage: work.map(|_| journal.stage.to_string()),
            since: last.map(|last| last.at),
            rests: self.rests.clone(),
            blocked: self.blocked.clone(),
            trust: trust.clone(),
            receipts: self.kept.iter().cloned().collect(),
        }
    }
}
