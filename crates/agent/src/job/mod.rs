//! What this host does about an order: `rollout::converge` decides, this carries it out.
//!
//! One thing after the other, and each anew: what was heard and verified, what is seen, a step; the journal on the disk;
//! then the act. Nothing here decides what comes next, and no exit code says how it went.

pub(crate) mod clock;
pub(crate) mod sight;
mod approvals;
mod dry;
mod evidence;
mod hand;
mod installer;
mod journal;
mod lock;
mod probes;
mod receipts;
mod replay;
mod rest;
mod source;

pub use approvals::TrustStatus;
pub use approvals::newest_root;
pub(crate) use approvals::pin;
pub(crate) use evidence::Untold;
pub(crate) use journal::mend as mend_journal;
pub use receipts::{JobStatus, Receipt};
pub(crate) use source::Source;

pub(crate) use lock::{PACMANS, holder as lock_holder};

use crate::hand::driver::driver;
use crate::identity::Identity;
use crate::pace::Pace;
use crate::settings::{HandKind, Settings};
use crate::state::{PACKAGES, State};
use crate::told::Told;
use advisory::Problem;
use approvals::{Approvals, Named, Wanted};
use hand::{Eyes, Hand};
use installer::Installer;
use jiff::Timestamp;
use probes::{Key, Prober};
use receipts::Receipts;
use replay::{Phase, Replayer};
use rollout::converge::{self, Act, Approved, Input, Journal, Local, Memory, Pause, Work};
use rollout::order::{self, Answer, Clearance, Stage};
use rollout::plan::{Digest, HostId, Plan, PlanId};
use sight::{Job, Look, Sight};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;
use wire::v1::{self, Watch};

/// Steps at one go; more is a step that does not come to rest, and waits a little.
const STEPS_MAX: usize = 64;

/// Between two tries to give back what is owed of a job that is over.
const GIVE_BACK_AGAIN: Duration = Duration::from_secs(60);

/// The host's part in rollouts.
#[derive(Debug)]
pub(crate) struct Converging {
    host: HostId,
    state: Rc<State>,
    hand: Box<dyn Hand>,
    local: Local,
    pace: Pace,
    machine: u64,
    journal: Journal,
    memory: Memory,
    approvals: Approvals,
    prober: Prober,
    replayer: Replayer,
    /// The approvers' word that the order heard last rests on.
    word: Option<Uuid>,
    /// The server's last signed word that the rollout is not halted.
    clearance: Option<String>,
    watch: Option<Watch>,
    /// The journal's entry of which the server has heard: job and count. Of an agent that has just begun: whatever it was, unless
    /// evidence of it is still to be sent.
    told: Option<(Work, u64)>,
    /// Whether the last check-in asked the centre to say that it heard it.
    vouch: bool,
    receipts: Receipts,
    /// When it was last begun to give back what is owed.
    gave_back: Option<Instant>,
}

/// What became of driving.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Driven {
    /// Something is to be told to the server.
    pub(crate) news: bool,
    /// And at once: what it answers is waited for.
    pub(crate) urgent: bool,
    /// When to drive again.
    pub(crate) again: Duration,
}

impl Converging {
    /// Opens what was written. Errors where that is damaged, or where this host can have no part in rollouts: then it begins
    /// nothing, and says so.
    pub(crate) fn open(
        state: &Rc<State>,
        identity: &Identity,
        settings: &Settings,
        root: &Path,
        source: Arc<Source>,
        pace: &Pace,
    ) -> Result<Self, Problem> {
        let refused = |object: &str, reason: String| Problem::new("take part in rollouts as", object, reason);
        let host = Uuid::try_parse(&identity.host)
            .map_err(|problem| refused(&identity.host, problem.to_string()))?;
        let local = settings.local().map_err(|problem| refused("this host", problem.to_string()))?;
        let machine =
            clock::machine(root, state).map_err(|problem| refused("this machine", problem.to_string()))?;
        let kind = settings.agent.hand;
        let journal = journal::read(state, kind)?;
        let sight = Sight::new(root, &state.path(PACKAGES), machine, &identity.group);
        let hand: Box<dyn Hand> = match kind {
            HandKind::Eyes => Box::new(Eyes(sight)),
            HandKind::Dry => Box::new(dry::Dry::new(sight, state.clone())?),
            HandKind::Apt | HandKind::Dnf | HandKind::Zypper | HandKind::Pacman | HandKind::Apk => {
                let driver = driver(kind)
                    .ok_or_else(|| refused("this host", format!("hand \"{kind}\" is not built")))?;
                let group = &identity.group;
                Box::new(Installer::new(settings, driver, root, machine, group, source.clone())?)
            }
        };
        Ok(Self {
            host: HostId(host),
            state: state.clone(),
            hand,
            receipts: Receipts::new(settings, crate::check_in::status(state).and_then(|status| status.job)),
            local,
            pace: *pace,
            machine,
            told: journal.work.zip(Some(journal.seq)).filter(|_| !Untold::is_there(state)),
            journal,
            memory: Memory::default(),
            approvals: Approvals::new(state, source, pace),
            prober: Prober::new(pace.probes, settings.commands.clone()),
            replayer: Replayer::new(state),
            word: None,
            clearance: None,
            watch: None,
            gave_back: None,
            vouch: false,
        })
    }

    /// What a check-in says.
    pub(crate) fn ask(&mut self) -> Option<order::CheckIn> {
        // Without chance no nonce, and without a nonce no question.
        // What is asked for with a number of the hand's own, the hand can tell the age of.
        let is_on_trial = self.hand.is_on_trial();
        let drawn =
            if self.journal.stage == Stage::Fetched || is_on_trial { self.hand.nonce() } else { None };
        self.vouch = is_on_trial && drawn.is_some();
        let nonce = drawn.or_else(|| getrandom::u64().ok())?;
        let healthy = self.healthy(Timestamp::now());
        let boot = self.hand.boot();
        Some(self.memory.ask(&self.journal, nonce, boot, clock::uptime_ms(), self.machine, healthy))
    }

    /// Whether the check-in that was drawn up last asks the centre to say, signed, that it heard it.
    pub(crate) fn wants_word(&self) -> bool {
        self.vouch
    }

    /// Gives the hand the centre's word that it heard this host.
    pub(crate) fn vouched(&mut self, word: &str, log: &mut dyn FnMut(Told)) {
        if let Err(problem) = self.hand.heard(word) {
            self.receipts.trouble(problem, log);
        }
    }

    /// Takes what the server told, as far as it is signed or can only stop this host.
    pub(crate) fn hear(&mut self, told: Option<&v1::Told>, log: &mut dyn FnMut(Told)) {
        self.watch = told.and_then(|told| told.watch);
        // It answers what the check-in said, which was this.
        self.told = self.journal.work.zip(Some(self.journal.seq));
        let Some(told) = told else { return };
        if told.order.is_some() {
            self.word = told.word;
        }
        let mut answer = Answer { order: told.order, clearance: None, withdraw: told.withdraw };
        if let Some(text) = &told.clearance {
            match self.approvals.not_halted(text, Timestamp::now()) {
                Ok(said) => {
                    answer.clearance = Some(Clearance {
                        host: HostId(said.host),
                        plan: PlanId(said.plan),
                        fence: said.fence,
                        nonce: said.nonce,
                    });
                    self.clearance = Some(text.clone());
                }
                Err(problem) => self.receipts.trouble(problem, log),
            }
        }
        // Whether it is for this host and answers a question of ours, it looks up itself.
        self.memory.hear(self.host, &answer, self.hand.boot());
    }

    /// Whether something may have to be done soon: an answer matters.
    pub(crate) fn is_under_way(&self) -> bool {
        self.journal.work.is_some() && !self.journal.stage.is_final() || self.is_order_new()
    }

    /// Whether a job has ended, and the server has not heard of it.
    pub(crate) fn is_end_untold(&self) -> bool {
        self.journal.stage.is_final()
            && self.journal.work.is_some_and(|work| self.told != Some((work, self.journal.seq)))
    }

    /// Whether an order was heard that is not the job at hand, nor an older one.
    fn is_order_new(&self) -> bool {
        let is_known = |order: order::Order| {
            self.journal.work.is_some_and(|work| work.plan == order.plan && work.fence >= order.fence)
        };
        self.memory.order.is_some_and(|order| !is_known(order))
    }

    /// Steps until it rests.
    pub(crate) fn drive(&mut self, log: &mut dyn FnMut(Told)) -> Driven {
        let before = self.journal.seq;
        let fence = self.journal.work.map(|work| work.fence);
        let mut again = self.pace.step_slow;
        for count in 0..STEPS_MAX {
            match self.step(log) {
                Ok(Act::Rest(pause)) => {
                    again = self.until_next(&pause);
                    let why = self.why(&pause);
                    self.receipts.rests(why);
                    break;
                }
                Ok(_) => {}
                Err(problem) => {
                    // Nothing follows from what could not be seen, written or begun; it is tried again.
                    self.receipts.blocked(problem, log);
                    break;
                }
            }
            if count + 1 == STEPS_MAX {
                again = self.pace.step;
            }
        }
        let unheard = !self.vouch && self.hand.is_on_trial();
        let news = self.journal.seq != before || self.journal.work.map(|work| work.fence) != fence || unheard;
        let urgent = news && self.journal.stage == Stage::Fetched;
        Driven { news, urgent, again }
    }

    /// What `palisade agent status` tells.
    pub(crate) fn status(&self) -> JobStatus {
        let title = self.work_plan().map(|plan| plan.title.clone());
        self.receipts.status(&self.journal, title, self.approvals.status())
    }

    fn step(&mut self, log: &mut dyn FnMut(Told)) -> Result<Act, Problem> {
        let now = Timestamp::now();
        let wanted = Wanted {
            needed: self.needed(),
            kept: self.kept(),
            must_keep: self.begun().is_some(),
            word: self.word.filter(|_| self.is_order_new()),
            fresh: self.is_under_way() && self.begun().is_none() || self.watch.is_some(),
        };
        self.approvals.attend(&self.state, &wanted, now);
        let look = self.look(now)?;
        if let Some(problem) = self.hand.told() {
            self.receipts.trouble(problem, log);
        }
        let healthy = self.healthy(now);
        for problem in [self.prober.told(), self.replayer.told()].into_iter().flatten() {
            self.receipts.trouble(problem, log);
        }
        let plans = self.approvals.approved(self.begun(), now);
        let mut step = self.decide(&look, healthy, &plans, &self.local);
        if self.hand.kind() == HandKind::Eyes && self.journal.stage == Stage::Preflight {
            // What else would keep it from beginning is worth more to know than that it has no hand.
            let refuses = step.journal.as_ref().is_some_and(|journal| journal.stage.is_final());
            if !refuses {
                step = self.decide(&look, healthy, &plans, &Local { never: true, ..self.local.clone() });
            }
        }
        drop(plans);
        let tries = (self.journal.seq, self.journal.tries);
        if let Some(journal) = step.journal {
            let kind = self.hand.kind();
            self.write(&journal)?;
            let entered = journal.seq != self.journal.seq || journal.work != self.journal.work;
            self.journal = journal;
            if entered {
                self.receipts.entered(&self.journal, kind, now, log);
                self.keep_evidence(&look, now, log);
            }
        }
        match &step.act {
            Act::Go | Act::Rest(_) => {}
            Act::GiveBack => {
                // A job that has begun counts its tries; otherwise it is tried at leisure.
                let is_counted = self.journal.stage.is_past_return() && !self.journal.stage.is_final();
                if !is_counted && self.gave_back.is_some_and(|at| at.elapsed() < GIVE_BACK_AGAIN) {
                    return Ok(Act::Rest(Pause::Working));
                }
                self.gave_back = Some(Instant::now());
                self.hand.give_back()?;
            }
            Act::Fetch | Act::Drain | Act::Apply | Act::Repair | Act::Revert | Act::Restart | Act::Reboot => {
                let job = of(self.host, &self.journal, &self.approvals, &look.group);
                if let Some(job) = job {
                    let job = Job { word: self.word, clearance: self.clearance.as_deref(), ..job };
                    let begun = self.hand.begin(&step.act, &job);
                    // A server that does not answer for a while uses up no tries.
                    if begun.is_err() && self.hand.is_cut_off() && self.journal.seq == tries.0 {
                        self.journal.tries = tries.1;
                        self.write(&self.journal)?;
                    }
                    begun?;
                }
            }
        }
        Ok(step.act)
    }

    fn write(&self, journal: &Journal) -> Result<(), Problem> {
        journal::write(&self.state, self.hand.kind(), journal).map_err(|problem| {
            Problem::new("write the journal in", self.state.directory().display().to_string(), problem)
                .remedy("free some space; nothing is begun without it")
        })
    }

    /// Keeps what is to be shown of a job that is over.
    fn keep_evidence(&mut self, look: &Look, now: Timestamp, log: &mut dyn FnMut(Told)) {
        let job = of(self.host, &self.journal, &self.approvals, &look.group);
        let Some(job) = job.filter(|job| job.stage.is_final() && driver(self.hand.kind()).is_some()) else {
            return;
        };
        let told_by = (&self.prober, &self.replayer);
        if let Err(problem) = evidence::keep(&self.state, self.host, &job, look, told_by, now) {
            self.receipts.trouble(problem, log);
        }
    }

    fn decide(
        &self,
        look: &Look,
        healthy: Option<bool>,
        plans: &[Approved<'_>],
        local: &Local,
    ) -> converge::Step {
        let packages = look.seen();
        converge::step(&Input {
            journal: &self.journal,
            memory: &self.memory,
            plans,
            local,
            host: self.host,
            seen: &look.observation(&packages, healthy, self.replayer.before()),
        })
    }

    fn look(&mut self, now: Timestamp) -> Result<Look, Problem> {
        let group = self.hand.glance(now).group;
        match of(self.host, &self.journal, &self.approvals, &group) {
            Some(job) if !job.stage.is_final() => self.hand.look(&job, now),
            Some(_) | None => Ok(self.hand.glance(now)),
        }
    }

    /// Plans that must be in force: the new order's, that of a job that has not begun, the one that is watched.
    fn needed(&self) -> Vec<Named> {
        let order = self.memory.order.filter(|_| self.is_order_new());
        let work = self.journal.work.filter(|_| !self.journal.stage.is_final() && self.begun().is_none());
        let named = order.map(|order| (order.plan, order.digest)).into_iter();
        let named = named.chain(work.map(|work| (work.plan, work.digest)));
        named.chain(self.watch.map(|watch| (watch.plan, watch.digest))).collect()
    }

    /// The plan of the job that has begun, or is over: it is held as it was verified.
    fn kept(&self) -> Option<Named> {
        let work = self.journal.work.filter(|_| self.journal.stage.is_past_return())?;
        Some((work.plan, work.digest))
    }

    /// The content that this host is past the point of no return with.
    fn begun(&self) -> Option<Digest> {
        let is_begun = self.journal.stage.is_past_return() && !self.journal.stage.is_final();
        self.journal.work.filter(|_| is_begun).map(|work: Work| work.digest)
    }

    fn work_plan(&self) -> Option<&Plan> {
        self.journal.work.and_then(|work| self.approvals.plan((work.plan, work.digest)))
    }

    /// Whether the probes of this host's plan pass, and its services bear what is replayed to them. Before its turn and after it, too: others are compared with it.
    fn healthy(&mut self, now: Timestamp) -> Option<bool> {
        // Of a job that has begun or is over they are asked without looking whether its plan is in force still.
        let kept = self.kept();
        let is_good = |named: &Named| self.approvals.is_in_force(*named, now);
        let lasts = |named: &Named| self.approvals.plan(*named).is_some_and(|plan| now < plan.expires);
        let named = match self.begun() {
            Some(_) => kept,
            None => self.needed().into_iter().find(is_good).or_else(|| kept.filter(lasts)),
        };
        let boot = self.hand.boot();
        let Some((plan, named)) = named.and_then(|named| Some((self.approvals.plan(named)?, named))) else {
            self.prober.forget();
            self.replayer.forget();
            return None;
        };
        let ours = self.journal.work.filter(|work| (work.plan, work.digest) == named);
        let key = Key {
            digest: named.1,
            fence: ours.map_or(0, |work| work.fence),
            seq: ours.map_or(0, |_| self.journal.seq),
            stage: ours.map(|_| self.journal.stage),
            boot,
        };
        let answer = self.prober.ask(key, plan, self.host);
        let answer = self.hand.healthy(answer);
        // Nothing is installed by a hand that pretends: no attempt is sent for it.
        let real = !matches!(self.hand.kind(), HandKind::Eyes | HandKind::Dry);
        let job = ours.map(|work| (self.journal.stage, work.direction));
        let phase = Phase::of(job, real, self.at_this_stage(boot));
        let replayed = self.replayer.ask(key, phase, plan, self.host);
        match (answer, replayed) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (None, _) | (_, None) => None,
            (Some(true), Some(true)) => Some(true),
        }
    }
}

/// The job of a journal, if its plan is held and has a class for this host.
fn of<'a>(host: HostId, journal: &Journal, approvals: &'a Approvals, group: &str) -> Option<Job<'a>> {
    let work = journal.work?;
    let plan = approvals.plan((work.plan, work.digest))?;
    let class = plan.class_of(host, group)?;
    let Work { digest, fence, direction, .. } = work;
    let (stage, seq) = (journal.stage, journal.seq);
    Some(Job { plan, digest, class, fence, direction, stage, seq, word: None, clearance: None })
}
