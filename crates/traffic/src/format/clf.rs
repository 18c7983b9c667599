//! Common and combined logs of nginx and Apache, with or without the virtual host before them, or syslog's words.
//!
//! `[host[:port] ]address ident user [time] "request" status bytes[ "referer" "agent"[ …]]`

use super::Brief;
use super::address::Source;
use super::parts::{Escapes, Parts, Text, quote_end, status};
use super::time::{LastDay, Stamp};
use memchr::memchr;

/// A user may be called anything: so many `[` are looked at before the line is given up.
const BRACKETS_MAX: usize = 8;

/// What stands between address and time where no user is known.
const NOBODY: &[u8] = b" - - [";

/// Who, when, and where the rest of the line begins.
struct Head {
    brief: Brief,
    host: Option<(usize, usize)>,
    rest: usize,
}

pub(super) fn brief(line: &[u8], last: &mut LastDay) -> Option<Brief> {
    let Head { brief, host, rest } = head(line, last)?;
    Some(Brief { told_from: if host.is_none() { rest } else { 0 }, ..brief })
}

#[inline]
fn head(line: &[u8], last: &mut LastDay) -> Option<Head> {
    // Nearly every line: an address, nobody, a time.
    let (source, first) = match Source::v4_first(line) {
        Some((source, rest)) if rest.starts_with(NOBODY) => (Some(source), line.len() - rest.len()),
        _ => {
            let first = memchr(b' ', line)?;
            (line[first..].starts_with(NOBODY).then(|| Source::address(&line[..first])).flatten(), first)
        }
    };
    if let Some(source) = source {
        let time = first + NOBODY.len();
        let (when, bytes) = Stamp::clf_after(&line[time..], last)?;
        let brief = Brief { when, source, told_from: 0 };
        return Some(Head { brief, host: None, rest: closed(line, time + bytes)? });
    }
    let mut from = first;
    for _ in 0..BRACKETS_MAX {
        let open = from + memchr(b'[', &line[from..])?;
        if let Some((when, bytes)) = Stamp::clf(&line[open + 1..]) {
            let (source, host) = sender(&line[..open], first)?;
            let brief = Brief { when, source, told_from: 0 };
            return Some(Head { brief, host, rest: closed(line, open + 1 + bytes)? });
        }
        from = open + 1;
    }
    None
}

/// After the `]` of a time.
fn closed(line: &[u8], at: usize) -> Option<usize> {
    (line.get(at) == Some(&b']')).then_some(at + 1)
}

/// Who stands before the time, and the virtual host if there is one.
fn sender(before: &[u8], first: usize) -> Option<(Source, Option<(usize, usize)>)> {
    if let Some(source) = Source::address(&before[..first]) {
        return Some((source, None));
    }
    // syslog: `Nov  9 00:21:42 web nginx: 192.0.2.1 - - [`
    let tag = before.windows(2).position(|two| two == b": ").filter(|at| !before[..*at].contains(&b'"'));
    if let Some(at) = tag
        && let Some(source) = before[at + 2..].split(|byte| *byte == b' ').next().and_then(Source::address)
    {
        return Some((source, None));
    }
    let mut words = before[first + 1..].split(|byte| *byte == b' ');
    let second = words.next()?;
    if let Some(source) = Source::address(second) {
        return Some((source, Some((0, first))));
    }
    // Names only: `host name - user [` has a word more than `name - user [`.
    match words.next() {
        Some(b"-") if words.next().is_some_and(|user| !user.is_empty()) => {
            Some((Source::named(second)?, Some((0, first))))
        }
        _ => Some((Source::named(&before[..first])?, None)),
    }
}

pub(super) fn read(line: &[u8], undone: &mut Vec<u8>, parts: &mut Parts) -> Option<()> {
    let head = head(line, &mut LastDay::default())?;
    if let Some((from, to)) = head.host {
        parts.host = Text::field_of(line, from..to, Escapes::Nothing, undone);
    }
    let open = head.rest + memchr(b'"', line.get(head.rest..)?)?;
    let from = open + 1;
    let Some(end) = request_end(line, from) else {
        // Cut short: what is there is the request.
        let text = Text::field_of(line, from..line.len(), Escapes::Backslash, undone);
        parts.request_line = text;
        return Some(());
    };
    let text = Text::field_of(line, from..end, Escapes::Backslash, undone);
    parts.request_line = text;
    let rest = &line[end + 1..];
    parts.status =
        rest.strip_prefix(b" ").and_then(|rest| rest.split(|byte| *byte == b' ').next()).and_then(status);
    let mut at = end + 1;
    for field in [&mut parts.referer, &mut parts.agent] {
        let Some(open) = memchr(b'"', &line[at..]) else { break };
        let from = at + open + 1;
        let to = quote_end(line, from).unwrap_or(line.len());
        *field = Text::field_of(line, from..to, Escapes::Backslash, undone);
        at = (to + 1).min(line.len());
    }
    Some(())
}

/// Where the quoted request ends. Old servers did not escape quotes in it: then a status tells which quote is the last.
fn request_end(line: &[u8], from: usize) -> Option<usize> {
    let first = quote_end(line, from)?;
    let ends = |at: usize| {
        let after = line.get(at + 1..at + 5).unwrap_or_default();
        at + 1 == line.len()
            || (after.first() == Some(&b' ') && after[1..].iter().all(u8::is_ascii_digit))
            || line[at + 1..].starts_with(b" - ")
    };
    let mut at = first;
    while !ends(at) {
        let Some(next) = quote_end(line, at + 1) else { return Some(first) };
        at = next;
    }
    Some(at)
}
