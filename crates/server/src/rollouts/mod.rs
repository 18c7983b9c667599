//! Rollouts under way: hosts check in, the sweep comes by, people and approvers act. All that is decided here is decided by
//! the pure engine; this is its store, its clock and its door.
//!
//! The walk: a check-in comes to the `view`, in memory, which knows whether it can change anything. If it can, it waits at
//! the `desk`, which answers many in one transaction on the `books`. The `sweep`, one server's at a time, looks after
//! leases, deadlines, silence and gates. `act` is what people do, `status` what they see, `hints` what hosts are rung by.

mod act;
mod books;
mod desk;
mod evidence;
mod hints;
mod sealed;
mod status;
mod sweep;
mod view;

pub use act::{Acted, act, create, free};
pub use desk::Asks;
pub use hints::{Hints, Wait};
pub use status::{HolderStatus, NumberStatus, ServiceStatus, Status, WaveStatus, status};
pub use sweep::Sweep;

use crate::App;
use crate::api::Clock;
use crate::hosts::Roster;
use crate::signing::Signing;
use crate::store::Error;
use crate::store::events::{Event, Kind};
use crate::store::rollouts::evidence::{Sampled, Witness};
use crate::store::rollouts::{job_list, list};
use desk::Ask;
use evidence::Evidence;
use jiff::Timestamp;
use rollout::order::{Answer, CheckIn, Direction};
use rollout::plan::{HostId, PlanId};
use rollout::rollout::State;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use trust::statement::{Heard, NotHalted};
use uuid::Uuid;
use view::{Caller, View};
use wire::v1::{Told, Watch};

/// How often the sweep looks.
const SWEPT_EVERY: Duration = Duration::from_secs(2);
/// How often it is written who was heard.
const FLUSHED_EVERY: Duration = Duration::from_secs(5);

/// What this server does for rollouts. Shared by the agents' door, the follower of events, and [`run`].
#[derive(Debug)]
pub struct Rollouts {
    app: Arc<App>,
    roster: Arc<Roster>,
    /// Who signs clearances, and what approvers have signed.
    pub signing: Arc<Signing>,
    /// Hosts that wait to be rung.
    pub hints: Arc<Hints>,
    /// What was done since the start.
    pub counters: Counters,
    view: View,
    /// How often bulletins have changed: a rollout whose bulletin was withdrawn stops.
    advised: AtomicU64,
    evidence: Evidence,
    asks: mpsc::Sender<Ask>,
    clock: Clock,
}

/// What was done for rollouts since the start. For metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Check-ins that could change nothing.
    pub quiet: AtomicU64,
    /// Check-ins answered by transactions.
    pub asked: AtomicU64,
    /// These transactions.
    pub batches: AtomicU64,
    /// Grants.
    pub grants: AtomicU64,
    /// Clearances.
    pub clearances: AtomicU64,
    /// Grants taken back.
    pub withdrawals: AtomicU64,
    /// Transactions given up because another server took what they granted.
    pub raced: AtomicU64,
    /// Hints refused because too many hosts waited.
    pub hints_refused: AtomicU64,
}

/// What a host is told about rollouts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What it is to do; `None`: nothing.
    pub told: Option<Told>,
    /// Whether it should wait for hints: somebody may want something of it any moment.
    pub hint: bool,
}

impl Rollouts {
    /// Reads what is under way. Follow the events that come after. The second value is for [`run`], or [`serve`].
    pub async fn load(
        app: &Arc<App>,
        roster: &Arc<Roster>,
        signing: Arc<Signing>,
        clock: Clock,
    ) -> Result<(Arc<Self>, Asks), Error> {
        let (asks, waiting) = mpsc::channel(desk::WAITING_MAX);
        let hints_max = usize::try_from(app.config.agents.hints_max).unwrap_or(usize::MAX);
        let rollouts = Arc::new(Self {
            app: Arc::clone(app),
            roster: Arc::clone(roster),
            signing,
            hints: Arc::new(Hints::new(hints_max)),
            counters: Counters::default(),
            view: View::load(&app.store).await?,
            advised: AtomicU64::new(0),
            evidence: Evidence::default(),
            asks,
            clock,
        });
        Ok((rollouts, Asks(waiting)))
    }

    /// A host checks in. Errors when it cannot be answered now: it comes again.
    pub async fn check_in(&self, host: Uuid, said: &CheckIn) -> Result<Checked, Unanswered> {
        let now = self.now();
        let group = self.roster.group(&host).unwrap_or_default();
        let caller = Caller { host: HostId(host), said, now };
        let mut seats = self.view.seats(caller.host, &group);
        let stray = said.report.filter(|report| {
            !report.stage.is_final() && !seats.iter().any(|open| open.sealed.plan.id == report.plan)
        });
        if let Some(report) = stray {
            // Either it is over, or begun and not heard of here.
            self.follow_plan(report.plan).await.map_err(|problem| Unanswered::of(&problem))?;
            seats = self.view.seats(caller.host, &group);
        }
        let mut answer = if seats.iter().all(|open| open.is_quiet(caller)) {
            self.counters.quiet.fetch_add(1, Ordering::Relaxed);
            Answer::default()
        } else {
            let (reply, answered) = oneshot::channel();
            let ask = Ask { host: caller.host, group: group.clone(), said: *said, reply };
            self.asks.send(ask).await.map_err(|_| Unanswered)?;
            answered.await.ok().flatten().ok_or(Unanswered)?
        };
        if let Some(report) = stray.filter(|report| self.view.rollout(report.plan).is_none()) {
            // Whoever holds a place is in a rollout that is under way: this grant is dead.
            answer.withdraw = answer.withdraw.or(Some((report.plan, report.fence)));
        }
        let moving = seats.iter().filter(|open| open.is_moving());
        let moving: Vec<_> = moving.map(|open| (open, open.witness(caller.host, said))).collect();
        if !moving.is_empty() && moving.iter().all(|(_, (speaks, _))| *speaks) {
            let witness = Witness { at: now, machine: said.machine, healthy: said.healthy };
            self.evidence.heard(caller.host, witness);
            for (open, (_, settled)) in &moving {
                if let Some(settled_at) = *settled {
                    self.evidence.sample(Sampled { plan: open.sealed.plan.id, settled_at });
                }
            }
        }
        let watch = seats.iter().find_map(|open| open.watches(caller.host));
        let hint = !moving.is_empty() || seats.iter().any(|open| open.is_awaited(caller.host, now));
        Ok(Checked { told: self.told(&answer, watch, now)?, hint })
    }

    /// Says, signed, that a host was heard; `None` where nothing can be signed: then it is not believed to be.
    pub fn vouch(&self, host: Uuid, nonce: u64) -> Option<String> {
        let said = Heard { host, issued_at: self.now(), nonce };
        let signed = self.signing.heard(&said);
        let signed = signed.inspect_err(|problem| tracing::error!(%host, "vouch for a host: {problem}"));
        String::from_utf8(signed.ok()?).ok()
    }

    /// Follows what this server or another one did.
    pub async fn follow(&self, event: &Event) -> Result<(), Error> {
        match event.kind {
            Kind::Advisories => {
                self.advised.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Kind::Rollout => match Uuid::parse_str(&event.object) {
                Ok(plan) => self.follow_plan(PlanId(plan)).await,
                Err(_) => Ok(()),
            },
            Kind::Host
            | Kind::Inventory
            | Kind::Feed
            | Kind::Findings
            | Kind::Access
            | Kind::Plan
            | Kind::Census => Ok(()),
        }
    }

    /// Writes who was heard since the last time.
    pub async fn flush(&self) -> Result<(), Error> {
        self.evidence.flush(&self.app.store).await
    }

    /// All counts, for Prometheus: name, help, value.
    pub fn numbers(&self) -> Vec<(&'static str, &'static str, u64)> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        vec![
            ("rollouts_open", "Rollouts that this server has in memory", self.view.len() as u64),
            ("rollout_check_ins_quiet", "Check-ins that could change no rollout", of(&counters.quiet)),
            ("rollout_check_ins", "Check-ins answered by transactions", of(&counters.asked)),
            ("rollout_batches", "Transactions that answered them", of(&counters.batches)),
            ("rollout_grants", "Grants", of(&counters.grants)),
            ("rollout_clearances", "Clearances", of(&counters.clearances)),
            ("rollout_withdrawals", "Grants taken back", of(&counters.withdrawals)),
            ("rollout_raced", "Transactions that another server was faster than", of(&counters.raced)),
            ("rollout_hints_waiting", "Hosts that wait for a hint", self.hints.waiting() as u64),
            ("rollout_hints_refused", "Hints refused: too many waited", of(&counters.hints_refused)),
        ]
    }

    /// Now, as precise as the store.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    async fn follow_plan(&self, plan: PlanId) -> Result<(), Error> {
        if let Some(change) = self.view.follow(&self.app.store, plan).await? {
            tracing::info!(%plan, "rollout: {}", change.rollout.state);
            self.hints.ring(concerned(&change));
        }
        Ok(())
    }

    fn told(
        &self,
        answer: &Answer,
        watch: Option<Watch>,
        now: Timestamp,
    ) -> Result<Option<Told>, Unanswered> {
        if *answer == Answer::default() && watch.is_none() {
            return Ok(None);
        }
        let mut told = Told { order: answer.order, withdraw: answer.withdraw, watch, ..Told::default() };
        if let Some(order) = answer.order.filter(|order| order.direction == Direction::Back) {
            told.word = self.signing.word_in_force(order.plan, order.digest);
        }
        if let Some(clearance) = answer.clearance {
            let said = NotHalted {
                fence: clearance.fence,
                host: clearance.host.0,
                issued_at: now,
                nonce: clearance.nonce,
                plan: clearance.plan.0,
            };
            let signed = self.signing.not_halted(&said).map_err(|problem| {
                tracing::error!("sign a clearance: {problem}");
                Unanswered
            })?;
            told.clearance = String::from_utf8(signed).ok();
        }
        Ok(Some(told))
    }
}

/// A check-in that could not be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("answer the check-in: the rollouts' books cannot be written now")]
pub struct Unanswered;

impl Unanswered {
    fn of(problem: &Error) -> Self {
        tracing::error!("{problem}");
        Self
    }
}

/// Does everything that a server does for rollouts, until `stop`.
pub async fn run(rollouts: Arc<Rollouts>, asks: Asks, stop: CancellationToken) {
    tokio::join!(
        serve(Arc::clone(&rollouts), asks, stop.clone()),
        flush(&rollouts, &stop),
        sweep(&rollouts, &stop)
    );
}

/// Only answers check-ins, until `stop`.
pub async fn serve(rollouts: Arc<Rollouts>, asks: Asks, stop: CancellationToken) {
    desk::run(rollouts, asks, stop).await;
}

async fn flush(rollouts: &Rollouts, stop: &CancellationToken) {
    let mut tick = interval(FLUSHED_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopped = tokio::select! {
            () = stop.cancelled() => true,
            _ = tick.tick() => false,
        };
        if let Err(problem) = rollouts.flush().await {
            tracing::warn!("{problem}");
        }
        if stopped {
            return;
        }
    }
}

async fn sweep(rollouts: &Arc<Rollouts>, stop: &CancellationToken) {
    let mut sweep = Sweep::new(Arc::clone(rollouts), rollouts.now());
    let mut tick = interval(SWEPT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = tick.tick() => {}
        }
        // The next time is the retry.
        if let Err(problem) = sweep.step(rollouts.now()).await {
            tracing::warn!("{problem}");
        }
    }
    if let Err(problem) = sweep.rest().await {
        tracing::warn!("{problem}");
    }
}

/// Hosts that a change concerns: who may begin, must stop, or is to go back.
fn concerned(change: &view::Change) -> Vec<Uuid> {
    let sealed = &change.sealed;
    let wave = |wave: usize| sealed.wave(wave).map(|host| host.0).collect();
    match &change.rollout.state {
        State::Wave(at) | State::Paused { at, .. } | State::Halted { at, .. } => wave(at.wave),
        State::RollingBack { .. }
        | State::Aborted { .. }
        | State::Superseded { .. }
        | State::Retracted { .. } => {
            (0..sealed.plan.waves.len()).flat_map(|wave| sealed.wave(wave)).map(|host| host.0).collect()
        }
        State::Draft | State::Signed { .. } | State::Armed | State::RolledBack | State::Complete => {
            Vec::new()
        }
    }
}

/// Rollouts, the newest first; of one state's word, if it is given.
pub async fn list(app: &App, word: Option<&str>) -> Result<Vec<list::Listed>, Error> {
    list::list(&app.store, word).await
}

/// Up to `most` jobs of a rollout.
pub async fn jobs(
    app: &App,
    plan: PlanId,
    filter: &job_list::JobFilter,
    most: i64,
) -> Result<Vec<job_list::Listed>, Error> {
    job_list::page(&app.store, plan, filter, most).await
}

/// One host's job with its reports; `None`: it has none.
pub async fn job(app: &App, plan: PlanId, host: HostId) -> Result<Option<job_list::Detailed>, Error> {
    job_list::of_host(&app.store, plan, host).await
}
