//! A machine's agent: it steps, writes, begins, checks in, and crashes between any two of these.

use super::fleet::Sealed;
use super::host::Busy;
use super::world::{Happening, World};
use crate::converge::{Act, Approved, Input, Pause, step};
use crate::order::Stage;

/// Steps of one host at one instant; more is a step that does not come to rest.
const STEPS_MAX: u32 = 100;

impl World {
    /// The agent steps until it rests.
    pub(super) fn drive(&mut self, at: usize) {
        let unseen = self.faults.unseen;
        for count in 0..STEPS_MAX {
            let host = &mut self.hosts[at];
            if !host.agent {
                return;
            }
            let packages = host.seen();
            let looked = !host.chance.permille(unseen);
            let step = {
                let seen = host.observe(&packages, self.now_ms, looked);
                let verified = self.plans.iter().filter(|sealed| sealed.verified);
                let book_back = |sealed: &Sealed| {
                    self.centre
                        .books
                        .iter()
                        .any(|book| book.sealed.back && book.sealed.digest == sealed.digest)
                };
                let mut plans = Vec::with_capacity(2);
                plans.extend(verified.map(|sealed| Approved {
                    plan: &sealed.plan,
                    digest: sealed.digest,
                    calendar: &sealed.calendar,
                    back: book_back(sealed),
                }));
                let local = host.local();
                let input = Input {
                    journal: &host.journal,
                    memory: &host.memory,
                    plans: &plans,
                    local: &local,
                    host: host.id,
                    seen: &seen,
                };
                step(&input)
            };
            if let Some(journal) = step.journal {
                if self.crashes(at) {
                    return;
                }
                let committed =
                    journal.stage == Stage::Committed && self.hosts[at].journal.stage != Stage::Committed;
                let staged = journal.seq != self.hosts[at].journal.seq;
                self.hosts[at].journal = journal;
                if staged {
                    self.tell(|world| {
                        let host = &world.hosts[at];
                        format!("{} {}", world.name(at), host.journal.stage)
                    });
                }
                if committed {
                    self.swear_commit(at);
                }
                if self.crashes(at) {
                    return;
                }
            }
            if let Act::Rest(pause) = &step.act {
                self.tell_pause(at, pause);
                // What changed is told at once.
                if self.hosts[at].journal.seq != self.hosts[at].sent_seq {
                    self.hosts[at].sent_seq = self.hosts[at].journal.seq;
                    self.check_in(at);
                }
                return;
            }
            self.begin(at, &step.act);
            assert!(count + 1 < STEPS_MAX, "host {at} does not come to rest: {:?}", self.hosts[at].journal);
        }
    }

    /// Tells why a machine rests, once.
    fn tell_pause(&mut self, at: usize, pause: &Pause) {
        let quiet =
            matches!(pause, Pause::Idle | Pause::Working | Pause::Watching | Pause::Clearance | Pause::Lease);
        if self.told.is_some() && !quiet {
            let line = format!("{} rests: {pause}", self.name(at));
            if self.rests.insert(at, line.clone()).as_ref() != Some(&line) {
                self.tell(|_| line);
            }
        }
    }

    /// Begins what a step asks.
    fn begin(&mut self, at: usize, act: &Act) {
        let (busy, from, to) = match act {
            // The fleet's owners here have no hooks.
            Act::Go | Act::Rest(_) | Act::Drain | Act::GiveBack => return,
            Act::Fetch => (Busy::Fetch, 2_000, 40_000),
            Act::Apply => (Busy::Apply, 5_000, 60_000),
            Act::Repair => (Busy::Repair, 2_000, 20_000),
            Act::Revert => (Busy::Revert, 5_000, 60_000),
            Act::Restart => (Busy::Restart, 1_000, 20_000),
            Act::Reboot => (Busy::Reboot, 1_000, 5_000),
        };
        let host = &mut self.hosts[at];
        host.begun += 1;
        host.busy = Some((busy, host.begun));
        let (life, begun) = (host.life, host.begun);
        let delay = host.chance.within(from, to);
        self.after(delay, Happening::Done { host: at, life, begun, busy });
    }

    /// Whether a machine crashes at this point of its journal.
    fn crashes(&mut self, at: usize) -> bool {
        let scripted = match &mut self.crash_at {
            Some((host, points)) if *host == at => {
                *points = points.saturating_sub(1);
                *points == 0
            }
            Some(_) | None => false,
        };
        if scripted {
            self.crash_at = None;
        }
        if !scripted && !self.hosts[at].chance.permille(self.faults.crash) {
            return false;
        }
        self.tell(|world| format!("{} loses power", world.name(at)));
        if scripted || self.hosts[at].chance.permille(500) {
            self.power_cut(at, Some(30_000));
        } else {
            // Only the agent: what it began goes on.
            let host = &mut self.hosts[at];
            host.agent = false;
            host.life += 1;
            host.memory = crate::converge::Memory::default();
            self.after(10_000, Happening::Start { host: at });
        }
        true
    }

    pub(super) fn power_cut(&mut self, at: usize, back_ms: Option<u64>) {
        let packages = self.packages_changed(at);
        let before = self.hosts[at].packages;
        self.hosts[at].cut(packages, self.now_ms);
        if self.hosts[at].packages != before {
            self.swear_installed(at);
        }
        match back_ms {
            Some(delay) => self.after(delay, Happening::Start { host: at }),
            None => self.hosts[at].dead = true,
        }
    }

    pub(super) fn check_in(&mut self, at: usize) {
        let unseen = self.faults.unseen;
        let host = &mut self.hosts[at];
        host.asked += 1;
        let nonce = host.asked.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ host.boot ^ host.machine;
        let healthy = (!host.chance.permille(unseen)).then(|| host.is_healthy());
        let (boot, uptime, machine) = (host.boot, host.uptime_ms(self.now_ms), host.machine);
        let said = host.memory.ask(&host.journal, nonce, boot, uptime, machine, healthy);
        if host.parted_until_ms > self.now_ms {
            return;
        }
        let server = self.net.index(2);
        self.send(|delay, world| world.after(delay, Happening::Asked { host: at, said, server }));
    }
}
