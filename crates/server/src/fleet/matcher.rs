//! The one server that stores findings. Takes where findings may have changed; writes what differs from what is open.
//!
//! It keeps in memory what is open in the store. Whoever takes the role over reads that anew and writes the difference to
//! its own index, so that nothing is lost or doubled wherever the one before it stopped.

use super::Error;
use super::keys::{Key, provenance};
use super::state::{Finding, State, Touched, subject};
use crate::feeds::RESERVED;
use crate::store::advisories::{self, Revision};
use crate::store::events::{self, Kind};
use crate::store::findings::{self, Changes, Closed, Open, Opened};
use crate::store::leases::{self, Lease};
use crate::store::{self, Store};
use advisory::Advisory;
use exposure::index::{Plight, Sets};
use jiff::Timestamp;
use rayon::prelude::*;
use roaring::RoaringBitmap;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Findings written in one transaction: what takes SQLite's only writer some 50 ms.
const WRITTEN_AT_ONCE: u64 = 20_000;
/// Advisories that an event about findings names.
const NAMED_MAX: usize = 100;

/// What is open, by advisory and package.
type Mirror = HashMap<Arc<str>, BTreeMap<String, Sets>>;

/// The role, and what is open in the store as far as whoever has the role knows.
#[derive(Debug)]
pub(super) struct Matcher {
    pub(super) lease: Lease,
    open: Mirror,
    /// What hosts say and is stored: provenance and id.
    stored: BTreeSet<(String, String)>,
}

/// What one package of one advisory is to be in the store from now on.
#[derive(Clone, Debug)]
pub(super) struct Delta {
    advisory: Arc<str>,
    package: String,
    plight: Plight,
    begins: RoaringBitmap,
    ends: RoaringBitmap,
}

/// What became of a writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Something.
    Yes,
    /// There was nothing to write.
    Nothing,
    /// Somebody else has the role now; nothing was written.
    Lost,
}

impl Matcher {
    /// Takes over: reads what is open.
    pub(super) async fn new(store: &Store, lease: Lease) -> Result<Self, Error> {
        let mut open = Mirror::new();
        for Open { advisory, package, plight, hosts } in findings::open(store).await? {
            *open.entry(Arc::from(advisory)).or_default().entry(package).or_default().of_mut(plight) |= hosts;
        }
        let mut stored = BTreeSet::new();
        let mut pages = advisories::said_by_hosts(store);
        loop {
            let page = pages.next().await?;
            if page.is_empty() {
                return Ok(Self { lease, open, stored });
            }
            stored.extend(page);
        }
    }

    /// Everything where the index and the store differ.
    pub(super) fn differences(&self, state: &State) -> Touched {
        let mut ids: BTreeSet<&Arc<str>> = self.open.keys().collect();
        ids.extend(state.keys.ids());
        let ids: Vec<&Arc<str>> = ids.into_iter().collect();
        let differs = |id: &&&Arc<str>| self.open.get(**id).unwrap_or(&BTreeMap::new()) != &state.sets(id);
        let advisories = ids.par_iter().filter(differs).map(|id| Arc::clone(id)).collect();
        let said: BTreeSet<Key> = state.keys.said_by_hosts().cloned().collect();
        Touched { advisories, hosts: BTreeMap::new(), said }
    }

    /// What is to be written where something was touched.
    pub(super) fn deltas(&self, state: &State, touched: &Touched) -> Vec<Delta> {
        let none = BTreeMap::new();
        let mut deltas: Vec<Delta> = touched
            .advisories
            .par_iter()
            .flat_map_iter(|id| {
                let was = self.open.get(id).unwrap_or(&none);
                between(id, was, &state.sets(id))
            })
            .collect();
        let mut single: BTreeMap<Finding, Delta> = BTreeMap::new();
        for (&host, ids) in &touched.hosts {
            let now = state.findings_of(host);
            let mut was = BTreeSet::new();
            for id in ids.iter().filter(|id| !touched.advisories.contains(*id)) {
                for (package, sets) in self.open.get(id).unwrap_or(&none) {
                    for plight in Plight::ALL.into_iter().filter(|&plight| sets.of(plight).contains(host)) {
                        was.insert(Finding { advisory: Arc::clone(id), package: package.clone(), plight });
                    }
                }
            }
            let wanted = |finding: &&Finding| {
                ids.contains(&finding.advisory) && !touched.advisories.contains(&finding.advisory)
            };
            for finding in now.iter().filter(wanted).filter(|finding| !was.contains(*finding)) {
                single.entry(finding.clone()).or_insert_with(|| Delta::none(finding)).begins.insert(host);
            }
            for finding in was.iter().filter(|finding| !now.contains(*finding)) {
                single.entry(finding.clone()).or_insert_with(|| Delta::none(finding)).ends.insert(host);
            }
        }
        deltas.extend(single.into_values());
        deltas
    }

    /// Writes `deltas`, and what hosts began or ceased to say; in several transactions where there is much.
    pub(super) async fn write(
        &mut self,
        store: &Store,
        now: Timestamp,
        deltas: Vec<Delta>,
        worded: Vec<Opened>,
        said: Vec<(Key, Option<Arc<Advisory>>)>,
    ) -> Result<Written, Error> {
        let mut opened: HashMap<(String, String, Plight), Vec<Opened>> = HashMap::new();
        for one in worded {
            let place = (one.advisory.clone(), one.package.clone(), one.plight);
            opened.entry(place).or_default().push(one);
        }
        let mut written = self.write_said(store, now, said).await?;
        if written == Written::Lost {
            return Ok(written);
        }
        let mut rest = deltas.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut some, mut count) = (Vec::new(), 0);
            while let Some(delta) = rest.next_if(|_| count < WRITTEN_AT_ONCE) {
                count += delta.begins.len() + delta.ends.len();
                some.push(delta);
            }
            let mut changes = Changes::default();
            for delta in &some {
                let place = (delta.advisory.to_string(), delta.package.clone(), delta.plight);
                changes.opened.extend(opened.remove(&place).unwrap_or_default());
                if !delta.ends.is_empty() {
                    let (advisory, package, plight) = place;
                    changes.closed.push(Closed { advisory, package, plight, hosts: delta.ends.clone() });
                }
            }
            let mut writing = store.begin().await?;
            if !leases::hold(&mut writing, &self.lease).await? {
                return Ok(Written::Lost);
            }
            findings::write(&mut writing, store.dialect(), now, &changes).await?;
            let (object, told) = told(&some, &changes);
            events::tell(&mut writing, now, Kind::Findings, &object, &told).await?;
            store::commit(writing, "store findings").await?;
            for delta in some {
                self.took(delta);
            }
            written = Written::Yes;
        }
        Ok(written)
    }

    /// What hosts' package managers say is stored once for all that say it, so that a finding's advisory can be shown.
    async fn write_said(
        &mut self,
        store: &Store,
        now: Timestamp,
        said: Vec<(Key, Option<Arc<Advisory>>)>,
    ) -> Result<Written, Error> {
        let mut changes = Vec::new();
        for (key, text) in said {
            let Some((id, _)) = key.rsplit_once('@') else { continue };
            let place = (provenance(&key), id.to_owned());
            match text {
                Some(text) if !self.stored.contains(&place) => {
                    let revision = Revision::new(&text, advisories::hash(&text));
                    changes.push((place, Some(revision)));
                }
                None if self.stored.contains(&place) => changes.push((place, None)),
                Some(_) | None => {}
            }
        }
        if changes.is_empty() {
            return Ok(Written::Nothing);
        }
        let mut rest = changes.into_iter().peekable();
        while rest.peek().is_some() {
            let some: Vec<_> = rest.by_ref().take(advisories::WRITTEN_AT_ONCE).collect();
            let mut writing = store.begin().await?;
            if !leases::hold(&mut writing, &self.lease).await? {
                return Ok(Written::Lost);
            }
            let at = store::moment(&mut writing, "advisory", now).await?;
            for ((feed, id), revision) in &some {
                let begun = revision.as_slice();
                let ended: &[&str] = if begun.is_empty() { &[id] } else { &[] };
                advisories::replace(&mut writing, store.dialect(), feed, at, ended, begun).await?;
            }
            store::commit(writing, "store what hosts say").await?;
            for (place, revision) in some {
                match revision {
                    Some(_) => self.stored.insert(place),
                    None => self.stored.remove(&place),
                };
            }
        }
        Ok(Written::Yes)
    }

    fn took(&mut self, delta: Delta) {
        let packages = self.open.entry(Arc::clone(&delta.advisory)).or_default();
        let sets = packages.entry(delta.package.clone()).or_default();
        let set = sets.of_mut(delta.plight);
        *set |= delta.begins;
        *set -= delta.ends;
        if sets.is_empty() {
            packages.remove(&delta.package);
        }
        if packages.is_empty() {
            self.open.remove(&delta.advisory);
        }
    }
}

impl Delta {
    fn none(finding: &Finding) -> Self {
        let Finding { advisory, package, plight } = finding.clone();
        Self { advisory, package, plight, begins: RoaringBitmap::new(), ends: RoaringBitmap::new() }
    }
}

/// What differs between two states of an advisory.
fn between(id: &Arc<str>, was: &BTreeMap<String, Sets>, is: &BTreeMap<String, Sets>) -> Vec<Delta> {
    let none = Sets::default();
    let packages: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let mut deltas = Vec::new();
    for package in packages {
        let (was, is) = (was.get(package).unwrap_or(&none), is.get(package).unwrap_or(&none));
        for plight in Plight::ALL {
            let (begins, ends) = (is.of(plight) - was.of(plight), was.of(plight) - is.of(plight));
            if !begins.is_empty() || !ends.is_empty() {
                let (advisory, package) = (Arc::clone(id), package.clone());
                deltas.push(Delta { advisory, package, plight, begins, ends });
            }
        }
    }
    deltas
}

/// Which texts are needed to say why findings begin: key, and the feed that has it.
pub(super) fn texts_of(state: &State, deltas: &[Delta]) -> BTreeMap<Arc<str>, BTreeMap<String, Key>> {
    let mut wanted: BTreeMap<Arc<str>, BTreeMap<String, Key>> = BTreeMap::new();
    for delta in deltas.iter().filter(|delta| !delta.begins.is_empty()) {
        for key in state.keys.of_id(&delta.advisory) {
            if state.keys.text(key).is_none()
                && let Some(feed) = state.keys.feed(key)
            {
                wanted
                    .entry(Arc::clone(feed))
                    .or_default()
                    .insert(delta.advisory.to_string(), Arc::clone(key));
            }
        }
    }
    wanted
}

/// What begins, each with its evidence in words. `texts`: those that [`texts_of`] asked for.
pub(super) fn worded(state: &State, deltas: &[Delta], texts: &HashMap<Key, Advisory>) -> Vec<Opened> {
    let one = |delta: &Delta| {
        let mut left = delta.begins.clone();
        let mut opened = Vec::new();
        let mut open = |evidence: String, hosts: RoaringBitmap| {
            let advisory = delta.advisory.to_string();
            let package = delta.package.clone();
            opened.push(Opened { advisory, package, plight: delta.plight, evidence, hosts });
        };
        for key in state.keys.of_id(&delta.advisory) {
            let text = state.keys.text(key).map(|text| &**text).or_else(|| texts.get(key));
            let (Some(text), Some((kind, name))) = (text, subject(&delta.package)) else { continue };
            let mut among = left.clone();
            if let Some(about) = state.keys.speaks_about(key) {
                among &= about;
            }
            for evidence in state.index.evidence(text, kind, name, &among) {
                let hosts = &evidence.hosts & &left;
                if evidence.plight == delta.plight && !hosts.is_empty() {
                    left -= &hosts;
                    open(words(&evidence.rule, text), hosts);
                }
            }
        }
        if !left.is_empty() {
            // The text was replaced while it was being looked up; the next event is about that.
            open("what it said then is not known any more".to_owned(), left);
        }
        opened
    };
    let begin: Vec<&Delta> = deltas.iter().filter(|delta| !delta.begins.is_empty()).collect();
    begin.into_par_iter().flat_map_iter(one).collect()
}

fn words(rule: &str, advisory: &Advisory) -> String {
    let document = &advisory.document;
    let mut words = format!("{rule}; document {} {}", document.feed, document.entry);
    if !document.sha256.is_empty() {
        words.push_str(", SHA-256 ");
        words.push_str(&document.sha256);
    }
    words
}

fn told(deltas: &[Delta], changes: &Changes) -> (String, serde_json::Value) {
    let ids: BTreeSet<&Arc<str>> = deltas.iter().map(|delta| &delta.advisory).collect();
    let hosts: RoaringBitmap = deltas.iter().fold(RoaringBitmap::new(), |all, d| all | &d.begins | &d.ends);
    let object = match (ids.len(), hosts.len()) {
        (1, _) => ids.first().map_or_else(String::new, ToString::to_string),
        _ => "several".to_owned(),
    };
    let named: Vec<&str> = ids.iter().take(NAMED_MAX).map(|id| &***id).collect();
    let host = (hosts.len() == 1).then(|| hosts.min()).flatten();
    let (opened, closed) = changes.counts();
    (object, json!({ "opened": opened, "closed": closed, "advisories": named, "host": host }))
}

/// Whether a feed's name is taken for what hosts say.
pub(super) fn is_of_hosts(feed: &str) -> bool {
    feed.starts_with(RESERVED)
}
