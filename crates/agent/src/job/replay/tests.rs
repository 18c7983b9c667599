use super::*;
use crate::job::probes::tests::service;
use crate::job::probes::tls::tests::service as tls_service;
use rollout::converge::Before;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

/// A service that does one thing after the other, and remembers what it was asked.
struct Small {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    /// How long it stands still for an attempt, milliseconds.
    stalls_ms: Arc<AtomicU64>,
}

impl Small {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, stalls_ms) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let (asks, stalls) = (Arc::clone(&asked), Arc::clone(&stalls_ms));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let line = head.first().cloned().unwrap_or_default();
                if line.contains("default.ida") {
                    std::thread::sleep(Duration::from_millis(stalls.load(Ordering::Relaxed)));
                }
                asks.lock().unwrap().push(line);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwell");
            }
        });
        Self { port, asked, stalls_ms }
    }

    fn attempts(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|line| line.contains("default.ida")).count()
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

const HOST: &str = "0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21";

/// A plan with one replay to that port, of one host.
pub(in crate::job) fn plan(port: u16) -> Plan {
    let code_red = json!({ "signature": "codered1", "method": "GET", "target": "/default.ida?NNNN%u9090",
        "headers": [{ "name": "X", "value": "y" }], "body": null });
    let replay = json!({
        "group": null, "port": port, "path": "/", "unit": "small.service", "attempts": [code_red],
        "unknown": ["CVE-2099-1"], "load": { "rate_per_second": 20, "round_seconds": 1, "pause_seconds": 1 },
        "terms": { "failed_percent_max": 2, "unanswered_percent_max": 5, "slower_times_max": 5,
            "latency_floor_ms": 500, "memory_percent_max": 50, "memory_floor_bytes": 1000 },
    });
    serde_json::from_value(json!({
        "format": 1, "id": "0192c4f8-7d1e-7c3a-9f60-000000000001", "title": "t", "created": "2026-11-30T00:00:00Z",
        "not_before": "2026-11-30T00:00:00Z", "expires": "2026-12-30T00:00:00Z", "decision": null, "bulletins": [],
        "environment": "default", "track": "emergency", "supersedes": null, "classes": [],
        "waves": [{ "name": "canaries", "cohorts": [{ "class": "c", "groups": [], "canary": true, "hosts": [HOST] }],
            "hosts_at_once_max": 1, "late": null, "gate": { "proven_percent_min": 100, "bad_max": 0, "skipped_max": 0,
                "soak_seconds": 300, "samples_min": 1, "control": null } }],
        "windows": [], "blackouts": [], "groups": [], "probes": [], "replays": [replay], "reboot": "never",
        "rollback": "on-failure", "overrides": [],
        "timing": { "lease_seconds": 60, "clearance_seconds": 10, "deadline_seconds": 3600, "silence_seconds": 60,
            "expected_seconds": 1, "verify_seconds": 1, "host_soak_seconds": 4 },
    }))
    .unwrap()
}

fn key(seq: u64) -> Key {
    Key { digest: Digest([7; 32]), fence: 1, seq, stage: Some(Stage::Soaking), boot: 1 }
}

/// Memory of a unit that leaks: more at every look.
static LEAK: AtomicU64 = AtomicU64::new(4_000);

fn replayer(state: &Rc<State>) -> Replayer {
    let mut replayer = Replayer::new(state);
    replayer.taken = |unit| match unit {
        "small.service" => Ok(Taken { memory_bytes: 4_000, restarts: 3 }),
        _ => Err("there is none".to_owned()),
    };
    replayer
}

/// Asks until it says what is wanted; gives whether it did within half a minute.
fn until(mut said: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if said() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn no_attempt_is_sent_but_to_a_service_that_is_patched_and_one_that_stalls_under_them_is_found_out() {
    let directory = tempfile::tempdir().unwrap();
    let state = Rc::new(State::create(&directory.path().join("agent")).unwrap());
    let small = Small::start();
    let (plan, host) = (plan(small.port), HostId(HOST.parse().unwrap()));
    let mut replayer = replayer(&state);

    // Before: it is measured, once.
    assert_eq!(replayer.ask(key(1), Phase::Before, &plan, host), Some(true));
    assert_eq!(replayer.before(), Before::Pending);
    let known = || {
        replayer.ask(key(1), Phase::Before, &plan, host);
        replayer.before() == Before::Known
    };
    assert!(until(known));
    let measured = small.asked();
    assert!(measured >= 20 && small.attempts() == 0, "{measured} requests, and no attempt among them");

    // A host whose hand pretends, one that is proven, one that watches and one that is being changed send none either. The first
    // is at rest in its first round whatever comes then: it is the second that shows.
    for (seq, phase, rounds) in
        [(2, Phase::Soak { real: false }, 2), (3, Phase::Proven(Duration::ZERO), 1), (4, Phase::Watched, 1)]
    {
        let before = small.asked();
        assert!(until(|| {
            replayer.ask(key(seq), phase, &plan, host);
            replayer.said.is_some() && small.asked() >= before + 20 * rounds && replayer.running.is_none()
        }));
    }
    assert_eq!(replayer.ask(key(5), Phase::Rest, &plan, host), Some(true));
    assert!(small.asked() > measured && small.attempts() == 0);

    // Patched, and it copes: a round at rest, then one with attempts, and only that one counts.
    assert_eq!(replayer.ask(key(6), Phase::Soak { real: true }, &plan, host), None);
    assert!(until(|| replayer.ask(key(6), Phase::Soak { real: true }, &plan, host) == Some(true)));
    assert!(small.attempts() >= 20, "{}", small.attempts());
    let told = serde_json::to_value(replayer.seen(Digest([7; 32]), 1)).unwrap();
    assert_eq!(told[0]["after"]["rounds"], 1);
    assert_eq!(told[0]["after"]["calm"]["attempts"]["sent"], 0);
    assert_eq!(told[0]["after"]["worst"]["attempts"]["failed"], 0);
    assert_eq!(told[0]["unknown"][0], "CVE-2099-1");

    // The same service stands still for every attempt: whoever asks for something harmless waits.
    small.stalls_ms.store(150, Ordering::Relaxed);
    assert!(until(|| replayer.ask(key(6), Phase::Soak { real: true }, &plan, host) == Some(false)));
    let why = replayer.why(Digest([7; 32]), 1);
    assert!(
        why[0].contains("small.service: under replayed attempts, one harmless request of twenty took over"),
        "{why:?}"
    );
    assert!(replayer.told().unwrap().to_string().contains("journalctl -u small.service"));

    // It goes back in the middle of a round: nothing more of that is sent, and an agent that is started anew still knows why.
    small.stalls_ms.store(0, Ordering::Relaxed);
    let mut before = small.attempts();
    assert!(until(|| {
        if replayer.running.is_none() {
            before = small.attempts();
        }
        replayer.ask(key(6), Phase::Soak { real: true }, &plan, host);
        replayer.running.is_some() && (before + 2..before + 8).contains(&small.attempts())
    }));
    replayer.ask(key(7), Phase::Rest, &plan, host);
    std::thread::sleep(Duration::from_millis(1_500));
    let attempts = small.attempts();
    assert!(attempts < before + 18, "all but what was under way were kept back: {}", attempts - before);
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(small.attempts(), attempts);
    assert_eq!(self::replayer(&state).why(Digest([7; 32]), 1), why);
}

#[test]
fn a_service_that_leaks_under_attempts_is_found_out_and_one_that_did_not_answer_before_is_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let state = Rc::new(State::create(&directory.path().join("agent")).unwrap());
    let small = Small::start();
    let (plan, host) = (plan(small.port), HostId(HOST.parse().unwrap()));
    let mut leaking = replayer(&state);
    leaking.taken = |_| Ok(Taken { memory_bytes: LEAK.fetch_add(3_000, Ordering::Relaxed), restarts: 0 });
    assert!(until(|| leaking.ask(key(6), Phase::Soak { real: true }, &plan, host) == Some(false)));
    let why = leaking.why(Digest([7; 32]), 1);
    assert!(why.iter().any(|why| why.contains("has grown to")), "{why:?}");

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let plan = self::plan(closed);
    let other = Key { fence: 2, ..key(1) };
    let mut replayer = replayer(&state);
    assert!(until(|| {
        replayer.ask(other, Phase::Before, &plan, host);
        replayer.before() == Before::Unsound
    }));
    // A unit that is not there is no answer either.
    replayer.taken = |_| Err("systemd has no such unit".to_owned());
    let third = Key { fence: 3, ..key(1) };
    assert!(until(|| {
        replayer.ask(third, Phase::Before, &plan, host);
        replayer.told().is_some_and(|problem| problem.to_string().contains("systemd has no such unit"))
    }));
}

#[test]
fn a_service_behind_tls_is_measured_and_sent_attempts_as_any_other_and_not_without_tls() {
    let directory = tempfile::tempdir().unwrap();
    let state = Rc::new(State::create(&directory.path().join("agent")).unwrap());
    let attempts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&attempts);
    let port = tls_service("shop.example", move |asked| {
        counted.fetch_add(u64::from(asked.contains("default.ida")), Ordering::Relaxed);
        let is_named = asked.contains("Host: shop.example:");
        if is_named { "HTTP/1.1 200 OK\r\n\r\nwell" } else { "HTTP/1.1 500 Who\r\n\r\n" }.to_owned()
    });
    let host = HostId(HOST.parse().unwrap());
    let mut plan = plan(port);
    (plan.replays[0].tls, plan.replays[0].host) = (true, Some("shop.example".to_owned()));
    let mut replayer = replayer(&state);
    assert!(until(|| {
        replayer.ask(key(1), Phase::Before, &plan, host);
        replayer.before() == Before::Known
    }));
    assert_eq!(attempts.load(Ordering::Relaxed), 0);
    assert!(until(|| replayer.ask(key(2), Phase::Soak { real: true }, &plan, host) == Some(true)));
    assert!(attempts.load(Ordering::Relaxed) >= 20);

    // What is sent to it without TLS it does not take, whether it says so or not: nothing is proven that way.
    plan.replays[0].tls = false;
    let other = Key { fence: 2, ..key(1) };
    assert!(until(|| {
        replayer.ask(other, Phase::Before, &plan, host);
        replayer.before() == Before::Unsound
    }));
    plan.replays[0].port = service("HTTP/1.1 400 The plain HTTP request was sent to HTTPS port\r\n\r\n");
    let third = Key { fence: 3, ..key(1) };
    assert!(until(|| {
        replayer.ask(third, Phase::Before, &plan, host);
        replayer.before() == Before::Unsound
    }));
}

#[test]
fn an_attempt_goes_over_the_line_as_an_attacker_sends_it() {
    let mut replay = plan(80).replays.remove(0);
    let mut one: rollout::plan::replay::Attempt = replay.attempts[0].clone();
    let text = String::from_utf8(attempt(&one, &replay)).unwrap();
    assert!(text.starts_with(
        "GET /default.ida?NNNN%u9090 HTTP/1.1\r\nHost: localhost:80\r\nUser-Agent: palisade-agent/"
    ));
    assert!(text.ends_with("\r\nX: y\r\nConnection: close\r\n\r\n"), "{text}");
    replay.host = Some("shop.example".to_owned());
    assert!(String::from_utf8(attempt(&one, &replay)).unwrap().contains("\r\nHost: shop.example:80\r\n"));
    one.headers[0].name = "hOST".to_owned();
    one.body = Some("a=ü".to_owned());
    let text = String::from_utf8(attempt(&one, &replay)).unwrap();
    assert!(text.contains("hOST: y\r\n") && !text.contains("shop.example"), "{text}");
    assert!(text.ends_with("Content-Length: 4\r\nConnection: close\r\n\r\na=ü"), "{text}");
}
