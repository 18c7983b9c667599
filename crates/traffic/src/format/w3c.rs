//! W3C extended logs: IIS of every age, Amazon CloudFront. `#Fields` names the columns and may change at any line.

use super::Brief;
use super::address::Source;
use super::parts::{Escapes, Parts, Text, status};
use super::time::{Stamp, date_days, time_of_day};
use memchr::memchr2;
use std::ops::Range;

/// Columns that are looked at; more are not kept.
const COLUMNS_MAX: usize = 64;

/// A time of day that falls by more than this belongs to the next day; less is a line that came late.
const MIDNIGHT_SECONDS: i64 = 43_200;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    Date,
    Time,
    Source,
    Method,
    Target,
    Stem,
    Query,
    Status,
    Protocol,
    Host,
    Agent,
    Referer,
    Cookie,
    Other,
}

/// What `#Fields` named.
#[derive(Debug)]
pub(super) struct Columns {
    names: Vec<Column>,
    /// As the log wrote them.
    pub(super) text: Vec<u8>,
}

/// Which day it is in a log whose lines have only a time of day.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// Whether lines need it.
    pub(super) runs: bool,
    day: Option<i64>,
    last: i64,
}

impl Clock {
    /// Takes in `#Date: 2001-09-18 00:00:02`.
    pub(super) fn set(&mut self, text: &[u8]) {
        let text = text.trim_ascii();
        if let Some(day) = text.get(..10).and_then(date_days) {
            self.day = Some(day);
            self.last = text.get(11..).and_then(time_of_day).unwrap_or(0);
        }
    }

    /// A directive that sets a clock like this one.
    pub(super) fn directive(&self) -> Option<String> {
        let moment = jiff::Timestamp::from_second(self.day? * 86_400 + self.last).ok()?;
        Some(format!("#Date: {}\n", moment.strftime("%Y-%m-%d %H:%M:%S")))
    }

    /// The moment of a time of day.
    fn at(&mut self, time: i64) -> Option<Stamp> {
        let mut day = self.day?;
        if time + MIDNIGHT_SECONDS < self.last {
            day += 1;
            self.day = Some(day);
        }
        self.last = time;
        Some(Stamp::utc(day * 86_400 + time))
    }
}

impl Columns {
    pub(super) fn new(names: &[u8]) -> Self {
        let words = names.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        Self { names: words.take(COLUMNS_MAX).map(column).collect(), text: names.to_vec() }
    }

    /// Whether lines have a time and no date.
    pub(super) fn needs_clock(&self) -> bool {
        self.names.contains(&Column::Time) && !self.names.contains(&Column::Date)
    }

    pub(super) fn brief(&self, line: &[u8], clock: &mut Clock) -> Option<Brief> {
        let mut day = None;
        let mut time = None;
        let mut source = None;
        let mut columns = 0;
        for (column, range) in self.names.iter().zip(Words { line, at: 0 }) {
            columns += 1;
            let word = &line[range];
            if *column == Column::Date {
                day = date_days(word);
            } else if *column == Column::Time {
                time = time_of_day(word);
            } else if *column == Column::Source {
                source = Source::named(word);
            }
        }
        if columns < self.names.len() {
            return None;
        }
        let (time, source) = (time?, source?);
        let when = match day {
            Some(day) => Stamp::utc(day * 86_400 + time),
            None if self.needs_clock() => clock.at(time)?,
            None => return None,
        };
        Some(Brief { when, source, told_from: 0 })
    }

    pub(super) fn read(&self, line: &[u8], undone: &mut Vec<u8>, parts: &mut Parts) -> Option<()> {
        let mut columns = 0;
        for (column, range) in self.names.iter().zip(Words { line, at: 0 }) {
            columns += 1;
            let mut text = |escapes| Text::field_of(line, range.clone(), escapes, undone);
            match column {
                Column::Method => parts.method = text(Escapes::Nothing),
                Column::Target => {
                    let target = text(Escapes::Nothing);
                    parts.target(target, line, undone);
                }
                Column::Stem => parts.path = text(Escapes::Nothing),
                Column::Query => parts.query = text(Escapes::Nothing),
                Column::Protocol => parts.protocol = text(Escapes::Nothing),
                Column::Host => parts.host = text(Escapes::Nothing),
                Column::Agent => parts.agent = text(Escapes::Plus),
                Column::Referer => parts.referer = text(Escapes::Plus),
                Column::Cookie => parts.cookie = text(Escapes::Plus),
                Column::Status => parts.status = status(&line[range]),
                Column::Date | Column::Time | Column::Source | Column::Other => {}
            }
        }
        (columns == self.names.len()).then_some(())
    }
}

fn column(name: &[u8]) -> Column {
    match name.to_ascii_lowercase().as_slice() {
        b"date" | b"date-utc" => Column::Date,
        b"time" | b"time-utc" => Column::Time,
        b"c-ip" => Column::Source,
        b"cs-method" => Column::Method,
        b"cs-uri" => Column::Target,
        b"cs-uri-stem" => Column::Stem,
        b"cs-uri-query" => Column::Query,
        b"sc-status" => Column::Status,
        b"cs-version" | b"cs-protocol-version" => Column::Protocol,
        b"cs-host" | b"cs(host)" | b"x-host-header" => Column::Host,
        b"cs(user-agent)" => Column::Agent,
        b"cs(referer)" => Column::Referer,
        b"cs(cookie)" => Column::Cookie,
        _ => Column::Other,
    }
}

/// Words between spaces or tabs; a quoted one may have spaces in it (IIS Advanced Logging, cookies).
struct Words<'a> {
    line: &'a [u8],
    at: usize,
}

impl Iterator for Words<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let rest = self.line.get(self.at..)?;
        if rest.first() == Some(&b'"')
            && let Some(end) = (1..rest.len()).find(|&at| {
                rest[at] == b'"' && rest.get(at + 1).is_none_or(|next| matches!(next, b' ' | b'\t'))
            })
        {
            let from = self.at + 1;
            self.at += end + 2;
            return Some(from..from + end - 1);
        }
        let end = memchr2(b' ', b'\t', rest).unwrap_or(rest.len());
        let from = self.at;
        self.at += end + 1;
        Some(from..from + end)
    }
}
