//! What this host believes: plans and words that approvers have signed, fetched from the server and verified here, kept by
//! their digests.
//!
//! A plan is believed while it is in force: before every use it is held against the list of plans that was verified last,
//! and against the clock. Only a host that is past the point of no return goes on with the very content that it had
//! verified before, whatever happens to the list: whoever has begun finishes.

use super::source::Source;
use crate::link::Link;
use crate::pace::{Pace, chance};
use crate::settings::zones;
use crate::state::{Durable, PLANS, State, TRUST};
use advisory::Problem;
use jiff::Timestamp;
use rollout::converge::Approved;
use rollout::plan::{Digest, Plan, PlanId};
use rollout::window::Calendar;
use rollout::word::Word;
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};
use trust::plan::PLAN_BYTES_MAX;
use trust::standing::Custody;
use trust::{Fetch, PlanName, PlanTarget, Trusted};
use uuid::Uuid;

/// How long one update, or one plan, may take: check-ins wait for it.
const WITHIN: Duration = Duration::from_secs(60);
/// The first root, where the enrolment brought none.
const FIRST_ROOT: &str = "1.root.json";
/// Bytes of it, as much as the verifier takes.
const ROOT_BYTES_MAX: u64 = 256 << 10;
/// A plan by id and content.
pub(super) type Named = (PlanId, Digest);

/// What is to be held.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Plans that must be in force.
    pub(super) needed: Vec<Named>,
    /// The plan of a job that has begun, or is over.
    pub(super) kept: Option<Named>,
    /// It has begun: without that plan it cannot go on.
    pub(super) must_keep: bool,
    /// The approvers' word that an order rests on.
    pub(super) word: Option<Uuid>,
    /// The list is to be the newest.
    pub(super) fresh: bool,
}

/// What is believed.
#[derive(Debug)]
pub(super) struct Approvals {
    source: Arc<Source>,
    pace: Pace,
    trusted: Option<Trusted>,
    plans: Vec<Held>,
    words: Vec<Said>,
    /// When the list was verified last.
    updated: Option<Instant>,
    /// Not asked before that.
    next: Instant,
    failures: u32,
    status: TrustStatus,
}

#[derive(Debug)]
struct Held {
    plan: Plan,
    digest: Digest,
    calendar: Calendar,
}

#[derive(Debug)]
struct Said {
    word: Word,
    bytes: Vec<u8>,
}

/// What `palisade agent status` tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustStatus {
    /// Version of the root; `None`: no root yet.
    pub root_version: Option<u64>,
    /// The server holds the approvers' key: whoever captures it can install what they like.
    pub one_key: bool,
    /// How many approvers must sign a plan.
    pub threshold: u32,
    /// The approvers, as their keys are named.
    pub approvers: Vec<String>,
    /// What people must sign anew, and when it expires.
    pub expires: Vec<(String, Timestamp)>,
    /// When it was last verified that this is the newest.
    pub updated: Option<Timestamp>,
    /// Plans in force.
    pub plans: usize,
    /// Why it could not be verified, or why a plan is not believed.
    pub problem: Option<String>,
}

impl Approvals {
    pub(super) fn new(state: &State, source: Arc<Source>, pace: &Pace) -> Self {
        let mut approvals = Self {
            source,
            pace: *pace,
            trusted: None,
            plans: Vec::new(),
            words: Vec::new(),
            updated: None,
            next: Instant::now(),
            failures: 0,
            status: TrustStatus::default(),
        };
        match approvals.open(state) {
            Ok(()) | Err(trust::trusted::Error::NoRoot(_)) => {}
            Err(problem) => approvals.status.problem = Some(problem.to_string()),
        }
        approvals
    }

    pub(super) fn status(&self) -> &TrustStatus {
        &self.status
    }

    /// Sees to it that what is wanted is held, and that the list is the newest where it must be. Asks the server only if
    /// something is missing or due, and not again and again.
    pub(super) fn attend(&mut self, state: &State, wanted: &Wanted, now: Timestamp) {
        let Wanted { needed, kept, must_keep, word, fresh } = wanted;
        self.plans.retain(|held| {
            let named = (held.plan.id, held.digest);
            needed.contains(&named) || *kept == Some(named)
        });
        self.words.retain(|said| Some(said.word.id) == *word);
        for named in needed.iter().chain(kept) {
            if self.held(*named).is_none() {
                self.take_kept(state, *named);
            }
        }
        // What has begun needs no list any more, only its text.
        let lacks = |approvals: &Self| {
            needed.iter().any(|named| !approvals.is_in_force(*named, now))
                || *must_keep && kept.is_some_and(|named| approvals.held(named).is_none())
                || word.is_some_and(|word| approvals.said(word, now).is_none())
        };
        let old = self.updated.is_none_or(|at| at.elapsed() >= self.pace.trust);
        if !(lacks(self) || *fresh && old) || Instant::now() < self.next {
            return;
        }
        let done = self.update(state, wanted, now);
        if let Err(problem) = &done {
            self.status.problem = Some(problem.clone());
        }
        if done.is_ok() && !lacks(self) {
            (self.failures, self.next) = (0, Instant::now());
        } else {
            self.failures = self.failures.saturating_add(1);
            // A server that is back is asked within a minute.
            let (least, most) = (self.pace.unanswered / 2, self.pace.unanswered * 6);
            self.next = Instant::now() + self.pace.back_off(self.failures, chance()).clamp(least, most);
        }
    }

    /// The plans that may be used now. `begun`: the content that this host is past the point of no return with.
    pub(super) fn approved(&self, begun: Option<Digest>, now: Timestamp) -> Vec<Approved<'_>> {
        let usable =
            |held: &&Held| begun == Some(held.digest) || self.is_in_force((held.plan.id, held.digest), now);
        let back = |held: &Held| {
            let says = |said: &Said| said.word.allows_back(held.plan.id, held.digest);
            self.words.iter().any(|said| says(said) && self.said(said.word.id, now).is_some())
        };
        self.plans
            .iter()
            .filter(usable)
            .map(|held| Approved {
                plan: &held.plan,
                digest: held.digest,
                calendar: &held.calendar,
                back: back(held),
            })
            .collect()
    }

    /// A plan that is held, whether it is in force or not.
    pub(super) fn plan(&self, named: Named) -> Option<&Plan> {
        self.held(named).map(|held| &held.plan)
    }

    /// Whether a plan that is held is in force now.
    pub(super) fn is_in_force(&self, named: Named, now: Timestamp) -> bool {
        let verified = |held: &Held| {
            let trusted = self.trusted.as_ref()?;
            trusted.is_in_force(PlanName(held.plan.id.0), &held.digest.0, now).ok()
        };
        self.held(named).and_then(verified).is_some()
    }

    /// "Not halted", if the server's key has signed it.
    pub(super) fn not_halted(
        &self,
        text: &str,
        now: Timestamp,
    ) -> Result<trust::statement::NotHalted, Problem> {
        let doubted = |reason: String| {
            Problem::new("believe that the rollout is not halted", "the server's word", reason)
                .remedy("nothing is begun; see who answers in the server's place")
        };
        let trusted = self.trusted.as_ref().ok_or_else(|| doubted("no root was given yet".to_owned()))?;
        trusted.not_halted(text.as_bytes(), now).map_err(|problem| doubted(problem.to_string()))
    }

    fn held(&self, (plan, digest): Named) -> Option<&Held> {
        self.plans.iter().find(|held| held.plan.id == plan && held.digest == digest)
    }

    fn said(&self, word: Uuid, now: Timestamp) -> Option<&Said> {
        let trusted = self.trusted.as_ref()?;
        let said = self.words.iter().find(|said| said.word.id == word)?;
        trusted.verify(PlanName(word), &said.bytes, now).ok().map(|()| said)
    }

    fn open(&mut self, state: &State) -> Result<(), trust::trusted::Error> {
        let source: Arc<dyn Fetch> = self.source.clone();
        let trusted = Trusted::open(&state.path(TRUST), source)?.waiting(WITHIN);
        self.status.root_version = Some(trusted.root_version());
        self.trusted = Some(trusted);
        Ok(())
    }

    /// Opens what was pinned; pins the server's first root where the enrolment brought none.
    fn trusted(&mut self, state: &State) -> Result<(), String> {
        if self.trusted.is_some() {
            return Ok(());
        }
        match self.open(state) {
            Ok(()) => return Ok(()),
            Err(trust::trusted::Error::NoRoot(_)) => {}
            // A damaged memory is not replaced by a new one: it held how new the newest was.
            Err(problem) => return Err(problem.to_string()),
        }
        let root = first_root(&*self.source)?;
        pin(state, &root, self.source.clone())?;
        self.open(state).map_err(|problem| problem.to_string())
    }

    fn update(&mut self, state: &State, wanted: &Wanted, now: Timestamp) -> Result<(), String> {
        self.trusted(state)?;
        let Some(trusted) = &mut self.trusted else { return Err("no root was given yet".to_owned()) };
        let listed = trusted.update(now).map_err(|problem| problem.to_string())?;
        self.updated = Some(Instant::now());
        self.tell(now, listed.len());
        let mut wrong = None;
        let lost = wanted.kept.filter(|named| wanted.must_keep && self.held(*named).is_none());
        for named in wanted.needed.iter().chain(&lost) {
            if !self.is_in_force(*named, now)
                && let Err(problem) = self.fetch_plan(state, &listed, *named, now)
            {
                wrong = Some(problem);
            }
        }
        if let Some(word) = wanted.word.filter(|word| self.said(*word, now).is_none())
            && let Err(problem) = self.fetch_word(state, &listed, word, now)
        {
            wrong = Some(problem);
        }
        self.sweep(state);
        wrong.map_or(Ok(()), Err)
    }

    /// What the status says of what was just verified.
    fn tell(&mut self, now: Timestamp, plans: usize) {
        let Some(trusted) = &self.trusted else { return };
        let mut status = TrustStatus {
            root_version: Some(trusted.root_version()),
            updated: Some(now),
            plans,
            ..TrustStatus::default()
        };
        match trusted.standing() {
            Ok(standing) => {
                let approvers = standing.approvers();
                status.one_key = standing.custody() == Custody::Server;
                status.threshold = approvers.threshold();
                status.approvers = approvers.keys().iter().map(|key| key.name().to_owned()).collect();
                status.expires =
                    standing.expiries().iter().map(|(what, at)| ((*what).to_owned(), *at)).collect();
            }
            Err(problem) => status.problem = Some(problem.to_string()),
        }
        self.status = status;
    }

    fn fetch_plan(
        &mut self,
        state: &State,
        listed: &[PlanTarget],
        (plan, digest): Named,
        now: Timestamp,
    ) -> Result<(), String> {
        let name = PlanName(plan.0);
        let target = listed.iter().find(|target| target.name == name);
        let target =
            target.ok_or_else(|| format!("plan {plan} is not in force: approvers have not signed it"))?;
        if target.sha256 != digest.0 {
            return Err(format!("plan {plan}: the order names another content than approvers have signed"));
        }
        let bytes = self.bytes(state, target, now)?;
        let held = held(&bytes, (plan, digest))?;
        let faults = held.plan.check(&zones());
        if let Some(first) = faults.first() {
            return Err(format!("plan {plan} has {} faults: {first}", faults.len()));
        }
        self.keep(state, digest, &bytes);
        self.plans.push(held);
        Ok(())
    }

    fn fetch_word(
        &mut self,
        state: &State,
        listed: &[PlanTarget],
        word: Uuid,
        now: Timestamp,
    ) -> Result<(), String> {
        let target = listed.iter().find(|target| target.name == PlanName(word));
        let target = target.ok_or_else(|| format!("the approvers' word {word} is not in force"))?;
        let bytes = self.bytes(state, target, now)?;
        let read = Word::read(&bytes).map_err(|problem| problem.to_string())?;
        if read.id != word {
            return Err(format!("the approvers' word {word} calls itself {}", read.id));
        }
        self.keep(state, Digest(target.sha256), &bytes);
        self.words.push(Said { word: read, bytes });
        Ok(())
    }

    /// The bytes of what is listed: as kept, or from the server; verified either way.
    fn bytes(&mut self, state: &State, target: &PlanTarget, now: Timestamp) -> Result<Vec<u8>, String> {
        let Some(trusted) = &mut self.trusted else { return Err("no root was given yet".to_owned()) };
        if let Ok(Some(kept)) = state.read(file(Digest(target.sha256)), PLAN_BYTES_MAX)
            && trusted.verify(target.name, &kept, now).is_ok()
        {
            return Ok(kept);
        }
        trusted.plan(target.name, now).map_err(|problem| problem.to_string())
    }

    /// Kept in vain is fetched again: only said.
    fn keep(&mut self, state: &State, digest: Digest, bytes: &[u8]) {
        let kept = state.folder(PLANS).and_then(|_| state.keep(file(digest), bytes, Durable::Yes));
        if let Err(problem) = kept {
            self.status.problem = Some(format!("keep a plan in {}: {problem}", state.path(PLANS).display()));
        }
    }

    /// Takes a plan that was kept, by its digest. Whether it is in force is asked before it is used.
    fn take_kept(&mut self, state: &State, named: Named) {
        let Ok(Some(bytes)) = state.read(file(named.1), PLAN_BYTES_MAX) else { return };
        match held(&bytes, named) {
            Ok(held) => self.plans.push(held),
            Err(problem) => self.status.problem = Some(problem),
        }
    }

    /// Removes what is kept and not held any more.
    fn sweep(&self, state: &State) {
        let held = self.plans.iter().map(|held| held.digest);
        let said = self.words.iter().map(|said| Digest::of(&said.bytes));
        let wanted: Vec<String> = held.chain(said).map(|digest| format!("{digest}.json")).collect();
        for entry in std::fs::read_dir(state.path(PLANS)).into_iter().flatten().flatten() {
            if !wanted.iter().any(|name| entry.file_name() == name.as_str()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// The server's first root, where the enrolment brought none.
fn first_root(source: &dyn Fetch) -> Result<Vec<u8>, String> {
    let absent = |problem: std::io::Error| {
        if problem.kind() == ErrorKind::NotFound {
            "fetch the first root: the server has none; nobody approves plans yet".to_owned()
        } else {
            format!("fetch the first root: {problem}")
        }
    };
    let from = source.fetch(FIRST_ROOT, ROOT_BYTES_MAX, WITHIN).map_err(absent)?;
    let mut root = Vec::new();
    from.take(ROOT_BYTES_MAX + 1).read_to_end(&mut root).map_err(absent)?;
    Ok(root)
}

/// The newest root that the server of this host gives, followed from its first. Nothing is kept, and nothing is believed by
/// it: it is to be held against a fingerprint that a person brings.
pub fn newest_root(state: &State, now: Timestamp) -> Result<Vec<u8>, Problem> {
    let failed = |reason: String| {
        Problem::new(
            "fetch the root that approvers stand by",
            state.directory().display().to_string(),
            reason,
        )
        .remedy("the server must answer, and its fleet's trust be founded")
    };
    let identity = state.identity().map_err(|problem| failed(problem.to_string()))?;
    let link = Link::new(&identity).map_err(|problem| failed(problem.to_string()))?;
    let source: Arc<dyn Fetch> = Arc::new(Source::new(link));
    let scratch = tempfile::tempdir().map_err(|problem| failed(problem.to_string()))?;
    let first = first_root(&*source).map_err(failed)?;
    let mut trusted =
        Trusted::pin(scratch.path(), &first, source).map_err(|problem| failed(problem.to_string()))?;
    trusted = trusted.waiting(WITHIN);
    trusted.update(now).map_err(|problem| failed(problem.to_string()))?;
    Ok(trusted.root_bytes().to_vec())
}

/// Begins to trust `root`, for good.
pub(crate) fn pin(state: &State, root: &[u8], source: Arc<Source>) -> Result<(), String> {
    let folder = state
        .folder(TRUST)
        .map_err(|problem| format!("remember who may sign in {}: {problem}", state.path(TRUST).display()))?;
    Trusted::pin(&folder, root, source).map(|_| ()).map_err(|problem| problem.to_string())
}

fn file(digest: Digest) -> String {
    format!("{PLANS}/{digest}.json")
}

/// A plan's bytes, read.
fn held(bytes: &[u8], (plan, digest): Named) -> Result<Held, String> {
    if Digest::of(bytes) != digest {
        return Err(format!("plan {plan}: what was kept is damaged"));
    }
    let read = Plan::read(bytes).map_err(|problem| problem.to_string())?;
    if read.id != plan {
        return Err(format!("plan {plan} calls itself {}", read.id));
    }
    let calendar = Calendar::read(&read.windows, &read.blackouts, &zones());
    let calendar = calendar.map_err(|problem| problem.to_string())?;
    Ok(Held { plan: read, digest, calendar })
}
