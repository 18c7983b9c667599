//! How quick the look at raw bytes is, and judging what it keeps. `cargo bench -p traffic --bench sieve [LOG…]`: without
//! a log a made one, 64 MiB with an attempt in every twentieth line.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;
use traffic::Request;
use traffic::request::{Field, unescaped};
use traffic::rules::{RuleId, Rules, Scratch, builtin, read};

/// Rounds of each measure; the best counts.
const ROUNDS: usize = 5;
/// The candidates of one piece are found at once: 256 KiB.
const PIECE_BYTES: usize = 256 << 10;

fn made() -> Vec<u8> {
    let attempts: Vec<String> = builtin()
        .iter()
        .flat_map(|(name, text)| read(name, text).0)
        .flat_map(|rule| rule.examples.recognised)
        .map(|example| example.logged())
        .collect();
    let mut text = String::new();
    let mut number = 0_usize;
    while text.len() < 64 << 20 {
        number += 1;
        if number.is_multiple_of(20) {
            text.push_str(&attempts[number / 20 % attempts.len()]);
        } else {
            writeln!(
                text,
                "203.0.113.{} - - [19/Jul/2021:00:{:02}:{:02} +0000] \"GET /articles/{}/{}.html?page={} HTTP/1.1\" 200 {} \
                 \"https://www.example.com/search?q={}\" \"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 \
                 (KHTML, like Gecko) Chrome/91.0.4472.124 Safari/537.36\"",
                number % 256,
                number / 60 % 60,
                number % 60,
                number % 97,
                number,
                number % 7,
                number % 50_000,
                number % 1_013,
            )
            .expect("memory is there");
        }
    }
    text.into_bytes()
}

/// The best time of some rounds, in seconds.
fn best(mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let logs: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let text = if logs.is_empty() {
        made()
    } else {
        logs.iter()
            .flat_map(|log| std::fs::read(log).unwrap_or_else(|problem| panic!("{log}: {problem}")))
            .collect()
    };
    let rules = traffic::rules::own();
    let (rules, problems) = Rules::compile(rules);
    assert_eq!(problems, []);
    let sieve = rules.sieve();
    let megabytes = f64_of(text.len()) / 1e6;

    let seconds = best(|| {
        let mut at = 0;
        let mut kept = 0;
        while let Some(found) = sieve.next(&text, at) {
            kept += 1;
            at = memchr::memchr(b'\n', &text[found.at..]).map_or(text.len(), |end| found.at + end + 1);
        }
        black_box(kept);
    });
    println!("next        {:8.0} MB/s", megabytes / seconds);

    let mut found = Vec::new();
    let seconds = best(|| {
        for piece in text.chunks(PIECE_BYTES) {
            found.clear();
            sieve.candidates(piece, &mut found);
            black_box(found.len());
        }
    });
    println!("candidates  {:8.0} MB/s", megabytes / seconds);

    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    let kept: Vec<&[u8]> =
        lines.iter().copied().filter(|line| sieve.next(line, 0).is_some()).take(200_000).collect();
    let (mut scratch, mut hits, mut recognised) = (Scratch::default(), Vec::<RuleId>::new(), 0);
    let seconds = best(|| {
        recognised = 0;
        for line in &kept {
            let parts: Vec<&[u8]> = line.split(|&byte| byte == b'"').collect();
            let line = unescaped(parts.get(1).copied().unwrap_or_default());
            let field = |place: usize| parts.get(place).map_or(Field::Absent, |text| Field::Is(text));
            let request = Request { referer: field(3), agent: field(5), ..Request::of_line(&line) };
            rules.judge(&request, &mut scratch, &mut hits);
            recognised += usize::from(!hits.is_empty());
        }
    });
    let share = 100.0 * f64_of(kept.len()) / f64_of(lines.len());
    println!("judge       {:8.2} µs a candidate", seconds * 1e6 / f64_of(kept.len()));
    println!("of {} lines {} ({share:.1} %) are candidates, {recognised} attempts", lines.len(), kept.len());
}

fn f64_of(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}
