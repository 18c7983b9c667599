//! What a plan's text may say, and what its check names.

use jiff::tz::TimeZoneDatabase;
use rollout::denylist::Denylist;
use rollout::plan::{BYTES_MAX, Digest, Override, Plan, Rollback, Track};
use rollout::sim::fleet::{BEGIN, Shape, host_id};

fn good() -> Plan {
    Shape { waves: vec![1, 4, 7], away_max: vec![2], late_max: 2, control: true, ..Shape::default() }.plan()
}

fn faults(change: impl FnOnce(&mut Plan)) -> Vec<String> {
    let mut plan = good();
    change(&mut plan);
    plan.check(&TimeZoneDatabase::bundled()).iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_plan_has_no_fault_and_keeps_its_bytes() {
    assert_eq!(faults(|_| {}), Vec::<String>::new());
    let bytes = good().bytes();
    assert_eq!(Plan::read(&bytes).expect("its own bytes").bytes(), bytes);
    assert_eq!(good().digest(), Digest::of(&bytes));
}

#[test]
fn only_canonical_bytes_are_a_plan() {
    let text = String::from_utf8(good().bytes()).expect("JSON");
    for other in [
        text.replacen(',', ", ", 1),
        text.replacen("{\"format\":1", "{\"script\":\"rm -rf /\",\"format\":1", 1),
        text.replacen("\"format\":1", "\"format\":2", 1),
        text.replacen("\"title\":\"fix openssl\"", "\"title\":\"x\",\"title\":\"fix openssl\"", 1),
        format!("{text} "),
        text[..text.len() - 1].to_owned(),
    ] {
        assert_ne!(other, text);
        assert!(Plan::read(other.as_bytes()).is_err(), "{}", &other[..80]);
    }
    assert!(Plan::read(&vec![b' '; BYTES_MAX + 1]).is_err());
}

#[test]
fn each_fault_is_named_with_its_remedy() {
    type Change = fn(&mut Plan);
    let cases: [(&str, Change); 18] = [
        ("before it may begin", |plan| plan.expires = BEGIN),
        ("canaries outside the first wave", |plan| plan.waves[0].cohorts[0].canary = false),
        ("canaries outside the first wave", |plan| plan.waves[1].cohorts[0].canary = true),
        ("asks for nothing opens on silence", |plan| plan.waves[1].gate.proven_percent_min = 0),
        ("all 4 hosts may fail", |plan| plan.waves[1].gate.bad_max = 4),
        ("between 3600 and", |plan| plan.track = Track::Normal),
        ("between 300 and", |plan| plan.waves[0].gate.soak_seconds = 299),
        ("twice", |plan| plan.waves[2].cohorts[0].hosts[0] = host_id(0)),
        ("not sorted", |plan| plan.waves[2].cohorts[0].hosts.reverse()),
        ("only the last wave takes them", |plan| plan.waves[1].late = plan.waves[2].late.clone()),
        ("nobody is left to compare with", |plan| plan.waves[2].gate.control = plan.waves[1].gate.control),
        ("cannot be rolled back", |plan| plan.classes[0].changes[0].back = None),
        ("is no package's name or version", |plan| plan.classes[0].changes[0].to = "1; reboot".to_owned()),
        ("is no package's name or version", |plan| plan.classes[0].changes[0].name = "--purge".to_owned()),
        ("none can be patched", |plan| plan.groups[0].away_max = 0),
        ("a host takes", |plan| plan.timing.deadline_seconds = 300),
        ("is not in the plan", |plan| plan.waves[1].cohorts[0].class = "other".to_owned()),
        ("Europe/Zurich", |plan| {
            let window = rollout::plan::Window {
                zone: "Europe/Atlantis".to_owned(),
                every: rollout::plan::Recurrence::Weekly(vec![rollout::plan::Day::Monday]),
                opens: jiff::civil::time(2, 0, 0, 0),
                minutes: 120,
            };
            plan.windows.push(window);
        }),
    ];
    for (named, change) in cases {
        let faults = faults(change);
        assert!(
            faults.iter().any(|fault| fault.contains(named) && fault.contains("; ")),
            "{named}: {faults:#?}"
        );
    }
    assert_eq!(
        faults(|plan| {
            plan.rollback = Rollback::Never;
            plan.classes[0].changes[0].back = None;
        }),
        Vec::<String>::new()
    );
}

#[test]
fn the_agent_is_changed_alone_by_canaries_that_bear_nothing_and_by_hosts_that_can_go_back() {
    type Change = fn(&mut Plan);
    let of_agent = |change: Change| {
        faults(|plan| {
            plan.classes[0].changes.truncate(1);
            plan.classes[0].changes[0].name = "palisade".to_owned();
            change(plan);
        })
    };
    assert_eq!(of_agent(|_| {}), Vec::<String>::new());
    let cases: [(&str, Change); 6] = [
        ("changes openssl in a plan that changes the agent", |plan| {
            let other = good().classes[0].changes[0].clone();
            plan.classes[0].changes.push(other);
        }),
        ("changes openssl in a plan that changes the agent", |plan| {
            let other = rollout::plan::HostClass { name: "other".to_owned(), ..good().classes[0].clone() };
            plan.classes.push(other);
        }),
        ("hosts that have none", |plan| plan.classes[0].changes[0].from = None),
        ("could not be taken back", |plan| plan.rollback = Rollback::Never),
        ("1 canaries may fail", |plan| plan.waves[0].gate.bad_max = 1),
        ("too short for a new agent", |plan| plan.timing.verify_seconds = 119),
    ];
    for (named, change) in cases {
        let faults = of_agent(change);
        assert!(faults.iter().any(|fault| fault.contains(named)), "{named}: {faults:#?}");
    }
}

#[test]
fn what_failed_is_refused_in_the_next_plan_unless_the_approvers_overrule_it_by_name() {
    let mut denied = Denylist::default();
    denied.deny(&good(), "debian-12", BEGIN, "1 host rolled back");
    let kept: Denylist = serde_json::from_str(&serde_json::to_string(&denied).expect("JSON")).expect("JSON");
    let mut next = Shape { number: 2, ..Shape::default() }.plan();
    let refused = kept.refuses(&next);
    assert_eq!(refused.len(), 1);
    assert!(
        refused[0].to_string().contains("openssl 3.0.15-2 on debian:12/amd64: failed at"),
        "{}",
        refused[0]
    );
    next.overrides.push(Override {
        package: "openssl".to_owned(),
        version: "3.0.15-2".to_owned(),
        class: "debian:12/amd64".to_owned(),
        reason: "the probe was wrong".to_owned(),
    });
    assert_eq!(kept.refuses(&next), []);
    next.classes[0].release = "debian:13".to_owned();
    assert_eq!(kept.refuses(&next), [], "another class never failed");
}

#[test]
fn a_hundred_thousand_named_hosts_fit() {
    let plan = Shape { waves: vec![10, 990, 99_000], ..Shape::default() }.plan();
    let bytes = plan.bytes();
    // 39 bytes a host.
    assert!(bytes.len() < 4_000_000, "{}", bytes.len());
    assert_eq!(Plan::read(&bytes).expect("its own bytes"), plan);
    assert_eq!(plan.place(host_id(99_999)).expect("named").wave, 2);
}
