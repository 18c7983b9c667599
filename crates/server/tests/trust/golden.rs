//! A small fleet's plan, whole: what every default comes to. `UPDATE_GOLDEN=1` writes it anew, to be reviewed as prose.

use crate::world::{changes, file};
use exposure::inventory::{Origin, Package, PackageState};
use jiff::{SignedDuration, Timestamp};
use rollout::denylist::Denylist;
use rollout::plan::{Change, HostId, PlanId};
use server::planning::asked::{Asked, Service};
use server::planning::build::{self, Parts};
use server::planning::classes::{self, Host, Machine, Next};
use server::store::rehearsals::Rehearsal;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;
use wire::v1::Rehearsed;

fn machine(release: &str, has: &[(&str, &str, &str)]) -> Machine {
    let package = |(name, source, version): &(&str, &str, &str)| Package {
        name: (*name).into(),
        arch: "amd64".into(),
        version: (*version).into(),
        source: (*source).into(),
        source_version: (*version).into(),
        state: PackageState::Installed,
        held: false,
        essential: false,
        module: None,
        vendor: String::new(),
        origin: Origin::Vendor,
    };
    let packages = vec![Arc::new(has.iter().map(package).collect())];
    Machine { release: release.into(), arch: "amd64".into(), packages }
}

fn host(number: u128, machine: usize, region: &str, service: Option<&str>) -> Host {
    Host {
        id: HostId(Uuid::from_u128(number)),
        name: format!("host-{number}"),
        seen_at: now(),
        machine,
        sources: BTreeSet::from(["openssl".to_owned()]),
        role: "web".to_owned(),
        region: region.to_owned(),
        groups: service.map(|service| format!("service={service}")).into_iter().collect(),
    }
}

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn rehearsed(class: &str, host: u128, changes: Vec<Change>) -> Rehearsal {
    let answer = Rehearsed {
        id: Uuid::nil(),
        changes,
        blocks: Vec::new(),
        restarts: Vec::new(),
        reboot: None,
        download_bytes: 0,
    };
    Rehearsal {
        id: Uuid::nil(),
        plan: String::new(),
        class: class.into(),
        host: Uuid::from_u128(host).to_string(),
        hosts: 1,
        sources: vec!["openssl".into()],
        asked_at: now(),
        answer: Some((now(), answer)),
    }
}

#[test]
fn a_small_fleet_of_three_classes_is_planned_as_it_was() {
    let openssl = |version| [("libssl3", "openssl", version), ("zlib1g", "zlib", "1.2")];
    let machines = [
        machine("debian:12", &openssl("3.0.11")),
        machine("debian:12", &[("libssl3", "openssl", "3.0.11"), ("zlib1g", "zlib", "1.1")]),
        machine("debian:13", &openssl("3.0.11")),
    ];
    let hosts: Vec<Host> = (1..=12)
        .map(|number| {
            let machine = match number {
                1..=7 => 0,
                8..=9 => 1,
                _ => 2,
            };
            let region = if number % 2 == 0 { "north" } else { "south" };
            host(number, machine, region, (number <= 4).then_some("shop"))
        })
        .collect();
    let upgrade = |zlib| changes(&[("libssl3", Some("3.0.11"), "3.0.15"), ("zlib1g", Some(zlib), "1.3")]);
    let mut rehearsals = vec![rehearsed("debian-12-amd64", 3, upgrade("1.2"))];
    let silent_after = SignedDuration::from_mins(10);
    let next = |rehearsals: &[Rehearsal]| classes::next(&hosts, &machines, rehearsals, now(), silent_after);
    let Next::Ask(asks) = next(&rehearsals) else { panic!("two classes are not known") };
    let asked: Vec<(&str, usize)> = asks.iter().map(|ask| (ask.class.as_str(), ask.hosts)).collect();
    assert_eq!(asked, [("debian-12-amd64-2", 2), ("debian-13-amd64", 3)]);
    rehearsals.push(rehearsed("debian-12-amd64-2", 8, upgrade("1.1")));
    rehearsals.push(rehearsed("debian-13-amd64", 12, upgrade("1.2")));
    let Next::Known(known, of_host) = next(&rehearsals) else {
        panic!("all are known: {:?}", next(&rehearsals))
    };

    let asked = Asked {
        fix: vec!["CVE-2026-1001".into()],
        canaries: vec!["host-12".into()],
        services: vec![Service { label: "service".into(), away_max: 1 }],
        ..Asked::default()
    };
    let bulletins = BTreeSet::from(["DSA-1-1".to_owned()]);
    let denied = Denylist::default();
    let parts = Parts {
        id: PlanId(Uuid::from_u128(99)),
        asked: &asked,
        seed: [7; 32],
        now: now(),
        hosts: &hosts,
        machines: &machines,
        classes: (&known, &of_host),
        bulletins: &bulletins,
        cves: &BTreeSet::new(),
        denied: &denied,
    };
    let plan = build::plan(&parts).unwrap();
    let text = format!("{}\n", serde_json::to_string_pretty(&plan).unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trust/plan.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn two_hosts_that_name_different_files_for_one_version_block_the_plan() {
    let machines = [
        machine("debian:12", &[("libssl3", "openssl", "3.0.11")]),
        machine("debian:12", &[("libssl3", "openssl", "3.0.12")]),
    ];
    let hosts = [host(1, 0, "", None), host(2, 1, "", None)];
    let one = changes(&[("libssl3", Some("3.0.11"), "3.0.15")]);
    let mut other = changes(&[("libssl3", Some("3.0.12"), "3.0.15")]);
    let said = |other: Vec<Change>| [rehearsed("a", 1, one.clone()), rehearsed("b", 2, other)];
    let next = |rehearsals: &[Rehearsal]| {
        classes::next(&hosts, &machines, rehearsals, now(), SignedDuration::from_mins(10))
    };
    assert!(matches!(next(&said(other.clone())), Next::Known(..)));
    other[0].file = file("something else");
    let Next::Blocked(blocks) = next(&said(other)) else { panic!("they disagree") };
    assert!(blocks[0].contains("host-1 and host-2 name different files for libssl3 3.0.15"), "{blocks:?}");
}

#[test]
fn a_host_that_said_what_it_lacks_is_not_counted_with_those_that_have_it() {
    let machines = [
        machine("debian:12", &[("libssl3", "openssl", "3.0.11"), ("openssl-provider", "openssl", "3.0.15")]),
        machine("debian:12", &[("libssl3", "openssl", "3.0.11")]),
    ];
    let hosts = [host(1, 0, "", None), host(2, 1, "", None), host(3, 1, "", None)];
    let alone = changes(&[("libssl3", Some("3.0.11"), "3.0.15")]);
    let both = changes(&[("libssl3", Some("3.0.11"), "3.0.15"), ("openssl-provider", None, "3.0.15")]);
    let said = [rehearsed("a", 1, alone), rehearsed("b", 2, both)];
    let Next::Known(known, of_host) =
        classes::next(&hosts, &machines, &said, now(), SignedDuration::from_mins(10))
    else {
        panic!("all are known")
    };
    let classes: Vec<&str> = of_host.iter().map(|class| known[*class].name.as_str()).collect();
    assert_eq!(classes, ["a", "b", "b"]);
}

#[test]
fn a_kernel_comes_beside_those_that_are_there_and_not_where_it_is_already() {
    let old = [("kernel-core", "kernel", "1-1")];
    let machines = [
        machine("almalinux:9", &old),
        machine("almalinux:9", &[old[0], ("kernel-core", "kernel", "0-1")]),
        machine("almalinux:9", &[old[0], ("kernel-core", "kernel", "2-1")]),
    ];
    let sources = BTreeSet::from(["kernel".to_owned()]);
    let host = |number, machine| Host { sources: sources.clone(), ..host(number, machine, "", None) };
    let rehearsal = Rehearsal {
        sources: vec!["kernel".to_owned()],
        ..rehearsed("a", 1, changes(&[("kernel-core", None, "2-1")]))
    };
    let next = |hosts: &[Host]| {
        classes::next(
            hosts,
            &machines,
            std::slice::from_ref(&rehearsal),
            now(),
            SignedDuration::from_mins(10),
        )
    };
    assert!(matches!(next(&[host(1, 0), host(2, 1)]), Next::Known(classes, _) if classes.len() == 1));
    assert!(matches!(next(&[host(1, 0), host(3, 2)]), Next::Ask(_)), "it is there already");
}
