//! Builds of one name that compare with each other, in version order, with the hosts that have them. Takes a range of
//! versions; gives the union of their hosts.

use super::row::Rows;
use crate::judge::{Installed, Stream};
use advisory::Version;
use roaring::{MultiOps, RoaringBitmap};
use std::ops::Range;

/// How many versions lie between two prefix unions.
///
/// Every version its own union would cost 80,000 versions × up to 8 KiB for 10,000 hosts = 640 MB; every fourth costs a
/// quarter, and a query joins at most three more bitmaps.
const STRIDE: usize = 4;

/// Sound builds of one name that share architecture, module stream and flavour.
#[derive(Debug)]
pub(super) struct Lane {
    arch: Box<str>,
    stream: Stream,
    flavour: Option<Box<str>>,
    /// Sorted, each once.
    versions: Vec<Version>,
    /// By version: the rows that have it; more than one where texts differ (`1.0`, `0:1.0`).
    slots: Vec<Vec<u32>>,
    /// `prefixes[i]`: hosts of the first `(i + 1) × STRIDE` versions. Shorter than it could be where versions changed.
    prefixes: Vec<RoaringBitmap>,
}

impl Lane {
    pub(super) fn for_builds_like(installed: &Installed) -> Self {
        Self {
            arch: installed.arch.clone(),
            stream: installed.stream.clone(),
            flavour: installed.flavour.clone(),
            versions: Vec::new(),
            slots: Vec::new(),
            prefixes: Vec::new(),
        }
    }

    pub(super) fn takes(&self, installed: &Installed) -> bool {
        self.arch == installed.arch && self.stream == installed.stream && self.flavour == installed.flavour
    }

    pub(super) fn arch(&self) -> &str {
        &self.arch
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn flavour(&self) -> Option<&str> {
        self.flavour.as_deref()
    }

    pub(super) fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// Its rows, in version order.
    pub(super) fn rows(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().flatten().copied()
    }

    /// Whether nothing was joined yet, so that no change of hosts matters.
    pub(super) fn is_unjoined(&self) -> bool {
        self.prefixes.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    pub(super) fn insert(&mut self, row: u32, version: &Version) {
        match self.versions.binary_search(version) {
            Ok(at) => {
                self.slots[at].push(row);
                self.changed(at);
            }
            Err(at) => {
                self.versions.insert(at, version.clone());
                self.slots.insert(at, vec![row]);
                self.changed(at);
            }
        }
    }

    pub(super) fn remove(&mut self, row: u32, version: &Version) {
        let Ok(at) = self.versions.binary_search(version) else { return };
        self.slots[at].retain(|&other| other != row);
        if self.slots[at].is_empty() {
            self.versions.remove(at);
            self.slots.remove(at);
        }
        self.changed(at);
    }

    /// The hosts of a version changed.
    pub(super) fn touch(&mut self, version: &Version) {
        if let Ok(at) = self.versions.binary_search(version) {
            self.changed(at);
        }
    }

    /// Fills an empty lane; cheaper than inserting one by one.
    pub(super) fn fill(&mut self, mut rows: Vec<(Version, u32)>) {
        rows.sort_unstable();
        for (version, row) in rows {
            if self.versions.last() == Some(&version)
                && let Some(slot) = self.slots.last_mut()
            {
                slot.push(row);
            } else {
                self.versions.push(version);
                self.slots.push(vec![row]);
            }
        }
        self.prefixes.clear();
    }

    fn changed(&mut self, at: usize) {
        self.prefixes.truncate(at / STRIDE);
    }

    /// Brings the prefix unions up to date.
    pub(super) fn refresh(&mut self, rows: &Rows) {
        while (self.prefixes.len() + 1) * STRIDE <= self.slots.len() {
            let start = self.prefixes.len() * STRIDE;
            let mut union = self.prefixes.last().cloned().unwrap_or_default();
            self.join(&mut union, start..start + STRIDE, rows);
            self.prefixes.push(union);
        }
    }

    /// Hosts that have a version of `range`. Right without [`Lane::refresh`], then slower.
    pub(super) fn union(&self, range: Range<usize>, rows: &Rows) -> RoaringBitmap {
        let known = if range.start == 0 { self.prefixes.len().min(range.end / STRIDE) } else { 0 };
        match known.checked_sub(1) {
            Some(last) => {
                let mut union = self.prefixes[last].clone();
                self.join(&mut union, known * STRIDE..range.end, rows);
                union
            }
            None => self.hosts(range, rows).union(),
        }
    }

    /// Adds the hosts of a few versions. One by one: joining many at once goes by way of a bitmap of 8 KiB.
    fn join(&self, union: &mut RoaringBitmap, range: Range<usize>, rows: &Rows) {
        for hosts in self.hosts(range, rows) {
            *union |= hosts;
        }
    }

    fn hosts<'r>(&'r self, range: Range<usize>, rows: &'r Rows) -> impl Iterator<Item = &'r RoaringBitmap> {
        self.slots[range].iter().flatten().map(|&row| &rows[row as usize].hosts)
    }
}
