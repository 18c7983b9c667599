//! The fleet without the bulletins, in a form to be kept. Takes an index, or all inventories at once; gives a [`Snapshot`],
//! of which [`Index::rebuild`] makes an index.

use super::lists::{Lists, flat};
use super::{HostId, Index, number};
use crate::inventory::Inventory;
use crate::judge::Installed;
use advisory::Release;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// Inventories that a core opens before the next are asked for: 32 × some 300 KB = 10 MB.
const HOSTS_AT_ONCE: usize = 32;

/// The fleet as the index knows it, in a form to be kept: everything distinct once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Distinct installed builds, each with the release of the hosts that have it.
    pub rows: Vec<(Release, Arc<Installed>)>,
    /// Distinct lists of what hosts have in common: indices into `rows`, sorted, each once in a list.
    pub lists: Vec<Arc<[u32]>>,
    /// The hosts, sorted by id, each id once.
    pub hosts: Vec<HostRows>,
}

/// What one host has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRows {
    /// The host.
    pub id: HostId,
    /// Its release.
    pub release: Release,
    /// `VERSION_ID`.
    pub version_id: Box<str>,
    /// Indices into [`Snapshot::lists`], sorted, each once. It has the rows of all of them; two may have the same row.
    pub lists: Arc<[u32]>,
}

impl Index {
    /// What is needed, besides the advisories, to build this index again.
    pub fn snapshot(&self) -> Snapshot {
        let mut places = vec![0; self.rows.iter().map(|(id, _)| id + 1).max().unwrap_or(0)];
        let mut rows = Vec::with_capacity(self.rows.len());
        for (id, row) in &self.rows {
            places[id] = number(rows.len());
            let release = self.topics[row.topic as usize].subject.release.clone();
            rows.push((release, Arc::clone(&row.installed)));
        }
        let mut places_of_lists = vec![0; self.shares.lists.iter().map(|(id, _)| id + 1).max().unwrap_or(0)];
        let mut lists = Vec::new();
        for (id, list) in self.shares.lists.iter() {
            places_of_lists[id] = number(lists.len());
            lists.push(list.iter().map(|&row| places[row as usize]).collect());
        }
        // Hosts of one set share it here too.
        let mut sets: HashMap<u32, Arc<[u32]>> = HashMap::new();
        let mut set = |set: u32| {
            let place = |&list: &u32| places_of_lists[list as usize];
            let made = sets.entry(set).or_insert_with(|| self.shares.set(set).iter().map(place).collect());
            Arc::clone(made)
        };
        let mut hosts: Vec<HostRows> = self
            .hosts
            .iter()
            .map(|(&id, seen)| HostRows {
                id,
                release: seen.release.clone(),
                version_id: (*seen.minor).into(),
                lists: set(seen.set),
            })
            .collect();
        hosts.sort_unstable_by_key(|host| host.id);
        Snapshot { rows, lists, hosts }
    }
}

/// What one core has read.
#[derive(Default)]
struct Part {
    /// Knows rows, lists and topics; no row has hosts.
    index: Index,
    /// With the place in which each came, and its set in `index`; it has no lists yet.
    hosts: Vec<(usize, HostRows, u32)>,
}

impl Snapshot {
    /// What a host has: indices into [`Snapshot::rows`], sorted, each once.
    pub fn rows_of(&self, host: &HostRows) -> Vec<u32> {
        flat(host.lists.iter().filter_map(|&list| Some(&**self.lists.get(list as usize)?)))
    }

    /// Reads the inventories of a whole fleet, on all cores: what [`Index::upsert_host`] does one by one, without telling
    /// changes. `open` is called on every core, best with decoding in it; where it gives nothing the host is left out.
    /// Of two inventories of one host the later counts.
    pub fn read<T: Send, I: Borrow<Inventory>>(
        hosts: impl IntoIterator<Item = (HostId, T)>,
        open: impl Fn(T) -> Option<I> + Sync,
    ) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        parts.resize_with(rayon::current_num_threads(), Part::default);
        let mut hosts = hosts.into_iter().enumerate();
        loop {
            let share = |_: &Part| hosts.by_ref().take(HOSTS_AT_ONCE).collect();
            let shares: Vec<Vec<(usize, (HostId, T))>> = parts.iter().map(share).collect();
            if shares.iter().all(Vec::is_empty) {
                return Self::join(parts);
            }
            parts.par_iter_mut().zip(shares).for_each(|(part, share)| {
                for (nth, (id, host)) in share {
                    if let Some(inventory) = open(host) {
                        part.take(nth, id, inventory.borrow());
                    }
                }
            });
        }
    }

    fn join(parts: Vec<Part>) -> Self {
        let mut rows = Vec::new();
        let mut known: HashMap<(Release, Arc<Installed>), u32> = HashMap::new();
        let mut lists = Lists::default();
        let mut hosts = Vec::new();
        for part in parts {
            let Index { rows: of_part, topics, shares, .. } = part.index;
            // Nothing was ever removed: rows and lists are numbered in the order in which they are walked.
            let places: Vec<u32> = of_part
                .into_iter()
                .map(|(_, row)| {
                    let build = (topics[row.topic as usize].subject.release.clone(), row.installed);
                    *known.entry(build).or_insert_with_key(|build| {
                        rows.push(build.clone());
                        number(rows.len() - 1)
                    })
                })
                .collect();
            let places_of_lists: Vec<u32> = shares
                .lists
                .iter()
                .map(|(_, list)| {
                    let mut list: Vec<u32> = list.iter().map(|&row| places[row as usize]).collect();
                    list.sort_unstable();
                    lists.id(&list)
                })
                .collect();
            let mut sets: HashMap<u32, Arc<[u32]>> = HashMap::new();
            for (nth, mut host, set) in part.hosts {
                let made = sets.entry(set).or_insert_with(|| {
                    let mut set: Vec<u32> =
                        shares.set(set).iter().map(|&list| places_of_lists[list as usize]).collect();
                    set.sort_unstable();
                    set.into()
                });
                host.lists = Arc::clone(made);
                hosts.push((nth, host));
            }
        }
        hosts.sort_unstable_by_key(|(nth, host)| (host.id, Reverse(*nth)));
        hosts.dedup_by_key(|(_, host)| host.id);
        let lists = lists.iter().map(|(_, list)| Arc::clone(list)).collect();
        Self { rows, lists, hosts: hosts.into_iter().map(|(_, host)| host).collect() }
    }
}

impl Part {
    fn take(&mut self, nth: usize, id: HostId, inventory: &Inventory) {
        let lists = self.index.rows_of(inventory);
        let host = HostRows {
            id,
            release: inventory.system.release.clone(),
            version_id: inventory.system.version_id.as_str().into(),
            lists: Arc::default(),
        };
        self.hosts.push((nth, host, self.index.shares.take(&lists)));
    }
}
