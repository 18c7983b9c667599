//! How long a job rests, and why.

use super::{Converging, clock, of};
use jiff::Timestamp;
use rollout::converge::Pause;
use rollout::order::{Direction, Stage};
use std::time::Duration;

/// What is under way is looked at again after this part of the time that it has taken so far.
const WORKING_PART: u32 = 20;

/// A change that lasts longer is no reason not to look at the host meanwhile.
const CHANGING_MAX: Duration = Duration::from_secs(600);

impl Converging {
    /// Whether packages, or what runs of them, are being changed, and not for so long that something must be in its way.
    pub(crate) fn is_changing(&self) -> bool {
        let stages = [Stage::Committed, Stage::Applying, Stage::Restarting, Stage::Reverting];
        stages.contains(&self.journal.stage) && self.at_this_stage(self.hand.boot()) < CHANGING_MAX
    }

    /// Whether what was under way when it was last looked at is over: said once. `None`: nothing is.
    pub(crate) fn is_over(&mut self) -> Option<bool> {
        self.hand.is_over()
    }

    /// How long the job is at its stage; since another boot: for ever.
    pub(super) fn at_this_stage(&self, boot: u64) -> Duration {
        if boot != self.journal.boot {
            return Duration::MAX;
        }
        Duration::from_millis(clock::uptime_ms().saturating_sub(self.journal.since_ms))
    }

    /// Why it rests, in the operator's words; `None`: there is nothing to do.
    pub(super) fn why(&self, pause: &Pause) -> Option<String> {
        // An order that was heard and not taken lacks its plan, or the approvers' word.
        let lacks = *pause == Pause::Idle && self.is_under_way();
        if *pause == Pause::Watching && self.hand.is_on_trial() {
            return Some("the new agent waits for the centre's word that it was heard".to_owned());
        }
        if *pause == Pause::Working {
            let group = self.hand.glance(Timestamp::now()).group;
            let job = of(self.host, &self.journal, &self.approvals, &group);
            let progress = job.and_then(|job| self.hand.progress(&job));
            return Some(progress.map_or(pause.to_string(), |far| format!("{pause}: {far}")));
        }
        if !lacks && *pause != Pause::Plan {
            return (*pause != Pause::Idle).then(|| pause.to_string());
        }
        let goes_back = self.memory.order.is_some_and(|order| order.direction == Direction::Back);
        Some(match &self.approvals.status().problem {
            Some(problem) => format!("{}: {problem}", Pause::Plan),
            None if lacks && goes_back && self.word.is_none() => {
                "it goes back only on the approvers' word, and none was named".to_owned()
            }
            None => Pause::Plan.to_string(),
        })
    }

    pub(super) fn until_next(&self, pause: &Pause) -> Duration {
        match pause {
            // What takes long may be noticed a little later.
            Pause::Working => {
                let part = self.at_this_stage(self.hand.boot()) / WORKING_PART;
                part.min(self.pace.step).max(self.pace.step_working)
            }
            Pause::Measuring | Pause::Watching => self.pace.step,
            Pause::Locked { .. } | Pause::Lease | Pause::Clearance | Pause::Plan => {
                self.pace.step.saturating_mul(2)
            }
            Pause::Idle if self.is_order_new() => self.pace.step.saturating_mul(2),
            Pause::Idle
            | Pause::Window { .. }
            | Pause::NotBefore(_)
            | Pause::Expired
            | Pause::Person
            | Pause::OtherMachine => self.pace.step_slow,
        }
    }
}
