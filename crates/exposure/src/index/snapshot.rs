//! The fleet without the bulletins, in a form to be kept. Takes an index, or all inventories at once; gives a [`Snapshot`],
//! of which [`Index::rebuild`] makes an index.

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
    /// Indices into [`Snapshot::rows`], sorted, each once.
    pub rows: Box<[u32]>,
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
        let mut hosts: Vec<HostRows> = self
            .hosts
            .iter()
            .map(|(&id, seen)| HostRows {
                id,
                release: seen.release.clone(),
                version_id: (*seen.minor).into(),
                rows: seen.rows.iter().map(|&row| places[row as usize]).collect(),
            })
            .collect();
        hosts.sort_unstable_by_key(|host| host.id);
        Snapshot { rows, hosts }
    }
}

/// What one core has read.
#[derive(Default)]
struct Part {
    /// Knows rows and topics; no row has hosts.
    index: Index,
    /// With the place in which each came; rows are those of `index`.
    hosts: Vec<(usize, HostRows)>,
}

impl Snapshot {
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
        let mut hosts = Vec::new();
        for mut part in parts {
            let Index { rows: of_part, topics, .. } = part.index;
            // No row was ever removed: they are numbered in the order in which they are walked.
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
            part.hosts.par_iter_mut().for_each(|(_, host)| {
                for row in &mut host.rows {
                    *row = places[*row as usize];
                }
                host.rows.sort_unstable();
            });
            hosts.append(&mut part.hosts);
        }
        hosts.sort_unstable_by_key(|(nth, host)| (host.id, Reverse(*nth)));
        hosts.dedup_by_key(|(_, host)| host.id);
        Self { rows, hosts: hosts.into_iter().map(|(_, host)| host).collect() }
    }
}

impl Part {
    fn take(&mut self, nth: usize, id: HostId, inventory: &Inventory) {
        let host = HostRows {
            id,
            release: inventory.system.release.clone(),
            version_id: inventory.system.version_id.as_str().into(),
            rows: self.index.rows_of(inventory),
        };
        self.hosts.push((nth, host));
    }
}
