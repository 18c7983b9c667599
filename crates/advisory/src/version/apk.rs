//! Alpine's order, as apk-tools has it since 2.14:
//! `number{.number}…[letter]{_suffix[number]}…[~hash][-rnumber]`.
//!
//! Besides, a number may follow a letter, and numbers and letters then go on (`6.6.2p1`): older apk-tools compared
//! those, and Alpine 3 shipped them. Anything else `apk version --check` calls invalid, and it is refused here: apk
//! compares such versions only up to the part that it does not understand, and would call `1-rx` and `1-ry` equal.

use super::{Refusal, key::Key};

// What can stand at a place of a version, in order. Each is the first byte of its token.
const PRE_SUFFIX: u8 = 1; // + 0 to 3
const END: u8 = 5;
const REVISION: u8 = 6;
const HASH: u8 = 7;
const SUFFIX_NUMBER: u8 = 8;
const POST_SUFFIX: u8 = 9; // + 0 to 4
const LETTER: u8 = 14;
/// A number with a leading zero, after the first: compared as text, as in Gentoo, hence before those without.
const ZERO_DIGITS: u8 = 15;
const NUMBER: u8 = 16;

/// Ends a text of digits: `0` is before `01`.
const TEXT_END: u8 = 0;

/// Suffixes that make a version earlier than without.
const PRE_SUFFIXES: [&str; 4] = ["alpha", "beta", "pre", "rc"];
/// Suffixes that make it later.
const POST_SUFFIXES: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

/// What was read last; decides what may follow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Last {
    Number,
    Letter,
    Suffix,
    SuffixNumber,
    Hash,
    Revision,
}

pub(super) fn write(text: &str, key: &mut Key) -> Result<(), Refusal> {
    let mut rest = text.as_bytes();
    let first = take(&mut rest, u8::is_ascii_digit);
    if first.is_empty() {
        return Err("does not start with a digit".into());
    }
    key.digits(NUMBER, first);
    let mut last = Last::Number;
    loop {
        last = match (rest, last) {
            ([], _) => {
                key.byte(END);
                return Ok(());
            }
            ([b'.', after @ ..], Last::Number) => {
                rest = after;
                let digits = take(&mut rest, u8::is_ascii_digit);
                match digits {
                    [] => return Err("a dot without a number".into()),
                    [b'0', ..] => {
                        key.byte(ZERO_DIGITS);
                        key.bytes(digits);
                        key.byte(TEXT_END);
                    }
                    _ => key.digits(NUMBER, digits),
                }
                Last::Number
            }
            ([letter @ b'a'..=b'z', after @ ..], Last::Number) => {
                rest = after;
                key.byte(LETTER);
                key.byte(*letter);
                Last::Letter
            }
            ([b'0'..=b'9', ..], Last::Letter) => {
                key.digits(NUMBER, take(&mut rest, u8::is_ascii_digit));
                Last::Number
            }
            ([b'_', after @ ..], Last::Number | Last::Letter | Last::Suffix | Last::SuffixNumber) => {
                rest = after;
                key.byte(suffix(take(&mut rest, u8::is_ascii_lowercase))?);
                Last::Suffix
            }
            ([b'0'..=b'9', ..], Last::Suffix) => {
                key.byte(SUFFIX_NUMBER);
                key.digits(0, take(&mut rest, u8::is_ascii_digit));
                Last::SuffixNumber
            }
            ([b'~', after @ ..], before) if before < Last::Hash => {
                rest = after;
                let hash = take(&mut rest, |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                if hash.is_empty() {
                    return Err("a tilde without a hash".into());
                }
                key.byte(HASH);
                key.bytes(hash);
                key.byte(TEXT_END);
                Last::Hash
            }
            ([b'-', b'r', after @ ..], before) if before < Last::Revision => {
                rest = after;
                let digits = take(&mut rest, u8::is_ascii_digit);
                if digits.is_empty() {
                    return Err("-r without a number".into());
                }
                key.byte(REVISION);
                key.digits(0, digits);
                Last::Revision
            }
            _ => {
                let read = text.len() - rest.len();
                // Everything read so far is ASCII, so what is left starts with a whole character.
                let character = text[read..].chars().next().unwrap_or_default();
                return Err(format!("apk has no rule for {character:?} at byte {read}").into());
            }
        };
    }
}

/// Takes what `belongs` off the front of `rest`.
fn take<'a>(rest: &mut &'a [u8], belongs: impl Fn(&u8) -> bool) -> &'a [u8] {
    let length = rest.iter().take_while(|byte| belongs(byte)).count();
    let (taken, after) = rest.split_at(length);
    *rest = after;
    taken
}

fn suffix(name: &[u8]) -> Result<u8, Refusal> {
    let among = |names: &[&str]| names.iter().position(|known| known.as_bytes() == name);
    let place = |base: u8, index: usize| base + u8::try_from(index).expect("there are nine suffixes");
    if let Some(index) = among(&PRE_SUFFIXES) {
        return Ok(place(PRE_SUFFIX, index));
    }
    if let Some(index) = among(&POST_SUFFIXES) {
        return Ok(place(POST_SUFFIX, index));
    }
    Err(format!("apk knows no suffix \"_{}\"", name.escape_ascii()).into())
}
