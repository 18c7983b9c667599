//! Our own rules: each recognises what it says it does, passes what only looks like it, and is never lost in the sieve.

use std::collections::BTreeSet;
use std::path::Path;
use traffic::request::Fields;
use traffic::rules::{Example, Rule, RuleId, Rules, Scratch, builtin, read};

/// Every rule of ours, none with a problem.
fn own() -> Vec<Rule> {
    let mut rules = Vec::new();
    for (name, text) in builtin() {
        let (read, problems) = read(name, text);
        assert_eq!(problems, [], "{name}");
        rules.extend(read);
    }
    rules
}

fn compiled() -> Rules {
    let (rules, problems) = Rules::compile(own());
    assert_eq!(problems, []);
    rules
}

fn judged(rules: &Rules, example: &Example) -> BTreeSet<String> {
    let mut hits = Vec::new();
    example.show(|request| rules.judge(request, &mut Scratch::default(), &mut hits));
    hits.into_iter().map(|RuleId(rule)| rules.signatures()[usize::from(rule)].id.clone()).collect()
}

#[test]
fn each_rule_recognises_its_attempts_and_passes_what_looks_like_them() {
    let rules = compiled();
    for rule in own() {
        let id = &rule.signature.id;
        assert!(
            !rule.examples.recognised.is_empty() && !rule.examples.passed.is_empty(),
            "{id} lacks examples"
        );
        for example in &rule.examples.recognised {
            assert!(judged(&rules, example).contains(id), "{id} misses {}", example.line);
        }
        for example in &rule.examples.passed {
            assert!(!judged(&rules, example).contains(id), "{id} takes {}", example.line);
        }
    }
}

#[test]
fn the_sieve_keeps_every_attempt() {
    let rules = compiled();
    let blind = rules.sieve().blind().map(|RuleId(rule)| &rules.signatures()[usize::from(rule)].id);
    assert_eq!(blind.collect::<Vec<_>>(), Vec::<&String>::new(), "these rules have nothing to look for");
    for rule in own() {
        for example in &rule.examples.recognised {
            let line = example.logged();
            assert!(rules.sieve().next(line.as_bytes(), 0).is_some(), "{}: {line}", rule.signature.id);
        }
    }
}

#[test]
fn every_file_of_rules_is_built_in() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rules");
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| format!("rules/{}", entry.unwrap().file_name().to_string_lossy()))
        .collect();
    let built: BTreeSet<String> = builtin().iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(there, built);
}

#[test]
fn a_source_without_queries_says_which_rules_it_cannot_judge() {
    let rules = compiled();
    let fields = Fields::ALL.without(Fields::QUERY);
    let unjudged: Vec<(String, Fields)> = rules
        .unjudged(fields)
        .into_iter()
        .map(|(RuleId(rule), lacks)| (rules.signatures()[usize::from(rule)].id.clone(), lacks))
        .collect();
    assert!(unjudged.contains(&("codered1".to_owned(), Fields::QUERY)), "{unjudged:?}");
    assert!(!unjudged.iter().any(|(id, _)| id == "codered-variant-unknown" || id == "nimda-cmdexe"));
    assert_eq!(rules.unjudged(Fields::ALL), []);
}
