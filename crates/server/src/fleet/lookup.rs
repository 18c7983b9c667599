//! What selectors ask about packages and advisories, answered for the whole fleet at once.

use super::Fleet;
use exposure::selector::{Package, Selector};
use roaring::RoaringBitmap;
use std::collections::HashMap;

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

impl Fleet {
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
