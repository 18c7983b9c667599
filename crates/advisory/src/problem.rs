//! What could not be read, told so that a person can act on it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// One piece of input that could not be used. It never hides the pieces around it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// What was being done: "read OSV record", "parse version".
    pub operation: String,
    /// What it was done to: a file, an entry of an archive, an advisory id.
    pub object: String,
    /// Why it failed.
    pub reason: String,
    /// What to do about it; empty where nothing can be done.
    pub remedy: String,
}

impl Problem {
    /// A problem without a remedy; see [`Problem::remedy`].
    pub fn new(operation: &str, object: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self {
            operation: operation.to_owned(),
            object: object.into(),
            reason: reason.to_string(),
            remedy: String::new(),
        }
    }

    /// The same problem with what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: {}", self.operation, self.object, self.reason)?;
        if !self.remedy.is_empty() {
            write!(out, "; {}", self.remedy)?;
        }
        Ok(())
    }
}
