//! What was counted and has still to be told. Pure: the hour that it is now is an argument.
//!
//! An hour is told as a whole and replaces what was told of it, so it is kept for as long as lines of it may come, and longer
//! where it could not be told.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use traffic::census::{Sketch, hours};
use traffic::rules::Rules;
use wire::v1::census::{Attempts, HOURS_MAX, Hour, SIGNATURE_BYTES_MAX, SIGNATURES_MAX};

/// Lines may come so late: a server that answers for hours, a log that is read after the agent was off over a weekend.
const LATE_HOURS: i64 = 72;
/// Hours that are kept at most: a month. The server was away for so long then.
const HOURS_KEPT_MAX: usize = 31 * 24;
/// Bytes of sketches that are kept at most: 32 MiB, a hundred thousand hours and signatures with a hundred sources each.
const BYTES_MAX: usize = 32 << 20;
/// A request may be dated so far ahead: clocks are set now and then.
const AHEAD_HOURS: i64 = 2;
/// Bytes of one message: 4 MiB, a quarter of what a server takes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Hours, and how far they were told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Book {
    /// Which key sources are hashed with.
    pub(super) key: String,
    /// Hours before this are not told (again): what is known of them is not all.
    from: i64,
    /// Up to here there is an entry for each hour in which a log was followed.
    covered: i64,
    hours: BTreeMap<i64, Kept>,
    /// Requests that came too late, or were dated ahead.
    pub(super) untold_requests: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Kept {
    requests: u64,
    unread: u64,
    /// By signature.
    attempts: BTreeMap<String, Cell>,
    /// How often it has changed, and how often when it was told.
    changes: u64,
    told: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Cell {
    attempts: u64,
    answered: u64,
    /// A [`Sketch`].
    sources: Vec<u8>,
}

/// Hours to be told, and how often each had changed.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(super) hours: Vec<Hour>,
    changes: BTreeMap<i64, u64>,
}

impl Book {
    /// An empty one.
    pub(super) fn new(key: String, now: i64) -> Self {
        Self { key, from: i64::MIN, covered: now, hours: BTreeMap::new(), untold_requests: 0 }
    }

    /// An empty one for a host that told something before, which is not known any more: of the present hour, too, a part was
    /// told or lost, so the next one is the first.
    pub(super) fn anew(key: String, now: i64) -> Self {
        Self { from: now + 1, ..Self::new(key, now) }
    }

    /// Takes in what was counted.
    pub(super) fn add(&mut self, rules: &Rules, counted: BTreeMap<i64, hours::Hour>, now: i64) {
        for (number, hour) in counted {
            if number < self.from || number > now + AHEAD_HOURS {
                self.untold_requests += hour.requests;
                continue;
            }
            let kept = self.hours.entry(number).or_default();
            kept.changes += 1;
            kept.requests += hour.requests;
            kept.unread += hour.unread;
            for (rule, of) in hour.attempts {
                let id = &rules.signatures()[usize::from(rule.0)].id;
                let cell = kept.attempts.entry(id.clone()).or_default();
                cell.attempts += of.count;
                cell.answered += of.answered;
                let mut sources = Sketch::from_bytes(&cell.sources).unwrap_or_default();
                sources.unite(&of.sources);
                cell.sources = sources.to_bytes();
            }
        }
    }

    /// Notes that logs were followed up to now: an hour without requests is told, one without a log is not.
    pub(super) fn cover(&mut self, now: i64, is_followed: bool) {
        let month = i64::try_from(HOURS_KEPT_MAX).unwrap_or(i64::MAX);
        let first = self.covered.max(now - month + 1);
        if is_followed {
            for hour in first.max(self.from)..=now {
                self.hours.entry(hour).or_insert_with(|| Kept { changes: 1, ..Kept::default() });
            }
        }
        // Part of an hour is not all of it.
        self.covered = if is_followed { now } else { now + 1 };
    }

    /// Drops what was told and is past changing, and what is too much. Gives how many hours were dropped untold.
    pub(super) fn shrink(&mut self, now: i64) -> usize {
        let is_done = |number: i64, kept: &Kept| number < now - LATE_HOURS && kept.told == kept.changes;
        let mut dropped = 0;
        let mut bytes: usize = self.hours.values().map(Kept::bytes).sum();
        while let Some((number, kept)) = self.hours.first_key_value() {
            let is_done = is_done(*number, kept);
            if !is_done && bytes <= BYTES_MAX && self.hours.len() <= HOURS_KEPT_MAX {
                break;
            }
            let Some((number, kept)) = self.hours.pop_first() else { break };
            bytes -= kept.bytes();
            dropped += usize::from(!is_done);
            self.from = self.from.max(number + 1);
        }
        dropped
    }

    /// How many hours wait to be told.
    pub(super) fn waiting(&self) -> usize {
        self.hours.values().filter(|kept| kept.told < kept.changes).count()
    }

    /// The next that fit into one message, oldest first.
    pub(super) fn due(&self, rules: &Rules) -> Due {
        let mut due = Due::default();
        let mut bytes = 0;
        for (number, kept) in self.hours.iter().filter(|(_, kept)| kept.told < kept.changes) {
            bytes += kept.bytes();
            if due.hours.len() == HOURS_MAX || bytes > MESSAGE_BYTES_MAX && !due.hours.is_empty() {
                break;
            }
            due.hours.push(kept.hour(*number, rules));
            due.changes.insert(*number, kept.changes);
        }
        due
    }

    /// These were stored. What was counted since then waits.
    pub(super) fn told(&mut self, due: &Due) {
        for (number, changes) in &due.changes {
            if let Some(kept) = self.hours.get_mut(number) {
                kept.told = kept.told.max(*changes);
            }
        }
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        // In a message as base64, beside names.
        self.attempts.iter().map(|(id, cell)| id.len() + cell.sources.len() * 4 / 3 + 64).sum()
    }

    fn hour(&self, hour: i64, rules: &Rules) -> Hour {
        let mut ids: Vec<&String> =
            self.attempts.keys().filter(|id| id.len() <= SIGNATURE_BYTES_MAX).collect();
        if ids.len() > SIGNATURES_MAX {
            ids.sort_by_key(|id| std::cmp::Reverse(self.attempts[*id].attempts));
            ids.truncate(SIGNATURES_MAX);
        }
        let ids: BTreeSet<&String> = ids.into_iter().collect();
        let attempts = ids.into_iter().map(|id| attempts(id, &self.attempts[id], rules)).collect();
        Hour { hour, requests: self.requests, unread: self.unread, attempts }
    }
}

fn attempts(id: &str, cell: &Cell, rules: &Rules) -> Attempts {
    use base64::Engine;
    let rule = rules.find(id).map(|rule| &rules.signatures()[usize::from(rule.0)]);
    let cves =
        rule.map(|signature| signature.cves.iter().take(wire::v1::census::CVES_MAX).cloned().collect());
    Attempts {
        signature: id.to_owned(),
        cves: cves.unwrap_or_default(),
        attempts: cell.attempts,
        answered: cell.answered,
        sources: base64::engine::general_purpose::STANDARD.encode(&cell.sources),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use std::net::Ipv4Addr;
    use traffic::census::{Hasher, Key};
    use traffic::format::Source;
    use traffic::rules::RuleId;

    fn rules() -> Rules {
        let files = traffic::rules::builtin().iter().filter(|(name, _)| *name == "rules/code-red.yaml");
        Rules::compile(files.flat_map(|(name, text)| traffic::rules::read(name, text).0).collect()).0
    }

    fn counted(number: i64, sources: std::ops::Range<u8>) -> BTreeMap<i64, hours::Hour> {
        let hasher = Hasher::new(&Key::new([1; 32]));
        let mut of = hours::Attempts::default();
        for last in sources {
            of.count += 1;
            let address = Ipv4Addr::new(192, 0, 2, last).to_string();
            of.sources.insert(&hasher, Source::address(address.as_bytes()).unwrap());
        }
        let hour = hours::Hour { requests: of.count, unread: 0, attempts: [(RuleId(0), of)].into() };
        [(number, hour)].into()
    }

    fn told(due: &Due) -> Vec<(i64, u64)> {
        due.hours.iter().map(|hour| (hour.hour, hour.requests)).collect()
    }

    #[test]
    fn an_hour_that_goes_on_while_it_is_told_is_told_again_as_a_whole() {
        let rules = rules();
        let mut book = Book::new("key".to_owned(), 100);
        book.add(&rules, counted(100, 0..10), 100);
        let due = book.due(&rules);
        assert_eq!(told(&due), [(100, 10)]);
        book.add(&rules, counted(100, 5..15), 100);
        book.told(&due);
        let due = book.due(&rules);
        assert_eq!(told(&due), [(100, 20)]);
        let cell = &due.hours[0].attempts[0];
        assert_eq!(cell.cves, ["CVE-2001-0500"]);
        let sources = base64::engine::general_purpose::STANDARD.decode(&cell.sources).unwrap();
        assert_eq!(Sketch::from_bytes(&sources).unwrap().count().count, 15);
        book.told(&due);
        assert_eq!((book.waiting(), told(&book.due(&rules))), (0, vec![]));
    }

    #[test]
    fn an_hour_is_told_when_logs_were_followed_in_it_even_if_nobody_came() {
        let rules = rules();
        let mut book = Book::new("key".to_owned(), 100);
        book.cover(102, true);
        book.cover(104, false);
        book.cover(105, true);
        assert_eq!(told(&book.due(&rules)), [(100, 0), (101, 0), (102, 0), (105, 0)]);
        // A log of last week that is read now, and one whose clock is wrong.
        book.add(&rules, counted(20, 0..3), 105);
        book.add(&rules, counted(500, 0..3), 105);
        assert_eq!((told(&book.due(&rules))[0], book.untold_requests), ((20, 3), 3));
    }

    #[test]
    fn while_the_server_is_away_the_oldest_hours_go_first_and_none_comes_back_by_half() {
        let rules = rules();
        let mut book = Book::new("key".to_owned(), 0);
        book.add(&rules, counted(0, 0..3), 0);
        book.cover(1_000, true);
        assert_eq!(book.shrink(1_000), 1);
        assert_eq!(book.hours.len(), HOURS_KEPT_MAX);
        // A line of an hour that was dropped would stand for all of it.
        book.add(&rules, counted(0, 0..1), 1_000);
        assert_eq!(book.untold_requests, 1);
        let due = book.due(&rules);
        assert_eq!(due.hours.len(), HOURS_MAX);
        book.told(&due);
        assert_eq!(book.shrink(1_000), 0);
        assert_eq!(book.waiting(), HOURS_KEPT_MAX - HOURS_MAX);
        assert!(Book::anew("key".to_owned(), 7).due(&rules).hours.is_empty());
    }
}
