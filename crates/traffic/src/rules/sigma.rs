//! Sigma rules of web servers. Their licence (DRL 1.1) asks that the author is told with every match.

use super::condition::{Condition, Matching, Test, Transform, Zone};
use super::read::unknown;
use super::vpatch::{one_or, written};
use super::{Rule, Signature};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Brackets inside brackets: no deeper than this.
const DEPTH_MAX: usize = 16;

#[derive(Deserialize)]
struct Document {
    title: String,
    id: Option<String>,
    #[serde(default)]
    description: String,
    author: Option<String>,
    #[serde(default)]
    references: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    logsource: LogSource,
    detection: Map<String, Value>,
}

#[derive(Deserialize)]
struct LogSource {
    category: Option<String>,
    product: Option<String>,
    service: Option<String>,
}

/// Sigma's names of fields, and where we have them. In `cs-uri-query` its rules look for paths as well.
const FIELDS: [(&str, Zone, &str); 18] = [
    ("cs-method", Zone::Method, ""),
    ("c-method", Zone::Method, ""),
    ("cs-uri-stem", Zone::Uri, ""),
    ("c-uri-stem", Zone::Uri, ""),
    ("cs-uri-query", Zone::UriFull, ""),
    ("c-uri-query", Zone::UriFull, ""),
    ("cs-uri", Zone::UriFull, ""),
    ("c-uri", Zone::UriFull, ""),
    ("sc-status", Zone::Status, ""),
    ("cs-version", Zone::Protocol, ""),
    ("cs-user-agent", Zone::Headers, "User-Agent"),
    ("c-useragent", Zone::Headers, "User-Agent"),
    ("cs-referer", Zone::Headers, "Referer"),
    ("cs-referrer", Zone::Headers, "Referer"),
    ("cs-cookie", Zone::Headers, "Cookie"),
    ("cs-host", Zone::Headers, "Host"),
    ("cs(user-agent)", Zone::Headers, "User-Agent"),
    ("cs(referer)", Zone::Headers, "Referer"),
];

/// The rule that a document is.
pub(super) fn rule(file: &str, document: Value) -> Result<Rule, String> {
    let document: Document = serde_json::from_value(document).map_err(|problem| problem.to_string())?;
    let source = &document.logsource;
    let web = source.category.as_deref() == Some("webserver")
        || ["apache", "nginx", "iis"]
            .iter()
            .any(|web| source.service.as_deref() == Some(web) || source.product.as_deref() == Some(web));
    if !web {
        return Err("it is not about web servers' logs".to_owned());
    }
    let mut selections = BTreeMap::new();
    for (name, selection) in &document.detection {
        if name != "condition" && name != "timeframe" {
            let read = selection_of(selection).map_err(|reason| format!("{name}: {reason}"))?;
            selections.insert(name.as_str(), read);
        }
    }
    let wanted = document.detection.get("condition").ok_or("it has no condition")?;
    let wanted = match wanted.as_array() {
        Some(several) => {
            several.iter().map(|one| format!("({})", written(one))).collect::<Vec<_>>().join(" or ")
        }
        None => written(wanted),
    };
    let condition = Reader { words: words(&wanted)?, at: 0, selections: &selections }.whole()?;
    // `cve.2022.46169` and `cve.2022-46169`
    let cves = document.tags.iter().filter_map(|tag| tag.strip_prefix("cve."));
    let signature = Signature {
        id: format!("sigma/{}", document.id.as_deref().unwrap_or(&document.title)),
        names: vec![document.title],
        description: document.description,
        cves: cves.map(|id| format!("CVE-{}", id.replace('.', "-"))).collect(),
        references: document.references,
        author: document.author,
        file: file.to_owned(),
        ..Signature::default()
    };
    Ok(Rule { signature, condition, examples: super::Examples::default() })
}

/// A map: every entry; a list of maps: one of them; a list of words: one of them, anywhere.
fn selection_of(selection: &Value) -> Result<Condition, String> {
    let all = |map: &Map<String, Value>| {
        let entries = map.iter().map(|(field, value)| entry(field, value)).collect::<Result<Vec<_>, _>>()?;
        one_or(entries, Condition::All).ok_or_else(|| "it is empty".to_owned())
    };
    let one = |item: &Value| match item.as_object() {
        Some(map) => all(map),
        None => text_test(&[(Zone::Line, ""), (Zone::Headers, "")], item, Kind::Contains),
    };
    let Some(list) = selection.as_array() else { return one(selection) };
    let parts = list.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    one_or(parts, Condition::Any).ok_or_else(|| "it is empty".to_owned())
}

#[derive(Clone, Copy)]
enum Kind {
    Equals,
    Contains,
    StartsWith,
    EndsWith,
    Regex,
}

fn entry(field: &str, value: &Value) -> Result<Condition, String> {
    let mut parts = field.split('|');
    let name = parts.next().unwrap_or_default().to_ascii_lowercase();
    let known = FIELDS.iter().find(|(known, _, _)| *known == name);
    let (_, zone, header) =
        known.ok_or_else(|| unknown("field", &name, FIELDS.iter().map(|(name, _, _)| *name)))?;
    let (mut kind, mut all) = (Kind::Equals, false);
    for modifier in parts {
        match modifier {
            "contains" => kind = Kind::Contains,
            "startswith" => kind = Kind::StartsWith,
            "endswith" => kind = Kind::EndsWith,
            "re" => kind = Kind::Regex,
            "all" => all = true,
            other => return Err(format!("modifier {other:?} is not understood")),
        }
    }
    let one = |value: &Value| text_test(&[(*zone, *header)], value, kind);
    let Value::Array(values) = value else { return one(value) };
    let parts = values.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let join = if all { Condition::All } else { Condition::Any };
    one_or(parts, join).ok_or_else(|| format!("{name} has no value"))
}

/// Sigma compares without regard to case; `*` and `?` stand for any text and any byte.
fn text_test(zones: &[(Zone, &str)], value: &Value, kind: Kind) -> Result<Condition, String> {
    if !(value.is_string() || value.is_number()) {
        return Err(format!("{value} is no text"));
    }
    let value = written(value);
    let plain = value.replace("\\*", "").replace("\\?", "");
    let matching = if matches!(kind, Kind::Regex) {
        Matching::Regex(value)
    } else if plain.contains(['*', '?']) && wild(&value) {
        Matching::Regex(glob(&value, kind))
    } else {
        let value = unescaped(&value).to_ascii_lowercase();
        match kind {
            Kind::Equals => Matching::Equals(value),
            Kind::StartsWith => Matching::StartsWith(value),
            Kind::EndsWith => Matching::EndsWith(value),
            Kind::Contains | Kind::Regex => Matching::Contains(value),
        }
    };
    let folded = !matches!(matching, Matching::Regex(_));
    let test = |zone: Zone, header: &str| {
        Condition::Test(Test {
            zones: vec![zone],
            variables: if header.is_empty() { Vec::new() } else { vec![header.to_owned()] },
            views: Vec::new(),
            transforms: if folded { vec![Transform::Lowercase] } else { Vec::new() },
            matching: matching.clone(),
        })
    };
    let tests = zones.iter().map(|(zone, header)| test(*zone, header)).collect();
    one_or(tests, Condition::Any).ok_or_else(|| "nowhere to look".to_owned())
}

/// Whether a wild card is in the text; what stands behind a backslash is none.
fn wild(text: &str) -> bool {
    let mut escaped = false;
    text.chars().any(|character| {
        let wild = !escaped && matches!(character, '*' | '?');
        escaped = !escaped && character == '\\';
        wild
    })
}

fn unescaped(text: &str) -> String {
    text.replace("\\*", "*").replace("\\?", "?").replace("\\\\", "\\")
}

fn glob(text: &str, kind: Kind) -> String {
    let mut pattern = String::from("(?i)");
    if matches!(kind, Kind::Equals | Kind::StartsWith) {
        pattern.push_str("\\A");
    }
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('*', _) => pattern.push_str(".*"),
            ('?', _) => pattern.push('.'),
            ('\\', Some(&next)) if matches!(next, '*' | '?' | '\\') => {
                characters.next();
                pattern.push_str(&regex_syntax::escape(&next.to_string()));
            }
            (other, _) => pattern.push_str(&regex_syntax::escape(&other.to_string())),
        }
    }
    if matches!(kind, Kind::Equals | Kind::EndsWith) {
        pattern.push_str("\\z");
    }
    pattern
}

fn words(condition: &str) -> Result<Vec<String>, String> {
    if condition.contains('|') {
        return Err("a condition that counts over time is not understood".to_owned());
    }
    let apart = condition.replace('(', " ( ").replace(')', " ) ");
    Ok(apart.split_whitespace().map(str::to_owned).collect())
}

/// Reads `selection and not (1 of filter_* or other)`.
struct Reader<'s> {
    words: Vec<String>,
    at: usize,
    selections: &'s BTreeMap<&'s str, Condition>,
}

impl Reader<'_> {
    fn whole(mut self) -> Result<Condition, String> {
        let condition = self.any(DEPTH_MAX)?;
        match self.words.get(self.at) {
            Some(word) => Err(format!("the condition goes on with {word:?}")),
            None => Ok(condition),
        }
    }

    fn next_is(&mut self, wanted: &str) -> bool {
        let is = self.words.get(self.at).is_some_and(|word| word.eq_ignore_ascii_case(wanted));
        self.at += usize::from(is);
        is
    }

    fn any(&mut self, depth: usize) -> Result<Condition, String> {
        let depth = depth.checked_sub(1).ok_or("the condition has more than 16 brackets in each other")?;
        let mut parts = vec![self.all(depth)?];
        while self.next_is("or") {
            parts.push(self.all(depth)?);
        }
        one_or(parts, Condition::Any).ok_or_else(|| "the condition is empty".to_owned())
    }

    fn all(&mut self, depth: usize) -> Result<Condition, String> {
        let mut parts = vec![self.one(depth)?];
        while self.next_is("and") {
            parts.push(self.one(depth)?);
        }
        one_or(parts, Condition::All).ok_or_else(|| "the condition is empty".to_owned())
    }

    fn one(&mut self, depth: usize) -> Result<Condition, String> {
        let mut not = false;
        while self.next_is("not") {
            not = !not;
        }
        let condition = if self.next_is("(") {
            let inner = self.any(depth)?;
            if !self.next_is(")") {
                return Err("a bracket of the condition is not closed".to_owned());
            }
            inner
        } else {
            self.named()?
        };
        Ok(if not { Condition::Not(Box::new(condition)) } else { condition })
    }

    fn named(&mut self) -> Result<Condition, String> {
        let word = self.words.get(self.at).cloned().ok_or("the condition breaks off")?;
        self.at += 1;
        let join = match word.to_ascii_lowercase().as_str() {
            "1" | "any" => Condition::Any as fn(Vec<Condition>) -> Condition,
            "all" => Condition::All,
            _ => {
                let known = self.selections.get(word.as_str()).cloned();
                return known.ok_or_else(|| format!("the condition names {word:?}, which is not there"));
            }
        };
        if !self.next_is("of") {
            return Err(format!("{word:?} is not followed by \"of\""));
        }
        let pattern = self.words.get(self.at).cloned().ok_or("the condition breaks off")?;
        self.at += 1;
        let head = if pattern.eq_ignore_ascii_case("them") { Some("") } else { pattern.strip_suffix('*') };
        let meant = |name: &str| head.map_or(name == pattern, |head| name.starts_with(head));
        let parts = self.selections.iter().filter(|(name, _)| meant(name)).map(|(_, part)| part.clone());
        one_or(parts.collect(), join).ok_or_else(|| format!("nothing is named like {pattern:?}"))
    }
}
