//! The hand that installs: it looks by itself, and asks the half of the agent that is root for everything else. That one
//! believes nothing of what is asked, and verifies it anew.

use super::hand::Hand;
use super::sight::{Job, Look, Sight};
use super::source::Source;
use crate::hand::deed::{Outcome, brought, unfinished};
use crate::hand::driver::{Driver, is_for_this_host};
use crate::hand::fit::asked;
use crate::hand::order::{Ask, Deed, Given, Line, Order, Reply};
use crate::hand::place::{DIRECTORY, Place, SOCKET};
use crate::hand::units::DeedSight;
use crate::hand::{PATIENCE, Service, is_on_trial, services};
use crate::settings::{HandKind, Settings};
use advisory::Problem;
use exposure::inventory::{Package, PackageState};
use jiff::Timestamp;
use rollout::converge::{Act, Duty, Fitness};
use rollout::order::Stage;
use rollout::plan::Digest;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trust::Fetch;

/// The hand.
#[derive(Debug)]
pub(super) struct Installer {
    kind: HandKind,
    driver: &'static dyn Driver,
    sight: Sight,
    /// To the other half, from the question before.
    line: Option<Line>,
    /// Where documents come from that the other half asks for.
    source: Arc<Source>,
    /// The other half's directory.
    place: PathBuf,
    deed: DeedSight,
    /// What was told last.
    told: Option<Timestamp>,
    /// What is to be told.
    tells: Option<Problem>,
    /// Services of this stage of the job: how often systemd had restarted each when it was first looked at.
    watched: Option<(u64, BTreeMap<String, u64>)>,
    /// Whether they are as they should be; `None`: not looked.
    well: Option<bool>,
    /// The host's owner has hooks that take it out of its service.
    has_hooks: bool,
    /// What was seen before the point of no return, and of which job's stage: whatever works there changes no package.
    last: Option<((Digest, u64, Stage), Look)>,
    /// A document that the other half needed could not be had, though the server may have it.
    cut_off: Cell<bool>,
}

impl Installer {
    /// Errors where this host is not kept by the package manager of this hand.
    pub(super) fn new(
        settings: &Settings,
        driver: &'static dyn Driver,
        root: &Path,
        machine: u64,
        group: &str,
        source: Arc<Source>,
    ) -> Result<Self, Problem> {
        is_for_this_host(driver, root)?;
        let place = PathBuf::from(DIRECTORY);
        let sight = Sight::new(root, &place.join(crate::state::PACKAGES), machine, group);
        let (kind, has_hooks) = (settings.agent.hand, !settings.hooks.drain.is_empty());
        Ok(Self {
            kind,
            driver,
            sight,
            line: None,
            source,
            place,
            deed: DeedSight::default(),
            told: None,
            tells: None,
            watched: None,
            well: None,
            has_hooks,
            last: None,
            cut_off: Cell::default(),
        })
    }

    /// What a look tells of what was taken from the host, besides.
    fn with_owed(&self, look: Look) -> Look {
        let owed = Place::owed_in(&self.place);
        let is_out = owed.as_ref().is_some_and(|owed| owed.is_out);
        let duty = match (self.has_hooks, is_out) {
            (false, _) => Duty::Unasked,
            (true, false) => Duty::On,
            (true, true) => Duty::Off,
        };
        Look { duty, owed: owed.is_some(), ..look }
    }

    /// Asks the other half, on the line of the question before where that is open still.
    fn ask(&mut self, ask: &Ask) -> Result<Reply, Problem> {
        let failed = |problem: std::io::Error| {
            let refused = Problem::new("ask the hand at", SOCKET, &problem);
            if matches!(problem.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) {
                refused.remedy("start it: systemctl enable --now palisade-hand.socket")
            } else {
                refused.remedy("it is asked again")
            }
        };
        if let Some(line) = self.line.take() {
            match self.ask_on(&line, ask) {
                Ok(reply) => {
                    self.line = Some(line);
                    return reply;
                }
                Err(problem) if is_closed(&problem) => {}
                Err(problem) => return Err(failed(problem)),
            }
        }
        let line = connect().map_err(failed)?;
        let reply = self.ask_on(&line, ask).map_err(failed)?;
        self.line = Some(line);
        reply
    }

    /// Asks on this line, and gives what is needed to verify what is asked.
    fn ask_on(&self, line: &Line, ask: &Ask) -> std::io::Result<Result<Reply, Problem>> {
        line.say(ask)?;
        loop {
            match line.hear::<Reply>()? {
                Reply::Need { name, bytes_max } => match self.document(&name, bytes_max) {
                    Ok(bytes) => line.give(&bytes),
                    Err(problem) if problem.kind() == ErrorKind::NotFound => line.say(&Given::Absent),
                    Err(problem) => {
                        self.cut_off.set(true);
                        line.say(&Given::Unknown(problem.to_string()))
                    }
                }?,
                Reply::Refused(problem) => return Ok(Err(problem)),
                reply @ (Reply::Nonce(_) | Reply::Begun | Reply::Noted) => return Ok(Ok(reply)),
            }
        }
    }

    fn document(&self, name: &str, bytes_max: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.source.fetch(name, bytes_max, PATIENCE)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Takes what became of the last order of this job, if it was not told yet.
    fn take_told(&mut self, outcomes: &[Outcome]) {
        let Some(Outcome { began, ended: Some(_), problem, .. }) = outcomes.last() else { return };
        if self.told != Some(*began) {
            (self.told, self.tells) = (Some(*began), problem.clone());
        }
    }

    /// Looks whether every service that ran code of the packages before still does well: neither down, nor restarted by systemd
    /// since the stage began.
    fn watch(&mut self, job: &Job<'_>, outcomes: Vec<Outcome>) {
        if !matches!(job.stage, Stage::Verifying | Stage::Soaking) {
            (self.watched, self.well) = (None, None);
            return;
        }
        let units: Vec<String> = outcomes.into_iter().flat_map(|outcome| outcome.users_before).collect();
        let Some(now) = services(&units) else {
            self.well = None;
            return;
        };
        let runs =
            |service: &Service| if let Service::Runs(restarts) = service { Some(*restarts) } else { None };
        if self.watched.as_ref().is_none_or(|(seq, _)| *seq != job.seq) {
            self.watched = Some((job.seq, BTreeMap::new()));
        }
        let Some((_, first)) = &mut self.watched else { return };
        let mut ill = None;
        for (unit, service) in &now {
            let restarts = runs(service).unwrap_or(0);
            let first = first.entry(unit.clone()).or_insert(restarts);
            let how = match service {
                Service::Down => "is down",
                Service::Runs(restarts) if restarts > first => "was restarted by systemd",
                Service::Runs(_) | Service::Changes | Service::Rests => continue,
            };
            ill = Some((unit, how));
        }
        if let Some((unit, how)) = ill
            && self.well != Some(false)
        {
            let reason = format!("it {how}, and ran code of the packages before the change");
            let problem = Problem::new("find well after the change", unit.clone(), reason);
            self.tells = Some(problem.remedy(format!("see journalctl -u {unit}")));
        }
        let changes = now.values().any(|service| *service == Service::Changes);
        self.well = if changes && ill.is_none() { None } else { Some(ill.is_none()) };
    }
}

/// Opens a line to the other half.
fn connect() -> std::io::Result<Line> {
    let stream = UnixStream::connect(SOCKET)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Line::new(stream)
}

/// Whether the other end of a line is gone: it ends after a while without questions.
fn is_closed(problem: &std::io::Error) -> bool {
    matches!(problem.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

impl Hand for Installer {
    fn kind(&self) -> HandKind {
        self.kind
    }

    fn boot(&self) -> u64 {
        self.sight.boot()
    }

    fn glance(&self, now: Timestamp) -> Look {
        self.with_owed(self.sight.glance(now))
    }

    fn is_over(&mut self) -> Option<bool> {
        self.deed.is_over()
    }

    fn look(&mut self, job: &Job<'_>, now: Timestamp) -> Result<Look, Problem> {
        let working = self.deed.is_working()?;
        if working && job.stage.is_past_return() {
            // A database that is being written is no answer, and nothing is asked of it before the end.
            return Ok(Look { working, ..self.glance(now) });
        }
        let key = (job.digest, job.fence, job.stage);
        if working && let Some((_, last)) = self.last.as_ref().filter(|(of, _)| *of == key) {
            let Look { now, uptime_ms, boot, .. } = self.sight.glance(now);
            return Ok(self.with_owed(Look { now, uptime_ms, boot, working, ..last.clone() }));
        }
        let history = Place::history_in(&self.place, job.digest);
        let unfinished = unfinished(&history);
        let outcomes: Vec<Outcome> =
            history.iter().filter(|outcome| outcome.fence == job.fence).cloned().collect();
        self.take_told(&outcomes);
        let fitness = match asked(&outcomes) {
            None => Fitness::Unknown,
            Some(asked) if asked.unfit.is_none() => Fitness::Fits,
            Some(_) => Fitness::Unfit,
        };
        self.watch(job, outcomes);
        let mut look = self.sight.look(job, now)?;
        for package in look.packages.iter_mut().filter(|package| unfinished.contains(&package.name)) {
            package.state = PackageState::HalfInstalled;
        }
        let brought = brought(&history);
        let is_brought =
            |package: &Package| brought.contains(&(package.name.as_str(), package.arch.as_str()));
        let leftover = look.packages.iter().any(is_brought);
        let look = self.with_owed(Look { fitness, working, leftover, ..look });
        self.last = (!job.stage.is_past_return()).then(|| (key, look.clone()));
        Ok(look)
    }

    fn give_back(&mut self) -> Result<(), Problem> {
        self.ask(&Ask::GiveBack).map(|_| ())
    }

    fn begin(&mut self, act: &Act, job: &Job<'_>) -> Result<(), Problem> {
        let Some(deed) = Deed::of(act) else { return Ok(()) };
        let order = Order {
            deed,
            plan: job.plan.id,
            digest: job.digest,
            fence: job.fence,
            direction: job.direction,
            word: job.word,
            clearance: job.clearance.map(str::to_owned),
        };
        self.cut_off.set(false);
        self.ask(&Ask::Begin(order)).map(|_| ())
    }

    fn is_cut_off(&self) -> bool {
        self.cut_off.get()
    }

    fn nonce(&mut self) -> Option<u64> {
        match self.ask(&Ask::Nonce) {
            Ok(Reply::Nonce(nonce)) => Some(nonce),
            Ok(Reply::Need { .. } | Reply::Begun | Reply::Noted | Reply::Refused(_)) => None,
            Err(problem) => {
                self.tells = Some(problem);
                None
            }
        }
    }

    fn told(&mut self) -> Option<Problem> {
        self.tells.take()
    }

    fn is_on_trial(&self) -> bool {
        is_on_trial(&self.place)
    }

    fn heard(&mut self, word: &str) -> Result<(), Problem> {
        self.ask(&Ask::Heard(word.to_owned())).map(|_| ())
    }

    fn healthy(&self, probes: Option<bool>) -> Option<bool> {
        if self.watched.is_some() && self.is_on_trial() {
            // It can be ill by now, but not well.
            return if probes == Some(false) || self.well == Some(false) { Some(false) } else { None };
        }
        if self.watched.is_none() {
            return probes;
        }
        match (probes, self.well) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (None, _) | (_, None) => None,
            (Some(true), Some(true)) => Some(true),
        }
    }

    fn progress(&self, job: &Job<'_>) -> Option<String> {
        let outcomes = Place::outcomes_in(&self.place, job.digest, job.fence);
        let waits = |outcome: &&Outcome| outcome.ended.is_none() && !outcome.deed.is_transaction();
        let told = outcomes.last().filter(waits).and_then(|outcome| outcome.told.last().cloned());
        told.or_else(|| self.driver.progress(&Place::log_in(&self.place, job.digest, job.fence)))
    }
}
