//! Log formats: bytes of lines in, times, sources and requests out.
//!
//! [`State`] is what a log has said about its lines so far (the `#Fields` of a W3C log); everything else is told by each
//! line for itself, so that a log may change its format in the middle. A line is read twice at most: [`State::brief`] finds
//! who and when, for every line; [`State::read`] finds the whole request, for the few that rules have to look at.

mod address;
mod alb;
mod clf;
mod custom;
mod json;
mod parts;
mod time;
mod w3c;

pub use address::{Octets, Source};
pub use custom::Custom;
pub use time::Stamp;

use crate::request::Request;
use memchr::{memchr, memrchr};
use parts::Parts;
use std::sync::Arc;
use time::LastDay;
use w3c::Columns;

/// Who and when: what is wanted of every line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Brief {
    /// When the request came, or was answered.
    pub when: Stamp,
    /// Who sent it.
    pub source: Source,
    /// Where the line begins to tell of the request: two lines that are alike from there on tell of the same one, and have the same
    /// status. 0 where that is known of no place.
    pub(crate) told_from: usize,
}

/// What a line turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// Empty, or a directive.
    Nothing,
    /// In no format that is known, or without time or source.
    Unread,
    /// One request.
    Request(Brief),
}

/// Buffers that are used again for each line.
#[derive(Debug, Default)]
pub struct Scratch {
    undone: Vec<u8>,
    parts: Parts,
}

/// What a log has said about its lines, up to here.
#[derive(Clone, Debug, Default)]
pub struct State {
    custom: Option<Arc<Custom>>,
    columns: Option<Arc<Columns>>,
    /// For W3C logs whose lines have only a time of day.
    clock: w3c::Clock,
    last_day: LastDay,
}

impl State {
    /// The beginning of a log; `custom` is tried before the formats that are known.
    pub fn new(custom: Option<Arc<Custom>>) -> Self {
        Self { custom, ..Self::default() }
    }

    /// Takes in what `lines` (whole ones) say about the lines after them, without reading them.
    pub fn advance(&mut self, lines: &[u8]) {
        if self.clock.runs {
            for line in Lines::new(lines) {
                let _ = self.brief(line.text);
            }
            return;
        }
        let mut from = 0;
        while let Some(at) = memchr(b'#', &lines[from..]) {
            let at = from + at;
            let end = memchr(b'\n', &lines[at..]).map_or(lines.len(), |end| at + end);
            if at == 0 || lines[at - 1] == b'\n' {
                self.direct(trimmed(&lines[at..end]));
                if self.clock.runs {
                    // From here on each line moves the clock.
                    return self.advance(&lines[end..]);
                }
                from = end;
            } else {
                from = at + 1;
            }
        }
    }

    /// Directives that bring a new state to where this one is, so that a log can be read on from its middle; empty where the
    /// log said nothing.
    pub fn directives(&self) -> Vec<u8> {
        let Some(columns) = &self.columns else { return Vec::new() };
        let clock = self.clock.directive().filter(|_| self.clock.runs).unwrap_or_default();
        [b"#Fields:", columns.text.as_slice(), b"\n", clock.as_bytes()].concat()
    }

    /// Who and when. Moves the clock of a W3C log without dates, so each line is given once and in order.
    pub fn brief(&mut self, line: &[u8]) -> Seen {
        let Some(&first) = line.first() else { return Seen::Nothing };
        if first == b'#' {
            self.direct(line);
            return Seen::Nothing;
        }
        let found = self.custom.as_ref().and_then(|custom| custom.brief(line)).or_else(|| match first {
            b'{' => json::brief(line),
            _ => self
                .columns
                .as_ref()
                .and_then(|columns| columns.brief(line, &mut self.clock))
                .or_else(|| clf::brief(line, &mut self.last_day))
                .or_else(|| alb::brief(line)),
        });
        match found {
            Some(brief) if brief.when.is_plausible() => {
                // Columns are read first, and may find more in a line than they need for this.
                let is_sure = self.custom.is_none() && self.columns.is_none();
                Seen::Request(Brief { told_from: if is_sure { brief.told_from } else { 0 }, ..brief })
            }
            None if line.iter().all(u8::is_ascii_whitespace) => Seen::Nothing,
            Some(_) | None => Seen::Unread,
        }
    }

    /// The whole request of a line that [`State::brief`] could read, given to `look`.
    pub fn read<R>(
        &self,
        line: &[u8],
        scratch: &mut Scratch,
        look: impl FnOnce(&Request<'_>) -> R,
    ) -> Option<R> {
        let Scratch { undone, parts } = scratch;
        undone.clear();
        parts.clear();
        let found = self.custom.as_ref().and_then(|custom| custom.read(line, undone, parts)).or_else(|| {
            parts.clear();
            if line.first() == Some(&b'{') {
                json::read(line, undone, parts);
                return Some(());
            }
            if let Some(columns) = &self.columns
                && columns.read(line, undone, parts).is_some()
            {
                return Some(());
            }
            parts.clear();
            clf::read(line, undone, parts).or_else(|| {
                parts.clear();
                alb::read(line, undone, parts)
            })
        });
        found.map(|()| parts.with_request(line, undone, look))
    }

    fn direct(&mut self, line: &[u8]) {
        if let Some(names) = line.strip_prefix(b"#Fields:") {
            let columns = Columns::new(names);
            self.clock.runs = columns.needs_clock();
            self.columns = Some(Arc::new(columns));
        } else if let Some(date) = line.strip_prefix(b"#Date:") {
            self.clock.set(date);
        }
    }
}

/// A line without its end.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Where it begins.
    pub at: usize,
    /// Where the next one begins.
    pub next: usize,
    /// Its text, without `\n` and without the `\r` before it.
    pub text: &'a [u8],
}

/// The lines of some bytes; the last one needs no end.
#[derive(Debug)]
pub struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// Of `bytes`, from the first.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        let at = self.at;
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let (end, next) =
            memchr(b'\n', rest).map_or((self.bytes.len(), self.bytes.len()), |end| (at + end, at + end + 1));
        self.at = next;
        Some(Line { at, next, text: trimmed(&self.bytes[at..end]) })
    }
}

/// The line that `offset` lies in.
pub fn line_at(bytes: &[u8], offset: usize) -> Line<'_> {
    let offset = offset.min(bytes.len());
    let at = memrchr(b'\n', &bytes[..offset]).map_or(0, |end| end + 1);
    let end = memchr(b'\n', &bytes[offset..]).map(|end| offset + end);
    let next = end.map_or(bytes.len(), |end| end + 1);
    Line { at, next, text: trimmed(&bytes[at..end.unwrap_or(bytes.len())]) }
}

fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line).strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_without_dates_is_read_on_after_midnight_as_if_it_had_not_been_laid_aside() {
        let log = "#Date: 2001-09-18 23:58:00\n#Fields: time c-ip cs-method cs-uri-stem sc-status\n\
                   23:59:00 192.0.2.1 GET /a 200\n00:01:00 192.0.2.1 GET /b 200\n00:02:00 192.0.2.1 GET /c 200\n";
        let moments = |state: &mut State, text: &str| -> Vec<Seen> {
            Lines::new(text.as_bytes()).map(|line| state.brief(line.text)).collect()
        };
        let whole = moments(&mut State::default(), log);
        let (before, after) = log.split_at(log.find("00:02").unwrap());
        let mut state = State::default();
        moments(&mut state, before);
        let mut again = State::default();
        again.advance(&state.directives());
        assert_eq!(moments(&mut again, after), whole[4..]);
        assert!(matches!(whole[4], Seen::Request(Brief { when, .. }) if when.seconds == 1_000_857_720));
        assert_eq!(State::default().directives(), b"");
    }
}
