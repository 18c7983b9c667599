//! `palisade census` counts lines: not files, packings, threads, nor the places where a log was cut.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod census_for_tests;

use census_for_tests::palisade;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

/// A log of four weeks: visitors, Code Red that grows and fades, a look-alike.
fn log() -> String {
    let mut log = String::new();
    for hour in 0..28 * 24_u32 {
        let time = format!("{:02}/Jul/2001:{:02}:00:00 +0000", 1 + hour / 24, hour % 24);
        let _ = writeln!(log, "192.0.2.{} - - [{time}] \"GET /{hour} HTTP/1.0\" 200 12", hour % 40);
        let _ = writeln!(log, "192.0.2.7 - - [{time}] \"GET /default.idaho.html HTTP/1.0\" 200 12");
        if hour % 5 < 2 {
            let query = "N".repeat(224);
            let _ = writeln!(
                log,
                "198.51.100.{} - - [{time}] \"GET /default.ida?{query}%u9090%u6858 HTTP/1.0\" 404 297",
                hour % 91
            );
        }
    }
    log
}

fn census(directory: &Path, words: &[&str], stdin: &[u8]) -> Output {
    let mut child = palisade(directory, words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // In pieces that end within lines; who does not read its input closes it.
    for piece in stdin.chunks(997) {
        if pipe.write_all(piece).is_err() {
            break;
        }
    }
    drop(pipe);
    child.wait_with_output().unwrap()
}

/// What is written for merging when these files are counted.
fn partial(directory: &Path, words: &[&str], stdin: &[u8]) -> Vec<u8> {
    let output = census(directory, &[words, &["--partial", "partial"]].concat(), stdin);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    fs::read(directory.join("partial")).unwrap()
}

#[test]
fn the_same_lines_are_the_same_counts_however_they_come() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let log = log();
    fs::write(path.join("log"), &log).unwrap();
    let whole = partial(path, &["log"], b"");

    let mut gz = flate2::write::GzEncoder::new(File::create(path.join("gz")).unwrap(), <_>::default());
    gz.write_all(log.as_bytes()).unwrap();
    gz.finish().unwrap();
    fs::write(path.join("zst"), zstd::encode_all(log.as_bytes(), 0).unwrap()).unwrap();
    for packed in ["gz", "zst"] {
        assert!(partial(path, &[packed], b"") == whole, "{packed}");
    }
    for threads in ["1", "2", "8"] {
        assert!(partial(path, &["log", "--threads", threads], b"") == whole, "{threads} threads");
    }
    assert!(partial(path, &["-"], log.as_bytes()) == whole, "standard input");

    // Rotated, with copies of what was rotated.
    let middle = log[..log.len() / 3].rfind('\n').unwrap() + 1;
    fs::write(path.join("log.1"), &log[..middle]).unwrap();
    fs::write(path.join("log.0"), &log[middle..]).unwrap();
    let rotated = ["log", "log.0", "log.1", "gz"];
    assert!(partial(path, &rotated, b"") == whole, "copies were counted again");

    // Counted apart and added up, as files and as lines of text.
    fs::write(path.join("one"), partial(path, &["log.0"], b"")).unwrap();
    let text = census(path, &["--partition"], &log.as_bytes()[..middle]).stdout;
    fs::write(path.join("other"), text).unwrap();
    // A partition gives pseudonyms out, as a partial does.
    let merged = census(path, &["merge", "other", "one", "--partial", "merged"], b"");
    assert!(merged.status.success(), "{}", String::from_utf8_lossy(&merged.stderr));
    assert!(fs::read(path.join("merged")).unwrap() == whole, "parts do not add up to the whole");
}

#[test]
fn a_census_tells_attempts_and_sources_of_each_day_and_no_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let output = census(directory.path(), &["-", "--json"], log().as_bytes());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let signatures = report["signatures"].as_array().unwrap();
    assert_eq!(signatures.len(), 1, "{signatures:?}");
    assert_eq!(signatures[0]["id"], "codered1");
    assert_eq!(signatures[0]["days"].as_array().unwrap().len(), 28);
    // Two hours of five, of 672.
    assert_eq!(signatures[0]["attempts"], 270);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("198.51.100."));
    let shown = census(directory.path(), &["-", "--json", "--show-sources"], log().as_bytes());
    assert!(String::from_utf8_lossy(&shown.stdout).contains("198.51.100."));
}

#[test]
fn the_end_of_an_attack_is_told_unasked_and_only_where_counts_are_not_all_that_is_wanted() {
    let directory = tempfile::tempdir().unwrap();
    let text = |words: &[&str]| {
        let output = census(directory.path(), &[&["-"], words].concat(), log().as_bytes());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let told = text(&[]);
    assert!(told.contains("over by") && told.contains("When it will be over"), "{told}");
    // Days to come follow those of the log, which end on the 28th.
    assert!(told.contains('░') && told.contains("from 2001-07-29 on"), "{told}");
    assert!(text(&["--json"]).contains("\"outlook\""));
    for counts in [&["--no-forecast"][..], &["--csv"], &["--json", "--no-forecast"], &["--partial", "counts"]]
    {
        let told = text(counts);
        assert!(
            !told.contains("over by") && !told.contains("outlook") && !told.contains('░'),
            "{counts:?}: {told}"
        );
    }
}

#[test]
fn all_attempts_together_are_foretold_as_they_come_and_not_as_if_every_attack_erred_alike() {
    let paths =
        ["/.env", "/.git/config", "/scripts/root.exe?/c+dir", "/HNAP1/", "/actuator/env", "/wp-login.php"];
    let mut log = String::new();
    for day in 1..=30_u32 {
        for (kind, path) in (0_u32..).zip(paths) {
            // Between 5 and 15, each kind in its own way; together some 60 a day.
            let attempts = 5 + (day * (7 + 4 * kind) + kind * 5) % 11;
            for number in 0..attempts {
                let _ = writeln!(
                    log,
                    "198.51.100.{} - - [{day:02}/Sep/2026:{number:02}:00:00 +0000] \"GET {path} HTTP/1.1\" 404 12",
                    kind * 40 + number
                );
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let output = census(directory.path(), &["-", "--json"], log.as_bytes());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let first = |of: &serde_json::Value, edge: &str| of["attempts"][edge].as_f64().unwrap();
    let signatures = report["signatures"].as_array().unwrap();
    assert!(signatures.len() >= paths.len(), "{signatures:?}");
    let course = |outlook: &serde_json::Value| {
        let course = outlook.get("course").or(outlook.get("range")).unwrap();
        first(&course["ahead"][1], "high_90")
    };
    let sum: f64 = signatures.iter().map(|row| course(&row["outlook"])).sum();
    let together = &report["attempts_ahead"][1];
    let (low, high) = (first(together, "low_90"), first(together, "high_90"));
    assert!(low > 30.0 && low < 60.0 && high > 60.0 && high < 100.0, "{low} to {high}");
    assert!(sum > high * 1.1, "the sum of what each might do is {sum}, and no day was like that");
}

#[test]
fn a_calendar_goes_before_the_rules_and_one_that_names_nobody_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // By its rule the worm sleeps from the 20th on; this log's does not care, and that is told.
    let told = String::from_utf8(census(path, &["-"], log().as_bytes()).stdout).unwrap();
    assert!(told.contains("does not keep to its calendar"), "{told}");
    fs::write(path.join("days.yaml"), "codered1: {until: 2001-12-31}\n").unwrap();
    let told = census(path, &["-", "--calendar", "days.yaml"], log().as_bytes());
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("codered1:") && !told.contains("does not keep"), "{told}");
    for (text, named) in [("codered3: {}\n", "codered"), ("codered1: {asleep: [32]}\n", "\"32\"")] {
        fs::write(path.join("days.yaml"), text).unwrap();
        let refused = census(path, &["-", "--calendar", "days.yaml"], log().as_bytes());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(64) && said.contains(named), "{said}");
    }
}

#[test]
fn a_cut_off_archive_is_told_and_what_was_read_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), <_>::default());
    gz.write_all(log().as_bytes()).unwrap();
    let bytes = gz.finish().unwrap();
    fs::write(directory.path().join("cut.gz"), &bytes[..bytes.len() - 100]).unwrap();
    let output = census(directory.path(), &["cut.gz", "--csv"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stderr).matches("cut.gz: it is cut short").count(), 1);
    assert!(String::from_utf8_lossy(&output.stdout).contains("codered1,no,2001-07-01,"));
}
