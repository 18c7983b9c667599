//! The agent's life: look at the host, check in, send what changed; over and over, until it is told to stop.
//!
//! What is installed is left to a hand ([`crate::job`]). Each round does the same whatever happened before: what was not sent waits in the
//! spool, what was not renewed is asked for again.

mod census;
mod clock;
mod orders;
mod renew;
mod send;

pub use clock::apart;

use crate::apt::Network;
use crate::enrol::machine;
use crate::hint::Hints;
use crate::identity::Identity;
use crate::job::{Converging, JobStatus, Source};
use crate::link::{self, Body, Link};
use crate::look;
use crate::notify;
use crate::pace::{Pace, chance};
use crate::program;
use crate::rehearse::Rehearsal;
use crate::settings::Settings;
use crate::spool::Spool;
use crate::state::{self, CACHE, Durable, STATUS, State};
use crate::told::{Contact, Status, Told};
use crate::watch::{Step, Triggers, Watch};
use advisory::Problem;
use advisory::digest::hex;
use jiff::Timestamp;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wire::v1::{CHECK_IN_PATH, CheckIn, CheckedIn, Refusal, Report, hash};

/// How long we sleep before looking whether we are to stop.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same while the hand has something under way: a job has five such parts, and the end of each is waited for.
const WATCHED: Duration = Duration::from_millis(20);
/// How long we sleep at most: systemd hears from us after each round, and waits for an hour.
const ROUND_MAX: Duration = Duration::from_secs(600);
/// Bytes of the file that tells how the agent is; a status has a thousand.
const STATUS_BYTES_MAX: u64 = 1 << 20;
/// Reports that are sent in one round: all that can wait.
const ROUNDS_MAX: usize = 64;

/// What an agent needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its directory, with an identity in it.
    pub state: PathBuf,
    /// The root directory of the host.
    pub root: PathBuf,
    /// Whether archives may be asked.
    pub network: Network,
    /// How long it waits.
    pub pace: Pace,
    /// What the host's owner allows.
    pub settings: Settings,
}

impl Config {
    /// This machine, at an ordinary pace.
    pub fn new(state: impl Into<PathBuf>, settings: Settings) -> Self {
        let pace = Pace::default();
        Self { state: state.into(), root: "/".into(), network: Network::Archives, pace, settings }
    }
}

/// Why the agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// The host is no longer part of the fleet; what the server said.
    Revoked(String),
}

/// Runs until `stop` is set, or the server says that this host is no longer part of the fleet.
///
/// `log` is told what a person might want to read. Errors only where the directory cannot be used; everything else is
/// tried again.
pub fn run(config: Config, stop: &AtomicBool, log: &mut dyn FnMut(Told)) -> Result<Ended, state::Error> {
    let state = Rc::new(State::open(&config.state)?);
    let identity = state.identity()?;
    let _lock = state.lock()?;
    let machine = machine(&config.root, &state)?;
    let (spool, problems) = Spool::open(&state);
    let status = Status {
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started: Timestamp::now(),
        contact: Contact::Never,
        tried: None,
        answered: None,
        clock_ahead_seconds: 0,
        said: String::new(),
        interval_seconds: 0,
        inventory: spool.newest().to_owned(),
        looked: None,
        waiting: spool.waiting(),
        dropped: 0,
        problem: None,
        job: None,
        census: None,
    };
    let source = Arc::<Source>::default();
    let part =
        Converging::open(&state, &identity, &config.settings, &config.root, source.clone(), &config.pace);
    let mut running = Running {
        watch: Watch::new(&config.pace),
        config,
        state,
        identity,
        machine,
        link: None,
        source,
        part: None,
        hints: None,
        ended: false,
        rehearsal: Rehearsal::default(),
        census: census::Part::default(),
        spoke: None,
        spool,
        status,
        stream: stream(),
        seq: 0,
        failures: 0,
        renew_after: None,
        unwritten: None,
        stop,
        log,
    };
    running
        .tell(Told::Started { host: running.identity.host.clone(), server: running.identity.server.clone() });
    for problem in problems {
        running.trouble(problem);
    }
    match part {
        Ok(part) => running.part = Some(part),
        Err(problem) => {
            running.status.job = Some(JobStatus::stopped(&running.config.settings, problem.clone()));
            running.trouble(problem);
        }
    }
    running.begin_census();
    notify::tell(notify::READY);
    Ok(running.live())
}

/// How the agent of a directory was when it last tried to reach its server; `None` if it never did.
pub fn status(state: &State) -> Option<Status> {
    let bytes = state.read(STATUS, STATUS_BYTES_MAX).ok()??;
    serde_json::from_slice(&bytes).ok()
}

/// Sixteen random bytes, hex: one agent's run, from its start to its end.
fn stream() -> String {
    let mut bytes = [0; 16];
    // Without randomness no TLS either; then the stream's name is the least of it.
    let _ = getrandom::fill(&mut bytes);
    hex(&bytes)
}

struct Running<'a> {
    config: Config,
    state: Rc<State>,
    identity: Identity,
    machine: String,
    /// Made when it is needed, and again for every new certificate.
    link: Option<Link>,
    /// The same line, for what approvers have signed.
    source: Arc<Source>,
    /// The host's part in rollouts; `None` where it can have none.
    part: Option<Converging>,
    hints: Option<Hints>,
    /// Whether what the hand had under way has just ended.
    ended: bool,
    rehearsal: Rehearsal,
    census: census::Part,
    /// When we last spoke to the server.
    spoke: Option<Instant>,
    spool: Spool,
    watch: Watch,
    status: Status,
    stream: String,
    seq: u64,
    /// In a row.
    failures: u32,
    /// No certificate is asked for before that.
    renew_after: Option<Instant>,
    /// Why the last status could not be written, so that it is told once.
    unwritten: Option<String>,
    stop: &'a AtomicBool,
    log: &'a mut dyn FnMut(Told),
}

/// What came of speaking to the server.
enum Spoken {
    /// Speak again after so long.
    Again(Duration),
    Ended(Ended),
}

impl Running<'_> {
    fn live(&mut self) -> Ended {
        let start = Instant::now();
        let mut speak_at = start + self.config.pace.first(chance());
        // The first look comes after the first check-in: the server should hear soon that we are here.
        let mut look_at = None;
        let mut drive_at = start;
        let mut census_at = start;
        loop {
            notify::tell(notify::ALIVE);
            if Instant::now() >= census_at {
                census_at = self.drive_census();
            }
            if Instant::now() >= drive_at || std::mem::take(&mut self.ended) {
                let driven = self.drive();
                drive_at = Instant::now() + driven.again;
                if driven.news {
                    speak_at = speak_at.min(if driven.urgent { Instant::now() } else { self.soon() });
                }
            }
            if self.is_called() {
                speak_at = speak_at.min(if self.is_hinted() { Instant::now() } else { self.soon() });
            }
            let now = Instant::now();
            let speaks = now >= speak_at;
            if look_at.is_some_and(|at| speaks || now >= at) {
                let (changed, again) = self.look();
                look_at = Some(Instant::now() + again);
                // A change is told at once, unless the server is to be left in peace.
                if changed && self.status.contact == Contact::InTouch {
                    speak_at = Instant::now();
                }
            }
            if self.is_stopped() {
                return Ended::Stopped;
            }
            if Instant::now() >= speak_at {
                match self.speak() {
                    Spoken::Again(wait) => speak_at = Instant::now() + wait,
                    Spoken::Ended(ended) => return ended,
                }
                // `speaks` looks again just before the next check-in; meanwhile only what could not be told goes on.
                look_at = look_at.or(Some(Instant::now()));
                // What was heard may be an order; and a server that answers may be told what was counted.
                drive_at = Instant::now();
                census_at = drive_at;
                continue;
            }
            let next = look_at.map_or(speak_at, |at| at.min(speak_at)).min(drive_at).min(census_at);
            if !self.sleep_until(next.min(Instant::now() + ROUND_MAX)) {
                return Ended::Stopped;
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Tells whether the time came, or somebody calls; not if we are to stop.
    fn sleep_until(&mut self, at: Instant) -> bool {
        loop {
            if self.is_stopped() {
                return false;
            }
            let left = at.saturating_duration_since(Instant::now());
            let over = self.part.as_mut().and_then(Converging::is_over);
            self.ended |= over == Some(true);
            if left.is_zero() || self.is_called() || self.ended {
                return true;
            }
            // Whoever calls ends this.
            let hop = if over.is_some() { WATCHED } else { PATIENCE };
            std::thread::park_timeout(left.min(hop));
        }
    }

    /// Looks at the host as far as there is reason to. Gives whether it changed, and when to ask again.
    fn look(&mut self) -> (bool, Duration) {
        // What is being changed is looked at when it is done.
        if self.part.as_ref().is_some_and(Converging::is_changing) {
            return (false, self.config.pace.settling);
        }
        let triggers = Triggers::read(&self.config.root);
        let began = Instant::now();
        let again = self.config.pace.triggers;
        let report = match self.watch.step(began, triggers.clone()) {
            Step::Rest => return (false, again),
            Step::Settling(wait) => return (false, wait),
            Step::Processes => match self.look_at_processes() {
                Some(report) => {
                    self.watch.looked_at_processes(Instant::now());
                    report
                }
                None => self.look_at_everything(triggers),
            },
            Step::Whole => self.look_at_everything(triggers),
        };
        // What a look that was interrupted did not see is not gone.
        if self.is_stopped() || program::is_stopped() {
            return (false, again);
        }
        self.status.looked = Timestamp::from_microsecond(report.observed_at).ok();
        if hash(&report.parts) == self.spool.newest() {
            return (false, again);
        }
        let at = self.status.looked.unwrap_or_default();
        for problem in self.spool.push(&self.state, report) {
            self.trouble(problem);
        }
        self.note_spool();
        self.tell(Told::Changed { at, took: began.elapsed() });
        (true, again)
    }

    fn look_at_everything(&mut self, triggers: Triggers) -> Report {
        // A cache that cannot be made is told by the look itself, as a gap.
        let cache = self.state.folder(CACHE).unwrap_or_else(|_| self.state.path(CACHE));
        let report = look::whole(&self.config.root, self.config.network, &cache);
        self.watch.looked_at_everything(Instant::now(), triggers);
        report
    }

    /// `None` if a whole look is needed.
    fn look_at_processes(&mut self) -> Option<Report> {
        let last = match self.spool.read_newest(&self.state)? {
            Ok(last) => last,
            Err(problem) => {
                self.trouble(problem);
                return None;
            }
        };
        look::processes(&self.config.root, last).ok().flatten()
    }

    /// One check-in, with what belongs to it.
    fn speak(&mut self) -> Spoken {
        self.status.tried = Some(Timestamp::now());
        self.spoke = Some(Instant::now());
        let spoken = self.renew_if_due().and_then(|()| self.check_in());
        let spoken = match spoken {
            Ok(answer) => {
                self.failures = 0;
                if self.status.contact != Contact::InTouch {
                    self.tell(Told::InTouch);
                }
                self.status.contact = Contact::InTouch;
                self.status.answered = Some(Timestamp::now());
                self.status.said.clear();
                self.status.interval_seconds = answer.next_seconds;
                self.heard(&answer);
                let sent = self.send(answer.report).and_then(|()| self.tell_rehearsed());
                match sent.and_then(|()| self.tell_evidence()) {
                    Ok(()) => Spoken::Again(self.config.pace.next(answer.next_seconds, chance())),
                    Err(problem) => self.failed(&problem),
                }
            }
            Err(problem) => self.failed(&problem),
        };
        self.note_clock();
        self.note_spool();
        self.write_status();
        spoken
    }

    /// What a failure means: when to try again, or that there is no sense in it.
    fn failed(&mut self, problem: &link::Error) -> Spoken {
        self.failures = self.failures.saturating_add(1);
        let pace = self.config.pace;
        let mut back_off = pace.back_off(self.failures, chance());
        if let Some(longest) = self.longest_wait() {
            back_off = back_off.min(longest);
        }
        let (contact, wait) = match problem {
            link::Error::Refused { refusal: Some(Refusal::Revoked), detail, .. } => {
                self.status.contact = Contact::Revoked;
                self.status.said.clone_from(detail);
                self.tell(Told::Revoked(detail.clone()));
                return Spoken::Ended(Ended::Revoked(detail.clone()));
            }
            link::Error::Refused { refusal: Some(Refusal::Quarantined), .. } => {
                (Contact::Quarantined, pace.rarely(chance()))
            }
            // Another version, or a bug: asking again soon would only fill two logs.
            link::Error::Refused { refusal: Some(Refusal::Malformed | Refusal::Token), .. } => {
                (Contact::OutOfTouch, pace.rarely(chance()))
            }
            link::Error::Refused { retry_after: Some(asked), .. } => {
                (Contact::OutOfTouch, pace.retry_after(*asked, chance()).max(back_off))
            }
            link::Error::Refused { .. }
            | link::Error::Untrusted(_)
            | link::Error::Unreachable(_)
            | link::Error::Unreadable(_) => (Contact::OutOfTouch, back_off),
        };
        let reason = format!("{}: {problem}", self.identity.server);
        let is_new = self.status.contact != contact || self.status.said != reason;
        self.status.contact = contact;
        self.status.said.clone_from(&reason);
        if is_new {
            self.tell(match contact {
                Contact::Quarantined => Told::Quarantined(reason),
                Contact::Never | Contact::InTouch | Contact::OutOfTouch | Contact::Revoked => {
                    Told::OutOfTouch { reason, again: wait }
                }
            });
        }
        Spoken::Again(wait)
    }

    fn check_in(&mut self) -> Result<CheckedIn, link::Error> {
        self.seq += 1;
        let job = self.part.as_mut().and_then(Converging::ask);
        let said = CheckIn {
            agent: self.version(),
            machine: self.machine.clone(),
            stream: self.stream.clone(),
            seq: self.seq,
            inventory: self.spool.newest().to_owned(),
            vouch: job.is_some() && self.part.as_ref().is_some_and(Converging::wants_word),
            job,
            clock_ahead_seconds: self.status.clock_ahead_seconds,
        };
        self.link()?.post(CHECK_IN_PATH, &Body::new(&said))
    }

    fn link(&mut self) -> Result<&Link, link::Error> {
        if self.link.is_none() {
            let link = Link::new(&self.identity)?;
            self.source.set(link.clone());
            self.link = Some(link);
        }
        self.link.as_ref().ok_or_else(|| link::Error::Unreachable("there is no line".to_owned()))
    }

    fn note_spool(&mut self) {
        self.spool.newest().clone_into(&mut self.status.inventory);
        self.status.waiting = self.spool.waiting();
        self.status.dropped = self.spool.dropped();
    }

    /// Not durable: it is written at every check-in, and only a crash of the whole machine loses it.
    fn write_status(&mut self) {
        let bytes = serde_json::to_vec_pretty(&self.status).expect("text keys only");
        let unwritten = self.state.keep(STATUS, &bytes, Durable::No).err().map(|error| error.to_string());
        if let Some(reason) = unwritten.as_ref().filter(|_| unwritten != self.unwritten) {
            let problem = Problem::new("write status in", self.directory(), reason);
            self.trouble(problem.remedy("free some space, and make the directory writable"));
        }
        self.unwritten = unwritten;
    }

    fn directory(&self) -> String {
        self.state.directory().display().to_string()
    }

    fn trouble(&mut self, problem: Problem) {
        self.status.problem = Some(problem.clone());
        self.tell(Told::Problem(problem));
    }

    fn tell(&mut self, told: Told) {
        (self.log)(told);
    }
}
