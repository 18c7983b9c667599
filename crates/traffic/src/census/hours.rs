//! Counts by the hour, for a host that tells its fleet: numbers and sketches, no addresses.
//!
//! Takes lines and rules; gives hours. An hour that is told is told as a whole, so whatever is counted later of it changes it.

use super::counter::each_line;
use super::sketch::{Hasher, Sketch};
use crate::format::{Scratch, Seen, Source, State};
use crate::request::Request;
use crate::rules::{self, Found, RuleId, Rules};
use std::collections::BTreeMap;

const HOUR_SECONDS: i64 = 3_600;
/// How the user agent of what a host replays to itself begins.
const OWN_AGENT: &[u8] = b"palisade-agent/";

/// One hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hour {
    /// Requests of all kinds.
    pub requests: u64,
    /// Lines that no format could read: in the hour of the request before them.
    pub unread: u64,
    /// Attempts by rule.
    pub attempts: BTreeMap<RuleId, Attempts>,
}

/// Attempts with one signature in one hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How many.
    pub count: u64,
    /// How many were answered with 2xx.
    pub answered: u64,
    /// Who sent them.
    pub sources: Sketch,
}

/// Counts lines into hours.
#[derive(Debug)]
pub struct Hours<'a> {
    rules: &'a Rules,
    hasher: Hasher,
    /// By hours since 1970, UTC. Whoever has taken what was counted may clear it.
    pub counted: BTreeMap<i64, Hour>,
    scratch: Scratch,
    judging: rules::Scratch,
    hits: Vec<RuleId>,
    found: Vec<Found>,
}

impl<'a> Hours<'a> {
    /// Nothing yet.
    pub fn new(rules: &'a Rules, hasher: Hasher) -> Self {
        Self {
            rules,
            hasher,
            counted: BTreeMap::new(),
            scratch: Scratch::default(),
            judging: rules::Scratch::default(),
            hits: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Counts whole lines that stand after each other in a log that said `state` before them. `hour` is where lines that cannot
    /// be read are counted before the first that can; it is left at that of the last request. Gives how many cannot be read.
    pub fn count(&mut self, mut state: State, lines: &[u8], hour: &mut i64) -> u64 {
        let mut unread = 0;
        let mut found = std::mem::take(&mut self.found);
        each_line(self.rules.sieve(), lines, &mut found, |_, line, found| {
            unread += u64::from(!self.line(&mut state, line, found, hour));
        });
        self.found = found;
        unread
    }

    /// Whether the line could be read.
    fn line(&mut self, state: &mut State, line: &[u8], found: &[Found], hour: &mut i64) -> bool {
        let brief = match state.brief(line) {
            Seen::Request(brief) => brief,
            Seen::Nothing => return true,
            Seen::Unread => {
                self.counted.entry(*hour).or_default().unread += 1;
                return false;
            }
        };
        *hour = brief.when.seconds.div_euclid(HOUR_SECONDS);
        let counted = self.counted.entry(*hour).or_default();
        counted.requests += 1;
        if found.is_empty() {
            return true;
        }
        let Self { rules, judging, hits, scratch, .. } = self;
        hits.clear();
        let status = state.read(line, scratch, |request| {
            rules.judge_found(request, found, judging, hits);
            if is_ours(request, brief.source) {
                hits.clear();
            }
            request.status
        });
        for rule in &*hits {
            let attempts = counted.attempts.entry(*rule).or_default();
            attempts.count += 1;
            attempts.answered += u64::from(matches!(status, Some(Some(200..=299))));
            attempts.sources.insert(&self.hasher, brief.source);
        }
        true
    }
}

/// Whether an attempt is one that this host replays to itself, as far as its user agent tells. From anywhere else the same
/// words are an attempt like any other.
fn is_ours(request: &Request<'_>, source: Source) -> bool {
    source.is_loopback() && request.agent.bytes().is_some_and(|agent| agent.starts_with(OWN_AGENT))
}

#[cfg(test)]
mod tests {
    use super::super::Key;
    use super::*;

    #[test]
    fn what_a_host_replays_to_itself_is_no_attempt_and_the_same_from_elsewhere_is() {
        let (rules, _) = Rules::compile(rules::own());
        let mut hours = Hours::new(&rules, Hasher::new(&Key::new([7; 32])));
        let line = |source: &str, agent: &str| {
            format!(
                "{source} - - [01/Aug/2001:01:00:00 +0200] \"GET /default.ida?NNNNNNNNN%u9090 HTTP/1.1\" 404 3 \"-\" \"{agent}\"\n"
            )
        };
        let own = "palisade-agent/0.3.1";
        let log =
            [line("127.0.0.1", own), line("::1", own), line("192.0.2.1", own), line("127.0.0.1", "worm")]
                .concat();
        hours.count(State::default(), log.as_bytes(), &mut 0);
        let told: Vec<u64> =
            hours.counted.values().flat_map(|hour| hour.attempts.values().map(|of| of.count)).collect();
        assert_eq!(told, [2]);
        assert_eq!(
            hours.counted.values().map(|hour| hour.requests).sum::<u64>(),
            4,
            "requests they are all the same"
        );
    }

    #[test]
    fn an_hour_says_how_many_tried_what_and_how_many_were_answered() {
        let (rules, _) = Rules::compile(rules::own());
        let mut hours = Hours::new(&rules, Hasher::new(&Key::new([7; 32])));
        let line = |source: &str, time: &str, path: &str, status: u16| {
            format!("{source} - - [01/Aug/2001:{time} +0200] \"GET {path} HTTP/1.0\" {status} 3\n")
        };
        let red = format!("/default.ida?{}%u9090%u6858%ucbd3%u7801=a", "N".repeat(224));
        let log = [
            line("192.0.2.1", "01:59:59", "/", 200),
            line("192.0.2.2", "01:59:59", &red, 404),
            line("192.0.2.2", "02:00:00", &red, 404),
            "no line of a log\n".to_owned(),
            line("192.0.2.3", "02:59:59", &red, 200),
            line("192.0.2.3", "02:59:59", "/default.idaho", 200),
        ]
        .concat();
        let mut last = 0;
        // In two parts, as they are taken from a log that grows.
        let cut = log.find("no line").unwrap();
        assert_eq!(hours.count(State::default(), &log.as_bytes()[..cut], &mut last), 0);
        assert_eq!(hours.count(State::default(), &log.as_bytes()[cut..], &mut last), 1);
        let told: Vec<_> = hours
            .counted
            .iter()
            .map(|(hour, of)| {
                let attempts: Vec<_> = of
                    .attempts
                    .iter()
                    .map(|(rule, of)| {
                        let id = rules.signatures()[usize::from(rule.0)].id.as_str();
                        (id, of.count, of.answered, of.sources.count().count)
                    })
                    .collect();
                (*hour, of.requests, of.unread, attempts)
            })
            .collect();
        // 1 August 2001, midnight in UTC, is the hour 276,840.
        let wanted =
            [(276_839, 2, 0, vec![("codered1", 1, 0, 1)]), (276_840, 3, 1, vec![("codered1", 2, 1, 2)])];
        assert_eq!(told, wanted);
        assert_eq!(last, 276_840);
    }
}
