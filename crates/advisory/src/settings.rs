//! Settings: a TOML text, read once into types. What is wrong is said with its place, and what would be right.

use serde::de::DeserializeOwned;
use std::fmt::Write as _;

/// From this likeness on (Jaro-Winkler, 0 to 1) a known key is offered for an unknown one.
const LIKENESS_MIN: f64 = 0.7;

/// Reads settings. Types that deny unknown fields have the nearest known key named for one that nobody reads.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|problem| explained(text, &problem))
}

/// What toml says, with the place, and the nearest known key for an unknown one.
fn explained(text: &str, problem: &toml::de::Error) -> String {
    let message = problem.message();
    let mut told = message.to_owned();
    if let Some(span) = problem.span() {
        let line = text[..span.start.min(text.len())].matches('\n').count() + 1;
        told = format!("line {line}: {message}");
    }
    // "unknown field `a`, expected one of `b`, `c`"
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field")
        && let Some(unknown) = quoted.next()
        && let Some(nearest) = nearest(unknown, quoted)
    {
        let _ = write!(told, "; did you mean \"{nearest}\"?");
    }
    told
}

/// The known word most like `unknown`, if any is like it.
fn nearest<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|word| (strsim::jaro_winkler(unknown, word), word))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, word)| word)
}
