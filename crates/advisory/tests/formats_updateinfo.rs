//! What updateinfo.xml means.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use advisory::format::updateinfo;
use advisory::{Advisory, EdgeKind, Family, Kind, NameKind, Problem, Release, Severity, State};

fn read(xml: &str) -> (Vec<Advisory>, Vec<Problem>) {
    let mut advisories = Vec::new();
    let release = Release::new(Family::AlmaLinux, "9");
    let problems =
        updateinfo::read("updateinfo.xml", xml.as_bytes(), &release, &mut |one| advisories.push(one));
    (advisories, problems)
}

const UPDATE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<updates>
  <update from="x@example.org" status="final" type="security" version="3">
    <id>ALSA-2026:1</id>
    <title>Important: lamp &amp; wick &#x2014; security update</title>
    <issued date="2026-01-02 03:04:05"/>
    <updated date="2026-02-03"/>
    <severity>Important</severity>
    <description>long <![CDATA[text]]></description>
    <references>
      <reference href="https://example.org/RHSA-2026:1" id="RHSA-2026:1" type="rhsa" title="RHSA-2026:1"/>
      <reference href="https://example.org/CVE-2026-0001" id="CVE-2026-0001" type="cve" title="CVE-2026-0001"/>
      <reference href="https://example.org/7" id="7" type="bugzilla" title="TRIAGE CVE-2026-0002: lamp [all]"/>
    </references>
    <pkglist>
      <collection short="a"><name>a</name>
        <module name="lamp" stream="18" version="9" context="c" arch="x86_64"/>
        <package name="lamp" version="18.1" release="2.module_el9" epoch="1" arch="x86_64" src="lamp.src.rpm">
          <filename>lamp.rpm</filename><reboot_suggested>True</reboot_suggested></package>
        <package name="lamp" version="18.1" release="2.module_el9" epoch="1" arch="src"/>
      </collection>
      <collection short="b"><name>b</name>
        <package name="wick-doc" version="1.0" release="3.el9" epoch="0" arch="noarch"/>
        <package name="wick" version="1.0" release="3.module_el9" epoch="0" arch="aarch64"/>
        <package name="wick-oil" epoch="0" arch="aarch64"/>
      </collection>
    </pkglist>
  </update>
  <update type="bugfix" status="retracted"><id>ALBA-2026:2</id><title>t</title><issued date="1767225600"/>
    <severity>None</severity>
    <pkglist><collection><package name="lamp" version="1" release="1" epoch="0" arch="src"/></collection></pkglist>
  </update>
</updates>"#;

#[test]
fn an_update_is_an_advisory_with_a_claim_for_each_binary_package() {
    let (advisories, problems) = read(UPDATE);
    let one = &advisories[0];
    assert_eq!((one.id.as_str(), one.kind, one.reboot), ("ALSA-2026:1", Kind::Security, true));
    assert_eq!(one.summary, "Important: lamp & wick — security update");
    assert_eq!(one.published.unwrap().to_string(), "2026-01-02T03:04:05Z");
    assert_eq!(one.modified.unwrap().to_string(), "2026-02-03T00:00:00Z");
    assert_eq!(one.severities, [Severity::Vendor("Important".into())]);
    let edges: Vec<_> = one.edges.iter().map(|edge| (edge.kind, edge.id.as_str())).collect();
    assert_eq!(
        edges,
        [
            (EdgeKind::Upstream, "RHSA-2026:1"),
            (EdgeKind::Related, "CVE-2026-0001"),
            (EdgeKind::Related, "CVE-2026-0002")
        ]
    );
    let claims: Vec<_> = one
        .claims
        .iter()
        .map(|claim| {
            let module = claim.module.as_ref().map(ToString::to_string);
            (claim.name.as_str(), claim.arch.as_deref(), claim.fixed.as_deref(), module, claim.state)
        })
        .collect();
    let stream = |text: &str| Some(text.to_owned());
    assert_eq!(
        claims,
        [
            ("lamp", Some("x86_64"), Some("1:18.1-2.module_el9"), stream("lamp:18"), State::Fixed),
            ("wick-doc", None, Some("1.0-3.el9"), None, State::Fixed),
            // A module's build outside a module element: its stream is not known.
            ("wick", Some("aarch64"), Some("1.0-3.module_el9"), stream(":"), State::Fixed),
            ("wick-oil", Some("aarch64"), None, None, State::Undetermined),
        ]
    );
    assert!(one.claims.iter().all(|claim| claim.name_kind == NameKind::Binary));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].reason.contains("wick-oil"), "{problems:?}");
}

#[test]
fn a_retracted_update_is_withdrawn_and_sources_count_only_where_nothing_else_is() {
    let (advisories, _) = read(UPDATE);
    let two = &advisories[1];
    assert_eq!((two.kind, two.severities.len()), (Kind::Maintenance, 0));
    assert_eq!(two.withdrawn.unwrap().to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(two.claims[0].name_kind, NameKind::Source);
}

#[test]
fn updates_before_a_cut_are_kept_and_the_cut_names_what_it_cost() {
    let cut = UPDATE.find("wick-oil").unwrap();
    let (advisories, problems) = read(&UPDATE[..cut]);
    assert!(advisories.is_empty());
    assert!(problems.last().unwrap().reason.contains("\"ALSA-2026:1\" is lost"), "{problems:?}");
    let cut = UPDATE.find("</updates>").unwrap();
    let (advisories, problems) = read(&UPDATE[..cut]);
    assert_eq!(advisories.len(), 2);
    assert!(problems.last().unwrap().reason.contains("ends before </updates>"), "{problems:?}");
}

#[test]
fn an_unknown_type_is_taken_for_security_and_told() {
    let (advisories, problems) = read("<updates><update type='odd'><id>A</id></update></updates>");
    assert_eq!(advisories[0].kind, Kind::Security);
    assert!(problems[0].reason.contains("\"odd\""));
}

#[test]
fn updateinfo_given_for_a_debian_host_is_refused_not_compared() {
    let debian = Release::new(Family::Debian, "12");
    let feed = advisory::format::read(None, "updateinfo.xml", std::io::Cursor::new(UPDATE), Some(&debian));
    assert!(feed.advisories.is_empty() && feed.truncated);
    assert!(feed.problems[0].reason.contains("RPM packages"), "{:?}", feed.problems);
}
