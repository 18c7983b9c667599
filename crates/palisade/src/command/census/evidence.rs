//! What each source sent, with a few lines of it: what somebody else needs to believe it.

use super::copies::Copies;
use super::engine::{Chunk, Manner, Stream};
use super::inputs::Input;

use advisory::Problem;
use agent::census::Ruleset;
use std::collections::BTreeMap;
use std::net::IpAddr;
use traffic::census::attempts;
use traffic::rules::RuleId;

/// Lines that are kept of a source.
const LINES_MAX: usize = 3;
/// What is kept of a line.
const LINE_BYTES_MAX: usize = 1_024;
/// Sources that are told apart: 100,000 take some 300 MB at the most.
const SOURCES_MAX: usize = 100_000;

/// What one source sent.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) attempts: u64,
    /// Attempts with each signature.
    pub(super) rules: BTreeMap<RuleId, u64>,
    /// Seconds since 1970.
    pub(super) first: i64,
    pub(super) last: i64,
    /// As they were logged, cut where they are long; of different signatures where there are.
    pub(super) lines: Vec<Vec<u8>>,
}

/// Everything that sources sent, by their addresses. Names and fragments are left out. Reads one log after the other, so that
/// the lines that are kept are the first ones.
pub(super) fn gather(
    inputs: &[Input],
    manner: &Manner<'_>,
    rules: &Ruleset,
    problems: &mut Vec<Problem>,
) -> BTreeMap<IpAddr, Sender> {
    let copies = Copies::look(inputs, manner);
    let mut senders: BTreeMap<IpAddr, Sender> = BTreeMap::new();
    let mut left_out = 0_u64;
    let mut chunk = Chunk::default();
    for (number, input) in inputs.iter().enumerate().filter(|(number, _)| !copies.is_copy(*number)) {
        let mut stream = match Stream::open(number, input, manner) {
            Ok(stream) => stream,
            Err(error) => {
                let problem = Problem::new("read log", input.name(), format!("{error:#}"));
                problems.push(problem.remedy("read it as somebody who may"));
                continue;
            }
        };
        while !agent::program::is_stopped() && stream.next(&mut chunk) {
            let ends = copies.cut(number, &mut chunk).is_some();
            attempts(&rules.rules, chunk.state.clone(), chunk.lines(), &mut |line, brief, hits| {
                let counted = |rule: &&RuleId| !rules.rules.signatures()[usize::from(rule.0)].fragment;
                let hits: Vec<RuleId> = hits.iter().filter(counted).copied().collect();
                if let Some(address) = brief.source.ip().filter(|_| !hits.is_empty()) {
                    if senders.len() >= SOURCES_MAX && !senders.contains_key(&address) {
                        left_out += 1;
                    } else {
                        add(&mut senders, address, brief.when.seconds, &hits, line);
                    }
                }
                true
            });
            if ends {
                break;
            }
        }
        problems.extend(stream.take_problems());
    }
    if left_out > 0 {
        let reason = format!("there are more than {SOURCES_MAX}; {left_out} attempts of others are left out");
        problems
            .push(Problem::new("gather sources", "the logs", reason).remedy("give the logs of fewer days"));
    }
    senders
}

fn add(senders: &mut BTreeMap<IpAddr, Sender>, address: IpAddr, seconds: i64, hits: &[RuleId], line: &[u8]) {
    let sender = senders.entry(address).or_insert_with(|| Sender {
        attempts: 0,
        rules: BTreeMap::new(),
        first: seconds,
        last: seconds,
        lines: Vec::new(),
    });
    let is_new = hits.iter().any(|rule| !sender.rules.contains_key(rule));
    if sender.lines.len() < LINES_MAX && (is_new || sender.lines.len() + 1 < LINES_MAX) {
        sender.lines.push(line[..line.len().min(LINE_BYTES_MAX)].to_vec());
    }
    sender.attempts += 1;
    for rule in hits {
        *sender.rules.entry(*rule).or_default() += 1;
    }
    sender.first = sender.first.min(seconds);
    sender.last = sender.last.max(seconds);
}
