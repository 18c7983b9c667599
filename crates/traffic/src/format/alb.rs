//! Access logs of AWS load balancers.
//!
//! `type time elb client:port target:port 0.1 0.1 0.1 status target_status received sent "request" "agent" …`; the
//! classic ones lack the type.

use super::Brief;
use super::address::Source;
use super::parts::{Escapes, Parts, Text, quote_end, status};
use super::time::Stamp;
use memchr::memchr;

/// Words from the client's address to the status.
const CLIENT_TO_STATUS: usize = 5;

/// Where the words after the time begin.
fn head(line: &[u8]) -> Option<(Stamp, usize)> {
    let first = memchr(b' ', line)?;
    if let Some(when) = Stamp::iso(&line[..first]) {
        return Some((when, first + 1));
    }
    let second = first + 1 + memchr(b' ', &line[first + 1..])?;
    line[..first].iter().all(u8::is_ascii_alphanumeric).then_some(())?;
    Some((Stamp::iso(&line[first + 1..second])?, second + 1))
}

pub(super) fn brief(line: &[u8]) -> Option<Brief> {
    let (when, at) = head(line)?;
    let client = line[at..].split(|byte| *byte == b' ').nth(1)?;
    // With the port: a time and an address make many kinds of lines.
    client.contains(&b':').then_some(())?;
    Some(Brief { when, source: Source::address(client)?, told_from: 0 })
}

pub(super) fn read(line: &[u8], undone: &mut Vec<u8>, parts: &mut Parts) -> Option<()> {
    let (_, at) = head(line)?;
    parts.status = line[at..].split(|byte| *byte == b' ').nth(1 + CLIENT_TO_STATUS).and_then(status);
    let from = at + memchr(b'"', &line[at..])? + 1;
    let end = quote_end(line, from)?;
    let text = Text::field_of(line, from..end, Escapes::Backslash, undone);
    parts.request_line = text;
    parts.completed = true;
    if let Some(from) = line[end + 1..].strip_prefix(b" \"").map(|_| end + 3)
        && let Some(to) = quote_end(line, from)
    {
        parts.agent = Text::field_of(line, from..to, Escapes::Backslash, undone);
    }
    Some(())
}
