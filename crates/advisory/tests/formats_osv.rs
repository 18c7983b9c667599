//! What OSV records mean: ecosystems, ranges, modules, and records that are partly wrong.

use advisory::format::osv::{self, ecosystem::place};
use advisory::{
    Advisory, Channel, Claim, EdgeKind, Family, Kind, NameKind, Problem, Release, Severity, State,
};

fn record(json: &str) -> (Advisory, Vec<Problem>) {
    osv::record("feed.zip", "entry.json", json.as_bytes()).unwrap()
}

/// The claims of one `affected` entry.
fn claims(ecosystem: &str, rest: &str) -> Vec<Claim> {
    let (advisory, problems) = record(&format!(
        r#"{{"id":"T-1","affected":[{{"package":{{"ecosystem":"{ecosystem}","name":"lamp"}},{rest}}}]}}"#
    ));
    assert_eq!(problems, []);
    advisory.claims
}

/// `[introduced, fixed)` or `[introduced, last_affected]`, with state.
fn bounds(claim: &Claim) -> (Option<&str>, Option<&str>, Option<&str>, State) {
    (claim.introduced.as_deref(), claim.fixed.as_deref(), claim.last_affected.as_deref(), claim.state)
}

#[test]
fn ecosystems_name_release_channel_flavour_and_kind_of_name() {
    use Channel::{Esm, Eus, Main};
    use NameKind::{Binary, Source};
    let cases = [
        ("Debian:12", Family::Debian, "12", Main, None, Source),
        ("Ubuntu:22.04:LTS", Family::Ubuntu, "22.04", Main, None, Source),
        ("Ubuntu:24.10", Family::Ubuntu, "24.10", Main, None, Source),
        ("Ubuntu:Pro:18.04:LTS", Family::Ubuntu, "18.04", Esm, None, Source),
        ("Ubuntu:Pro:FIPS-updates:22.04:LTS", Family::Ubuntu, "22.04", Esm, Some("fips"), Source),
        ("Ubuntu:Pro:Realtime:22.04:LTS", Family::Ubuntu, "22.04", Esm, Some("realtime"), Source),
        ("AlmaLinux:8", Family::AlmaLinux, "8", Main, None, Binary),
        ("Rocky Linux:9", Family::RockyLinux, "9", Main, None, Source),
        ("Red Hat:enterprise_linux:9::baseos", Family::RedHat, "9", Main, None, Binary),
        ("Red Hat:rhel_eus:9.4::appstream", Family::RedHat, "9", Eus("9.4".into()), None, Binary),
        ("SUSE:Linux Enterprise Server 15 SP5", Family::Suse, "15.5", Main, None, Source),
        ("SUSE:Linux Enterprise Server 15 SP3-LTSS", Family::Suse, "15.3", Esm, None, Source),
        ("SUSE:Linux Enterprise Desktop 12", Family::Suse, "12", Main, None, Source),
        ("openSUSE:Leap 15.6", Family::OpenSuse, "15.6", Main, None, Source),
        ("openSUSE:Tumbleweed", Family::OpenSuse, "", Main, None, Source),
        ("Alpine:v3.20", Family::Alpine, "3.20", Main, None, Source),
        ("Azure Linux:3", Family::AzureLinux, "3", Main, None, Binary),
        ("PyPI", Family::PyPi, "", Main, None, Binary),
        ("npm", Family::Npm, "", Main, None, Binary),
        ("crates.io", Family::CratesIo, "", Main, None, Binary),
        (
            "Red Hat:openshift:4.12::el9",
            Family::Other("Red Hat:openshift:4.12::el9".into()),
            "",
            Main,
            None,
            Binary,
        ),
        ("Haiku:5", Family::Other("Haiku".into()), "5", Main, None, Binary),
    ];
    for (text, family, version, channel, flavour, name_kind) in cases {
        let place = place(text);
        assert_eq!(place.release, Release::new(family, version), "{text}");
        assert_eq!(
            (place.channel, place.flavour.as_deref(), place.name_kind),
            (channel, flavour, name_kind),
            "{text}"
        );
    }
}

#[test]
fn every_interval_of_a_range_is_a_claim() {
    let claims = claims(
        "Debian:12",
        r#""ranges":[{"type":"GIT","events":[{"introduced":"0"}]},
            {"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.2-3"},{"introduced":"2.0"},{"last_affected":"2.4"},
             {"introduced":"3.0"}]}],"versions":["1.0-1","1.1-1"]"#,
    );
    let found: Vec<_> = claims.iter().map(bounds).collect();
    let expected = [
        (None, Some("1.2-3"), None, State::Fixed),
        (Some("2.0"), None, Some("2.4"), State::Affected),
        (Some("3.0"), None, None, State::Affected),
    ];
    assert_eq!(found, expected);
    assert_eq!(claims[0].versions, ["1.0-1", "1.1-1"]);
    assert!(claims[1].versions.is_empty());
}

#[test]
fn one_introduction_and_one_end_pair_in_either_order() {
    let claims =
        claims("npm", r#""ranges":[{"type":"SEMVER","events":[{"fixed":"1.0.1"},{"introduced":"1.0.0"}]}]"#);
    assert_eq!(bounds(&claims[0]), (Some("1.0.0"), Some("1.0.1"), None, State::Fixed));
}

#[test]
fn enumerated_versions_without_a_range_are_exact_and_not_everything() {
    let claims = claims("PyPI", r#""versions":["1.0","1.1"]"#);
    let found: Vec<_> = claims.iter().map(bounds).collect();
    assert_eq!(
        found,
        [
            (Some("1.0"), None, Some("1.0"), State::Affected),
            (Some("1.1"), None, Some("1.1"), State::Affected)
        ]
    );
}

#[test]
fn a_range_that_cannot_be_paired_is_undetermined_and_told() {
    for events in [
        r#"{"introduced":"1"},{"introduced":"2"},{"fixed":"3"},{"fixed":"4"}"#,
        r#"{"introduced":"0"},{"fixed":"3"},{"fixed":"4"}"#,
        r#"{"fixed":"3"}"#,
        r#"{"introduced":"0","fixed":"3"}"#,
        "",
    ] {
        let (advisory, problems) = record(&format!(
            r#"{{"id":"T-1","affected":[{{"package":{{"ecosystem":"npm","name":"lamp"}},
                "ranges":[{{"type":"SEMVER","events":[{events}]}}]}}]}}"#
        ));
        assert_eq!(advisory.claims.len(), 1, "{events}");
        assert_eq!(advisory.claims[0].state, State::Undetermined, "{events}");
        assert!(problems[0].reason.contains("do not alternate"), "{events}: {problems:?}");
    }
}

#[test]
fn a_package_with_commits_only_is_undetermined_and_commits_alone_are_nothing() {
    let claims = claims("PyPI", r#""ranges":[{"type":"GIT","events":[{"introduced":"0"}]}]"#);
    assert_eq!(claims[0].state, State::Undetermined);
    let (advisory, problems) =
        record(r#"{"id":"T-1","affected":[{"ranges":[{"type":"GIT","events":[{"introduced":"0"}]}]}]}"#);
    assert_eq!((advisory.claims, problems), (vec![], vec![]));
}

#[test]
fn the_stream_of_a_modular_build_stands_in_the_summary() {
    let modules = |summary: &str, fixed: &str| {
        let (advisory, problems) = record(&format!(
            r#"{{"id":"ALSA-2026:1","summary":"{summary}","affected":[{{"package":{{"ecosystem":"AlmaLinux:8",
                "name":"lamp"}},"ranges":[{{"type":"ECOSYSTEM","events":[{{"introduced":"0"}},{{"fixed":"{fixed}"}}]}}]}}]}}"#
        ));
        assert_eq!(problems, []);
        advisory.claims.iter().map(|claim| claim.module.as_ref().map(ToString::to_string)).collect::<Vec<_>>()
    };
    let modular = "1-1.module_el8.10.0+3890+5a092792";
    let named = |names: &[&str]| names.iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>();
    assert_eq!(modules("Important: lamp:18 security update", modular), named(&["lamp:18"]));
    assert_eq!(modules("ALSA-2026:1: lamp:8.0 security update (Important)", modular), named(&["lamp:8.0"]));
    // Either of two may hold the package.
    assert_eq!(
        modules("Low: virt:el and virt-devel:el, bug fix", modular),
        named(&["virt:el", "virt-devel:el"])
    );
    // Not told: a stream that no host has, so that matching says undetermined.
    assert_eq!(modules("Important: lamp security update", modular), named(&[":"]));
    // A colon in the summary of a package that is in no module means nothing.
    assert_eq!(modules("Moderate: lamp:3.6.8 security update", "3.6.8-1.el8"), [None]);
}

#[test]
fn edges_are_typed_and_debian_lists_name_their_channel() {
    let (advisory, problems) = record(
        r#"{"id":"DSA-9001-2","summary":"lamp - security update","aliases":["GHSA-1"],"related":["CVE-2026-0001"],
            "upstream":["CVE-2026-0002"],"withdrawn":"2026-02-03T04:05:06Z","affected":[{"package":
            {"ecosystem":"Debian:12","name":"lamp"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},
            {"fixed":"1-2"}]}]}]}"#,
    );
    assert_eq!(problems, []);
    let edges: Vec<_> = advisory.edges.iter().map(|edge| (edge.kind, edge.id.as_str())).collect();
    assert_eq!(
        edges,
        [
            (EdgeKind::Alias, "GHSA-1"),
            (EdgeKind::Upstream, "CVE-2026-0002"),
            (EdgeKind::Related, "CVE-2026-0001")
        ]
    );
    assert_eq!(advisory.withdrawn.unwrap().to_string(), "2026-02-03T04:05:06Z");
    assert_eq!(advisory.claims[0].channel, Channel::Security);
    assert_eq!(advisory.document.sha256.len(), 64);
    let lts = r#"{"id":"DLA-1-1","affected":[{"package":{"ecosystem":"Debian:11","name":"lamp"},"versions":["1"]}]}"#;
    assert_eq!(record(lts).0.claims[0].channel, Channel::Lts);
}

#[test]
fn vendors_words_become_severities_and_states() {
    let (advisory, problems) = record(
        r#"{"id":"DEBIAN-CVE-2026-0001","severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N"},
            {"type":"Ubuntu","score":"medium"}],"affected":[
            {"package":{"ecosystem":"Debian:11","name":"lamp"},"ranges":[{"type":"ECOSYSTEM","events":
             [{"introduced":"0"}]}],"ecosystem_specific":{"urgency":"end-of-life"}},
            {"package":{"ecosystem":"Debian:12","name":"lamp"},"ranges":[{"type":"ECOSYSTEM","events":
             [{"introduced":"0"}]}],"ecosystem_specific":{"urgency":"unimportant"},"database_specific":[[{}]]}]}"#,
    );
    assert_eq!(problems, []);
    assert_eq!(advisory.claims[0].state, State::EndOfLife);
    assert_eq!((advisory.claims[1].state, &*advisory.claims[1].reason), (State::Affected, "unimportant"));
    let vendor = |word: &str| Severity::Vendor(word.to_owned());
    assert_eq!(
        advisory.severities,
        [
            Severity::Cvss("CVSS:3.1/AV:N".into()),
            vendor("end-of-life"),
            vendor("medium"),
            vendor("unimportant")
        ]
    );
    assert_eq!(record(r#"{"id":"A","summary":"Important: x update"}"#).0.severities, [vendor("Important")]);
}

#[test]
fn a_bug_fix_that_closes_a_cve_is_a_security_bulletin() {
    assert_eq!(record(r#"{"id":"ALBA-2026:1"}"#).0.kind, Kind::Maintenance);
    assert_eq!(record(r#"{"id":"RHBA-2026:1","related":["CVE-2026-0001"]}"#).0.kind, Kind::Security);
    assert_eq!(record(r#"{"id":"DSA-1-2","summary":"lamp - regression update"}"#).0.kind, Kind::Regression);
}

#[test]
fn one_wrong_field_costs_only_itself() {
    let (advisory, problems) = record(
        r#"{"id":"T-1","summary":7,"published":"yesterday","aliases":"CVE-2026-0001","related":null,"affected":[
            {"package":{"ecosystem":"npm","name":"good"},"versions":["1.0.0"]},
            {"package":{"ecosystem":"npm","name":"bad"},"ranges":{"introduced":"0"}},
            {"package":"nobody"}]}"#,
    );
    let found: Vec<_> = advisory.claims.iter().map(|claim| (claim.name.as_str(), claim.state)).collect();
    assert_eq!(found, [("good", State::Affected), ("bad", State::Undetermined)]);
    let objects: Vec<_> = problems.iter().map(|problem| problem.reason.split(' ').next().unwrap()).collect();
    assert_eq!(objects, ["\"summary\"", "\"aliases\"", "\"published\"", "\"affected\"", "an"]);
    assert!(
        problems.iter().all(|problem| problem.object == "feed.zip: entry.json" && !problem.remedy.is_empty())
    );
}

#[test]
fn an_ecosystem_without_its_release_is_told() {
    let (advisory, problems) = record(
        r#"{"id":"T-1","affected":[{"package":{"ecosystem":"Debian","name":"lamp"},"versions":["1"]}]}"#,
    );
    assert_eq!(advisory.claims.len(), 1);
    assert!(problems[0].reason.contains("names no release"));
}

#[test]
fn a_list_and_a_record_per_line_are_read_and_one_bad_record_hides_no_other() {
    for text in ["[{\"id\":\"A\"},{\"no\":1},{\"id\":\"B\"}]", "{\"id\":\"A\"}\n{\"no\":1}\n{\"id\":\"B\"}\n"]
    {
        let mut ids = Vec::new();
        let problems = osv::documents("feed", text.as_bytes(), &mut |advisory| ids.push(advisory.id));
        assert_eq!(ids, ["A", "B"]);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].object, "feed: record 2");
    }
    let mut ids = Vec::new();
    let problems = osv::documents("feed", b"[{\"id\":\"A\"},{\"id\":", &mut |advisory| ids.push(advisory.id));
    assert_eq!((ids.len(), problems.len()), (1, 1), "{problems:?}");
}
