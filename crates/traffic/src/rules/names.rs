//! Which values of a zone a test looks at.

use super::program::regex;
use regex::bytes::Regex;

/// Names of arguments, headers or cookies; case does not matter.
#[derive(Debug)]
pub(super) struct Names(Vec<Name>);

#[derive(Debug)]
enum Name {
    Is(String),
    /// Written `/pattern/`.
    Matches(Regex),
}

impl Names {
    /// Every name.
    pub(super) const ANY: Names = Names(Vec::new());

    /// As a rule's variables say; none of them means every name.
    pub(super) fn new(variables: &[String]) -> Result<Names, String> {
        let name = |text: &String| match pattern(text) {
            Some(pattern) => regex(&format!("(?i){pattern}")).map(Name::Matches),
            None => Ok(Name::Is(text.clone())),
        };
        variables.iter().map(name).collect::<Result<_, _>>().map(Names)
    }

    pub(super) fn want(&self, name: &[u8]) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|one| match one {
                Name::Is(text) => text.as_bytes().eq_ignore_ascii_case(name),
                Name::Matches(pattern) => pattern.is_match(name),
            })
    }
}

/// The regular expression that a variable is, if it is one.
pub(super) fn pattern(variable: &str) -> Option<&str> {
    variable.strip_prefix('/')?.strip_suffix('/').filter(|pattern| !pattern.is_empty())
}
