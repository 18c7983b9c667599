//! One name in one release: all that is installed of it in the fleet, and all that is claimed about it. Takes claims'
//! terms; gives the hosts they affect.

use super::delta::{Sets, Standing};
use super::lane::Lane;
use super::row::{Row, Rows};
use crate::judge::Installed;
use crate::judge::terms::{Assessment, Meaning, Speaks, Terms, assess};
use advisory::{NameKind, Order, Release};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// What claims and installed packages meet in: a name in a release.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// In which release.
    pub release: Release,
    /// Source or binary name.
    pub name_kind: NameKind,
    /// The name.
    pub name: Box<str>,
}

/// Hosts by minor release (`VERSION_ID`), which EUS claims speak to.
pub(super) type Minors = HashMap<Arc<str>, RoaringBitmap>;

/// Everything about one subject.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) subject: Arc<Subject>,
    pub(super) order: Option<Order>,
    /// Rows that are judged by their version alone.
    lanes: Vec<Lane>,
    /// Rows of which each is judged by itself.
    odd: Vec<u32>,
    /// By advisory, sorted: what it claims.
    pub(super) claims: Vec<(u32, Box<[Terms]>)>,
}

impl Topic {
    pub(super) fn new(subject: Subject) -> Self {
        let order = subject.release.family.order();
        Self { subject: Arc::new(subject), order, lanes: Vec::new(), odd: Vec::new(), claims: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.odd.is_empty() && self.claims.is_empty()
    }

    pub(super) fn insert(&mut self, id: u32, row: &Row) {
        match row.plain_version() {
            Some(version) => self.lane_for(&row.installed).insert(id, version),
            None => self.odd.push(id),
        }
    }

    pub(super) fn remove(&mut self, id: u32, row: &Row) {
        let Some(version) = row.plain_version() else {
            self.odd.retain(|&other| other != id);
            return;
        };
        if let Some(at) = self.lanes.iter().position(|lane| lane.takes(&row.installed)) {
            self.lanes[at].remove(id, version);
            if self.lanes[at].is_empty() {
                self.lanes.swap_remove(at);
            }
        }
    }

    /// The hosts of a row changed.
    pub(super) fn touch(&mut self, row: &Row) {
        if let Some(version) = row.plain_version()
            && let Some(lane) =
                self.lanes.iter_mut().find(|lane| !lane.is_unjoined() && lane.takes(&row.installed))
        {
            lane.touch(version);
        }
    }

    fn lane_for(&mut self, installed: &Installed) -> &mut Lane {
        let at = self.lanes.iter().position(|lane| lane.takes(installed)).unwrap_or_else(|| {
            self.lanes.push(Lane::for_builds_like(installed));
            self.lanes.len() - 1
        });
        &mut self.lanes[at]
    }

    /// Fills an empty topic with all its rows.
    pub(super) fn fill(&mut self, rows: &Rows, ids: &[u32]) {
        let mut lanes: Vec<Vec<_>> = Vec::new();
        for &id in ids {
            let row = &rows[id as usize];
            let Some(version) = row.plain_version() else {
                self.odd.push(id);
                continue;
            };
            let lane = self.lanes.iter().position(|lane| lane.takes(&row.installed)).unwrap_or_else(|| {
                self.lanes.push(Lane::for_builds_like(&row.installed));
                lanes.push(Vec::new());
                lanes.len() - 1
            });
            lanes[lane].push((version.clone(), id));
        }
        for (lane, rows) in self.lanes.iter_mut().zip(lanes) {
            lane.fill(rows);
        }
    }

    /// Brings the prefix unions up to date; only needed where something is claimed.
    pub(super) fn refresh(&mut self, rows: &Rows) {
        for lane in &mut self.lanes {
            lane.refresh(rows);
        }
    }

    /// All rows of the subject.
    pub(super) fn row_ids(&self) -> impl Iterator<Item = u32> {
        self.lanes.iter().flat_map(Lane::rows).chain(self.odd.iter().copied())
    }

    /// What an advisory claims about the subject.
    pub(super) fn claims_of(&self, advisory: u32) -> &[Terms] {
        let at = self.claims.binary_search_by_key(&advisory, |(id, _)| *id);
        at.map_or(&[], |at| &self.claims[at].1)
    }

    pub(super) fn set_claims(&mut self, advisory: u32, terms: Box<[Terms]>) {
        if self.claims.last().is_none_or(|(last, _)| *last < advisory) {
            self.claims.push((advisory, terms));
            return;
        }
        match self.claims.binary_search_by_key(&advisory, |(id, _)| *id) {
            Ok(at) => self.claims[at].1 = terms,
            Err(at) => self.claims.insert(at, (advisory, terms)),
        }
    }

    pub(super) fn drop_claims(&mut self, advisory: u32) {
        if let Ok(at) = self.claims.binary_search_by_key(&advisory, |(id, _)| *id) {
            self.claims.remove(at);
        }
    }

    /// The hosts that an advisory affects through this subject.
    pub(super) fn hosts(&self, claims: &[Terms], rows: &Rows, minors: &Minors) -> Sets {
        let mut sets = Sets::default();
        for terms in claims.iter().filter(|terms| !terms.withdrawn()) {
            let Some(minor) = terms.minor() else {
                sets |= self.hosts_of(terms, rows);
                continue;
            };
            if let Some(hosts) = minors.get(minor) {
                let mut spoken_to = self.hosts_of(terms, rows);
                spoken_to &= hosts;
                sets |= spoken_to;
            }
        }
        sets
    }

    fn hosts_of(&self, terms: &Terms, rows: &Rows) -> Sets {
        let mut sets = Sets::default();
        for lane in &self.lanes {
            let all = 0..lane.versions().len();
            match terms.speaks(lane.arch(), lane.stream(), lane.flavour()) {
                Speaks::No => continue,
                Speaks::Unclear(_) => {
                    sets.undetermined |= lane.union(all, rows);
                    continue;
                }
                Speaks::Yes => {}
            }
            let span = terms.span(lane.versions());
            match span.meaning {
                Meaning::Clean => {}
                Meaning::Affected => sets.affected |= lane.union(span.range, rows),
                Meaning::Undetermined => {
                    let mut start = span.range.start;
                    for &at in span.listed.iter().filter(|at| span.range.contains(at)) {
                        sets.undetermined |= lane.union(start..at, rows);
                        start = at + 1;
                    }
                    sets.undetermined |= lane.union(start..span.range.end, rows);
                }
            }
            if terms.listed_are_affected() {
                for at in span.listed {
                    sets.affected |= lane.union(at..at + 1, rows);
                }
            }
        }
        for &id in &self.odd {
            let row = &rows[id as usize];
            match assess(terms, &row.installed, &row.parsed, self.order) {
                Some(Assessment::Affected(_)) => sets.affected |= &row.hosts,
                Some(Assessment::StillMapped | Assessment::StillBooted) => sets.still_running |= &row.hosts,
                Some(Assessment::Undetermined(_)) => sets.undetermined |= &row.hosts,
                Some(Assessment::Fixed | Assessment::NotAffected(_)) | None => {}
            }
        }
        sets
    }

    /// What an advisory means for one host that has, behind the topic, these rows of it.
    pub(super) fn standing(
        &self,
        claims: &[Terms],
        minor: &str,
        ids: &[(u32, u32)],
        rows: &Rows,
    ) -> Standing {
        let mut standing = Standing::default();
        for terms in claims.iter().filter(|terms| terms.minor().is_none_or(|claimed| claimed == minor)) {
            for &(_, id) in ids {
                let row = &rows[id as usize];
                match assess(terms, &row.installed, &row.parsed, self.order) {
                    Some(Assessment::Affected(_)) => standing.affected = true,
                    Some(Assessment::StillMapped | Assessment::StillBooted) => standing.still_running = true,
                    Some(Assessment::Undetermined(_)) => standing.undetermined = true,
                    Some(Assessment::Fixed | Assessment::NotAffected(_)) | None => {}
                }
            }
        }
        standing
    }
}
