//! Why a rollout stopped by itself, or was stopped for good cause.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why it halted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Halt {
    /// More hosts failed or were lost than are borne.
    Budget {
        /// So many.
        bad: u32,
        /// Borne.
        bad_max: u32,
    },
    /// Patched hosts do worse than others.
    Worse,
    /// The plan expired.
    Expired,
    /// A person halted it.
    Ordered {
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
}

impl fmt::Display for Halt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget { bad, bad_max } => {
                write!(out, "{bad} hosts failed or were lost; {bad_max} are borne")
            }
            Self::Worse => out.write_str("patched hosts do worse than others"),
            Self::Expired => out.write_str("the plan has expired"),
            Self::Ordered { by, why } => write!(out, "{by} halted it: {why}"),
        }
    }
}
