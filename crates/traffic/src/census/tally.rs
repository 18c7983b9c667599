//! What is counted without regard to who it was: lines, days, hours, statuses. Sums, so that parts add up in any order.

use super::distinct::{Count, Distinct};
use super::zone::Day;
use crate::format::Stamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Stands for a request whose answer the log does not tell.
pub(super) const NO_STATUS: u16 = 0;

/// First and last moment, in seconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Span {
    /// The first.
    pub first: i64,
    /// The last.
    pub last: i64,
}

impl Span {
    pub(super) fn widen(into: &mut Option<Self>, other: Self) {
        *into = Some(into.map_or(other, |span| Self {
            first: span.first.min(other.first),
            last: span.last.max(other.last),
        }));
    }
}

/// Every attempt with one signature.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Attempts {
    pub(super) count: u64,
    pub(super) days: BTreeMap<u16, u64>,
    /// By hour of the day.
    pub(super) hours: [u64; 24],
    /// By what was answered; [`NO_STATUS`] where the log does not tell.
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) span: Option<Span>,
}

impl Attempts {
    pub(super) fn count(&mut self, day: Day, hour: usize, stamp: Stamp, status: Option<u16>) {
        self.count += 1;
        *self.days.entry(day.0).or_default() += 1;
        self.hours[hour] += 1;
        *self.statuses.entry(status.unwrap_or(NO_STATUS)).or_default() += 1;
        Span::widen(&mut self.span, Span { first: stamp.seconds, last: stamp.seconds });
    }

    pub(super) fn add(&mut self, other: &Self) {
        add(&mut self.count, other.count);
        add_all(&mut self.days, &other.days);
        add_all(&mut self.statuses, &other.statuses);
        for (ours, theirs) in self.hours.iter_mut().zip(other.hours) {
            add(ours, theirs);
        }
        if let Some(span) = other.span {
            Span::widen(&mut self.span, span);
        }
    }
}

/// Every line of one day.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct DayLines {
    pub(super) lines: u64,
    pub(super) sources: Distinct,
}

/// Every line, whatever was in it.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Lines {
    pub(super) bytes: u64,
    pub(super) requests: u64,
    pub(super) unread: u64,
    pub(super) span: Option<Span>,
    pub(super) days: BTreeMap<u16, DayLines>,
    pub(super) sources: Distinct,
    /// Lines that were looked at closely, by the fields that they have.
    pub(super) fields: BTreeMap<u16, u64>,
}

impl Lines {
    pub(super) fn add(&mut self, other: &Self) {
        add(&mut self.bytes, other.bytes);
        add(&mut self.requests, other.requests);
        add(&mut self.unread, other.unread);
        if let Some(span) = other.span {
            Span::widen(&mut self.span, span);
        }
        for (day, theirs) in &other.days {
            let ours = self.days.entry(*day).or_default();
            add(&mut ours.lines, theirs.lines);
            ours.sources.unite(&theirs.sources);
        }
        self.sources.unite(&other.sources);
        add_all(&mut self.fields, &other.fields);
    }

    pub(super) fn sources(&self) -> Count {
        self.sources.count()
    }
}

/// All that is counted without regard to who it was.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Tally {
    pub(super) lines: Lines,
    /// By rule.
    pub(super) attempts: Vec<Attempts>,
}

impl Tally {
    pub(super) fn new(rules: usize) -> Self {
        Self { lines: Lines::default(), attempts: vec![Attempts::default(); rules] }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.lines.add(&other.lines);
        for (ours, theirs) in self.attempts.iter_mut().zip(&other.attempts) {
            ours.add(theirs);
        }
    }
}

fn add_all<K: Ord + Copy>(ours: &mut BTreeMap<K, u64>, theirs: &BTreeMap<K, u64>) {
    for (key, count) in theirs {
        add(ours.entry(*key).or_default(), *count);
    }
}

/// Counts of a forged partial may be as large as they like: sums stay at the top, in whatever order they are made.
fn add(ours: &mut u64, theirs: u64) {
    *ours = ours.saturating_add(theirs);
}

/// The sum of counts that may be anything.
pub(super) fn sum<'a>(counts: impl Iterator<Item = &'a u64>) -> u64 {
    counts.fold(0, |sum, count| sum.saturating_add(*count))
}
