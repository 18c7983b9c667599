//! What a version costs: to parse once, and to compare ever after; beside the crates debversion and rpm-version.
//!
//! `cargo bench -p advisory --bench version_orders`. Reads the reference versions where there are any, and makes up
//! versions where not. Times are the best of several rounds, because other work on the machine only ever adds.
#![allow(clippy::disallowed_methods)] // It measures time.

use advisory::{Order, Version};
use std::hint::black_box;
use std::str::FromStr;
use std::time::{Duration, Instant};

const ROUNDS: usize = 25;

fn main() {
    println!("{:<34}{:>10}{:>10}{:>10}", "ns", "ours", "theirs", "ratio");
    dpkg();
    rpm();
}

fn dpkg() {
    let texts = texts(&["debian-versions-generated.txt", "debian-versions.txt"], |number| {
        format!(
            "{}:{}.{}.{}~rc{}+dfsg-{}+deb12u{}",
            number % 3,
            number % 7,
            number % 50,
            number,
            number % 4,
            number % 9,
            number % 11
        )
    });
    let ours = parsed(&texts, |text| Order::Dpkg.parse(text).ok());
    let theirs = parsed(&texts, |text| debversion::Version::from_str(text).ok());
    describe("dpkg", texts.len(), &ours);
    row(
        "dpkg parse",
        parse(&texts, |text| Order::Dpkg.parse(text)),
        parse(&texts, debversion::Version::from_str),
    );
    row("dpkg compare parsed", compare(&ours), compare(&theirs));
    row("dpkg sort parsed, per version", sort(&ours), sort(&theirs));
}

fn rpm() {
    let texts = texts(&["redhat-versions.txt"], |number| {
        format!(
            "{}:{}.{}.{}~rc{}-{}.el9_{}.{}",
            number % 3,
            number % 7,
            number % 50,
            number,
            number % 4,
            number % 9,
            number % 11,
            number % 5
        )
    });
    let ours = parsed(&texts, |text| Order::Rpm.parse(text).ok());
    let theirs = parsed(&texts, |text| Some(rpm_version::Evr::parse(text)));
    let keys = parsed(&texts, |text| Some(rpm_version::Evr::parse(text).sortkey()));
    describe("rpm", texts.len(), &ours);
    let ours_parse = parse(&texts, |text| Order::Rpm.parse(text));
    row("rpm parse (theirs only splits)", ours_parse, parse(&texts, rpm_version::Evr::parse));
    row("rpm parse to a key", ours_parse, parse(&texts, |text| rpm_version::Evr::parse(text).sortkey()));
    row("rpm compare parsed", compare(&ours), compare(&theirs));
    row("rpm compare keys", compare(&ours), compare(&keys));
    row("rpm sort parsed, per version", sort(&ours), sort(&theirs));
}

/// The versions of reference files, or 10,000 made by `make`.
fn texts(files: &[&str], make: impl Fn(usize) -> String) -> Vec<String> {
    let read = |file: &&str| {
        let root = option_env!("PALISADE_REFERENCE")?;
        std::fs::read_to_string(format!("{root}/bulletins/version-compare/{file}")).ok()
    };
    let mut texts: Vec<String> = files
        .iter()
        .filter_map(read)
        .flat_map(|text| {
            let rows = text.lines().filter(|line| !line.starts_with('#'));
            rows.flat_map(|row| row.split(' ').step_by(2).map(str::to_owned).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        })
        .filter(|text| !text.is_empty())
        .collect();
    if texts.is_empty() {
        texts = (0..10_000).map(make).collect();
    }
    texts
}

fn parsed<'a, T>(texts: &'a [String], parse: impl Fn(&'a str) -> Option<T>) -> Vec<T> {
    texts.iter().filter_map(|text| parse(text)).collect()
}

fn describe(order: &str, texts: usize, ours: &[Version]) {
    let bytes: usize = ours.iter().map(Version::size_bytes).sum();
    println!("{order}: {texts} versions, {} parse, {} bytes a key", ours.len(), bytes / ours.len().max(1));
}

fn parse<'a, T>(texts: &'a [String], parse: impl Fn(&'a str) -> T) -> f64 {
    per_unit(texts.len(), || texts.iter().for_each(|text| drop(black_box(parse(black_box(text))))))
}

/// Neighbours in the file, which are near each other in version.
fn compare<T: Ord>(versions: &[T]) -> f64 {
    per_unit(versions.len() - 1, || {
        for pair in versions.windows(2) {
            black_box(black_box(&pair[0]).cmp(black_box(&pair[1])));
        }
    })
}

fn sort<T: Ord>(versions: &[T]) -> f64 {
    per_unit(versions.len(), || {
        let mut sorted: Vec<&T> = versions.iter().collect();
        sorted.sort();
        black_box(sorted);
    })
}

/// Nanoseconds per unit of `work`, which does `units`; small jobs are repeated to be measurable.
fn per_unit(units: usize, work: impl Fn()) -> f64 {
    let repeats = (20_000 / units).max(1);
    let round = || {
        let start = Instant::now();
        (0..repeats).for_each(|_| work());
        start.elapsed()
    };
    let best = (0..ROUNDS).map(|_| round()).min().unwrap_or(Duration::ZERO);
    best.as_secs_f64() * 1e9 / to_f64(units * repeats)
}

fn to_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn row(what: &str, ours: f64, theirs: f64) {
    println!("{what:<34}{ours:>10.1}{theirs:>10.1}{:>9.1}×", theirs / ours);
}
