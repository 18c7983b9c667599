//! The journal, databases of origins, exposure.

use super::mmdb::{database, integer, map, text};
use super::{attempt, census, json, palisade, told, visit};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A program of that name that is found first.
fn stand_in(directory: &Path, name: &str, script: &str) -> String {
    let program = directory.join(name);
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap())
}

#[test]
fn what_a_unit_logged_is_counted_from_a_real_journal() {
    let remote = ["/lib/systemd/systemd-journal-remote", "/usr/lib/systemd/systemd-journal-remote"]
        .into_iter()
        .find(|program| Path::new(program).exists());
    let (Some(remote), Some(journalctl)) = (remote, agent::program::find("journalctl")) else {
        eprintln!("SKIPPED: needs journalctl and systemd-journal-remote");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // Two units in the export format of journals; the other unit's line would be an attempt as well.
    let entries = [
        ("caddy.service", attempt("192.0.2.1", 19)),
        ("caddy.service", visit("192.0.2.2", 20)),
        ("other.service", attempt("192.0.2.3", 21)),
    ];
    let entry = |(number, (unit, line)): (usize, &(&str, String))| {
        format!(
            "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={number}\n_BOOT_ID=0123456789abcdef0123456789abcdef\n\
             _SYSTEMD_UNIT={unit}\nMESSAGE={}\n\n",
            995_500_000_000_000_u64 + number as u64,
            line.trim_end()
        )
    };
    let export: String = entries.iter().enumerate().map(entry).collect();
    fs::write(path.join("export"), export).unwrap();
    let journal = path.join("made.journal");
    let made = Command::new(remote).arg("--output").arg(&journal).arg(path.join("export")).output().unwrap();
    assert!(made.status.success(), "{}", told(&made));
    // The real journalctl, on this journal instead of the machine's.
    let script = format!("exec {} --file={} \"$@\"", journalctl.display(), journal.display());
    let found = stand_in(path, "journalctl", &script);
    let output = palisade(path, &["--journal", "caddy", "--json"]).env("PATH", found).output().unwrap();
    let report = json(&output);
    assert_eq!(
        (&report["log"]["requests"], &report["sources"]["count"]),
        (&2.into(), &1.into()),
        "{}",
        told(&output)
    );
}

#[test]
fn a_journal_that_cannot_be_read_is_told_and_units_are_asked_for_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // A stand-in for journalctl: it says what it was asked for, then fails as for somebody who may not read it.
    let found = stand_in(path, "journalctl", "echo \"$@\" > asked; cat line; exit 1");
    fs::write(path.join("line"), attempt("192.0.2.1", 19)).unwrap();
    let words = ["--journal", "caddy", "--journal", "a b", "--json"];
    let output = palisade(path, &words).env("PATH", found).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert_eq!(json(&output)["log"]["requests"], 1, "what came before it failed is counted");
    let asked = fs::read_to_string(path.join("asked")).unwrap();
    assert_eq!(asked.trim(), "--output=cat --no-pager --quiet --unit=caddy --unit=a b");

    let nowhere = palisade(path, &["--journal", "caddy"]).env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{}", told(&nowhere));
    assert!(told(&nowhere).contains("no journalctl on this host"), "{}", told(&nowhere));
}

#[test]
fn origins_are_countries_or_networks_and_a_damaged_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let network = Ipv4Addr::new(198, 51, 100, 0);
    let country = map(&[("country", map(&[("iso_code", text("NL"))]))]);
    let provider = map(&[
        ("autonomous_system_number", integer(64_500)),
        ("autonomous_system_organization", text("Example Net")),
    ]);
    let countries = database("Tiny-Country", network, 24, &country);
    fs::write(path.join("country.mmdb"), &countries).unwrap();
    fs::write(path.join("asn.mmdb"), database("Tiny-ASN", network, 24, &provider)).unwrap();
    fs::write(path.join("cut.mmdb"), &countries[..countries.len() / 2]).unwrap();
    let log: String = ["198.51.100.7", "198.51.100.7", "198.51.100.9", "203.0.113.1"]
        .map(|host| attempt(host, 19))
        .concat();
    for (name, origin) in [("country.mmdb", "NL"), ("asn.mmdb", "AS64500 Example Net")] {
        let report = json(&census(path, &["-", "--mmdb", name, "--json"], &log));
        let rows: Vec<(&str, u64, u64)> = report["origins"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                (
                    row["origin"].as_str().unwrap(),
                    row["sources"].as_u64().unwrap(),
                    row["attempts"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(rows, [(origin, 2, 3), ("unknown", 1, 1)]);
    }
    let cut = census(path, &["-", "--mmdb", "cut.mmdb"], &log);
    assert_eq!(cut.status.code(), Some(70));
    assert!(told(&cut).contains("cut.mmdb"), "{}", told(&cut));
}

#[test]
fn exposure_makes_attempts_on_one_address_a_day() {
    let directory = tempfile::tempdir().unwrap();
    // 8 attempts on 4 addresses within 2 days.
    let log: String = (0..8).map(|place| attempt("198.51.100.7", 19 + place / 4)).collect();
    let report = json(&census(directory.path(), &["-", "--exposure", "4", "--json"], &log));
    assert_eq!(report["exposure"], 4);
    assert_eq!(report["signatures"][0]["attempts_per_address_per_day"], 1.0);
    let none = census(directory.path(), &["-", "--exposure", "0"], &log);
    assert_eq!(none.status.code(), Some(64), "{}", told(&none));
}
