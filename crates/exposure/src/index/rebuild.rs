//! The index from what a server has kept. Takes a [`Snapshot`] of the fleet and all advisories; gives the index that the
//! same hosts and advisories, taken one by one, would have given.

use super::row::Row;
use super::topic::Topic;
use super::{Filed, HostId, Index, Seen, number};
use crate::judge::Installed;
use crate::judge::terms::Terms;
use advisory::{Advisory, Release};
use rayon::prelude::*;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Advisories parsed at once: enough that two cores share the work evenly, some 10 MB at 12 claims each.
const CHUNK: usize = 2048;

/// Parts of a fleet that are read at once. Each costs 24 bytes a row until they are joined: 8 × 24 × 130,000 = 25 MB.
const PARTS_MAX: usize = 8;

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

    /// Builds the index. Advisories are taken `CHUNK` at a time, so that a million claims need not be in memory twice;
    /// of two with one id the later counts. Indices of rows that are not in the snapshot, and rows that no host has, are
    /// passed over.
    pub fn rebuild<A>(snapshot: &Snapshot, advisories: impl IntoIterator<Item = A>) -> Self
    where
        A: Borrow<Advisory> + Sync,
    {
        let mut index = Self::new();
        index.take_rows(snapshot);
        let mut advisories = advisories.into_iter();
        loop {
            let chunk: Vec<A> = advisories.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                break;
            }
            index.take_advisories(&chunk);
        }
        let Self { rows, topics, .. } = &mut index;
        let mut claimed: Vec<&mut Topic> =
            topics.iter_mut().map(|(_, topic)| topic).filter(|topic| !topic.claims.is_empty()).collect();
        claimed.par_iter_mut().for_each(|topic| topic.refresh(rows));
        index
    }

    fn take_rows(&mut self, snapshot: &Snapshot) {
        // Every core lists the hosts of its part of the fleet. Hosts come in order, so a row's lists, joined, are sorted.
        let parts = rayon::current_num_threads().min(PARTS_MAX);
        let lists: Vec<Vec<Vec<HostId>>> = snapshot
            .hosts
            .par_chunks(snapshot.hosts.len().div_ceil(parts).max(1))
            .map(|hosts| {
                let mut lists = vec![Vec::new(); snapshot.rows.len()];
                for host in hosts {
                    for &row in &host.rows {
                        if let Some(list) = lists.get_mut(row as usize) {
                            list.push(host.id);
                        }
                    }
                }
                lists
            })
            .collect();
        let hosts_of = |row: usize| lists.iter().flat_map(move |lists| lists[row].iter().copied());
        let topics: Vec<Option<u32>> = snapshot
            .rows
            .iter()
            .enumerate()
            .map(|(at, (release, installed))| {
                hosts_of(at).next()?;
                Some(self.topic_of(release, installed.name_kind, &installed.name))
            })
            .collect();
        let rows: Vec<Option<Row>> = topics
            .into_par_iter()
            .enumerate()
            .map(|(at, topic)| {
                let (release, installed) = &snapshot.rows[at];
                let mut row = Row::new(Arc::clone(installed), topic?, release.family.order());
                // Unsorted only if the snapshot is.
                row.hosts =
                    RoaringBitmap::from_sorted_iter(hosts_of(at)).unwrap_or_else(|_| hosts_of(at).collect());
                Some(row)
            })
            .collect();
        let mut ids_by_topic: Vec<Vec<u32>> = vec![Vec::new(); self.topics.len()];
        let mut places: Vec<Option<u32>> = Vec::with_capacity(rows.len());
        for row in rows {
            places.push(row.map(|row| {
                let topic = row.topic as usize;
                let id = number(self.rows.insert(row));
                ids_by_topic[topic].push(id);
                id
            }));
        }
        let rows = &self.rows;
        let mut topics: Vec<&mut Topic> = self.topics.iter_mut().map(|(_, topic)| topic).collect();
        topics.par_iter_mut().zip(ids_by_topic).for_each(|(topic, ids)| topic.fill(rows, &ids));
        for host in &snapshot.hosts {
            let minor: Arc<str> = match self.minors.get_key_value(&*host.version_id) {
                Some((minor, _)) => Arc::clone(minor),
                None => Arc::from(&*host.version_id),
            };
            self.minors.entry(Arc::clone(&minor)).or_default().insert(host.id);
            let mut rows: Vec<u32> = host.rows.iter().filter_map(|&row| *places.get(row as usize)?).collect();
            rows.sort_unstable();
            self.hosts.insert(host.id, Seen { release: host.release.clone(), minor, rows: rows.into() });
        }
    }

    fn take_advisories<A: Borrow<Advisory> + Sync>(&mut self, advisories: &[A]) {
        let parsed: Vec<Vec<Terms>> = advisories
            .par_iter()
            .map(|advisory| {
                let advisory = advisory.borrow();
                advisory.claims.iter().map(|claim| Terms::new(advisory, claim)).collect()
            })
            .collect();
        for (advisory, terms) in advisories.iter().map(Borrow::borrow).zip(parsed) {
            let mut claims: BTreeMap<u32, Vec<Terms>> = BTreeMap::new();
            for (claim, terms) in advisory.claims.iter().zip(terms) {
                let topic = self.topic_of(&claim.release, claim.name_kind, &claim.name);
                claims.entry(topic).or_default().push(terms);
            }
            if self.ids.contains_key(&*advisory.id) {
                self.replace_advisory(&advisory.id, claims);
            } else if !claims.is_empty() {
                let id: Arc<str> = Arc::from(advisory.id.as_str());
                let topics = claims.keys().copied().collect();
                let filed = number(self.advisories.insert(Filed { id: Arc::clone(&id), topics }));
                self.ids.insert(id, filed);
                for (topic, terms) in claims {
                    self.topics[topic as usize].set_claims(filed, terms);
                }
            }
        }
    }
}
