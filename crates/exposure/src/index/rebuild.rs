//! The index from what a server has kept. Takes a [`Snapshot`] of the fleet and all advisories; gives the index that the
//! same hosts and advisories, taken one by one, would have given.

use super::row::Row;
use super::snapshot::Snapshot;
use super::topic::Topic;
use super::{Claims, Filed, Index, Names, Seen, by_topic, number};
use crate::judge::terms::Terms;
use advisory::{Advisory, Claim, Release};
use rayon::prelude::*;
use roaring::RoaringBitmap;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

/// Advisories parsed at once: enough that cores share the work evenly, little enough to stay in their caches; some 2 MB at
/// 4 claims each.
const CHUNK: usize = 512;

/// Parts of the lists that are read at once. Each costs 8 bytes a row until they are joined: 8 × 8 × 130,000 = 8 MB.
const PARTS_MAX: usize = 8;

/// Hosts of a list from which on they are joined as a bitmap, once for all its rows; fewer are cheaper to sort.
const MANY: usize = 64;

impl Index {
    /// Builds the index. Advisories are taken `CHUNK` at a time, so that a million claims need not be in memory twice;
    /// of two with one id the later counts. Indices that are not in the snapshot, and rows that no host has, are passed
    /// over.
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
        let hosts_of =
            Holders::new(snapshot.lists.len(), snapshot.hosts.iter().map(|host| (host.id, &*host.lists)));
        let bitmap = |hosts: &[u32]| {
            // Unsorted only if the snapshot is.
            RoaringBitmap::from_sorted_iter(hosts.iter().copied())
                .unwrap_or_else(|_| hosts.iter().copied().collect())
        };
        let held_by: Vec<Held<'_>> = (0..snapshot.lists.len())
            .into_par_iter()
            .map(|list| match hosts_of.of(list) {
                few if few.len() < MANY => Held::Few(few),
                many => Held::Many(bitmap(many)),
            })
            .collect();
        let numbered: Vec<(u32, &[u32])> = (0..)
            .zip(&snapshot.lists)
            .map(|(list, rows)| (list, &**rows))
            .filter(|(list, _)| !hosts_of.of(*list as usize).is_empty())
            .collect();
        // Every core lists the holders of its part of the lists.
        let parts = rayon::current_num_threads().min(PARTS_MAX);
        let holders: Vec<Holders> = numbered
            .par_chunks(numbered.len().div_ceil(parts).max(1))
            .map(|lists| Holders::new(snapshot.rows.len(), lists.iter().copied()))
            .collect();
        let lists_of = |row: usize| holders.iter().flat_map(move |holders| holders.of(row)).copied();
        let hosts_with = |row: usize| {
            let (mut hosts, mut few) = (RoaringBitmap::new(), Vec::new());
            for list in lists_of(row) {
                match &held_by[list as usize] {
                    Held::Few([one]) => few.push(*one),
                    Held::Few(some) => few.extend_from_slice(some),
                    Held::Many(many) => hosts |= many,
                }
            }
            few.sort_unstable();
            few.dedup();
            hosts |= bitmap(&few);
            hosts
        };
        let topics: Vec<Option<u32>> = snapshot
            .rows
            .iter()
            .enumerate()
            .map(|(at, (release, installed))| {
                lists_of(at).next()?;
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
                row.hosts = hosts_with(at);
                Some((row, hash))
            })
            .collect();
        drop(holders);
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
        let lists: Vec<Vec<u32>> = snapshot
            .lists
            .par_iter()
            .enumerate()
            .map(|(at, list)| {
                if hosts_of.of(at).is_empty() {
                    return Vec::new();
                }
                let mut rows: Vec<u32> = list.iter().filter_map(|&row| *places.get(row as usize)?).collect();
                rows.sort_unstable();
                rows.dedup();
                rows
            })
            .collect();
        let lists: Vec<Option<u32>> =
            lists.into_iter().map(|rows| (!rows.is_empty()).then(|| self.shares.lists.id(&rows))).collect();
        let mut sets: HashMap<&[u32], u32> = HashMap::new();
        for host in &snapshot.hosts {
            let set = if let Some(&set) = sets.get(&*host.lists) {
                self.shares.take_again(set);
                set
            } else {
                let ids = host.lists.iter().filter_map(|&list| *lists.get(list as usize)?).collect();
                let set = self.shares.take_ids(ids);
                sets.insert(&host.lists, set);
                set
            };
            let minor: Arc<str> = match self.minors.get_key_value(&*host.version_id) {
                Some((minor, _)) => Arc::clone(minor),
                None => Arc::from(&*host.version_id),
            };
            self.minors.entry(Arc::clone(&minor)).or_default().insert(host.id);
            self.hosts.insert(host.id, Seen { release: host.release.clone(), minor, set });
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

/// The hosts of a list.
enum Held<'h> {
    Few(&'h [u32]),
    Many(RoaringBitmap),
}

/// In which lists each number is, in one piece: ten million of them would otherwise be a hundred thousand growing lists.
struct Holders {
    /// Number `n` is in `holders[ends[n - 1]..ends[n]]`.
    ends: Vec<usize>,
    holders: Vec<u32>,
}

impl Holders {
    /// `count`: how many numbers there are; those beyond them are passed over. A list comes with the number that stands for
    /// it.
    fn new<'l>(count: usize, lists: impl Iterator<Item = (u32, &'l [u32])> + Clone) -> Self {
        let mut ends = vec![0_usize; count];
        for &number in lists.clone().flat_map(|(_, list)| list) {
            if let Some(count) = ends.get_mut(number as usize) {
                *count += 1;
            }
        }
        let mut start = 0;
        for count in &mut ends {
            start += std::mem::replace(count, start);
        }
        // Now they are the starts; every holder that is put in its place moves one on.
        let mut holders = vec![0; start];
        for (holder, list) in lists {
            for &number in list {
                if let Some(place) = ends.get_mut(number as usize) {
                    holders[*place] = holder;
                    *place += 1;
                }
            }
        }
        Self { ends, holders }
    }

    fn of(&self, number: usize) -> &[u32] {
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.holders[start..self.ends[number]]
    }
}
