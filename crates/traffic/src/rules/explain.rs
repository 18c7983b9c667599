//! Why a rule recognised a request.

use super::condition::{Matching, Order, Test, Zone};
use crate::request::View;
use serde::Serialize;
use std::fmt;

/// What rules recognised in a request, and by what.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Explanation {
    /// Each rule that recognised it.
    pub matches: Vec<Match>,
}

/// One rule that recognised the request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Match {
    /// The signature's id.
    pub signature: String,
    /// What it is called.
    pub names: Vec<String>,
    /// Who wrote the rule, where its licence asks to say so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Each test that held.
    pub evidence: Vec<Evidence>,
}

/// One test that held.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Evidence {
    /// Where: `URI`, `ARGS:id`.
    pub zone: String,
    /// Which reading of the text: sent, once, full, resolved.
    pub view: &'static str,
    /// What was done to the text.
    pub transforms: Vec<&'static str>,
    /// The text that was compared, unprintable bytes escaped; cut where it is long.
    pub text: String,
    /// What it was compared with.
    pub pattern: String,
}

/// Longer texts are cut in explanations.
const TEXT_BYTES_MAX: usize = 300;

impl Evidence {
    pub(super) fn found(test: &Test, zone: Zone, name: &[u8], view: View, compared: &[u8]) -> Evidence {
        let zone = if name.is_empty() {
            zone.name().to_owned()
        } else {
            format!("{}:{}", zone.name(), name.escape_ascii())
        };
        let mut shown = compared[..compared.len().min(TEXT_BYTES_MAX)].escape_ascii().to_string();
        if compared.len() > TEXT_BYTES_MAX {
            shown.push('…');
        }
        Evidence {
            zone,
            view: view.name(),
            transforms: test.transforms.iter().map(|transform| transform.name()).collect(),
            text: shown,
            pattern: test.matching.to_string(),
        }
    }

    pub(super) fn unlogged(test: &Test) -> Evidence {
        let zones: Vec<&str> = test.zones.iter().map(|zone| zone.name()).collect();
        Evidence {
            zone: zones.join(", "),
            view: View::Sent.name(),
            transforms: Vec::new(),
            text: String::new(),
            pattern: test.matching.to_string(),
        }
    }
}

impl fmt::Display for Matching {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = |order: Order| match order {
            Order::Greater => "more than",
            Order::AtLeast => "at least",
            Order::Less => "less than",
            Order::AtMost => "at most",
            Order::Same => "as much as",
        };
        match self {
            Matching::Equals(value) => write!(out, "equals {value:?}"),
            Matching::Contains(value) => write!(out, "contains {value:?}"),
            Matching::StartsWith(value) => write!(out, "starts with {value:?}"),
            Matching::EndsWith(value) => write!(out, "ends with {value:?}"),
            Matching::Regex(value) => write!(out, "matches {value}"),
            Matching::Sqli => out.write_str("reads as injected SQL"),
            Matching::Xss => out.write_str("reads as an injected script"),
            Matching::Number(than, number) => write!(out, "is {} {number}", order(*than)),
            Matching::Unlogged => out.write_str("is nothing that this source tells of"),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.matches.is_empty() {
            return writeln!(out, "no rule recognises it");
        }
        for one in &self.matches {
            write!(out, "{}", one.signature)?;
            if !one.names.is_empty() {
                write!(out, " ({})", one.names.join(", "))?;
            }
            if let Some(author) = &one.author {
                write!(out, ", rule by {author}")?;
            }
            writeln!(out)?;
            for evidence in &one.evidence {
                write!(out, "  {} {}", evidence.zone, evidence.pattern)?;
                if !evidence.text.is_empty() {
                    write!(out, "\n    in {}", evidence.text)?;
                }
                let mut how: Vec<&str> = Vec::new();
                how.extend((evidence.view != View::Sent.name()).then_some(match evidence.view {
                    "once" => "decoded once",
                    "full" => "decoded as far as it goes",
                    _ => "decoded, path resolved",
                }));
                how.extend(&evidence.transforms);
                if !how.is_empty() {
                    write!(out, "\n    after: {}", how.join(", "))?;
                }
                writeln!(out)?;
            }
        }
        Ok(())
    }
}
