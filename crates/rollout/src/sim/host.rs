//! A virtual machine: its disk, which outlives a power failure; what runs, which does not; and what is wrong with it.

use super::chance::Chance;
use super::fleet::PACKAGES;
use crate::converge::{Before, Duty, Fitness, Journal, Local, Memory, Observation, Seen, Work};
use crate::plan::{HostId, after};
use crate::window::Calendar;
use jiff::{SignedDuration, Timestamp};

/// A package's version on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The plan's old one.
    Old,
    /// The plan's new one.
    New,
    /// Half installed.
    Half,
    /// Neither.
    Third,
}

/// What is wrong with a machine. It is its nature: the agent does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flaw of its own")]
pub struct Nature {
    /// Fetching fails so many times.
    pub fetch_fails: u32,
    /// The package manager fails so many times, leaving the old versions.
    pub apply_fails: u32,
    /// It leaves packages half installed the first so many times.
    pub apply_halves: u32,
    /// Repair does not help.
    pub repair_fails: bool,
    /// The old versions cannot be put back.
    pub revert_fails: bool,
    /// The service is down with the new version.
    pub unhealthy: bool,
    /// The patch needs a reboot.
    pub reboots: bool,
    /// It does not come back from a reboot.
    pub bricks: bool,
    /// Its packages have other versions than the plan says.
    pub drifted: bool,
    /// A package is held.
    pub held: bool,
    /// Its owner says no.
    pub never: bool,
    /// Restarting does not get rid of old code.
    pub keeps_stale: bool,
    /// It has no room.
    pub full_disk: bool,
    /// The service that attempts are replayed to answers nobody.
    pub mute: bool,
    /// Its package manager would do other than the plan says.
    pub unfit: bool,
    /// It cannot be asked what it would do, so many times.
    pub unasked: u32,
}

/// What is under way on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Fetching.
    Fetch,
    /// A transaction to the new versions.
    Apply,
    /// A repair.
    Repair,
    /// A transaction to the old versions.
    Revert,
    /// Restarts.
    Restart,
    /// Going down.
    Reboot,
}

/// A machine.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Host {
    /// The id in its certificate; a clone has its original's.
    pub id: HostId,
    /// The number of that id.
    pub number: usize,
    /// What its firmware says.
    pub machine: u64,
    /// What is wrong with it.
    pub nature: Nature,
    /// Its chance.
    pub chance: Chance,

    /// On disk: the journal.
    pub journal: Journal,
    /// On disk: the packages.
    pub packages: [Version; 2],
    /// On disk: the files.
    pub fetched: bool,
    /// On disk: the job in which its package manager said what it would do, and whether the plan fits.
    pub fits: Option<(Work, bool)>,

    /// Powered and booted.
    pub up: bool,
    /// Never comes back.
    pub dead: bool,
    /// When it last went down, or last came up.
    pub turned_ms: u64,
    /// This boot.
    pub boot: u64,
    /// Its agent runs.
    pub agent: bool,
    /// Counts the starts of its agent: what was meant for an earlier one is void.
    pub life: u32,
    /// The agent's memory.
    pub memory: Memory,
    /// What is under way, counted.
    pub busy: Option<(Busy, u32)>,
    /// Counts what was begun.
    pub begun: u32,
    /// Old code is mapped.
    pub stale: bool,
    /// The new kernel is not booted.
    pub reboot_needed: bool,
    /// Someone else holds the lock until then.
    pub locked_until_ms: u64,
    /// No message passes until then.
    pub parted_until_ms: u64,
    /// How far its wall clock is off.
    pub clock_off_ms: i64,
    /// How fast its clock since boot is, parts per million.
    pub drift_ppm: i64,
    /// Nonces drawn.
    pub asked: u64,
    /// The last journal entry that was sent.
    pub sent_seq: u64,
    /// When it last passed the point of no return.
    pub committed_ms: u64,
}

impl Host {
    /// A healthy machine.
    pub fn new(number: usize, seed: &Chance) -> Self {
        let mut chance = seed.child(number as u64);
        Self {
            id: super::fleet::host_id(number),
            number,
            machine: chance.draw(),
            nature: Nature::default(),
            journal: Journal::default(),
            packages: [Version::Old; 2],
            fetched: false,
            fits: None,
            up: true,
            dead: false,
            turned_ms: 0,
            boot: chance.draw(),
            agent: true,
            life: 0,
            memory: Memory::default(),
            busy: None,
            begun: 0,
            stale: false,
            reboot_needed: false,
            locked_until_ms: 0,
            parted_until_ms: 0,
            clock_off_ms: 0,
            drift_ppm: 0,
            asked: 0,
            sent_seq: 0,
            committed_ms: 0,
            chance,
        }
    }

    /// Time since boot by its own clock.
    pub fn uptime_ms(&self, now_ms: u64) -> u64 {
        let up = i64::try_from(now_ms - self.turned_ms).unwrap_or(i64::MAX);
        u64::try_from(up + up / 1_000 * self.drift_ppm / 1_000).unwrap_or(0)
    }

    /// Its wall clock.
    pub fn wall(&self, now_ms: u64) -> Timestamp {
        let ms = i64::try_from(now_ms).unwrap_or(i64::MAX).saturating_add(self.clock_off_ms);
        super::fleet::BEGIN
            .saturating_add(SignedDuration::from_millis(ms))
            .unwrap_or_else(|_| after(super::fleet::BEGIN, 0))
    }

    /// Whether its service answers.
    pub fn is_healthy(&self) -> bool {
        let bad =
            |&version: &Version| version == Version::Half || version == Version::New && self.nature.unhealthy;
        !self.packages.iter().any(bad)
    }

    /// All of the plan's packages are new.
    pub fn is_new(&self, packages: usize) -> bool {
        self.packages[..packages].iter().all(|&version| version == Version::New)
    }

    /// The packages as the database has them.
    pub fn seen(&self) -> [Seen<'static>; 2] {
        let seen = |at: usize| {
            let (name, old, new) = PACKAGES[at];
            let version = match self.packages[at] {
                Version::Old => old,
                Version::New | Version::Half => new,
                Version::Third => "9:9",
            };
            let whole = self.packages[at] != Version::Half;
            Seen { name, arch: "amd64", version, whole, held: self.nature.held }
        };
        [seen(0), seen(1)]
    }

    /// What the agent sees.
    pub fn observe<'a>(&self, packages: &'a [Seen<'static>], now_ms: u64, looked: bool) -> Observation<'a> {
        Observation {
            now: self.wall(now_ms),
            uptime_ms: self.uptime_ms(now_ms),
            boot: self.boot,
            machine: self.machine,
            release: "debian:12",
            arch: "amd64",
            group: super::fleet::GROUP,
            packages,
            fetched: self.fetched,
            kept: self.fetched,
            fitness: self.fitness(),
            working: self.busy.is_some(),
            locked_by: (now_ms < self.locked_until_ms).then_some("unattended-upgrades"),
            disk_free_bytes: if self.nature.full_disk { 0 } else { 1 << 40 },
            inodes_free: 1 << 30,
            stale: self.stale,
            reboot_needed: self.reboot_needed,
            kernel_old: false,
            leftover: false,
            duty: Duty::Unasked,
            owed: false,
            healthy: looked.then(|| self.is_healthy()),
            before: if self.nature.mute { Before::Unsound } else { Before::Known },
        }
    }

    /// What its package manager said in the job at hand.
    fn fitness(&self) -> Fitness {
        match self.fits {
            Some((work, true)) if self.journal.work == Some(work) => Fitness::Fits,
            Some((work, false)) if self.journal.work == Some(work) => Fitness::Unfit,
            Some(_) | None => Fitness::Unknown,
        }
    }

    /// What its owner allows.
    pub fn local(&self) -> Local {
        let (excluded, commands) = Default::default();
        Local { never: self.nature.never, excluded, commands, calendar: Calendar::ALWAYS }
    }

    /// What was under way is done. Gives whether it goes down.
    pub fn done(&mut self, busy: Busy, packages: usize) -> bool {
        self.busy = None;
        let set = |host: &mut Self, version: Version| host.packages[..packages].fill(version);
        match busy {
            Busy::Fetch if self.nature.fetch_fails > 0 => self.nature.fetch_fails -= 1,
            Busy::Fetch => {
                self.fetched = true;
                if self.nature.unasked > 0 {
                    self.nature.unasked -= 1;
                } else {
                    self.fits = self.journal.work.map(|work| (work, !self.nature.unfit));
                }
            }
            Busy::Apply if self.nature.unfit => {}
            Busy::Apply if self.nature.apply_fails > 0 => self.nature.apply_fails -= 1,
            Busy::Apply if self.nature.apply_halves > 0 => {
                self.nature.apply_halves -= 1;
                self.packages[0] = Version::Half;
                self.stale = true;
            }
            Busy::Apply => {
                let changed = !self.is_new(packages);
                set(self, Version::New);
                self.stale |= changed;
                self.reboot_needed |= changed && self.nature.reboots;
            }
            Busy::Repair if self.nature.repair_fails => {}
            Busy::Repair => {
                for version in &mut self.packages {
                    if *version == Version::Half {
                        *version = Version::New;
                    }
                }
                self.stale = true;
                self.reboot_needed |= self.nature.reboots;
            }
            Busy::Revert if self.nature.revert_fails => {}
            Busy::Revert => {
                set(self, Version::Old);
                self.stale = true;
                self.reboot_needed = false;
            }
            Busy::Restart => self.stale = self.nature.keeps_stale,
            Busy::Reboot => return true,
        }
        false
    }

    /// The power goes. A transaction stops where it is: any package may be any version, or half installed.
    pub fn cut(&mut self, packages: usize, now_ms: u64) {
        if let Some((busy @ (Busy::Apply | Busy::Revert), _)) = self.busy {
            for at in 0..packages {
                let to = if busy == Busy::Apply { Version::New } else { Version::Old };
                match self.chance.below(3) {
                    0 => {}
                    1 => self.packages[at] = to,
                    _ => self.packages[at] = Version::Half,
                }
            }
        }
        self.down(now_ms);
    }

    /// It goes down, however.
    pub fn down(&mut self, now_ms: u64) {
        self.up = false;
        self.agent = false;
        self.busy = None;
        self.life += 1;
        self.turned_ms = now_ms;
        self.memory = Memory::default();
    }

    /// It comes up.
    pub fn start(&mut self, now_ms: u64) {
        self.up = true;
        self.turned_ms = now_ms;
        self.boot = self.chance.draw();
        self.stale = false;
        self.reboot_needed = false;
    }
}
