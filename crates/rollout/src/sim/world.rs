//! Time, messages and misfortune: one queue of happenings, in the order of their time.

use super::captured::Captured;
use super::centre::{Book, Centre};
use super::chance::Chance;
use super::fleet::{BEGIN, Sealed};
use super::host::{Busy, Host};
use super::oath::Oath;
use crate::capacity::Capacity;
use crate::job::{Count, State as JobState};
use crate::order::{Answer, CheckIn};
use crate::plan::HostId;
use crate::rollout::{Phase, State};
use jiff::{SignedDuration, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;

/// Between two check-ins.
pub const POLL_MS: u64 = 60_000;
/// Between two sweeps of one server.
const SWEEP_MS: u64 = 20_000;
/// A server's lease on the sweep.
const SWEEPER_MS: u64 = 45_000;

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    /// The agent of a machine wakes; in which life of it.
    Wake { host: usize, life: u32 },
    /// A check-in reaches a server.
    Asked { host: usize, said: CheckIn, server: usize },
    /// An answer reaches a machine.
    Answered { host: usize, answer: Answer },
    /// What a machine began is done.
    Done { host: usize, life: u32, begun: u32, busy: Busy },
    /// A machine boots, or its agent starts.
    Start { host: usize },
    /// A server sweeps.
    Sweep { server: usize },
    /// A server is up again.
    Serve { server: usize },
    /// Misfortune, or a person.
    Fate(Fate),
}

/// Misfortune, and people.
#[derive(Clone, Debug)]
pub enum Fate {
    /// A machine loses power; it comes back after so long, or never.
    PowerCut(usize, Option<u64>),
    /// No message to or from a machine for so long.
    Part(usize, u64),
    /// A machine's wall clock jumps.
    Jump(usize, i64),
    /// Somebody holds a machine's lock for so long.
    Lock(usize, u64),
    /// A server is killed, for so long.
    Kill(usize, u64),
    /// A machine's disk is copied to another machine, which starts.
    Clone(usize),
    /// The server is taken over.
    Capture,
    /// A person acts on a rollout.
    Order(usize, crate::rollout::Event),
    /// A plan is started that replaces the one of this book.
    Supersede(usize, Box<super::fleet::Shape>),
    /// A person frees a host's places.
    Free(usize, usize),
    /// A person reboots a machine.
    RebootByHand(usize),
    /// All misfortune ends.
    Heal,
}

/// How bad the world is, in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Messages lost.
    pub lost: u64,
    /// Messages doubled.
    pub doubled: u64,
    /// Messages that take up to 90 seconds, and so overtake each other.
    pub slow: u64,
    /// A crash at each point of a journal entry and its action: of the agent, or of the power.
    pub crash: u64,
    /// A server killed at a transaction: before it, or after it with the answer lost.
    pub kill: u64,
    /// Probes not looked at.
    pub unseen: u64,
}

/// A fleet, its centre, and its time.
#[derive(Debug)]
pub struct World {
    /// Milliseconds since [`BEGIN`].
    pub now_ms: u64,
    /// The machines; clones come after all originals.
    pub hosts: Vec<Host>,
    /// Their ids, by number.
    pub ids: Vec<HostId>,
    /// The store.
    pub centre: Centre,
    /// Every plan there is, forged ones, too.
    pub plans: Vec<Rc<Sealed>>,
    /// What must be true.
    pub oath: Oath,
    /// How bad it is.
    pub faults: Faults,
    /// Since when an attacker answers.
    pub captured_from_ms: Option<u64>,
    /// Hosts whose places a person freed.
    pub freed: BTreeSet<usize>,
    /// What happened, in words, if it is to be told.
    pub told: Option<Vec<String>>,
    /// When all misfortune ended.
    pub healed_ms: u64,
    /// When the last misfortune that is known comes.
    pub last_fate_ms: u64,
    /// Crash at this journal point: machine, count of points until then.
    pub crash_at: Option<(usize, u32)>,
    pub(super) rests: BTreeMap<usize, String>,
    gate_since: Option<(usize, Timestamp)>,
    gate_asked_ms: u64,
    captured: Captured,
    queue: BinaryHeap<Reverse<(u64, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    free: Vec<usize>,
    order: u64,
    serving: [bool; 2],
    sweeper: (usize, u64),
    pub(super) net: Chance,
}

impl World {
    /// A fleet of so many machines under this plan, armed.
    pub fn new(seed: &Chance, hosts: usize, shape: &super::fleet::Shape) -> Self {
        let sealed = Rc::new(Sealed::signed(shape.plan()));
        let captured = Captured::new(seed, shape);
        let ids: Vec<HostId> = (0..hosts).map(super::fleet::host_id).collect();
        let capacity = Capacity::of(&sealed.plan);
        let mut centre = Centre::new(hosts, capacity);
        centre.books.push(Book::armed(Rc::clone(&sealed), &ids, BEGIN));
        let mut world = Self {
            now_ms: 0,
            hosts: (0..hosts).map(|number| Host::new(number, seed)).collect(),
            ids,
            centre,
            plans: vec![sealed, Rc::clone(&captured.forged)],
            oath: Oath::default(),
            faults: Faults::default(),
            captured_from_ms: None,
            freed: BTreeSet::new(),
            told: None,
            healed_ms: 0,
            last_fate_ms: 0,
            crash_at: None,
            rests: BTreeMap::new(),
            gate_since: None,
            gate_asked_ms: 0,
            captured,
            queue: BinaryHeap::new(),
            happenings: Vec::new(),
            free: Vec::new(),
            order: 0,
            serving: [true; 2],
            sweeper: (0, 0),
            net: seed.child(0x4E7),
        };
        for host in 0..hosts {
            let first = world.hosts[host].chance.below(POLL_MS);
            world.after(first, Happening::Wake { host, life: 0 });
        }
        world.after(SWEEP_MS, Happening::Sweep { server: 0 });
        world.after(SWEEP_MS + SWEEP_MS / 2, Happening::Sweep { server: 1 });
        world
    }

    /// Now, by the true clock.
    pub fn now(&self) -> Timestamp {
        let ms = i64::try_from(self.now_ms).expect("simulations are short");
        BEGIN.checked_add(SignedDuration::from_millis(ms)).expect("simulations are short")
    }

    /// Lets something happen after so long.
    pub fn fate(&mut self, delay_ms: u64, fate: Fate) {
        self.last_fate_ms = self.last_fate_ms.max(self.now_ms + delay_ms);
        self.after(delay_ms, Happening::Fate(fate));
    }

    /// Nothing follows any more: rollouts are over or stopped, and every machine rests.
    pub fn is_settled(&self) -> bool {
        let over = |book: &Book| !matches!(book.rollout.state, State::Wave(_) | State::RollingBack { .. });
        let rests = |host: &Host| {
            let heard = host.journal.work.is_none_or(|work| {
                let book = self.centre.books.iter().find(|book| book.sealed.plan.id == work.plan);
                let job = book.and_then(|book| book.jobs[host.number]);
                // A lost one has yet to say how it ended.
                let known = |state: JobState| state.count() != Count::Open && state != JobState::Lost;
                job.is_none_or(|job| job.fence != work.fence || known(job.state))
            });
            host.dead || host.up && host.journal.stage.is_final() && heard
        };
        self.now_ms > self.last_fate_ms
            && self.captured_from_ms.is_none()
            && self.centre.books.iter().all(over)
            && self.hosts.iter().all(rests)
    }

    /// Another plan, signed and armed; gives the number of its book.
    pub fn arm(&mut self, shape: &super::fleet::Shape) -> usize {
        let sealed = Rc::new(Sealed::signed(shape.plan()));
        self.plans.push(Rc::clone(&sealed));
        let book = Book::armed(sealed, &self.ids, self.now());
        self.centre.books.push(book);
        self.centre.books.len() - 1
    }

    pub(super) fn after(&mut self, delay_ms: u64, happening: Happening) {
        let slot = if let Some(slot) = self.free.pop() {
            self.happenings[slot] = Some(happening);
            slot
        } else {
            self.happenings.push(Some(happening));
            self.happenings.len() - 1
        };
        self.order += 1;
        self.queue.push(Reverse((self.now_ms + delay_ms, self.order, slot)));
    }

    pub(super) fn tell(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.told.is_some() {
            let line = line(self);
            if let Some(told) = &mut self.told {
                told.push(line);
            }
        }
    }

    /// Runs until then, or until something is broken.
    pub fn run_until(&mut self, until_ms: u64) {
        while let Some(&Reverse((at, _, slot))) = self.queue.peek() {
            if at > until_ms || self.oath.broken.is_some() {
                break;
            }
            self.queue.pop();
            self.now_ms = at;
            let happening = self.happenings[slot].take().expect("each happens once");
            self.free.push(slot);
            self.happen(happening);
        }
        self.now_ms = self.now_ms.max(until_ms);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Wake { host, life } => {
                if self.hosts[host].life == life && self.hosts[host].agent {
                    self.drive(host);
                    self.check_in(host);
                    let jitter = self.hosts[host].chance.below(POLL_MS / 10);
                    self.after(POLL_MS - POLL_MS / 20 + jitter, Happening::Wake { host, life });
                }
            }
            Happening::Asked { host, said, server } => self.asked(host, &said, server),
            Happening::Answered { host, answer } => {
                let machine = &mut self.hosts[host];
                if machine.agent && machine.parted_until_ms <= self.now_ms {
                    machine.memory.hear(machine.id, &answer, machine.boot);
                    self.drive(host);
                }
            }
            Happening::Done { host, life, begun, busy } => self.done(host, life, begun, busy),
            Happening::Start { host } => self.start(host),
            Happening::Sweep { server } => self.sweep(server),
            Happening::Serve { server } => self.serving[server] = true,
            Happening::Fate(fate) => self.befall(fate),
        }
    }

    fn start(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if host.dead {
            return;
        }
        if !host.up {
            host.start(self.now_ms);
        }
        if !host.agent {
            host.agent = true;
            host.life += 1;
            let life = host.life;
            self.after(1_000, Happening::Wake { host: at, life });
        }
    }

    fn done(&mut self, at: usize, life: u32, begun: u32, busy: Busy) {
        let host = &mut self.hosts[at];
        // A transaction outlives its agent, not the power.
        if host.busy != Some((busy, begun)) {
            return;
        }
        let packages = self.packages_changed(at);
        let host = &mut self.hosts[at];
        let before = host.packages;
        let goes_down = host.done(busy, packages);
        if goes_down {
            host.down(self.now_ms);
            host.dead |= host.nature.bricks;
            let delay = host.chance.within(20_000, 120_000);
            self.after(delay, Happening::Start { host: at });
            return;
        }
        if self.hosts[at].packages != before {
            self.swear_installed(at);
        }
        if self.hosts[at].agent && self.hosts[at].life >= life {
            self.drive(at);
        }
    }

    /// How many packages the plan changes that a machine works on.
    pub(super) fn packages_changed(&self, at: usize) -> usize {
        let work = self.hosts[at].journal.work;
        let sealed = self.plans.iter().find(|sealed| work.is_some_and(|work| work.digest == sealed.digest));
        sealed.unwrap_or(&self.plans[0]).plan.classes[0].changes.len()
    }

    /// A message on its way: lost, doubled, or late.
    pub(super) fn send(&mut self, deliver: impl Fn(u64, &mut Self)) {
        let faults = self.faults;
        if self.net.permille(faults.lost) {
            return;
        }
        let copies = if self.net.permille(faults.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let slow = self.net.permille(faults.slow);
            let delay = if slow { self.net.within(500, 90_000) } else { self.net.within(5, 300) };
            deliver(delay, self);
        }
    }

    fn asked(&mut self, at: usize, said: &CheckIn, server: usize) {
        if !self.serving[server] || self.hosts[at].parted_until_ms > self.now_ms {
            return;
        }
        // Killed before the transaction, or after it: then it is written, and nobody is told.
        let killed = self.net.permille(self.faults.kill);
        let before = killed && self.net.permille(500);
        if killed {
            self.befall(Fate::Kill(server, 30_000));
        }
        if before {
            return;
        }
        let (id, number, now) = (self.hosts[at].id, self.hosts[at].number, self.now());
        let answer = if self.captured_from_ms.is_some() {
            let genuine = Rc::clone(&self.centre.books[0].sealed);
            self.captured.answer(id, said, &genuine)
        } else {
            let states: usize = self.stopped();
            let answer = self.centre.check_in(id, number, said, now);
            if self.stopped() != states {
                self.told_states();
            }
            answer
        };
        self.captured.keep(answer);
        if !killed && answer != Answer::default() {
            self.send(|delay, world| world.after(delay, Happening::Answered { host: at, answer }));
        }
    }

    /// How long the present gate has been asked.
    pub(super) fn gate_waited_ms(&self) -> u64 {
        self.now_ms - self.gate_asked_ms
    }

    fn stopped(&self) -> usize {
        self.centre.books.iter().filter(|book| matches!(book.rollout.state, State::Wave(_))).count()
    }

    fn told_states(&mut self) {
        for book in 0..self.centre.books.len() {
            self.tell(|world| format!("plan {} is {}", book + 1, world.centre.books[book].rollout.state));
        }
    }

    /// One server at a time sweeps, by a lease.
    fn sweep(&mut self, server: usize) {
        self.after(SWEEP_MS, Happening::Sweep { server });
        let (holder, until) = self.sweeper;
        if !self.serving[server] || holder != server && self.now_ms < until || self.captured_from_ms.is_some()
        {
            return;
        }
        self.sweeper = (server, self.now_ms + SWEEPER_MS);
        // When each gate was first asked: what it had waited for.
        for book in &self.centre.books {
            if let Some(at) = book.rollout.at()
                && matches!(at.phase, Phase::Gate { .. })
                && self.gate_since != Some((at.wave, at.opened))
            {
                self.gate_since = Some((at.wave, at.opened));
                self.gate_asked_ms = self.now_ms;
            }
        }
        let before: Vec<State> = self.centre.books.iter().map(|book| book.rollout.state.clone()).collect();
        let now = self.now();
        let gates = self.centre.sweep(&self.ids, now);
        for (book, wave, gate) in gates {
            if gate.says() == crate::gate::Says::Open {
                self.swear_gate(book, wave);
            }
        }
        for (book, before) in before.iter().enumerate() {
            if *before != self.centre.books[book].rollout.state {
                self.tell(|world| format!("plan {} is {}", book + 1, world.centre.books[book].rollout.state));
            }
        }
        self.swear_books();
    }

    pub(super) fn name(&self, at: usize) -> String {
        let host = &self.hosts[at];
        if at < self.ids.len() { format!("host-{at}") } else { format!("clone of host-{}", host.number) }
    }

    fn befall(&mut self, fate: Fate) {
        match fate {
            Fate::PowerCut(at, back) => {
                self.tell(|world| format!("{} loses power", world.name(at)));
                self.power_cut(at, back);
            }
            Fate::Part(at, lasting) => self.hosts[at].parted_until_ms = self.now_ms + lasting,
            Fate::Jump(at, by) => self.hosts[at].clock_off_ms += by,
            Fate::Lock(at, lasting) => self.hosts[at].locked_until_ms = self.now_ms + lasting,
            Fate::Kill(server, lasting) => {
                self.serving[server] = false;
                self.after(lasting, Happening::Serve { server });
            }
            Fate::Clone(of) => {
                let mut twin = self.hosts[of].clone();
                twin.chance = twin.chance.child(self.hosts.len() as u64);
                // One in four cannot be told by its firmware.
                let machine = twin.chance.draw();
                if !twin.chance.permille(250) {
                    twin.machine = machine;
                }
                twin.down(self.now_ms);
                self.hosts.push(twin);
                let at = self.hosts.len() - 1;
                self.after(1_000, Happening::Start { host: at });
            }
            Fate::Capture => self.captured_from_ms = Some(self.now_ms),
            Fate::Order(book, event) => {
                let now = self.now();
                // A person who asks for what is refused is told so.
                let refused = self.centre.order_of(book, event, now).err();
                self.tell(|world| match refused {
                    Some(refused) => format!("plan {}: {refused}", book + 1),
                    None => format!("plan {} is {}", book + 1, world.centre.books[book].rollout.state),
                });
            }
            Fate::Supersede(book, shape) => {
                let old = self.centre.books[book].sealed.plan.id;
                let new = self.arm(&super::fleet::Shape { supersedes: Some(old), ..*shape });
                let by = self.centre.books[new].sealed.plan.id;
                // The plan that is replaced stops in the same transaction.
                self.befall(Fate::Order(book, crate::rollout::Event::Superseded { by }));
                self.befall(Fate::Order(new, crate::rollout::Event::Started));
            }
            Fate::Free(book, number) => {
                let now = self.now();
                self.freed.insert(number);
                self.centre.free(book, self.ids[number], number, now);
            }
            Fate::RebootByHand(at) => {
                self.hosts[at].down(self.now_ms);
                self.after(30_000, Happening::Start { host: at });
            }
            Fate::Heal => {
                self.faults = Faults::default();
                self.healed_ms = self.now_ms;
                self.crash_at = None;
                for host in &mut self.hosts {
                    host.parted_until_ms = 0;
                    host.locked_until_ms = 0;
                    host.clock_off_ms = 0;
                }
            }
        }
    }
}
