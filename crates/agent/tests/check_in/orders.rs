//! Orders, from the signed plan to the last report.

use crate::centre::Answer;
use crate::fleet::{Scene, check_reports, dry};
use crate::{Host, pace, wait};
use agent::apt::Network;
use agent::settings::Settings;
use agent::state::State;
use agent::{Config, Contact, Pace, Told};
use rollout::order::{Direction, Failure, Skip, Stage};
use rollout::plan::replay::{Load, Replay, Terms};
use serde_json::json;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use wire::v1::{CHECK_IN_PATH, HINT_PATH, Hint, REHEARSAL_PATH, Rehearse, Watch};

/// Set for an agent in a process of its own: where its state and its root are.
const CHILD: &str = "PALISADE_TEST_AGENT";

#[test]
fn an_order_is_carried_out_and_every_stage_is_reported_in_order() {
    let scene = Scene::new();
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    let agent = scene.start_dry(&json!({ "act_ms": 400, "reboots": true }));
    scene.wait_for(Stage::Proven);
    let stages = scene.stages();
    let expected = [
        Stage::Preflight,
        Stage::Fetched,
        Stage::Applying,
        Stage::Restarting,
        Stage::AwaitingReboot,
        Stage::Proven,
    ];
    // Nobody asks for a soak, and probes answer at once: not on a machine that is busy.
    let perhaps = |stage: &Stage| matches!(stage, Stage::Verifying | Stage::Soaking);
    let stages: Vec<Stage> = stages.into_iter().filter(|stage| !perhaps(stage)).collect();
    assert_eq!(stages, expected, "what waits is told; what passes at once is not");
    let reports = scene.reports();
    check_reports(&reports);
    assert_ne!(reports[0].boot, reports.last().unwrap().boot, "it pretends to have booted");
    assert_eq!(scene.begun(), ["fetch", "apply", "restart", "reboot"]);
    wait("health is told after the proof", || scene.said().last().unwrap().healthy == Some(true));
    let told = agent.told(|told| matches!(told, Told::Stage(_)));
    assert!(told >= expected.len(), "{told}");
    agent.stop().unwrap();
    // Nobody can take this for real.
    let heard = scene.centre.heard(CHECK_IN_PATH).pop().unwrap();
    assert!(heard.body["agent"].as_str().unwrap().ends_with("+dry"), "{}", heard.body["agent"]);
    let status = scene.status().unwrap();
    assert_eq!(status.stage.as_deref(), Some("proven"));
    assert_eq!((status.trust.threshold, status.trust.one_key), (2, false));
    assert_eq!(status.trust.approvers, ["ada", "ben"]);
    assert!(status.hand.to_string().contains("nothing that it reports as done was done"));
    let packages = std::fs::read_to_string(scene.host.root().join("var/lib/dpkg/status")).unwrap();
    assert!(packages.contains("Version: 1-1") && !packages.contains("1-2"), "nothing was changed");
}

#[test]
fn an_agent_killed_before_and_after_every_act_goes_on_and_does_nothing_twice() {
    let scene = Scene::new();
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    let deeds = ["fetch", "apply", "restart", "reboot"];
    scene.write_faults(&json!({ "act_ms": 300, "reboots": true, "dies_before": deeds, "dies_after": deeds }));
    let mut deaths = 0;
    let mut agent = Process::start(&scene.host);
    wait("it is proven", || {
        if agent.has_ended() {
            deaths += 1;
            agent = Process::start(&scene.host);
        }
        scene.stages().last() == Some(&Stage::Proven)
    });
    assert_eq!(deaths, 8);
    assert_eq!(scene.begun(), deeds, "each once");
    check_reports(&scene.reports());
}

#[test]
fn an_agent_killed_at_any_moment_goes_on_where_it_was() {
    let scene = Scene::new();
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    scene.write_faults(&json!({ "act_ms": 150, "reboots": true }));
    let mut agent = Process::start(&scene.host);
    // Of every length once: from before the first word to long after the last.
    let mut lives = (1..40)
        .map(|life| Duration::from_millis(life * 29))
        .chain(std::iter::repeat(Duration::from_secs(60)));
    let mut until = Instant::now() + lives.next().unwrap();
    wait("it is proven", || {
        if Instant::now() >= until && scene.stages().last() != Some(&Stage::Proven) {
            agent.kill();
            agent = Process::start(&scene.host);
            until = Instant::now() + lives.next().unwrap();
        }
        scene.stages().last() == Some(&Stage::Proven)
    });
    check_reports(&scene.reports());
    let begun = scene.begun();
    for deed in ["apply", "reboot"] {
        let count = begun.iter().filter(|begun| *begun == deed).count();
        assert_eq!(count, 1, "{begun:?}");
    }
}

#[test]
fn what_cannot_be_applied_or_does_not_work_is_put_back() {
    let broken = ["repair", "repair", "revert", "revert", "revert"];
    for (faults, end) in [
        (json!({ "act_ms": 20, "fails": ["apply", "apply", "apply"] }), Stage::RolledBack),
        (json!({ "act_ms": 20, "halves": ["apply", "repair"], "fails": ["repair"] }), Stage::RolledBack),
        (json!({ "act_ms": 20, "unhealthy": true }), Stage::RolledBack),
        (json!({ "act_ms": 20, "halves": ["apply"], "fails": broken }), Stage::Inconsistent),
        (json!({ "act_ms": 20, "keeps_stale": true }), Stage::RolledBack),
    ] {
        let scene = Scene::new();
        scene.orders(1, Direction::Forward, None, |_, _, _| {});
        let agent = scene.start_dry(&faults);
        scene.wait_for(end);
        // It does not take the same plan twice.
        scene.orders(2, Direction::Forward, None, |_, _, _| {});
        scene.wait_for(Stage::Skipped(Skip::RolledBackBefore));
        agent.stop().unwrap();
    }
    let scene = Scene::new();
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    let fetch = vec!["fetch"; 9];
    let agent = scene.start_dry(&json!({ "act_ms": 5, "fails": fetch }));
    scene.wait_for(Stage::Failed(Failure::Fetch));
    agent.stop().unwrap();
}

#[test]
fn a_host_whose_service_cannot_be_measured_before_the_change_skips_and_nothing_is_begun() {
    let unanswered = |port| Replay {
        group: None,
        port,
        path: "/".to_owned(),
        unit: "no-such-unit.service".to_owned(),
        host: None,
        tls: false,
        attempts: Vec::new(),
        unknown: vec!["CVE-2099-1".to_owned()],
        load: Load { rate_per_second: 5, round_seconds: 1, pause_seconds: 1 },
        terms: Terms::default(),
    };
    let scene = Scene::at(jiff::Timestamp::now(), |plan| {
        let rollout::plan::Asked::TcpPort(port) = plan.probes[0].what else {
            unreachable!("the scene's plan probes a port")
        };
        plan.replays = vec![unanswered(port)];
    });
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    let agent = scene.start_dry(&json!({ "act_ms": 20 }));
    scene.wait_for(Stage::Skipped(Skip::Unanswered));
    agent.stop().unwrap();
    assert_eq!(scene.begun(), ["fetch"], "files are there, and nothing was changed");
}

#[test]
fn a_host_goes_back_only_on_the_approvers_word() {
    let scene = Scene::new();
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    let agent = scene.start_dry(&json!({ "act_ms": 20 }));
    scene.wait_for(Stage::Proven);
    // The centre alone cannot order it; nor with a word that it made up.
    for word in [None, Some(uuid::Uuid::now_v7())] {
        scene.orders(2, Direction::Back, word, |_, _, _| {});
        let asked = scene.said().len();
        wait("it has heard that", || scene.said().len() > asked + 5);
        assert_eq!(scene.stages().last(), Some(&Stage::Proven));
    }
    let word = scene.people.word_back(&scene.plan);
    scene.centre.memory.lock().unwrap().files = scene.people.offered();
    scene.orders(2, Direction::Back, Some(word), |_, _, _| {});
    scene.wait_for(Stage::RolledBack);
    agent.stop().unwrap();
    assert_eq!(scene.reports().last().unwrap().fence, 2);
}

#[test]
fn a_withdrawn_grant_is_given_up_before_the_point_of_no_return_only() {
    let scene = Scene::new();
    let plan = scene.plan.id;
    scene.orders(1, Direction::Forward, None, move |said, told, _| {
        if said.report.is_some_and(|report| report.stage == Stage::Fetched) {
            (told.order, told.clearance, told.withdraw) = (None, None, Some((plan, 1)));
        }
    });
    let agent = scene.start_dry(&json!({ "act_ms": 20 }));
    scene.wait_for(Stage::Withdrawn);
    // Granted anew, it begins anew; past the point of no return it finishes, also when approvers withdraw the plan.
    let people = &scene.people;
    scene.write_faults(&json!({ "act_ms": 20, "hangs": ["apply"] }));
    scene.orders(2, Direction::Forward, None, move |said, told, _| {
        if said.report.is_some_and(|report| report.fence == 2 && report.stage.is_past_return()) {
            (told.order, told.withdraw) = (None, Some((plan, 2)));
        }
    });
    scene.wait_for(Stage::Applying);
    people.withdraw(plan.0);
    scene.centre.memory.lock().unwrap().files = people.offered();
    agent.stop().unwrap();
    let agent = scene.start_dry(&json!({ "act_ms": 20 }));
    scene.wait_for(Stage::Proven);
    agent.stop().unwrap();
}

#[test]
fn what_the_owner_does_not_allow_is_skipped_and_said() {
    let never: Settings = {
        let mut settings = dry();
        settings.plans.never = true;
        settings
    };
    let excluded: Settings = {
        let mut settings = dry();
        settings.plans.excluded = vec!["oil".to_owned()];
        settings
    };
    // Without a hand nothing is begun, and what else stands in the way is told rather.
    let eyes = Settings::default();
    for (settings, drifts, skip) in [
        (never, false, Skip::Never),
        (excluded, false, Skip::Excluded),
        (eyes.clone(), false, Skip::Never),
        (eyes, true, Skip::Drifted),
    ] {
        let scene = Scene::new();
        if drifts {
            scene.host.install("oil", "1-0");
        }
        scene.orders(1, Direction::Forward, None, |_, _, _| {});
        let agent = scene.host.start_with(&pace(), settings);
        scene.wait_for(Stage::Skipped(skip));
        agent.stop().unwrap();
        assert!(!scene.host.state().join("dry.json").exists());
    }
}

#[test]
fn a_window_of_the_owners_keeps_the_host_waiting_and_is_told() {
    let scene = Scene::new();
    let mut settings = dry();
    // Once a year at most is this open; not now.
    let date = jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date();
    let day = if date.weekday() == jiff::civil::Weekday::Monday { "wednesday" } else { "monday" };
    settings.plans.windows = serde_json::from_value(json!([{
        "zone": "UTC", "every": { "weekly": [day] }, "opens": "12:00:00", "minutes": 10,
    }]))
    .unwrap();
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    let agent = scene.host.start_with(&pace(), settings);
    scene.wait_for(Stage::Preflight);
    let why = || scene.status().and_then(|status| status.rests).unwrap_or_default();
    wait("it says why", || why().contains("no window; next at"));
    agent.stop().unwrap();
    assert!(!scene.stages().contains(&Stage::Fetched));
}

#[test]
fn lost_answers_are_asked_for_again_and_soon() {
    let scene = Scene::new();
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    scene.write_faults(&json!({ "act_ms": 300 }));
    // An agent without a job would wait for up to an hour after an error.
    let slow = Duration::from_secs(3600);
    let agent = scene.host.start_with(&Pace { back_off_base: slow, back_off_max: slow, ..pace() }, dry());
    let lose = |count| {
        for _ in 0..count {
            scene.centre.answer(CHECK_IN_PATH, Answer { status: 500, headers: "", body: "oops".into() });
        }
    };
    scene.wait_for(Stage::Preflight);
    lose(7);
    wait("it is at work", || scene.stages().len() > 2);
    lose(7);
    scene.wait_for(Stage::Proven);
    agent.stop().unwrap();
    check_reports(&scene.reports());
}

#[test]
fn an_end_that_nobody_heard_is_told_soon_after_the_server_s_return() {
    let scene = Scene::new();
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    scene.write_faults(&json!({ "act_ms": 300 }));
    // An agent that has nothing to tell would wait for up to an hour after an error.
    let slow = Duration::from_secs(3600);
    let untold = Duration::from_millis(400);
    let agent =
        scene.host.start_with(&Pace { back_off_base: slow, back_off_max: slow, untold, ..pace() }, dry());
    scene.wait_for(Stage::Applying);
    scene.centre.set_down(true);
    let is_over = || scene.status().is_some_and(|status| status.stage.as_deref() == Some("proven"));
    wait("it is proven, and nobody hears of it", is_over);
    // Long enough to have failed again and again since.
    std::thread::sleep(4 * untold);
    assert_ne!(scene.stages().last(), Some(&Stage::Proven));
    scene.centre.set_down(false);
    scene.wait_for(Stage::Proven);
    // Told once, it is no reason to hurry.
    let tried = || agent::status(&State::open(&scene.host.state()).unwrap()).unwrap();
    scene.centre.set_down(true);
    wait("the server is missed", || tried().contact == Contact::OutOfTouch);
    let last = tried().tried;
    std::thread::sleep(4 * untold);
    assert_eq!(tried().tried, last);
    agent.stop().unwrap();
    check_reports(&scene.reports());
}

#[test]
fn a_hint_brings_the_next_check_in_forward() {
    let scene = Scene::new();
    {
        let mut memory = scene.centre.memory.lock().unwrap();
        (memory.next_seconds, memory.hint) = (3600, Some(Hint { now: false }));
    }
    let agent = scene.start_dry(&json!({ "act_ms": 20 }));
    wait("it has checked in", || !scene.said().is_empty());
    wait("it waits for a hint", || !scene.centre.heard(HINT_PATH).is_empty());
    let before = scene.said().len();
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    scene.centre.memory.lock().unwrap().hint = Some(Hint { now: true });
    let hinted = Instant::now();
    wait("it checks in at once", || scene.said().len() > before);
    assert!(hinted.elapsed() < Duration::from_secs(10), "{:?}", hinted.elapsed());
    // From there on its own news carry it, an hour between two check-ins or not.
    scene.wait_for(Stage::Proven);
    let stopped = Instant::now();
    agent.stop().unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(10));
}

#[test]
fn hosts_whose_turn_has_not_come_tell_their_health_to_be_compared_with() {
    let scene = Scene::new();
    let watch = Watch { plan: scene.plan.id, digest: scene.plan.digest() };
    scene.orders(1, Direction::Forward, None, move |_, told, _| {
        (told.order, told.clearance, told.watch) = (None, None, Some(watch));
    });
    let agent = scene.host.start_with(&pace(), Settings::default());
    wait("it says that all is well", || scene.said().last().is_some_and(|said| said.healthy == Some(true)));
    drop(scene.service);
    let said = || {
        let heard = scene.centre.heard(CHECK_IN_PATH).pop().unwrap();
        heard.body["job"]["healthy"].as_bool()
    };
    wait("it says that the service is down", || said() == Some(false));
    agent.stop().unwrap();
}

#[test]
fn a_question_what_a_change_would_do_is_answered_once() {
    let scene = Scene::new();
    let id = uuid::Uuid::now_v7();
    scene.centre.memory.lock().unwrap().rehearse = Some(Rehearse { id, sources: vec!["oil".to_owned()] });
    let agent = scene.host.start_with(&pace(), Settings::default());
    wait("it answers", || !scene.centre.heard(REHEARSAL_PATH).is_empty());
    let before = scene.said().len();
    wait("it goes on", || scene.said().len() > before + 5);
    agent.stop().unwrap();
    let heard = scene.centre.heard(REHEARSAL_PATH);
    assert_eq!((heard.len(), heard[0].body["id"].as_str()), (1, Some(id.to_string().as_str())));
    let blocks = heard[0].body["blocks"].as_array().unwrap();
    assert!(!blocks.is_empty(), "this root names no archive: that is said");
}

/// An agent in a process of its own, which can be killed.
struct Process(Child);

impl Process {
    fn start(host: &Host) -> Self {
        let place = host.state().parent().unwrap().to_owned();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "orders::an_agent_in_a_process_of_its_own", "--nocapture"])
            .env(CHILD, place);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What [`Process`] runs; as a test of its own it does nothing.
#[test]
fn an_agent_in_a_process_of_its_own() {
    let Some(place) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let (state, root) = (place.join("state"), place.join("root"));
    let config = Config { state, root, network: Network::None, pace: pace(), settings: dry() };
    // Its parent kills it; if that ends first, so does this.
    let stop = Arc::new(AtomicBool::new(false));
    let ticks = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while ticks.fetch_add(1, Ordering::Relaxed) < 600 {
                std::thread::sleep(Duration::from_millis(100));
            }
            stop.store(true, Ordering::Relaxed);
        });
        agent::run(config, &stop, &mut |_| {}).unwrap();
    });
}
