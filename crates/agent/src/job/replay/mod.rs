//! Attempts that are replayed to a patched service, with harmless requests beside them, on a thread of its own. What it shows is
//! held against what the same service showed before the change.
//!
//! **No attempt is ever sent to a service that is not patched.** Before the change, and on hosts whose turn has not come, there
//! are harmless requests alone; attempts begin when the host has seen the new versions installed and running, and end with
//! its soak ([`Phase`]).

mod unit;
mod volley;

use super::probes::Key;
use crate::state::{Durable, REPLAY, State};
use advisory::Problem;
use rollout::converge::Before;
use rollout::order::{Direction, Stage};
use rollout::plan::replay::Replay;
use rollout::plan::{Digest, HostId, Plan};
use rollout::replay::{Round, Unstable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};
use unit::Taken;
use volley::{Volley, attempt, harmless};

/// Rounds before the change in which a service may fail to answer, before the host skips the plan.
const TRIES_MAX: u32 = 3;
/// Where only harmless requests are sent, again and again, the pause between rounds is so many times as long.
const CALM_PAUSES: u32 = 10;
/// A round that has not come so long after it is due says nothing about now.
const LATE: Duration = Duration::from_secs(60);
/// From this status on, a harmless request has failed; an attempt may be answered with anything.
const SERVER_ERROR: u16 = 500;
/// So has one that the service does not understand: a port that speaks TLS says this to whoever does not, and what is sent there
/// without TLS proves nothing.
const BAD_REQUEST: u16 = 400;
/// Bytes of what is kept: eight services have 10 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where a job stands, as far as replaying goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is sent: the service is being changed, or goes back.
    Rest,
    /// Harmless requests, until it is known how the service does before the change.
    Before,
    /// The same, again and again: patched hosts are compared with this one.
    Watched,
    /// Attempts, as long as the host watches itself. `real`: the new versions are really installed.
    Soak { real: bool },
    /// Proven so long ago: harmless requests, while the wave is watched.
    Proven(Duration),
}

impl Phase {
    /// Of the job at hand; `None`: its turn has not come. `real`: its hand does what it says. `since`: how long it is at this
    /// stage.
    pub(super) fn of(job: Option<(Stage, Direction)>, real: bool, since: Duration) -> Self {
        match job {
            None => Self::Watched,
            Some((Stage::Preflight | Stage::Fetched, Direction::Forward)) => Self::Before,
            Some((Stage::Soaking, _)) => Self::Soak { real },
            Some((Stage::Proven, _)) => Self::Proven(since),
            Some((
                Stage::Preflight
                | Stage::Fetched
                | Stage::Committed
                | Stage::Applying
                | Stage::Restarting
                | Stage::AwaitingReboot
                | Stage::Verifying
                | Stage::Reverting
                | Stage::Skipped(_)
                | Stage::Withdrawn
                | Stage::Failed(_)
                | Stage::RolledBack
                | Stage::Inconsistent,
                _,
            )) => Self::Rest,
        }
    }
}

/// One service: how it did, and what was sent to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Service {
    /// `http:80/ of nginx.service`.
    place: String,
    /// Attempts that are sent in turn, by their signatures.
    signatures: BTreeMap<String, u32>,
    /// CVEs of the plan for which none is known.
    unknown: Vec<String>,
    rate_per_second: u32,
    /// Before the change.
    before: Option<Round>,
    /// Since the host watches itself.
    after: Option<After>,
}

/// How a service did after the change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct After {
    /// The boot and the journal's entry that it is about.
    boot: u64,
    seq: u64,
    /// The first round: without attempts.
    calm: Round,
    /// The worst number of each kind, of all rounds.
    worst: Round,
    /// Rounds with attempts.
    rounds: u32,
    /// What was not borne.
    unstable: Vec<Unstable>,
}

/// What is kept of one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    digest: Digest,
    fence: u64,
    /// In the order of the plan's replays that are for this host.
    services: Vec<Service>,
}

/// A round under way.
#[derive(Debug)]
struct Running {
    stop: Arc<AtomicBool>,
    attempts: bool,
    told: Receiver<Option<Vec<Result<Round, String>>>>,
}

/// Sends, again and again.
#[derive(Debug)]
pub(super) struct Replayer {
    state: Rc<State>,
    kept: Option<Kept>,
    key: Option<Key>,
    running: Option<Running>,
    /// When the last round ended.
    ended: Option<Instant>,
    /// What the last round that counts for this stage said, and when.
    said: Option<(Instant, bool)>,
    /// Rounds before the change in which some service did not do.
    tries: u32,
    before: Before,
    tells: Option<Problem>,
    /// What a unit takes; another one in tests, where there is no systemd.
    taken: fn(&str) -> Result<Taken, String>,
}

impl Replayer {
    pub(super) fn new(state: &Rc<State>) -> Self {
        let (kept, tells) = match state.read(REPLAY, FILE_BYTES_MAX) {
            Ok(None) => (None, None),
            Ok(Some(bytes)) => match serde_json::from_slice(&bytes) {
                Ok(kept) => (Some(kept), None),
                Err(problem) => (None, Some(unread(&problem))),
            },
            Err(problem) => (None, Some(unread(&problem))),
        };
        Self {
            state: state.clone(),
            kept,
            key: None,
            running: None,
            ended: None,
            said: None,
            tries: 0,
            before: Before::Pending,
            tells,
            taken: unit::taken,
        }
    }

    /// How the services of the plan that was asked about last did before.
    pub(super) fn before(&self) -> Before {
        self.before
    }

    /// What a person should know, and was not told before.
    pub(super) fn told(&mut self) -> Option<Problem> {
        self.tells.take()
    }

    /// Sends nothing any more.
    pub(super) fn forget(&mut self) {
        self.stop();
        (self.key, self.said, self.before) = (None, None, Before::Pending);
    }

    /// What was seen of a job's services, for its evidence.
    pub(super) fn seen(&self, digest: Digest, fence: u64) -> &[Service] {
        let kept = self.kept.as_ref().filter(|kept| (kept.digest, kept.fence) == (digest, fence));
        kept.map_or(&[], |kept| &kept.services)
    }

    /// What a job's services did not bear, in words.
    pub(super) fn why(&self, digest: Digest, fence: u64) -> Vec<String> {
        let after = self.seen(digest, fence).iter().filter_map(|service| {
            let after = service.after.as_ref()?;
            Some(after.unstable.iter().map(move |unstable| format!("{}: {unstable}", service.place)))
        });
        after.flatten().collect()
    }

    /// Begins a round, if it is time for one; takes what the last one showed. Whether services do well; `None`: not known yet,
    /// and it matters.
    pub(super) fn ask(&mut self, key: Key, phase: Phase, plan: &Plan, host: HostId) -> Option<bool> {
        let replays: Vec<Replay> = plan.replays_of(host).cloned().collect();
        if replays.is_empty() {
            self.forget();
            self.before = Before::Known;
            return Some(true);
        }
        if self.key != Some(key) {
            self.stop();
            (self.key, self.said, self.ended, self.tries) = (Some(key), None, None, 0);
        }
        if self.kept.as_ref().is_none_or(|kept| (kept.digest, kept.fence) != (key.digest, key.fence)) {
            let services = replays.iter().map(Service::new).collect();
            self.kept = Some(Kept { digest: key.digest, fence: key.fence, services });
        }
        self.take(key, phase, &replays);
        let pause = replays.iter().map(|replay| replay.load.pause_seconds).max().unwrap_or(0);
        let pause = Duration::from_secs(pause.into());
        self.before = self.how_before(phase);
        match phase {
            Phase::Rest => {
                self.stop();
                Some(true)
            }
            Phase::Before => {
                if self.before == Before::Pending {
                    self.go_on(&replays, false, pause);
                }
                Some(true)
            }
            Phase::Watched => {
                let known = self.before == Before::Known;
                self.go_on(&replays, false, if known { pause * CALM_PAUSES } else { pause });
                self.answer(pause * CALM_PAUSES, &replays).or(Some(true))
            }
            Phase::Soak { real } => {
                let is_calm_known = self.services().iter().all(|service| service.is_calm_known(key));
                let attempts = real && is_calm_known;
                self.go_on(&replays, attempts, if is_calm_known { pause } else { Duration::ZERO });
                self.answer(pause, &replays)
            }
            Phase::Proven(since) => {
                let wave = plan.place(host).map_or(plan.waves.len().saturating_sub(1), |place| place.wave);
                let soak = plan.waves.get(wave).map_or(0, |wave| wave.gate.soak_seconds);
                // So long the others of its wave may take, and so long all of them are watched.
                let watched = u64::from(plan.timing.deadline_seconds) + u64::from(soak);
                if since > Duration::from_secs(watched) {
                    self.stop();
                    return Some(true);
                }
                self.go_on(&replays, false, pause * CALM_PAUSES);
                self.answer(pause * CALM_PAUSES, &replays).or(Some(true))
            }
        }
    }

    fn services(&self) -> &[Service] {
        self.kept.as_ref().map_or(&[], |kept| &kept.services)
    }

    fn how_before(&self, phase: Phase) -> Before {
        let is_known = |service: &Service| service.before.as_ref().is_some_and(Round::is_sound);
        if phase == Phase::Rest || self.services().iter().all(is_known) {
            Before::Known
        } else if self.tries >= TRIES_MAX {
            Before::Unsound
        } else {
            Before::Pending
        }
    }

    /// What the last round said, if it says anything about now.
    fn answer(&self, pause: Duration, replays: &[Replay]) -> Option<bool> {
        let rounds: u32 = replays.iter().map(|replay| replay.load.round_seconds).sum();
        let good_for = pause + Duration::from_secs(rounds.into()) + LATE;
        self.said.filter(|(at, _)| at.elapsed() < good_for).map(|(_, well)| well)
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Begins a round, unless one is under way or the pause since the last is not over.
    fn go_on(&mut self, replays: &[Replay], attempts: bool, pause: Duration) {
        if self.running.is_some() || self.ended.is_some_and(|ended| ended.elapsed() < pause) {
            return;
        }
        let (tell, told) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (replays, stopped, taken) = (replays.to_vec(), Arc::clone(&stop), self.taken);
        let sending = std::thread::Builder::new().name("replay".to_owned()).spawn(move || {
            let rounds = replays.iter().map(|replay| round(replay, attempts, &stopped, taken).transpose());
            // Nobody there to hear it: it was about another stage.
            let _ = tell.send(rounds.collect());
        });
        self.running = sending.is_ok().then_some(Running { stop, attempts, told });
    }

    /// Takes what a round showed.
    fn take(&mut self, key: Key, phase: Phase, replays: &[Replay]) {
        let Some(running) = &self.running else { return };
        let rounds = match running.told.try_recv() {
            Err(TryRecvError::Empty) => return,
            Ok(rounds) => rounds,
            Err(TryRecvError::Disconnected) => None,
        };
        let attempts = running.attempts;
        (self.running, self.ended) = (None, Some(Instant::now()));
        let Some(rounds) = rounds else { return };
        let mut well = true;
        for (number, (replay, round)) in replays.iter().zip(rounds).enumerate() {
            let Some(service) = self.kept.as_mut().and_then(|kept| kept.services.get_mut(number)) else {
                return;
            };
            match round {
                Ok(round) => {
                    let unstable = service.take(key, phase, replay, round);
                    well &= unstable.is_empty();
                    if !unstable.is_empty() {
                        self.tells = Some(told_unstable(replay, &unstable));
                    }
                }
                Err(reason) => {
                    // That is no answer, neither good nor bad.
                    let problem = Problem::new("look at the unit that serves", replay.place(), reason);
                    self.tells = Some(problem.remedy("nothing follows until it can be seen; see systemctl"));
                    (self.tries, self.said) = (self.tries + 1, None);
                    return;
                }
            }
        }
        let has_attempts = replays.iter().any(|replay| !replay.attempts.is_empty());
        // In the soak a good round counts once attempts were among it, if there are any to be sent.
        let counts = match phase {
            Phase::Soak { real } => !well || attempts || !real || !has_attempts,
            Phase::Before => {
                self.tries += u32::from(self.how_before(phase) != Before::Known);
                false
            }
            Phase::Watched | Phase::Proven(_) => true,
            Phase::Rest => false,
        };
        if counts {
            self.said = Some((Instant::now(), well));
        }
        self.keep(phase);
    }

    fn keep(&mut self, phase: Phase) {
        let Some(kept) = &self.kept else { return };
        let bytes = serde_json::to_vec(kept).expect("text keys only");
        // What is measured before the change cannot be measured again.
        let durable = if phase == Phase::Before { Durable::Yes } else { Durable::No };
        if let Err(problem) = self.state.keep(REPLAY, &bytes, durable) {
            let problem = Problem::new("keep how services do in", REPLAY, problem);
            self.tells =
                Some(problem.remedy("free some space; after a restart of the agent they are held to less"));
        }
    }
}

impl Drop for Replayer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Service {
    fn new(replay: &Replay) -> Self {
        let mut signatures = BTreeMap::new();
        for attempt in &replay.attempts {
            *signatures.entry(attempt.signature.clone()).or_default() += 1;
        }
        Self {
            place: replay.place(),
            signatures,
            unknown: replay.unknown.clone(),
            rate_per_second: replay.load.rate_per_second,
            before: None,
            after: None,
        }
    }

    /// Whether it is known how it does after the change without attempts.
    fn is_calm_known(&self, key: Key) -> bool {
        self.after.as_ref().is_some_and(|after| (after.boot, after.seq) == (key.boot, key.seq))
    }

    /// Takes one round; gives what is not borne of it.
    fn take(&mut self, key: Key, phase: Phase, replay: &Replay, round: Round) -> Vec<Unstable> {
        let judge =
            |before: Option<&Round>, first: &Round| replay.terms.judge(&replay.unit, before, first, &round);
        match phase {
            Phase::Rest => Vec::new(),
            Phase::Before => {
                self.before = Some(round);
                Vec::new()
            }
            Phase::Watched => {
                if let Some(before) = self.before.filter(Round::is_sound) {
                    return judge(Some(&before), &before);
                }
                self.before = Some(round);
                Vec::new()
            }
            Phase::Proven(_) => {
                let calm = self.after.as_ref().map_or(round, |after| after.calm);
                // Restarts since then are systemd's and people's alike: probes of units count them.
                let calm = Round { restarts: round.restarts, ..calm };
                judge(self.before.as_ref(), &calm)
            }
            Phase::Soak { .. } => {
                if !self.is_calm_known(key) {
                    let (boot, seq) = (key.boot, key.seq);
                    self.after =
                        Some(After { boot, seq, calm: round, worst: round, rounds: 0, unstable: Vec::new() });
                }
                let Some(after) = &mut self.after else { return Vec::new() };
                after.worst = after.worst.worst(round);
                after.rounds += u32::from(round.attempts.sent > 0);
                after.unstable = judge(self.before.as_ref(), &after.calm);
                after.unstable.clone()
            }
        }
    }
}

/// One round of one service: both kinds of requests beside each other, then what the unit takes. `None`: stopped.
fn round(
    replay: &Replay,
    attempts: bool,
    stop: &AtomicBool,
    taken: fn(&str) -> Result<Taken, String>,
) -> Result<Option<Round>, String> {
    let volley = |requests, is_failure| Volley { replay, requests, is_failure };
    let calm = [harmless(replay)];
    let hostile: Vec<Vec<u8>> =
        if attempts { replay.attempts.iter().map(|one| attempt(one, replay)).collect() } else { Vec::new() };
    let (calm, hostile) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| volley(&hostile, |_| false).fire(stop));
        let calm = volley(&calm, |status| status >= SERVER_ERROR || status == BAD_REQUEST).fire(stop);
        (calm, beside.join().unwrap_or(None))
    });
    let (Some(harmless), Some(attempts)) = (calm, hostile) else { return Ok(None) };
    let Taken { memory_bytes, restarts } = taken(&replay.unit)?;
    Ok(Some(Round { harmless, attempts, memory_bytes, restarts }))
}

fn unread(reason: &dyn std::fmt::Display) -> Problem {
    Problem::new("read how services did before from", REPLAY, reason)
        .remedy("a job under way holds them to what any service must do; it is written anew with the next")
}

fn told_unstable(replay: &Replay, unstable: &[Unstable]) -> Problem {
    let reasons: Vec<String> = unstable.iter().map(ToString::to_string).collect();
    Problem::new("find stable", replay.place(), reasons.join("; "))
        .remedy(format!("see journalctl -u {}", replay.unit))
}

#[cfg(test)]
pub(super) mod tests;
