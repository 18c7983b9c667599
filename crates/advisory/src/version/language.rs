//! Language ecosystems' orders. Their kept crates read the text; the key is written from the parts they found, so that
//! all orders compare alike, by bytes.

use super::{Refusal, key::Key, printable};
use pep440_rs::{LocalSegment, PrereleaseKind};
use std::str::FromStr;

/// Longest reason taken from a crate, in characters: two lines of a terminal.
const REASON_CHARS_MAX: usize = 160;

/// Ends a list, before every element of it.
const LIST_END: u8 = 0;
/// Ends a text: none of the texts here can hold it.
const TEXT_END: u8 = 0;

// Pre-releases of semver and npm: numbers from 1, then texts, then "this is no pre-release".
const IDENTIFIER_NUMBER: u8 = 1;
const IDENTIFIER_TEXT: u8 = 0xF9;
const RELEASED: u8 = 0xFF;

/// Semantic versioning 2.0, §11. Build metadata does not count.
pub(super) fn write_semver(text: &str, key: &mut Key) -> Result<(), Refusal> {
    let version = semver::Version::parse(text).map_err(refusal)?;
    for number in [version.major, version.minor, version.patch] {
        key.number(0, number);
    }
    if version.pre.is_empty() {
        key.byte(RELEASED);
        return Ok(());
    }
    for identifier in version.pre.split('.') {
        if identifier.bytes().all(|byte| byte.is_ascii_digit()) {
            key.digits(IDENTIFIER_NUMBER, identifier.as_bytes());
        } else {
            write_identifier(identifier, key);
        }
    }
    key.byte(LIST_END);
    Ok(())
}

/// npm's reading of semver, which is laxer. Build metadata does not count.
pub(super) fn write_npm(text: &str, key: &mut Key) -> Result<(), Refusal> {
    // The crate's error says no more than that.
    let version =
        nodejs_semver::Version::parse(text).map_err(|_| "no semantic version, even as npm reads it")?;
    for number in [version.major(), version.minor(), version.patch()] {
        key.number(0, number);
    }
    if version.pre_release().is_empty() {
        key.byte(RELEASED);
        return Ok(());
    }
    for identifier in version.pre_release() {
        match identifier {
            nodejs_semver::Identifier::Numeric(number) => key.number(IDENTIFIER_NUMBER, *number),
            nodejs_semver::Identifier::AlphaNumeric(text) => write_identifier(text, key),
        }
    }
    key.byte(LIST_END);
    Ok(())
}

fn write_identifier(identifier: &str, key: &mut Key) {
    key.byte(IDENTIFIER_TEXT);
    key.bytes(identifier.as_bytes());
    key.byte(TEXT_END);
}

/// PEP 440, "Summary of permitted suffixes and relative ordering".
pub(super) fn write_pep440(text: &str, key: &mut Key) -> Result<(), Refusal> {
    let version = pep440_rs::Version::from_str(text).map_err(refusal)?;
    key.number(0, version.epoch());
    // 1.0 and 1 are equal.
    let release = version.release();
    let significant = release.iter().rposition(|&number| number != 0).map_or(0, |last| last + 1);
    for &number in &release[..significant] {
        key.number(LIST_END + 1, number);
    }
    key.byte(LIST_END);
    match (version.pre(), version.post(), version.dev()) {
        // 1.dev1 is before 1a1, though it is no pre-release of its own.
        (None, None, Some(_)) => key.byte(0),
        (Some(pre), _, _) => {
            key.byte(match pre.kind {
                PrereleaseKind::Alpha => 1,
                PrereleaseKind::Beta => 2,
                PrereleaseKind::Rc => 3,
            });
            key.number(0, pre.number);
        }
        (None, _, _) => key.byte(4),
    }
    match version.post() {
        None => key.byte(0),
        Some(number) => key.number(1, number),
    }
    match version.dev() {
        Some(number) => key.number(0, number),
        None => key.byte(0xFF),
    }
    for segment in version.local() {
        match segment {
            LocalSegment::String(text) => {
                key.byte(LIST_END + 1);
                key.bytes(text.as_bytes());
                key.byte(TEXT_END);
            }
            LocalSegment::Number(number) => key.number(LIST_END + 2, *number),
        }
    }
    key.byte(LIST_END);
    Ok(())
}

/// A crate's own words. They may quote the text; it was capped, but control characters must not reach a terminal.
fn refusal(error: impl std::fmt::Display) -> Refusal {
    printable(&error.to_string(), REASON_CHARS_MAX).into()
}
