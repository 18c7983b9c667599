//! Counts lines: many threads, one outcome.

use super::ledger::{Event, Ledger, Limits, Visit};
use super::pseudonym::Key;
use super::tally::{Span, Tally};
use super::zone::{Clock, Day, Zone};
use super::{Census, Setup, VisitKind};
use crate::format::{Lines, Scratch, Seen, Source, State, line_at};
use crate::request::Fields;
use crate::rules::{RuleId, Rules, Sieve};
use memchr::memchr_iter;
use siphasher::sip::SipHasher13;
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
    hasher: SipHasher13,
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
            hasher: SipHasher13::new_with_key(&key.hash_key()),
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
            },
            candidates: Vec::new(),
            events: Vec::new(),
            visits: Vec::new(),
        }
    }

    /// Everything that was counted. Every counter has to be gone.
    pub fn finish(self) -> Census {
        let tally = self.tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        Census::of(self.setup, tally, self.ledger, self.kinds)
    }

    fn hash(&self, source: Source) -> u64 {
        self.hasher.hash(&source.number().to_be_bytes())
    }
}

#[derive(Debug)]
struct Looking {
    scratch: Scratch,
    judging: crate::rules::Scratch,
    hits: Vec<RuleId>,
}

/// One day of all lines, until the day changes.
#[derive(Debug)]
struct Today {
    day: Day,
    lines: u64,
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
    candidates: Vec<usize>,
    events: Vec<Event>,
    visits: Vec<(Event, Visit, i64)>,
}

impl Counter<'_> {
    /// Counts whole lines that stand after each other in a log that said `state` before them. Gives where the first line
    /// begins that could not be read, and how many such there are.
    pub fn count(&mut self, mut state: State, lines: &[u8]) -> Option<(usize, u64)> {
        self.tally.lines.bytes += lines.len() as u64;
        let mut unread: Option<(usize, u64)> = None;
        let mut candidates = std::mem::take(&mut self.candidates);
        each_line(self.counting.rules.sieve(), lines, &mut candidates, |at, text, is_candidate| {
            if !self.line(&mut state, text, is_candidate) {
                unread = Some(unread.map_or((at, 1), |(first, many)| (first, many + 1)));
            }
        });
        self.candidates = candidates;
        self.counting.ledger.add(&mut self.events, &mut self.visits);
        self.events.clear();
        self.visits.clear();
        unread
    }

    /// Whether the line could be read.
    #[inline]
    fn line(&mut self, state: &mut State, line: &[u8], is_candidate: bool) -> bool {
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
        match &mut self.today {
            Some(today) if today.day == day => today.lines += 1,
            today => {
                if let Some(before) = today.replace(Today { day, lines: 1 }) {
                    lines.days.entry(before.day.0).or_default().lines += before.lines;
                }
            }
        }
        Span::widen(&mut lines.span, Span { first: seconds, last: seconds });
        let mut hash = None;
        if self.last_source != Some((brief.source, day)) {
            self.last_source = Some((brief.source, day));
            let value = self.counting.hash(brief.source);
            lines.sources.insert(value);
            lines.days.entry(day.0).or_default().sources.insert(value);
            hash = Some(value);
        }
        if !is_candidate && seconds % LOOK_EVERY_SECONDS != 0 {
            return true;
        }
        let Looking { scratch, judging, hits } = &mut self.looking;
        hits.clear();
        let rules = self.counting.rules;
        let looked = state.read(line, scratch, |request| {
            if is_candidate {
                rules.judge(request, judging, hits);
            }
            (Fields::of(request), request.status)
        });
        let Some((fields, status)) = looked else { return true };
        *lines.fields.entry(fields.bits()).or_default() += 1;
        if hits.is_empty() {
            return true;
        }
        let hash = hash.unwrap_or_else(|| self.counting.hash(brief.source));
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
            self.tally.lines.days.entry(today.day.0).or_default().lines += today.lines;
        }
        let mut all = self.counting.tally.lock().unwrap_or_else(PoisonError::into_inner);
        all.add(&self.tally);
    }
}

/// Gives each line, without its end, with where it begins and whether it may hold an attempt. `candidates` is room that is used
/// again.
pub(super) fn each_line(
    sieve: &Sieve,
    lines: &[u8],
    candidates: &mut Vec<usize>,
    mut line: impl FnMut(usize, &[u8], bool),
) {
    candidates.clear();
    sieve.candidates(lines, candidates);
    let mut waiting = candidates.iter().copied().peekable();
    let mut look = |from: usize, next: usize, text: &[u8]| {
        let mut is_candidate = false;
        while waiting.next_if(|offset| *offset < next).is_some() {
            is_candidate = true;
        }
        line(from, text.strip_suffix(b"\r").unwrap_or(text), is_candidate);
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

/// Gives each attempt in whole lines to `found`: the line, and the signatures that recognise it. `found` says whether to
/// go on; gives whether it did to the end.
pub fn attempts(
    rules: &Rules,
    mut state: State,
    lines: &[u8],
    found: &mut impl FnMut(&[u8], &[RuleId]) -> bool,
) -> bool {
    let mut scratch = Scratch::default();
    let mut judging = crate::rules::Scratch::default();
    let mut hits = Vec::new();
    let mut at = 0;
    while let Some(offset) = rules.sieve().next(lines, at) {
        let line = line_at(lines, offset);
        // What stands between is not looked at, but may change what lines mean.
        state.advance(&lines[at..line.at]);
        at = line.next;
        if matches!(state.brief(line.text), Seen::Request(_)) {
            hits.clear();
            state.read(line.text, &mut scratch, |request| rules.judge(request, &mut judging, &mut hits));
            if !hits.is_empty() && !found(line.text, &hits) {
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
