//! Undoes what a log's writer escaped, so that rules see what was sent.

use std::borrow::Cow;

/// The bytes behind `\xHH` (nginx, Apache), `\\` and `\"` (Apache).
///
/// Anything else after a backslash stays as it is: a log that escapes nothing has `\think` where a request had it, and
/// reading a tab there would hide it.
pub fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\\', text) else { return Cow::Borrowed(text) };
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'\\', [b'x', high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                out.extend(hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low));
                after
            }
            (b'\\', [escaped @ (b'\\' | b'"'), after @ ..]) => {
                out.push(*escaped);
                after
            }
            _ => {
                out.push(byte);
                after
            }
        };
    }
    Cow::Owned(out)
}

/// The value of a hexadecimal digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
