//! What a host remembers: the journal, which outlives a power failure, and the memory, which does not.

use crate::order::{Answer, CheckIn, Direction, Order, Report, Stage};
use crate::plan::{Digest, HostId, PlanId};
use serde::{Deserialize, Serialize};

/// Check-ins whose answers are still taken.
const ASKED_MAX: usize = 4;
/// Plans remembered as rolled back here. One a week for five years.
pub(super) const DENIED_MAX: usize = 256;
/// Leases and clearances end an eighth early: a clock since boot is not that wrong.
const MARGIN: u64 = 8;

/// Written and synced before what it says is begun. What a newer agent wrote and this one does not know is refused: to pass
/// over it could mean to begin a second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// The job; `None`: there was none yet.
    pub work: Option<Work>,
    /// Where it stands.
    pub stage: Stage,
    /// Counts the entries of this job.
    pub seq: u64,
    /// The boot it was written in.
    pub boot: u64,
    /// The machine it was written on.
    pub machine: u64,
    /// Time since boot at which the stage began, milliseconds.
    pub since_ms: u64,
    /// How often what the stage does was begun.
    pub tries: u32,
    /// Reboots asked for, for this job.
    pub reboots: u32,
    /// Plans that failed or were rolled back here: not taken again.
    pub denied: Vec<PlanId>,
}

/// A job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// The plan.
    pub plan: PlanId,
    /// Its content.
    pub digest: Digest,
    /// The grant.
    pub fence: u64,
    /// Where to.
    pub direction: Direction,
}

/// What a host knows until its agent stops.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    asked: Vec<Asked>,
    /// The last order that answered a check-in of ours.
    pub order: Option<Order>,
    /// What we were told to give up.
    pub withdrawn: Option<(PlanId, u64)>,
    lease: Option<Term>,
    clearance: Option<Term>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    nonce: u64,
    boot: u64,
    uptime_ms: u64,
}

/// Something that holds for one grant from a point of a boot on.
#[derive(Clone, Copy, Debug)]
struct Term {
    plan: PlanId,
    fence: u64,
    boot: u64,
    from_ms: u64,
}

impl Term {
    fn holds(term: Option<Self>, work: &Work, boot: u64, uptime_ms: u64, seconds: u32) -> bool {
        let lasts_ms = u64::from(seconds) * 1_000;
        term.is_some_and(|term| {
            term.plan == work.plan
                && term.fence == work.fence
                && term.boot == boot
                && uptime_ms < term.from_ms.saturating_add(lasts_ms - lasts_ms / MARGIN)
        })
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            work: None,
            stage: Stage::Withdrawn,
            seq: 0,
            boot: 0,
            machine: 0,
            since_ms: 0,
            tries: 0,
            reboots: 0,
            denied: Vec::new(),
        }
    }
}

impl Journal {
    /// What it says to the centre.
    pub fn report(&self) -> Option<Report> {
        let work = self.work?;
        let Self { seq, machine, boot, stage, .. } = *self;
        Some(Report { plan: work.plan, fence: work.fence, seq, machine, boot, stage })
    }
}

impl Memory {
    /// A check-in, remembered so that its answer can be told from others. `nonce` must never come twice.
    pub fn ask(
        &mut self,
        journal: &Journal,
        nonce: u64,
        boot: u64,
        uptime_ms: u64,
        machine: u64,
        healthy: Option<bool>,
    ) -> CheckIn {
        if self.asked.len() == ASKED_MAX {
            self.asked.remove(0);
        }
        self.asked.push(Asked { nonce, boot, uptime_ms });
        CheckIn { nonce, machine, report: journal.report(), healthy }
    }

    /// Takes an answer. What answers no check-in of ours, or one of another boot, is not for us.
    pub fn hear(&mut self, host: HostId, answer: &Answer, boot: u64) {
        let asked = |nonce: u64| self.asked.iter().find(|asked| asked.nonce == nonce && asked.boot == boot);
        if let Some(order) = answer.order.filter(|order| order.host == host)
            && let Some(asked) = asked(order.nonce)
        {
            let known = self.order.is_some_and(|held| held.plan == order.plan && held.fence > order.fence);
            if !known {
                let (plan, fence, from_ms) = (order.plan, order.fence, asked.uptime_ms);
                self.lease = Some(Term { plan, fence, boot, from_ms });
                self.order = Some(order);
            }
        }
        if let Some(clearance) = answer.clearance.filter(|clearance| clearance.host == host)
            && let Some(asked) = asked(clearance.nonce)
        {
            let (plan, fence, from_ms) = (clearance.plan, clearance.fence, asked.uptime_ms);
            self.clearance = Some(Term { plan, fence, boot, from_ms });
        }
        if answer.withdraw.is_some() {
            self.withdrawn = answer.withdraw;
            self.clearance = None;
        }
    }

    /// Whether the lease of this job lives.
    pub fn leased(&self, work: &Work, boot: u64, uptime_ms: u64, seconds: u32) -> bool {
        Term::holds(self.lease, work, boot, uptime_ms, seconds)
    }

    /// Whether this job was cleared, not long ago.
    pub fn cleared(&self, work: &Work, boot: u64, uptime_ms: u64, seconds: u32) -> bool {
        Term::holds(self.clearance, work, boot, uptime_ms, seconds)
    }
}
