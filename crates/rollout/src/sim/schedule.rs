//! Random histories: a seed draws the fleet, the plan, what is wrong with each machine, and what befalls them.

use super::chance::Chance;
use super::fleet::Shape;
use super::oath::Kind;
use super::world::{Fate, Faults, World};
use crate::plan::{Day, Reboot, Recurrence, Rollback, Window};
use crate::rollout::{Event, Halt, State};
use jiff::civil::Time;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Misfortune lasts so long.
const BAD_MS: u64 = 30 * 60_000;
/// Then everyone has so long to come to an end: longer than every deadline.
const QUIET_MS: u64 = 75 * 60_000;
/// How often it is looked whether anything follows.
const SLICE_MS: u64 = 5 * 60_000;
/// A minute, in milliseconds.
const MINUTE_MS: u64 = 60_000;

/// What came of one history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was broken.
    pub broken: Option<(Kind, String)>,
    /// How it ended.
    pub end: End,
    /// Gates that opened.
    pub opened: u32,
    /// A number that any difference between two runs changes.
    pub mark: u64,
}

/// How a history ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the states of a rollout")]
pub enum End {
    Complete,
    Waiting,
    Stopped,
    RolledBack,
    Captured,
}

/// What came of many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Histories.
    pub count: u64,
    /// Broken, by kind.
    pub broken: BTreeMap<Kind, u64>,
    /// The first broken ones: seed, kind, how.
    pub first: Vec<(u64, Kind, String)>,
    /// How they ended.
    pub ends: BTreeMap<End, u64>,
    /// Gates that opened.
    pub opened: u64,
    /// All marks together.
    pub mark: u64,
}

/// Broken histories that are kept whole.
const FIRST_MAX: usize = 10;

impl Outcomes {
    /// Adds what came of others.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.count += other.count;
        self.opened += other.opened;
        self.mark = self.mark.wrapping_add(other.mark);
        for (kind, count) in other.broken {
            *self.broken.entry(kind).or_default() += count;
        }
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        self.first.extend(other.first);
        self.first.sort();
        self.first.truncate(FIRST_MAX);
        self
    }
}

/// Runs the histories of `count` seeds from `first` on, on all cores.
pub fn run_schedules(first: u64, count: u64) -> Outcomes {
    let one = |seed: u64| {
        let outcome = run(seed);
        let mut outcomes =
            Outcomes { count: 1, opened: outcome.opened.into(), mark: outcome.mark, ..Outcomes::default() };
        outcomes.ends.insert(outcome.end, 1);
        if let Some((kind, how)) = outcome.broken {
            outcomes.broken.insert(kind, 1);
            outcomes.first.push((seed, kind, how));
        }
        outcomes
    };
    (first..first.saturating_add(count)).into_par_iter().map(one).reduce(Outcomes::default, Outcomes::and)
}

/// Runs the history of one seed.
pub fn run(seed: u64) -> Outcome {
    let mut world = draw(seed);
    live(&mut world);
    outcome(seed, &world)
}

/// A bad time, then a good one, until nothing follows.
fn live(world: &mut World) {
    let fates = world.last_fate_ms;
    world.fate(BAD_MS, Fate::Heal);
    world.last_fate_ms = fates;
    for slice in 1..=(BAD_MS + QUIET_MS) / SLICE_MS {
        world.run_until(slice * SLICE_MS);
        if world.is_settled() {
            break;
        }
    }
    world.swear_end();
}

/// The same, telling what happens.
pub fn tell(seed: u64) -> (Outcome, Vec<String>) {
    let mut world = draw(seed);
    world.told = Some(Vec::new());
    live(&mut world);
    let told = world.told.take().unwrap_or_default();
    (outcome(seed, &world), told)
}

fn outcome(seed: u64, world: &World) -> Outcome {
    let state = &world.centre.books.last().expect("there is a plan").rollout.state;
    let end = match state {
        _ if world.captured_from_ms.is_some() => End::Captured,
        State::Complete => End::Complete,
        State::RolledBack => End::RolledBack,
        State::Wave(_) | State::RollingBack { .. } | State::Draft | State::Signed { .. } | State::Armed => {
            End::Waiting
        }
        State::Paused { .. }
        | State::Halted { .. }
        | State::Aborted { .. }
        | State::Superseded { .. }
        | State::Retracted { .. } => End::Stopped,
    };
    let mut mark = Chance::of(seed ^ world.now_ms).draw();
    for host in &world.hosts {
        for part in [host.journal.seq, host.boot, host.asked, u64::from(host.begun), host.turned_ms] {
            mark = Chance::of(mark ^ part).draw();
        }
    }
    Outcome { seed, broken: world.oath.broken.clone(), end, opened: world.oath.opened, mark }
}

/// Draws a world.
fn draw(seed: u64) -> World {
    let root = Chance::of(seed);
    let mut chance = root.child(0xD4A3);
    // Mostly small: trouble between two hosts shows with five as with forty, and five are run eight times as often.
    let most = if chance.permille(125) { 40 } else { 10 };
    let hosts = usize::try_from(chance.within(5, most)).expect("small");
    let canaries = 1 + chance.index(2);
    let mut waves = vec![canaries];
    let late = chance.index(3);
    let mut left = hosts - canaries - late;
    while left > 0 && waves.len() < 3 {
        let wave = if waves.len() == 2 { left } else { 1 + chance.index(left) };
        waves.push(wave);
        left -= wave;
    }
    let mut shape = Shape {
        waves,
        packages: 1 + chance.index(2),
        proven_percent_min: [100, 90, 80, 60][chance.index(4)],
        bad_max: u32::try_from(chance.below(3)).expect("small"),
        skipped_max: u32::try_from(chance.below(3)).expect("small"),
        hosts_at_once_max: u32::try_from(chance.within(1, 8)).expect("small"),
        away_max: (0..chance.below(4)).map(|_| 1 + u32::try_from(chance.below(3)).expect("small")).collect(),
        control: chance.permille(300),
        late_max: u32::try_from(chance.below(3)).expect("small"),
        rollback: if chance.permille(700) { Rollback::OnFailure } else { Rollback::Never },
        reboot: if chance.permille(900) { Reboot::IfNeeded { reboots_max: 2 } } else { Reboot::Never },
        ..Shape::default()
    };
    // Short ones, so that they run out within the history.
    shape.timing.lease_seconds = u32::try_from(chance.within(90, 300)).expect("small");
    shape.timing.clearance_seconds = u32::try_from(chance.within(30, 180)).expect("small");
    shape.timing.deadline_seconds = u32::try_from(chance.within(1_200, 2_400)).expect("small");
    shape.timing.silence_seconds = u32::try_from(chance.within(300, 900)).expect("small");
    if chance.permille(200) {
        shape.windows.push(window(&mut chance));
    }
    let mut world = World::new(&root, hosts, &shape);
    world.fate(chance.below(2 * MINUTE_MS), Fate::Order(0, Event::Started));
    // A third of all worlds is quiet, so that good ends are seen, too.
    let worse = [0, 1, 3][chance.index(3)];
    world.faults = Faults {
        lost: chance.below(60) * worse,
        doubled: chance.below(60) * worse,
        slow: chance.below(60) * worse,
        crash: chance.below(12) * worse,
        kill: chance.below(8) * worse,
        unseen: chance.below(30) * worse,
    };
    let ill = chance.below(80) * worse;
    for host in &mut world.hosts {
        let chance = &mut host.chance;
        let nature = &mut host.nature;
        host.drift_ppm = i64::try_from(chance.below(20_000)).expect("small") - 10_000;
        host.clock_off_ms = i64::try_from(chance.below(120_000)).expect("small") - 60_000;
        nature.reboots = chance.permille(300);
        if chance.permille(ill) {
            nature.fetch_fails = u32::try_from(chance.below(8)).expect("small");
            nature.apply_fails = u32::try_from(chance.below(5)).expect("small");
            nature.apply_halves = u32::try_from(chance.below(3)).expect("small");
            nature.repair_fails = chance.permille(300);
            nature.revert_fails = chance.permille(300);
            nature.unhealthy = chance.permille(400);
            nature.bricks = chance.permille(100);
            nature.drifted = chance.permille(100);
            nature.held = chance.permille(100);
            nature.never = chance.permille(100);
            nature.keeps_stale = chance.permille(100);
            nature.full_disk = chance.permille(100);
            nature.unfit = chance.permille(200);
            nature.unasked = u32::try_from(chance.below(7)).expect("small");
            if nature.drifted {
                host.packages[0] = super::host::Version::Third;
            }
        }
    }
    befall(&mut world, &mut chance, &shape, worse);
    world
}

/// A window that opens within the first minutes of the history and closes within it. It begins on a Monday, at one in the
/// morning there.
fn window(chance: &mut Chance) -> Window {
    Window {
        zone: "Europe/Zurich".to_owned(),
        every: Recurrence::Weekly(vec![Day::Monday]),
        opens: Time::constant(1, i8::try_from(chance.below(20)).expect("small"), 0, 0),
        minutes: u32::try_from(chance.within(20, 90)).expect("small"),
    }
}

fn befall(world: &mut World, chance: &mut Chance, shape: &Shape, worse: u64) {
    let hosts = world.ids.len();
    for _ in 0..chance.below(1 + 4 * worse) {
        let at = chance.index(hosts);
        let when = chance.below(BAD_MS);
        let fate = match chance.below(7) {
            0 => Fate::PowerCut(at, chance.permille(800).then_some(45_000)),
            1 => Fate::Part(at, chance.within(MINUTE_MS, 20 * MINUTE_MS)),
            2 => Fate::Jump(at, i64::try_from(chance.below(7_200_000)).expect("small") - 3_600_000),
            3 => Fate::Lock(at, chance.within(MINUTE_MS, 10 * MINUTE_MS)),
            4 => Fate::Kill(chance.index(2), chance.within(1_000, 5 * MINUTE_MS)),
            5 => Fate::RebootByHand(at),
            _ => Fate::Clone(at),
        };
        world.fate(when, fate);
    }
    let signers = || -> BTreeSet<String> { ["1".to_owned(), "2".to_owned()].into() };
    let by = || "a person".to_owned();
    let when = chance.below(BAD_MS);
    match chance.below(14) {
        0 => {
            world.fate(when, Fate::Order(0, Event::Paused { by: by() }));
            let resumed = Event::Resumed { generation: 1, signers: signers() };
            world.fate(when + chance.below(20 * MINUTE_MS), Fate::Order(0, resumed));
        }
        1 => world.fate(when, Fate::Order(0, Event::BackOrdered { by: by(), signers: signers() })),
        2 => world.fate(when, Fate::Order(0, Event::Retracted { why: "DSA-0000-1 withdrawn".to_owned() })),
        3 => world.fate(when, Fate::Order(0, Event::Aborted { by: by() })),
        4 => world.fate(when, Fate::Capture),
        5 => {
            // A halt by the budget, if there is one by then, is resumed by the approvers.
            let resumed = Event::Resumed { generation: 1, signers: signers() };
            world.fate(when, Fate::Order(0, resumed));
        }
        6 => {
            let why = "too many pages".to_owned();
            world.fate(when, Fate::Order(0, Event::Halted(Halt::Ordered { by: by(), why })));
        }
        7 | 8 => {
            // The same versions or more, other hosts' luck, other waves.
            let mut waves = shape.waves.clone();
            waves[1..].reverse();
            let next = Shape { number: 2, packages: 1 + chance.index(2), waves, ..shape.clone() };
            world.fate(when, Fate::Supersede(0, Box::new(next)));
        }
        _ => {}
    }
}
