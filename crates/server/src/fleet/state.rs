//! The fleet and the bulletins as this server knows them. Takes inventories and advisories; gives who is in which set.

use super::keys::{Key, Keys, News};
use advisory::{Advisory, NameKind};
use exposure::Inventory;
use exposure::index::{Change, Index, Plight, Sets};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A package as findings name it: `source:openssl`.
pub(super) fn package(kind: NameKind, name: &str) -> String {
    match kind {
        NameKind::Source => format!("source:{name}"),
        NameKind::Binary => format!("binary:{name}"),
    }
}

/// What [`package`] was made of.
pub(super) fn subject(package: &str) -> Option<(NameKind, &str)> {
    let (kind, name) = package.split_once(':')?;
    match kind {
        "source" => Some((NameKind::Source, name)),
        "binary" => Some((NameKind::Binary, name)),
        _ => None,
    }
}

/// One thing that is not clean on a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// The advisory's id.
    pub advisory: Arc<str>,
    /// `source:openssl` or `binary:libssl3`.
    pub package: String,
    /// What is the matter.
    pub plight: Plight,
}

/// Where findings may have changed.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Advisories, on any host.
    pub(super) advisories: BTreeSet<Arc<str>>,
    /// Advisories on single hosts.
    pub(super) hosts: BTreeMap<u32, BTreeSet<Arc<str>>>,
    /// Texts that hosts began or ceased to say.
    pub(super) said: BTreeSet<Key>,
}

impl Touched {
    pub(super) fn is_empty(&self) -> bool {
        self.advisories.is_empty() && self.hosts.is_empty() && self.said.is_empty()
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.advisories.extend(other.advisories);
        for (host, ids) in other.hosts {
            self.hosts.entry(host).or_default().extend(ids);
        }
        self.said.extend(other.said);
    }
}

/// What is known of a host besides what the index knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) number: u32,
    /// Of its inventory.
    pub(super) hash: String,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) index: Index,
    pub(super) keys: Keys,
    pub(super) hosts: HashMap<String, Known>,
    /// The last event that is in here.
    pub(super) seq: i64,
}

impl State {
    /// A host has this now; each of `closes` with the hash of its content.
    pub(super) fn host_has(
        &mut self,
        id: &str,
        known: Known,
        inventory: &Inventory,
        closes: &[(String, Advisory)],
    ) -> Touched {
        let number = known.number;
        let mut touched = Touched::default();
        let changes = self.index.upsert_host(number, inventory);
        let id_of = |change: &Change| self.keys.id(&change.advisory).cloned();
        let mut ids: BTreeSet<Arc<str>> = changes.iter().filter_map(id_of).collect();
        let news = self.keys.host_says(number, closes);
        ids.extend(self.hear_of(news, closes, &mut touched));
        if !ids.is_empty() {
            touched.hosts.insert(number, ids);
        }
        self.hosts.insert(id.to_owned(), known);
        touched
    }

    /// A host is part of the fleet no longer.
    pub(super) fn host_is_gone(&mut self, id: &str) -> Touched {
        let mut touched = Touched::default();
        let Some(Known { number, .. }) = self.hosts.remove(id) else { return touched };
        // Before the index forgets which findings it had.
        let mut ids: BTreeSet<Arc<str>> = self.findings_of(number).into_iter().map(|f| f.advisory).collect();
        self.index.remove_host(number);
        let news = self.keys.host_says(number, &[]);
        ids.extend(self.hear_of(news, &[], &mut touched));
        touched.hosts.insert(number, ids);
        touched
    }

    /// A feed says this under an id now, with the hash of its content; or nothing any more.
    pub(super) fn feed_says(&mut self, feed: &str, id: &str, now: Option<(&str, &Advisory)>) -> Touched {
        let mut touched = Touched::default();
        let news = self.keys.feed_says(feed, id, now);
        if news.is_empty() {
            return touched;
        }
        touched.advisories.insert(Arc::from(id));
        for news in news {
            match news {
                News::Begun(key) => {
                    if let Some((_, advisory)) = now {
                        self.index.upsert_advisory(&under(&key, advisory));
                    }
                }
                News::Ended(key) => _ = self.index.remove_advisory(&key),
                News::Shifted(_) => {}
            }
        }
        touched
    }

    /// The index hears what a host says; gives the ids that may mean something else for that host now.
    fn hear_of(
        &mut self,
        news: Vec<News>,
        closes: &[(String, Advisory)],
        touched: &mut Touched,
    ) -> BTreeSet<Arc<str>> {
        let mut ids = BTreeSet::new();
        for news in news {
            let (News::Begun(key) | News::Ended(key) | News::Shifted(key)) = &news;
            let id = key.rsplit_once('@').map_or(&**key, |(id, _)| id);
            ids.insert(Arc::from(id));
            match &news {
                News::Begun(key) => {
                    let said =
                        closes.iter().find(|(hash, advisory)| super::keys::key(&advisory.id, hash) == *key);
                    if let Some((_, advisory)) = said {
                        self.index.upsert_advisory(&under(key, advisory));
                    }
                }
                News::Ended(key) => _ = self.index.remove_advisory(key),
                News::Shifted(_) => {}
            }
            touched.said.insert(Arc::clone(key));
        }
        ids
    }

    /// Who is in which set of an advisory, by package.
    pub(super) fn sets(&self, id: &str) -> BTreeMap<String, Sets> {
        let mut packages: BTreeMap<String, Sets> = BTreeMap::new();
        for key in self.keys.of_id(id) {
            let about = self.keys.speaks_about(key);
            for (subject, mut sets) in self.index.sets_by_subject(key) {
                if let Some(hosts) = about {
                    sets &= hosts;
                }
                if !sets.is_empty() {
                    *packages.entry(package(subject.name_kind, &subject.name)).or_default() |= sets;
                }
            }
        }
        packages
    }

    /// What is not clean on a host, sorted, each once.
    pub(super) fn findings_of(&self, number: u32) -> BTreeSet<Finding> {
        let mut findings = BTreeSet::new();
        for (subject, key, standing) in self.index.findings_of(number) {
            if self.keys.speaks_about(&key).is_some_and(|hosts| !hosts.contains(number)) {
                continue;
            }
            let Some(id) = self.keys.id(&key) else { continue };
            for plight in Plight::ALL.into_iter().filter(|&plight| standing.has(plight)) {
                let package = package(subject.name_kind, &subject.name);
                findings.insert(Finding { advisory: Arc::clone(id), package, plight });
            }
        }
        findings
    }

    /// The hosts that an advisory, or one that closes this CVE, affects.
    pub(super) fn affected(&self, id: &str) -> RoaringBitmap {
        let mut hosts = RoaringBitmap::new();
        for id in self.keys.meant(id) {
            for sets in self.sets(&id).into_values() {
                hosts |= sets.affected;
            }
        }
        hosts
    }
}

/// An advisory as the index knows it.
pub(super) fn under(key: &str, advisory: &Advisory) -> Advisory {
    Advisory { id: key.to_owned(), ..advisory.clone() }
}
