//! CrowdSec's scenarios of HTTP, as far as their filter says what one request looks like.
//!
//! A scenario may wait for several such requests before it speaks; a census counts each.

use super::condition::{Condition, Matching, Test, Transform, Zone};
use super::expression::{Comparison, Expression, Operand, expression};
use super::read::unknown;
use super::vpatch::one_or;
use super::{Rule, Signature};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Document {
    name: String,
    #[serde(default)]
    description: String,
    filter: String,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    references: Vec<String>,
}

#[derive(Default, Deserialize)]
struct Labels {
    label: Option<String>,
    cve: Option<String>,
    #[serde(default)]
    classification: Vec<String>,
}

/// CrowdSec's names of what its parsers make of a line, and where we have it.
const FIELDS: [(&str, Zone, &str); 14] = [
    ("evt.Meta.http_path", Zone::UriFull, ""),
    ("evt.Parsed.request", Zone::Uri, ""),
    ("evt.Parsed.http_args", Zone::Query, ""),
    ("evt.Parsed.verb", Zone::Method, ""),
    ("evt.Meta.http_verb", Zone::Method, ""),
    ("evt.Parsed.http_version", Zone::Protocol, ""),
    ("evt.Meta.http_status", Zone::Status, ""),
    ("evt.Parsed.status", Zone::Status, ""),
    ("evt.Parsed.http_user_agent", Zone::Headers, "User-Agent"),
    ("evt.Meta.http_user_agent", Zone::Headers, "User-Agent"),
    ("evt.Parsed.http_referer", Zone::Headers, "Referer"),
    ("evt.Meta.http_referer", Zone::Headers, "Referer"),
    ("evt.Parsed.target_fqdn", Zone::Headers, "Host"),
    ("evt.Meta.target_fqdn", Zone::Headers, "Host"),
];

/// What a part of a filter says of every request of an access log, or of one.
enum Part {
    Always(bool),
    When(Condition),
}

/// The rule that a document is.
pub(super) fn rule(file: &str, document: Value) -> Result<Rule, String> {
    let document: Document = serde_json::from_value(document).map_err(|problem| problem.to_string())?;
    let condition = match part(&expression(&document.filter)?)? {
        Part::When(condition) => condition,
        Part::Always(true) => return Err("its filter takes every request".to_owned()),
        Part::Always(false) => return Err("its filter is not about requests in access logs".to_owned()),
    };
    let classified = document.labels.classification.iter().filter_map(|class| class.strip_prefix("cve."));
    let mut cves: Vec<String> = classified.map(str::to_owned).chain(document.labels.cve).collect();
    cves.dedup();
    let signature = Signature {
        // A virtual patch against the same hole has its number in its name, too.
        id: document.name,
        names: document.labels.label.into_iter().collect(),
        description: document.description,
        cves,
        references: document.references,
        file: file.to_owned(),
        ..Signature::default()
    };
    Ok(Rule { signature, condition, examples: super::Examples::default() })
}

fn part(expression: &Expression) -> Result<Part, String> {
    match expression {
        Expression::All(parts) => {
            let mut conditions = Vec::new();
            for one in parts {
                match part(one)? {
                    Part::Always(true) => {}
                    Part::Always(false) => return Ok(Part::Always(false)),
                    Part::When(condition) => conditions.push(condition),
                }
            }
            Ok(one_or(conditions, Condition::All).map_or(Part::Always(true), Part::When))
        }
        Expression::Any(parts) => {
            let mut conditions = Vec::new();
            for one in parts {
                match part(one)? {
                    Part::Always(true) => return Ok(Part::Always(true)),
                    Part::Always(false) => {}
                    Part::When(condition) => conditions.push(condition),
                }
            }
            Ok(one_or(conditions, Condition::Any).map_or(Part::Always(false), Part::When))
        }
        Expression::Not(inner) => Ok(match part(inner)? {
            Part::Always(holds) => Part::Always(!holds),
            Part::When(condition) => Part::When(Condition::Not(Box::new(condition))),
        }),
        Expression::Compare { left, comparison, right } => compare(left, *comparison, right),
    }
}

fn compare(left: &Operand, comparison: Comparison, right: &[String]) -> Result<Part, String> {
    // An access log's entries are these, whatever wrote them.
    let ours = match left.name.as_str() {
        "evt.Meta.service" => Some("http"),
        "evt.Meta.log_type" => Some("http_access-log"),
        _ => None,
    };
    if let Some(ours) = ours {
        if comparison != Comparison::Equals {
            return Err(format!("{} is compared in a way that is not understood", left.name));
        }
        return Ok(Part::Always(right.iter().any(|value| value == ours)));
    }
    let known = FIELDS.iter().find(|(name, _, _)| *name == left.name);
    let (_, zone, header) =
        known.ok_or_else(|| unknown("field", &left.name, FIELDS.iter().map(|(name, _, _)| *name)))?;
    let transforms = left.functions.iter().map(|name| transform(name)).collect::<Result<Vec<_>, _>>()?;
    let test = |value: &String| {
        let value = value.clone();
        Condition::Test(Test {
            zones: vec![*zone],
            variables: if header.is_empty() { Vec::new() } else { vec![(*header).to_owned()] },
            views: Vec::new(),
            transforms: transforms.clone(),
            matching: match comparison {
                Comparison::Equals => Matching::Equals(value),
                Comparison::Contains => Matching::Contains(value),
                Comparison::StartsWith => Matching::StartsWith(value),
                Comparison::EndsWith => Matching::EndsWith(value),
                Comparison::Matches => Matching::Regex(value),
            },
        })
    };
    let parts = right.iter().map(test).collect();
    one_or(parts, Condition::Any).map(Part::When).ok_or_else(|| "it compares with an empty list".to_owned())
}

fn transform(function: &str) -> Result<Transform, String> {
    match function {
        "Upper" | "upper" => Ok(Transform::Uppercase),
        "Lower" | "lower" => Ok(Transform::Lowercase),
        "PathUnescape" | "QueryUnescape" => Ok(Transform::UrlDecode),
        "TrimSpace" | "trim" => Ok(Transform::Trim),
        "b64decode" | "fromBase64" => Ok(Transform::B64Decode),
        other => Err(format!("function {other} is not understood")),
    }
}
