//! What a report says, and above all what it must not say: clean, where nobody knows.

mod common;

use advisory::format::lifecycle::{Dates, Ended, Lifecycle};
use advisory::signal::KevEntry;
use advisory::{Advisory, Document, Edge, EdgeKind, Kind, Signals};
use common::*;
use exposure::Inventory;
use exposure::inventory::{ArchiveClass, Candidate, Origin, Package, Part, Protocol, Socket};
use exposure::report::{Bar, Facts, Finding, Outcome, Remedy, Report, Seen, report, verdicts};
use exposure::ssvc::{Deadlines, Exposure, Mission};
use jiff::civil::date;
use std::sync::Arc;

fn facts<'a>(
    inventory: &'a Inventory,
    advisories: &'a [Advisory],
    signals: &'a Signals,
    lifecycle: &'a Lifecycle,
) -> Facts<'a> {
    let (mission, deadlines) = (Mission::Medium, Deadlines::default());
    Facts { inventory, advisories, signals, lifecycle, problems: &[], mission, deadlines }
}

fn told_by(
    inventory: &Inventory,
    advisories: &[Advisory],
    signals: &Signals,
    lifecycle: &Lifecycle,
) -> Report {
    report(&facts(inventory, advisories, signals, lifecycle))
}

fn plain(inventory: &Inventory, advisories: &[Advisory]) -> Report {
    told_by(inventory, advisories, &Signals::default(), &Lifecycle::default())
}

/// What the package manager's changelog says of a pending source; `cves` `None`: it could not be read.
fn by_apt(name: &str, fixed: &str, cves: Option<&[&str]>) -> Advisory {
    let mut claim = source(&debian(), name, fixed);
    if cves.is_none() {
        claim.reason = "its changelog could not be read: what it closes is not known".into();
    }
    let document = Document { feed: "apt".into(), entry: name.into(), sha256: String::new() };
    let mut advisory = Advisory::new(format!("apt:{name}/{fixed}"), Kind::PointRelease, Arc::new(document));
    if let Some(cves) = cves.filter(|cves| !cves.is_empty()) {
        advisory.kind = Kind::Security;
        advisory.edges = cves.iter().map(|cve| Edge { kind: EdgeKind::Related, id: (*cve).into() }).collect();
    }
    advisory.claims.push(claim);
    advisory
}

fn pending(name: &str) -> Candidate {
    Candidate { class: ArchiveClass::PointRelease, ..candidate(name, "1.0-1", "1.0-2") }
}

#[test]
fn end_of_life_is_not_read_as_safe() {
    let host = inventory(&debian(), vec![package("bash", "5.2-1")]);
    let mut over = Lifecycle::default();
    let dates = Dates { release: Some(date(1960, 1, 1)), eol: Some(date(1965, 1, 1)), ..Dates::default() };
    over.releases.insert(debian().to_string(), dates);
    let report = told_by(&host, &[], &Signals::default(), &over);
    assert_eq!(report.outcome(Bar::Any), Outcome::Undetermined);
    assert!(report.undetermined[0].why.contains("support ended"), "{:?}", report.undetermined);
}

#[test]
fn a_source_whose_support_has_ended_is_an_entry_that_no_fix_will_close() {
    let host = inventory(&debian(), vec![package("gone", "1.0-1")]);
    let mut lifecycle = Lifecycle::default();
    let dates = Dates { release: Some(date(1960, 1, 1)), ..Dates::default() };
    lifecycle.releases.insert(debian().to_string(), dates);
    let ended = Ended {
        source: "gone".into(),
        version: "0".into(),
        date: date(1965, 1, 1),
        reason: "upstream is gone".into(),
    };
    lifecycle.ended.insert(debian().to_string(), vec![ended]);
    let report = told_by(&host, &[], &Signals::default(), &lifecycle);
    assert_eq!(report.entries[0].kind, Kind::EndOfLife);
    assert!(matches!(&report.entries[0].remedy, Remedy::None { why } if why.contains("upstream is gone")));
}

#[test]
fn an_update_whose_changelog_could_not_be_read_may_close_a_hole() {
    let mut host = inventory(&debian(), vec![package("known", "1.0-1"), package("unread", "1.0-1")]);
    host.candidates = vec![pending("known"), pending("unread")];
    let advisories = [by_apt("known", "1.0-2", Some(&[])), by_apt("unread", "1.0-2", None)];
    let report = plain(&host, &advisories);
    let entries: Vec<_> = report.entries.iter().map(|entry| (entry.source.as_str(), entry.unread)).collect();
    assert_eq!(entries, [("unread", true)]);
    assert_eq!(report.summary.unread, 1);
    assert_eq!(report.other[0].source, "known", "a point release that names no CVE is another update");
}

#[test]
fn what_is_known_to_be_exploited_comes_first_however_young_it_is() {
    let mut host = inventory(&debian(), vec![package("a-old", "1.0-1"), package("z-exploited", "1.0-1")]);
    host.candidates = vec![pending("a-old"), pending("z-exploited")];
    let mut old = by_apt("a-old", "1.0-2", Some(&["CVE-2020-1"]));
    old.published = Some("2020-01-01T00:00:00Z".parse().expect("a time"));
    let mut young = by_apt("z-exploited", "1.0-2", Some(&["CVE-2026-1"]));
    young.published = Some("2026-11-01T00:00:00Z".parse().expect("a time"));
    let mut signals = Signals::default();
    let entry = KevEntry {
        added: date(2026, 11, 2),
        due: date(2026, 11, 23),
        ransomware: false,
        product: "demo".into(),
    };
    signals.kev.insert("CVE-2026-1".into(), entry);
    // With a low mission impact both get the same decision, and the old one was due long before.
    let report = report(&Facts {
        inventory: &host,
        advisories: &[old, young],
        signals: &signals,
        lifecycle: &Lifecycle::default(),
        problems: &[],
        mission: Mission::Low,
        deadlines: Deadlines::default(),
    });
    assert_eq!(report.entries[0].rank.decision, report.entries[1].rank.decision);
    assert_eq!(report.entries[0].source, "z-exploited");
}

#[test]
fn a_listening_process_that_maps_the_package_makes_it_open_and_names_itself() {
    let mut host = inventory(&debian(), vec![from_source("libtls3", "1.0-1", "tls", "1.0-1")]);
    host.candidates = vec![Candidate { source: "tls".into(), ..pending("libtls3") }];
    let mut nginx = maps_stale(812, "nginx.service", "libtls3", None);
    nginx.stale.clear();
    nginx.packages = vec!["libtls3".into()];
    nginx.sockets = vec![Socket { protocol: Protocol::Tcp, address: [0, 0, 0, 0].into(), port: 443 }];
    host.processes = vec![nginx];
    let report = plain(&host, &[by_apt("tls", "1.0-2", Some(&["CVE-2026-1"]))]);
    let reach = &report.entries[0].reach;
    assert_eq!((reach.seen, reach.exposure), (Seen::Listening, Exposure::Open));
    assert_eq!(reach.because(), "nginx.service (pid 812) listens on tcp/0.0.0.0:443");
}

#[test]
fn what_runs_unseen_is_taken_for_reachable() {
    let mut host = inventory(&debian(), vec![package("bash", "1.0-1")]);
    host.candidates = vec![pending("bash")];
    host.gaps = vec![gap(Part::Processes)];
    let report = plain(&host, &[by_apt("bash", "1.0-2", Some(&["CVE-2026-1"]))]);
    assert_eq!(report.entries[0].reach.exposure, Exposure::Open);
    assert_eq!(report.entries[0].reach.seen, Seen::Unknown);
}

#[test]
fn an_upgraded_library_that_is_still_mapped_asks_for_the_restart_of_its_service() {
    let mut host = inventory(&debian(), vec![package("libtls3", "1.0-2")]);
    host.processes = vec![maps_stale(812, "nginx.service", "libtls3", Some("1.0-1"))];
    let report = plain(&host, &[by_apt("libtls3", "1.0-2", Some(&["CVE-2026-1"]))]);
    let entry = &report.entries[0];
    assert!(matches!(&entry.remedy, Remedy::Restart { .. }), "{:?}", entry.remedy);
    assert_eq!(entry.command.as_deref(), Some("systemctl restart nginx.service"));
    assert_eq!(entry.closes, ["CVE-2026-1"]);
}

#[test]
fn packages_of_one_source_keep_what_differs_between_them() {
    let of = |name: &str, version: &str| from_source(name, version, "tls", version);
    let mut host = inventory(
        &debian(),
        vec![
            of("libalike1", "1.0-1"),
            of("libalike2", "1.0-1"),
            of("libfixable", "1.0-1"),
            of("libmapped", "1.0-2"),
            of("libolder", "0.9-1"),
            Package { origin: Origin::Unknown, ..of("libunknown", "1.0-1") },
        ],
    );
    host.candidates = vec![Candidate { source: "tls".into(), ..candidate("libfixable", "1.0-1", "1.0-2") }];
    host.processes = vec![maps_stale(812, "nginx.service", "libmapped", Some("1.0-1"))];
    let advisories = [
        advisory("CVE-2026-1", vec![source(&debian(), "tls", "1.0-2")]),
        advisory(
            "CVE-2026-2",
            vec![source(&debian(), "tls", "1.0-2"), binary(&debian(), "libolder", "1.0-2")],
        ),
    ];
    let (signals, lifecycle) = (Signals::default(), Lifecycle::default());
    let facts = facts(&host, &advisories, &signals, &lifecycle);
    let told: Vec<Finding> = report(&facts).entries.into_iter().flat_map(|entry| entry.findings).collect();
    assert_eq!(told, verdicts(&facts));
    // The two that are alike are told once.
    assert_eq!(told.len(), 2 * 5);
}

#[test]
fn a_name_that_a_shell_would_read_is_not_put_into_a_command() {
    let mut host = inventory(&debian(), vec![package("bash;reboot", "1.0-1")]);
    host.candidates = vec![pending("bash;reboot")];
    let report = plain(&host, &[by_apt("bash;reboot", "1.0-2", Some(&["CVE-2026-1"]))]);
    assert_eq!(report.entries[0].remedy, Remedy::Upgrade);
    assert_eq!(report.entries[0].command, None);
}
