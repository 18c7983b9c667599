//! Debian 12's own changelogs: what we read agrees with an independent reading, and the known traps hold.

#![cfg(reference_data)]
#![allow(clippy::unwrap_used)] // the rule leaves tests out, but not their helpers

use advisory::Kind;
use advisory::changelog::{Basis, Closed, Entry, closed, read};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

fn text(name: &str) -> String {
    let path = format!("{}/bulletins/debian-archive/bookworm/{name}", env!("PALISADE_REFERENCE"));
    let packed = std::fs::read(&path).expect("reference data is readable");
    let mut text = String::new();
    ruzstd::decoding::StreamingDecoder::new(&packed[..]).unwrap().read_to_string(&mut text).unwrap();
    text
}

fn by_source() -> BTreeMap<String, Vec<Entry>> {
    let (entries, problems) = read(text("changelogs-top8.txt.zst").as_bytes(), "changelogs-top8");
    assert_eq!(problems, []);
    let mut sources: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        sources.entry(entry.source.clone()).or_default().push(entry);
    }
    sources
}

#[test]
fn every_entry_agrees_with_an_independent_reading_but_the_named_ones() {
    let sources = by_source();
    let mut different = BTreeSet::new();
    let mut compared = 0;
    for line in text("changelog-entries.jsonl.zst").lines() {
        let theirs: serde_json::Value = serde_json::from_str(line).unwrap();
        let [source, version] = ["source", "version"].map(|key| theirs[key].as_str().unwrap());
        if theirs["pos"].as_u64().unwrap() >= 8 {
            continue;
        }
        let ours =
            sources.get(source).and_then(|entries| entries.iter().find(|ours| ours.version == version));
        let ours = ours.unwrap_or_else(|| panic!("{source} {version} was not read"));
        let cves: Vec<&str> =
            theirs["cves"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        if ours.cves != cves {
            different.insert(format!("{source} {version}"));
        }
        assert!(ours.date.is_some(), "{source} {version}: no date");
        compared += 1;
    }
    assert!(compared > 3_000, "{compared}");
    // Names one with a blank, "CVE 2026-…"; says of two ids that it is not affected; names one in lower case.
    let named = ["libpng1.6 1.6.39-2+deb12u5", "mediawiki 1:1.39.17-1~deb12u1", "nova 2:26.1.0-1"];
    assert_eq!(different, named.map(str::to_owned).into());
}

#[test]
fn the_three_traps_hold_on_real_changelogs() {
    let sources = by_source();
    // Ancestry: version order calls both vulnerable.
    let less = closed("590-2.1~deb12u1", None, &sources["less"]);
    assert_eq!((less.cves.len(), less.basis), (0, Basis::Ancestor));
    let librsvg = closed("2.54.7+dfsg-1~deb12u1", None, &sources["librsvg"]);
    assert_eq!((librsvg.cves.len(), librsvg.kind), (0, Kind::Maintenance));
    // Fixed again.
    let postgresql = &sources["postgresql-15"];
    let at = postgresql.iter().position(|entry| entry.version.starts_with("15.18-")).unwrap();
    let again = closed(&postgresql[at].version, None, postgresql);
    let shared: Vec<_> = again.cves.iter().filter(|id| postgresql[at].cves.contains(id)).collect();
    assert!(!shared.is_empty(), "15.19 closes again what 15.18 closed: {again:?}");
    // Security uploads that name no CVE are security or regression updates, never maintenance.
    let mut silent = BTreeMap::<Kind, usize>::new();
    for entries in sources.values() {
        for pair in entries.windows(2) {
            let uploaded_to_security = pair[0].distributions.iter().any(|name| name == "bookworm-security");
            if uploaded_to_security && pair[0].cves.is_empty() {
                *silent.entry(closed(&pair[1].version, None, pair).kind).or_default() += 1;
            }
        }
    }
    assert!(silent.keys().all(|kind| matches!(kind, Kind::Security | Kind::Regression)), "{silent:?}");
    assert!(silent[&Kind::Regression] >= 2 && silent.values().sum::<usize>() >= 70, "{silent:?}");
}

/// Changelogs as facts only, with entries older than the text goes: versions and ids.
fn facts() -> BTreeMap<String, Vec<Entry>> {
    let mut sources: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    for line in text("changelog-entries.jsonl.zst").lines() {
        let fact: serde_json::Value = serde_json::from_str(line).unwrap();
        let word = |key: &str| fact[key].as_str().unwrap().to_owned();
        let cves =
            fact["cves"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
        let (source, version) = (word("source"), word("version"));
        let entry = Entry { version, cves, distributions: vec![word("dist")], ..Entry::default() };
        sources.entry(source).or_default().push(entry);
    }
    sources
}

#[test]
fn a_real_machines_upgrades_close_what_an_independent_reading_says() {
    let hosts = format!("{}/bulletins/hosts-apt-oracle", env!("PALISADE_REFERENCE"));
    let oracle = std::fs::read_to_string(format!("{hosts}/real-container.pending-cves.json")).unwrap();
    let oracle: serde_json::Value = serde_json::from_str(&oracle).unwrap();
    let theirs: BTreeSet<String> =
        oracle["cves"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    let listing = std::fs::read_to_string(format!("{hosts}/real-container.dpkg-query.tsv")).unwrap();
    let (texts, facts) = (by_source(), facts());
    let mut ours = BTreeSet::new();
    let mut unread = BTreeSet::new();
    let mut upgrades = BTreeMap::<&str, Closed>::new();
    for line in listing.lines() {
        let [name, _, source, version] = line.split('\t').take(4).collect::<Vec<_>>().try_into().unwrap();
        if oracle["pending"][name].is_null() {
            continue;
        }
        let upgrade = texts.get(source).map(|entries| closed(version, None, entries));
        let upgrade = upgrade.filter(|upgrade| upgrade.basis == Basis::Ancestor);
        let upgrade = upgrade.or_else(|| facts.get(source).map(|entries| closed(version, None, entries)));
        match upgrade {
            Some(upgrade) if upgrade.basis == Basis::Ancestor => drop(upgrades.insert(source, upgrade)),
            Some(_) | None => drop(unread.insert(source.to_owned())),
        }
    }
    for upgrade in upgrades.values() {
        ours.extend(upgrade.cves.iter().cloned());
    }
    assert_eq!((upgrades.len(), ours.len(), theirs.len()), (42, 190, 190));
    // The changelogs in the reference data do not reach these versions.
    assert_eq!(
        unread,
        ["glib2.0", "gnutls28", "libxml2", "openjdk-17", "python3.11"].map(str::to_owned).into()
    );
    // libpng writes "CVE 2026-33416", with a blank, where it repairs the regression of its fix.
    assert_eq!(ours.difference(&theirs).collect::<Vec<_>>(), ["CVE-2026-33416"]);
    // The other reading went by version order: libxml2 2.9.14+dfsg-1.3 fixed it, and the installed
    // 2.9.14+dfsg-1.3~deb12u5, "older" to dpkg, descends from it.
    assert_eq!(theirs.difference(&ours).collect::<Vec<_>>(), ["CVE-2022-2309"]);
}
