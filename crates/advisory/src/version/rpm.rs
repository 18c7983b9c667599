//! RPM's order, as `rpmverCmp` of rpm 4.18 has it: `[epoch:]version[-release]`, compared part by part.
//!
//! A missing epoch is 0. A missing release is before every release, even an empty one, as in rpm's label comparison.
//! rpm's *dependencies* have another rule, by which a bound without a release ignores the other side's: by it `1` equals
//! both `1-1` and `1-2`, which is no order. So a range's bound must be given with its release to mean one build.

use super::{Refusal, key::Key};

// The first byte of each token; 0x41 to 0x7A is a letter, and numbers follow.
const TILDE: u8 = 1;
const END: u8 = 2;
const CARET: u8 = 3;
const NUMBER: u8 = b'z' + 1;
/// Ends a run of letters: `a` is before `ab`.
const LETTERS_END: u8 = 0;

// Whether there is a release.
const NO_RELEASE: u8 = 0;
const RELEASE: u8 = 1;

pub(super) fn write(text: &str, key: &mut Key) -> Result<(), Refusal> {
    // rpm itself compares anything, skipping what it does not know. But what rpmbuild would not build is something else
    // that has got into a version's place ("(none):1.0-1", "< 1.2"), and must not be judged. rpm skips what is not ASCII.
    if let Some(stranger) = text.chars().find(|character| !may_stand_in_a_version(*character)) {
        return Err(format!("contains {stranger:?}, which no rpm version can").into());
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    // A colon after anything but digits belongs to the version.
    let (epoch, rest) = match text[digits..].strip_prefix(':') {
        Some(rest) => (&text[..digits], rest),
        None => ("", text),
    };
    let (version, release) = match rest.rsplit_once('-') {
        Some((version, release)) => (version, Some(release)),
        None => (rest, None),
    };
    if version.is_empty() {
        return Err("the version is empty".into());
    }
    key.digits(0, epoch.as_bytes());
    write_part(version.as_bytes(), key);
    match release {
        Some(release) => {
            key.byte(RELEASE);
            write_part(release.as_bytes(), key);
        }
        None => key.byte(NO_RELEASE),
    }
    Ok(())
}

/// rpmbuild's list for epoch, version and release together.
fn may_stand_in_a_version(character: char) -> bool {
    !character.is_ascii() || character.is_ascii_alphanumeric() || "._+%{}~^-:".contains(character)
}

/// Writes a version or a release: `~`, `^`, runs of letters and numbers; what stands between them does not count.
fn write_part(mut text: &[u8], key: &mut Key) {
    loop {
        match text {
            [] => return key.byte(END),
            [b'~', rest @ ..] => {
                key.byte(TILDE);
                text = rest;
            }
            [b'^', rest @ ..] => {
                key.byte(CARET);
                text = rest;
            }
            [b'0'..=b'9', ..] => {
                let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
                key.digits(NUMBER, &text[..length]);
                text = &text[length..];
            }
            [b'A'..=b'Z' | b'a'..=b'z', ..] => {
                let length = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
                key.bytes(&text[..length]);
                key.byte(LETTERS_END);
                text = &text[length..];
            }
            [_, rest @ ..] => text = rest,
        }
    }
}
