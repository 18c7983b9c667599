//! Whether a plan's probes pass: asked on a thread of its own, so that a service that hangs does not keep the host from
//! checking in.

pub(super) mod http;
pub(super) mod tls;

use crate::program::{self, Program};
use crate::settings::Commands;
use advisory::Problem;
use rollout::order::Stage;
use rollout::plan::{Asked, Digest, HostId, Http, Plan, Probe};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Probes asked at once.
const AT_ONCE: usize = 8;
/// How long a round is waited for where it begins: most services answer at once, and the next look is a second away.
const AT_ONCE_WITHIN: Duration = Duration::from_millis(150);
/// After how long it is asked anew whether a service is up that was not at the last look, after its change.
const UP_YET: Duration = Duration::from_secs(1);
/// An answer older than this says nothing about now.
const GOOD_FOR: Duration = Duration::from_secs(120);
/// Bytes that a command of the owner's may write: it is its exit code that counts.
const COMMAND_BYTES_MAX: u64 = 64 << 10;

/// What is looked at: another stage, or another boot, begins anew, so that no answer from before counts after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) digest: Digest,
    pub(super) fence: u64,
    pub(super) seq: u64,
    pub(super) stage: Option<Stage>,
    pub(super) boot: u64,
}

/// Asks, again and again.
#[derive(Debug)]
pub(super) struct Prober {
    every: Duration,
    key: Option<Key>,
    /// A round under way, and when it began.
    round: Option<(Instant, Receiver<Round>)>,
    /// The last answer, and when it was begun to be asked for.
    last: Option<(Instant, bool)>,
    /// How often systemd had restarted each unit at the first round.
    restarts: BTreeMap<String, u64>,
    /// What the owner lets plans ask by its name.
    commands: Commands,
    /// What did not pass, or could not be asked, and was not told yet.
    tells: Option<Problem>,
    /// What did not pass last while a changed host watched itself, and of which plan and grant.
    failed: Option<((Digest, u64), Problem)>,
}

/// What one round found.
#[derive(Debug, Default)]
struct Round {
    /// `None`: nothing is known to be down, and something could not be asked.
    healthy: Option<bool>,
    restarts: BTreeMap<String, u64>,
    /// The first that did not pass, or could not be asked.
    problem: Option<Problem>,
}

impl Prober {
    pub(super) fn new(every: Duration, commands: Commands) -> Self {
        let restarts = BTreeMap::new();
        Self { every, key: None, round: None, last: None, restarts, commands, tells: None, failed: None }
    }

    /// Looks at nothing any more.
    pub(super) fn forget(&mut self) {
        (self.key, self.round, self.last) = (None, None, None);
        self.restarts.clear();
    }

    /// Why a probe did not pass, or could not be asked, where it was not told before.
    pub(super) fn told(&mut self) -> Option<Problem> {
        self.tells.take()
    }

    /// What did not pass after the change, in words, of a job that went back or failed.
    pub(super) fn why(&self, digest: Digest, fence: u64) -> Option<String> {
        let (_, problem) = self.failed.as_ref().filter(|(of, _)| *of == (digest, fence))?;
        Some(format!("probe {}: {}", problem.object, problem.reason))
    }

    /// Begins a round, if it is time for one; takes what the last one found. `None`: not looked yet, for this `key`.
    pub(super) fn ask(&mut self, key: Key, plan: &Plan, host: HostId) -> Option<bool> {
        if self.key != Some(key) {
            self.forget();
            self.key = Some(key);
        }
        self.take(Duration::ZERO);
        let every = match (key.stage, self.last) {
            (Some(Stage::Verifying), Some((_, false))) => self.every.min(UP_YET),
            _ => self.every,
        };
        let is_due = self.last.is_none_or(|(at, _)| at.elapsed() >= every);
        if self.round.is_none() && is_due {
            let (probes, commands) = (plan.probes_of(host), self.commands.clone());
            let (tell, told) = channel();
            let began = Instant::now();
            let asking = std::thread::Builder::new().name("probes".to_owned()).spawn(move || {
                // What is begun here needs none of our rights to see everything, and so it gets none.
                if rustix::thread::clear_ambient_capability_set().is_ok() {
                    // Nobody there to hear it: it was about another stage.
                    let _ = tell.send(ask_all(&probes, &commands));
                }
            });
            self.round = asking.is_ok().then_some((began, told));
            self.take(AT_ONCE_WITHIN);
        }
        self.last.filter(|(at, _)| at.elapsed() < GOOD_FOR).map(|(_, healthy)| healthy)
    }

    /// Takes what the last round found, if it comes within this time.
    fn take(&mut self, within: Duration) {
        let Some((began, told)) = &self.round else { return };
        let began = *began;
        let round = match told.recv_timeout(within) {
            Ok(round) => round,
            Err(RecvTimeoutError::Timeout) => return,
            // Something could not be asked, or the thread broke off: that is no answer.
            Err(RecvTimeoutError::Disconnected) => {
                self.round = None;
                return;
            }
        };
        self.round = None;
        let mut healthy = round.healthy;
        let mut problem = round.problem;
        for (unit, count) in round.restarts {
            // Active at every look, and restarted in between: it flaps.
            let first = *self.restarts.entry(unit.clone()).or_insert(count);
            if count > first {
                healthy = Some(false);
                problem = problem
                    .or_else(|| Some(failed(&unit, "systemd has restarted it since this stage began")));
            }
        }
        let watches = |key: &Key| matches!(key.stage, Some(Stage::Verifying | Stage::Soaking));
        if healthy == Some(false)
            && let Some(key) = self.key.filter(watches)
        {
            self.failed = problem.clone().map(|problem| ((key.digest, key.fence), problem));
        }
        self.tells = problem;
        if let Some(healthy) = healthy {
            self.last = Some((began, healthy));
        }
    }
}

fn ask_all(probes: &[Probe], commands: &Commands) -> Round {
    let mut round = Round { healthy: Some(true), ..Round::default() };
    for some in probes.chunks(AT_ONCE) {
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let asking: Vec<_> = some.iter().map(|probe| scope.spawn(|| ask(probe, commands))).collect();
            let unasked = |_| Answer::Unasked(unasked("a probe", "its thread broke off"));
            asking.into_iter().map(|asked| asked.join().unwrap_or_else(unasked)).collect()
        });
        for answer in answers {
            match answer {
                Answer::Passes => {}
                Answer::Unit { passes, unit, restarts } => {
                    if !passes {
                        round.fails(failed(&unit, "it is not active"));
                    }
                    round.restarts.extend(restarts.map(|restarts| (unit, restarts)));
                }
                Answer::Fails(problem) => round.fails(problem),
                Answer::Unasked(problem) => {
                    round.healthy = round.healthy.filter(|healthy| !healthy);
                    round.problem.get_or_insert(problem);
                }
            }
        }
        if round.healthy == Some(false) || program::is_stopped() {
            break;
        }
    }
    round
}

impl Round {
    fn fails(&mut self, problem: Problem) {
        if self.healthy != Some(false) {
            (self.healthy, self.problem) = (Some(false), Some(problem));
        }
    }
}

/// What one probe found.
#[derive(Debug)]
enum Answer {
    Passes,
    Fails(Problem),
    /// Of a unit, also how often systemd has restarted it.
    Unit {
        passes: bool,
        unit: String,
        restarts: Option<u64>,
    },
    /// It could not be asked, which says nothing about what it asks for.
    Unasked(Problem),
}

fn failed(object: &str, reason: impl std::fmt::Display) -> Problem {
    Problem::new("pass the probe of", object, reason.to_string())
        .remedy("look at it; a host that stays so after its patch goes back, if the plan says so")
}

fn unasked(object: &str, reason: impl std::fmt::Display) -> Problem {
    Problem::new("ask the probe of", object, reason.to_string())
}

/// Asks one probe.
fn ask(probe: &Probe, commands: &Commands) -> Answer {
    let within = Duration::from_secs(probe.timeout_seconds.into());
    let passes = |object: String, asked: Result<(), String>| match asked {
        Ok(()) => Answer::Passes,
        Err(reason) => Answer::Fails(failed(&object, reason)),
    };
    match &probe.what {
        Asked::UnitActive(unit) => {
            let shown = Program::new("systemctl")
                .args(["show", "--property=ActiveState,NRestarts", "--"])
                .arg(unit)
                .deadline(within)
                .run_ok();
            let shown = match shown {
                Ok(shown) => shown,
                Err(problem) => return Answer::Unasked(unasked(unit, problem)),
            };
            of_unit(unit, &String::from_utf8_lossy(&shown.stdout))
        }
        Asked::TcpPort(port) => {
            let accepts = http::connect(*port, within).map(|_| ()).map_err(|problem| problem.to_string());
            passes(format!("tcp:{port}"), accepts)
        }
        Asked::HttpPath(wanted) => {
            let Http { port, path, tls, .. } = wanted;
            passes(format!("http{}:{port}{path}", if *tls { "s" } else { "" }), http::ask(wanted, within))
        }
        Asked::Command(name) => command(name, commands, within),
    }
}

/// What systemd shows of a unit.
fn of_unit(unit: &str, shown: &str) -> Answer {
    let value = |name: &str| shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let restarts = value("NRestarts").and_then(|count| count.parse().ok());
    Answer::Unit { passes: value("ActiveState") == Some("active"), unit: unit.to_owned(), restarts }
}

/// Runs what the owner has put under a name. A name that is not there is no failure and no success: nobody knows.
fn command(name: &str, commands: &Commands, within: Duration) -> Answer {
    let object = format!("command:{name}");
    let Some((program, arguments)) = commands.get(name).and_then(|line| line.split_first()) else {
        let problem = unasked(&object, "this host's owner allows no command of that name");
        return Answer::Unasked(
            problem.remedy("add it to [commands] in agent.toml, if its owner wants that"),
        );
    };
    let run = Program::new(program)
        .args(arguments.iter().cloned())
        .deadline(within)
        .stdout_bytes_max(COMMAND_BYTES_MAX)
        .run_ok();
    match run {
        Ok(_) => Answer::Passes,
        Err(
            problem @ (program::Error::Missing(_)
            | program::Error::Start { .. }
            | program::Error::Interrupted(_)),
        ) => Answer::Unasked(
            unasked(&object, problem).remedy("repair [commands] in agent.toml, or what it names"),
        ),
        Err(problem) => Answer::Fails(failed(&object, problem)),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    fn commands() -> Commands {
        let line = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        [
            ("well".to_owned(), line(&["/bin/sh", "-c", "exit 0"])),
            ("ill".to_owned(), line(&["/bin/sh", "-c", "echo the till is stuck >&2; exit 3"])),
            ("tardy".to_owned(), line(&["/bin/sh", "-c", "sleep 0.5; echo the till is stuck >&2; exit 3"])),
            ("slow".to_owned(), line(&["/bin/sleep", "60"])),
            ("chatty".to_owned(), line(&["/bin/cat", "/dev/zero"])),
            ("gone".to_owned(), line(&["/nowhere/check"])),
        ]
        .into()
    }

    fn asked(what: Asked) -> Round {
        ask_all(&[Probe { group: None, what, timeout_seconds: 1 }], &commands())
    }

    /// Answers every connection with these bytes; none at all: keeps it waiting.
    pub(in crate::job) fn service(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for mut stream in listener.incoming().flatten() {
                if answer.is_empty() {
                    held.push(stream);
                    continue;
                }
                // A request that nobody has read when the connection closes takes the answer with it.
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                lines.take_while(|line| !line.is_empty()).for_each(drop);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        port
    }

    #[test]
    fn a_probe_passes_only_with_an_answer_and_says_why_it_did_not() {
        assert_eq!(asked(Asked::TcpPort(service(""))).healthy, Some(true));
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        assert_eq!(asked(Asked::TcpPort(closed)).healthy, Some(false));
        let broken = asked(Asked::HttpPath(Http::path(service("HTTP/1.1 500 No\r\n\r\n"), "/shop")));
        assert_eq!(broken.healthy, Some(false));
        let why = broken.problem.unwrap().to_string();
        assert!(why.contains("/shop") && why.contains("answers 500"), "{why}");
        assert_ne!(asked(Asked::UnitActive("no-such-unit.service".into())).healthy, Some(true));
    }

    #[test]
    fn a_unit_passes_only_while_it_is_active() {
        let shown = |state: &str| of_unit("a.service", &format!("ActiveState={state}\nNRestarts=3\n"));
        assert!(matches!(shown("active"), Answer::Unit { passes: true, restarts: Some(3), .. }));
        for state in ["activating", "failed", "inactive", ""] {
            assert!(matches!(shown(state), Answer::Unit { passes: false, .. }), "{state}");
        }
        assert!(matches!(of_unit("a.service", ""), Answer::Unit { passes: false, restarts: None, .. }));
    }

    #[test]
    fn an_answer_from_another_stage_or_of_long_ago_is_none_and_a_failed_job_keeps_why() {
        let mut plan = crate::job::replay::tests::plan(80);
        // Not within the moment that an answer is waited for.
        let tardy = Asked::Command("tardy".into());
        plan.probes = vec![Probe { group: None, what: tardy, timeout_seconds: 5 }];
        let host = plan.waves[0].cohorts[0].hosts[0];
        let key = |seq, stage| Key { digest: Digest::of(b"p"), fence: 4, seq, stage: Some(stage), boot: 1 };
        let mut prober = Prober::new(Duration::from_secs(3600), commands());
        let asked = |prober: &mut Prober, key| {
            let end = Instant::now() + Duration::from_secs(30);
            loop {
                let answer = prober.ask(key, &plan, host);
                if answer.is_some() || Instant::now() > end {
                    return answer;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        };
        assert_eq!(asked(&mut prober, key(1, Stage::Applying)), Some(false));
        assert_eq!(prober.why(Digest::of(b"p"), 4), None, "what is being changed may fail");
        assert_eq!(asked(&mut prober, key(2, Stage::Verifying)), Some(false));
        let why = prober.why(Digest::of(b"p"), 4).unwrap();
        assert!(why.starts_with("probe command:tardy: ") && why.contains("the till is stuck"), "{why}");
        // Another stage: nothing is known at first. Why it failed is, until the job is another.
        assert_eq!(prober.ask(key(3, Stage::Reverting), &plan, host), None);
        prober.forget();
        assert_eq!(prober.why(Digest::of(b"p"), 4), Some(why));
        assert_eq!(prober.why(Digest::of(b"p"), 5), None);

        let of = key(4, Stage::Soaking);
        let long_ago = Instant::now().checked_sub(GOOD_FOR).unwrap();
        (prober.key, prober.last) = (Some(of), Some((long_ago, true)));
        assert_eq!(prober.ask(of, &plan, host), None);
    }

    #[test]
    fn a_command_passes_by_its_exit_code_and_one_that_is_not_allowed_is_never_passed() {
        let run = |name: &str| {
            let round = asked(Asked::Command(name.into()));
            (round.healthy, round.problem.map(|problem| problem.to_string()).unwrap_or_default())
        };
        assert_eq!(run("well").0, Some(true));
        let (healthy, why) = run("ill");
        assert!(healthy == Some(false) && why.contains("the till is stuck"), "{why}");
        for (name, told) in [("slow", "no end after 1 s"), ("chatty", "more than 65536 bytes")] {
            let (healthy, why) = run(name);
            assert!(healthy == Some(false) && why.contains(told), "{name}: {why}");
        }
        for (name, told) in [("gone", "not installed"), ("other", "allows no command of that name")] {
            let (healthy, why) = run(name);
            assert!(healthy.is_none() && why.contains(told), "{name}: {why}");
        }
    }

    #[test]
    fn what_could_not_be_asked_is_no_answer_beside_what_passes_and_no_excuse_beside_what_fails() {
        let probe = |name: &str| Probe { group: None, what: Asked::Command(name.into()), timeout_seconds: 1 };
        let healthy = |names: &[&str]| {
            let probes: Vec<Probe> = names.iter().map(|name| probe(name)).collect();
            ask_all(&probes, &commands()).healthy
        };
        assert_eq!(healthy(&["well", "other"]), None);
        assert_eq!(healthy(&["other", "ill"]), Some(false));
        assert_eq!(healthy(&["ill", "other"]), Some(false));
    }

    #[test]
    fn a_unit_that_was_restarted_since_is_not_healthy_though_active() {
        let mut prober = Prober::new(Duration::ZERO, Commands::new());
        let round = |prober: &mut Prober, count| {
            let (tell, told) = channel();
            let restarts = [("a".to_owned(), count)].into();
            tell.send(Round { healthy: Some(true), restarts, problem: None }).unwrap();
            prober.round = Some((Instant::now(), told));
            prober.take(Duration::ZERO);
            prober.last.unwrap().1
        };
        assert!(round(&mut prober, 3) && round(&mut prober, 3) && !round(&mut prober, 4));
        assert!(prober.told().unwrap().to_string().contains("restarted"));
        prober.forget();
        assert!(round(&mut prober, 4), "what happened before counts no more");
    }
}
