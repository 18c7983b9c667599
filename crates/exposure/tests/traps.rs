//! Traps that matchers have fallen into, each a test with the trap's name. See the judge's own rules in `judge`.
#![allow(clippy::wildcard_enum_match_arm, reason = "whatever else it is, it is wrong")]

mod common;

use advisory::{Advisory, Channel, Claim, Edge, EdgeKind, Family, NameKind, Order, Release, State};
use common::*;
use exposure::inventory::{Action, ArchiveClass, Fetch, Origin, Package, PackageState, Part};
use exposure::judge::{Host, Shelf};
use exposure::verdict::{Fix, Undetermined, Verdict};
use jiff::Timestamp;

fn is_affected(verdict: Option<&Verdict>) -> bool {
    matches!(verdict, Some(Verdict::Affected { .. }))
}

fn why(verdict: Option<Verdict>) -> Undetermined {
    match verdict {
        Some(Verdict::Undetermined { why }) => why,
        other => panic!("should be undetermined: {other:?}"),
    }
}

fn modular(name: &str, version: &str, stream: &str) -> Package {
    Package { module: module("nodejs", stream), arch: "x86_64".into(), ..package(name, version) }
}

#[test]
fn release_ignored() {
    let other = source(&alma("9"), "openssl", "3.0.1-2");
    let host = inventory(&alma("8"), vec![package("openssl", "3.0.1-1")]);
    assert_eq!(told(&advisory("ALSA-1", vec![other]), &host), None, "a claim about 9 says nothing about 8");
    let here = source(&alma("8"), "openssl", "3.0.1-2");
    assert!(told(&advisory("ALSA-2", vec![here]), &host).is_some());
}

#[test]
fn source_and_binary_names_and_versions_are_kept_apart() {
    // libfoo1 1:2.0-1 is built from foo 1.5-1.
    let built = from_source("libfoo1", "1:2.0-1", "foo", "1.5-1");
    assert!(is_affected(verdict(source(&debian(), "foo", "1.5-2"), built.clone()).as_ref()));
    assert_eq!(verdict(source(&debian(), "foo", "1.5-1"), built.clone()), Some(Verdict::Fixed));
    assert_eq!(verdict(source(&debian(), "libfoo1", "9"), built.clone()), None, "no source is called so");
    assert_eq!(verdict(binary(&debian(), "foo", "9"), built.clone()), None, "no binary is called so");
    assert!(is_affected(verdict(binary(&debian(), "libfoo1", "1:2.0-2"), built).as_ref()));
}

#[test]
fn epoch_and_release_count() {
    assert!(is_affected(verdict(binary(&alma("9"), "a", "1:1.0-1.el9"), package("a", "2.0-1.el9")).as_ref()));
    assert_eq!(
        verdict(binary(&alma("9"), "a", "2.0-1.el9"), package("a", "1:1.0-1.el9")),
        Some(Verdict::Fixed)
    );
    assert!(is_affected(verdict(binary(&alma("9"), "a", "1.0-2.el9"), package("a", "1.0-1.el9")).as_ref()));
    assert!(is_affected(verdict(source(&debian(), "a", "1.0-1"), package("a", "1.0-1~deb12u1")).as_ref()));
}

#[test]
fn modularity_keeps_streams_apart() {
    let stream = |fixed: &str, stream: &str| Claim {
        module: module("nodejs", stream),
        ..binary(&alma("8"), "nodejs", fixed)
    };
    let installed = || modular("nodejs", "1:18.20.8-1.module_el8.10.0+1", "18");
    assert_eq!(verdict(stream("1:20.1.0-1.module_el8.9.0+1", "20"), installed()), None);
    assert_eq!(verdict(stream("1:18.20.8-1.module_el8.10.0+1", "18"), installed()), Some(Verdict::Fixed));
    assert!(is_affected(verdict(stream("1:18.21.0-1.module_el8.10.0+1", "18"), installed()).as_ref()));
    // Modular and plain builds do not speak of each other, and an unknown stream decides nothing.
    assert_eq!(verdict(binary(&alma("8"), "nodejs", "2:1-1.el8"), installed()), None);
    assert_eq!(verdict(stream("1:20.1.0-1", "20"), package("nodejs", "1:6.1-1.el8")), None);
    assert_eq!(why(verdict(stream("1:20.1.0-1", ""), installed())), Undetermined::ModuleStream);
    let unlabelled = Package { module: None, ..installed() };
    assert_eq!(why(verdict(stream("1:20.1.0-1", "20"), unlabelled)), Undetermined::ModuleStream);
    let untold = binary(&alma("8"), "nodejs", "1:20.1.0-1.module_el8.9.0+1");
    assert_eq!(why(verdict(untold, installed())), Undetermined::ModuleStream);
}

#[test]
fn a_fix_in_esm_is_no_fix_without_esm() {
    let claim = Claim { channel: Channel::Esm, ..source(&debian(), "a", "1.0-1+esm1") };
    let advisory = advisory("USN-1", vec![claim]);
    let mut host = inventory(&debian(), vec![package("a", "1.0-1")]);
    let (verdict, _) = told(&advisory, &host).unwrap();
    let announced = "only in ESM, which is not enabled".to_owned();
    let fix = Fix::Announced { version: "1.0-1+esm1".into(), why: announced };
    assert_eq!(verdict, Verdict::Affected { fix });
    host.archives.push(archive(ArchiveClass::Esm));
    host.candidates.push(candidate("a", "1.0-1", "1.0-1+esm1"));
    let (verdict, _) = told(&advisory, &host).unwrap();
    assert_eq!(verdict, Verdict::Affected { fix: Fix::Fetchable { version: "1.0-1+esm1".into() } });
}

#[test]
fn an_eus_claim_speaks_to_its_minor_release_and_there_beats_the_others() {
    let release = alma("9");
    let eus = Claim { channel: Channel::Eus("9.4".into()), ..binary(&release, "a", "1.0-1.el9_4.2") };
    let main = binary(&release, "a", "1.0-5.el9_5");
    let advisories = [advisory("CVE-2026-1", vec![main]), advisory("RHSA-1", vec![eus.clone()])];
    let mut advisories = advisories;
    advisories[1].edges.push(Edge { kind: EdgeKind::Alias, id: "CVE-2026-1".into() });
    let mut host = inventory(&release, vec![package("a", "1.0-1.el9_4.2")]);
    let prevailing = |host: &exposure::Inventory| {
        let shelf = Shelf::new(&advisories, &release);
        let view = Host::new(host);
        let found = shelf.findings(&host.packages[0], &view);
        assert_eq!(found.len(), 1);
        (found[0].hole.to_owned(), found[0].opinion.verdict.clone())
    };
    host.system.version_id = "9.4".into();
    assert_eq!(prevailing(&host), ("CVE-2026-1".to_owned(), Verdict::Fixed));
    host.system.version_id = "9.5".into();
    assert!(is_affected(Some(&prevailing(&host).1)));
    assert_eq!(told(&advisory("RHSA-1", vec![eus]), &host), None);
}

#[test]
fn ksplice_fips_and_uek_builds_are_not_compared_with_plain_ones() {
    let release = alma("9");
    let plain = || binary(&release, "openssl", "1:3.0.7-20.el9");
    for (installed, flavour) in [
        ("2:3.0.7-1.ksplice1.el9", "ksplice"),
        ("1:3.0.7-27.el9.fips", "fips"),
        ("1:3.0.7-27+Fips1", "fips"),
        ("10:3.0.7-27.el9uek", "uek"),
    ] {
        let found = verdict(plain(), package("openssl", installed));
        assert_eq!(why(found), Undetermined::Flavour { flavour: flavour.into() }, "{installed}");
    }
    // A claim about the flavour speaks about it, and about nothing else; its name or version may be what says so.
    let ksplice =
        Claim { flavour: Some("ksplice".into()), ..binary(&release, "openssl", "2:3.0.7-2.ksplice1.el9") };
    assert!(is_affected(verdict(ksplice.clone(), package("openssl", "2:3.0.7-1.ksplice1.el9")).as_ref()));
    assert_eq!(verdict(ksplice.clone(), package("openssl", "1:3.0.7-1.el9")), None);
    let untold = Claim { flavour: None, ..ksplice };
    assert_eq!(verdict(untold, package("openssl", "1:3.0.7-1.el9")), None);
    // A flavour that no version tells of: the name may, else nothing is known.
    let realtime =
        |name: &str| Claim { flavour: Some("realtime".into()), ..source(&debian(), name, "6.1-2") };
    assert!(is_affected(verdict(realtime("linux-realtime"), package("linux-realtime", "6.1-1")).as_ref()));
    assert!(matches!(why(verdict(realtime("a"), package("a", "6.1-3"))), Undetermined::Flavour { .. }));
    let uek = binary(&release, "kernel-uek", "5.15.0-2.el9uek");
    assert_eq!(verdict(uek, package("kernel-uek", "5.15.0-3.el9uek")), Some(Verdict::Fixed));
}

#[test]
fn kernel_installed_is_not_kernel_running() {
    let old = from_source("linux-image-6.1.0-1-amd64", "6.1.10-1", "linux-signed-amd64", "6.1.10+1");
    let new = from_source("linux-image-6.1.0-2-amd64", "6.1.20-1", "linux-signed-amd64", "6.1.20+1");
    let kernels = [
        ("6.1.0-1-amd64", "linux-image-6.1.0-1-amd64", "6.1.10-1"),
        ("6.1.0-2-amd64", "linux-image-6.1.0-2-amd64", "6.1.20-1"),
    ];
    let both = |booted: Option<&str>| {
        let mut host = inventory(&debian(), vec![new.clone(), old.clone()]);
        host.kernel = kernel(booted, &kernels);
        host
    };
    let advisory = advisory("DSA-1", vec![source(&debian(), "linux", "6.1.20-1")]);
    let verdicts = |host: &exposure::Inventory| -> Vec<Verdict> {
        let view = Host::new(host);
        let judged = host
            .packages
            .iter()
            .map(|package| exposure::judge(&advisory, &advisory.claims[0], package, &view));
        judged.map(|found| found.expect("both are the kernel").0).collect()
    };
    let running = Verdict::FixedStillRunning { by: vec!["booted kernel 6.1.0-1-amd64".into()] };
    assert_eq!(verdicts(&both(Some("6.1.0-1-amd64"))), [running.clone(), running]);
    let rebooted = verdicts(&both(Some("6.1.0-2-amd64")));
    assert_eq!(rebooted[0], Verdict::Fixed);
    assert!(matches!(rebooted[1], Verdict::NotAffected { .. }), "the old one lies there and is not booted");
    let unseen = verdicts(&both(Some("6.6.0-hand-made")));
    assert!(matches!(
        &unseen[0],
        Verdict::Undetermined { why: Undetermined::Unseen { part: Part::Kernel, .. } }
    ));
    let mut unread = both(None);
    unread.gaps.push(gap(Part::Kernel));
    assert!(matches!(&verdicts(&unread)[0], Verdict::Undetermined { why: Undetermined::Unseen { .. } }));
    assert_eq!(verdicts(&both(None))[0], Verdict::Fixed, "an image boots what is installed");
    // Not installed yet: affected, and the next kernel is another package.
    let mut host = inventory(&debian(), vec![old]);
    host.kernel = kernel(Some("6.1.0-1-amd64"), &kernels[..1]);
    let next = exposure::inventory::Candidate {
        source: "linux-signed-amd64".into(),
        source_version: "6.1.20+1".into(),
        from: None,
        action: Action::Install,
        ..candidate("linux-image-6.1.0-2-amd64", "", "6.1.20-1")
    };
    host.candidates.push(next);
    assert_eq!(verdicts(&host), [Verdict::Affected { fix: Fix::Fetchable { version: "6.1.20-1".into() } }]);
}

#[test]
fn libraries_installed_are_not_libraries_running() {
    let told_with = |running: Option<&str>| {
        let mut host = inventory(&debian(), vec![from_source("libssl3", "3.0.2-1", "openssl", "3.0.2-1")]);
        host.processes.push(maps_stale(812, "nginx.service", "libssl3", running));
        told(&advisory("DSA-1", vec![source(&debian(), "openssl", "3.0.2-1")]), &host).unwrap().0
    };
    let by = |text: &str| Verdict::FixedStillRunning { by: vec![text.into()] };
    assert_eq!(told_with(Some("3.0.1-1")), by("nginx.service (pid 812, runs 3.0.1-1)"));
    assert_eq!(told_with(None), by("nginx.service (pid 812, runs a version that is not known)"));
    assert_eq!(told_with(Some("3.0.2-1+b1")), Verdict::Fixed, "a rebuild of what is fixed is fixed");
    assert_eq!(told_with(Some("3.0.3-1")), Verdict::Fixed);
}

#[test]
fn end_of_life_is_not_safe() {
    for state in [State::EndOfLife, State::WontFix, State::Deferred] {
        let claim =
            Claim { state, reason: "because".into(), ..claim(&debian(), NameKind::Source, "a", None) };
        match verdict(claim, package("a", "1.0-1")) {
            Some(Verdict::Affected { fix: Fix::None { why } }) => {
                assert!(why.ends_with(": because"), "{why}");
            }
            other => panic!("{state:?}: {other:?}"),
        }
    }
}

#[test]
fn fixed_before_release_is_announced_not_fetchable() {
    let advisory = advisory("DSA-1", vec![source(&debian(), "a", "1.0-3")]);
    let told_with = |candidates: Vec<exposure::inventory::Candidate>, gaps: Vec<Part>| {
        let mut host = inventory(&debian(), vec![package("a", "1.0-1")]);
        host.candidates = candidates;
        host.gaps = gaps.into_iter().map(gap).collect();
        match told(&advisory, &host).unwrap().0 {
            Verdict::Affected { fix: Fix::Announced { version, why } } => {
                assert_eq!(version, "1.0-3");
                why
            }
            other => panic!("should be announced: {other:?}"),
        }
    };
    let offered = |to: &str| candidate("a", "1.0-1", to);
    assert_eq!(told_with(vec![], vec![]), "no enabled archive offers it");
    assert_eq!(told_with(vec![offered("1.0-2")], vec![]), "the enabled archives offer 1.0-2 only");
    let missing = exposure::inventory::Candidate { fetch: Fetch::Missing("404".into()), ..offered("1.0-3") };
    assert_eq!(told_with(vec![missing], vec![]), "an archive lists 1.0-3, but the file cannot be had: 404");
    let kept =
        exposure::inventory::Candidate { action: Action::KeptBack("phased".into()), ..offered("1.0-3") };
    assert_eq!(told_with(vec![kept], vec![]), "1.0-3 is kept back: phased");
    assert_eq!(told_with(vec![], vec![Part::Candidates]), "could not be looked up: /proc: permission denied");
    // Candidates of a source are compared by their source version.
    let renumbered = exposure::inventory::Candidate { source_version: "1.0-2".into(), ..offered("9:1.0-3") };
    assert_eq!(told_with(vec![renumbered], vec![]), "the enabled archives offer 1.0-2 only");
}

#[test]
fn tracker_states_are_kept_with_their_reason() {
    let said = |state| {
        let claim =
            Claim { state, reason: "minor issue".into(), ..claim(&debian(), NameKind::Source, "a", None) };
        verdict(claim, package("a", "1.0-1"))
    };
    assert!(
        matches!(said(State::NotAffected), Some(Verdict::NotAffected { why }) if why.contains("minor issue"))
    );
    match why(said(State::Undetermined)) {
        Undetermined::Vendor { reason } => assert!(reason.contains("minor issue")),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        said(State::Affected),
        Some(Verdict::Affected { fix: Fix::None { why: "no fix yet: minor issue".into() } })
    );
    // "Fixed" without a version is no news that anything is fixed here.
    assert!(matches!(why(said(State::Fixed)), Undetermined::Vendor { .. }));
}

#[test]
fn only_aliases_are_the_same_hole_and_the_withdrawn_affect_nobody() {
    let release = debian();
    let named = |id: &str, kind: EdgeKind, other: &str, fixed: &str| {
        let mut advisory = advisory(id, vec![source(&release, "a", fixed)]);
        advisory.edges.push(Edge { kind, id: other.into() });
        advisory
    };
    let host = inventory(&release, vec![package("a", "1.0-2")]);
    let holes = |advisories: &[Advisory]| -> Vec<(String, Verdict)> {
        let shelf = Shelf::new(advisories, &release);
        let view = Host::new(&host);
        let found = shelf.findings(&host.packages[0], &view);
        found.into_iter().map(|found| (found.hole.to_owned(), found.opinion.verdict)).collect()
    };
    let alias = named("GHSA-a", EdgeKind::Alias, "CVE-2026-1", "1.0-2");
    let record = advisory("CVE-2026-1", vec![source(&release, "a", "1.0-1")]);
    assert_eq!(holes(&[alias, record.clone()]).len(), 1, "an alias is the same hole");
    let related = named("CVE-2026-2", EdgeKind::Related, "CVE-2026-1", "1.0-3");
    let found = holes(&[related, record.clone()]);
    assert_eq!(found.len(), 2, "a related hole is another one");
    assert_eq!(found[0], ("CVE-2026-1".to_owned(), Verdict::Fixed));
    let mut withdrawn = advisory("CVE-2026-3", vec![claim(&release, NameKind::Source, "a", None)]);
    withdrawn.withdrawn = Some(Timestamp::UNIX_EPOCH);
    assert!(matches!(&holes(&[withdrawn.clone()])[0].1, Verdict::NotAffected { .. }));
    // And they do not speak against those that stand.
    let standing = named("GHSA-b", EdgeKind::Alias, "CVE-2026-3", "1.0-3");
    assert!(is_affected(Some(&holes(&[standing, withdrawn])[0].1)));
}

#[test]
fn an_advisory_does_not_smear_its_cves_over_its_packages() {
    let release = debian();
    let mut several = advisory("DSA-1", vec![source(&release, "a", "1.0-2"), source(&release, "b", "1.0-2")]);
    for cve in ["CVE-2026-1", "CVE-2026-2"] {
        several.edges.push(Edge { kind: EdgeKind::Upstream, id: cve.into() });
    }
    let host = inventory(&release, vec![package("a", "1.0-1"), package("b", "1.0-1")]);
    let found = |advisories: &[Advisory]| -> Vec<(String, String)> {
        let shelf = Shelf::new(advisories, &release);
        let view = Host::new(&host);
        let findings = host.packages.iter().flat_map(|package| shelf.findings(package, &view));
        findings.map(|found| (found.hole.to_owned(), found.package.name.clone())).collect()
    };
    let pair = |cve: &str, name: &str| (cve.to_owned(), name.to_owned());
    assert_eq!(found(&[several.clone()]).len(), 4, "nobody says which is where");
    let records = [
        several,
        advisory("CVE-2026-1", vec![source(&release, "a", "1.0-2")]),
        advisory("DEBIAN-CVE-2026-2", vec![source(&release, "b", "1.0-2")]),
    ];
    assert_eq!(found(&records), [pair("CVE-2026-1", "a"), pair("CVE-2026-2", "b")]);
}

#[test]
fn a_record_about_one_version_does_not_clear_another() {
    let versionless = Claim { state: State::NotAffected, ..claim(&debian(), NameKind::Source, "a", None) };
    assert!(matches!(verdict(versionless.clone(), package("a", "2.0")), Some(Verdict::NotAffected { .. })));
    let only = Claim { versions: vec!["1.0".into()], ..versionless };
    assert!(matches!(verdict(only.clone(), package("a", "1.0")), Some(Verdict::NotAffected { .. })));
    assert_eq!(verdict(only, package("a", "2.0")), None);
}

#[test]
fn what_does_not_parse_is_undetermined_and_never_clean() {
    let broken = "1.0 beta";
    let unparsable = |version: &str| Undetermined::InstalledVersion { version: version.into() };
    assert_eq!(why(verdict(source(&debian(), "a", "1.0-2"), package("a", broken))), unparsable(broken));
    let claimed = Undetermined::ClaimVersion { version: broken.into() };
    assert_eq!(why(verdict(source(&debian(), "a", broken), package("a", "1.0-1"))), claimed);
    let introduced = Claim { introduced: Some(broken.into()), ..source(&debian(), "a", "1.0-2") };
    assert_eq!(why(verdict(introduced.clone(), package("a", "1.0-1"))), claimed);
    assert_eq!(
        verdict(introduced, package("a", "1.0-2")),
        Some(Verdict::Fixed),
        "the readable end still decides"
    );
    // Equality needs no order.
    let listed = Claim { versions: vec![broken.into()], ..source(&debian(), "a", "1.0-2") };
    assert!(is_affected(verdict(listed, package("a", broken)).as_ref()));
    let other = Release::new(Family::Other("plan9".into()), "4");
    assert_eq!(why(verdict(source(&other, "a", "2"), package("a", "1"))), Undetermined::NoOrder);
}

#[test]
fn builds_of_others_and_half_installed_ones_are_undetermined() {
    let fixed = || source(&debian(), "a", "1.0-1");
    let foreign = Package { origin: Origin::Foreign("ppa".into()), ..package("a", "1.0-1") };
    assert_eq!(why(verdict(fixed(), foreign)), Undetermined::ForeignOrigin { origin: "ppa".into() });
    let local = Package { origin: Origin::Local, ..package("a", "1.0-1") };
    assert!(matches!(why(verdict(fixed(), local)), Undetermined::ForeignOrigin { .. }));
    let half = Package { state: PackageState::HalfInstalled, ..package("a", "1.0-1") };
    assert_eq!(why(verdict(fixed(), half)), Undetermined::HalfInstalled);
    let unknown = Package { origin: Origin::Unknown, ..package("a", "1.0-1") };
    let host = inventory(&debian(), vec![unknown]);
    let (verdict, explanation) = told(&advisory("DSA-1", vec![fixed()]), &host).unwrap();
    assert_eq!(verdict, Verdict::Fixed);
    assert!(explanation.rule.contains("origin is not known"), "{}", explanation.rule);
}

#[test]
fn ranges_are_half_open_and_last_affected_is_inclusive() {
    let ranged = |version: &str| {
        let claim = Claim { introduced: Some("1.0-2".into()), ..source(&debian(), "a", "1.0-4") };
        verdict(claim, package("a", version))
    };
    assert!(matches!(ranged("1.0-1"), Some(Verdict::NotAffected { .. })));
    assert!(is_affected(ranged("1.0-2").as_ref()));
    assert!(is_affected(ranged("1.0-3").as_ref()));
    assert_eq!(ranged("1.0-4"), Some(Verdict::Fixed));
    let last = |version: &str| {
        let claim =
            Claim { last_affected: Some("1.0-2".into()), ..claim(&debian(), NameKind::Source, "a", None) };
        verdict(claim, package("a", version))
    };
    assert!(is_affected(last("1.0-2").as_ref()));
    assert!(matches!(last("1.0-3"), Some(Verdict::NotAffected { .. })));
    let everything = verdict(claim(&debian(), NameKind::Source, "a", None), package("a", "99"));
    assert_eq!(everything, Some(Verdict::Affected { fix: Fix::None { why: "no fix yet".into() } }));
}

#[test]
fn every_verdict_can_be_repeated_by_hand() {
    let mut advisory = advisory("DSA-1", vec![source(&debian(), "foo", "1.5-2")]);
    advisory.published = Some(Timestamp::UNIX_EPOCH);
    let host = inventory(&debian(), vec![from_source("libfoo1", "1:2.0-1", "foo", "1.5-1")]);
    let (_, explanation) = told(&advisory, &host).unwrap();
    assert_eq!(explanation.rule, "installed 1.5-1 < fixed 1.5-2");
    assert_eq!(
        (&*explanation.package, &*explanation.installed, &*explanation.claimed),
        ("foo", "1.5-1", "1.5-2")
    );
    assert_eq!(explanation.order, Some(Order::Dpkg));
    assert_eq!((&*explanation.document, &*explanation.sha256), ("test DSA-1", &*"ab".repeat(32)));
    assert!(explanation.freshness.contains("1970-01-01"), "{}", explanation.freshness);
}
