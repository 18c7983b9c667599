//! The census: attempts by signature, day and source. Takes lines and rules; gives counts that add up.
//!
//! A [`Census`] is a monoid: parts counted apart, on other hosts or by other threads, unite to the same bytes as one
//! count of everything ([`Census::unite`]).

mod counter;
mod distinct;
pub mod growth;
pub mod hours;
mod known;
mod ledger;
pub mod outlook;
mod partial;
mod pseudonym;
pub mod report;
mod sketch;
mod tally;
mod zone;

pub use counter::{Counter, Counting, attempts, first_request, last_request};
pub use distinct::Count;
pub use ledger::Limits;
pub use pseudonym::{Key, Pseudonyms};
pub use report::Report;
pub use sketch::{Hasher, SKETCH_BYTES_MAX, Sketch};
pub use tally::Span;
pub use zone::{Day, Zone};

use crate::format::Source;
use crate::rules::{RuleId, Rules};
use advisory::Problem;
use distinct::{REGISTERS, estimate};
use ledger::{ALL, Event, Ledger, SHARDS, SLICE, Visit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tally::Tally;

/// What has to be the same in two censuses that are united.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The zone of days and hours.
    pub zone: String,
    /// A digest of the rules.
    pub rules: String,
    /// Ids of signatures, in the order of rules.
    pub signatures: Vec<String>,
    /// Which key tells sources apart: [`Key::id`].
    pub key: String,
    /// Whether sources are pseudonyms.
    pub pseudonyms: bool,
}

/// Requests of one source that belong together, where one attack consists of several.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct VisitKind {
    name: String,
    /// Two requests belong together when no more than this lies between them.
    seconds: i64,
}

impl VisitKind {
    /// Those of the rules, in the order of names.
    fn of(rules: &Rules) -> Vec<Self> {
        let mut kinds: BTreeMap<&str, i64> = BTreeMap::new();
        for visit in rules.signatures().iter().filter_map(|signature| signature.visit.as_ref()) {
            let within = i64::from(visit.seconds.saturating_sub(1));
            let seconds = kinds.entry(&visit.name).or_default();
            *seconds = within.max(*seconds);
        }
        kinds.into_iter().map(|(name, seconds)| Self { name: name.to_owned(), seconds }).collect()
    }
}

/// Attempts of one source with one signature on one day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Cell {
    rule: u16,
    day: u16,
    attempts: u32,
}

/// Everything counted of some logs.
#[derive(Clone, PartialEq, Debug)]
pub struct Census {
    setup: Setup,
    tally: Tally,
    /// One source in 2 to the power of this is in `sources`.
    level: u32,
    /// With their hashes, in the order of these.
    sources: Vec<(u64, Source)>,
    /// Where the cells of each source end.
    ends: Vec<u32>,
    cells: Vec<Cell>,
    /// By place of the source, and place of the kind.
    visits: BTreeMap<(u32, u16), Vec<Visit>>,
    /// By rule, day and shard, where sources did not fit.
    slices: BTreeMap<(u16, u16, u8), [u8; SLICE]>,
    kinds: Vec<VisitKind>,
}

impl Census {
    fn of(setup: Setup, tally: Tally, ledger: Ledger, kinds: Vec<VisitKind>) -> Self {
        let mut census = Self {
            setup,
            tally,
            level: 0,
            sources: Vec::new(),
            ends: Vec::new(),
            cells: Vec::new(),
            visits: BTreeMap::new(),
            slices: BTreeMap::new(),
            kinds,
        };
        let (level, shards) = ledger.finish();
        census.level = level;
        for (number, mut shard) in shards.enumerate() {
            let mut cells: Vec<[u32; 3]> = std::mem::take(&mut shard.cells).into_iter().collect();
            cells.sort_unstable();
            let mut order: Vec<u32> = (0..).take(shard.sources.len()).collect();
            order.sort_unstable_by_key(|place| shard.sources[*place as usize]);
            let mut places = vec![0; order.len()];
            for old in order {
                places[old as usize] = u32::try_from(census.sources.len()).expect("sources are limited");
                census.sources.push(shard.sources[old as usize]);
                let from = cells.partition_point(|cell| cell[0] < old);
                census.cells.extend(cells[from..].iter().take_while(|cell| cell[0] == old).map(|cell| {
                    Cell { rule: (cell[1] >> 16) as u16, day: (cell[1] & 0xffff) as u16, attempts: cell[2] }
                }));
                census.ends.push(u32::try_from(census.cells.len()).expect("cells are limited"));
            }
            for ((old, rule), visits) in std::mem::take(&mut shard.visits) {
                census.visits.insert((places[old as usize], rule), visits);
            }
            let number = u8::try_from(number).expect("there are 64 shards");
            census
                .slices
                .extend(shard.slices.iter().map(|((rule, day), slice)| ((*rule, *day, number), *slice)));
        }
        census
    }

    /// What it was counted with.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Counts that were made apart, as one. `censuses` has at least one.
    ///
    /// Errors where they were counted with different rules, zones or keys: then a source or a day of one is not that of
    /// the other.
    pub fn unite(censuses: Vec<(String, Census)>, limits: Limits) -> Result<Census, Problem> {
        let Some((first_name, first)) = censuses.first() else {
            return Err(Problem::new("merge censuses", "nothing", "there is none"));
        };
        let setup = first.setup.clone();
        let kinds = first.kinds.clone();
        for (name, census) in &censuses {
            let differing = [
                ("rules", census.setup.rules != setup.rules || census.setup.signatures != setup.signatures),
                ("zone", census.setup.zone != setup.zone),
                ("key", census.setup.key != setup.key),
                ("choice of addresses or pseudonyms", census.setup.pseudonyms != setup.pseudonyms),
                ("kinds of visits", census.kinds != kinds),
            ];
            if let Some((what, _)) = differing.into_iter().find(|(_, differs)| *differs) {
                let reason = format!("its {what} is not that of {first_name}");
                return Err(Problem::new("merge censuses", name.clone(), reason)
                    .remedy("count both with the same rules, --zone, --key and --show-sources"));
            }
        }
        let ledger = Ledger::new(limits);
        let mut tally = Tally::new(setup.signatures.len());
        for (_, census) in censuses {
            tally.add(&census.tally);
            census.pour(&ledger);
        }
        Ok(Census::of(setup, tally, ledger, kinds))
    }

    fn pour(&self, ledger: &Ledger) {
        ledger.at_least(self.level);
        for ((rule, day, shard), slice) in &self.slices {
            ledger.add_slice(usize::from(*shard), (*rule, *day), slice);
        }
        for place in 0..self.sources.len() {
            let (hash, source) = self.sources[place];
            let event =
                |rule, day, attempts| Event { hash, source, rule: RuleId(rule), day: Day(day), attempts };
            let mut events: Vec<Event> =
                self.cells_of(place).iter().map(|cell| event(cell.rule, cell.day, cell.attempts)).collect();
            let number = u32::try_from(place).unwrap_or(u32::MAX);
            let mut visits: Vec<(Event, Visit, i64)> = self
                .visits
                .range((number, 0)..=(number, u16::MAX))
                .flat_map(|((_, kind), visits)| visits.iter().map(move |visit| (*kind, *visit)))
                .filter_map(|(kind, visit)| {
                    let seconds = self.kinds.get(usize::from(kind))?.seconds;
                    Some((event(kind, visit.day.0, 0), visit, seconds))
                })
                .collect();
            ledger.add(&mut events, &mut visits);
        }
    }

    /// One source in so many was kept: 1 where all were.
    pub fn one_source_in(&self) -> u64 {
        1 << self.level
    }

    fn cells_of(&self, place: usize) -> &[Cell] {
        let from = place.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.cells[from..self.ends[place] as usize]
    }

    /// The same with pseudonyms for sources.
    #[must_use]
    pub fn with_pseudonyms(mut self, key: &Key) -> Self {
        if !self.setup.pseudonyms {
            let mut pseudonyms = Pseudonyms::new(key);
            for (_, source) in &mut self.sources {
                *source = pseudonyms.of(*source);
            }
            self.setup.pseudonyms = true;
        }
        self
    }

    /// Every source that was kept, with its attempts with all signatures.
    pub fn sources(&self) -> impl Iterator<Item = (Source, u64)> {
        self.sources.iter().enumerate().map(|(place, (_, source))| {
            (*source, self.cells_of(place).iter().map(|cell| u64::from(cell.attempts)).sum())
        })
    }

    /// Every source that was kept with each signature and day of its attempts, and how many these are. In the order of hashes,
    /// which tells nothing about addresses.
    pub fn attempts(&self) -> impl Iterator<Item = (Source, RuleId, Day, u32)> {
        self.sources.iter().enumerate().flat_map(|(place, (_, source))| {
            self.cells_of(place).iter().map(|cell| (*source, RuleId(cell.rule), Day(cell.day), cell.attempts))
        })
    }

    /// Different sources by rule and day; of all days and all rules too, under [`ALL`].
    fn distinct_sources(&self) -> BTreeMap<(u16, u16), Count> {
        let mut counts: BTreeMap<(u16, u16), Count> = BTreeMap::new();
        if self.level == 0 {
            for place in 0..self.sources.len() {
                let mut count = |rule, day| counts.entry((rule, day)).or_default().count += 1;
                let cells = self.cells_of(place);
                for cell in cells {
                    count(cell.rule, cell.day);
                }
                cells.chunk_by(|one, other| one.rule == other.rule).for_each(|run| count(run[0].rule, ALL));
                count(ALL, ALL);
            }
            return counts;
        }
        let mut slices: Vec<_> = self.slices.iter().collect();
        slices.sort_unstable_by_key(|(place, _)| **place);
        for run in slices.chunk_by(|(one, _), (other, _)| (one.0, one.1) == (other.0, other.1)) {
            let registers = run.iter().flat_map(|(_, slice)| slice.iter().copied());
            let (rule, day, _) = run[0].0;
            counts.insert((*rule, *day), Count::estimated(estimate(registers)));
        }
        counts
    }
}

const _: () = assert!(SHARDS * SLICE == REGISTERS);
