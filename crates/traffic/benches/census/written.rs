//! Writes a log of any size: the base again and again, each copy from addresses of its own.

use crate::base::{Base, Piece};
use crate::days::{self, DAYS, Day};
use crate::series::Random;
use std::io::{self, Write};

/// Shares of lines of Code Red, of broken lines, and of GETs whose query is their own.
const CODE_RED: f64 = 0.003;
const BROKEN: f64 = 0.001;
const QUERIES: f64 = 0.03;
/// Lines that are drawn to see how long they are.
const SAMPLED: u32 = 20_000;
/// A copy's key changes the lower half of the address at most: 24 bits.
const KEY: u64 = 0x00ff_ffff;

/// What log is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// About so large.
    pub(crate) bytes: u64,
    pub(crate) seed: u64,
    /// How many copies of the base's addresses there are; by default, as many as of its lines.
    pub(crate) copies: Option<u64>,
}

/// What was written.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Made {
    pub(crate) lines: u64,
    pub(crate) attacks: u64,
    pub(crate) broken: u64,
    pub(crate) bytes: u64,
}

/// Writes a log in the order of time. The same seed and size give the same bytes.
pub(crate) fn write(base: &Base, wanted: Wanted, out: &mut impl Write) -> io::Result<Made> {
    let mut random = Random(wanted.seed);
    let mut writer = Writer { base, random: &mut random, keys: vec![0], number: 0, line: Vec::new() };
    let middle = Day { share: 0.18, upto: even(base.attempts.len()) };
    let mut sampled = 0;
    for _ in 0..SAMPLED {
        writer.line(&middle, b"02/Mar/2026:00:00:00 +0000");
        sampled += writer.line.len();
    }
    let lines = crate::f64_of(wanted.bytes) / (crate::f64_of(sampled as u64) / f64::from(SAMPLED));
    let copies = wanted.copies.unwrap_or(wanted.bytes / (sampled as u64 / u64::from(SAMPLED)) / base.lines);
    // Half the copies have no key: visitors that come again.
    let keys = (0..copies.max(2)).map(|copy| if copy % 2 == 0 { 0 } else { writer.whole(KEY + 1) });
    let keys: Vec<u32> = keys.map(|key| u32::try_from(key).unwrap_or(0)).collect();
    writer.keys = keys;
    let days = days::days(base.attempts.len(), lines, writer.random);
    let until = crate::f64_of(DAYS as u64 * 86_400);
    // Requests that come at the busiest rate; of them, those are kept that their moment's rate has.
    let gap = until * days::busy_mean() / lines;
    let mut made = Made::default();
    let (mut now, mut second, mut stamp) = (0.0, u64::MAX, Vec::new());
    loop {
        now -= gap * (1.0 - writer.random.unit()).ln();
        if now >= until {
            return Ok(made);
        }
        if writer.random.unit() >= days::busy(now) {
            continue;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a month")]
        let seconds = now as u64;
        if seconds != second {
            second = seconds;
            stamp.clear();
            let (day, of_day) = (seconds / 86_400, seconds % 86_400);
            let (hour, minute) = (of_day / 3_600, of_day / 60 % 60);
            write!(stamp, "{:02}/Mar/2026:{hour:02}:{minute:02}:{:02} +0000", day + 2, of_day % 60)?;
        }
        let day = &days[usize::try_from(seconds / 86_400).unwrap_or(0)];
        made.attacks += u64::from(writer.line(day, &stamp));
        made.broken += u64::from(writer.broken());
        made.lines += 1;
        made.bytes += writer.line.len() as u64;
        out.write_all(&writer.line)?;
    }
}

fn even(many: usize) -> Vec<f64> {
    (1..=many as u64).map(|place| crate::f64_of(place) / crate::f64_of(many as u64)).collect()
}

struct Writer<'a> {
    base: &'a Base,
    random: &'a mut Random,
    keys: Vec<u32>,
    number: u64,
    line: Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A whole number below `end`.
    fn whole(&mut self, end: u64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is not negative")]
        let drawn = (self.random.unit() * crate::f64_of(end)) as u64;
        drawn
    }

    fn one<'p>(&mut self, pieces: &'p [Piece]) -> &'p Piece {
        &pieces[usize::try_from(self.whole(pieces.len() as u64)).unwrap_or(0)]
    }

    /// Makes the next line; says whether it is an attack.
    fn line(&mut self, day: &Day, stamp: &[u8]) -> bool {
        let base = self.base;
        let kind = self.random.unit();
        let is_attack = kind < CODE_RED + day.share;
        let piece = if kind < CODE_RED {
            self.one(&base.code_red)
        } else if is_attack {
            let drawn = self.random.unit();
            let place = day.upto.partition_point(|upto| *upto < drawn).min(base.attempts.len() - 1);
            self.one(&base.attempts[place])
        } else {
            let weights: u64 = base.quiet.iter().map(|(weight, _)| weight).sum();
            let mut drawn = self.whole(weights);
            let mut logs = base.quiet.iter();
            loop {
                let (weight, pieces) = logs.next().expect("what was drawn is below the sum of weights");
                match drawn.checked_sub(*weight) {
                    Some(rest) => drawn = rest,
                    None => break self.one(pieces),
                }
            }
        };
        self.compose(piece, stamp);
        is_attack
    }

    fn compose(&mut self, piece: &'a Piece, stamp: &[u8]) {
        let copy = self.whole(self.keys.len() as u64);
        let key = self.keys[usize::try_from(copy).unwrap_or(0)];
        self.line.clear();
        for (place, part) in (piece.address ^ key).to_be_bytes().into_iter().enumerate() {
            if place > 0 {
                self.line.push(b'.');
            }
            let digits = [part / 100, part / 10 % 10, part % 10].map(|digit| digit + b'0');
            let from = if part >= 100 { 0 } else { 2 - usize::from(part >= 10) };
            self.line.extend_from_slice(&digits[from..]);
        }
        self.line.extend_from_slice(&piece.before_time);
        self.line.extend_from_slice(stamp);
        self.line.extend_from_slice(&piece.target);
        if !piece.after_target.is_empty() && self.random.unit() < QUERIES {
            self.number += 1;
            let mark = if piece.target.contains(&b'?') { '&' } else { '?' };
            write!(self.line, "{mark}u={:x}", self.number).expect("memory is there");
        }
        self.line.extend_from_slice(&piece.after_target);
        self.line.push(b'\n');
    }

    /// Breaks a line now and then, as real ones are: cut short, binary, longer than 8 KiB, of another system, with NUL.
    fn broken(&mut self) -> bool {
        if self.random.unit() >= BROKEN {
            return false;
        }
        let middle = self.line.len() / 2;
        match self.whole(5) {
            0 => self.line.truncate(middle),
            1 => self.line = b"\x16\x03\x01\x00\xee\x01\xff\xfe\x80 \xc3\x28".to_vec(),
            2 => {
                let long = vec![b'a'; 9_000];
                self.line.splice(middle..middle, long);
                self.line.pop();
            }
            3 => {
                self.line.pop();
                self.line.push(b'\r');
            }
            _ => {
                self.line[middle] = 0;
                self.line.pop();
            }
        }
        self.line.push(b'\n');
        true
    }
}
