//! CrowdSec's virtual patches, and ours, which are the same with a few keys more.

use super::condition::{Condition, Matching, Order, Test, Transform, Zone};
use super::example::Examples;
use super::read::unknown;
use super::{Rule, Signature, Visit};
use crate::forecast::Calendar;
use crate::request::View;
use serde::Deserialize;
use serde_json::Value;

/// Conditions inside conditions: no deeper than this.
const DEPTH_MAX: usize = 16;

#[derive(Deserialize)]
struct Document {
    name: String,
    #[serde(default)]
    description: String,
    rules: Vec<Item>,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    references: Vec<String>,
    /// Ours.
    signature: Option<About>,
    /// Ours.
    #[serde(default)]
    examples: Examples,
}

#[derive(Default, Deserialize)]
struct Labels {
    label: Option<String>,
    #[serde(default)]
    classification: Vec<String>,
    #[serde(default)]
    references: Vec<String>,
}

/// What we tell of a signature beyond CrowdSec's keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    #[serde(default)]
    names: Vec<String>,
    advisory: Option<String>,
    first_seen: Option<i16>,
    visit: Option<AboutVisit>,
    #[serde(default)]
    fragment: bool,
    calendar: Option<Calendar>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AboutVisit {
    name: String,
    seconds: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    and: Option<Vec<Item>>,
    or: Option<Vec<Item>>,
    #[serde(default)]
    zones: Vec<String>,
    #[serde(default)]
    variables: Vec<Value>,
    #[serde(default)]
    transform: Vec<String>,
    /// Ours: which readings of a text to look at.
    #[serde(default)]
    views: Vec<String>,
    #[serde(rename = "match")]
    matching: Option<Match>,
    /// How CrowdSec's engine is to read the body; here its content type says it.
    #[serde(rename = "body_type")]
    _body_type: Option<String>,
    /// CrowdSec's name of a part.
    #[serde(rename = "name")]
    _name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Match {
    #[serde(rename = "type")]
    kind: String,
    value: Option<Value>,
    #[serde(default)]
    not: bool,
}

/// The rule that a document is.
pub(super) fn rule(file: &str, document: Value) -> Result<Rule, String> {
    let document: Document = serde_json::from_value(document).map_err(|problem| problem.to_string())?;
    let parts = conditions(document.rules, DEPTH_MAX)?;
    let condition = one_or(parts, Condition::Any).ok_or("it has no conditions")?;
    let cves = document.labels.classification.iter().filter_map(|class| {
        let (kind, id) = class.split_once('.')?;
        kind.eq_ignore_ascii_case("cve").then(|| id.to_ascii_uppercase())
    });
    let about = document.signature;
    let names = about.as_ref().map(|about| about.names.clone()).unwrap_or_default();
    let signature = Signature {
        id: document.name,
        names: if names.is_empty() { document.labels.label.into_iter().collect() } else { names },
        description: document.description,
        cves: cves.collect(),
        references: [document.references, document.labels.references].concat(),
        advisory: about.as_ref().and_then(|about| about.advisory.clone()),
        first_seen: about.as_ref().and_then(|about| about.first_seen),
        author: None,
        fragment: about.as_ref().is_some_and(|about| about.fragment),
        calendar: about.as_ref().and_then(|about| about.calendar.clone()),
        visit: about
            .and_then(|about| about.visit)
            .map(|AboutVisit { name, seconds }| Visit { name, seconds }),
        file: file.to_owned(),
    };
    Ok(Rule { signature, condition, examples: document.examples })
}

fn conditions(items: Vec<Item>, depth: usize) -> Result<Vec<Condition>, String> {
    let depth = depth.checked_sub(1).ok_or("conditions lie in each other more than 16 deep")?;
    items.into_iter().map(|item| condition(item, depth)).collect()
}

fn condition(item: Item, depth: usize) -> Result<Condition, String> {
    match (item.and, item.or, item.matching) {
        (Some(parts), None, None) => {
            one_or(conditions(parts, depth)?, Condition::All).ok_or_else(|| "\"and\" is empty".to_owned())
        }
        (None, Some(parts), None) => {
            one_or(conditions(parts, depth)?, Condition::Any).ok_or_else(|| "\"or\" is empty".to_owned())
        }
        (None, None, Some(matching)) => {
            let not = matching.not;
            let test = Test {
                zones: words(&item.zones, "zone", Zone::named, Zone::names())?,
                variables: item.variables.iter().map(written).collect(),
                views: words(&item.views, "view", View::named, View::ALL.iter().map(|view| view.name()))?,
                transforms: words(&item.transform, "transform", Transform::named, Transform::names())?,
                matching: matching.read()?,
            };
            if test.zones.is_empty() {
                return Err("a condition names no zone".to_owned());
            }
            let test = Condition::Test(test);
            Ok(if not { Condition::Not(Box::new(test)) } else { test })
        }
        _ => Err("a condition has to have one of \"and\", \"or\" and \"match\"".to_owned()),
    }
}

/// What words of a rule name; one that is not known is told with the nearest that is.
fn words<T>(
    words: &[String],
    what: &str,
    named: fn(&str) -> Option<T>,
    known: impl Iterator<Item = &'static str>,
) -> Result<Vec<T>, String> {
    let mut known = Some(known);
    words
        .iter()
        .map(|word| named(word).ok_or_else(|| unknown(what, word, known.take().into_iter().flatten())))
        .collect()
}

/// A list of one is that one; an empty one is nothing.
pub(super) fn one_or(mut parts: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Option<Condition> {
    if parts.len() > 1 { Some(join(parts)) } else { parts.pop() }
}

/// A value as a person wrote it: YAML reads `404` as a number.
pub(super) fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Match {
    fn read(self) -> Result<Matching, String> {
        const KINDS: [&str; 13] = [
            "equals",
            "contains",
            "startsWith",
            "endsWith",
            "regex",
            "libinjectionSQL",
            "libinjectionXSS",
            "gt",
            "gte",
            "lt",
            "lte",
            "eq",
            "unlogged",
        ];
        let simple = match self.kind.as_str() {
            "libinjectionSQL" => Some(Matching::Sqli),
            "libinjectionXSS" => Some(Matching::Xss),
            "unlogged" => Some(Matching::Unlogged),
            _ => None,
        };
        if let Some(matching) = simple {
            return Ok(matching);
        }
        let value =
            self.value.as_ref().map(written).ok_or_else(|| format!("a match {:?} has no value", self.kind));
        let number = |order| {
            let value = value.clone()?;
            let number = value.trim().parse().map_err(|_| format!("{value:?} is no number"))?;
            Ok(Matching::Number(order, number))
        };
        match self.kind.as_str() {
            "equals" => value.map(Matching::Equals),
            "contains" => value.map(Matching::Contains),
            "startsWith" => value.map(Matching::StartsWith),
            "endsWith" => value.map(Matching::EndsWith),
            "regex" => value.map(Matching::Regex),
            "gt" => number(Order::Greater),
            "gte" => number(Order::AtLeast),
            "lt" => number(Order::Less),
            "lte" => number(Order::AtMost),
            "eq" => number(Order::Same),
            kind => Err(unknown("match", kind, KINDS.into_iter())),
        }
    }
}
