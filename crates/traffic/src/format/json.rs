//! One JSON object per line: Caddy, Traefik, nginx and others whose keys have the usual names.
//!
//! The object is walked once, without building it; a line that is cut short gives what came before the cut.

use super::Brief;
use super::address::Source;
use super::parts::{Escapes, Parts, Text};
use super::time::Stamp;
use memchr::memchr2;
use std::ops::Range;

/// Objects in objects that are looked into.
const DEPTH_MAX: usize = 6;
/// Longest path of keys that is compared with known ones.
const PATH_BYTES_MAX: usize = 96;

/// What a key stands for. Of several keys for the same thing the one with the lower number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    Time(u8),
    Source(u8),
    Method(u8),
    Target(u8),
    RequestLine,
    Protocol(u8),
    Host(u8),
    Agent,
    Referer,
    Cookie,
    Status(u8),
    Body,
    Header,
}

fn slot(path: &[u8]) -> Option<Slot> {
    Some(match path {
        b"ts" | b"startutc" => Slot::Time(0),
        b"time_iso8601" | b"@timestamp" => Slot::Time(1),
        b"time_local" | b"timestamp" | b"msec" => Slot::Time(2),
        b"time" | b"startlocal" | b"datetime" => Slot::Time(3),
        b"request.client_ip" | b"clienthost" => Slot::Source(0),
        b"request.remote_ip" | b"remote_addr" | b"clientaddr" => Slot::Source(1),
        b"request.remote_addr" | b"client_ip" | b"remote_ip" => Slot::Source(2),
        b"client" | b"clientip" | b"remote_host" | b"ip" => Slot::Source(3),
        b"request.method" | b"requestmethod" | b"request_method" => Slot::Method(0),
        b"method" | b"verb" => Slot::Method(1),
        b"request.uri" | b"requestpath" | b"request_uri" => Slot::Target(0),
        b"uri" => Slot::Target(1),
        b"path" | b"url" => Slot::Target(2),
        b"request" | b"request_line" => Slot::RequestLine,
        b"request.proto" | b"requestprotocol" | b"server_protocol" => Slot::Protocol(0),
        b"protocol" | b"proto" => Slot::Protocol(1),
        b"request.host" | b"requesthost" | b"http_host" => Slot::Host(0),
        b"host" | b"vhost" | b"server_name" => Slot::Host(1),
        b"request.headers.user-agent"
        | b"request_user-agent"
        | b"http_user_agent"
        | b"user_agent"
        | b"agent" => Slot::Agent,
        b"request.headers.referer"
        | b"request_referer"
        | b"http_referer"
        | b"http_referrer"
        | b"referer"
        | b"referrer" => Slot::Referer,
        b"request.headers.cookie" | b"request_cookie" | b"http_cookie" => Slot::Cookie,
        b"status" | b"downstreamstatus" => Slot::Status(0),
        b"status_code" | b"response_code" | b"response" => Slot::Status(1),
        b"request_body" => Slot::Body,
        _ if path.starts_with(b"request.headers.") || path.starts_with(b"request_x-") => Slot::Header,
        _ => return None,
    })
}

pub(super) fn brief(line: &[u8]) -> Option<Brief> {
    let mut when = (u8::MAX, None);
    let mut source = (u8::MAX, None);
    walk(line, &mut |found, _, value| match found {
        Slot::Time(rank) if rank < when.0 => {
            if let Some(stamp) = Stamp::any(&line[value]) {
                when = (rank, Some(stamp));
            }
        }
        Slot::Source(rank) if rank < source.0 => {
            // Traefik: `192.168.1.100,10.0.0.50`; the first one is the client.
            let first = line[value].split(|byte| *byte == b',').next().unwrap_or_default();
            if let Some(address) = Source::named(first.trim_ascii()) {
                source = (rank, Some(address));
            }
        }
        Slot::Time(_)
        | Slot::Source(_)
        | Slot::Method(_)
        | Slot::Target(_)
        | Slot::RequestLine
        | Slot::Protocol(_)
        | Slot::Host(_)
        | Slot::Agent
        | Slot::Referer
        | Slot::Cookie
        | Slot::Status(_)
        | Slot::Body
        | Slot::Header => {}
    });
    Some(Brief { when: when.1?, source: source.1?, told_from: 0 })
}

pub(super) fn read(line: &[u8], undone: &mut Vec<u8>, parts: &mut Parts) {
    let [mut method, mut target, mut protocol, mut host, mut status] = [u8::MAX; 5];
    let mut request_line = None;
    // Caddy logs every header: one that is not there was not sent.
    let mut all_headers = false;
    walk(line, &mut |found, key, value| {
        let mut text = || Text::field_of(line, value.clone(), Escapes::Json, undone);
        match found {
            Slot::Method(rank) if rank < method => (method, parts.method) = (rank, text()),
            Slot::Target(rank) if rank < target => {
                target = rank;
                let text = text();
                parts.target(text, line, undone);
            }
            Slot::RequestLine => request_line = Some(text()),
            Slot::Protocol(rank) if rank < protocol => (protocol, parts.protocol) = (rank, text()),
            Slot::Host(rank) if rank < host => (host, parts.host) = (rank, text()),
            Slot::Agent => parts.agent = text(),
            Slot::Referer => parts.referer = text(),
            // Caddy writes this unless it is told to log credentials.
            Slot::Cookie if &line[value.clone()] != b"REDACTED" => parts.cookie = text(),
            Slot::Status(rank) if rank < status => {
                (status, parts.status) = (rank, super::parts::status(&line[value]));
            }
            Slot::Body => parts.body = text(),
            Slot::Header => {
                let value = text();
                parts.headers.push((Text::Line(key.start, key.end), value));
            }
            Slot::Time(_)
            | Slot::Source(_)
            | Slot::Method(_)
            | Slot::Target(_)
            | Slot::Protocol(_)
            | Slot::Host(_)
            | Slot::Cookie
            | Slot::Status(_) => {}
        }
        all_headers |= line[..key.start].ends_with(b"\"headers\":{\"");
    });
    if all_headers {
        for part in [&mut parts.agent, &mut parts.referer] {
            if matches!(part, Text::Unlogged) {
                *part = Text::Absent;
            }
        }
    }
    if let Some(text) = request_line
        && target == u8::MAX
    {
        parts.request_line = text;
    } else if let Some(method) = parts.method.bytes(line, undone)
        && !method.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'))
    {
        parts.request_line = joined(parts, line, undone);
    }
}

/// A request line that the web server took apart though it is none, together again.
fn joined(parts: &Parts, line: &[u8], undone: &mut Vec<u8>) -> Text {
    let mut whole = Vec::new();
    for (part, before) in [(parts.method, ""), (parts.path, " "), (parts.query, "?"), (parts.protocol, " ")] {
        if let Some(bytes) = part.bytes(line, undone) {
            whole.extend_from_slice(before.as_bytes());
            whole.extend_from_slice(bytes);
        }
    }
    let from = undone.len();
    undone.extend_from_slice(&whole);
    Text::Undone(from, undone.len())
}

/// Gives the key and the value of every known path to `visit`; of a list its first entry.
fn walk(line: &[u8], visit: &mut impl FnMut(Slot, Range<usize>, Range<usize>)) {
    let mut path = Path { bytes: [0; PATH_BYTES_MAX], length: 0, depth: 0 };
    object(line, 0, &mut path, visit);
}

/// Keys from the outside in, in lower case, with dots between.
struct Path {
    bytes: [u8; PATH_BYTES_MAX],
    length: usize,
    depth: usize,
}

impl Path {
    /// Goes one key further in; gives the length to come back to.
    fn enter(&mut self, key: &[u8]) -> usize {
        let before = self.length;
        let dot = usize::from(before > 0);
        // One that is too long is known to nobody: it fills the room, and matches nothing.
        let end = (before + dot + key.len()).min(PATH_BYTES_MAX);
        if dot == 1 && before < PATH_BYTES_MAX {
            self.bytes[before] = b'.';
        }
        for (to, from) in self.bytes[(before + dot).min(end)..end].iter_mut().zip(key) {
            *to = from.to_ascii_lowercase();
        }
        self.length = end;
        before
    }

    fn known(&self) -> Option<Slot> {
        slot(&self.bytes[..self.length])
    }
}

/// An object that begins at `at`; gives where it ends, `None` where the line is damaged.
fn object(
    line: &[u8],
    at: usize,
    path: &mut Path,
    visit: &mut impl FnMut(Slot, Range<usize>, Range<usize>),
) -> Option<usize> {
    let mut at = after(line, space(line, at), b'{')?;
    loop {
        at = space(line, at);
        match line.get(at)? {
            b'}' => return Some(at + 1),
            b',' => at += 1,
            b'"' => {
                let key = string(line, at)?;
                at = after(line, space(line, key.end + 1), b':')?;
                let before = path.enter(&line[key.clone()]);
                at = value(line, space(line, at), &key, path, visit)?;
                path.length = before;
            }
            _ => return None,
        }
    }
}

fn value(
    line: &[u8],
    at: usize,
    key: &Range<usize>,
    path: &mut Path,
    visit: &mut impl FnMut(Slot, Range<usize>, Range<usize>),
) -> Option<usize> {
    match line.get(at)? {
        b'{' | b'[' if path.depth == DEPTH_MAX => skip(line, at),
        b'{' => {
            path.depth += 1;
            let end = object(line, at, path, visit);
            path.depth -= 1;
            end
        }
        b'[' => {
            let first = space(line, at + 1);
            if line.get(first) == Some(&b'"') {
                let text = string(line, first)?;
                if let Some(slot) = path.known() {
                    visit(slot, key.clone(), text);
                }
            }
            skip(line, at)
        }
        b'"' => {
            let text = string(line, at)?;
            if let Some(slot) = path.known() {
                visit(slot, key.clone(), text.clone());
            }
            Some(text.end + 1)
        }
        _ => {
            let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
            let end = at + line[at..].iter().position(is_end)?;
            if let Some(slot) = path.known()
                && &line[at..end] != b"null"
            {
                visit(slot, key.clone(), at..end);
            }
            (end > at).then_some(end)
        }
    }
}

/// The inside of the string that begins at `at`.
fn string(line: &[u8], at: usize) -> Option<Range<usize>> {
    let from = at + 1;
    let mut at = from;
    loop {
        let found = at + memchr2(b'"', b'\\', line.get(at..)?)?;
        if line[found] == b'"' {
            return Some(from..found);
        }
        at = found + 2;
    }
}

/// Past an object or a list, whatever is in it.
fn skip(line: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = at;
    loop {
        match line.get(at)? {
            b'"' => at = string(line, at)?.end,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

fn space(line: &[u8], at: usize) -> usize {
    at + line.get(at..).map_or(0, |rest| rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count())
}

fn after(line: &[u8], at: usize, wanted: u8) -> Option<usize> {
    (line.get(at) == Some(&wanted)).then_some(at + 1)
}
