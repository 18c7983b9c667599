//! A census as a file that others can be added to.
//!
//! `PALCENS1`, the census in postcard, and CRC-32 of both. Everything stands in one order only, so equal censuses are
//! equal bytes. A partial may be forged: what a count can not have written is refused, so that nothing behind this file has to
//! expect it, and memory is bounded by the size of the partial. A later form gets another number in its first eight bytes, and a reader of its own beside this one.

use super::distinct::{Distinct, are_ranks};
use super::ledger::{ALL, LEVEL_MAX, Limits, SHARDS, SLICE, Visit, is_kept};
use super::tally::{Attempts, DayLines, Lines, Span, Tally};
use super::zone::Day;
use super::{Cell, Census, Setup, VisitKind};
use crate::format::{Source, Stamp};
use advisory::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const MAGIC: &[u8; 8] = b"PALCENS1";

/// Hashes, or registers.
type Packed = (Vec<u64>, Vec<u8>);

/// First, last and day of each visit of a source.
type Visits = Vec<(i64, i64, u16)>;

#[derive(Serialize, Deserialize)]
struct V1 {
    setup: Setup,
    bytes: u64,
    requests: u64,
    unread: u64,
    span: Option<Span>,
    days: BTreeMap<u16, (u64, Packed)>,
    sources_of_lines: Packed,
    fields: BTreeMap<u16, u64>,
    attempts: Vec<Attempts>,
    level: u32,
    sources: Vec<(u64, Source)>,
    ends: Vec<u32>,
    cells: Vec<(u16, u16, u32)>,
    visits: Vec<(u32, u16, Visits)>,
    slices: Vec<(u16, u16, u8, Vec<u8>)>,
    kinds: Vec<VisitKind>,
}

impl Census {
    /// As the bytes of a partial.
    pub fn to_bytes(&self) -> Vec<u8> {
        let lines = &self.tally.lines;
        let v1 = V1 {
            setup: self.setup.clone(),
            bytes: lines.bytes,
            requests: lines.requests,
            unread: lines.unread,
            span: lines.span,
            days: lines.days.iter().map(|(day, of)| (*day, (of.lines, of.sources.packed()))).collect(),
            sources_of_lines: lines.sources.packed(),
            fields: lines.fields.clone(),
            attempts: self.tally.attempts.clone(),
            level: self.level,
            sources: self.sources.clone(),
            ends: self.ends.clone(),
            cells: self.cells.iter().map(|cell| (cell.rule, cell.day, cell.attempts)).collect(),
            visits: self
                .visits
                .iter()
                .map(|((place, rule), visits)| {
                    (
                        *place,
                        *rule,
                        visits.iter().map(|visit| (visit.first, visit.last, visit.day.0)).collect(),
                    )
                })
                .collect(),
            slices: self
                .slices
                .iter()
                .map(|((r, d, shard), slice)| (*r, *d, *shard, slice.to_vec()))
                .collect(),
            kinds: self.kinds.clone(),
        };
        let bytes = postcard::to_extend(&v1, MAGIC.to_vec()).expect("a vector takes every byte");
        let sum = crc32fast::hash(&bytes);
        [bytes, sum.to_le_bytes().to_vec()].concat()
    }

    /// From the bytes of a partial; `name` is told where they are damaged.
    pub fn from_bytes(name: &str, bytes: &[u8]) -> Result<Self, Problem> {
        let refused = |reason: &str, remedy: &str| Problem::new("read census", name, reason).remedy(remedy);
        let again = "make it anew: palisade census --partial FILE";
        if !bytes.starts_with(MAGIC) {
            let remedy = if bytes.starts_with(&MAGIC[..7]) {
                "it was written by a later version: use that one"
            } else {
                "give files that palisade census --partial wrote"
            };
            return Err(refused("it is no partial census that this version knows", remedy));
        }
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or_else(|| refused("it is cut short", again))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
            return Err(refused("it is damaged: its checksum is another", again));
        }
        let v1: V1 = postcard::from_bytes(&body[MAGIC.len()..])
            .map_err(|error| refused(&format!("it is damaged: {error}"), again))?;
        v1.census().ok_or_else(|| refused("it is damaged: its parts do not fit each other", again))
    }
}

impl V1 {
    /// Whether a count can have written all of it.
    fn is_sound(&self) -> bool {
        let rules = self.setup.signatures.len();
        let limits = Limits::default();
        let is_day = |day: &u16| Day(*day).is_plausible();
        rules < usize::from(ALL)
            && self.attempts.len() == rules
            && self.attempts.iter().all(|of| of.days.keys().all(is_day))
            && self.days.keys().all(is_day)
            && self.level <= LEVEL_MAX
            && self.sources.len() <= limits.sources_max
            && self.cells.len() <= limits.cells_max
            && self.sources.is_sorted_by(|one, other| one < other)
            && self.sources.iter().all(|(hash, _)| is_kept(*hash, self.level))
            && self.has_sound_cells(rules)
            && self.has_sound_visits()
            && self.slices.is_sorted_by(|one, other| (one.0, one.1, one.2) < (other.0, other.1, other.2))
            && self.slices.iter().all(|(rule, day, shard, ranks)| {
                (*rule == ALL || usize::from(*rule) < rules)
                    && (*day == ALL || is_day(day))
                    && usize::from(*shard) < SHARDS
                    && are_ranks(ranks)
            })
            && (self.level > 0 || self.slices.is_empty())
    }

    /// Each source has cells of its own, each once.
    fn has_sound_cells(&self, rules: usize) -> bool {
        let mut from = 0;
        let mut own = self.ends.iter().map(|end| {
            let own = self.cells.get(from..*end as usize).filter(|own| !own.is_empty())?;
            from = *end as usize;
            Some(own)
        });
        let ascending =
            |own: &[(u16, u16, u32)]| own.is_sorted_by(|one, other| (one.0, one.1) < (other.0, other.1));
        let all = own.all(|own| own.is_some_and(ascending));
        let sound = |(rule, day, _): &(u16, u16, u32)| usize::from(*rule) < rules && Day(*day).is_plausible();
        all && from == self.cells.len()
            && self.ends.len() == self.sources.len()
            && self.cells.iter().all(sound)
    }

    /// Visits belong to sources and kinds that are there, and lie apart.
    fn has_sound_visits(&self) -> bool {
        let moment = |seconds: i64| Stamp::utc(seconds).is_plausible();
        self.kinds.is_sorted_by(|one, other| one.name < other.name)
            && self.kinds.iter().all(|kind| (0..i64::from(u32::MAX)).contains(&kind.seconds))
            && self.visits.is_sorted_by(|one, other| (one.0, one.1) < (other.0, other.1))
            && self.visits.iter().all(|(place, kind, visits)| {
                let Some(kind) = self.kinds.get(usize::from(*kind)) else { return false };
                (*place as usize) < self.sources.len()
                    && visits.is_sorted_by(|one, other| one.1.saturating_add(kind.seconds) < other.0)
                    && visits.iter().all(|(first, last, day)| {
                        first <= last && moment(*first) && moment(*last) && Day(*day).is_plausible()
                    })
            })
    }

    /// `None` where something points to what is not there.
    fn census(self) -> Option<Census> {
        if !self.is_sound() {
            return None;
        }
        let days = self.days.into_iter().map(|(day, (lines, (hashes, registers)))| {
            Some((day, DayLines { lines, sources: Distinct::unpacked(&hashes, registers)? }))
        });
        let (hashes, registers) = self.sources_of_lines;
        let lines = Lines {
            bytes: self.bytes,
            requests: self.requests,
            unread: self.unread,
            span: self.span,
            days: days.collect::<Option<_>>()?,
            sources: Distinct::unpacked(&hashes, registers)?,
            fields: self.fields,
        };
        let slices = self.slices.into_iter().map(|(rule, day, shard, ranks)| {
            let ranks: [u8; SLICE] = ranks.try_into().ok()?;
            Some(((rule, day, shard), ranks))
        });
        let visit = |(first, last, day)| Visit { first, last, day: Day(day) };
        Some(Census {
            setup: self.setup,
            tally: Tally { lines, attempts: self.attempts },
            level: self.level,
            sources: self.sources,
            ends: self.ends,
            cells: self.cells.into_iter().map(|(rule, day, attempts)| Cell { rule, day, attempts }).collect(),
            visits: self
                .visits
                .into_iter()
                .map(|(place, rule, visits)| ((place, rule), visits.into_iter().map(visit).collect()))
                .collect(),
            slices: slices.collect::<Option<_>>()?,
            kinds: self.kinds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::census::report::{Asked, report};
    use crate::census::{Counting, Key, Zone};
    use crate::format::State;
    use crate::rules::{Rules, read};

    const RULE: &str = "name: a\ndescription: a\nrules:\n  - {zones: [URI], match: {type: contains, value: /a}}\n\
        signature: {visit: {name: v, seconds: 60}}\n";

    fn rules() -> Rules {
        Rules::compile(read("a.yaml", RULE).0).0
    }

    /// Six sources within one minute, of which so many may be kept.
    fn counted(sources_max: usize) -> V1 {
        let (rules, key) = (rules(), Key::new([7; 32]));
        let limits = Limits { sources_max, cells_max: 64 };
        let counting = Counting::new(&rules, "rules", &Zone::Utc, &key, limits);
        for host in 0..6 {
            let line =
                format!("192.0.2.{host} - - [19/Jul/2001:00:0{host}:46 +0000] \"GET /a HTTP/1.0\" 404 297\n");
            counting.counter().count(State::default(), line.as_bytes());
        }
        let bytes = counting.finish().to_bytes();
        postcard::from_bytes(&bytes[MAGIC.len()..bytes.len() - 4]).unwrap()
    }

    fn bytes(v1: &V1) -> Vec<u8> {
        let bytes = postcard::to_extend(v1, MAGIC.to_vec()).unwrap();
        let sum = crc32fast::hash(&bytes);
        [bytes, sum.to_le_bytes().to_vec()].concat()
    }

    #[test]
    fn a_partial_that_no_count_can_have_written_is_refused() {
        type Forgery = fn(&mut V1);
        let forgeries: [(&str, Forgery); 13] = [
            ("a day beyond all logs", |v1| v1.cells[0].1 = ALL - 1),
            ("a day that stands for all", |v1| v1.cells[0].1 = ALL),
            ("a day of lines beyond all logs", |v1| drop(v1.days.insert(3, (1, (vec![1], vec![]))))),
            ("a rule that is not there", |v1| v1.cells[0].0 = 1),
            ("a source without attempts", |v1| v1.ends[0] = 0),
            ("a source twice", |v1| v1.sources[1] = v1.sources[0]),
            ("a source that was not kept", |v1| v1.level = LEVEL_MAX),
            ("a level without end", |v1| v1.level = 63),
            ("a visit at the end of time", |v1| v1.visits[0].2[0].1 = i64::MAX),
            ("a visit that ends before it begins", |v1| v1.visits[0].2[0].1 -= 1),
            ("visits that are one", |v1| {
                let visit = v1.visits[0].2[0];
                v1.visits[0].2.push(visit);
            }),
            ("a kind of visits that lasts for ever", |v1| v1.kinds[0].seconds = i64::MAX),
            ("registers where all sources are", |v1| v1.slices.push((0, 11_000, 0, vec![0; SLICE]))),
        ];
        assert!(Census::from_bytes("sound", &bytes(&counted(8))).is_ok());
        for (what, forge) in forgeries {
            let mut v1 = counted(8);
            forge(&mut v1);
            assert!(Census::from_bytes("forged", &bytes(&v1)).is_err(), "{what} was taken");
        }
        // A list that is longer than its partial takes no room.
        let mut long = MAGIC.to_vec();
        long.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        let sum = crc32fast::hash(&long).to_le_bytes();
        assert!(Census::from_bytes("long", &[&long[..], &sum].concat()).is_err());
    }

    #[test]
    fn counts_at_the_top_are_added_up_and_told_without_going_over() {
        for sources_max in [8, 2] {
            let mut v1 = counted(sources_max);
            (v1.bytes, v1.requests, v1.unread) = (u64::MAX, u64::MAX, u64::MAX);
            v1.fields.values_mut().for_each(|lines| *lines = u64::MAX);
            v1.days.values_mut().for_each(|(lines, _)| *lines = u64::MAX);
            v1.cells.iter_mut().for_each(|cell| cell.2 = u32::MAX);
            let of = &mut v1.attempts[0];
            (of.count, of.hours[0]) = (u64::MAX, u64::MAX);
            of.days.values_mut().chain(of.statuses.values_mut()).for_each(|count| *count = u64::MAX);
            let census = Census::from_bytes("top", &bytes(&v1)).unwrap();
            let two = vec![("one".to_owned(), census.clone()), ("other".to_owned(), census)];
            let united = Census::unite(two, Limits { sources_max, cells_max: 64 }).unwrap();
            let told = report(
                &united,
                &rules(),
                Asked { exposure: std::num::NonZeroU64::MIN.get().into(), sources_max: 9 },
            );
            assert_eq!((told.log.requests, told.signatures[0].attempts), (u64::MAX, u64::MAX));
        }
    }
}
