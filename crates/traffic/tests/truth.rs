//! Our own rules against the truth: real and made logs whose attempts others have counted, with other means.

#![cfg(reference_data)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use traffic::request::{Field, Request, unescaped};
use traffic::rules::{RuleId, Rules, Scratch};

fn own() -> Rules {
    let rules = traffic::rules::own();
    let (rules, problems) = Rules::compile(rules);
    assert_eq!(problems, []);
    rules
}

fn data(name: &str) -> Vec<u8> {
    let path = format!("{}/census/{name}", env!("PALISADE_REFERENCE"));
    fs::read(&path).unwrap_or_else(|problem| panic!("{path}: {problem}"))
}

/// One entry of a log, as far as rules look at it.
struct Entry {
    line: Vec<u8>,
    query: bool,
    agent: Option<Vec<u8>>,
    referer: Option<Vec<u8>>,
}

/// The text between quotes at or after `from`, log escapes kept; and where it ends.
fn quoted(line: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let start = from + line[from..].iter().position(|&byte| byte == b'"')? + 1;
    let mut at = start;
    while *line.get(at)? != b'"' {
        at += if line[at] == b'\\' { 2 } else { 1 };
    }
    Some((&line[start..at], at + 1))
}

fn common(line: &[u8]) -> Option<Entry> {
    let (request, end) = quoted(line, 0)?;
    let referer = quoted(line, end);
    let agent = referer.and_then(|(_, end)| quoted(line, end));
    let text = |part: Option<(&[u8], usize)>| part.map(|(text, _)| unescaped(text).into_owned());
    Some(Entry {
        line: unescaped(request).into_owned(),
        query: true,
        referer: text(referer),
        agent: text(agent),
    })
}

fn caddy(line: &[u8]) -> Option<Entry> {
    let record: serde_json::Value = serde_json::from_slice(line).ok()?;
    let request = &record["request"];
    let header = |name: &str| Some(request["headers"][name][0].as_str()?.as_bytes().to_vec());
    let text = |name: &str| request[name].as_str().unwrap_or_default();
    let line = format!("{} {} {}", text("method"), text("uri"), text("proto"));
    Some(Entry {
        line: line.into_bytes(),
        query: true,
        referer: header("Referer"),
        agent: header("User-Agent"),
    })
}

/// W3C's format; `fields` are those of the header before the line.
fn w3c(line: &[u8], fields: &[String]) -> Option<Entry> {
    let line = String::from_utf8_lossy(line);
    let values: BTreeMap<&str, &str> = fields.iter().map(String::as_str).zip(line.split(' ')).collect();
    let known = |name: &str| values.get(name).copied().filter(|value| *value != "-");
    let query = known("cs-uri-query").map(|query| format!("?{query}")).unwrap_or_default();
    let line = format!("{} {}{query} HTTP/1.0", known("cs-method")?, known("cs-uri-stem")?);
    let owned = |name: &str| known(name).map(|value| value.as_bytes().to_vec());
    Some(Entry {
        line: line.into_bytes(),
        query: values.contains_key("cs-uri-query"),
        agent: owned("cs(User-Agent)"),
        referer: owned("cs(Referer)"),
    })
}

/// The lines of a log with what rules see of each.
fn entries(name: &str) -> Vec<(Vec<u8>, Option<Entry>)> {
    let text = data(name);
    let mut fields: Vec<String> = Vec::new();
    let lines = text.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines
        .filter(|line| !line.is_empty())
        .filter_map(|line| {
            if let Some(names) = line.strip_prefix(b"#Fields: ") {
                fields = String::from_utf8_lossy(names).split(' ').map(str::to_owned).collect();
            }
            let entry = match (line.first()?, name.contains("iis")) {
                (b'#', _) => return None,
                (b'{', _) => caddy(line),
                (_, true) => w3c(line, &fields),
                (_, false) => common(line),
            };
            Some((line.to_vec(), entry))
        })
        .collect()
}

fn judged(rules: &Rules, entry: &Entry) -> BTreeSet<String> {
    let mut request = Request::of_line(&entry.line);
    if !entry.query {
        request.query = Field::Unlogged;
    }
    request.agent = entry.agent.as_deref().map_or(Field::Absent, Field::Is);
    request.referer = entry.referer.as_deref().map_or(Field::Absent, Field::Is);
    let mut hits = Vec::new();
    rules.judge(&request, &mut Scratch::default(), &mut hits);
    hits.into_iter().map(|RuleId(rule)| rules.signatures()[usize::from(rule)].id.clone()).collect()
}

#[test]
fn attempts_of_every_signature_are_as_many_as_the_truth_says() {
    let rules = own();
    let table = String::from_utf8(data("truth_utc_day.tsv")).unwrap();
    let mut truth: BTreeMap<&str, BTreeMap<&str, u32>> = BTreeMap::new();
    for row in table.lines().skip(1) {
        let cells: Vec<&str> = row.split('\t').collect();
        *truth.entry(cells[0]).or_default().entry(cells[1]).or_default() += cells[3].parse::<u32>().unwrap();
    }
    let signatures = String::from_utf8(data("signatures_v0.tsv")).unwrap();
    let known: BTreeSet<&str> = signatures.lines().filter_map(|row| row.split('\t').next()).collect();
    let missing: Vec<&&str> = known.iter().filter(|id| rules.find(id).is_none()).collect();
    assert!(missing.is_empty(), "no rule for {missing:?}");
    let totals = String::from_utf8(data("truth_totals.tsv")).unwrap();
    let mut wrong = Vec::new();
    for file in totals.lines().skip(1).filter_map(|row| row.split('\t').next()) {
        let mut counted: BTreeMap<String, u32> = BTreeMap::new();
        for (_, entry) in entries(file) {
            for id in entry.iter().flat_map(|entry| judged(&rules, entry)) {
                *counted.entry(id).or_default() += 1;
            }
        }
        let none = BTreeMap::new();
        let truth = truth.get(file).unwrap_or(&none);
        for id in &known {
            let (found, true_count) = (counted.get(*id).unwrap_or(&0), truth.get(id).unwrap_or(&0));
            if found != true_count {
                wrong.push(format!("{file} {id}: {found}, not {true_count}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_sieve_keeps_every_line_that_is_recognised_and_few_others() {
    let rules = own();
    let (mut lines, mut kept, mut hit) = (0, 0, 0);
    for file in [
        "nginx_combined_2020-11_siteA.log",
        "apache_combined_2016-09_siteC_tz+0200.log",
        "benign_apache_combined_2015-05.log",
        "scanner_w3af_2016-12.log",
        "siteA_as_caddy.jsonl",
        "synth_2001_apache_common.log",
        "synth_2001_iis_w3c.log",
    ] {
        for (line, entry) in entries(file) {
            let candidate = rules.sieve().next(&line, 0).is_some();
            let ids = entry.map(|entry| judged(&rules, &entry)).unwrap_or_default();
            assert!(candidate || ids.is_empty(), "{file}: {ids:?} lost in {}", line.escape_ascii());
            lines += 1;
            kept += usize::from(candidate);
            hit += usize::from(!ids.is_empty());
        }
    }
    assert!(kept < hit + lines / 10, "of {lines} lines {kept} are candidates for {hit}");
}

#[test]
fn attacks_of_crowdsecs_tests_are_recognised() {
    // Lines recognised, and all of them, where those are not the same: harmless ones, bytes that say nothing, and scans
    // that only many requests together show.
    let expected = BTreeMap::from([
        ("CVE-2024-38475.log", 5),
        ("http-wordpress-scan.log", 3),
        ("nginx-http-malformed.log", 4),
        ("nginx-http-w00twoot.log", 1),
    ]);
    let rules = own();
    let index = String::from_utf8(data("hub_mit/INDEX.tsv")).unwrap();
    let mut wrong = Vec::new();
    for file in index.lines().skip(1).filter_map(|row| row.split('\t').next()) {
        let all = entries(&format!("hub_mit/{file}"));
        let known = all.iter().filter_map(|(_, entry)| entry.as_ref());
        let found = known.filter(|entry| !judged(&rules, entry).is_empty()).count();
        if found != *expected.get(file).unwrap_or(&all.len()) {
            wrong.push(format!("{file}: {found} of {}", all.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
