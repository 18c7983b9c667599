//! How quick a census is. `cargo bench -p traffic --bench census` counts a made log in memory and tells where the time goes;
//! `bench/census` measures the whole program against peers, and has the other words of this one:
//!
//! ```text
//! memory [DIRECTORY]                           what it does without words; DIRECTORY has real logs to make the log of
//! log FILE BYTES SEED [COPIES|-] [DIRECTORY]   writes a log
//! inflate FILE                                 unpacks a gzip file as the census does, and keeps nothing
//! ```

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::disallowed_types, reason = "a benchmark reads and writes files")]

mod base;
mod days;
#[path = "../forecast/series.rs"]
#[allow(
    dead_code,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "its series are for the forecast; here its chance is used"
)]
mod series;
mod written;

use base::Base;
use flate2::bufread::MultiGzDecoder;
use rustix::time::ClockId;
use std::fs::File;
use std::hint::black_box;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use traffic::census::{Counting, Key, Limits, Zone};
use traffic::format::{Lines, State};
use traffic::rules::Rules;
use written::Wanted;

/// Rounds of each measure; the best counts.
const ROUNDS: usize = 5;
/// What is counted at once: 256 KiB, as the program does.
const CHUNK_BYTES: usize = 256 << 10;
/// What is read at once of a packed file: 128 KiB, as the program does.
const PACKED_BYTES: usize = 128 << 10;
/// The log that is made in memory: 64 MB.
const MADE_BYTES: u64 = 64_000_000;

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        [] | ["memory"] => in_memory(None),
        ["memory", directory] => in_memory(Some(Path::new(directory))),
        ["log", file, bytes, seed, rest @ ..] if rest.len() <= 2 => {
            let copies = rest.first().filter(|copies| **copies != "-").map(|copies| number(copies));
            let wanted = Wanted { bytes: number(bytes), seed: number(seed), copies };
            log(Path::new(file), wanted, rest.get(1).map(Path::new))
        }
        ["inflate", file] => inflate(Path::new(file)),
        _ => {
            eprintln!(
                "census: memory [DIRECTORY], log FILE BYTES SEED [COPIES|-] [DIRECTORY], or inflate FILE"
            );
            std::process::exit(64);
        }
    }
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| {
        eprintln!("census: {word} is no number");
        std::process::exit(64);
    })
}

fn rules() -> Rules {
    let rules = traffic::rules::own();
    let (rules, problems) = Rules::compile(rules);
    assert_eq!(problems, []);
    rules
}

/// Writes a log where it is whole or not there at all.
fn log(file: &Path, wanted: Wanted, real: Option<&Path>) -> io::Result<()> {
    // Root may put a file in the place of a device.
    if file.exists() && !file.is_file() {
        return Err(io::Error::other(format!("write log {}: it is no file; name one", file.display())));
    }
    let base = Base::new(&rules(), real)?;
    eprintln!("{}", base.told);
    let unfinished = file.with_extension("unfinished");
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&unfinished)?);
    let start = Instant::now();
    let made = written::write(&base, wanted, &mut out)?;
    out.flush()?;
    std::fs::rename(&unfinished, file)?;
    let seconds = start.elapsed().as_secs_f64();
    eprintln!(
        "{}: {} lines, {} of them attacks, {} broken; {} bytes at {:.0} MB/s",
        file.display(),
        made.lines,
        made.attacks,
        made.broken,
        made.bytes,
        f64_of(made.bytes) / 1e6 / seconds
    );
    Ok(())
}

fn inflate(file: &Path) -> io::Result<()> {
    let mut from = MultiGzDecoder::new(BufReader::with_capacity(PACKED_BYTES, File::open(file)?));
    let mut room = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        match from.read(&mut room)? {
            0 => break,
            read => bytes += read,
        }
        black_box(&room);
    }
    println!("{bytes}");
    Ok(())
}

/// The best CPU time of some rounds, in MB/s: other work of the machine takes wall time from it.
fn best(what: &str, bytes: usize, mut work: impl FnMut()) {
    let cpu = || Duration::try_from(rustix::time::clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = cpu();
        work();
        best = best.min(cpu().saturating_sub(start).as_secs_f64());
    }
    println!("{what:<34}{:8.0} MB per CPU second", f64_of(bytes as u64) / 1e6 / best);
}

fn in_memory(real: Option<&Path>) -> io::Result<()> {
    let rules = rules();
    let mut text = Vec::new();
    let base = Base::new(&rules, real)?;
    let made = written::write(&base, Wanted { bytes: MADE_BYTES, seed: 1, copies: None }, &mut text)?;
    println!("{} lines, {} of them attacks; {}", made.lines, made.attacks, base.told);
    let mut chunks = Vec::new();
    let mut rest = &text[..];
    while !rest.is_empty() {
        let near = CHUNK_BYTES.min(rest.len());
        let end = memchr::memrchr(b'\n', &rest[..near]).map_or(near, |end| end + 1);
        chunks.push(&rest[..end]);
        rest = &rest[end..];
    }
    let mut found = Vec::new();
    best("the look at raw bytes", text.len(), || {
        for chunk in &chunks {
            found.clear();
            rules.sieve().candidates(chunk, &mut found);
            black_box(found.len());
        }
    });
    best("time and source of every line", text.len(), || {
        for chunk in &chunks {
            let mut state = State::default();
            Lines::new(chunk).for_each(|line| {
                black_box(state.brief(line.text));
            });
        }
    });
    best("everything", text.len(), || {
        let counting = Counting::new(&rules, "", &Zone::Utc, &Key::new([1; 32]), Limits::default());
        let mut counter = counting.counter();
        for chunk in &chunks {
            counter.count(State::default(), chunk);
        }
        drop(counter);
        black_box(counting.finish());
    });
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes of logs are far below 2^53")]
fn f64_of(number: u64) -> f64 {
    number as f64
}
