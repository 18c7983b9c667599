//! A census as a file that others can be added to.
//!
//! `PALCENS1`, the census in postcard, and CRC-32 of both. Everything stands in one order only, so equal censuses are
//! equal bytes. A later form gets another number in its first eight bytes, and a reader of its own beside this one.

use super::distinct::{Distinct, are_ranks};
use super::ledger::{SHARDS, SLICE, Visit};
use super::tally::{Attempts, DayLines, Lines, Span, Tally};
use super::zone::Day;
use super::{Cell, Census, Setup, VisitKind};
use crate::format::Source;
use advisory::Problem;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const MAGIC: &[u8; 8] = b"PALCENS1";

/// Hashes, or registers.
type Packed = (Vec<u64>, Vec<u8>);

/// First and last second, and the day.
type PackedVisit = (i64, i64, u16);

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
    visits: Vec<(u32, u16, Vec<PackedVisit>)>,
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
    /// `None` where something points to what is not there.
    fn census(self) -> Option<Census> {
        let rules = self.setup.signatures.len();
        let knows = |rule: u16| usize::from(rule) < rules;
        let sound = self.attempts.len() == rules
            && self.level < 64
            && self.ends.len() == self.sources.len()
            && self.ends.is_sorted()
            && self.ends.last().map_or(0, |end| *end as usize) == self.cells.len()
            && self.sources.is_sorted()
            && self.cells.iter().all(|(rule, ..)| knows(*rule))
            && self.visits.iter().all(|(place, kind, _)| {
                (*place as usize) < self.sources.len() && usize::from(*kind) < self.kinds.len()
            })
            && self
                .slices
                .iter()
                .all(|(_, _, shard, ranks)| usize::from(*shard) < SHARDS && are_ranks(ranks));
        if !sound {
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
