//! The census against counts that were made apart from it, on real and synthetic logs: every cell, both tables of days.

#![cfg(reference_data)]
#![allow(clippy::unwrap_used)] // the rule leaves tests out, but not their helpers

use std::collections::BTreeMap;
use std::fs;
use traffic::census::report::{Asked, report};
use traffic::census::{Counting, Key, Limits, Report, Zone};
use traffic::format::State;
use traffic::rules::Rules;

/// Attempts and sources.
type Cell = (u64, u64);

fn data(name: &str) -> Vec<u8> {
    fs::read(format!("{}/census/{name}", env!("PALISADE_REFERENCE"))).expect("reference data is readable")
}

fn rules() -> Rules {
    let read = traffic::rules::own();
    let (rules, problems) = Rules::compile(read);
    assert_eq!(problems, []);
    rules
}

fn counted(rules: &Rules, log: &[u8], zone: &Zone) -> Report {
    let counting = Counting::new(rules, "", zone, &Key::new([1; 32]), Limits::default());
    counting.counter().count(State::default(), log);
    report(&counting.finish(), rules, Asked { exposure: None, sources_max: 20 })
}

/// By log, signature and day.
fn truth(table: &str) -> BTreeMap<String, BTreeMap<(String, String), Cell>> {
    let mut truth: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
    for line in String::from_utf8(data(table)).unwrap().lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let cell = (columns[3].parse().unwrap(), columns[4].parse().unwrap());
        truth.entry(columns[0].into()).or_default().insert((columns[1].into(), columns[2].into()), cell);
    }
    truth
}

fn cells(report: &Report) -> BTreeMap<(String, String), Cell> {
    let rows = report.signatures.iter().chain(&report.fragments);
    rows.flat_map(|row| {
        row.days
            .iter()
            .map(|day| ((row.id.clone(), day.day.date().to_string()), (day.attempts, day.sources.count)))
    })
    .collect()
}

#[test]
fn attempts_and_sources_equal_the_truth_in_every_cell_of_both_tables() {
    let rules = rules();
    let table = String::from_utf8(data("signatures_v0.tsv")).unwrap();
    let known: Vec<String> =
        table.lines().filter_map(|line| Some(line.split('\t').next()?.to_owned())).collect();
    for (table, zone) in [("truth_utc_day.tsv", Zone::Utc), ("truth_local_day.tsv", Zone::AsLogged)] {
        for (log, wanted) in truth(table) {
            let counted = cells(&counted(&rules, &data(&log), &zone));
            for (cell, wanted) in &wanted {
                assert_eq!(counted.get(cell), Some(wanted), "{log} {cell:?} in {table}");
            }
            // Rules that came later have no truth here.
            let more = counted.keys().filter(|cell| known.contains(&cell.0) && !wanted.contains_key(cell));
            let more: Vec<_> = more.collect();
            assert!(more.is_empty(), "{log} in {table}: {more:?}");
        }
    }
}

#[test]
fn fragments_of_bodies_are_kept_apart_from_the_attempts_they_belong_to() {
    let report = counted(&rules(), &data("nginx_combined_2020-11_siteA.log"), &Zone::Utc);
    let attempts = |rows: &[traffic::census::report::SignatureRow], id: &str| {
        rows.iter().find(|row| row.id == id).map(|row| row.attempts)
    };
    assert_eq!(attempts(&report.signatures, "zyxel-viewlog"), Some(49));
    assert_eq!(attempts(&report.fragments, "split-body-fragment"), Some(47));
    assert_eq!(attempts(&report.signatures, "split-body-fragment"), None);
}

#[test]
fn sixteen_requests_of_nimda_are_one_visit() {
    for log in ["synth_2001_iis_w3c.log", "synth_2001_apache_common.log"] {
        let report = counted(&rules(), &data(log), &Zone::Utc);
        let lines: u64 =
            report.signatures.iter().filter(|row| row.id.starts_with("nimda")).map(|row| row.attempts).sum();
        let visits: Vec<_> = report.visits.iter().map(|row| (row.name.as_str(), row.visits)).collect();
        assert_eq!(visits, [("nimda", lines / 16)], "{log}");
        assert_eq!(lines % 16, 0, "{log}");
    }
}
