//! What a job takes from its host: when it is taken, and that it is given back.

use rollout::converge::{Act, Approved, Duty, Input, Journal, Memory, Observation, Pause, Step, Work, step};
use rollout::order::{Answer, Clearance, Direction, Failure, Order, Skip, Stage};
use rollout::plan::{Asked, HostId, Reboot};
use rollout::sim::fleet::{Sealed, Shape, host_id};
use rollout::sim::host::{Host, Version};

const BOOT: u64 = 7;

/// One host, at one moment.
struct Scene {
    sealed: Sealed,
    host: Host,
    memory: Memory,
    duty: Duty,
    owed: bool,
    leftover: bool,
    kernel_old: bool,
    uptime_ms: u64,
}

impl Scene {
    fn at(stage: Stage) -> Self {
        let shape =
            Shape { waves: vec![1, 3], reboot: Reboot::IfNeeded { reboots_max: 2 }, ..Shape::default() };
        let sealed = Sealed::signed(shape.plan());
        let mut host = Host::new(0, &rollout::sim::chance::Chance::of(1));
        let (plan, digest) = (sealed.plan.id, sealed.digest);
        let work = Work { plan, digest, fence: 1, direction: Direction::Forward };
        (host.boot, host.fetched) = (BOOT, true);
        host.journal =
            Journal { work: Some(work), stage, boot: BOOT, machine: host.machine, ..Journal::default() };
        let (duty, owed, leftover, kernel_old, uptime_ms) = (Duty::On, false, false, false, 10_000);
        Self { sealed, host, memory: Memory::default(), duty, owed, leftover, kernel_old, uptime_ms }
    }

    /// The centre has granted it, and says that it is not halted.
    fn cleared(mut self) -> Self {
        let (host, plan, digest): (HostId, _, _) = (host_id(0), self.sealed.plan.id, self.sealed.digest);
        self.memory.ask(&self.host.journal, 1, BOOT, self.uptime_ms, self.host.machine, None);
        let direction = Direction::Forward;
        let order = Order { host, plan, digest, direction, fence: 1, nonce: 1 };
        let clearance = Clearance { host, plan, fence: 1, nonce: 1 };
        let answer = Answer { order: Some(order), clearance: Some(clearance), withdraw: None };
        self.memory.hear(host, &answer, BOOT);
        self
    }

    fn step(&self) -> Step {
        let packages = self.host.seen();
        let seen = Observation {
            uptime_ms: self.uptime_ms,
            duty: self.duty,
            owed: self.owed,
            leftover: self.leftover,
            kernel_old: self.kernel_old,
            reboot_needed: self.kernel_old,
            ..self.host.observe(&packages, 0, true)
        };
        let Sealed { plan, digest, calendar, .. } = &self.sealed;
        let plans = [Approved { plan, digest: *digest, calendar, back: false }];
        let (journal, memory, local, host) =
            (&self.host.journal, &self.memory, &self.host.local(), host_id(0));
        step(&Input { journal, memory, plans: &plans, local, host, seen: &seen })
    }

    /// Steps, and what was to be begun came to nothing; gives that.
    fn goes_on(&mut self) -> Act {
        let Step { journal, act } = self.step();
        self.host.journal = journal.unwrap_or_else(|| self.host.journal.clone());
        act
    }

    fn stage(&self) -> Stage {
        self.host.journal.stage
    }
}

#[test]
fn a_host_is_drained_before_the_point_of_no_return_and_one_that_cannot_be_has_changed_nothing() {
    let mut scene = Scene::at(Stage::Fetched);
    assert_eq!(scene.step().act, Act::Rest(Pause::Lease), "nobody is drained on nobody's word");
    scene = scene.cleared();
    assert_eq!(scene.goes_on(), Act::Drain);
    scene.duty = Duty::Off;
    scene.goes_on();
    assert_eq!(scene.stage(), Stage::Committed);

    let mut scene = Scene::at(Stage::Fetched).cleared();
    assert_eq!([scene.goes_on(), scene.goes_on(), scene.goes_on()], [Act::Drain, Act::Drain, Act::Go]);
    assert_eq!(scene.stage(), Stage::Failed(Failure::Drain));
    assert!(!scene.stage().is_past_return());
    scene.owed = true;
    assert_eq!(scene.goes_on(), Act::GiveBack, "a drain that failed may have worked half-way");
}

#[test]
fn an_owner_without_hooks_is_asked_for_nothing() {
    let mut scene = Scene { duty: Duty::Unasked, ..Scene::at(Stage::Fetched).cleared() };
    scene.goes_on();
    assert_eq!(scene.stage(), Stage::Committed);
}

#[test]
fn whoever_was_drained_and_may_not_begin_for_a_while_serves_meanwhile() {
    let mut scene = Scene { duty: Duty::Off, owed: true, ..Scene::at(Stage::Fetched).cleared() };
    scene.uptime_ms += 1_000 * u64::from(scene.sealed.plan.timing.lease_seconds);
    assert_eq!(scene.step(), Step { journal: None, act: Act::GiveBack });
    scene.host.locked_until_ms = 1;
    let mut scene = Scene { uptime_ms: 10_000, ..scene };
    assert!(matches!(scene.goes_on(), Act::Rest(Pause::Locked { .. })), "a lock is let go soon");
}

#[test]
fn what_is_owed_is_given_back_before_a_host_is_proven_and_owed_on_if_it_cannot_be() {
    let mut scene = Scene { duty: Duty::Off, owed: true, ..Scene::at(Stage::Soaking) };
    scene.host.packages = [Version::New; 2];
    assert!(matches!(scene.goes_on(), Act::Rest(Pause::Watching)), "not before it has soaked");
    scene.uptime_ms += 1_000 * u64::from(scene.sealed.plan.timing.host_soak_seconds);
    let tries = [scene.goes_on(), scene.goes_on(), scene.goes_on()];
    assert_eq!(tries, [Act::GiveBack, Act::GiveBack, Act::GiveBack]);
    scene.goes_on();
    assert_eq!(scene.stage(), Stage::Proven);
    assert_eq!(scene.goes_on(), Act::GiveBack, "also when the job is over");
    scene.owed = false;
    assert_eq!(scene.goes_on(), Act::Rest(Pause::Idle));
}

#[test]
fn a_host_that_is_left_broken_stays_out_of_its_service() {
    for (stage, act) in [
        (Stage::Withdrawn, Act::GiveBack),
        (Stage::Skipped(Skip::Held), Act::GiveBack),
        (Stage::RolledBack, Act::GiveBack),
        (Stage::Failed(Failure::Fetch), Act::GiveBack),
        (Stage::Failed(Failure::Unhealthy), Act::Rest(Pause::Idle)),
        (Stage::Inconsistent, Act::Rest(Pause::Idle)),
    ] {
        let scene = Scene { duty: Duty::Off, owed: true, ..Scene::at(stage) };
        assert_eq!(scene.step().act, act, "{stage}");
    }
}

#[test]
fn a_kernel_that_did_not_come_up_is_not_booted_into_again() {
    let mut scene = Scene { kernel_old: true, ..Scene::at(Stage::Restarting) };
    scene.host.packages = [Version::New; 2];
    assert_eq!(scene.goes_on(), Act::Reboot);
    scene.host.boot = BOOT + 1;
    scene.goes_on();
    assert_eq!(scene.stage(), Stage::Restarting, "it is up again");
    assert_eq!(scene.goes_on(), Act::Revert, "though the plan allows one reboot more");
    assert_eq!(scene.stage(), Stage::Reverting);
}

#[test]
fn what_a_plan_newly_installed_is_taken_away_on_the_way_back_or_the_host_is_inconsistent() {
    let mut scene = Scene { leftover: true, ..Scene::at(Stage::Reverting) };
    assert_eq!([scene.goes_on(), scene.goes_on(), scene.goes_on()], [Act::Revert, Act::Revert, Act::Revert]);
    scene.goes_on();
    assert_eq!(scene.stage(), Stage::Inconsistent);
    let mut scene = Scene { leftover: true, ..Scene::at(Stage::Reverting) };
    scene.goes_on();
    scene.leftover = false;
    scene.goes_on();
    assert_eq!(scene.stage(), Stage::RolledBack);
}

#[test]
fn a_host_whose_owner_does_not_allow_a_command_that_is_asked_for_does_not_begin() {
    let mut scene = Scene::at(Stage::Preflight).cleared();
    let mut plan = scene.sealed.plan.clone();
    plan.probes[0].what = Asked::Command("check-shop".to_owned());
    scene.sealed = Sealed { plan, ..scene.sealed };
    scene.goes_on();
    assert_eq!(scene.stage(), Stage::Skipped(Skip::Command));
}
