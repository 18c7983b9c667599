//! Which hosts: one language, used everywhere.
//!
//! STUB until the branch `watch` is merged: take that file instead. Only `name=…` is read here.

use std::collections::BTreeMap;
use std::fmt;

/// A selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    name: String,
}

/// What a selector looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The host's name.
    pub name: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Its group.
    pub group: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// `debian:12`.
    pub release: &'a str,
    /// `active`, ….
    pub state: &'a str,
}

/// Why a text is not a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Where, in bytes.
    pub at: usize,
    /// Why.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "at {}: {}; {}", self.at, self.reason, self.remedy)
    }
}

impl Selector {
    /// Reads a selector.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text.strip_prefix("name=") {
            Some(name) if !name.is_empty() => Ok(Self { name: name.to_owned() }),
            Some(_) | None => Err(Error {
                at: 0,
                reason: "not a selector".to_owned(),
                remedy: "write name=NAME".to_owned(),
            }),
        }
    }

    /// Whether a host is selected.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        facts.name == self.name
    }
}
