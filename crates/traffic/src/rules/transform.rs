//! Carries out transforms.

use super::condition::Transform;
use crate::request::{once, resolved};
use std::borrow::Cow;

impl Transform {
    /// The text after it; counting is of many texts, so that this one stays as it is.
    pub(super) fn apply(self, text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
        let changed = match self {
            Transform::Lowercase => {
                text.iter().any(u8::is_ascii_uppercase).then(|| text.to_ascii_lowercase())
            }
            Transform::Uppercase => {
                text.iter().any(u8::is_ascii_lowercase).then(|| text.to_ascii_uppercase())
            }
            Transform::UrlDecode => once(&text, true),
            Transform::Trim => {
                let trimmed = text.trim_ascii();
                (trimmed.len() < text.len()).then(|| trimmed.to_vec())
            }
            Transform::NormalizePath => resolved(&text),
            Transform::HtmlEntityDecode => text.contains(&b'&').then(|| entities(&text)),
            Transform::B64Decode => Some(base64(&text)),
            Transform::Length => Some(text.len().to_string().into_bytes()),
            Transform::Count => None,
        };
        changed.map_or(text, Cow::Owned)
    }
}

/// The entities that attacks are hidden in: numbers, and the names of what HTML itself is made of.
fn entities(text: &[u8]) -> Vec<u8> {
    const NAMED: [(&[u8], u8); 9] = [
        (b"lt", b'<'),
        (b"gt", b'>'),
        (b"amp", b'&'),
        (b"quot", b'"'),
        (b"apos", b'\''),
        (b"nbsp", 0xA0),
        (b"colon", b':'),
        (b"lpar", b'('),
        (b"rpar", b')'),
    ];
    // Longer than any entity that stands for a byte: `&#x0000003c;`.
    const LENGTH_MAX: usize = 12;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'&' {
            out.push(byte);
            continue;
        }
        let end = after.iter().take(LENGTH_MAX).position(|&byte| byte == b';');
        let meant = end.and_then(|end| {
            let name = &after[..end];
            let code = match name {
                [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
                [b'#', digits @ ..] => number(digits, 10),
                _ => NAMED.iter().find(|(known, _)| *known == name).map(|(_, byte)| u32::from(*byte)),
            };
            Some((char::from_u32(code?)?, end))
        });
        match meant {
            Some((character, end)) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &after[end + 1..];
            }
            None => out.push(byte),
        }
    }
    out
}

fn number(digits: &[u8], radix: u32) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

/// Decodes up to the first byte that is no base64; both alphabets, with or without padding.
fn base64(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for &byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => break,
        };
        // Twelve bits at most are held before eight of them go.
        held = (held << 6 | u32::from(value)) & 0xFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push(u8::try_from(held >> bits & 0xFF).expect("eight bits"));
        }
    }
    out
}
