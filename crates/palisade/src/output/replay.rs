//! Replayed attempts for people: what a plan would send and bear, and what a host saw.

use super::lines::{bytes, count, some};
use super::table::clean;
use crate::terms::lasting;
use rollout::plan::Replay;
use rollout::plan::replay::{Load, Terms};
use serde_json::Value;
use std::collections::BTreeMap;

/// Names on one line.
const SHOWN: usize = 12;

/// What a plan replays, a line each: to which service, what, how much; what is borne; what is not known.
pub(crate) fn planned(replay: &Replay) -> Vec<String> {
    let Load { rate_per_second, round_seconds, pause_seconds } = replay.load;
    let group = replay.group.as_ref().map(|group| format!(" on {}", clean(group))).unwrap_or_default();
    let mut signatures: BTreeMap<&str, u32> = BTreeMap::new();
    for attempt in &replay.attempts {
        *signatures.entry(&attempt.signature).or_default() += 1;
    }
    let what = if replay.attempts.is_empty() {
        "no attempt".to_owned()
    } else {
        let names = signatures.iter().map(|(name, count)| times(name, u64::from(*count)));
        format!("{} attempts in turn ({})", replay.attempts.len(), some(names.collect::<Vec<_>>(), SHOWN))
    };
    let mut lines = vec![format!(
        "{}{group}: {what}, {rate_per_second} a second for {} after pauses of {}, with as many harmless ones",
        clean(&replay.place()),
        lasting(round_seconds),
        lasting(pause_seconds)
    )];
    let Terms {
        failed_percent_max,
        unanswered_percent_max,
        slower_times_max,
        latency_floor_ms,
        memory_percent_max,
        memory_floor_bytes,
    } = replay.terms;
    lines.push(format!(
        "bears {failed_percent_max} points more of harmless requests failed, {slower_times_max} times as slow (or \
         {latency_floor_ms} ms), {memory_percent_max} % more memory (or {}), {unanswered_percent_max} % of attempts \
         unanswered, no restart",
        bytes(memory_floor_bytes)
    ));
    if !replay.unknown.is_empty() {
        lines.push(format!("NO ATTEMPT IS KNOWN for {}", some(&replay.unknown, SHOWN)));
    }
    if replay.attempts.is_empty() {
        lines.push("HARMLESS REQUESTS ALONE: it proves nothing under attack".to_owned());
    }
    lines
}

/// What a host saw of one service: before, patched, at worst, and what it did not bear.
pub(crate) fn seen(service: &Value) -> Vec<String> {
    let after = &service["after"];
    let signatures: Vec<String> = service["signatures"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, count)| times(name, count.as_u64().unwrap_or(0)))
        .collect();
    let what = if signatures.is_empty() { "no attempt".to_owned() } else { some(&signatures, SHOWN) };
    let rounds: u64 = after["rounds"].as_u64().unwrap_or(0);
    let place = clean(service["place"].as_str().unwrap_or("?"));
    let mut lines = vec![format!(
        "{place}: {} with {what}, {} a second",
        count(rounds, "round"),
        service["rate_per_second"]
    )];
    for (name, round) in [
        ("before", &service["before"]),
        ("patched, at rest", &after["calm"]),
        ("patched, at worst", &after["worst"]),
    ] {
        if round.is_object() {
            lines.push(format!("{name}: {}", numbers(round)));
        }
    }
    let unknown: Vec<&str> =
        service["unknown"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !unknown.is_empty() {
        lines.push(format!("NO ATTEMPT IS KNOWN for {}", some(&unknown, SHOWN)));
    }
    // A host may say anything.
    lines.iter().map(|line| clean(line)).collect()
}

fn numbers(round: &Value) -> String {
    let heard = |kind: &str| {
        let heard = &round[kind];
        let millis = |name: &str| millis(heard[name].as_u64().unwrap_or(0));
        format!(
            "{} of {} failed, half within {}, 19 of 20 within {}, slowest {}",
            heard["failed"],
            heard["sent"],
            millis("median_us"),
            millis("p95_us"),
            millis("slowest_us")
        )
    };
    let has_attempts = round["attempts"]["sent"].as_u64().is_some_and(|sent| sent > 0);
    let attempts = if has_attempts { format!("; attempts {}", heard("attempts")) } else { String::new() };
    let memory = bytes(round["memory_bytes"].as_u64().unwrap_or(0));
    format!("harmless {}{attempts}; {memory}; restarted {} times", heard("harmless"), round["restarts"])
}

fn times(name: &str, count: u64) -> String {
    if count > 1 { format!("{} ×{count}", clean(name)) } else { clean(name) }
}

fn millis(micros: u64) -> String {
    format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100)
}
