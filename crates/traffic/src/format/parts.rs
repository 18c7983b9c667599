//! The parts of a request as places in a line, or in the buffer of what was unescaped.

use crate::request::{Field, Request, unescaped};
use memchr::{memchr, memchr2, memmem};
use std::ops::Range;

/// Where a text stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Text {
    #[default]
    Unlogged,
    Absent,
    /// In the line, as it is.
    Line(usize, usize),
    /// In the buffer, where escapes of the log were undone.
    Undone(usize, usize),
}

/// How a log writes bytes that would end a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Escapes {
    /// `\x5C`, `\"`, `\\`: nginx, Apache, AWS.
    Backslash,
    /// Those of JSON.
    Json,
    /// None; a space is written `+` (W3C).
    Plus,
    /// None at all.
    Nothing,
}

/// One request, taken apart.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) method: Text,
    pub(super) path: Text,
    pub(super) query: Text,
    pub(super) protocol: Text,
    /// The whole request line, of which method, path, query and protocol are parts that were not told apart yet.
    pub(super) request_line: Text,
    /// Whether the log completes targets with scheme and host, as load balancers do.
    pub(super) completed: bool,
    pub(super) host: Text,
    pub(super) agent: Text,
    pub(super) referer: Text,
    pub(super) cookie: Text,
    pub(super) body: Text,
    pub(super) headers: Vec<(Text, Text)>,
    pub(super) status: Option<u16>,
}

impl Parts {
    pub(super) fn clear(&mut self) {
        let mut headers = std::mem::take(&mut self.headers);
        headers.clear();
        *self = Self { headers, ..Self::default() };
    }

    /// Takes path and query of a target apart.
    pub(super) fn target(&mut self, text: Text, line: &[u8], undone: &[u8]) {
        let Some(bytes) = text.bytes(line, undone) else {
            self.path = text;
            self.query = text;
            return;
        };
        if let Some(at) = memchr(b'?', bytes) {
            self.path = text.within(0..at);
            self.query = text.within(at + 1..bytes.len());
        } else {
            self.path = text;
            self.query = Text::Absent;
        }
    }

    pub(super) fn with_request<R>(
        &self,
        line: &[u8],
        undone: &[u8],
        look: impl FnOnce(&Request<'_>) -> R,
    ) -> R {
        let field = |text: Text| text.field(line, undone);
        let given = |text: Text| text.bytes(line, undone).unwrap_or_default();
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (given(*name), given(*value))).collect();
        let mut request = match self.request_line {
            Text::Unlogged => Request {
                method: field(self.method),
                path: field(self.path),
                query: field(self.query),
                protocol: field(self.protocol),
                ..Request::default()
            },
            // The log has a place for it, and nothing came.
            Text::Absent => {
                let absent = Field::Absent;
                Request {
                    method: absent,
                    path: absent,
                    query: absent,
                    protocol: absent,
                    raw: absent,
                    ..Request::default()
                }
            }
            Text::Line(..) | Text::Undone(..) => Request::of_line(given(self.request_line)),
        };
        request.host = field(self.host);
        if self.completed {
            take_origin(&mut request);
        }
        look(&Request {
            agent: field(self.agent),
            referer: field(self.referer),
            cookie: field(self.cookie),
            headers: &headers,
            body: field(self.body),
            status: self.status,
            ..request
        })
    }
}

/// Makes the host of `https://host:443/path` a host.
fn take_origin(request: &mut Request<'_>) {
    let Field::Is(path) = request.path else { return };
    let Some(after) = memmem::find(path, b"://").map(|at| at + 3) else { return };
    let end = memchr(b'/', &path[after..]).map_or(path.len(), |slash| after + slash);
    request.host = Field::Is(&path[after..end]);
    request.path = Field::Is(&path[end..]);
}

impl Text {
    pub(super) fn bytes<'a>(self, line: &'a [u8], undone: &'a [u8]) -> Option<&'a [u8]> {
        match self {
            Self::Unlogged | Self::Absent => None,
            Self::Line(from, to) => line.get(from..to),
            Self::Undone(from, to) => undone.get(from..to),
        }
    }

    fn field<'a>(self, line: &'a [u8], undone: &'a [u8]) -> Field<'a> {
        match self {
            Self::Unlogged => Field::Unlogged,
            Self::Absent => Field::Absent,
            Self::Line(..) | Self::Undone(..) => self.bytes(line, undone).map_or(Field::Absent, Field::Is),
        }
    }

    fn within(self, range: Range<usize>) -> Self {
        match self {
            Self::Line(from, _) => Self::Line(from + range.start, from + range.end),
            Self::Undone(from, _) => Self::Undone(from + range.start, from + range.end),
            Self::Unlogged | Self::Absent => self,
        }
    }

    /// A field of a line, with its escapes undone; `-` and nothing at all are absent.
    pub(super) fn field_of(line: &[u8], range: Range<usize>, escapes: Escapes, undone: &mut Vec<u8>) -> Self {
        let bytes = &line[range.clone()];
        if bytes.is_empty() || bytes == b"-" {
            return Self::Absent;
        }
        let from = undone.len();
        match escapes {
            Escapes::Backslash if memchr(b'\\', bytes).is_some() => {
                undone.extend_from_slice(&unescaped(bytes));
            }
            Escapes::Json if memchr(b'\\', bytes).is_some() => undo_json(bytes, undone),
            Escapes::Plus if memchr(b'+', bytes).is_some() => {
                undone.extend(bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }));
            }
            Escapes::Backslash | Escapes::Json | Escapes::Plus | Escapes::Nothing => {
                return Self::Line(range.start, range.end);
            }
        }
        Self::Undone(from, undone.len())
    }
}

/// Where the quoted text that begins at `from` ends: at the first quote that no backslash stands before.
#[inline]
pub(super) fn quote_end(line: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let found = at + memchr2(b'"', b'\\', line.get(at..)?)?;
        if line[found] == b'"' {
            return Some(found);
        }
        at = found + 2;
    }
}

pub(super) fn status(text: &[u8]) -> Option<u16> {
    if text.len() != 3 {
        return None;
    }
    let number: u16 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number >= 100).then_some(number)
}

fn undo_json(text: &[u8], into: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr(b'\\', rest) {
        into.extend_from_slice(&rest[..at]);
        let after = &rest[at + 1..];
        let (byte, took) = match after {
            [b'u', digits @ ..] if four(digits).is_some() => {
                let (letter, took) = unicode(digits);
                let mut room = [0; 4];
                into.extend_from_slice(letter.encode_utf8(&mut room).as_bytes());
                rest = &after[1 + took..];
                continue;
            }
            // nginx writes bytes that are no text like this into JSON, too.
            [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (digit(*high) << 4 | digit(*low), 3)
            }
            [b'n', ..] => (b'\n', 1),
            [b't', ..] => (b'\t', 1),
            [b'r', ..] => (b'\r', 1),
            [b'b', ..] => (0x08, 1),
            [b'f', ..] => (0x0c, 1),
            [byte, ..] => (*byte, 1),
            [] => (b'\\', 0),
        };
        into.push(byte);
        rest = &after[took..];
    }
    into.extend_from_slice(rest);
}

/// The letter that four digits, or two times four, stand for, and how many bytes they took.
fn unicode(digits: &[u8]) -> (char, usize) {
    let first = four(digits).unwrap_or(0xfffd);
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = digits[4..].strip_prefix(b"\\u").and_then(four)
        && (0xdc00..0xe000).contains(&second)
    {
        let letter = 0x1_0000 + ((first - 0xd800) << 10 | (second - 0xdc00));
        return (char::from_u32(letter).unwrap_or(char::REPLACEMENT_CHARACTER), 10);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), 4)
}

fn four(digits: &[u8]) -> Option<u32> {
    let digits = digits.first_chunk::<4>()?;
    digits
        .iter()
        .all(u8::is_ascii_hexdigit)
        .then(|| digits.iter().fold(0, |number, byte| number << 4 | u32::from(digit(*byte))))
}

/// The value of a digit that is hexadecimal.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}
