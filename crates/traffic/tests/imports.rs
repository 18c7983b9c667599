//! Rules that others write: understood as they mean them, or refused with the reason. The texts are ours, in their shapes.

use std::collections::BTreeSet;
use traffic::request::{Field, Request};
use traffic::rules::{RuleId, Rules, Scratch, read};

fn rules(name: &str, text: &str) -> Rules {
    let (rules, problems) = read(name, text);
    assert_eq!(problems, [], "{name}");
    let (rules, problems) = Rules::compile(rules);
    assert_eq!(problems, [], "{name}");
    rules
}

fn refused(name: &str, text: &str) -> String {
    let (rules, mut problems) = read(name, text);
    problems.extend(Rules::compile(rules).1);
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn judged(rules: &Rules, line: &str, agent: &str, status: u16) -> BTreeSet<String> {
    let request = Request {
        agent: Field::Is(agent.as_bytes()),
        referer: Field::Absent,
        status: Some(status),
        ..Request::of_line(line.as_bytes())
    };
    let mut hits = Vec::new();
    rules.judge(&request, &mut Scratch::default(), &mut hits);
    hits.into_iter().map(|RuleId(rule)| rules.signatures()[usize::from(rule)].id.clone()).collect()
}

const SIGMA: &str = "\
title: A shop's back door
id: 11111111-2222-3333-4444-555555555555
description: Somebody opens it
author: Ada Example
tags: [attack.t1190, cve.2031.1234]
logsource: {category: webserver}
detection:
  selection_path:
    cs-method: POST
    cs-uri-stem|endswith: ['/door.php', '/hatch.php']
  selection_query:
    cs-uri-query|contains|all: ['key=', 'open']
  words:
    - 'sesame opens'
    - 'doo?r*knob'
  filter_ours:
    cs-user-agent|startswith: 'Shop-Monitor'
  filter_gone:
    sc-status: 410
  condition: (all of selection_* or words) and not 1 of filter_*
";

#[test]
fn a_sigma_rule_means_what_it_says_and_names_its_author() {
    let rules = rules("door.yml", SIGMA);
    let signature = &rules.signatures()[0];
    assert_eq!(signature.author.as_deref(), Some("Ada Example"));
    assert_eq!(signature.cves, ["CVE-2031-1234"]);
    let taken = |line, agent, status| !judged(&rules, line, agent, status).is_empty();
    assert!(taken("POST /Door.PHP?key=1&do=Open HTTP/1.1", "curl/8", 200));
    assert!(!taken("GET /door.php?key=1&do=open HTTP/1.1", "curl/8", 200));
    assert!(!taken("POST /door.php?key=1 HTTP/1.1", "curl/8", 200));
    assert!(!taken("POST /door.php?key=1&do=open HTTP/1.1", "Shop-Monitor/2", 200));
    assert!(!taken("POST /door.php?key=1&do=open HTTP/1.1", "curl/8", 410));
    assert!(taken("GET /?q=sesame%20opens HTTP/1.1", "curl/8", 200));
    assert!(taken("GET / HTTP/1.1", "the DOOxR and its knob", 200));
    let told = rules.explain(&Request {
        agent: Field::Is(b"sesame opens"),
        status: Some(200),
        ..Request::of_line(b"GET / HTTP/1.1")
    });
    assert!(told.to_string().contains("rule by Ada Example"), "{told}");
}

#[test]
fn a_sigma_rule_that_is_not_understood_says_why() {
    let other = |from: &str, to: &str| refused("door.yml", &SIGMA.replace(from, to));
    assert!(other("category: webserver", "category: process_creation").contains("not about web servers"));
    assert!(other("|contains|all", "|base64offset").contains("base64offset"));
    assert!(other("cs-uri-stem", "cs-uri-stam").contains("\"cs-uri-stem\" may be meant"));
    assert!(other("not 1 of filter_*", "not 1 of filter_* )").contains("goes on with"));
    assert!(other("or words", "or wards").contains("wards"));
    assert!(other("not 1 of filter_*", "not 1 of filters_*").contains("filters_*"));
}

const SCENARIO: &str = r#"
type: trigger
name: example/door
description: "Somebody opens the door"
filter: |
  evt.Meta.log_type in ["http_access-log", "http_error-log"] and
  evt.Meta.service == 'http' &&
  (
    Upper(evt.Meta.http_path) matches Upper('/door/[^.]+\\.php\\?(key|code)=')
    or (Lower(PathUnescape(evt.Parsed.http_args)) contains 'open ${sesame}' && evt.Parsed.verb != 'HEAD')
  ) and evt.Meta.http_status not in ['410', '411'] and !(Lower(evt.Parsed.http_user_agent) == 'shop monitor')
labels: {classification: [attack.T1190, cve.CVE-2031-1234], label: A door}
---
type: leaky
name: example/list
filter: evt.Meta.service == 'http' and RegexpInFile(evt.Meta.http_path, "doors.txt")
---
type: leaky
name: example/ssh
filter: evt.Meta.log_type == 'ssh_failed-auth'
"#;

#[test]
fn a_scenario_is_read_where_its_filter_says_what_one_request_looks_like() {
    let (read, problems) = read("door.yaml", SCENARIO);
    assert_eq!(problems.len(), 2);
    assert!(problems[0].to_string().contains("doors.txt"), "{}", problems[0]);
    assert!(problems[1].to_string().contains("not about requests"), "{}", problems[1]);
    let (rules, problems) = Rules::compile(read);
    assert_eq!(problems, []);
    assert_eq!(rules.signatures()[0].cves, ["CVE-2031-1234"]);
    let taken = |line, agent, status| !judged(&rules, line, agent, status).is_empty();
    assert!(taken("GET /door/front.php?key=1 HTTP/1.1", "curl/8", 200));
    assert!(taken("GET /d%6For/front.php?key=1 HTTP/1.1", "curl/8", 200));
    assert!(!taken("GET /door/front.php?lock=1 HTTP/1.1", "curl/8", 200));
    assert!(taken("GET /?do=open+%24%7BSesame%7D HTTP/1.1", "curl/8", 200));
    assert!(!taken("HEAD /?do=open+%24%7BSesame%7D HTTP/1.1", "curl/8", 200));
    assert!(!taken("GET /door/front.php?key=1 HTTP/1.1", "curl/8", 410));
    assert!(!taken("GET /door/front.php?key=1 HTTP/1.1", "Shop Monitor", 200));
}

const FILTER: &str = r#"
[Definition]
_methods = (?:GET|POST)
block = \S*(?P<what>door|hatch)\.php
failregex = ^<HOST> \S+ \S+ \[\] "%(_methods)s /<block>(?:\?\S*)? <F-PROTO>HTTP/[0-9.]+</F-PROTO>" (?:403|404) .+$
            ^<ADDR> -.*"sesame/\d+"$
ignoreregex = "shop monitor"$
datepattern = {^LN-BEG}
"#;

#[test]
fn a_failregex_is_held_against_what_apache_would_log() {
    let rules = rules("filter.d/door.conf", FILTER);
    assert_eq!(rules.signatures()[0].id, "fail2ban/door");
    let taken = |line, agent, status| !judged(&rules, line, agent, status).is_empty();
    assert!(taken("GET /shop/door.php?x=1 HTTP/1.1", "curl/8", 404));
    assert!(!taken("GET /shop/door.php?x=1 HTTP/1.1", "curl/8", 200));
    assert!(!taken("GET /shop/door.php HTTP/1.1", "shop monitor", 404));
    assert!(taken("GET / HTTP/1.1", "sesame/3", 200));
    let lacking = refused("door.conf", &FILTER.replace("block = ", "blocks = "));
    assert!(lacking.contains("refers to block"), "{lacking}");
    let ahead = refused("door.conf", &FILTER.replace("sesame/", "(?!x)sesame/"));
    assert!(ahead.contains("look-around"), "{ahead}");
}

#[test]
fn a_bad_rule_hides_no_other_and_names_what_may_be_meant() {
    let text = "\
name: good
rules: [{zones: [URI], match: {type: equals, value: /door}}]
---
name: bad
rules: [{zones: [URL], match: {type: equals, value: /door}}]
---
name: worse
rules: [{zones: [URI], transform: [lower-case], match: {type: equals, value: /door}}]
---
name: worst
rules: [{zones: [URI], match: {type: regex, value: '(door'}}]
---
name: good
rules: [{zones: [URI], match: {type: equals, value: /hatch}}]
";
    let (read, mut problems) = read("doors.yaml", text);
    let (rules, more) = Rules::compile(read);
    problems.extend(more);
    assert_eq!(rules.signatures().len(), 1);
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].contains("bad of doors.yaml") && told[0].contains("\"URI\" may be meant"), "{}", told[0]);
    assert!(told[1].contains("\"lowercase\" may be meant"), "{}", told[1]);
    assert!(told.iter().any(|told| told.contains("unclosed group")), "{told:?}");
    assert!(told.iter().any(|told| told.contains("the same name")), "{told:?}");
}
