//! fail2ban's filters: their regular expressions, held against what Apache's combined log would have of a request.

use super::condition::{Condition, Matching, Test, Zone};
use super::vpatch::one_or;
use super::{Rule, Signature};
use advisory::problem::Problem;
use regex::Regex;
use std::collections::BTreeMap;
use std::path::Path;

/// References are replaced this often: what refers to itself ends.
const PASSES_MAX: usize = 8;
/// A pattern that has grown past this is refused: 64 KiB.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// Whether a text is a filter and no YAML.
pub(super) fn is_filter(name: &str, text: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending.eq_ignore_ascii_case("conf"))
        || text.lines().any(|line| line.trim() == "[Definition]")
}

/// The rule that a filter is.
///
/// The address is in no request, so that its place matches anything: what is recognised is what was sent.
pub(super) fn rule(file: &str, text: &str) -> Result<Rule, Problem> {
    let problem = |reason: &str| Problem::new("read rules", file, reason);
    let values = values(text);
    let patterns = |key: &str| {
        let lines = values.get(key).map(String::as_str).unwrap_or_default().lines();
        lines
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| pattern(line, &values))
            .collect::<Result<Vec<_>, _>>()
    };
    let unresolved = |reason: String| {
        problem(&reason)
            .remedy("put what the filter includes into one file with it; \"fail2ban-client -d\" shows it")
    };
    let fails = patterns("failregex").map_err(unresolved)?;
    let ignored = patterns("ignoreregex").map_err(unresolved)?;
    let fails = one_or(fails, Condition::Any).ok_or_else(|| problem("it has no failregex"))?;
    let condition = match one_or(ignored, Condition::Any) {
        Some(ignored) => Condition::All(vec![fails, Condition::Not(Box::new(ignored))]),
        None => fails,
    };
    let stem = file.rsplit('/').next().unwrap_or(file);
    let stem = stem.strip_suffix(".conf").unwrap_or(stem);
    let signature = Signature {
        id: format!("fail2ban/{stem}"),
        names: vec![stem.to_owned()],
        description: format!("fail2ban's filter {stem}"),
        file: file.to_owned(),
        ..Signature::default()
    };
    Ok(Rule { signature, condition, examples: super::Examples::default() })
}

/// Keys and values of all sections; a line that begins with white space goes on with the value before it.
fn values(text: &str) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut last: Option<String> = None;
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with(['#', ';']) || line.starts_with('[') {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            if let Some(value) = last.as_ref().and_then(|key| values.get_mut(key)) {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once('=') {
            values.insert(key.trim().to_owned(), value.trim().to_owned());
            last = Some(key.trim().to_owned());
        }
    }
    values
}

/// One regular expression, references replaced.
fn pattern(line: &str, values: &BTreeMap<String, String>) -> Result<Condition, String> {
    // `%(name)s` and `<name>` refer to values; `<F-NAME>` and `</F-NAME>` only name a part.
    let reference = Regex::new(r"%\((?<old>[^)]+)\)s|</?F-[A-Z0-9_/-]+>|<(?<new>[A-Za-z_][A-Za-z0-9_-]*)>")
        .expect("the pattern is ours");
    let mut pattern = line.to_owned();
    for _ in 0..PASSES_MAX {
        let mut missing = None;
        let replaced = reference.replace_all(&pattern, |found: &regex::Captures<'_>| {
            let whole = &found[0];
            // `(?P<name>` of Python.
            let at = found.get(0).map_or(0, |found| found.start());
            if pattern[..at].ends_with("(?P") {
                return whole.to_owned();
            }
            let Some(name) = found.name("old").or_else(|| found.name("new")) else { return String::new() };
            match name.as_str() {
                "HOST" | "ADDR" | "IP4" | "IP6" | "CIDR" | "SUBNET" | "DNS" => r"\S+".to_owned(),
                "SKIPLINES" => String::new(),
                name => values.get(name).cloned().unwrap_or_else(|| {
                    missing = Some(name.to_owned());
                    String::new()
                }),
            }
        });
        if let Some(missing) = missing {
            return Err(format!("{line:?} refers to {missing}, which is not in the file"));
        }
        if replaced.len() > PATTERN_BYTES_MAX {
            return Err(format!("{line:?} grows past 64 KiB"));
        }
        let done = replaced == pattern;
        pattern = replaced.into_owned();
        if done {
            break;
        }
    }
    // In configuration files a percent sign is written twice.
    Ok(Condition::Test(Test {
        zones: vec![Zone::Entry],
        variables: Vec::new(),
        views: Vec::new(),
        transforms: Vec::new(),
        matching: Matching::Regex(pattern.replace("%%", "%")),
    }))
}
