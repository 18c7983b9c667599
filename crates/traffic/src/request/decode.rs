//! What a sender may have meant by the bytes that it sent: percent-encoding in all its forms, and paths.
//!
//! Each function gives nothing where it would change nothing, so that the usual request costs no copy.

use super::escape::hex;
use memchr::{memchr, memchr2};

/// How often `%25…` is unwrapped: servers in front of servers decode twice, some three times.
const PASSES_MAX: usize = 3;

/// Distance of a full-width character from its ASCII counterpart: U+FF01 stands for `!`, U+0021.
const FULL_WIDTH_OFFSET: u32 = 0xFEE0;

/// Whether a text has nothing that [`once`] or [`full`] might change.
pub(crate) fn is_plain(text: &[u8], plus: bool) -> bool {
    // The largest of all bytes is found many at a time, the first of them that is large enough one by one.
    coded(text, plus).is_none() && text.iter().fold(0, |most, &byte| byte.max(most)) < 0xC0
}

/// Where the first byte is that encodes another.
fn coded(text: &[u8], plus: bool) -> Option<usize> {
    if plus { memchr2(b'%', b'+', text) } else { memchr(b'%', text) }
}

/// One pass of `%XX`; with `plus`, `+` is a space as in a form.
pub(crate) fn once(text: &[u8], plus: bool) -> Option<Vec<u8>> {
    pass(text, plus, false)
}

/// `%XX`, `%uXXXX` and overlong UTF-8, until nothing changes or three times; `plus` counts in the first pass.
pub(crate) fn full(text: &[u8], plus: bool) -> Option<Vec<u8>> {
    let mut decoded = pass(text, plus, true)?;
    for _ in 1..PASSES_MAX {
        match pass(&decoded, false, true) {
            Some(further) => decoded = further,
            None => break,
        }
    }
    Some(decoded)
}

/// The path as a file system or an application server may resolve it: `\` is `/`, empty and `.` segments go, `..` takes
/// its parent along, and so does `..;`.
pub(crate) fn resolved(path: &[u8]) -> Option<Vec<u8>> {
    let plain = |pair: &[u8]| !matches!(pair, b"//" | b"/." | b";/") && pair[0] != b'\\';
    if path.windows(2).all(plain) && path.last() != Some(&b'\\') {
        return None;
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_open = false;
    for segment in path.split(|byte| matches!(byte, b'/' | b'\\')) {
        let name = segment.strip_suffix(b";").unwrap_or(segment);
        ends_open = matches!(name, b"" | b"." | b"..");
        match name {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    // What does not begin with a slash gets none: the sieve would not know where to look for it.
    let rooted = matches!(path.first(), Some(b'/' | b'\\'));
    let mut out = Vec::with_capacity(path.len() + 1);
    for segment in segments {
        if rooted || !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(segment);
    }
    if ends_open && (rooted || !out.is_empty()) {
        out.push(b'/');
    }
    (out != path).then_some(out)
}

fn pass(text: &[u8], plus: bool, all: bool) -> Option<Vec<u8>> {
    let is_changed = if all { !is_plain(text, plus) } else { coded(text, plus).is_some() };
    if !is_changed {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut changed = false;
    while let Some(at) = coded(rest, plus) {
        out.extend_from_slice(&rest[..at]);
        let (byte, after) = (rest[at], &rest[at + 1..]);
        let taken = match byte {
            b'%' if all && matches!(after.first(), Some(b'u' | b'U')) => unicode(&after[1..], &mut out, 2),
            b'%' => percent(after).map(|byte| {
                out.push(byte);
                3
            }),
            _ => {
                out.push(b' ');
                Some(1)
            }
        };
        changed |= taken.is_some();
        if taken.is_none() {
            out.push(byte);
        }
        rest = &rest[at + taken.unwrap_or(1)..];
    }
    out.extend_from_slice(rest);
    if all {
        changed |= fold_overlong(&mut out);
    }
    changed.then_some(out)
}

fn percent(after: &[u8]) -> Option<u8> {
    match after {
        [high, low, ..] => Some(hex(*high)? << 4 | hex(*low)?),
        _ => None,
    }
}

/// `%uXXXX`, as IIS reads it: full-width forms are their ASCII counterparts. Gives how much was read, `before` included.
fn unicode(digits: &[u8], out: &mut Vec<u8>, before: usize) -> Option<usize> {
    let mut code = 0_u32;
    for &digit in digits.get(..4)? {
        code = code << 4 | u32::from(hex(digit)?);
    }
    let code = match code {
        0xFF01..=0xFF5E => code - FULL_WIDTH_OFFSET,
        0x2044 | 0x2215 => u32::from(b'/'),
        0x2216 => u32::from(b'\\'),
        code => code,
    };
    // A lone half of a surrogate pair has no bytes of its own.
    let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Some(before + 4)
}

/// Replaces ASCII that was written in more UTF-8 bytes than it needs. Old IIS looked at the low six bits of the second
/// byte only, so `%c1%1c` is a backslash to it; that laxness counts here for what a path is made of: `/`, `\` and `.`.
fn fold_overlong(text: &mut Vec<u8>) -> bool {
    if !text.iter().any(|byte| matches!(byte, 0xC0 | 0xC1 | 0xE0 | 0xF0)) {
        return false;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_slice();
    while let Some((&byte, after)) = rest.split_first() {
        let (folded, length) = match rest {
            [0xC0 | 0xC1, low, ..] => {
                let folded = (byte & 1) << 6 | low & 0x3F;
                let strict = (0x80..0xC0).contains(low);
                ((strict || matches!(folded, b'/' | b'\\' | b'.')).then_some(folded), 2)
            }
            [0xE0, high @ (0x80 | 0x81), low @ 0x80..=0xBF, ..]
            | [0xF0, 0x80, high @ (0x80 | 0x81), low @ 0x80..=0xBF, ..] => {
                (Some((high & 1) << 6 | low & 0x3F), if byte == 0xE0 { 3 } else { 4 })
            }
            _ => (None, 1),
        };
        out.push(folded.unwrap_or(byte));
        rest = if folded.is_some() { &rest[length..] } else { after };
    }
    let changed = out.len() != text.len();
    *text = out;
    changed
}
