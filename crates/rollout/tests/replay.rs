//! What is replayed to patched services: what a plan may say of it, and what is borne.

use jiff::tz::TimeZoneDatabase;
use proptest::prelude::*;
use rollout::plan::replay::{ATTEMPT_BYTES_MAX, Attempt, Header, Load, Replay, Terms};
use rollout::plan::{Digest, Plan};
use rollout::replay::{Heard, Round, Unstable};
use rollout::sim::fleet::{Shape, host_id};

fn code_red() -> Attempt {
    Attempt {
        signature: "codered1".to_owned(),
        method: "GET".to_owned(),
        target: "/default.ida?NNNNNNNN%u9090".to_owned(),
        headers: vec![Header { name: "User-Agent".to_owned(), value: "worm".to_owned() }],
        body: None,
    }
}

fn replay() -> Replay {
    Replay {
        group: None,
        port: 80,
        path: "/".to_owned(),
        unit: "nginx.service".to_owned(),
        host: None,
        tls: false,
        attempts: vec![code_red()],
        unknown: vec!["CVE-2099-1".to_owned()],
        load: Load { rate_per_second: 5, round_seconds: 10, pause_seconds: 10 },
        terms: Terms::default(),
    }
}

fn plan() -> Plan {
    let mut plan = Shape { waves: vec![1, 4, 7], away_max: vec![2], ..Shape::default() }.plan();
    plan.timing.host_soak_seconds = 30;
    plan.replays = vec![replay()];
    plan
}

#[test]
fn a_plan_signed_before_keeps_its_digest_and_one_with_replays_has_its_own() {
    let without = Plan { replays: Vec::new(), ..plan() };
    let text = String::from_utf8(without.bytes()).expect("JSON");
    assert!(!text.contains("replays"), "a plan without is the text that it always was");
    assert_eq!(Plan::read(text.as_bytes()).expect("its own bytes"), without);
    let bytes = plan().bytes();
    assert_eq!(Plan::read(&bytes).expect("its own bytes"), plan());
    assert_ne!(Digest::of(&bytes), without.digest());
    let plain = String::from_utf8(bytes.clone()).expect("JSON");
    assert!(!plain.contains("\"tls\"") && !plain.contains("\"host\":"), "nor has one without TLS changed");
    let tls = Replay { tls: true, host: Some("shop.example".to_owned()), ..replay() };
    let tls = Plan { replays: vec![tls], ..plan() };
    assert_eq!(Plan::read(&tls.bytes()).expect("its own bytes"), tls);
    assert_eq!(tls.replays[0].place(), "https:80/ of nginx.service named shop.example");
    let other =
        String::from_utf8(bytes).expect("JSON").replacen("\"signature\"", "\"run\":\"sh\",\"signature\"", 1);
    assert!(Plan::read(other.as_bytes()).is_err(), "there is no field that could hold a command");
}

#[test]
fn each_fault_of_a_replay_is_named_with_its_remedy() {
    type Change = fn(&mut Replay);
    let faults = |change: Change| -> Vec<String> {
        let mut plan = plan();
        change(&mut plan.replays[0]);
        plan.check(&TimeZoneDatabase::bundled()).iter().map(ToString::to_string).collect()
    };
    assert_eq!(faults(|_| {}), Vec::<String>::new());
    let cases: [(&str, Change); 18] = [
        ("port 0", |replay| replay.port = 0),
        ("is no path", |replay| replay.path = "health".to_owned()),
        ("is no path", |replay| replay.path = "/a HTTP/1.1\r\nX: y".to_owned()),
        ("is no host", |replay| replay.host = Some("a\r\nX: y".to_owned())),
        ("is no unit", |replay| replay.unit = "nginx".to_owned()),
        ("is no unit", |replay| replay.unit = "--all.service".to_owned()),
        ("group db is not in the plan", |replay| replay.group = Some("db".to_owned())),
        ("21 attempts a second; between 1 and 20", |replay| replay.load.rate_per_second = 21),
        ("0 attempts a second", |replay| replay.load.rate_per_second = 0),
        ("61 s; between 1 and 60", |replay| replay.load.round_seconds = 61),
        ("take 35 s, but a host watches itself for 30 s", |replay| replay.load.pause_seconds = 15),
        ("as many may fail as are sent", |replay| replay.terms.failed_percent_max = 100),
        ("0 times as slow", |replay| replay.terms.slower_times_max = 0),
        ("65 entries; at most 64", |replay| replay.attempts = vec![code_red(); 65]),
        ("is no method", |replay| replay.attempts[0].method = "GET /x HTTP/1.1\r\n".to_owned()),
        ("its target is empty, or has spaces", |replay| replay.attempts[0].target = "/a b".to_owned()),
        ("is set by whoever sends it", |replay| {
            replay.attempts[0].headers[0].name = "Transfer-Encoding".to_owned();
        }),
        ("at most 32768", |replay| replay.attempts[0].body = Some("x".repeat(ATTEMPT_BYTES_MAX))),
    ];
    for (named, change) in cases {
        let faults = faults(change);
        assert!(
            faults.iter().any(|fault| fault.contains(named) && fault.contains("; ")),
            "{named}: {faults:#?}"
        );
    }
    let smuggled = |value: &str| Header { name: "X".to_owned(), value: value.to_owned() };
    for value in ["a\r\nHost: other", "a\nb", "\u{7f}"] {
        let attempt = Attempt { headers: vec![smuggled(value)], ..code_red() };
        assert!(attempt.fault().is_some(), "{value:?} would be two headers");
    }
}

#[test]
fn a_replay_is_for_the_hosts_of_its_group() {
    let mut plan = plan();
    plan.replays.push(Replay { group: Some("g0".to_owned()), port: 8080, ..replay() });
    let ports =
        |plan: &Plan, number| plan.replays_of(host_id(number)).map(|one| one.port).collect::<Vec<_>>();
    assert_eq!(ports(&plan, 1), [80, 8080]);
    plan.waves[1].cohorts[0].groups.clear();
    assert_eq!(ports(&plan, 1), [80]);
}

/// A round in which nothing is wrong: a hundred of each kind.
fn calm() -> Round {
    let harmless = Heard { sent: 100, failed: 0, median_us: 800, p95_us: 2_000, slowest_us: 9_000 };
    Round { harmless, attempts: Heard::default(), memory_bytes: 40 << 20, restarts: 1 }
}

fn attacked() -> Round {
    Round { attempts: calm().harmless, ..calm() }
}

fn told(before: Option<&Round>, now: &Round) -> Vec<String> {
    let unstable = Terms::default().judge("nginx.service", before, &calm(), now);
    unstable.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_unstable_under_attempts_is_named_with_what_it_is_held_against() {
    assert_eq!(told(Some(&calm()), &attacked()), Vec::<String>::new());
    let mut failing = attacked();
    failing.harmless.failed = 3;
    assert_eq!(
        told(Some(&calm()), &failing),
        ["under replayed attempts, 3 of 100 harmless requests failed; 2 % are borne"]
    );
    let mut slow = attacked();
    slow.harmless.p95_us = 100_100;
    assert_eq!(
        told(Some(&calm()), &slow),
        [
            "under replayed attempts, one harmless request of twenty took over 100.1 ms; before the change 2.0 ms; \
          100.0 ms are borne"
        ]
    );
    let mut deaf = attacked();
    deaf.attempts.failed = 6;
    assert_eq!(told(Some(&calm()), &deaf), ["6 of 100 replayed attempts got no answer; 5 % are borne"]);
    let mut leaking = attacked();
    leaking.memory_bytes = 105 << 20;
    assert_eq!(
        told(Some(&calm()), &leaking),
        ["nginx.service has grown to 105 MiB under replayed attempts; 40 MiB at first, 104 MiB are borne"]
    );
    let mut crashing = attacked();
    crashing.restarts = 3;
    assert_eq!(
        told(Some(&calm()), &crashing),
        ["nginx.service was restarted 2 times under replayed attempts"]
    );
}

#[test]
fn a_service_is_held_against_itself_and_one_that_never_answered_against_what_any_must_do() {
    // One that was slow and failed now and then before the change may be so after it.
    let mut weak = calm();
    (weak.harmless.failed, weak.harmless.p95_us, weak.memory_bytes) = (10, 300_000, 200 << 20);
    let mut after = attacked();
    (after.harmless.failed, after.harmless.p95_us, after.memory_bytes) = (12, 1_500_000, 300 << 20);
    assert_eq!(told(Some(&weak), &after), Vec::<String>::new());
    after.harmless.failed = 13;
    assert_eq!(told(Some(&weak), &after).len(), 1);
    // A service that was down before excuses nothing; nor does one of which nothing is known any more.
    let mut down = weak;
    down.harmless.failed = 51;
    assert!(!down.is_sound() && weak.is_sound() && !Round::default().is_sound());
    for before in [None, Some(&down)] {
        let told = told(before, &after);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[1].contains("not known any more"), "{told:?}");
    }
}

proptest! {
    #[test]
    fn a_worse_round_is_never_borne_where_a_better_one_is_not(
        failed in 0_u32..100, p95 in 0_u32..1_000_000, unanswered in 0_u32..100, memory in 0_u64..1 << 30,
        restarts in 0_u64..4, more in 0_u32..50,
    ) {
        let round = |add: u32| {
            let mut round = attacked();
            round.harmless.failed = (failed + add).min(100);
            round.harmless.p95_us = p95 + add;
            round.attempts.failed = (unanswered + add).min(100);
            round.memory_bytes = memory + (u64::from(add) << 20);
            round.restarts = restarts + u64::from(add);
            round
        };
        let judged = |round: &Round| Terms::default().judge("a.service", Some(&calm()), &calm(), round);
        let kinds = |unstable: Vec<Unstable>| {
            unstable.iter().map(std::mem::discriminant).collect::<std::collections::HashSet<_>>()
        };
        let (good, bad) = (kinds(judged(&round(0))), kinds(judged(&round(more))));
        prop_assert!(good.is_subset(&bad), "{good:?} {bad:?}");
        // The worst of many rounds is judged no better than any of them.
        let worst = kinds(judged(&round(0).worst(round(more))));
        prop_assert!(bad.is_subset(&worst));
    }

    #[test]
    fn quantiles_are_of_what_was_answered_and_the_rest_failed(mut took in prop::collection::vec(1_u32..1_000_000, 0..300)) {
        let answered = u32::try_from(took.len()).expect("few");
        let heard = Heard::of(300, &mut took);
        prop_assert_eq!(heard.failed, 300 - answered);
        prop_assert!(heard.median_us <= heard.p95_us && heard.p95_us <= heard.slowest_us);
        let slower = took.iter().filter(|&&one| one > heard.p95_us).count();
        prop_assert!(slower <= took.len() / 20, "{slower} of {}", took.len());
    }
}
