//! The index from what a server has kept. Takes a [`Snapshot`] of the fleet and all advisories; gives the index that the
//! same hosts and advisories, taken one by one, would have given.

use super::row::Row;
use super::snapshot::{HostRows, Snapshot};
use super::topic::Topic;
use super::{Claims, Filed, HostId, Index, Names, Seen, by_topic, number};
use crate::judge::terms::Terms;
use advisory::{Advisory, Claim, Release};
use rayon::prelude::*;
use roaring::RoaringBitmap;
use std::borrow::Borrow;
use std::sync::Arc;

/// Advisories parsed at once: enough that cores share the work evenly, little enough to stay in their caches; some 2 MB at
/// 4 claims each.
const CHUNK: usize = 512;

/// Parts of a fleet that are read at once. Each costs 24 bytes a row until they are joined: 8 × 24 × 130,000 = 25 MB.
const PARTS_MAX: usize = 8;

impl Index {
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
        let lists: Vec<HostLists> = snapshot
            .hosts
            .par_chunks(snapshot.hosts.len().div_ceil(parts).max(1))
            .map(|hosts| HostLists::new(snapshot.rows.len(), hosts))
            .collect();
        let hosts_of = |row: usize| lists.iter().flat_map(move |lists| lists.of(row)).copied();
        let topics: Vec<Option<u32>> = snapshot
            .rows
            .iter()
            .enumerate()
            .map(|(at, (release, installed))| {
                hosts_of(at).next()?;
                Some(self.topic_of(release, installed.name_kind, &installed.name))
            })
            .collect();
        let rows: Vec<Option<(Row, u64)>> = topics
            .into_par_iter()
            .enumerate()
            .map(|(at, topic)| {
                let (release, installed) = &snapshot.rows[at];
                let hash = self.names.get(release)?.builds.hash(installed);
                let mut row = Row::new(Arc::clone(installed), topic?, release.family.order());
                // Unsorted only if the snapshot is.
                row.hosts =
                    RoaringBitmap::from_sorted_iter(hosts_of(at)).unwrap_or_else(|_| hosts_of(at).collect());
                Some((row, hash))
            })
            .collect();
        drop(lists);
        let mut ids_by_topic: Vec<Vec<u32>> = vec![Vec::new(); self.topics.len()];
        let mut places: Vec<Option<u32>> = Vec::with_capacity(rows.len());
        for (row, (release, _)) in rows.into_iter().zip(&snapshot.rows) {
            places.push(row.map(|(row, hash)| {
                let topic = row.topic as usize;
                let id = number(self.rows.insert(row));
                ids_by_topic[topic].push(id);
                if let Some(names) = self.names.get_mut(release) {
                    names.builds.insert(hash, id);
                }
                id
            }));
        }
        let rows = &self.rows;
        let mut topics: Vec<&mut Topic> = self.topics.iter_mut().map(|(_, topic)| topic).collect();
        topics.par_iter_mut().zip(ids_by_topic).for_each(|(topic, ids)| topic.fill(rows, &ids));
        let host_rows: Vec<Box<[u32]>> = snapshot
            .hosts
            .par_iter()
            .map(|host| {
                let mut rows: Vec<u32> = Vec::with_capacity(host.rows.len());
                rows.extend(host.rows.iter().filter_map(|&row| *places.get(row as usize)?));
                rows.sort_unstable();
                rows.into()
            })
            .collect();
        for (host, rows) in snapshot.hosts.iter().zip(host_rows) {
            let minor: Arc<str> = match self.minors.get_key_value(&*host.version_id) {
                Some((minor, _)) => Arc::clone(minor),
                None => Arc::from(&*host.version_id),
            };
            self.minors.entry(Arc::clone(&minor)).or_default().insert(host.id);
            self.hosts.insert(host.id, Seen { release: host.release.clone(), minor, rows });
        }
    }

    fn take_advisories<A: Borrow<Advisory> + Sync>(&mut self, advisories: &[A]) {
        let parsed: Vec<Vec<(Option<u32>, Terms)>> =
            advisories.par_iter().map(|advisory| self.parse(advisory.borrow())).collect();
        let mut with_topics: Vec<Vec<(u32, Terms)>> = Vec::with_capacity(advisories.len());
        for (advisory, parsed) in advisories.iter().map(Borrow::borrow).zip(parsed) {
            let with_topic = |(nth, (topic, terms)): (usize, (Option<u32>, Terms))| {
                let Claim { release, name_kind, name, .. } = &advisory.claims[nth];
                (topic.unwrap_or_else(|| self.topic_of(release, *name_kind, name)), terms)
            };
            with_topics.push(parsed.into_iter().enumerate().map(with_topic).collect());
        }
        let grouped: Vec<Claims> = with_topics.into_par_iter().map(by_topic).collect();
        for (advisory, claims) in advisories.iter().map(Borrow::borrow).zip(grouped) {
            if self.ids.contains_key(&*advisory.id) {
                self.replace_advisory(&advisory.id, claims);
            } else if !claims.is_empty() {
                let id: Arc<str> = Arc::from(advisory.id.as_str());
                let topics = claims.iter().map(|(topic, _)| *topic).collect();
                let filed = number(self.advisories.insert(Filed { id: Arc::clone(&id), topics }));
                self.ids.insert(id, filed);
                for (topic, terms) in claims {
                    self.topics[topic as usize].set_claims(filed, terms);
                }
            }
        }
    }

    /// What an advisory claims, in its order, each with its topic if there is one.
    fn parse(&self, advisory: &Advisory) -> Vec<(Option<u32>, Terms)> {
        // Claims about one release mostly stand together.
        let mut last: Option<(&Release, Option<&Names>)> = None;
        let mut parsed = Vec::with_capacity(advisory.claims.len());
        for claim in &advisory.claims {
            let names = match last {
                Some((last, names)) if *last == claim.release => names,
                _ => self.names.get(&claim.release),
            };
            last = Some((&claim.release, names));
            let topic = names.and_then(|names| names.known(claim.name_kind, &claim.name));
            parsed.push((topic, Terms::new(advisory, claim)));
        }
        parsed
    }
}

/// The hosts of every row, in one piece: 10 million rows of hosts would otherwise be a hundred thousand growing lists.
struct HostLists {
    /// Row `r` has `hosts[ends[r - 1]..ends[r]]`.
    ends: Vec<usize>,
    hosts: Vec<HostId>,
}

impl HostLists {
    /// `rows`: how many rows there are. Those that a host has beyond them are passed over.
    fn new(rows: usize, hosts: &[HostRows]) -> Self {
        let mut ends = vec![0_usize; rows];
        for &row in hosts.iter().flat_map(|host| &host.rows) {
            if let Some(count) = ends.get_mut(row as usize) {
                *count += 1;
            }
        }
        let mut start = 0;
        for count in &mut ends {
            start += std::mem::replace(count, start);
        }
        // Now they are the starts; every host that is put in its place moves one on.
        let mut list = vec![0; start];
        for host in hosts {
            for &row in &host.rows {
                if let Some(place) = ends.get_mut(row as usize) {
                    list[*place] = host.id;
                    *place += 1;
                }
            }
        }
        Self { ends, hosts: list }
    }

    fn of(&self, row: usize) -> &[HostId] {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.hosts[start..self.ends[row]]
    }
}
