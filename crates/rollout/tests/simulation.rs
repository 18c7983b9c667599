//! Random histories, a bounded number; `examples/schedules.rs` runs as many as wanted.

use rollout::plan::Plan;
use rollout::sim::fleet::Shape;
use rollout::sim::ledger::{Books, exercise};
use rollout::sim::{scale, schedule};

/// Enough to find what was ever found in minutes of many cores; some seconds.
const HISTORIES: u64 = 300;

#[test]
fn nothing_is_broken_in_any_history() {
    let outcomes = schedule::run_schedules(0, HISTORIES);
    for (seed, kind, how) in &outcomes.first {
        println!("seed {seed} ({kind:?}): {how}");
        println!("  cargo run --release -p rollout --features sim --example schedules -- --replay {seed}");
    }
    assert!(outcomes.broken.is_empty(), "{:?}", outcomes.broken);
    assert!(outcomes.opened > HISTORIES, "gates must open where all is well: {outcomes:?}");
}

#[test]
fn the_same_seed_is_the_same_history() {
    for seed in [1, 2, 3, 5, 8] {
        let (told, lines) = schedule::tell(seed);
        assert_eq!(told, schedule::run(seed));
        assert_eq!(lines, schedule::tell(seed).1);
    }
}

#[test]
fn word_of_a_halt_reaches_a_large_fleet_in_time() {
    let spread = scale::measure(20_000, 1);
    assert!(spread.halt_99_ms <= 90_000, "{spread}");
    assert!(spread.first_polled_ms <= 120_000, "{spread}");
    assert!(spread.first_hinted_ms <= 5_000, "{spread}");
}

#[test]
fn a_ledger_is_held_against_its_model() {
    let plan: Plan = Shape {
        waves: vec![2, 10],
        away_max: vec![2, 1],
        bad_max: 1,
        hosts_at_once_max: 3,
        ..Shape::default()
    }
    .plan();
    for seed in 0..50 {
        exercise(&mut Books::of(&plan), &plan, seed, 400).expect("the model is itself");
    }
}
