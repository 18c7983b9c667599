//! CrowdSec's virtual patches, read as they are, against the requests that they come with; and our own rules against
//! attacks in disguise.

#![cfg(reference_data)]

use base64::Engine as _;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use traffic::request::{Field, Request};
use traffic::rules::{Rule, RuleId, Rules, Scratch, read};

#[derive(Deserialize)]
struct Record {
    id: String,
    cls: String,
    req: Sent,
    #[serde(default)]
    rules: Vec<String>,
    group: Option<String>,
}

#[derive(Deserialize)]
struct Sent {
    method: String,
    uri: String,
    headers: Vec<(String, String)>,
    body_b64: String,
}

impl Sent {
    /// The headers; one that is empty is left out, as the requests' sender leaves it out.
    fn headers(&self) -> impl Iterator<Item = &(String, String)> {
        self.headers.iter().filter(|(_, value)| !value.is_empty())
    }
}

fn at(name: &str) -> PathBuf {
    PathBuf::from(env!("PALISADE_REFERENCE")).join("shield").join(name)
}

fn records(name: &str) -> Vec<Record> {
    let text = fs::read_to_string(at(name)).expect("the data is as its notes say");
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|problem| panic!("{name}: {problem}")))
        .collect()
}

/// The ids of the rules that recognise the request as a live one.
fn judged(rules: &Rules, sent: &Sent) -> BTreeSet<String> {
    let line = format!("{} {} HTTP/1.1", sent.method, sent.uri);
    let headers: Vec<(&[u8], &[u8])> =
        sent.headers().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    let body = base64::engine::general_purpose::STANDARD
        .decode(&sent.body_b64)
        .expect("the data is as its notes say");
    let named = |wanted: &str| {
        let header = sent.headers().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        header.map_or(Field::Absent, |(_, value)| Field::Is(value.as_bytes()))
    };
    let request = Request {
        host: named("host"),
        agent: named("user-agent"),
        referer: named("referer"),
        cookie: named("cookie"),
        headers: &headers,
        body: Field::Is(&body),
        ..Request::of_line(line.as_bytes())
    };
    let mut hits = Vec::new();
    rules.judge(&request, &mut Scratch::default(), &mut hits);
    hits.into_iter().map(|RuleId(rule)| rules.signatures()[usize::from(rule)].id.clone()).collect()
}

fn hub() -> Vec<Rule> {
    let mut rules = Vec::new();
    for entry in
        fs::read_dir(at("crowdsec-hub/appsec-rules/crowdsecurity")).expect("the data is as its notes say")
    {
        let path = entry.expect("the data is as its notes say").path();
        let name = path.file_name().expect("the data is as its notes say").to_string_lossy().into_owned();
        let (read, problems) = read(&name, &fs::read_to_string(&path).expect("the data is as its notes say"));
        // Ten files are written in ModSecurity's language, or hold exceptions to such rules.
        let foreign = |reason: &str| reason.contains("ModSecurity") || reason.contains("it has neither");
        assert!(problems.iter().all(|problem| foreign(&problem.reason)), "{problems:?}");
        rules.extend(read);
    }
    rules
}

fn compiled(rules: Vec<Rule>) -> Rules {
    let (rules, problems) = Rules::compile(rules);
    assert_eq!(problems, []);
    rules
}

fn own() -> Rules {
    compiled(traffic::rules::own())
}

#[test]
fn crowdsecs_virtual_patches_recognise_the_requests_of_their_own_tests() {
    let rules = compiled(hub());
    let known: BTreeMap<&str, &str> =
        rules.signatures().iter().map(|signature| (signature.file.as_str(), signature.id.as_str())).collect();
    let mut groups: BTreeMap<String, bool> = BTreeMap::new();
    for record in records("crowdsec-vpatch-tests.jsonl") {
        let wanted: Vec<&str> = record
            .rules
            .iter()
            .filter_map(|path| known.get(path.rsplit('/').next().unwrap_or_default()).copied())
            .collect();
        // A few tests are of rules that are not at hand.
        if wanted.is_empty() {
            continue;
        }
        let hits = judged(&rules, &record.req);
        let found = wanted.iter().any(|id| hits.contains(*id));
        *groups.entry(record.group.unwrap_or(record.id)).or_default() |= found;
    }
    let missed: Vec<&String> = groups.iter().filter(|(_, found)| !**found).map(|(group, _)| group).collect();
    // These four requests carry a placeholder where the attack would be.
    let empty = ["CVE-2024-22024", "CVE-2024-29849", "vpatch-CVE-2022-24086", "vpatch-CVE-2025-24893"];
    assert_eq!(missed, empty, "{} of {}", missed.len(), groups.len());
}

#[test]
fn requests_that_only_look_like_attacks_pass() {
    let (ours, theirs) = (own(), compiled(hub()));
    // Their owners use what the rule is about: phpMyAdmin, Telerik, a page on .env files; one tells of Log4Shell. The two
    // with rpc2 and the upload are known of CrowdSec's rules: a rule is for hosts that have what it protects.
    let known = [
        "hb/dahua-rpc2",
        "hb/xmlrpc-rpc2",
        "hb/search-8",
        "hb/phpmyadmin",
        "hb/env-doc",
        "hb/wp-uploads",
        "hb/telerik",
    ];
    let mut taken = Vec::new();
    for name in ["evasion-control.jsonl", "real-log-benign.jsonl", "hard-benign.jsonl"] {
        for record in records(name) {
            let hits: Vec<String> =
                judged(&ours, &record.req).into_iter().chain(judged(&theirs, &record.req)).collect();
            if !hits.is_empty() && !known.contains(&record.id.as_str()) {
                taken.push(format!("{}: {hits:?}", record.id));
            }
        }
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
}

#[test]
fn attacks_in_disguise_are_recognised() {
    let rules = own();
    let mut missed = Vec::new();
    for record in records("evasion.jsonl") {
        // What is in a body is for live requests, and entities of HTML mean something in HTML only.
        if record.req.uri == "/app" || record.cls == "html-entity" {
            continue;
        }
        if judged(&rules, &record.req).is_empty() {
            missed.push(format!("{} {}", record.id, record.req.uri));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
