//! What approvers sign about a plan that is under way: it goes on, or it goes back. A short document beside the plan, in
//! the same list, signed in the same way; the centre cannot write one.

use crate::plan::{Digest, PlanId, TEXT_MAX};
use advisory::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The format written here. A reader refuses others.
pub const FORMAT: u32 = 1;
/// Bytes of a word; one has some 300.
pub const BYTES_MAX: usize = 4 << 10;

/// An approvers' word about one plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// [`FORMAT`].
    pub format: u32,
    /// Its own id, under which it is listed beside plans.
    pub id: Uuid,
    /// The plan.
    pub plan: PlanId,
    /// The plan's content: a word about one content says nothing about another.
    pub digest: Digest,
    /// What it says.
    pub says: Says,
    /// When it was proposed.
    pub created: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// What a word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Says {
    /// A rollout that stopped goes on.
    Resume {
        /// Counts such words of one plan, from 1: each serves once.
        generation: u32,
    },
    /// Hosts go back to the old versions.
    Back,
}

impl Word {
    /// Reads a word's bytes; only the canonical ones, as with a plan.
    pub fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let refused = |reason: String| {
            Problem::new("read an approvers' word", "word", reason)
                .remedy("propose it again with this version")
        };
        if bytes.len() > BYTES_MAX {
            return Err(refused(format!("{} bytes; at most {BYTES_MAX}", bytes.len())));
        }
        let word: Self = serde_json::from_slice(bytes).map_err(|error| refused(error.to_string()))?;
        if word.format != FORMAT {
            return Err(refused(format!("format {}; this version reads {FORMAT}", word.format)));
        }
        if word.reason.len() > TEXT_MAX {
            return Err(refused(format!("a reason of {} bytes; at most {TEXT_MAX}", word.reason.len())));
        }
        if word.bytes() != bytes {
            return Err(refused("not in canonical form".to_owned()));
        }
        Ok(word)
    }

    /// Its canonical bytes.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a word holds only texts and numbers")
    }

    /// Whether it lets hosts of this plan go back.
    pub fn allows_back(&self, plan: PlanId, digest: Digest) -> bool {
        (self.plan, self.digest, self.says) == (plan, digest, Says::Back)
    }
}
