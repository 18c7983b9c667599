//! What a changelog is taken to say, on changelogs written for the purpose.

use advisory::changelog::{Basis, Closed, Entry, advisory_of, closed, read};
use advisory::{Channel, Family, Kind, Release, State};
use std::fmt::Write as _;

/// A changelog out of (version, distribution, body) triples, newest first.
fn changelog(entries: &[(&str, &str, &str)]) -> Vec<Entry> {
    let mut text = String::new();
    for (version, distribution, body) in entries {
        let _ = write!(
            text,
            "tool ({version}) {distribution}; urgency=medium\n\n  {}\n",
            body.replace('\n', "\n  ")
        );
        text += "\n -- A B <a@example.org>  Mon, 02 Nov 2026 10:00:00 +0100\n\n";
    }
    let (entries, problems) = read(text.as_bytes(), "test");
    assert_eq!(problems, []);
    entries
}

fn cves(body: &str) -> Vec<String> {
    changelog(&[("1", "unstable", body)]).remove(0).cves
}

fn told(closed: &Closed) -> (Vec<&str>, Kind, Basis) {
    (closed.cves.iter().map(String::as_str).collect(), closed.kind, closed.basis)
}

#[test]
fn an_entry_carries_its_header_its_date_and_its_ids() {
    let text = "tool+x (2:1.0~rc1-2+deb12u1) bookworm-security stable; urgency=HIGH, binary-only=yes\n\
                \n  [ Somebody ]\n  * Stop reading past the end. CVE-2026-0001, cve-2026-1234567\n    (Closes: #1)\n\
                \n -- A B <a@example.org>  Thu,  5 Nov 2026 10:00:00 +0100 (CET)\n";
    let (entries, problems) = read(text.as_bytes(), "test");
    assert_eq!((entries.len(), problems), (1, vec![]));
    let entry = &entries[0];
    assert_eq!((entry.source.as_str(), entry.version.as_str()), ("tool+x", "2:1.0~rc1-2+deb12u1"));
    assert_eq!(
        (entry.distributions.join(" "), entry.urgency.as_str()),
        ("bookworm-security stable".into(), "high")
    );
    assert!(entry.binary_only);
    assert_eq!(entry.date.unwrap().to_string(), "2026-11-05T09:00:00Z");
    assert_eq!(entry.cves, ["CVE-2026-0001", "CVE-2026-1234567"]);
    assert!(entry.summary.starts_with("Stop reading past the end."));
}

#[test]
fn only_whole_cve_ids_count() {
    assert_eq!(
        cves("* d/p/CVE-2026-1111_2.patch, CVE 2026-2222; (CVE-2026-3333)/x"),
        ["CVE-2026-1111", "CVE-2026-2222", "CVE-2026-3333"]
    );
    assert_eq!(cves("* XCVE-2026-1111 CVE-2026-12 CVE-26-1234 CVE-3026-1234 CVE-2026 1234"), [""; 0]);
    assert_eq!(cves("* CVE-2026-111\n1"), [""; 0], "an id is not put together across lines");
    assert_eq!(cves("* CVE-"), [""; 0]);
    assert_eq!(cves("* CVE-20é6-1234 CVE-202é"), [""; 0]);
}

#[test]
fn a_denied_id_is_not_listed_and_a_doubtful_one_is() {
    let body = "* New release, closes CVE-2026-1111 and CVE-2026-2222. This version is not\n  \
                affected by CVE-2026-2222 or CVE-2026-3333.";
    assert_eq!(cves(body), ["CVE-2026-1111", "CVE-2026-2222"]);
    assert_eq!(cves("* CVE-2026-4444: may not be reachable here"), ["CVE-2026-4444"]);
}

/// Trap 1: to dpkg `590-2.1~deb12u2` is older than `590-2.1`, in whose entry the fix stands.
#[test]
fn a_backport_has_the_fixes_of_the_version_it_descends_from() {
    let candidate = changelog(&[
        ("590-2.1~deb12u3", "bookworm", "* Documentation."),
        ("590-2.1~deb12u2", "bookworm-security", "* Rebuild for bookworm."),
        ("590-2.1", "unstable", "* Fix CVE-2026-1111."),
    ]);
    let upgrade = closed("590-2.1~deb12u2", None, &candidate);
    assert_eq!(told(&upgrade), (vec![], Kind::PointRelease, Basis::Ancestor));
    assert_eq!(upgrade.entries, ["590-2.1~deb12u3"]);
}

#[test]
fn a_version_missing_in_the_candidates_changelog_is_told_by_its_own() {
    let own = changelog(&[
        ("590-2.1~deb12u2", "bookworm-security", "* Backport the fix for CVE-2026-2222."),
        ("590-2.1~deb12u1", "bookworm-security", "* Rebuild for bookworm."),
        ("590-2.1", "unstable", "* Fix CVE-2026-1111."),
    ]);
    let candidate = changelog(&[
        ("590-3", "unstable", "* Fix CVE-2026-2222, CVE-2026-3333."),
        ("590-2.1", "unstable", "* Fix CVE-2026-1111."),
        ("590-1", "unstable", "* Fix CVE-2020-9999."),
    ]);
    let upgrade = closed("590-2.1~deb12u2", Some(&own), &candidate);
    assert_eq!(told(&upgrade), (vec!["CVE-2026-3333"], Kind::Security, Basis::OwnChangelog));
    assert_eq!(upgrade.entries, ["590-3"]);
}

#[test]
fn strangers_are_undetermined_and_say_so() {
    let own = changelog(&[("9-1", "unstable", "* Other.")]);
    let candidate =
        changelog(&[("2-1", "unstable", "* Fix CVE-2026-1111."), ("1-1", "unstable", "* First.")]);
    for own in [None, Some(own.as_slice())] {
        let upgrade = closed("1-0local", own, &candidate);
        assert_eq!(told(&upgrade), (vec!["CVE-2026-1111"], Kind::Security, Basis::Unknown));
        let release = Release::new(Family::Debian, "12");
        let advisory = advisory_of(&release, Channel::Main, "tool", "2-1", &upgrade, "");
        assert!(advisory.claims[0].reason.contains("may close more"), "{}", advisory.claims[0].reason);
    }
}

/// Trap 2: fixed once, and once more.
#[test]
fn a_cve_fixed_again_is_closed_by_the_newer_version() {
    let candidate = changelog(&[
        ("15.19-0+deb12u1", "bookworm-security", "* Complete the fix for CVE-2026-1111."),
        ("15.18-0+deb12u1", "bookworm-security", "* Fix CVE-2026-1111, CVE-2026-2222."),
        ("15.17-0+deb12u1", "bookworm-security", "* Older."),
    ]);
    let upgrade = closed("15.18-0+deb12u1", None, &candidate);
    assert_eq!(told(&upgrade), (vec!["CVE-2026-1111"], Kind::Security, Basis::Ancestor));
}

/// Trap 3: security uploads that name no CVE.
#[test]
fn a_security_upload_without_a_cve_is_still_an_advisory() {
    let base = ("1-1", "unstable", "* First.");
    let cases = [
        ("* Fix a regression introduced by the last update.", Kind::Regression, vec![]),
        ("* Fix a regression caused by the fix for CVE-2026-1111.", Kind::Regression, vec!["CVE-2026-1111"]),
        ("* New upstream version with hardening.", Kind::Security, vec![]),
        ("* Fix CVE-2026-1111.\n* Add a regression test.", Kind::Security, vec!["CVE-2026-1111"]),
    ];
    for (body, kind, closes) in cases {
        let candidate = changelog(&[("1-1+deb12u1", "bookworm-security", body), base]);
        assert_eq!(told(&closed("1-1", None, &candidate)), (closes, kind, Basis::Ancestor), "{body}");
    }
}

#[test]
fn a_fix_taken_back_is_not_a_fix() {
    let fix = ("1-2", "bookworm-security", "* Fix CVE-2026-1111 and CVE-2026-2222.");
    let first = ("1-1", "unstable", "* First.");
    let reverted =
        changelog(&[("1-3", "bookworm-security", "* Revert the fix for CVE-2026-1111."), fix, first]);
    assert_eq!(closed("1-1", None, &reverted).cves, ["CVE-2026-2222"]);
    let replaced = changelog(&[
        ("1-3", "bookworm-security", "* Revert the patch for CVE-2026-1111, use another instead."),
        fix,
        first,
    ]);
    assert_eq!(closed("1-1", None, &replaced).cves, ["CVE-2026-1111", "CVE-2026-2222"]);
}

#[test]
fn a_rebuild_of_the_same_source_closes_nothing() {
    let candidate = changelog(&[
        ("1.47-2+b2", "bookworm", "* Binary-only rebuild."),
        ("1.47-2", "unstable", "* Fix CVE-2026-1111."),
    ]);
    for installed in ["1.47-2", "1.47-2+b1"] {
        let upgrade = closed(installed, None, &candidate);
        assert_eq!(told(&upgrade), (vec![], Kind::Maintenance, Basis::Ancestor));
    }
}

#[test]
fn a_changelog_that_could_not_be_had_gives_a_loud_advisory() {
    let release = Release::new(Family::Debian, "12");
    let advisory = advisory_of(&release, Channel::Security, "tool", "2-1", &Closed::unread(), "");
    assert_eq!((advisory.id.as_str(), advisory.kind), ("apt:tool/2-1", Kind::Security));
    let claim = &advisory.claims[0];
    assert_eq!((claim.fixed.as_deref(), claim.state), (Some("2-1"), State::Fixed));
    assert!(claim.reason.contains("could not be read"));
}

#[test]
fn broken_changelogs_keep_what_is_whole_and_tell_the_rest() {
    let cut = b"tool (2) unstable; urgency=low\n\n  * Fix CVE-2026-1111.\ntool (1) unstable; urgency=low\n  * CVE-2026-2";
    let (entries, problems) = read(cut, "test");
    assert_eq!((entries.len(), entries[0].cves.len(), problems.len()), (2, 1, 0));
    assert_eq!(entries[0].date, None);
    let (entries, problems) = read(b"\xff\xfe nonsense\nmore\n", "test");
    assert_eq!((entries.len(), problems.len()), (0, 2), "{problems:?}");
    let (entries, _) = read(b"tool (1) unstable; urgency=low\n\n  * \xff CVE-2026-1111\n", "test");
    assert_eq!(entries[0].cves, ["CVE-2026-1111"]);
}
