//! The forecast: how long it takes, and whether its bands hold what they say.
//!
//! `cargo bench -p traffic --bench forecast` prints the time of one series and of sixty.
//! `… -- --coverage 1000 [--seed FIRST] [--family NAME]` forecasts so many made-up series of each family and prints how many
//! days fell inside the 90 % band 7, 28 and 90 days ahead, and the scores, beside two peers: "last week repeats" with bands
//! from its own errors, and a straight line through the logarithms (OLS).

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench measures time; its numbers are small"
)]

mod series;

use rustix::time::{ClockId, clock_gettime};
use series::{FAMILIES, Story, story};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use traffic::forecast::{Asked, Bands, Calendar, Outlook, Phase, Series, forecast};

const AHEAD: [usize; 3] = [7, 28, 90];
const METHODS: [&str; 4] = ["palisade", "its attempts", "last week", "OLS on log"];
const THREADS: usize = 2;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let value =
        |flag: &str| words.iter().position(|word| word == flag).and_then(|place| words.get(place + 1));
    let number = |flag: &str| value(flag).and_then(|word| word.parse::<u64>().ok());
    match number("--coverage") {
        Some(count) => {
            for family in FAMILIES {
                if value("--family").is_none_or(|wanted| wanted == family) {
                    coverage(family, count, number("--seed").unwrap_or(1_000_000));
                }
            }
        }
        None => times(),
    }
}

fn asked(horizon_days: u32) -> Asked {
    Asked { below: 1.0, horizon_days, calendar: Calendar::default() }
}

/// CPU seconds of this process.
fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn times() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load {}", load.trim());
    println!("one series with its backtest, 365 days ahead, CPU ms (median of 5 seeds; the slowest)");
    for days in [14, 35, 90, 180, 400] {
        let mut took: Vec<f64> = (0..5)
            .map(|seed| {
                let series = long(days, seed);
                let before = cpu_seconds();
                std::hint::black_box(forecast(&series, &asked(365), seed));
                1e3 * (cpu_seconds() - before)
            })
            .collect();
        took.sort_by(f64::total_cmp);
        println!("{days:>5} days {:>8.0} {:>8.0}", took[2], took[4]);
    }
    let (before, wall) = (cpu_seconds(), Instant::now());
    in_parallel(60, |seed| _ = std::hint::black_box(forecast(&long(60, seed), &asked(365), seed)));
    println!(
        "sixty series of 60 days on {THREADS} threads: {:.1} s, {:.1} CPU s",
        wall.elapsed().as_secs_f64(),
        cpu_seconds() - before
    );
}

/// A decay of so many days.
fn long(days: usize, seed: u64) -> Series {
    let mut random = series::Random(seed + 77);
    let half_life = random.between(0.1, 0.5) * days as f64;
    let counts: Vec<Option<u32>> = (0..days)
        .map(|day| {
            let mean = 10.0 + 500.0 * (-(day as f64) / half_life).exp2();
            Some(series::Scatter::Clumped(8.0).draw(mean, &mut random) as u32)
        })
        .collect();
    Series { first_day: jiff::civil::date(2020, 1, 1), attempts: counts.clone(), sources: counts }
}

fn in_parallel(count: u64, job: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    job(number);
                }
            });
        }
    });
}

/// What one method did at one distance.
#[derive(Clone, Copy, Default)]
struct Tally {
    inside_50: f64,
    inside_90: f64,
    score: f64,
    level: f64,
}

#[derive(Default)]
struct Sum {
    tallies: [[Tally; AHEAD.len()]; METHODS.len()],
    told: f64,
    phases: [f64; 4],
    changed: f64,
    r_hat: f64,
    unsettled: f64,
    /// Ends told: whether the true day, or its absence, was inside the span; probability and truth of "never".
    end_inside: f64,
    never: f64,
    truly_never: f64,
    /// Squares of what "never" misses the truth by, and how often it does by more than nine tenths.
    brier: f64,
    sure_and_wrong: f64,
}

fn coverage(family: &str, count: u64, first_seed: u64) {
    let sum = Mutex::new(Sum::default());
    let before = cpu_seconds();
    in_parallel(count, |number| {
        let seed = first_seed + number;
        let story = story(family, seed);
        let outlook = forecast(&story.series, &asked(90), seed);
        let mut sum = sum.lock().expect("no thread panics while it holds the sums");
        add(&mut sum, &story, &outlook);
    });
    let sum = sum.into_inner().expect("all threads are done");
    let n = count as f64;
    println!(
        "\n{family}: {count} series from seed {first_seed}; {:.0} CPU ms each",
        1e3 * (cpu_seconds() - before) / n
    );
    println!("{:14}{:>24}{:>24}{:>24}", "inside 50/90 %", "7 days", "28 days", "90 days");
    for (method, tallies) in METHODS.iter().zip(&sum.tallies) {
        print!("{method:14}");
        for tally in tallies {
            // The score in parts of the true level, so that big series do not drown small ones.
            print!("{:>9.3} {:.3} {:>8.3}", tally.inside_50 / n, tally.inside_90 / n, tally.score / n);
        }
        println!();
    }
    println!(
        "told {:.2}; growing {:.2}, dying {:.2}, at floor {:.2}, steady {:.2}; changes seen {:.2} a series; R-hat {:.3}, unsettled {:.3}",
        sum.told / n,
        sum.phases[0] / n,
        sum.phases[1] / n,
        sum.phases[2] / n,
        sum.phases[3] / n,
        sum.changed / n,
        sum.r_hat / n,
        sum.unsettled / n
    );
    if sum.told > 0.0 {
        println!(
            "ends told: true day inside its 90 % span {:.3}; P(never) {:.3}, truly never {:.3}, Brier {:.3}, sure and wrong {:.3}",
            sum.end_inside / sum.told,
            sum.never / sum.told,
            sum.truly_never / sum.told,
            sum.brier / sum.told,
            sum.sure_and_wrong / sum.told
        );
    }
}

fn add(sum: &mut Sum, story: &Story, outlook: &Outlook) {
    let course = outlook.course().expect("every story has sources");
    let known: Vec<Option<f64>> = story.series.sources.iter().map(|count| count.map(f64::from)).collect();
    for (place, ahead) in AHEAD.into_iter().enumerate() {
        let of_day = course.ahead[ahead - 1];
        let (sources, attempts) = (story.sources[ahead - 1], story.attempts[ahead - 1]);
        let level = story.means[ahead - 1].max(0.5);
        tally(&mut sum.tallies[0][place], &of_day.sources, sources, level);
        let per_source = course.attempts_per_source.max(1.0);
        tally(&mut sum.tallies[1][place], &of_day.attempts, attempts, level * per_source);
        tally(&mut sum.tallies[2][place], &last_week(&known, ahead), sources, level);
        tally(&mut sum.tallies[3][place], &straight_line(&known, ahead), sources, level);
    }
    let phase = match course.phase {
        Phase::Growing => 0,
        Phase::Dying => 1,
        Phase::AtFloor => 2,
        Phase::Steady => 3,
    };
    sum.phases[phase] += 1.0;
    sum.changed += course.changes.len() as f64;
    sum.r_hat += course.sampler.r_hat;
    sum.unsettled += f64::from(u8::from(!course.sampler.settled));
    if let Outlook::Told { end, .. } = outlook {
        sum.told += 1.0;
        sum.never += end.never;
        // The truth is known for 90 days: below the limit in them, or later or never.
        let came = story.means.iter().position(|mean| *mean < end.below);
        let from_last = |day: jiff::civil::Date| i64::from((day - course.last_day).get_days());
        let low = end.day.low.map_or(i64::MAX, from_last);
        let high = end.day.high.map_or(i64::MAX, from_last);
        let inside = came.map_or(high > 90, |day| {
            let day = i64::try_from(day + 1).unwrap_or(i64::MAX);
            (low..=high.max(1)).contains(&day)
        });
        sum.end_inside += f64::from(u8::from(inside));
        let truly = f64::from(u8::from(story.floor >= end.below));
        sum.truly_never += truly;
        sum.brier += (end.never - truly).powi(2);
        sum.sure_and_wrong += f64::from(u8::from((end.never - truly).abs() > 0.9));
    }
}

fn tally(tally: &mut Tally, bands: &Bands, came: f64, level: f64) {
    tally.inside_50 += f64::from(u8::from((bands.low_50..=bands.high_50).contains(&came)));
    tally.inside_90 += f64::from(u8::from((bands.low_90..=bands.high_90).contains(&came)));
    tally.score += bands.score(came) / level;
    tally.level += level;
}

fn bands_at(edges: impl Fn(f64) -> f64) -> Bands {
    let [low_90, low_50, middle, high_50, high_90] =
        [-1.645, -0.674, 0.0, 0.674, 1.645].map(|z| edges(z).max(0.0));
    Bands { low_90, low_50, middle, high_50, high_90 }
}

/// The same weekday of the last week, with the scatter of its past errors.
fn last_week(known: &[Option<f64>], ahead: usize) -> Bands {
    let weeks = ahead.div_ceil(7);
    let day = (known.len() - 1 + ahead) - 7 * weeks;
    let said = known[day].or_else(|| known.iter().rev().flatten().next().copied()).unwrap_or(0.0);
    let errors: Vec<f64> =
        (7..known.len()).filter_map(|day| Some((known[day]? - known[day - 7]?).powi(2))).collect();
    let deviation = (errors.iter().sum::<f64>() / errors.len().max(1) as f64 * weeks as f64).sqrt();
    bands_at(|z| said + z * deviation)
}

/// A straight line through ln(count + ½), with its prediction interval.
fn straight_line(known: &[Option<f64>], ahead: usize) -> Bands {
    let points: Vec<(f64, f64)> = known
        .iter()
        .enumerate()
        .filter_map(|(day, count)| Some((day as f64, ((*count)? + 0.5).ln())))
        .collect();
    let n = points.len() as f64;
    let mean = |value: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / n;
    let (mx, my) = (mean(&|p| p.0), mean(&|p| p.1));
    let sxx: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let slope = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum::<f64>() / sxx;
    let rest: f64 = points.iter().map(|p| (p.1 - my - slope * (p.0 - mx)).powi(2)).sum::<f64>() / (n - 2.0);
    let x = (known.len() - 1 + ahead) as f64;
    let deviation = (rest * (1.0 + 1.0 / n + (x - mx).powi(2) / sxx)).sqrt();
    // Student's t of some 33 degrees is 1.03 normal deviates at these edges.
    bands_at(|z| (my + slope * (x - mx) + 1.03 * z * deviation).exp() - 0.5)
}
