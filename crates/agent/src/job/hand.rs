//! Who carries a plan out on this host.

use super::sight::{Job, Look, Sight};
use crate::settings::HandKind;
use advisory::Problem;
use jiff::Timestamp;
use rollout::converge::Act;
use std::fmt;

/// Carries out what converging asks. It begins, and does not wait: what became of it is seen at the next look.
pub(crate) trait Hand: fmt::Debug {
    /// Which one it is.
    fn kind(&self) -> HandKind;

    /// This boot.
    fn boot(&self) -> u64;

    /// What a host without a job sees.
    fn glance(&self, now: Timestamp) -> Look;

    /// Looks at what the job is about.
    fn look(&mut self, job: &Job<'_>, now: Timestamp) -> Result<Look, Problem>;

    /// Begins one of [`Act::Fetch`], [`Act::Drain`], [`Act::Apply`], [`Act::Repair`], [`Act::Revert`], [`Act::Restart`],
    /// [`Act::Reboot`]; the journal says so already. Called again after a crash in between.
    fn begin(&mut self, act: &Act, job: &Job<'_>) -> Result<(), Problem>;

    /// Whether what was asked to begin last was not begun because the server could not be asked.
    fn is_cut_off(&self) -> bool {
        false
    }

    /// Begins to give back what was taken from the host for a job, which may be over.
    fn give_back(&mut self) -> Result<(), Problem> {
        Ok(())
    }

    /// A number for the next check-in, where the hand wants to tell by itself how old the answer is.
    fn nonce(&mut self) -> Option<u64> {
        None
    }

    /// What became of the last act, as far as a person should know, and was not told before.
    fn told(&mut self) -> Option<Problem> {
        None
    }

    /// Whether what was under way when it was last looked at is over: said once. `None`: nothing is. Asked many
    /// times a second.
    fn is_over(&mut self) -> Option<bool> {
        None
    }

    /// How far what is under way is, for people.
    fn progress(&self, _job: &Job<'_>) -> Option<String> {
        None
    }

    /// Whether the agent itself was changed, and the centre has not said yet that it was heard.
    fn is_on_trial(&self) -> bool {
        false
    }

    /// Takes the centre's signed word that it was heard.
    fn heard(&mut self, _word: &str) -> Result<(), Problem> {
        Ok(())
    }

    /// What it adds to the probes' answer.
    fn healthy(&self, probes: Option<bool>) -> Option<bool> {
        probes
    }
}

/// Looks, and can change nothing.
#[derive(Debug)]
pub(super) struct Eyes(pub(super) Sight);

impl Hand for Eyes {
    fn kind(&self) -> HandKind {
        HandKind::Eyes
    }

    fn boot(&self) -> u64 {
        self.0.boot()
    }

    fn glance(&self, now: Timestamp) -> Look {
        self.0.glance(now)
    }

    fn look(&mut self, job: &Job<'_>, now: Timestamp) -> Result<Look, Problem> {
        self.0.look(job, now)
    }

    fn begin(&mut self, act: &Act, job: &Job<'_>) -> Result<(), Problem> {
        let reason = format!("it was asked to {act:?}, and has no hand that could");
        Err(Problem::new("carry out plan", job.plan.id.to_string(), reason))
    }
}
