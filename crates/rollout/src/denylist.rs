//! What failed before: a package's version on a class of hosts. It outlives the rollback, so that the next plan does not
//! install again what the last one had to take back.

use crate::plan::{Plan, PlanId};
use advisory::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Versions that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Denylist {
    #[serde(with = "entries")]
    entries: BTreeMap<Key, Entry>,
}

/// A package's version on a class of hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Binary package.
    pub package: String,
    /// Version.
    pub version: String,
    /// Release and architecture: `debian:12/amd64`.
    pub class: String,
}

/// When and where it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// In which plan.
    pub plan: PlanId,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: String,
}

impl Denylist {
    /// Adds all that a plan installs on one of its classes. What is on it already keeps its first reason.
    pub fn deny(&mut self, plan: &Plan, class: &str, at: Timestamp, why: &str) {
        let Some(class) = plan.class(class) else { return };
        for change in &class.changes {
            let key = Key { package: change.name.clone(), version: change.to.clone(), class: class.kind() };
            self.entries.entry(key).or_insert_with(|| Entry { plan: plan.id, at, why: why.to_owned() });
        }
    }

    /// What is on it.
    pub fn entries(&self) -> &BTreeMap<Key, Entry> {
        &self.entries
    }

    /// Everything a plan installs that is on it and that the plan does not overrule by name.
    pub fn refuses(&self, plan: &Plan) -> Vec<Problem> {
        let changes =
            plan.classes.iter().flat_map(|class| class.changes.iter().map(move |change| (class, change)));
        let keys = changes.map(|(class, change)| Key {
            package: change.name.clone(),
            version: change.to.clone(),
            class: class.kind(),
        });
        keys.filter(|key| {
            !plan.overrides.iter().any(|entry| {
                entry.package == key.package && entry.version == key.version && entry.class == key.class
            })
        })
        .filter_map(|key| {
            let entry = self.entries.get(&key)?;
            let object = format!("{} {} on {}", key.package, key.version, key.class);
            let reason = format!("failed at {} in plan {}: {}", entry.at, entry.plan, entry.why);
            Some(
                Problem::new("check plan", object, reason)
                    .remedy("leave it out, or add an override that says why it is safe now"),
            )
        })
        .collect()
    }
}

/// A map with keys of several fields, as a list: JSON has only texts for keys.
mod entries {
    use super::{BTreeMap, Entry, Key};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<Key, Entry>, to: S) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<Key, Entry>, D::Error> {
        Ok(Vec::<(Key, Entry)>::deserialize(from)?.into_iter().collect())
    }
}
