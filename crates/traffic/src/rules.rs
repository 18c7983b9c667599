//! What recognises an attempt. Takes requests; says which signatures they carry, and why.
//!
//! The language is that of CrowdSec's virtual patches, so that one rule recognises an attempt in a log and refuses a live
//! request. Texts are compared as they were sent and as they may be understood ([`crate::request::View`]): an attempt
//! that is encoded once more is still one.

mod automaton;
mod builtin;
mod condition;
mod example;
mod explain;
mod expression;
mod failregex;
mod names;
mod needle;
mod program;
mod read;
mod scenario;
mod seen;
mod sieve;
mod sigma;
mod transform;
mod vpatch;

pub use automaton::Found;
pub use builtin::{builtin, own};
pub use condition::{Condition, Matching, Order, Test, Transform, Zone};
pub use example::{Example, Examples};
pub use explain::{Evidence, Explanation, Match};
pub use read::read;
pub use sieve::Sieve;

use crate::forecast::Calendar;
use crate::request::{Fields, Request};
use advisory::problem::Problem;
use aho_corasick::{AhoCorasick, AhoCorasickKind};
use needle::{Needle, needles};
use program::{Answer, Program};
use seen::{Seen, Texts};
use serde::Serialize;
use sieve::Hidden;

/// As many rules as two bytes tell apart, one number left for "all of them".
const RULES_MAX: usize = u16::MAX as usize;

/// What an attempt is known as.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Signature {
    /// `codered1`, `crowdsecurity/vpatch-CVE-2017-9841`.
    pub id: String,
    /// What people call it.
    pub names: Vec<String>,
    /// A sentence on what it is.
    pub description: String,
    /// `CVE-2001-0500`.
    pub cves: Vec<String>,
    /// The vendor's bulletin: `MS01-033`.
    pub advisory: Option<String>,
    /// Where to read about it.
    pub references: Vec<String>,
    /// The year in which it was first seen.
    pub first_seen: Option<i16>,
    /// Who wrote the rule, where its licence asks to say so with every match.
    pub author: Option<String>,
    /// How requests of one source become one visit.
    pub visit: Option<Visit>,
    /// Pieces of bodies that were logged as requests: to be kept apart from attempts.
    pub fragment: bool,
    /// When it is awake, where that is known beforehand.
    pub calendar: Option<Calendar>,
    /// The file that it was read from.
    pub file: String,
}

/// Requests of one source that are one visit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Visit {
    /// Signatures with the same name share their visits.
    pub name: String,
    /// A visit goes on while less than this lies between two of its requests.
    pub seconds: u32,
}

/// A rule as read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// What it recognises.
    pub signature: Signature,
    /// When it does.
    pub condition: Condition,
    /// What it must recognise, and what it must not.
    pub examples: Examples,
}

/// A rule among [`Rules`]: the place of its signature in [`Rules::signatures`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleId(pub u16);

/// Rules made ready, in the order of their ids.
#[derive(Debug)]
pub struct Rules {
    signatures: Vec<Signature>,
    programs: Vec<Program>,
    conditions: Vec<Condition>,
    /// Rules that have nothing to look for quickly.
    always: Vec<u64>,
    /// All needles, and for each the rules that have it.
    needles: AhoCorasick,
    with_needle: Vec<Vec<u16>>,
    sieve: Sieve,
}

/// Room that [`Rules::judge`] uses again and again.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A bit for each rule that may hold.
    possible: Vec<u64>,
}

impl Rules {
    /// Makes rules ready. One that cannot be, or whose id another has, is left out and told of.
    pub fn compile(mut rules: Vec<Rule>) -> (Rules, Vec<Problem>) {
        rules.sort_by(|one, other| one.signature.id.cmp(&other.signature.id));
        let mut problems = Vec::new();
        let mut ready: Vec<(Rule, Program)> = Vec::new();
        for rule in rules {
            let problem = |reason: String| {
                let object = format!("{} of {}", rule.signature.id, rule.signature.file);
                Problem::new("compile rule", object, reason)
            };
            let taken = ready.last().filter(|(last, _)| last.signature.id == rule.signature.id);
            if let Some((last, _)) = taken {
                problems.push(
                    problem(format!("{} has the same name", last.signature.file))
                        .remedy("rename one of them"),
                );
            } else if ready.len() >= RULES_MAX {
                problems.push(problem(format!("there are {RULES_MAX} rules before it")));
            } else {
                match Program::new(&rule.condition) {
                    Ok(program) => ready.push((rule, program)),
                    Err(reason) => problems.push(problem(reason)),
                }
            }
        }
        (Rules::of(ready), problems)
    }

    fn of(ready: Vec<(Rule, Program)>) -> Rules {
        let each: Vec<Option<Vec<Needle>>> = ready.iter().map(|(rule, _)| needles(&rule.condition)).collect();
        let sieve = Sieve::new(each.iter().map(Option::as_deref));
        let mut texts: Vec<&[u8]> = each.iter().flatten().flatten().map(|needle| &*needle.text).collect();
        texts.sort_unstable();
        texts.dedup();
        let mut with_needle = vec![Vec::new(); texts.len()];
        let mut always = vec![0; ready.len().div_ceil(64)];
        for (rule, needles) in (0_u16..).zip(&each) {
            let Some(needles) = needles else {
                always[usize::from(rule / 64)] |= 1 << (rule % 64);
                continue;
            };
            for needle in needles {
                let place = texts.binary_search(&&*needle.text).expect("all of them are there");
                with_needle[place].push(rule);
            }
        }
        let needles = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&texts)
            .expect("needles are few and short");
        let mut rules = Rules {
            signatures: Vec::new(),
            programs: Vec::new(),
            conditions: Vec::new(),
            always,
            needles,
            with_needle,
            sieve,
        };
        for (rule, program) in ready {
            rules.signatures.push(rule.signature);
            rules.conditions.push(rule.condition);
            rules.programs.push(program);
        }
        rules
    }

    /// What the rules recognise; the place of each is its [`RuleId`].
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The rule of that id.
    pub fn find(&self, id: &str) -> Option<RuleId> {
        let place = self.signatures.binary_search_by(|signature| signature.id.as_str().cmp(id)).ok()?;
        u16::try_from(place).ok().map(RuleId)
    }

    /// The quick look at raw bytes.
    pub fn sieve(&self) -> &Sieve {
        &self.sieve
    }

    /// What the quick look at raw bytes looks for: regular expressions, one of which is in every line that may hold an
    /// attempt. Rules that look at every line have none.
    pub fn patterns(&self) -> Vec<String> {
        let each: Vec<Option<Vec<Needle>>> = self.conditions.iter().map(needles).collect();
        sieve::regexes(each.iter().map(Option::as_deref))
    }

    /// As [`Rules::judge`] does, for a request of a line in which the sieve found all this: only rules that have what was
    /// found are asked.
    pub fn judge_found(
        &self,
        request: &Request<'_>,
        found: &[Found],
        scratch: &mut Scratch,
        hits: &mut Vec<RuleId>,
    ) {
        hits.clear();
        scratch.possible.clear();
        scratch.possible.resize(self.always.len(), 0);
        let seen = Seen::new(request);
        let texts = match self.sieve.possible(found, &mut scratch.possible) {
            Hidden::Nowhere => return self.answer(&seen, &scratch.possible, hits),
            Hidden::Decoded => Texts::Decoded,
            Hidden::Anywhere => Texts::All,
        };
        self.look(&seen, texts, scratch);
        self.answer(&seen, &scratch.possible, hits);
    }

    /// Puts every rule that recognises the request into `hits`, which is emptied first: in order, each once.
    pub fn judge(&self, request: &Request<'_>, scratch: &mut Scratch, hits: &mut Vec<RuleId>) {
        hits.clear();
        scratch.possible.clear();
        scratch.possible.resize(self.always.len(), 0);
        let seen = Seen::new(request);
        self.look(&seen, Texts::All, scratch);
        self.answer(&seen, &scratch.possible, hits);
    }

    /// Marks rules whose needles are in some text, and those that have none.
    fn look(&self, seen: &Seen<'_>, texts: Texts, scratch: &mut Scratch) {
        for (possible, always) in scratch.possible.iter_mut().zip(&self.always) {
            *possible |= always;
        }
        seen.everything(texts, &mut |text| {
            for found in self.needles.find_overlapping_iter(text) {
                for &rule in &self.with_needle[found.pattern().as_usize()] {
                    scratch.possible[usize::from(rule / 64)] |= 1 << (rule % 64);
                }
            }
        });
    }

    /// Asks the rules whose bits are set.
    fn answer(&self, seen: &Seen<'_>, possible: &[u64], hits: &mut Vec<RuleId>) {
        for (word, &bits) in (0_u16..).zip(possible) {
            let mut bits = bits;
            while bits != 0 {
                let rule = word * 64 + u16::try_from(bits.trailing_zeros()).expect("under 64");
                bits &= bits - 1;
                if self.programs[usize::from(rule)].answer(seen) == Answer::Yes {
                    hits.push(RuleId(rule));
                }
            }
        }
    }

    /// The rules that a source with only these fields cannot judge, each with what it lacks.
    pub fn unjudged(&self, fields: Fields) -> Vec<(RuleId, Fields)> {
        let lacks = |condition: &Condition| lacking(condition, fields);
        (0_u16..)
            .zip(&self.conditions)
            .filter_map(|(rule, condition)| Some((RuleId(rule), lacks(condition)?)))
            .collect()
    }

    /// Which rules recognise the request, and by what.
    pub fn explain(&self, request: &Request<'_>) -> Explanation {
        let mut hits = Vec::new();
        self.judge(request, &mut Scratch::default(), &mut hits);
        let seen = Seen::new(request);
        let matches = hits.into_iter().map(|RuleId(rule)| {
            let signature = &self.signatures[usize::from(rule)];
            let mut evidence = Vec::new();
            self.programs[usize::from(rule)].evidence(&seen, &mut evidence);
            Match {
                signature: signature.id.clone(),
                names: signature.names.clone(),
                author: signature.author.clone(),
                evidence,
            }
        });
        Explanation { matches: matches.collect() }
    }
}

/// What is lacking for a condition to be judged; nothing where it can be, even if not in every way.
fn lacking(condition: &Condition, fields: Fields) -> Option<Fields> {
    match condition {
        Condition::Test(Test { matching: Matching::Unlogged, .. }) => None,
        Condition::Test(test) => {
            let wanted = test.fields();
            let lacks = || wanted.iter().map(|wanted| wanted.without(fields)).next().unwrap_or(Fields::NONE);
            (!wanted.iter().any(|&wanted| fields.has(wanted))).then(lacks)
        }
        Condition::All(parts) => {
            let lacking = parts.iter().filter_map(|part| lacking(part, fields));
            lacking.reduce(Fields::with)
        }
        Condition::Any(parts) => {
            let lacking: Option<Vec<Fields>> = parts.iter().map(|part| lacking(part, fields)).collect();
            lacking.and_then(|lacking| lacking.into_iter().reduce(Fields::with))
        }
        Condition::Not(part) => lacking(part, fields),
    }
}
