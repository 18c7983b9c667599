//! Whether the plan fits a host: when that is asked, and that a host which it does not fit has begun nothing.

use rollout::converge::{
    Act, Approved, Before, Fitness, Input, Journal, Memory, Observation, Pause, Step, Work, step,
};
use rollout::order::{Answer, Direction, Failure, Order, Skip, Stage};
use rollout::plan::HostId;
use rollout::sim::chance::Chance;
use rollout::sim::fleet::{Sealed, Shape, host_id};
use rollout::sim::host::Host;

const BOOT: u64 = 7;

/// A host before the point of no return, with a living lease and all files.
struct Scene {
    sealed: Sealed,
    host: Host,
    memory: Memory,
    fitness: Fitness,
    before: Before,
    working: bool,
}

impl Scene {
    fn new(direction: Direction, fitness: Fitness) -> Self {
        let sealed = Sealed::signed(Shape { waves: vec![1, 3], ..Shape::default() }.plan());
        let mut host = Host::new(0, &Chance::of(1));
        let (plan, digest) = (sealed.plan.id, sealed.digest);
        let work = Work { plan, digest, fence: 1, direction };
        (host.boot, host.fetched) = (BOOT, true);
        host.journal = Journal {
            work: Some(work),
            stage: Stage::Preflight,
            boot: BOOT,
            machine: host.machine,
            ..Journal::default()
        };
        let mut memory = Memory::default();
        memory.ask(&host.journal, 1, BOOT, 10_000, host.machine, None);
        let order = Order { host: host_id(0), plan, digest, direction, fence: 1, nonce: 1 };
        let answer = Answer { order: Some(order), ..Answer::default() };
        memory.hear(host_id(0), &answer, BOOT);
        Self { sealed, host, memory, fitness, before: Before::Known, working: false }
    }

    fn goes_on(&mut self) -> Act {
        let packages = self.host.seen();
        let seen = Observation {
            uptime_ms: 10_000,
            fitness: self.fitness,
            before: self.before,
            working: self.working,
            ..self.host.observe(&packages, 0, true)
        };
        let Sealed { plan, digest, calendar, .. } = &self.sealed;
        let plans = [Approved { plan, digest: *digest, calendar, back: true }];
        let (journal, memory, local) = (&self.host.journal, &self.memory, &self.host.local());
        let host: HostId = host_id(0);
        let Step { journal, act } = step(&Input { journal, memory, plans: &plans, local, host, seen: &seen });
        self.host.journal = journal.unwrap_or_else(|| self.host.journal.clone());
        act
    }

    fn stage(&self) -> Stage {
        self.host.journal.stage
    }
}

#[test]
fn a_host_whose_files_lie_there_already_is_asked_all_the_same_and_goes_on_only_with_an_answer() {
    let mut scene = Scene::new(Direction::Forward, Fitness::Unknown);
    assert_eq!(scene.goes_on(), Act::Fetch);
    assert_eq!((scene.stage(), scene.host.journal.tries), (Stage::Preflight, 1));
    scene.working = true;
    assert_eq!(scene.goes_on(), Act::Rest(Pause::Working), "it is not begun beside itself");
    (scene.working, scene.fitness) = (false, Fitness::Fits);
    scene.goes_on();
    assert_eq!(scene.stage(), Stage::Fetched);
}

#[test]
fn a_host_that_the_plan_does_not_fit_skips_it_at_once() {
    let mut scene = Scene { before: Before::Pending, ..Scene::new(Direction::Forward, Fitness::Unfit) };
    scene.goes_on();
    assert_eq!(scene.stage(), Stage::Skipped(Skip::Unfit), "nothing is measured for what is not begun");
    assert!(!scene.stage().is_past_return());
    assert_eq!(scene.stage().leaves_broken(), Some(false), "it gives its places back");
}

#[test]
fn a_package_manager_that_cannot_be_asked_keeps_its_host_from_beginning() {
    let mut scene = Scene::new(Direction::Forward, Fitness::Unknown);
    for _ in 0..rollout::converge::FETCHES_MAX {
        assert_eq!(scene.goes_on(), Act::Fetch);
    }
    scene.goes_on();
    assert_eq!(scene.stage(), Stage::Failed(Failure::Unasked));
    assert!(!scene.stage().is_past_return());
}

#[test]
fn a_hand_that_pretends_is_not_asked_and_nobody_is_on_the_way_back() {
    for (direction, fitness) in [
        (Direction::Forward, Fitness::Unasked),
        (Direction::Back, Fitness::Unknown),
        (Direction::Back, Fitness::Unfit),
    ] {
        let mut scene = Scene::new(direction, fitness);
        scene.goes_on();
        assert_eq!(scene.stage(), Stage::Fetched, "{direction:?} {fitness:?}");
    }
}
