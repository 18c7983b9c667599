//! KEV, EPSS, CVSS and life cycles.

use advisory::format::lifecycle::{Lifecycle, List, Support, read_list, read_releases};
use advisory::format::{epss, kev};
use advisory::signal::cvss;
use advisory::{Family, Release, Signals};
use jiff::civil::date;

const KEV: &str = r#"{"catalogVersion":"2026.01.02","dateReleased":"2026-01-02T03:04:05.67Z","count":2,"vulnerabilities":[
    {"cveID":"CVE-2026-0001","vendorProject":"Acme","product":"Lamp","dateAdded":"2026-01-01","dueDate":"2026-01-22",
     "knownRansomwareCampaignUse":"Known"},
    {"cveID":"CVE-2026-0002","vendorProject":"Acme","product":"Oil","dateAdded":"2026-01-02","dueDate":"2026-13-01"}]}"#;

#[test]
fn kev_entries_become_signals_and_a_bad_one_is_told() {
    let mut signals = Signals::default();
    let problems = kev::read("kev.json", KEV.as_bytes(), &mut signals);
    assert_eq!(signals.kev_released.unwrap().to_string(), "2026-01-02T03:04:05.67Z");
    let entry = &signals.kev["CVE-2026-0001"];
    assert_eq!((entry.added, entry.due), (date(2026, 1, 1), date(2026, 1, 22)));
    assert_eq!((entry.ransomware, entry.product.as_str()), (true, "Acme Lamp"));
    assert_eq!(signals.kev.len(), 1);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].reason.starts_with("CVE-2026-0002"), "{problems:?}");
}

#[test]
fn a_truncated_kev_gives_nothing_because_silence_would_mean_not_exploited() {
    let mut signals = Signals::default();
    let problems = kev::read("kev.json", &KEV.as_bytes()[..KEV.len() - 100], &mut signals);
    assert_eq!((signals, problems.len()), (Signals::default(), 1));
    let short = KEV.replace("\"count\":2", "\"count\":1404");
    let problems = kev::read("kev.json", short.as_bytes(), &mut Signals::default());
    assert!(problems[0].reason.contains("promises 1404 entries and has 2"), "{problems:?}");
}

#[test]
fn the_later_catalogue_replaces_the_earlier_in_either_order() {
    let read = |text: &str| {
        let mut signals = Signals::default();
        kev::read("kev.json", text.as_bytes(), &mut signals);
        signals
    };
    let (old, new) = (read(KEV), read(&KEV.replace("2026-01-02T", "2026-02-02T").replace("-0001", "-0003")));
    for (mut first, second) in [(old.clone(), new.clone()), (new.clone(), old)] {
        first.merge(second);
        assert_eq!(first, new);
    }
}

#[test]
fn epss_scores_carry_their_date_and_bad_lines_are_told() {
    let text = "#model_version:v2026.01.01,score_date:2026-01-02T00:00:00+0000\ncve,epss,percentile\n\
        CVE-2026-0001,0.25,0.5\nCVE-2026-0002,1.5,0.5\nhello\nCVE-2026-0003,NaN,0\nCVE-2026-0004,0,1\r\n";
    let mut signals = Signals::default();
    let problems = epss::read("epss.csv", &mut text.as_bytes(), &mut signals);
    assert_eq!(signals.epss_date, Some(date(2026, 1, 2)));
    assert_eq!(signals.epss.keys().collect::<Vec<_>>(), ["CVE-2026-0001", "CVE-2026-0004"]);
    assert!((signals.epss["CVE-2026-0001"].probability - 0.25).abs() < 1e-12);
    let lines: Vec<_> = problems.iter().map(|problem| problem.object.as_str()).collect();
    assert_eq!(lines, ["epss.csv: line 4", "epss.csv: line 5", "epss.csv: line 6"]);
}

#[test]
fn scores_of_an_unknown_day_are_told_and_other_columns_are_refused() {
    let mut signals = Signals::default();
    let undated = "cve,epss,percentile\nCVE-2026-0001,0.25,0.5\n";
    let problems = epss::read("scores.csv", &mut undated.as_bytes(), &mut signals);
    assert!(problems[0].reason.contains("score date"), "{problems:?}");
    epss::read("dir/epss_scores-2021-09-01.csv.gz", &mut undated.as_bytes(), &mut signals);
    assert_eq!(signals.epss_date, Some(date(2021, 9, 1)));
    let mut signals = Signals::default();
    let problems = epss::read("scores.csv", &mut &b"cve,epss\nCVE-2026-0001,0.2\n"[..], &mut signals);
    assert_eq!((signals, problems.len()), (Signals::default(), 1));
}

#[test]
fn cvss_scores_and_automatability_follow_the_stated_rule() {
    // Scores: the examples of the CVSS specifications and their calculators.
    let cases = [
        ("AV:N/AC:L/Au:N/C:N/I:N/A:C", 7.8, true),
        ("AV:L/AC:H/Au:N/C:C/I:C/A:C", 6.2, false),
        ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1, false),
        ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8, true),
        // Temporal metrics do not lower the base score, and the order of metrics is free.
        ("CVSS:3.1/E:U/RL:O/AC:L/AV:N/PR:N/UI:N/S:U/C:H/I:H/A:H", 9.8, true),
        ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", 8.8, false),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 9.3, true),
        ("CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", 9.2, false),
        ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N/AU:N", 9.3, false),
    ];
    for (vector, score, automatable) in cases {
        let found = cvss(vector).unwrap();
        assert!((found.base_score - score).abs() < 0.05, "{vector}: {}", found.base_score);
        assert_eq!(found.automatable, automatable, "{vector}");
    }
}

#[test]
fn an_unparsable_vector_is_a_problem_and_no_score() {
    for vector in [
        "",
        "/",
        "7.5",
        "CVSS:3.1",
        "CVSS:3.1/AV:N/AC:L",
        "CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:3.1/AV:N/AV:L/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:5.0/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:\u{1F525}",
        &"A:".repeat(10_000),
    ] {
        assert!(!cvss(vector).unwrap_err().remedy.is_empty(), "{vector:?}");
    }
}

#[test]
fn support_of_a_package_is_the_strictest_that_holds_on_the_day() {
    let mut lifecycle = Lifecycle::default();
    let releases = "version,codename,series,created,release,eol,eol-lts,eol-elts\n\
        12,Lamp,lamp,2021-01-01,2023-01-01,2026-01-01,2028-01-01,2033-01-01\n\
        13,Wick,wick,2023-01-01,2025-01-01\n14,Oil,oil,2025-01-01\n,Sid,sid,1993-01-01\n";
    let ended = "# comment\nburner   1.2-3\t\t2025-06-01   abandoned upstream\nold-.*  0  2027-01-01\n";
    let limited = "wick-.*-tool  only for trusted content\n";
    assert_eq!(read_releases("debian.csv", &mut releases.as_bytes(), &mut lifecycle), []);
    let debian = |version: &str| Release::new(Family::Debian, version);
    let name = "security-support-ended.deb12";
    assert_eq!(read_list(name, List::Ended, &mut ended.as_bytes(), None, &mut lifecycle), []);
    let twelve = debian("12");
    let read = read_list("limited", List::Limited, &mut limited.as_bytes(), Some(&twelve), &mut lifecycle);
    assert_eq!(read, []);
    let support = |version: &str, source: &str, day| lifecycle.support(&debian(version), source, day);
    let (last, next) = (date(2026, 1, 1), date(2026, 1, 2));
    assert_eq!(support("12", "lamp", last), Support::Supported { until: Some(last) });
    assert_eq!(support("12", "lamp", next), Support::Lts { until: date(2028, 1, 1) });
    assert_eq!(support("12", "lamp", date(2030, 1, 1)), Support::Elts { until: date(2033, 1, 1) });
    let over = Support::Ended { since: date(2033, 1, 1), reason: String::new() };
    assert_eq!(support("12", "burner", date(2034, 1, 1)), over);
    assert_eq!(support("12", "burner", date(2025, 5, 1)), Support::Supported { until: Some(last) });
    let ended = Support::Ended { since: date(2025, 6, 1), reason: "abandoned upstream".into() };
    assert_eq!(support("12", "burner", next), ended);
    assert_eq!(support("12", "old-horse", next), Support::Lts { until: date(2028, 1, 1) });
    assert!(matches!(support("12", "old-horse", date(2027, 2, 1)), Support::Ended { .. }));
    assert!(matches!(support("12", "wick-x-tool", next), Support::Limited { .. }));
    assert!(matches!(support("12", "wick-x-tools", next), Support::Lts { .. }));
    assert_eq!(support("13", "lamp", next), Support::Supported { until: None });
    assert_eq!(support("14", "lamp", next), Support::Unknown);
    assert_eq!(support("99", "lamp", next), Support::Unknown);
}

#[test]
fn a_support_list_of_no_known_release_is_refused() {
    let mut lifecycle = Lifecycle::default();
    let problems = read_list("security-support-ended", List::Ended, &mut &b""[..], None, &mut lifecycle);
    assert_eq!(problems[0].remedy, "name the release");
    assert!(lifecycle.is_empty());
}
