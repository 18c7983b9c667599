//! What a proposal is to change: kept with it, so that it can be made again on what stands by then.

use super::Error;
use jiff::Timestamp;
use rollout::plan::PlanId;
use rollout::word::Word;
use serde::{Deserialize, Serialize};
use trust::keys::{KeyId, PublicKey};
use trust::proposal::Proposal;
use trust::standing::{self, Founding, Quorum, Standing};
use trust::{PlanName, PlanTarget};
use uuid::Uuid;

/// Keys, so many of which must sign; public keys as OpenSSH's lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// How many must sign.
    pub threshold: u32,
    /// Public keys.
    pub keys: Vec<String>,
}

/// A file that comes into force: a plan or a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    id: Uuid,
    length: u64,
    sha256: rollout::plan::Digest,
}

/// What is to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// The repository begins.
    Found {
        /// Who sign a new root.
        owners: Lines,
        /// Who sign plans.
        approvers: Lines,
        /// The server's key.
        online: String,
        /// The server approves, too.
        one_key: bool,
    },
    /// A plan comes into force.
    Plan(Listed),
    /// A word about a plan does.
    Word(Listed),
    /// A plan is withdrawn, and every word about it.
    Withdraw {
        /// The plan.
        plan: Uuid,
        /// Why.
        reason: String,
    },
    /// A key takes another one's place, wherever that is.
    Rotate {
        /// The old key's id, or its first digits.
        old: String,
        /// The new key.
        new: String,
    },
    /// A key is taken out, wherever it is.
    Revoke(String),
    /// Other approvers.
    Approvers(Lines),
    /// Other owners.
    Owners(Lines),
    /// The way out of one-key mode: people own and approve.
    People(Lines),
    /// Everything is signed anew, as it is.
    Renew,
    /// Another key of the server.
    Online(String),
}

impl Listed {
    /// A plan, by its canonical bytes.
    pub fn plan(id: PlanId, bytes: &[u8]) -> Option<Self> {
        Self::of(id.0, bytes)
    }

    /// A word.
    pub fn word(word: &Word) -> Option<Self> {
        Self::of(word.id, &word.bytes())
    }

    fn of(id: Uuid, bytes: &[u8]) -> Option<Self> {
        let target = PlanTarget::of(PlanName(id), bytes)?;
        Some(Self { id, length: target.length, sha256: rollout::plan::Digest(target.sha256) })
    }

    /// The plan's or the word's id.
    pub fn id(&self) -> Uuid {
        self.id
    }

    fn target(&self) -> PlanTarget {
        PlanTarget { name: PlanName(self.id), length: self.length, sha256: self.sha256.0 }
    }
}

impl Lines {
    /// The keys, read.
    pub fn quorum(&self) -> Result<Quorum, Error> {
        let keys: Vec<PublicKey> = self.keys.iter().map(|line| line.parse()).collect::<Result<_, _>>()?;
        Ok(Quorum::new(keys, self.threshold)?)
    }
}

impl Change {
    /// Its kind, as people list proposals by.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Found { .. } => "founding",
            Self::Plan(_) => "plan",
            Self::Word(_) => "word",
            Self::Withdraw { .. } => "withdraw",
            Self::Rotate { .. }
            | Self::Revoke(_)
            | Self::Approvers(_)
            | Self::Owners(_)
            | Self::People(_)
            | Self::Renew
            | Self::Online(_) => "keys",
        }
    }

    /// The plan's or word's id that it is about; empty for keys.
    pub fn object(&self) -> String {
        match self {
            Self::Plan(listed) | Self::Word(listed) => listed.id.to_string(),
            Self::Withdraw { plan, .. } => plan.to_string(),
            Self::Found { .. }
            | Self::Rotate { .. }
            | Self::Revoke(_)
            | Self::Approvers(_)
            | Self::Owners(_)
            | Self::People(_)
            | Self::Renew
            | Self::Online(_) => String::new(),
        }
    }

    /// Makes the documents on what stands. `over`: plans and words that are finished and leave the list with it.
    pub fn make(
        &self,
        standing: Option<&Standing>,
        over: &[PlanName],
        now: Timestamp,
    ) -> Result<Proposal, Error> {
        if let Self::Found { owners, approvers, online, one_key } = self {
            if standing.is_some() {
                return Err(Error::Founded);
            }
            let founding = Founding {
                owners: owners.quorum()?,
                approvers: approvers.quorum()?,
                online: online.parse()?,
                one_key: *one_key,
            };
            return Ok(founding.propose(now)?);
        }
        let standing = standing.ok_or(Error::NotFounded)?;
        let mut changes: Vec<standing::Change> = match self {
            Self::Rotate { old, new } => {
                return Ok(standing.rotate(&key(standing, old)?, &new.parse()?, now)?);
            }
            Self::Revoke(old) => return Ok(standing.revoke(&key(standing, old)?, now)?),
            Self::Approvers(lines) => {
                return propose(standing, standing::Change::Approvers(lines.quorum()?), now);
            }
            Self::Owners(lines) => return propose(standing, standing::Change::Owners(lines.quorum()?), now),
            Self::People(lines) => {
                let people = lines.quorum()?;
                let changes = [standing::Change::Owners(people.clone()), standing::Change::Approvers(people)];
                return Ok(standing.propose(&changes, now)?);
            }
            Self::Online(line) => return propose(standing, standing::Change::Online(line.parse()?), now),
            Self::Renew => vec![standing::Change::Renew],
            Self::Plan(listed) | Self::Word(listed) => vec![standing::Change::Plan(listed.target())],
            Self::Withdraw { plan, .. } => vec![standing::Change::Withdraw(PlanName(*plan))],
            Self::Found { .. } => Vec::new(),
        };
        let listed = standing.plans();
        let about = self.object();
        let leaves =
            |name: &&PlanName| name.0.to_string() != about && listed.iter().any(|plan| plan.name == **name);
        changes.extend(over.iter().filter(leaves).map(|name| standing::Change::Withdraw(*name)));
        Ok(standing.propose(&changes, now)?)
    }
}

fn propose(standing: &Standing, change: standing::Change, now: Timestamp) -> Result<Proposal, Error> {
    Ok(standing.propose(&[change], now)?)
}

/// The key of that id among those that stand; its first eight digits or more will do.
fn key(standing: &Standing, id: &str) -> Result<KeyId, Error> {
    let (owners, approvers, online) = (standing.owners(), standing.approvers(), standing.online());
    let mut found: Vec<KeyId> = owners
        .keys()
        .iter()
        .chain(approvers.keys())
        .chain(&online)
        .map(PublicKey::id)
        .filter(|known| id.len() >= 8 && known.as_str().starts_with(id))
        .collect();
    found.sort();
    found.dedup();
    match <[KeyId; 1]>::try_from(found) {
        Ok([id]) => Ok(id),
        Err(found) => Err(Error::NoSuchKey { id: id.to_owned(), found: found.len() }),
    }
}
