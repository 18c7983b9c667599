//! Conditions made ready to run, and what they say of a request.

use super::condition::{Condition, Matching, Order, Test, Transform};
use super::explain::Evidence;
use super::names::Names;
use super::seen::Seen;
use crate::request::{Fields, View, Views};
use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder};
use std::borrow::Cow;

/// A regular expression that takes more than this when compiled is refused: 1 MiB.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A condition, compiled.
#[derive(Debug)]
pub(super) enum Program {
    Test(Box<Ready>),
    All(Vec<Program>),
    Any(Vec<Program>),
    Not(Box<Program>),
}

/// A test, compiled.
#[derive(Debug)]
pub(super) struct Ready {
    test: Test,
    /// The sets of parts of a request one of which it takes to answer.
    fields: Vec<Fields>,
    names: Names,
    pattern: Pattern,
}

#[derive(Debug)]
enum Pattern {
    Equals(Vec<u8>),
    Contains(Box<Finder<'static>>),
    StartsWith(Vec<u8>),
    EndsWith(Vec<u8>),
    Regex(Regex),
    Sqli,
    Xss,
    Number(Order, i64),
    /// Answered before any text is looked at.
    Unlogged,
}

/// What a condition says of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Yes,
    No,
    /// The source does not tell enough of the request.
    Unknown,
}

impl Program {
    /// Compiles a condition, or says what is wrong with it.
    pub(super) fn new(condition: &Condition) -> Result<Program, String> {
        let each = |parts: &[Condition]| parts.iter().map(Program::new).collect::<Result<Vec<_>, _>>();
        Ok(match condition {
            Condition::Test(test) => {
                let pattern = Pattern::new(&test.matching)?;
                let names = Names::new(&test.variables)?;
                Program::Test(Box::new(Ready { test: test.clone(), fields: test.fields(), names, pattern }))
            }
            Condition::All(parts) => Program::All(each(parts)?),
            Condition::Any(parts) => Program::Any(each(parts)?),
            Condition::Not(part) => Program::Not(Box::new(Program::new(part)?)),
        })
    }

    pub(super) fn answer(&self, seen: &Seen<'_>) -> Answer {
        match self {
            Program::Test(ready) => ready.answer(seen, None),
            Program::All(parts) => {
                let mut answer = Answer::Yes;
                for part in parts {
                    match part.answer(seen) {
                        Answer::No => return Answer::No,
                        Answer::Unknown => answer = Answer::Unknown,
                        Answer::Yes => {}
                    }
                }
                answer
            }
            Program::Any(parts) => {
                let mut answer = Answer::No;
                for part in parts {
                    match part.answer(seen) {
                        Answer::Yes => return Answer::Yes,
                        Answer::Unknown => answer = Answer::Unknown,
                        Answer::No => {}
                    }
                }
                answer
            }
            Program::Not(part) => match part.answer(seen) {
                Answer::Yes => Answer::No,
                Answer::No => Answer::Yes,
                Answer::Unknown => Answer::Unknown,
            },
        }
    }

    /// What made the condition hold: each test that did, with the text that it found.
    pub(super) fn evidence(&self, seen: &Seen<'_>, into: &mut Vec<Evidence>) {
        match self {
            Program::Test(ready) => {
                ready.answer(seen, Some(into));
            }
            Program::All(parts) | Program::Any(parts) => {
                for part in parts.iter().filter(|part| part.answer(seen) == Answer::Yes) {
                    part.evidence(seen, into);
                }
            }
            // What is not there cannot be shown.
            Program::Not(_) => {}
        }
    }
}

impl Ready {
    fn answer(&self, seen: &Seen<'_>, mut evidence: Option<&mut Vec<Evidence>>) -> Answer {
        let test = &self.test;
        let can_tell = seen.can_tell(&self.fields);
        if matches!(self.pattern, Pattern::Unlogged) {
            if let (false, Some(evidence)) = (can_tell, evidence) {
                evidence.push(Evidence::unlogged(test));
            }
            return if can_tell { Answer::No } else { Answer::Yes };
        }
        let unfound = if can_tell { Answer::No } else { Answer::Unknown };
        if test.counts() {
            return self.count(seen, unfound, evidence);
        }
        for &zone in &test.zones {
            let mut look = |name: &[u8], views: &Views<'_>| {
                let mut readings = views.each().filter(|(view, _)| test.wants(*view));
                let chosen = || test.views.iter().map(|&view| (view, views.read(view)));
                // A rule that names a reading means it also where it is the same text as an earlier one.
                let found = if test.views.is_empty() {
                    readings.find(|(_, text)| self.holds(text))
                } else {
                    chosen().find(|(_, text)| self.holds(text))
                };
                if let (Some((view, text)), Some(evidence)) = (found, evidence.as_deref_mut()) {
                    evidence.push(Evidence::found(test, zone, name, view, &self.transformed(text)));
                }
                found.is_some()
            };
            if seen.each(zone, &self.names, &mut look) {
                return Answer::Yes;
            }
        }
        unfound
    }

    fn count(&self, seen: &Seen<'_>, unfound: Answer, evidence: Option<&mut Vec<Evidence>>) -> Answer {
        if unfound == Answer::Unknown {
            return unfound;
        }
        let mut count = 0_usize;
        for &zone in &self.test.zones {
            seen.each(zone, &self.names, &mut |_, _| {
                count += 1;
                false
            });
        }
        let count = count.to_string();
        if !self.pattern.holds(count.as_bytes()) {
            return Answer::No;
        }
        if let (Some(evidence), Some(&zone)) = (evidence, self.test.zones.first()) {
            evidence.push(Evidence::found(&self.test, zone, b"", View::Sent, count.as_bytes()));
        }
        Answer::Yes
    }

    fn transformed<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        self.test.transforms.iter().fold(Cow::Borrowed(text), |text, transform| transform.apply(text))
    }

    fn holds(&self, text: &[u8]) -> bool {
        // The usual case without a copy.
        if self.test.transforms == [Transform::Lowercase]
            && let Pattern::Equals(value) = &self.pattern
        {
            return text.len() == value.len()
                && text.iter().zip(value).all(|(byte, value)| byte.to_ascii_lowercase() == *value);
        }
        self.pattern.holds(&self.transformed(text))
    }
}

impl Test {
    fn wants(&self, view: View) -> bool {
        self.views.is_empty() || self.views.contains(&view)
    }
}

impl Pattern {
    fn new(matching: &Matching) -> Result<Pattern, String> {
        let bytes = |text: &String| text.as_bytes().to_vec();
        Ok(match matching {
            Matching::Equals(text) => Pattern::Equals(bytes(text)),
            Matching::Contains(text) => {
                Pattern::Contains(Box::new(Finder::new(text.as_bytes()).into_owned()))
            }
            Matching::StartsWith(text) => Pattern::StartsWith(bytes(text)),
            Matching::EndsWith(text) => Pattern::EndsWith(bytes(text)),
            Matching::Regex(text) => Pattern::Regex(regex(text)?),
            Matching::Sqli => Pattern::Sqli,
            Matching::Xss => Pattern::Xss,
            Matching::Number(order, than) => Pattern::Number(*order, *than),
            Matching::Unlogged => Pattern::Unlogged,
        })
    }

    fn holds(&self, text: &[u8]) -> bool {
        match self {
            Pattern::Equals(value) => text == value,
            Pattern::Contains(finder) => finder.find(text).is_some(),
            Pattern::StartsWith(value) => text.starts_with(value),
            Pattern::EndsWith(value) => text.ends_with(value),
            Pattern::Regex(regex) => regex.is_match(text),
            Pattern::Sqli => libinjectionrs::detect_sqli(text).is_injection(),
            Pattern::Xss => libinjectionrs::detect_xss(text).is_injection(),
            Pattern::Number(order, than) => {
                let number = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse::<i64>().ok());
                number.is_some_and(|number| order.holds(number, *than))
            }
            Pattern::Unlogged => false,
        }
    }
}

impl Order {
    fn holds(self, number: i64, than: i64) -> bool {
        match self {
            Order::Greater => number > than,
            Order::AtLeast => number >= than,
            Order::Less => number < than,
            Order::AtMost => number <= than,
            Order::Same => number == than,
        }
    }
}

/// As CrowdSec's engine compiles them: over bytes, `.` is any byte, `^` and `$` are also lines' ends.
fn builder(pattern: &str) -> RegexBuilder {
    let mut builder = RegexBuilder::new(pattern);
    builder.unicode(false).dot_matches_new_line(true).multi_line(true).size_limit(REGEX_BYTES_MAX);
    builder
}

/// The same for reading a pattern's parts.
pub(super) fn builder_of_syntax() -> regex_syntax::ParserBuilder {
    let mut builder = regex_syntax::ParserBuilder::new();
    builder.unicode(false).utf8(false).dot_matches_new_line(true).multi_line(true);
    builder
}

/// Compiles a pattern, or says what is wrong with it.
pub(super) fn regex(pattern: &str) -> Result<Regex, String> {
    builder(pattern).build().map_err(|problem| {
        let told = problem.to_string();
        // The last line says what is wrong; those before it draw where.
        let reason = told.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("regular expression {pattern:?}: {reason}")
    })
}
