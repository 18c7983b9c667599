//! One host's convergence, run by its agent: order, observation and journal in, the next action out.
//!
//! A step gives a journal entry, an action, or both. The entry is written and synced first, then the action is begun.
//! So a crash leaves one of two things: the entry was not written, and nothing was begun; or it was, and the next step
//! looks at the host and goes on from there. Nothing is believed but the observation: an action that "failed" and left
//! the new versions has worked, one that "worked" and did not has failed.

pub mod observe;
pub mod journal;
pub mod pause;
mod duty;
mod fitness;

pub use duty::Duty;
pub use fitness::Fitness;
pub use journal::{Journal, Memory, Work};
pub use observe::{Approved, Before, Installed, Local, Observation, Seen};
pub use pause::Pause;

use crate::order::{Direction, Failure, Order, Skip, Stage};
use crate::plan::{HostClass, Place, Plan, Reboot, Rollback, Timing};
use crate::window::{Calendar, Fit};
use jiff::SignedDuration;
use journal::DENIED_MAX;

/// How often a host fetches, and asks what its package manager would do, before it fails.
pub const FETCHES_MAX: u32 = 5;
/// How often a transaction is begun before the host turns back.
pub const TRIES_MAX: u32 = 3;
/// How often services are restarted before old code still mapped counts as a failure.
pub const RESTARTS_MAX: u32 = 2;

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// To be written and synced before anything else.
    pub journal: Option<Journal>,
    /// To be begun then.
    pub act: Act,
}

/// What the agent begins. It does not wait for the end: the next observation says that something is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing: step again at once.
    Go,
    /// Nothing until something changes or the next check-in.
    Rest(Pause),
    /// Fetch what is missing of the new and the old files, by digest; then ask the package manager what it would do with them.
    Fetch,
    /// Take the host out of its service, by its owner's hook.
    Drain,
    /// Give back what was taken from the host for the job: its place in its service, its own updaters.
    GiveBack,
    /// Install exactly the new versions, from the files fetched.
    Apply,
    /// Let the package manager finish what was interrupted.
    Repair,
    /// Install exactly the old versions, from the files kept.
    Revert,
    /// Restart, together, what maps old files.
    Restart,
    /// Reboot.
    Reboot,
}

/// All that a step takes.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What is written.
    pub journal: &'a Journal,
    /// What was heard.
    pub memory: &'a Memory,
    /// Plans verified.
    pub plans: &'a [Approved<'a>],
    /// What the owner allows.
    pub local: &'a Local,
    /// Who we are.
    pub host: crate::plan::HostId,
    /// What is seen.
    pub seen: &'a Observation<'a>,
}

/// The next step. The same input gives the same step.
pub fn step(input: &Input<'_>) -> Step {
    let journal = input.journal;
    // A journal that another machine wrote is a copy of its disk: that one goes on, not this one.
    let begun = journal.stage.is_past_return() && !journal.stage.is_final();
    if begun && journal.machine != input.seen.machine {
        return rest(Pause::OtherMachine);
    }
    let resting = journal.stage.is_final() || !journal.stage.is_past_return();
    if resting && let Some(step) = input.take_order() {
        return step;
    }
    let Some(work) = journal.work else { return rest(Pause::Idle) };
    if journal.stage.is_final() {
        return input.owed_on().unwrap_or_else(|| rest(Pause::Idle));
    }
    if !journal.stage.is_past_return() && input.memory.withdrawn == Some((work.plan, work.fence)) {
        return input.enter(Stage::Withdrawn);
    }
    let Some(approved) = input.approved(&work) else { return rest(Pause::Plan) };
    let job = Job { input, work, approved, plan: approved.plan };
    let Some(class) = job.plan.class_of(input.host, input.seen.group) else {
        return input.enter(Stage::Skipped(Skip::OtherClass));
    };
    match journal.stage {
        Stage::Preflight => job.preflight(class),
        Stage::Fetched => job.fetched(),
        Stage::Committed => match work.direction {
            Direction::Forward => job.begin(Stage::Applying, Act::Apply),
            Direction::Back => job.begin(Stage::Reverting, Act::Revert),
        },
        Stage::Applying => job.applying(class),
        Stage::Restarting => job.restarting(class),
        Stage::AwaitingReboot => job.awaiting_reboot(),
        Stage::Verifying => job.verifying(class),
        Stage::Soaking => job.soaking(class),
        Stage::Reverting => job.reverting(class),
        Stage::Proven
        | Stage::Skipped(_)
        | Stage::Withdrawn
        | Stage::Failed(_)
        | Stage::RolledBack
        | Stage::Inconsistent => rest(Pause::Idle),
    }
}

fn rest(pause: Pause) -> Step {
    Step { journal: None, act: Act::Rest(pause) }
}

impl<'a> Input<'a> {
    fn approved(&self, work: &Work) -> Option<&'a Approved<'a>> {
        self.plans.iter().find(|approved| approved.digest == work.digest && approved.plan.id == work.plan)
    }

    /// The journal at another stage.
    fn at(&self, stage: Stage) -> Journal {
        let mut journal = self.journal.clone();
        journal.stage = stage;
        journal.seq += 1;
        journal.boot = self.seen.boot;
        journal.machine = self.seen.machine;
        journal.since_ms = self.seen.uptime_ms;
        journal.tries = 0;
        journal
    }

    fn enter(&self, stage: Stage) -> Step {
        Step { journal: Some(self.at(stage)), act: Act::Go }
    }

    /// Takes the order heard last, if it is a new one and this host may.
    fn take_order(&self) -> Option<Step> {
        let order = self.memory.order?;
        let Order { plan, digest, direction, fence, .. } = order;
        let work = Work { plan, digest, fence, direction };
        if let Some(held) = self.journal.work {
            if held.plan == plan && held.fence >= fence {
                return None;
            }
            // Another plan's order waits until the job at hand is given up.
            if held.plan != plan && !self.journal.stage.is_final() {
                return None;
            }
        }
        let approved = self.approved(&work)?;
        let mut journal = self.at(Stage::Preflight);
        journal.work = Some(work);
        journal.seq = 1;
        journal.reboots = 0;
        let refuse = match direction {
            Direction::Forward if self.journal.denied.contains(&plan) => Some(Skip::RolledBackBefore),
            Direction::Back if !approved.back => return None,
            Direction::Forward | Direction::Back => None,
        };
        if let Some(skip) = refuse {
            journal.stage = Stage::Skipped(skip);
        }
        Some(Step { journal: Some(journal), act: Act::Go })
    }
}

/// The job at hand.
struct Job<'a> {
    input: &'a Input<'a>,
    work: Work,
    approved: &'a Approved<'a>,
    plan: &'a Plan,
}

impl Job<'_> {
    fn timing(&self) -> &Timing {
        &self.plan.timing
    }

    /// Enters a stage and begins what it does.
    fn begin(&self, stage: Stage, act: Act) -> Step {
        let mut journal = self.input.at(stage);
        journal.tries = 1;
        Step { journal: Some(journal), act }
    }

    /// Begins once more what the stage does.
    fn retry(&self, act: Act) -> Step {
        let mut journal = self.input.journal.clone();
        journal.tries += 1;
        Step { journal: Some(journal), act }
    }

    /// What a class asks of this host, and whether it may begin now.
    fn may_begin(&self) -> Result<(), Pause> {
        let seen = self.input.seen;
        let wave = match self.plan.place(self.input.host) {
            Some(Place { wave, .. }) => wave,
            None => self.plan.waves.len() - 1,
        };
        let earliest = self.plan.earliest(wave);
        if self.work.direction == Direction::Forward {
            if seen.now < earliest {
                return Err(Pause::NotBefore(earliest));
            }
            if seen.now >= self.plan.expires {
                return Err(Pause::Expired);
            }
            let length = SignedDuration::from_secs(self.timing().expected_seconds.into());
            let closed = |calendar: &Calendar| match calendar.fit(seen.now, length) {
                Fit::Fits { .. } => None,
                Fit::TooShort { opens, .. } | Fit::Closed { opens } => Some(opens),
            };
            if let Some(opens) = closed(self.approved.calendar).or_else(|| closed(&self.input.local.calendar))
            {
                return Err(Pause::Window { opens });
            }
        }
        if let Some(by) = seen.locked_by {
            return Err(Pause::Locked { by: by.to_owned() });
        }
        let lease = self.timing().lease_seconds;
        if !self.input.memory.leased(&self.work, seen.boot, seen.uptime_ms, lease) {
            return Err(Pause::Lease);
        }
        Ok(())
    }

    fn preflight(&self, class: &HostClass) -> Step {
        let (seen, local) = (self.input.seen, self.input.local);
        let excluded = |name: &String| local.excluded.contains(name);
        let is_forward = self.work.direction == Direction::Forward;
        let skip = if local.never {
            Some(Skip::Never)
        } else if class.changes.iter().any(|change| excluded(&change.name) || excluded(&change.source)) {
            Some(Skip::Excluded)
        } else if class.release != seen.release || class.arch != seen.arch {
            Some(Skip::OtherClass)
        } else if is_forward && !local.allows(self.plan, self.input.host) {
            Some(Skip::Command)
        } else if is_forward && seen.holds(class) {
            // On the way back a hold that was set since gives way, and is set again.
            Some(Skip::Held)
        } else if seen.installed(class) == Installed::Other {
            Some(Skip::Drifted)
        } else {
            None
        };
        if let Some(skip) = skip {
            return self.input.enter(Stage::Skipped(skip));
        }
        if !seen.has_room(class) {
            return self.input.enter(Stage::Failed(Failure::Disk));
        }
        if !seen.has_inodes(class) {
            return self.input.enter(Stage::Failed(Failure::Inodes));
        }
        let needs_old = self.plan.rollback == Rollback::OnFailure || self.work.direction == Direction::Back;
        let has_files = seen.fetched && (seen.kept || !needs_old);
        if has_files && !self.is_to_be_asked() {
            if self.is_unfit() {
                return self.input.enter(Stage::Skipped(Skip::Unfit));
            }
            // Without what it is held against, the proof could not be had: better no change.
            return match seen.before {
                Before::Pending if self.work.direction == Direction::Forward => rest(Pause::Measuring),
                Before::Unsound if self.work.direction == Direction::Forward => {
                    self.input.enter(Stage::Skipped(Skip::Unanswered))
                }
                Before::Known | Before::Pending | Before::Unsound => self.input.enter(Stage::Fetched),
            };
        }
        if seen.working {
            return rest(Pause::Working);
        }
        if let Err(pause) = self.may_begin() {
            return rest(pause);
        }
        if self.input.journal.tries >= FETCHES_MAX {
            let failure = if has_files { Failure::Unasked } else { Failure::Fetch };
            return self.input.enter(Stage::Failed(failure));
        }
        self.retry(Act::Fetch)
    }

    /// The point of no return: what holds here must hold now.
    fn fetched(&self) -> Step {
        if let Err(pause) = self.may_begin() {
            return self.serves_on(&pause).unwrap_or_else(|| rest(pause));
        }
        let seen = self.input.seen;
        let clearance = self.timing().clearance_seconds;
        if !self.input.memory.cleared(&self.work, seen.boot, seen.uptime_ms, clearance) {
            return rest(Pause::Clearance);
        }
        self.drained().unwrap_or_else(|| self.input.enter(Stage::Committed))
    }

    fn applying(&self, class: &HostClass) -> Step {
        let seen = self.input.seen;
        if seen.working {
            return rest(Pause::Working);
        }
        match seen.installed(class) {
            Installed::New => self.input.enter(Stage::Restarting),
            _ if seen.locked_by.is_some() => {
                rest(Pause::Locked { by: seen.locked_by.unwrap_or_default().to_owned() })
            }
            _ if self.input.journal.tries >= TRIES_MAX => self.turn_back(class, Failure::NotApplied),
            Installed::Half => self.retry(Act::Repair),
            Installed::Old | Installed::Mixed | Installed::Other => self.retry(Act::Apply),
        }
    }

    fn restarting(&self, class: &HostClass) -> Step {
        let seen = self.input.seen;
        if seen.working {
            return rest(Pause::Working);
        }
        if seen.stale && self.input.journal.tries < RESTARTS_MAX {
            return self.retry(Act::Restart);
        }
        // Booted since, and into another: what did not come up once is not tried again.
        if seen.kernel_old && self.input.journal.reboots > 0 {
            return self.turn_back(class, Failure::Boot);
        }
        if seen.reboot_needed {
            return self.reboot(class);
        }
        if seen.stale {
            return self.turn_back(class, Failure::StillMapped);
        }
        self.input.enter(Stage::Verifying)
    }

    /// Reboots once more, if the plan allows it; waits for a person if it allows none.
    fn reboot(&self, class: &HostClass) -> Step {
        match self.plan.reboot {
            Reboot::Never if self.input.journal.stage == Stage::AwaitingReboot => rest(Pause::Person),
            Reboot::Never => self.input.enter(Stage::AwaitingReboot),
            Reboot::IfNeeded { reboots_max } if self.input.journal.reboots < reboots_max => {
                let mut step = self.begin(Stage::AwaitingReboot, Act::Reboot);
                if let Some(journal) = &mut step.journal {
                    journal.reboots += 1;
                }
                step
            }
            Reboot::IfNeeded { .. } => self.turn_back(class, Failure::Reboots),
        }
    }

    fn awaiting_reboot(&self) -> Step {
        let seen = self.input.seen;
        if seen.boot != self.input.journal.boot {
            return self.input.enter(Stage::Restarting).with_reboots(self.input.journal.reboots);
        }
        if seen.working {
            return rest(Pause::Working);
        }
        match self.plan.reboot {
            Reboot::Never => rest(Pause::Person),
            // Written but not begun: the same reboot.
            Reboot::IfNeeded { .. } => Step { journal: None, act: Act::Reboot },
        }
    }

    fn verifying(&self, class: &HostClass) -> Step {
        let seen = self.input.seen;
        if seen.installed(class) != Installed::New {
            return self.turn_back(class, Failure::NotApplied);
        }
        if seen.stale || seen.reboot_needed {
            return self.input.enter(Stage::Restarting);
        }
        let journal = self.input.journal;
        if seen.healthy == Some(true) {
            return self.input.enter(Stage::Soaking);
        }
        if seen.boot != journal.boot {
            return self.input.enter(Stage::Verifying);
        }
        if seen.uptime_ms.saturating_sub(journal.since_ms) > u64::from(self.timing().verify_seconds) * 1_000 {
            return self.turn_back(class, Failure::Unhealthy);
        }
        rest(Pause::Watching)
    }

    fn soaking(&self, class: &HostClass) -> Step {
        let (seen, journal) = (self.input.seen, self.input.journal);
        if seen.working {
            return rest(Pause::Working);
        }
        if seen.installed(class) != Installed::New {
            return self.turn_back(class, Failure::NotApplied);
        }
        // Another boot is another soak.
        if seen.boot != journal.boot || seen.stale || seen.reboot_needed {
            return self.input.enter(Stage::Restarting);
        }
        match seen.healthy {
            Some(false) => self.turn_back(class, Failure::Unhealthy),
            None => rest(Pause::Watching),
            Some(true) => {
                let soaked = u64::from(self.timing().host_soak_seconds) * 1_000;
                if seen.uptime_ms.saturating_sub(journal.since_ms) >= soaked {
                    self.given_back(TRIES_MAX).unwrap_or_else(|| self.input.enter(Stage::Proven))
                } else {
                    rest(Pause::Watching)
                }
            }
        }
    }

    /// What could not be done is undone, if the plan says so and the old files are there.
    fn turn_back(&self, class: &HostClass, failure: Failure) -> Step {
        if self.plan.rollback == Rollback::OnFailure && self.input.seen.kept {
            return self.begin(Stage::Reverting, Act::Revert);
        }
        self.end(match self.input.seen.installed(class) {
            Installed::New | Installed::Old => Stage::Failed(failure),
            Installed::Half | Installed::Mixed | Installed::Other => Stage::Inconsistent,
        })
    }

    fn reverting(&self, class: &HostClass) -> Step {
        let seen = self.input.seen;
        if seen.working {
            return rest(Pause::Working);
        }
        let tries = self.input.journal.tries;
        let is_back =
            || self.given_back(2 * TRIES_MAX + RESTARTS_MAX).unwrap_or_else(|| self.end(Stage::RolledBack));
        match seen.installed(class) {
            Installed::Old if !seen.stale && !seen.leftover => is_back(),
            _ if seen.locked_by.is_some() => {
                rest(Pause::Locked { by: seen.locked_by.unwrap_or_default().to_owned() })
            }
            Installed::Old if seen.leftover && tries < TRIES_MAX => self.retry(Act::Revert),
            Installed::Old if seen.leftover => self.end(Stage::Inconsistent),
            Installed::Old if tries >= TRIES_MAX + RESTARTS_MAX => is_back(),
            Installed::Old => self.retry(Act::Restart),
            Installed::New | Installed::Half | Installed::Mixed | Installed::Other if tries < TRIES_MAX => {
                self.retry(Act::Revert)
            }
            Installed::New => self.end(Stage::Failed(Failure::NotReverted)),
            Installed::Half | Installed::Mixed | Installed::Other => self.end(Stage::Inconsistent),
        }
    }

    /// Ends other than proven: this plan is not taken again here.
    fn end(&self, stage: Stage) -> Step {
        let mut journal = self.input.at(stage);
        if journal.denied.len() == DENIED_MAX {
            journal.denied.remove(0);
        }
        journal.denied.push(self.work.plan);
        Step { journal: Some(journal), act: Act::Go }
    }
}

impl Step {
    fn with_reboots(mut self, reboots: u32) -> Self {
        if let Some(journal) = &mut self.journal {
            journal.reboots = reboots;
        }
        self
    }
}
