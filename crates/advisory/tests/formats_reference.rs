//! Real feeds: what they give is counted, and every problem is one we can explain.
#![cfg_attr(reference_data, expect(clippy::disallowed_types, reason = "a test reads the reference data"))]

use advisory::format::lifecycle::Support;
use advisory::format::{Feed, read};
use advisory::{Family, Kind, NameKind, Release};
use jiff::civil::date;
use std::io::Cursor;
use std::path::{Path, PathBuf};

fn reference(path: &str) -> PathBuf {
    Path::new(option_env!("PALISADE_REFERENCE").unwrap_or("")).join("bulletins").join(path)
}

fn feed(path: &Path, release: Option<&Release>) -> Feed {
    let bytes = std::fs::read(path).unwrap();
    read(None, &path.display().to_string(), Cursor::new(bytes), release)
}

/// Files of a packed directory whose path ends so.
fn packed(archive: &str, ends: &str) -> Vec<(String, Vec<u8>)> {
    let file = std::fs::read(reference(archive)).unwrap();
    let unpacked = ruzstd::decoding::StreamingDecoder::new(&file[..]).unwrap();
    let mut found = Vec::new();
    for entry in tar::Archive::new(unpacked).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        if path.ends_with(ends) {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            found.push((path, bytes));
        }
    }
    found
}

#[test]
#[cfg_attr(not(reference_data), ignore = "needs the reference data")]
fn every_almalinux_record_parses_without_a_problem() {
    let feed = feed(&reference("almalinux-osv/all.zip"), None);
    assert_eq!(feed.problems, []);
    assert_eq!(feed.advisories.len(), 4_272);
    let claims: Vec<_> = feed.advisories.iter().flat_map(|advisory| &advisory.claims).collect();
    // 49,932 entries, and one claim more for every module beyond the first that a summary names.
    let modular: Vec<_> = claims.iter().filter_map(|claim| claim.module.as_ref()).collect();
    let untold = modular.iter().filter(|module| module.stream.is_empty()).count();
    assert_eq!((claims.len(), modular.len(), untold), (53_374, 20_402, 267));
    assert!(claims.iter().all(|claim| claim.name_kind == NameKind::Binary && claim.fixed.is_some()));
    let maintenance = feed.advisories.iter().filter(|advisory| advisory.kind == Kind::Maintenance).count();
    assert_eq!(maintenance, 1_195);
}

#[test]
#[cfg_attr(not(reference_data), ignore = "needs the reference data")]
fn the_kev_catalogue_has_all_its_entries() {
    let feed = feed(&reference("kev/known_exploited_vulnerabilities.json.zst"), None);
    assert_eq!(feed.problems, []);
    assert_eq!(feed.signals.kev.len(), 1_404);
    assert_eq!(feed.signals.kev_released.unwrap().to_string(), "2025-08-25T17:04:19.9796Z");
}

#[test]
#[cfg_attr(not(reference_data), ignore = "needs the reference data")]
fn life_cycles_answer_for_debian_and_ubuntu() {
    let mut lifecycle = advisory::format::lifecycle::Lifecycle::default();
    let twelve = Release::new(Family::Debian, "12");
    for name in ["debian.csv", "ubuntu.csv", "security-support-ended", "security-support-limited"] {
        let feed = feed(&reference("debian-lifecycle").join(name), Some(&twelve));
        assert_eq!(feed.problems, [], "{name}");
        lifecycle.merge(feed.lifecycle);
    }
    let on = date(2026, 11, 23);
    assert_eq!(lifecycle.support(&twelve, "openssl", on), Support::Lts { until: date(2028, 6, 30) });
    assert!(matches!(lifecycle.support(&twelve, "lxd", on), Support::Ended { .. }));
    assert!(matches!(lifecycle.support(&twelve, "golang-1.19", on), Support::Limited { .. }));
    let bionic = Release::new(Family::Ubuntu, "18.04");
    assert_eq!(lifecycle.support(&bionic, "openssl", on), Support::Elts { until: date(2030, 4, 30) });
}

#[test]
#[cfg_attr(not(reference_data), ignore = "needs the reference data")]
fn vendors_updateinfo_and_osv_samples_are_read() {
    let release = Release::new(Family::AlmaLinux, "9");
    let archive = "native-format-fixtures-vuls-data-update.tar.zst";
    let mut read_whole = 0;
    for ends in [".xml.gz", ".xml.zst"] {
        for (path, bytes) in packed(archive, ends) {
            if !path.contains("updateinfo") {
                continue;
            }
            let feed = read(None, &path, Cursor::new(bytes), Some(&release));
            // Some fixtures are broken on purpose, and say so by their names.
            let broken = path.contains("corrupt") || path.contains("invalid_xml");
            assert_eq!(feed.truncated, broken, "{path}: {:?}", feed.problems);
            assert!(broken || !feed.advisories.is_empty(), "{path}");
            assert!(broken || feed.problems.is_empty(), "{path}: {:?}", feed.problems);
            read_whole += usize::from(!broken);
        }
    }
    assert_eq!(read_whole, 16);
    let mut records = 0;
    for (path, bytes) in packed(archive, ".json") {
        if path.contains("/osv/testdata/fixtures/") && path.contains("/extract/") {
            let (advisory, problems) = advisory::format::osv::record("fixtures", &path, &bytes).unwrap();
            assert_eq!(problems, [], "{path}");
            assert!(!advisory.id.is_empty());
            records += 1;
        }
    }
    assert_eq!(records, 60);
}
