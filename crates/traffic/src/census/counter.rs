//! Counts lines: many threads, one outcome.

use super::known::Known;
use super::ledger::{Event, Ledger, Limits, Visit};
use super::pseudonym::Key;
use super::sketch::Hasher;
use super::tally::{DayLines, Span, Tally};
use super::zone::{Clock, Day, Zone};
use super::{Census, Setup, VisitKind};
use crate::format::{Brief, Lines, Scratch, Seen, Source, State, line_at};
use crate::request::Fields;
use crate::rules::{Found, RuleId, Rules, Sieve};
use memchr::memchr_iter;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Of the lines that no rule has to look at, those of one second in so many are looked at closely all the same, to see which
/// fields a log has.
const LOOK_EVERY_SECONDS: i64 = 64;

/// Everything that is being counted. Threads share it; each has a [`Counter`].
#[derive(Debug)]
pub struct Counting<'a> {
    rules: &'a Rules,
    setup: Setup,
    zone: &'a Zone,
    /// Kinds of visits, and by rule which of them its requests are.
    kinds: Vec<VisitKind>,
    kind_of: Vec<Option<u16>>,
    hasher: Hasher,
    ledger: Ledger,
    tally: Mutex<Tally>,
}

impl<'a> Counting<'a> {
    /// Nothing yet. `rules_digest` tells sets of rules apart.
    pub fn new(rules: &'a Rules, rules_digest: &str, zone: &'a Zone, key: &Key, limits: Limits) -> Self {
        let signatures = rules.signatures();
        let kinds = VisitKind::of(rules);
        let setup = Setup {
            zone: zone.name().to_owned(),
            rules: rules_digest.to_owned(),
            signatures: signatures.iter().map(|signature| signature.id.clone()).collect(),
            key: key.id(),
            pseudonyms: false,
        };
        Self {
            rules,
            zone,
            kind_of: signatures
                .iter()
                .map(|signature| {
                    kinds
                        .iter()
                        .position(|kind| Some(&kind.name) == signature.visit.as_ref().map(|v| &v.name))
                })
                .map(|place| place.and_then(|place| u16::try_from(place).ok()))
                .collect(),
            kinds,
            hasher: Hasher::new(key),
            ledger: Ledger::new(limits),
            tally: Mutex::new(Tally::new(signatures.len())),
            setup,
        }
    }

    /// One thread's part.
    pub fn counter(&self) -> Counter<'_> {
        Counter {
            counting: self,
            clock: Clock::new(self.zone),
            tally: Tally::new(self.rules.signatures().len()),
            today: None,
            last_source: None,
            looking: Looking {
                scratch: Scratch::default(),
                judging: crate::rules::Scratch::default(),
                hits: Vec::new(),
                known: Known::default(),
            },
            found: Vec::new(),
            events: Vec::new(),
            visits: Vec::new(),
        }
    }

    /// Everything that was counted. Every counter has to be gone.
    pub fn finish(self) -> Census {
        let tally = self.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        Census::of(self.setup, tally, self.ledger, self.kinds)
    }
}

#[derive(Debug)]
struct Looking {
    scratch: Scratch,
    judging: crate::rules::Scratch,
    hits: Vec<RuleId>,
    known: Known,
}

/// One day of all lines, taken out of the tally until the day changes.
#[derive(Debug)]
struct Today {
    day: Day,
    lines: DayLines,
}

impl Today {
    fn back(self, days: &mut BTreeMap<u16, DayLines>) {
        days.insert(self.day.0, self.lines);
    }
}

/// Counts lines for one thread; what it counted is added when it is dropped.
#[derive(Debug)]
pub struct Counter<'a> {
    counting: &'a Counting<'a>,
    clock: Clock<'a>,
    tally: Tally,
    today: Option<Today>,
    /// Many lines come from the same source as the one before: it is in the sets already.
    last_source: Option<(Source, Day)>,
    looking: Looking,
    found: Vec<Found>,
    events: Vec<Event>,
    visits: Vec<(Event, Visit, i64)>,
}

impl Counter<'_> {
    /// Counts whole lines that stand after each other in a log that said `state` before them. Gives where the first line
    /// begins that could not be read, and how many such there are.
    pub fn count(&mut self, mut state: State, lines: &[u8]) -> Option<(usize, u64)> {
        self.tally.lines.bytes += lines.len() as u64;
        let mut unread: Option<(usize, u64)> = None;
        let mut found = std::mem::take(&mut self.found);
        each_line(self.counting.rules.sieve(), lines, &mut found, |at, text, found| {
            if !self.line(&mut state, text, found) {
                unread = Some(unread.map_or((at, 1), |(first, many)| (first, many + 1)));
            }
        });
        self.found = found;
        self.counting.ledger.add(&mut self.events, &mut self.visits);
        self.events.clear();
        self.visits.clear();
        unread
    }

    /// Counts a line in which the sieve found something, or nothing. Whether it could be read.
    #[inline]
    fn line(&mut self, state: &mut State, line: &[u8], found: &[Found]) -> bool {
        let brief = match state.brief(line) {
            Seen::Request(brief) => brief,
            Seen::Nothing => return true,
            Seen::Unread => {
                self.tally.lines.unread += 1;
                return false;
            }
        };
        let (day, hour) = self.clock.read(brief.when);
        let seconds = brief.when.seconds;
        let lines = &mut self.tally.lines;
        lines.requests += 1;
        let today = match &mut self.today {
            Some(today) if today.day == day => today,
            today => {
                if let Some(before) = today.take() {
                    before.back(&mut lines.days);
                }
                today.insert(Today { day, lines: lines.days.remove(&day.0).unwrap_or_default() })
            }
        };
        today.lines.lines += 1;
        Span::widen(&mut lines.span, Span { first: seconds, last: seconds });
        let mut hash = None;
        if self.last_source != Some((brief.source, day)) {
            self.last_source = Some((brief.source, day));
            let value = self.counting.hasher.hash(brief.source);
            lines.sources.insert(value);
            today.lines.sources.insert(value);
            hash = Some(value);
        }
        if found.is_empty() && seconds % LOOK_EVERY_SECONDS != 0 {
            return true;
        }
        let Looking { scratch, judging, hits, known } = &mut self.looking;
        hits.clear();
        let rules = self.counting.rules;
        let mut judge = |hits: &mut Vec<RuleId>| {
            state.read(line, scratch, |request| {
                if !found.is_empty() {
                    rules.judge_found(request, found, judging, hits);
                }
                (Fields::of(request), request.status)
            })
        };
        let looked = match brief.told_from {
            from if from > 0 && !found.is_empty() => known.judged(&line[from..], hits, judge),
            _ => judge(hits),
        };
        let Some((fields, status)) = looked else { return true };
        *lines.fields.entry(fields.bits()).or_default() += 1;
        if hits.is_empty() {
            return true;
        }
        let hash = hash.unwrap_or_else(|| self.counting.hasher.hash(brief.source));
        for rule in &*hits {
            let place = usize::from(rule.0);
            self.tally.attempts[place].count(day, hour, brief.when, status);
            let event = Event { hash, source: brief.source, rule: *rule, day, attempts: 1 };
            self.events.push(event);
            if let Some(kind) = self.counting.kind_of[place] {
                let within = self.counting.kinds[usize::from(kind)].seconds;
                // The kind stands where the ledger's events have their rule.
                let event = Event { rule: RuleId(kind), ..event };
                self.visits.push((event, Visit { first: seconds, last: seconds, day }, within));
            }
        }
        true
    }
}

impl Drop for Counter<'_> {
    fn drop(&mut self) {
        if let Some(today) = self.today.take() {
            today.back(&mut self.tally.lines.days);
        }
        let mut all = self.counting.tally.lock().unwrap_or_else(PoisonError::into_inner);
        all.add(&self.tally);
    }
}

/// Gives each line, without its end, with where it begins and what the sieve found in it. `found` is room that is used again.
#[inline]
pub(super) fn each_line(
    sieve: &Sieve,
    lines: &[u8],
    found: &mut Vec<Found>,
    mut line: impl FnMut(usize, &[u8], &[Found]),
) {
    found.clear();
    sieve.candidates(lines, found);
    let mut waiting = &found[..];
    let mut look = |from: usize, next: usize, text: &[u8]| {
        let many = waiting.iter().take_while(|found| found.at < next).count();
        let (own, others) = waiting.split_at(many);
        waiting = others;
        line(from, text.strip_suffix(b"\r").unwrap_or(text), own);
    };
    let mut at = 0;
    for end in memchr_iter(b'\n', lines) {
        look(at, end + 1, &lines[at..end]);
        at = end + 1;
    }
    if at < lines.len() {
        look(at, lines.len(), &lines[at..]);
    }
}

/// Gives each attempt in whole lines to `found`: the line, who sent it and when, and the signatures that recognise it. `found`
/// says whether to go on; gives whether it did to the end.
pub fn attempts(
    rules: &Rules,
    mut state: State,
    lines: &[u8],
    found: &mut impl FnMut(&[u8], Brief, &[RuleId]) -> bool,
) -> bool {
    let mut scratch = Scratch::default();
    let mut judging = crate::rules::Scratch::default();
    let mut hits = Vec::new();
    let mut at = 0;
    while let Some(first) = rules.sieve().next(lines, at) {
        let line = line_at(lines, first.at);
        // What stands between is not looked at, but may change what lines mean.
        state.advance(&lines[at..line.at]);
        at = line.next;
        if let Seen::Request(brief) = state.brief(line.text) {
            hits.clear();
            state.read(line.text, &mut scratch, |request| rules.judge(request, &mut judging, &mut hits));
            if !hits.is_empty() && !found(line.text, brief, &hits) {
                return false;
            }
        }
    }
    true
}

/// Where the first line begins that is a request, and its moment.
pub fn first_request(mut state: State, lines: &[u8]) -> Option<(usize, i64)> {
    Lines::new(lines).find_map(|line| match state.brief(line.text) {
        Seen::Request(brief) => Some((line.at, brief.when.seconds)),
        Seen::Nothing | Seen::Unread => None,
    })
}

/// The moment of the last line, if that is a request. The clock of a log without dates does not reach it.
pub fn last_request(mut state: State, lines: &[u8]) -> Option<i64> {
    match state.brief(line_at(lines, lines.len().saturating_sub(1)).text) {
        Seen::Request(brief) => Some(brief.when.seconds),
        Seen::Nothing | Seen::Unread => None,
    }
}
