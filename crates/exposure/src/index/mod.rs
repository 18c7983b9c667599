//! The whole fleet against all bulletins. Takes inventories and advisories one by one as they come; gives, for each, which
//! hosts changed. It answers as [`judge`](crate::judge::judge()) would for every host, without asking it for each.
//!
//! Every distinct installed build is one row with a bitmap of its hosts. A bulletin is two binary searches per claim and
//! a union of bitmaps; a host's report touches only the rows that changed. The result does not depend on the order
//! in which things came: an increment equals a rebuild. What hosts have in common is kept once: memory grows with distinct
//! lists of rows, and little with hosts.

mod builds;
mod delta;
mod evidence;
mod lane;
mod lists;
mod lookup;
mod rebuild;
mod row;
mod snapshot;
mod stock;
mod topic;

pub use delta::{Change, Sets, Standing};
pub use evidence::{Evidence, Plight};
pub use snapshot::{HostRows, Snapshot};
pub use stock::{Batch, Fresh, Own, Stock};
pub use topic::Subject;

use crate::inventory::Inventory;
use crate::judge::terms::Terms;
use crate::judge::{Host, Installed, Plain};
use advisory::{Advisory, Claim, NameKind, Release};
use builds::Builds;
use lists::Shares;
use roaring::RoaringBitmap;
use row::{Row, Rows};
use slab::Slab;
use std::collections::HashMap;
use std::sync::Arc;
use topic::{Minors, Topic};

/// A host's number in the index; whoever keeps the hosts assigns it.
pub type HostId = u32;

/// The fleet and the bulletins, and what they mean for each other.
#[derive(Debug, Default)]
pub struct Index {
    hosts: HashMap<HostId, Seen>,
    shares: Shares,
    minors: Minors,
    rows: Rows,
    topics: Slab<Topic>,
    names: HashMap<Release, Names>,
    advisories: Slab<Filed>,
    ids: HashMap<Arc<str>, u32>,
}

/// What a host reported last.
#[derive(Debug)]
struct Seen {
    release: Release,
    minor: Arc<str>,
    /// Its rows: a set of [`Shares`].
    set: u32,
}

/// Topics of one release by name, and its rows by build.
#[derive(Debug, Default)]
struct Names {
    source: HashMap<Box<str>, u32>,
    binary: HashMap<Box<str>, u32>,
    builds: Builds,
}

impl Names {
    /// The topic of a name, made if there is none.
    fn topic(&mut self, topics: &mut Slab<Topic>, release: &Release, kind: NameKind, name: &str) -> u32 {
        let names = self.of(kind);
        if let Some(&topic) = names.get(name) {
            return topic;
        }
        let subject = Subject { release: release.clone(), name_kind: kind, name: name.into() };
        let topic = number(topics.insert(Topic::new(subject)));
        names.insert(name.into(), topic);
        topic
    }

    fn is_empty(&self) -> bool {
        self.source.is_empty() && self.binary.is_empty()
    }

    fn known(&self, kind: NameKind, name: &str) -> Option<u32> {
        match kind {
            NameKind::Source => self.source.get(name),
            NameKind::Binary => self.binary.get(name),
        }
        .copied()
    }

    fn of(&mut self, kind: NameKind) -> &mut HashMap<Box<str>, u32> {
        match kind {
            NameKind::Source => &mut self.source,
            NameKind::Binary => &mut self.binary,
        }
    }
}

/// What an advisory claims, by topic, sorted.
type Claims = Vec<(u32, Box<[Terms]>)>;

/// An advisory in the index; its claims lie with their topics.
#[derive(Debug)]
struct Filed {
    id: Arc<str>,
    /// Sorted.
    topics: Vec<u32>,
}

impl Index {
    /// An index of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a host's inventory in the place of an earlier one; tells what changed for it.
    pub fn upsert_host(&mut self, id: HostId, inventory: &Inventory) -> Vec<Change> {
        let lists = self.rows_of(inventory);
        let set = self.shares.take(&lists);
        let release = inventory.system.release.clone();
        let minor = match self.minors.get_key_value(inventory.system.version_id.as_str()) {
            Some((minor, _)) => Arc::clone(minor),
            None => Arc::from(inventory.system.version_id.as_str()),
        };
        self.replace_host(id, Some(Seen { release, minor, set }))
    }

    /// Forgets a host; tells what it was affected by.
    pub fn remove_host(&mut self, id: HostId) -> Vec<Change> {
        self.replace_host(id, None)
    }

    /// Takes an advisory in the place of an earlier revision; tells which hosts that changes.
    pub fn upsert_advisory(&mut self, advisory: &Advisory) -> Vec<Change> {
        let terms = |claim: &Claim| {
            let topic = self.topic_of(&claim.release, claim.name_kind, &claim.name);
            (topic, Terms::new(advisory, claim))
        };
        let claims = by_topic(advisory.claims.iter().map(terms).collect());
        self.replace_advisory(&advisory.id, claims)
    }

    /// Forgets an advisory; tells which hosts it affected.
    pub fn remove_advisory(&mut self, id: &str) -> Vec<Change> {
        self.replace_advisory(id, Vec::new())
    }

    /// The hosts that an advisory affects; empty for one that is not known.
    pub fn affected(&self, advisory: &str) -> RoaringBitmap {
        self.sets(advisory).affected
    }

    /// The hosts that an advisory affects, still run what it fixes, or cannot be judged.
    pub fn sets(&self, advisory: &str) -> Sets {
        let mut sets = Sets::default();
        for (_, of_subject) in self.sets_by_subject(advisory) {
            sets |= of_subject;
        }
        sets
    }

    /// The same, package by package: the sum of all [`Change`]s that were told. Packages without a host are left out.
    pub fn sets_by_subject(&self, advisory: &str) -> Vec<(Arc<Subject>, Sets)> {
        let Some(&id) = self.ids.get(advisory) else { return Vec::new() };
        let topics = self.advisories[id as usize].topics.iter().map(|&topic| &self.topics[topic as usize]);
        topics
            .map(|topic| {
                let sets = topic.hosts(topic.claims_of(id), &self.rows, &self.minors);
                (Arc::clone(&topic.subject), sets)
            })
            .filter(|(_, sets)| !sets.is_empty())
            .collect()
    }

    /// What is not clean on a host, sorted by subject and advisory; empty for a host that is not known.
    pub fn findings_of(&self, host: HostId) -> Vec<(Arc<Subject>, Arc<str>, Standing)> {
        let Some(seen) = self.hosts.get(&host) else { return Vec::new() };
        let claimed = |topic: u32| !self.topics[topic as usize].claims.is_empty();
        let by_topic = self.by_topic(&self.shares.rows(seen.set), claimed);
        let mut by_topic: Vec<_> = by_topic
            .chunk_by(|(one, _), (next, _)| one == next)
            .map(|rows| (&self.topics[rows[0].0 as usize], rows))
            .collect();
        by_topic.sort_unstable_by(|(one, _), (next, _)| one.subject.cmp(&next.subject));
        let mut findings = Vec::new();
        for (topic, rows) in by_topic {
            let first = findings.len();
            for (advisory, claims) in &topic.claims {
                let standing = topic.standing(claims, &seen.minor, rows, &self.rows);
                if !standing.is_clean() {
                    let id = Arc::clone(&self.advisories[*advisory as usize].id);
                    findings.push((Arc::clone(&topic.subject), id, standing));
                }
            }
            findings[first..].sort_unstable_by(|(_, one, _), (_, next, _)| one.cmp(next));
        }
        findings
    }

    /// Every host that has an inventory here.
    pub fn hosts(&self) -> RoaringBitmap {
        self.hosts.keys().copied().collect()
    }

    /// How many names, of packages installed or spoken of, are kept.
    pub fn subjects(&self) -> usize {
        self.topics.len()
    }

    /// Ids of all advisories, in no order.
    pub fn advisories(&self) -> impl Iterator<Item = &str> {
        self.advisories.iter().map(|(_, filed)| &*filed.id)
    }

    fn replace_host(&mut self, id: HostId, new: Option<Seen>) -> Vec<Change> {
        let old = self.hosts.remove(&id);
        let rows_of =
            |seen: &Option<Seen>| seen.as_ref().map(|seen| self.shares.rows(seen.set)).unwrap_or_default();
        let minor_of = |seen: &Option<Seen>| seen.as_ref().map(|seen| Arc::clone(&seen.minor));
        let (old_rows, new_rows) = (rows_of(&old), rows_of(&new));
        let (old_minor, new_minor) = (minor_of(&old), minor_of(&new));
        let (gone, come) = differences(&old_rows, &new_rows);
        let claimed = |row: &u32| {
            let topic = self.rows[*row as usize].topic;
            (!self.topics[topic as usize].claims.is_empty()).then_some(topic)
        };
        // Another minor release hears other claims, about everything it has.
        let mut touched: Vec<u32> = if old_minor == new_minor {
            gone.iter().chain(&come).filter_map(claimed).collect()
        } else {
            old_rows.iter().chain(&new_rows).filter_map(claimed).collect()
        };
        touched.sort_unstable();
        touched.dedup();
        let mut changes = Vec::new();
        if !touched.is_empty() {
            let is_touched = |topic: u32| touched.binary_search(&topic).is_ok();
            let before = self.by_topic(&old_rows, is_touched);
            let after = self.by_topic(&new_rows, is_touched);
            for &topic in &touched {
                let (before, after) = (rows_in(&before, topic), rows_in(&after, topic));
                let topic = &self.topics[topic as usize];
                for (advisory, claims) in &topic.claims {
                    let standing = |minor: &Option<Arc<str>>, rows: &[(u32, u32)]| {
                        let minor = minor.as_deref().unwrap_or_default();
                        topic.standing(claims, minor, rows, &self.rows)
                    };
                    let (was, is) = (standing(&old_minor, before), standing(&new_minor, after));
                    if was != is {
                        changes.push(Change {
                            advisory: Arc::clone(&self.advisories[*advisory as usize].id),
                            subject: Arc::clone(&topic.subject),
                            entered: is.without(was, id),
                            left: was.without(is, id),
                        });
                    }
                }
            }
        }
        for row in come {
            self.rows[row as usize].hosts.insert(id);
            self.touch(row);
        }
        for row in gone {
            self.rows[row as usize].hosts.remove(id);
            self.touch(row);
            self.forget_row_if_unused(row);
        }
        if old_minor != new_minor {
            if let Some(minor) = old_minor
                && let Some(hosts) = self.minors.get_mut(&minor)
            {
                hosts.remove(id);
                if hosts.is_empty() {
                    self.minors.remove(&minor);
                }
            }
            if let Some(minor) = new_minor {
                self.minors.entry(minor).or_default().insert(id);
            }
        }
        if let Some(seen) = old {
            self.shares.leave(seen.set);
        }
        self.hosts.extend(new.map(|seen| (id, seen)));
        changes
    }

    fn replace_advisory(&mut self, id: &str, claims: Claims) -> Vec<Change> {
        let number = match self.ids.get(id) {
            Some(&number) => number,
            None if claims.is_empty() => return Vec::new(),
            None => {
                let id = Arc::from(id);
                let number =
                    number(self.advisories.insert(Filed { id: Arc::clone(&id), topics: Vec::new() }));
                self.ids.insert(id, number);
                number
            }
        };
        let filed = &mut self.advisories[number as usize];
        let id = Arc::clone(&filed.id);
        let old = std::mem::replace(&mut filed.topics, claims.iter().map(|(topic, _)| *topic).collect());
        let mut changes = Vec::new();
        let mut touched: Vec<u32> = old.into_iter().chain(claims.iter().map(|(topic, _)| *topic)).collect();
        touched.sort_unstable();
        touched.dedup();
        let mut claims = claims.into_iter().peekable();
        for number_of_topic in touched {
            let topic = &mut self.topics[number_of_topic as usize];
            topic.refresh(&self.rows);
            let was = topic.hosts(topic.claims_of(number), &self.rows, &self.minors);
            match claims.next_if(|(topic, _)| *topic == number_of_topic) {
                Some((_, terms)) => topic.set_claims(number, terms),
                None => topic.drop_claims(number),
            }
            let is = topic.hosts(topic.claims_of(number), &self.rows, &self.minors);
            let (entered, left) = (is.without(&was), was.without(&is));
            if !entered.is_empty() || !left.is_empty() {
                let subject = Arc::clone(&topic.subject);
                changes.push(Change { advisory: Arc::clone(&id), subject, entered, left });
            }
            self.forget_topic_if_unused(number_of_topic);
        }
        if self.advisories[number as usize].topics.is_empty() {
            self.advisories.remove(number as usize);
            self.ids.remove(&id);
        }
        changes
    }

    /// Of `rows` those of some topics, each behind its topic, sorted.
    fn by_topic(&self, rows: &[u32], wanted: impl Fn(u32) -> bool) -> Vec<(u32, u32)> {
        let with_topic = rows.iter().map(|&row| (self.rows[row as usize].topic, row));
        let mut by_topic: Vec<(u32, u32)> = with_topic.filter(|&(topic, _)| wanted(topic)).collect();
        by_topic.sort_unstable();
        by_topic
    }

    /// The rows of everything an inventory names, made if there are none: a list for each batch of its packages, sorted,
    /// each row once in a list. Hosts whose batch is the same have the same list.
    fn rows_of(&mut self, inventory: &Inventory) -> Vec<Vec<u32>> {
        let host = Host::new(inventory);
        let release = &inventory.system.release;
        // Taken out while it is used: a host's packages are all of one release.
        let mut names = self.names.remove(release).unwrap_or_default();
        let mut rows: Vec<(char, u32)> = Vec::with_capacity(2 * inventory.packages.len());
        for package in &inventory.packages {
            let known = |plain: &Plain<'_>| {
                names.builds.find(names.builds.hash_plain(plain), |row| {
                    let row = &self.rows[row as usize];
                    row.read_here && plain.is(&row.installed)
                })
            };
            let both =
                host.plain(package).and_then(|[binary, source]| Some([known(&binary)?, known(&source)?]));
            let batch = package.batch();
            if let Some(both) = both {
                rows.extend(both.map(|row| (batch, row)));
            } else {
                let row = |installed| (batch, self.row_of(&mut names, release, installed));
                rows.extend(host.names(package).map(row));
            }
        }
        if !names.is_empty() {
            self.names.insert(release.clone(), names);
        }
        rows.sort_unstable();
        rows.dedup();
        let batches = rows.chunk_by(|(one, _), (next, _)| one == next);
        batches.map(|rows| rows.iter().map(|&(_, row)| row).collect()).collect()
    }

    fn row_of(&mut self, names: &mut Names, release: &Release, installed: Installed) -> u32 {
        let hash = names.builds.hash(&installed);
        if let Some(id) = names.builds.find(hash, |row| *self.rows[row as usize].installed == installed) {
            self.rows[id as usize].read_here = true;
            return id;
        }
        let number_of_topic = names.topic(&mut self.topics, release, installed.name_kind, &installed.name);
        let topic = &mut self.topics[number_of_topic as usize];
        let row = Row { read_here: true, ..Row::new(Arc::new(installed), number_of_topic, topic.order) };
        let id = number(self.rows.insert(row));
        names.builds.insert(hash, id);
        topic.insert(id, &self.rows[id as usize]);
        id
    }

    fn topic_of(&mut self, release: &Release, kind: NameKind, name: &str) -> u32 {
        if let Some(names) = self.names.get_mut(release) {
            return names.topic(&mut self.topics, release, kind, name);
        }
        let names = self.names.entry(release.clone()).or_default();
        names.topic(&mut self.topics, release, kind, name)
    }

    fn touch(&mut self, row: u32) {
        let row = &self.rows[row as usize];
        self.topics[row.topic as usize].touch(row);
    }

    fn forget_row_if_unused(&mut self, id: u32) {
        if self.rows[id as usize].hosts.is_empty() {
            let row = self.rows.remove(id as usize);
            let topic = &mut self.topics[row.topic as usize];
            topic.remove(id, &row);
            if let Some(Names { builds, .. }) = self.names.get_mut(&topic.subject.release) {
                builds.remove(builds.hash(&row.installed), id);
            }
            self.forget_topic_if_unused(row.topic);
        }
    }

    fn forget_topic_if_unused(&mut self, id: u32) {
        if !self.topics[id as usize].is_empty() {
            return;
        }
        let Subject { release, name_kind, name } = &*self.topics.remove(id as usize).subject;
        if let Some(names) = self.names.get_mut(release) {
            names.of(*name_kind).remove(name);
            if names.is_empty() {
                self.names.remove(release);
            }
        }
    }
}

/// Sorts claims by the topic before them; those of one topic stay in their order.
fn by_topic(mut claims: Vec<(u32, Terms)>) -> Claims {
    claims.sort_by_key(|(topic, _)| *topic);
    let runs = claims.chunk_by(|(one, _), (next, _)| one == next);
    let runs: Vec<(u32, usize)> = runs.map(|run| (run[0].0, run.len())).collect();
    let mut terms = claims.into_iter().map(|(_, terms)| terms);
    runs.into_iter().map(|(topic, count)| (topic, terms.by_ref().take(count).collect())).collect()
}

/// What only the first, and what only the second has of two sorted lists.
fn differences(old: &[u32], new: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let (mut gone, mut come) = (Vec::new(), Vec::new());
    let (mut old, mut new) = (old.iter().copied().peekable(), new.iter().copied().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (Some(one), Some(other)) if one == other => {
                old.next();
                new.next();
            }
            (Some(one), Some(other)) if one > other => come.extend(new.next()),
            (Some(_), _) => gone.extend(old.next()),
            (None, Some(_)) => come.extend(new.next()),
            (None, None) => return (gone, come),
        }
    }
}

/// The rows of one topic in what [`Index::by_topic`] gave.
fn rows_in(by_topic: &[(u32, u32)], topic: u32) -> &[(u32, u32)] {
    let start = by_topic.partition_point(|&(other, _)| other < topic);
    let end = by_topic.partition_point(|&(other, _)| other <= topic);
    &by_topic[start..end]
}

/// A slab's key as it is kept. Four bytes each: a fleet keeps millions.
fn number(key: usize) -> u32 {
    u32::try_from(key)
        .expect("a row, topic or advisory takes over 100 bytes; 2³² of them do not fit in memory")
}
