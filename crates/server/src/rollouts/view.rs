//! Rollouts under way, in memory: which host has a seat in which, and whether its check-in could change anything. Follows
//! the events.
//!
//! It decides only whether a check-in goes to the desk. A view that is behind lets a host wait until the event comes; it
//! grants nothing, because the desk reads everything anew.

use super::books::{Book, Wanted};
use super::sealed::Sealed;
use crate::store::rollouts::{self, Stored, jobs};
use crate::store::{Doing, Error, Store};
use jiff::{SignedDuration, Timestamp};
use rollout::job::{Count, Job, State as At};
use rollout::order::{CheckIn, Direction, Stage};
use rollout::plan::{HostId, PlanId};
use rollout::rollout::{Phase, Rollout, State};
use rollout::window::Fit;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use wire::v1::Watch;

/// Hosts that watch a plan before their turn, for each that a comparison needs: some are silent, some are down.
const WATCHED_FOR_EACH: u64 = 4;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct View {
    rollouts: RwLock<BTreeMap<PlanId, Arc<Open>>>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) sealed: Arc<Sealed>,
    present: Mutex<Present>,
}

/// What changes of it.
#[derive(Debug)]
struct Present {
    rollout: Rollout,
    revision: i64,
    /// Counts the changes of its state: what was known of a waiting job before one is not known after it.
    turn: u64,
    /// Jobs as they were read or written last, with the turn then.
    jobs: HashMap<HostId, (u64, Job)>,
}

/// Who checks in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller<'a> {
    pub(super) host: HostId,
    pub(super) said: &'a CheckIn,
    pub(super) now: Timestamp,
}

/// How a rollout changed.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) sealed: Arc<Sealed>,
    pub(super) rollout: Rollout,
}

impl View {
    /// Reads all that are under way.
    pub(super) async fn load(store: &Store) -> Result<Self, Error> {
        let view = Self::default();
        for plan in rollouts::active(store).await? {
            view.follow(store, plan).await?;
        }
        Ok(view)
    }

    /// Reads what the store says about a rollout now; gives it, if its state is another one than before.
    pub(super) async fn follow(&self, store: &Store, plan: PlanId) -> Result<Option<Change>, Error> {
        let doing = "follow a rollout";
        let mut reading = store.reader().acquire().await.doing(doing)?;
        let stored = rollouts::read(&mut reading, plan).await?;
        let known = self.rollout(plan);
        let Some(stored) = stored else { return Ok(None) };
        if !stored.active {
            self.write().remove(&plan);
            // Hosts are told of its end, too.
            return Ok(known.map(|open| Change { sealed: Arc::clone(&open.sealed), rollout: stored.rollout }));
        }
        if let Some(open) = known {
            let turned = open.lock().take(&stored);
            return Ok(turned.then(|| Change { sealed: Arc::clone(&open.sealed), rollout: stored.rollout }));
        }
        let late = jobs::late(&mut reading, plan).await?;
        let late = jobs::of_hosts(&mut reading, store.dialect(), plan, &late).await?;
        drop(reading);
        let Some(sealed) = Sealed::load(store, plan).await? else { return Ok(None) };
        let sealed = Arc::new(sealed);
        let rollout = stored.rollout.clone();
        let jobs = late.into_iter().map(|(host, job)| (host, (0, job))).collect();
        let present = Present { rollout: stored.rollout, revision: stored.revision, turn: 1, jobs };
        let open = Arc::new(Open { sealed: Arc::clone(&sealed), present: Mutex::new(present) });
        // Another event may have read it meanwhile; what it learned since stays.
        self.write().entry(plan).or_insert(open);
        Ok(Some(Change { sealed, rollout }))
    }

    /// A rollout under way.
    pub(super) fn rollout(&self, plan: PlanId) -> Option<Arc<Open>> {
        self.rollouts.read().unwrap_or_else(PoisonError::into_inner).get(&plan).cloned()
    }

    /// Plans under way, the oldest first.
    pub(super) fn sealed(&self) -> Vec<Arc<Sealed>> {
        let rollouts = self.rollouts.read().unwrap_or_else(PoisonError::into_inner);
        rollouts.values().map(|open| Arc::clone(&open.sealed)).collect()
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.rollouts.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Rollouts in which the host has a seat.
    pub(super) fn seats(&self, host: HostId, group: &str) -> Vec<Arc<Open>> {
        let rollouts = self.rollouts.read().unwrap_or_else(PoisonError::into_inner);
        rollouts.values().filter(|open| open.has_seat(host, group)).cloned().collect()
    }

    /// Adds a host to what a transaction is to read: each rollout in which it has a seat.
    pub(super) fn want(&self, host: HostId, group: &str, wanted: &mut Wanted) {
        for open in self.seats(host, group) {
            let (_, hosts) =
                wanted.entry(open.sealed.plan.id).or_insert_with(|| (Arc::clone(&open.sealed), Vec::new()));
            hosts.push(host);
        }
    }

    /// Takes what a transaction read, or wrote if it was `committed`.
    pub(super) fn learn(&self, plan: PlanId, book: &Book, committed: bool) {
        let Some(open) = self.rollout(plan) else { return };
        // Its lock counted one that nobody sees if it was given up.
        let revision = book.before.revision - i64::from(!committed);
        let stored = Stored { rollout: book.rollout.clone(), revision, ..book.before.clone() };
        let mut present = open.lock();
        present.take(&stored);
        let newest = present.revision == revision;
        for (&host, &job) in &book.jobs {
            // What waits may have been sent on by whoever wrote after us.
            if newest || job.state.count() != Count::Open {
                let turn = present.turn;
                present.jobs.insert(host, (turn, job));
            }
        }
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<PlanId, Arc<Open>>> {
        self.rollouts.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    /// Takes what is newer; whether the state changed.
    fn take(&mut self, stored: &Stored) -> bool {
        if stored.revision <= self.revision {
            return false;
        }
        self.revision = stored.revision;
        if self.rollout == stored.rollout {
            return false;
        }
        self.rollout = stored.rollout.clone();
        self.turn += 1;
        true
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_seat(&self, host: HostId, group: &str) -> bool {
        self.sealed.names(host) || self.sealed.plan.late().is_some_and(|late| late.group == group)
    }

    /// Whether it waits to be started, and the host is of its first wave.
    pub(super) fn is_awaited(&self, host: HostId, now: Timestamp) -> bool {
        self.lock().rollout.state == State::Armed
            && now < self.sealed.plan.expires
            && self.sealed.names(host)
            && self.sealed.seat(host).is_some_and(|seat| seat.wave == 0)
    }

    /// Whether hosts of it are to be hinted at: somebody may grant them, stop them, or send them back any moment.
    pub(super) fn is_moving(&self) -> bool {
        match &self.lock().rollout.state {
            State::Wave(_) | State::Paused { .. } | State::Halted { .. } | State::RollingBack { .. } => true,
            State::Draft
            | State::Signed { .. }
            | State::Armed
            | State::RolledBack
            | State::Complete
            | State::Aborted { .. }
            | State::Superseded { .. }
            | State::Retracted { .. } => false,
        }
    }

    /// The plan whose probes this host is to look at before its turn: patched hosts are compared with it. Some of those that
    /// go later, drawn by their ids; each of them fetches the plan.
    pub(super) fn watches(&self, host: HostId) -> Option<Watch> {
        let at = self.lock().rollout.at()?;
        let plan = &self.sealed.plan;
        let control = plan.waves.get(at.wave)?.gate.control?;
        if !self.sealed.names(host) || self.sealed.seat(host)?.wave <= at.wave {
            return None;
        }
        let later = plan.waves.iter().skip(at.wave + 1).flat_map(|wave| &wave.cohorts);
        let later: u64 = later.map(|cohort| cohort.hosts.len() as u64).sum();
        let wanted = u64::from(control.hosts_min) * WATCHED_FOR_EACH;
        // The low half of an id is chance.
        let drawn = host.0.as_u64_pair().1 % later.max(1) < wanted;
        drawn.then(|| Watch { plan: plan.id, digest: self.sealed.digest })
    }

    /// What a check-in says about the health of the present wave: whether it speaks for the job at all, and, as an answer of
    /// a proven host of a wave that has settled, since when that wave has.
    pub(super) fn witness(&self, host: HostId, said: &CheckIn) -> (bool, Option<Timestamp>) {
        let present = self.lock();
        let Some((_, job)) = present.jobs.get(&host) else { return (true, None) };
        let speaks = job.is_of(said.machine);
        let here = self.sealed.seat(host).map(|seat| seat.wave) == present.rollout.at().map(|at| at.wave);
        let samples = speaks && here && job.state == At::Proven && said.healthy.is_some();
        (speaks, if samples { rollouts::settled(&present.rollout.state) } else { None })
    }

    /// Whether the engine would change nothing and say nothing, as far as is known here.
    pub(super) fn is_quiet(&self, caller: Caller<'_>) -> bool {
        let Caller { host, said, now, .. } = caller;
        let plan = &self.sealed.plan;
        let present = self.lock();
        let report = said.report.filter(|report| report.plan == plan.id);
        let Some(seat) = self.sealed.seat(host) else { return true };
        let Some(&(turn, job)) = present.jobs.get(&host) else {
            let begun = !matches!(present.rollout.state, State::Draft | State::Signed { .. } | State::Armed);
            // Whoever is not named has a job only if it joined: it does while the last wave goes on.
            let joins = matches!(present.rollout.state, State::Wave(at) if at.wave == seat.wave);
            let back = matches!(present.rollout.state, State::RollingBack { .. });
            let asks = if self.sealed.names(host) { begun } else { joins || back };
            return !asks && report.is_none();
        };
        if report.is_some() && report != job.last || job.charged && said.machine != job.machine {
            return false;
        }
        let back = matches!(present.rollout.state, State::RollingBack { .. });
        match job.state.count() {
            Count::Proven | Count::Skipped | Count::Failed => !(back && job.can_be_granted(Direction::Back)),
            // It lives: the engine queues it again.
            Count::Lost => false,
            Count::Open if job.state == At::Queued => {
                let dead = report.is_some_and(|report| !report.stage.is_final());
                turn == present.turn && !dead && !back && !self.grants(&present.rollout, seat.wave, now)
            }
            Count::Open if job.state.is_preparing() => false,
            // It has said all this before; only a clearance may be asked for twice.
            Count::Open => report.is_none_or(|report| report.stage != Stage::Fetched),
        }
    }

    /// Whether a wave may grant now.
    fn grants(&self, rollout: &Rollout, wave: usize, now: Timestamp) -> bool {
        let plan = &self.sealed.plan;
        let here = matches!(rollout.state, State::Wave(at) if at.wave == wave && at.phase == Phase::Open);
        let expected = SignedDuration::from_secs(plan.timing.expected_seconds.into());
        here && now >= plan.earliest(wave)
            && matches!(self.sealed.calendar.fit(now, expected), Fit::Fits { .. })
    }
}
