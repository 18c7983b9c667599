//! What selectors ask about packages and advisories, answered for the whole fleet at once.

use super::Fleet;
use exposure::selector::{Package, Selector};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The answers that one selector needs, by the hosts' numbers; for [`exposure::selector::Facts`].
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    packages: HashMap<Package, RoaringBitmap>,
    advisories: HashMap<String, RoaringBitmap>,
}

impl Lookup {
    /// Whether the host has a build that the test takes.
    pub fn has_package(&self, number: u32, package: &Package) -> bool {
        self.packages.get(package).is_some_and(|hosts| hosts.contains(number))
    }

    /// Whether an advisory of this id, or one that closes this CVE, affects the host.
    pub fn affected_by(&self, number: u32, id: &str) -> bool {
        self.advisories.get(id).is_some_and(|hosts| hosts.contains(number))
    }
}

/// What advisories affect, by package.
#[derive(Clone, Debug, Default)]
pub struct Affected {
    /// Whether there is such an advisory or CVE.
    pub known: bool,
    /// The advisories that affect any of the hosts that were asked about.
    pub advisories: BTreeSet<String>,
    /// Numbers of the hosts, by package: `source:openssl`, `binary:libssl3`.
    pub packages: BTreeMap<String, RoaringBitmap>,
    /// The advisories that affect any of these hosts, by the same packages.
    pub of_package: BTreeMap<String, BTreeSet<String>>,
}

impl Fleet {
    /// What an advisory, or those that close a CVE, affect among these hosts; `None`: all advisories.
    pub async fn affected_among(&self, id: Option<&str>, among: RoaringBitmap) -> Affected {
        let id = id.map(str::to_owned);
        self.with_state(move |state| {
            let ids: BTreeSet<Arc<str>> = match &id {
                Some(id) => state.keys.meant(id),
                None => state.keys.ids().cloned().collect(),
            };
            let mut found = Affected { known: !ids.is_empty(), ..Affected::default() };
            for id in ids {
                for (package, sets) in state.sets(&id) {
                    let hosts = sets.affected & &among;
                    if !hosts.is_empty() {
                        found.advisories.insert(id.to_string());
                        found.of_package.entry(package.clone()).or_default().insert(id.to_string());
                        *found.packages.entry(package).or_default() |= hosts;
                    }
                }
            }
            found
        })
        .await
    }

    /// Looks up what a selector asks.
    pub fn lookup(&self, selector: &Selector) -> Lookup {
        self.read_state(|state| Lookup {
            packages: selector
                .packages()
                .into_iter()
                .map(|package| {
                    let hosts = state.index.having(
                        |name| package.name.matches(name),
                        |release, _, version| package.takes(release, version),
                    );
                    (package.clone(), hosts)
                })
                .collect(),
            advisories: selector
                .advisories()
                .into_iter()
                .map(|id| (id.to_owned(), state.affected(id)))
                .collect(),
        })
    }
}
