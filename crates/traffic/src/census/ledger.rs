//! Who attempted what on which day: a table that all threads write to, in bounded memory.
//!
//! The table is cut into shards by the hash of the source, each with a lock of its own. While it fits, it holds every
//! source. When it does not fit any more, it holds one source in two, in four, …, chosen by hash, and registers estimate how many
//! different ones there were. What is left at the end depends only on what was put in, not on order or threads.

use super::distinct::{self, REGISTERS};
use super::zone::Day;
use crate::format::Source;
use crate::rules::RuleId;
use hashbrown::HashTable;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shards, by the highest bits of the hash.
pub(super) const SHARDS: usize = 64;
const SHARD_BITS: u32 = SHARDS.ilog2();
/// Registers that belong to one shard: the same bits of the hash choose both.
pub(super) const SLICE: usize = REGISTERS / SHARDS;

/// From here on nothing more is left out.
pub(super) const LEVEL_MAX: u32 = 63 - SHARD_BITS;

/// Stands for every rule, and for every day, among the registers.
pub(super) const ALL: u16 = u16::MAX;

/// How much is kept of who attempted what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Different sources, at 24 bytes and a place in an index.
    pub sources_max: usize,
    /// Triples of source, signature and day, at 12 bytes and some room.
    pub cells_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // Three quarters of what fills a shard's tables before they are made twice as large.
        Self { sources_max: 3 << 18, cells_max: 3 << 19 }
    }
}

/// Attempts of one source with one signature on one day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) hash: u64,
    pub(super) source: Source,
    pub(super) rule: RuleId,
    pub(super) day: Day,
    pub(super) attempts: u32,
}

/// Requests of one source that belong together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Visit {
    pub(super) first: i64,
    pub(super) last: i64,
    /// The day that it began on.
    pub(super) day: Day,
}

/// A cell in a shard: number of the source, rule and day, attempts.
type Cell = [u32; 3];

#[derive(Debug, Default)]
pub(super) struct Shard {
    level: u32,
    index: HashTable<u32>,
    pub(super) sources: Vec<(u64, Source)>,
    pub(super) cells: HashTable<Cell>,
    pub(super) visits: BTreeMap<(u32, u16), Vec<Visit>>,
    /// By rule and day, from the level 1 on.
    pub(super) slices: BTreeMap<(u16, u16), [u8; SLICE]>,
}

/// The table of who attempted what.
#[derive(Debug)]
pub(super) struct Ledger {
    shards: Vec<Mutex<Shard>>,
    level: AtomicU32,
    sources: AtomicUsize,
    cells: AtomicUsize,
    raising: Mutex<()>,
    limits: Limits,
}

impl Ledger {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            level: AtomicU32::new(0),
            sources: AtomicUsize::new(0),
            cells: AtomicUsize::new(0),
            raising: Mutex::default(),
            limits,
        }
    }

    /// Takes events in; they are sorted by shard on the way. `visits` come with the seconds within which two belong together,
    /// and have the place of their kind for a rule.
    pub(super) fn add(&self, events: &mut [Event], visits: &mut [(Event, Visit, i64)]) {
        events.sort_unstable_by_key(|event| shard_of(event.hash));
        visits.sort_unstable_by_key(|(event, ..)| shard_of(event.hash));
        let mut visits = &visits[..];
        for run in events.chunk_by(|one, other| shard_of(one.hash) == shard_of(other.hash)) {
            let mut shard = self.shard(shard_of(run[0].hash));
            let before = (shard.sources.len(), shard.cells.len());
            for event in run {
                shard.add(event);
            }
            let own = visits.partition_point(|(event, ..)| shard_of(event.hash) <= shard_of(run[0].hash));
            for (event, visit, seconds) in &visits[..own] {
                shard.visit(event, *visit, *seconds);
            }
            visits = &visits[own..];
            self.sources.fetch_add(shard.sources.len() - before.0, Ordering::Relaxed);
            self.cells.fetch_add(shard.cells.len() - before.1, Ordering::Relaxed);
        }
        debug_assert!(visits.is_empty(), "a visit comes with its event");
        if self.is_over() {
            self.raise();
        }
    }

    /// Takes in registers of another census.
    pub(super) fn add_slice(&self, shard: usize, of: (u16, u16), registers: &[u8]) {
        let mut shard = self.shard(shard % SHARDS);
        distinct::raise(shard.slices.entry(of).or_insert([0; SLICE]), registers);
    }

    /// At least this level: another census that is added kept only so much.
    pub(super) fn at_least(&self, level: u32) {
        if level > self.level.load(Ordering::Relaxed) {
            let _one = self.raising.lock().unwrap_or_else(PoisonError::into_inner);
            self.level.fetch_max(level, Ordering::Relaxed);
            self.recount();
        }
    }

    fn is_over(&self) -> bool {
        self.sources.load(Ordering::Relaxed) > self.limits.sources_max
            || self.cells.load(Ordering::Relaxed) > self.limits.cells_max
    }

    /// Keeps fewer sources, until they fit.
    fn raise(&self) {
        let _one = self.raising.lock().unwrap_or_else(PoisonError::into_inner);
        while self.is_over() && self.level.load(Ordering::Relaxed) < LEVEL_MAX {
            self.level.fetch_add(1, Ordering::Relaxed);
            self.recount();
        }
    }

    /// Brings every shard to the level, and counts anew.
    fn recount(&self) {
        for number in 0..SHARDS {
            let mut shard = self.lock(number);
            let before = (shard.sources.len(), shard.cells.len());
            shard.bring_to(self.level.load(Ordering::Relaxed));
            self.sources.fetch_sub(before.0 - shard.sources.len(), Ordering::Relaxed);
            self.cells.fetch_sub(before.1 - shard.cells.len(), Ordering::Relaxed);
        }
    }

    /// A shard at the level that all have.
    fn shard(&self, number: usize) -> MutexGuard<'_, Shard> {
        let mut shard = self.lock(number);
        let level = self.level.load(Ordering::Relaxed);
        if shard.level < level {
            let before = (shard.sources.len(), shard.cells.len());
            shard.bring_to(level);
            self.sources.fetch_sub(before.0 - shard.sources.len(), Ordering::Relaxed);
            self.cells.fetch_sub(before.1 - shard.cells.len(), Ordering::Relaxed);
        }
        shard
    }

    fn lock(&self, number: usize) -> MutexGuard<'_, Shard> {
        // A thread that ended in the middle of an event has lost that event at most.
        self.shards[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The level, and the shards in the order of hashes.
    pub(super) fn finish(self) -> (u32, impl Iterator<Item = Shard>) {
        let level = self.level.load(Ordering::Relaxed);
        let shards = self.shards.into_iter().map(move |shard| {
            let mut shard = shard.into_inner().unwrap_or_else(PoisonError::into_inner);
            shard.bring_to(level);
            shard
        });
        (level, shards)
    }
}

impl Shard {
    fn add(&mut self, event: &Event) {
        if self.level > 0 {
            self.register(event.hash, event.rule.0, event.day.0);
        }
        if !is_kept(event.hash, self.level) {
            return;
        }
        let number = self.number(event.hash, event.source);
        let key = u32::from(event.rule.0) << 16 | u32::from(event.day.0);
        let entry = self.cells.entry(
            cell_hash(number, key),
            |cell| cell[0] == number && cell[1] == key,
            |cell| cell_hash(cell[0], cell[1]),
        );
        let cell = entry.or_insert([number, key, 0]).into_mut();
        cell[2] = cell[2].saturating_add(event.attempts);
    }

    fn visit(&mut self, event: &Event, visit: Visit, seconds: i64) {
        if !is_kept(event.hash, self.level) {
            return;
        }
        let number = self.number(event.hash, event.source);
        join(self.visits.entry((number, event.rule.0)).or_default(), visit, seconds);
    }

    fn number(&mut self, hash: u64, source: Source) -> u32 {
        let sources = &mut self.sources;
        let entry = self.index.entry(
            hash,
            |number| sources[*number as usize].1 == source,
            |number| sources[*number as usize].0,
        );
        *entry
            .or_insert_with(|| {
                sources.push((hash, source));
                u32::try_from(sources.len() - 1).expect("there are fewer sources than the limit")
            })
            .get()
    }

    fn register(&mut self, hash: u64, rule: u16, day: u16) {
        let (register, rank) = distinct::place(hash);
        for of in [(rule, day), (rule, ALL), (ALL, ALL)] {
            let slice = self.slices.entry(of).or_insert([0; SLICE]);
            slice[register % SLICE] = slice[register % SLICE].max(rank);
        }
    }

    fn bring_to(&mut self, level: u32) {
        if self.level >= level {
            return;
        }
        if self.level == 0 {
            let cells: Vec<Cell> = self.cells.iter().copied().collect();
            for [number, key, _] in cells {
                let hash = self.sources[number as usize].0;
                self.register(hash, (key >> 16) as u16, (key & 0xffff) as u16);
            }
        }
        self.level = level;
        let before = std::mem::take(&mut self.sources);
        self.index.clear();
        let mut renamed = vec![None; before.len()];
        for (old, (hash, source)) in before.into_iter().enumerate() {
            if is_kept(hash, level) {
                renamed[old] = Some(self.number(hash, source));
            }
        }
        let cells = std::mem::take(&mut self.cells);
        for [number, key, attempts] in cells {
            if let Some(number) = renamed[number as usize] {
                let hash = |cell: &Cell| cell_hash(cell[0], cell[1]);
                self.cells.insert_unique(cell_hash(number, key), [number, key, attempts], hash);
            }
        }
        let visits = std::mem::take(&mut self.visits);
        self.visits = visits
            .into_iter()
            .filter_map(|((number, rule), visits)| Some(((renamed[number as usize]?, rule), visits)))
            .collect();
    }
}

/// Puts a visit among others, and makes one of those that it joins.
pub(super) fn join(visits: &mut Vec<Visit>, mut visit: Visit, seconds: i64) {
    let from = visits.partition_point(|other| other.last + seconds < visit.first);
    let to = from + visits[from..].partition_point(|other| other.first - seconds <= visit.last);
    for other in &visits[from..to] {
        let day = match other.first.cmp(&visit.first) {
            std::cmp::Ordering::Less => other.day,
            std::cmp::Ordering::Equal => other.day.min(visit.day),
            std::cmp::Ordering::Greater => visit.day,
        };
        visit = Visit { first: other.first.min(visit.first), last: other.last.max(visit.last), day };
    }
    visits.splice(from..to, [visit]);
}

fn shard_of(hash: u64) -> usize {
    usize::try_from(hash >> (64 - SHARD_BITS)).unwrap_or(0)
}

/// Whether a source is among those that are kept at a level: one in 2 to the power of it.
pub(super) fn is_kept(hash: u64, level: u32) -> bool {
    hash.trailing_zeros() >= level
}

/// Spreads a cell; no secret is needed, as numbers of sources are handed out in order.
fn cell_hash(number: u32, key: u32) -> u64 {
    let wide = (u64::from(number) << 32 | u64::from(key)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    wide ^ wide >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_are_the_same_in_whatever_order_their_requests_come() {
        let moments = [100, 101, 130, 300, 361, 1_000, 1_061];
        let at = |moment: i64| Visit {
            first: moment,
            last: moment,
            day: Day(u16::try_from(moment / 100).unwrap()),
        };
        let spans = |order: &[i64]| {
            let mut visits = Vec::new();
            for moment in order {
                join(&mut visits, at(*moment), 60);
            }
            visits.into_iter().map(|visit| (visit.first, visit.last, visit.day.0)).collect::<Vec<_>>()
        };
        let wanted = [(100, 130, 1), (300, 300, 3), (361, 361, 3), (1_000, 1_000, 10), (1_061, 1_061, 10)];
        assert_eq!(spans(&moments), wanted);
        let mut order = moments;
        for turn in 0..order.len() {
            order.rotate_left(1);
            order.swap(0, turn);
            assert_eq!(spans(&order), wanted, "{order:?}");
        }
    }
}
