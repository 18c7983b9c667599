//! Random histories of a fleet, as many as wanted, on all cores; one of them again, told; and how fast word spreads.
//!
//! ```text
//! cargo run --release -p rollout --features sim --example schedules -- --count 1000000 --first 0
//! cargo run --release -p rollout --features sim --example schedules -- --replay 4711
//! cargo run --release -p rollout --features sim --example schedules -- --scale 100000
//! ```

use rollout::sim::oath::Kind;
use rollout::sim::{scale, schedule};
use std::process::ExitCode;
use std::time::Instant;

/// Histories between two lines of progress.
const CHUNK: u64 = 10_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if let Some(seed) = number("--replay") {
        return replay(seed);
    }
    if let Some(hosts) = number("--scale") {
        let spread = scale::measure(usize::try_from(hosts).unwrap_or(usize::MAX), 1);
        print!("{spread}");
        return ExitCode::SUCCESS;
    }
    run(number("--first").unwrap_or(0), number("--count").unwrap_or(100_000))
}

fn replay(seed: u64) -> ExitCode {
    let (outcome, told) = schedule::tell(seed);
    for line in told {
        println!("{line}");
    }
    if let Some((kind, how)) = outcome.broken {
        println!("broken ({kind:?}): {how}");
        return ExitCode::FAILURE;
    }
    println!("nothing is broken; it ended {:?}; mark {:016x}", outcome.end, outcome.mark);
    ExitCode::SUCCESS
}

#[expect(clippy::disallowed_methods, reason = "the crate is pure; this program tells how fast it runs")]
fn run(first: u64, count: u64) -> ExitCode {
    let begun = Instant::now();
    let mut outcomes = schedule::Outcomes::default();
    while outcomes.count < count {
        let chunk = CHUNK.min(count - outcomes.count);
        outcomes = outcomes.clone().and(schedule::run_schedules(first + outcomes.count, chunk));
        let rate =
            f64::from(u32::try_from(outcomes.count).unwrap_or(u32::MAX)) / begun.elapsed().as_secs_f64();
        eprintln!("{} of {count}; {rate:.0} a second; {} broken", outcomes.count, outcomes.first.len());
    }
    for (seed, kind, how) in &outcomes.first {
        println!("seed {seed} ({kind:?}): {how}");
        println!("  cargo run --release -p rollout --features sim --example schedules -- --replay {seed}");
    }
    let zero = |kinds: &[Kind]| kinds.iter().filter_map(|kind| outcomes.broken.get(kind)).sum::<u64>();
    println!("{} histories from seed {first}, mark {:016x}", outcomes.count, outcomes.mark);
    println!("ends: {:?}; gates opened: {}", outcomes.ends, outcomes.opened);
    println!("{} budget or capacity overshoots", zero(&[Kind::Overshoot]));
    println!("{} jobs lost or run twice", zero(&[Kind::Job]));
    println!("{} hosts that began after a halt, beyond their clearance", zero(&[Kind::AfterHalt]));
    println!("{} gates opened on silence", zero(&[Kind::Silence]));
    println!("{} installations outside a signed plan", zero(&[Kind::Unsigned]));
    println!("{} hosts that began a plan that does not fit them", zero(&[Kind::Unfit]));
    if outcomes.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
