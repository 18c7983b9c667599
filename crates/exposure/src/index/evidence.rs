//! Why hosts are in an advisory's sets. Takes an advisory; gives, for each distinct build it hits, the rule in words and the
//! hosts. The words are the judge's, made once per build and not once per host.

use super::Index;
use super::delta::{Sets, Standing};
use crate::judge::terms::{Assessment, Terms, assess};
use crate::judge::words::Words;
use advisory::{Advisory, NameKind};
use roaring::RoaringBitmap;
use std::collections::BTreeMap;

/// What is not clean; one of the three sets of [`Sets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plight {
    /// Vulnerable code is installed.
    Affected,
    /// Fixed, but vulnerable code still runs.
    StillRunning,
    /// Could not be judged.
    Undetermined,
}

impl Plight {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Affected, Self::StillRunning, Self::Undetermined];

    /// Its word in the store and in the API, as [`Verdict`](crate::Verdict) has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Affected => "affected",
            Self::StillRunning => "fixed-still-running",
            Self::Undetermined => "undetermined",
        }
    }

    /// The plight of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plight| plight.word() == word)
    }

    fn in_assessment(assessment: Assessment) -> Option<Self> {
        match assessment {
            Assessment::Affected(_) => Some(Self::Affected),
            Assessment::StillMapped | Assessment::StillBooted => Some(Self::StillRunning),
            Assessment::Undetermined(_) => Some(Self::Undetermined),
            Assessment::Fixed | Assessment::NotAffected(_) => None,
        }
    }
}

impl Sets {
    /// The set of one plight.
    pub fn of(&self, plight: Plight) -> &RoaringBitmap {
        match plight {
            Plight::Affected => &self.affected,
            Plight::StillRunning => &self.still_running,
            Plight::Undetermined => &self.undetermined,
        }
    }

    /// The set of one plight, to be changed.
    pub fn of_mut(&mut self, plight: Plight) -> &mut RoaringBitmap {
        match plight {
            Plight::Affected => &mut self.affected,
            Plight::StillRunning => &mut self.still_running,
            Plight::Undetermined => &mut self.undetermined,
        }
    }
}

impl Standing {
    /// Whether this plight is set.
    pub fn has(self, plight: Plight) -> bool {
        match plight {
            Plight::Affected => self.affected,
            Plight::StillRunning => self.still_running,
            Plight::Undetermined => self.undetermined,
        }
    }
}

/// Why some hosts are in one set of an advisory.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// In which set.
    pub plight: Plight,
    /// The rule that decided, both versions in it: "installed 1.2-3 < fixed 1.2-4".
    pub rule: String,
    /// The hosts whose build it is.
    pub hosts: RoaringBitmap,
}

impl Index {
    /// Why hosts of `among` are in the sets of `advisory` by packages of that name: each host once per plight it is in, by
    /// the first claim and build that put it there.
    ///
    /// The advisory need not be in the index; the hosts are those whose builds it hits.
    pub fn evidence(
        &self,
        advisory: &Advisory,
        kind: NameKind,
        name: &str,
        among: &RoaringBitmap,
    ) -> Vec<Evidence> {
        let mut told: BTreeMap<Plight, RoaringBitmap> = BTreeMap::new();
        let mut found = Vec::new();
        for claim in advisory.claims.iter().filter(|claim| claim.name_kind == kind && claim.name == name) {
            let terms = Terms::new(advisory, claim);
            if terms.withdrawn() {
                continue;
            }
            let Some(topic) = self.names.get(&claim.release).and_then(|names| names.known(kind, name)) else {
                continue;
            };
            let topic = &self.topics[topic as usize];
            for id in topic.row_ids() {
                let row = &self.rows[id as usize];
                if row.hosts.is_disjoint(among) {
                    continue;
                }
                let Some(assessment) = assess(&terms, &row.installed, &row.parsed, topic.order) else {
                    continue;
                };
                let Some(plight) = Plight::in_assessment(assessment) else { continue };
                let told = told.entry(plight).or_default();
                let mut hosts = &row.hosts & among;
                match terms.minor().map(|minor| self.minors.get(minor)) {
                    None => {}
                    Some(Some(spoken_to)) => hosts &= spoken_to,
                    Some(None) => continue,
                }
                hosts -= &*told;
                if hosts.is_empty() {
                    continue;
                }
                *told |= &hosts;
                let words = Words { claim, installed: &row.installed, order: topic.order, booted: None };
                found.push(Evidence { plight, rule: words.rule(assessment).0, hosts });
            }
        }
        found
    }
}
