//! Reads files of rules, whatever they are written in.

use super::{Rule, failregex, scenario, sigma, vpatch};
use advisory::problem::Problem;
use serde_json::Value;

const OPERATION: &str = "read rules";

/// The rules of a file, and what could not be read of it.
///
/// Read are CrowdSec's virtual patches (ours are those, with a few more keys), its scenarios, Sigma rules of web servers
/// and fail2ban's filters. `name` is the file's name; by its ending `.conf` a filter is known.
pub fn read(name: &str, text: &str) -> (Vec<Rule>, Vec<Problem>) {
    if failregex::is_filter(name, text) {
        return match failregex::rule(name, text) {
            Ok(rule) => (vec![rule], Vec::new()),
            Err(problem) => (Vec::new(), vec![problem]),
        };
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let documents: Vec<Value> = match serde_saphyr::from_multiple_with_options(text, options) {
        Ok(documents) => documents,
        Err(problem) => return (Vec::new(), vec![Problem::new(OPERATION, name, problem)]),
    };
    if documents.is_empty() {
        return (Vec::new(), vec![Problem::new(OPERATION, name, "the file is empty")]);
    }
    let mut rules = Vec::new();
    let mut problems = Vec::new();
    for document in documents {
        let object = match document.get("name").or_else(|| document.get("title")).and_then(Value::as_str) {
            Some(title) => format!("{title} of {name}"),
            None => name.to_owned(),
        };
        let read = if document.get("rules").is_some() {
            vpatch::rule(name, document)
        } else if document.get("detection").is_some() {
            sigma::rule(name, document)
        } else if document.get("filter").is_some() {
            scenario::rule(name, document)
        } else if document.get("seclang_rules").is_some() || document.get("seclang_files_rules").is_some() {
            Err("rules of ModSecurity's language are not read".to_owned())
        } else {
            Err("it has neither rules, a filter nor a detection".to_owned())
        };
        match read {
            Ok(rule) => rules.push(rule),
            Err(reason) => problems.push(Problem::new(OPERATION, object, reason)),
        }
    }
    (rules, problems)
}

/// What a word is not, and which known one it may be meant to be.
pub(super) fn unknown(what: &str, word: &str, known: impl Iterator<Item = &'static str>) -> String {
    let near = known
        .max_by(|one, other| strsim::jaro_winkler(one, word).total_cmp(&strsim::jaro_winkler(other, word)));
    match near {
        Some(near) if strsim::jaro_winkler(near, word) > 0.7 => {
            format!("there is no {what} {word:?}; {near:?} may be meant")
        }
        _ => format!("there is no {what} {word:?}"),
    }
}
