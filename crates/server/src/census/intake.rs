//! Looks through what a host says it counted. Whatever a host says, only what is well formed and within bounds is added up.

use crate::hosts::clean;
use crate::store::census::{Attempts, Counted, Hour, sketch};
use std::collections::{BTreeMap, BTreeSet};
use wire::v1::census::{self as said, CVES_MAX, HOURS_MAX, SIGNATURE_BYTES_MAX, SIGNATURES_MAX};

/// Hours that a host's clock may be ahead.
const AHEAD_MAX: i64 = 1;
/// A count of one hour: a thousand times what a hundred thousand requests a second would be.
const COUNT_MAX: u64 = 1_000_000_000_000;
/// Problems that are kept, and bytes of each.
const PROBLEMS_MAX: usize = 20;
const PROBLEM_BYTES_MAX: usize = 300;

/// Which hours are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The hour it is.
    pub(crate) now: i64,
    /// The first hour that is counted still; what is before it is passed over: its sums are closed.
    pub(crate) open: i64,
    /// The first hour that anything is kept of; what is before it is refused.
    pub(crate) first: i64,
}

/// What can be added up of it, and how many hours came too late for that; or why nothing can.
pub(crate) fn look(told: said::Counted, taken: Taken) -> Result<(Counted, usize), String> {
    if told.hours.len() > HOURS_MAX {
        return Err(format!("{} hours are told; {HOURS_MAX} are allowed", told.hours.len()));
    }
    if !told.hours.is_sorted_by(|one, other| one.hour < other.hour) {
        return Err("its hours are not in order, or one is told twice".to_owned());
    }
    let (mut hours, mut late) = (BTreeMap::new(), 0);
    for hour in told.hours {
        let number = hour.hour;
        if number > taken.now + AHEAD_MAX {
            return Err(format!("hour {number} is in the future; it is {} now: set the clock", taken.now));
        }
        if number < taken.first {
            return Err(format!(
                "hour {number} is older than anything that is kept; the first is {}",
                taken.first
            ));
        }
        let looked = look_at(hour).map_err(|reason| format!("hour {number}: {reason}"))?;
        if number < taken.open {
            late += 1;
        } else {
            hours.insert(number, looked);
        }
    }
    let problems =
        told.problems.iter().take(PROBLEMS_MAX).map(|problem| clean(problem, PROBLEM_BYTES_MAX)).collect();
    Ok((Counted { logs: told.logs, problems, hours }, late))
}

fn look_at(hour: said::Hour) -> Result<Hour, String> {
    let number = |what: &str, count: u64| {
        let counted = i64::try_from(count).ok().filter(|_| count <= COUNT_MAX);
        counted.ok_or_else(|| format!("{what}: {count} is no count of an hour"))
    };
    if hour.attempts.len() > SIGNATURES_MAX {
        return Err(format!("{} signatures; {SIGNATURES_MAX} are allowed", hour.attempts.len()));
    }
    let mut attempts = BTreeMap::new();
    for said in hour.attempts {
        let name = said.signature;
        if name.is_empty() || name.len() > SIGNATURE_BYTES_MAX || clean(&name, SIGNATURE_BYTES_MAX) != name {
            let shown = clean(&name, 40);
            return Err(format!(
                "\"{shown}\" is no id of a signature: 1 to {SIGNATURE_BYTES_MAX} printable bytes"
            ));
        }
        let of = |reason: String| format!("{name}: {reason}");
        if said.cves.len() > CVES_MAX {
            return Err(of(format!("{} CVEs; {CVES_MAX} are allowed", said.cves.len())));
        }
        if let Some(wrong) = said.cves.iter().find(|cve| !is_cve(cve)) {
            return Err(of(format!("\"{}\" is no id like CVE-2026-1234", clean(wrong, 40))));
        }
        if said.answered > said.attempts {
            return Err(of(format!("{} of {} attempts are answered", said.answered, said.attempts)));
        }
        let Some(sources) = sketch(&said.sources) else {
            return Err(of("its sources are no sketch in base64".to_owned()));
        };
        if (sources.count().count == 0) != (said.attempts == 0) {
            return Err(of(format!("{} attempts are of no source", said.attempts)));
        }
        if said.attempts == 0 {
            continue;
        }
        let looked = Attempts {
            attempts: number("attempts", said.attempts)?,
            answered: number("answered", said.answered)?,
            sources: said.sources,
            cves: said.cves.into_iter().collect::<BTreeSet<_>>(),
        };
        if attempts.insert(name.clone(), looked).is_some() {
            return Err(of("it is told twice".to_owned()));
        }
    }
    Ok(Hour {
        requests: number("requests", hour.requests)?,
        unread: number("unread lines", hour.unread)?,
        attempts,
    })
}

fn is_cve(text: &str) -> bool {
    let digits = |text: &str, least, most| {
        (least..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let parts = text.strip_prefix("CVE-").and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(year, number)| digits(year, 4, 4) && digits(number, 4, 19))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEN: Taken = Taken { now: 500_000, open: 499_640, first: 490_400 };

    fn told(hours: Vec<said::Hour>) -> said::Counted {
        said::Counted { key: String::new(), logs: 1, problems: Vec::new(), hours }
    }

    fn hour(hour: i64, change: impl FnOnce(&mut said::Attempts)) -> said::Hour {
        // One source: register 1 has rank 5.
        let mut attempts = said::Attempts {
            signature: "codered1".to_owned(),
            cves: vec!["CVE-2001-0500".to_owned()],
            attempts: 3,
            answered: 1,
            sources: "AAABBQ==".to_owned(),
        };
        change(&mut attempts);
        said::Hour { hour, requests: 10, unread: 0, attempts: vec![attempts] }
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_its_reason() {
        let same = |_: &mut said::Attempts| {};
        let twice = || {
            let mut twice = hour(500_000, same);
            twice.attempts.push(twice.attempts[0].clone());
            twice
        };
        let long = "x".repeat(SIGNATURE_BYTES_MAX + 1);
        let cases: Vec<(Vec<said::Hour>, &str)> = vec![
            (vec![hour(500_002, same)], "in the future"),
            (vec![hour(490_399, same)], "older than anything"),
            (vec![hour(500_000, same), hour(499_999, same)], "not in order"),
            (vec![hour(500_000, same), hour(500_000, same)], "told twice"),
            (vec![twice()], "told twice"),
            (vec![hour(500_000, |said| said.signature = "a\nb".to_owned())], "no id of a signature"),
            (vec![hour(500_000, |said| said.signature = "\u{202e}a".to_owned())], "no id of a signature"),
            (vec![hour(500_000, |said| said.signature = long)], "no id of a signature"),
            (vec![hour(500_000, |said| said.signature.clear())], "no id of a signature"),
            (vec![hour(500_000, |said| said.cves = vec!["CVE-1-%".to_owned()])], "no id like CVE"),
            (vec![hour(500_000, |said| said.cves = vec!["CVE-2001-0500".to_owned(); 21])], "CVEs; 20"),
            (vec![hour(500_000, |said| said.sources = "AAABBQ".to_owned())], "no sketch"),
            (vec![hour(500_000, |said| said.sources = "AAABBQABBg==".to_owned())], "no sketch"),
            (vec![hour(500_000, |said| said.sources = "AA==".to_owned())], "of no source"),
            (vec![hour(500_000, |said| said.answered = 4)], "4 of 3 attempts"),
            (vec![hour(500_000, |said| said.attempts = u64::MAX)], "no count of an hour"),
            ((0..=168).map(|number| hour(499_800 + number, same)).collect(), "168 are allowed"),
        ];
        for (hours, reason) in cases {
            let refused = look(told(hours), TAKEN).unwrap_err();
            assert!(refused.contains(reason), "{refused} for {reason}");
        }
    }

    #[test]
    fn what_is_well_formed_is_taken_and_what_comes_too_late_is_counted() {
        let hours = vec![hour(499_639, |_| {}), hour(499_640, |_| {}), hour(500_001, |_| {})];
        let mut told = told(hours);
        told.problems = vec!["cannot read\n/var/log/x".to_owned(); 30];
        let (counted, late) = look(told, TAKEN).unwrap();
        assert_eq!((counted.hours.keys().copied().collect::<Vec<_>>(), late), (vec![499_640, 500_001], 1));
        assert_eq!(counted.problems.len(), PROBLEMS_MAX);
        assert_eq!(counted.problems[0], "cannot read\u{fffd}/var/log/x");
    }
}
