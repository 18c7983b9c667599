//! `palisade rules`: what recognises an attempt. Reads files, asks nobody.

use super::rule_files;
use super::session::{look, print};
use crate::cli::rules::{Asked, RulesCommand, Which};
use crate::output::listing;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;
use traffic::request::Fields;
use traffic::rules::{Example, Rule, RuleId, Rules, Scratch, builtin, read};

/// An example went wrong, a rule could not be read, or nothing recognises the request.
const EXIT_WRONG: u8 = 1;
/// What most access logs have of a request.
const COMMON_LOG: Fields = Fields::METHOD
    .with(Fields::PATH)
    .with(Fields::QUERY)
    .with(Fields::PROTOCOL)
    .with(Fields::RAW)
    .with(Fields::AGENT)
    .with(Fields::REFERER)
    .with(Fields::STATUS);

pub(crate) fn run(command: &RulesCommand, which: &Which) -> Result<ExitCode> {
    let (read, mut problems) = gather(which)?;
    let examples: Vec<Rule> = if matches!(command, RulesCommand::Test) { read.clone() } else { Vec::new() };
    let (rules, more) = Rules::compile(read);
    problems.extend(more.iter().map(ToString::to_string));
    for problem in &problems {
        eprintln!("palisade: {problem}");
    }
    let whole = if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_WRONG) };
    match command {
        RulesCommand::List => {
            list(&rules, which.json)?;
            Ok(whole)
        }
        RulesCommand::Show { id } => show(&rules, id, which.json),
        RulesCommand::Test => {
            let right = test(&rules, &examples, which.json)?;
            Ok(if right { whole } else { ExitCode::from(EXIT_WRONG) })
        }
        RulesCommand::Patterns => {
            let patterns = rules.patterns();
            let text =
                if which.json { serde_json::to_string_pretty(&patterns)? } else { patterns.join("\n") };
            print(&(text + "\n"))?;
            Ok(whole)
        }
        RulesCommand::Explain(asked) => explain(&rules, asked, which.json),
    }
}

/// The rules that are asked for, and what could not be read.
fn gather(which: &Which) -> Result<(Vec<Rule>, Vec<String>)> {
    let mut rules = Vec::new();
    let mut problems = Vec::new();
    let mut take = |name: &str, text: &str| {
        let (read, wrong) = read(name, text);
        rules.extend(read);
        problems.extend(wrong.iter().map(ToString::to_string));
    };
    if !which.without_own {
        for (name, text) in builtin() {
            take(name, text);
        }
    }
    let (theirs, unread) = agent::census::rule_files::read(&which.rules);
    if let Some(problem) = unread.into_iter().next() {
        bail!("{problem}");
    }
    for (name, bytes) in theirs {
        take(&name, &String::from_utf8_lossy(&bytes));
    }
    Ok((rules, problems))
}

/// Everything that is told of each rule, by its id.
fn told(rules: &Rules) -> Result<Vec<Value>> {
    let lacking: BTreeMap<RuleId, Fields> = rules.unjudged(COMMON_LOG).into_iter().collect();
    let blind: Vec<RuleId> = rules.sieve().blind().collect();
    let mut told = Vec::new();
    for (rule, signature) in (0..).map(RuleId).zip(rules.signatures()) {
        let mut value = serde_json::to_value(signature)?;
        let needs: Vec<&str> = lacking.get(&rule).into_iter().flat_map(|fields| fields.names()).collect();
        value["needs_beyond_common_logs"] = json!(needs);
        if let Some(calendar) = &signature.calendar {
            value["awake"] = json!(calendar.to_string());
        }
        value["looks_at_every_line"] = json!(blind.contains(&rule));
        told.push(value);
    }
    Ok(told)
}

fn list(rules: &Rules, json: bool) -> Result<ExitCode> {
    let told = told(rules)?;
    if json {
        return print(&(serde_json::to_string_pretty(&told)? + "\n"));
    }
    let columns = [
        ("id", "/id"),
        ("names", "/names"),
        ("since", "/first_seen"),
        ("holes", "/cves"),
        ("needs", "/needs_beyond_common_logs"),
    ];
    print(&listing::table(&told, &columns, look()))
}

fn show(rules: &Rules, id: &str, json: bool) -> Result<ExitCode> {
    let Some(RuleId(place)) = rules.find(id) else {
        let near = rule_files::nearest(rules, id);
        bail!("show rule {id}: there is none of that id; the nearest is {}", near.unwrap_or("none"));
    };
    let told = told(rules)?.swap_remove(usize::from(place));
    if json {
        return print(&(serde_json::to_string_pretty(&told)? + "\n"));
    }
    let rows = [
        ("id", "/id"),
        ("names", "/names"),
        ("what it is", "/description"),
        ("holes", "/cves"),
        ("bulletin", "/advisory"),
        ("first seen", "/first_seen"),
        ("references", "/references"),
        ("rule by", "/author"),
        ("visits", "/visit"),
        ("calendar", "/awake"),
        ("needs", "/needs_beyond_common_logs"),
        ("looks at every line", "/looks_at_every_line"),
        ("file", "/file"),
    ];
    print(&listing::card(&told, &rows))
}

/// Whether every example went as its rule says.
fn test(rules: &Rules, read: &[Rule], json: bool) -> Result<bool> {
    let mut wrong = Vec::new();
    let mut held = 0;
    for rule in read {
        let id = rule.signature.id.as_str();
        let lists = [(&rule.examples.recognised, true), (&rule.examples.passed, false)];
        for (example, wanted) in
            lists.into_iter().flat_map(|(list, wanted)| list.iter().map(move |one| (one, wanted)))
        {
            held += 1;
            let what = if recognises(rules, id, example) != wanted {
                if wanted { "is not recognised" } else { "is recognised and should not be" }
            } else if wanted && rules.sieve().next(example.logged().as_bytes(), 0).is_none() {
                "is lost in the sieve"
            } else {
                continue;
            };
            wrong.push(json!({ "id": id, "line": example.line, "what": what, "file": rule.signature.file }));
        }
    }
    let without = read.iter().filter(|rule| rule.examples.recognised.is_empty()).count();
    if json {
        let told =
            json!({ "rules": read.len(), "examples": held, "without_examples": without, "wrong": wrong });
        print(&(serde_json::to_string_pretty(&told)? + "\n"))?;
    } else {
        let mut lines: Vec<String> = Vec::new();
        for one in &wrong {
            let part = |name: &str| one[name].as_str().unwrap_or_default();
            lines.push(format!("{}: {} {}", part("id"), part("line"), part("what")));
        }
        let bare = if without > 0 { format!("; {without} rules have no examples") } else { String::new() };
        lines.push(format!("{} rules, {held} examples, {} wrong{bare}\n", read.len(), wrong.len()));
        print(&lines.join("\n"))?;
    }
    Ok(wrong.is_empty())
}

fn recognises(rules: &Rules, id: &str, example: &Example) -> bool {
    let mut hits = Vec::new();
    example.show(|request| rules.judge(request, &mut Scratch::default(), &mut hits));
    rules.find(id).is_some_and(|rule| hits.contains(&rule))
}

fn explain(rules: &Rules, asked: &Asked, json: bool) -> Result<ExitCode> {
    let mut headers = BTreeMap::new();
    for header in &asked.header {
        let Some((name, value)) = header.split_once(':') else {
            bail!("explain request: {header:?} is no header; write it as \"NAME: VALUE\"");
        };
        headers.insert(name.trim().to_owned(), value.trim().to_owned());
    }
    let example = Example {
        line: asked.line.clone(),
        headers,
        body: asked.body.clone(),
        status: asked.status,
        without_query: false,
    };
    let told = example.show(|request| rules.explain(request));
    let text = if json { serde_json::to_string_pretty(&told)? + "\n" } else { told.to_string() };
    print(&text)?;
    Ok(if told.matches.is_empty() { ExitCode::from(EXIT_WRONG) } else { ExitCode::SUCCESS })
}
