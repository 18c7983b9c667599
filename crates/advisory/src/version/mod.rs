//! Ecosystems' version orders. Takes a version's text; gives a key whose bytes compare as the ecosystem's own tool
//! would compare the texts. Matching sorts and searches by these keys and never looks at the text again.
//!
//! Every order is defined by a program, not by a document: dpkg 1.21, rpm 4.18, apk-tools. What such a program refuses
//! is refused here too, with the reason, so that matching says *undetermined* instead of guessing.

mod apk;
mod dpkg;
mod key;
mod language;
mod rpm;

use key::Key;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// Longest version that is read, in bytes. The longest of 15,000 reference versions has under 100; ten times that
/// leaves room for anything a build system makes up, and bounds what a hostile feed can make us keep.
pub const VERSION_BYTES_MAX: usize = 1024;

/// How much of a refused version is quoted, in characters: a line of a terminal.
const QUOTED_CHARS_MAX: usize = 80;

/// A version order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Debian's.
    Dpkg,
    /// RPM's, with epoch, `~` and `^`.
    Rpm,
    /// Alpine's.
    Apk,
    /// Semantic versioning 2.0.
    Semver,
    /// Python's, PEP 440.
    Pep440,
    /// npm's.
    Npm,
}

impl Order {
    /// The key of `text` in this order.
    ///
    /// Two texts that the order holds equal (`1.0` and `0:1.0` for dpkg) have equal keys. Errors where the order's
    /// program would not take the text for a version, and where it is longer than [`VERSION_BYTES_MAX`].
    pub fn parse(self, text: &str) -> Result<Version, Unparsable> {
        self.key(text).map(Version).map_err(|reason| Unparsable::new(self, text, reason))
    }

    /// How `a` compares with `b` in this order. Errors as [`Order::parse`] does, for `a` first.
    ///
    /// Whoever compares a version more than once keeps its key instead.
    pub fn compare(self, a: &str, b: &str) -> Result<Ordering, Unparsable> {
        Ok(self.parse(a)?.cmp(&self.parse(b)?))
    }

    fn key(self, text: &str) -> Result<Box<[u8]>, Refusal> {
        if text.len() > VERSION_BYTES_MAX {
            return Err(format!("{} bytes long, {VERSION_BYTES_MAX} at most are read", text.len()).into());
        }
        if text.is_empty() {
            return Err("empty".into());
        }
        // The programs are written in C: to them a version ends here, and two different texts would be one.
        if text.contains('\0') {
            return Err("contains a NUL character".into());
        }
        let mut key = Key::for_text(text);
        match self {
            Self::Dpkg => dpkg::write(text, &mut key)?,
            Self::Rpm => rpm::write(text, &mut key)?,
            Self::Apk => apk::write(text, &mut key)?,
            Self::Semver => language::write_semver(text, &mut key)?,
            Self::Pep440 => language::write_pep440(text, &mut key)?,
            Self::Npm => language::write_npm(text, &mut key)?,
        }
        Ok(key.finish())
    }
}

impl fmt::Display for Order {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Dpkg => "dpkg",
            Self::Rpm => "rpm",
            Self::Apk => "apk",
            Self::Semver => "semver",
            Self::Pep440 => "PEP 440",
            Self::Npm => "npm",
        })
    }
}

/// A parsed version: a key that compares, and hashes, by its bytes. 16 bytes and one allocation of about the text's size.
///
/// Only keys of one order are comparable; whoever keeps keys of several orders keeps them apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(Box<[u8]>);

impl Version {
    /// The length of the key: what this version keeps on the heap.
    pub fn size_bytes(&self) -> usize {
        self.0.len()
    }

    /// The key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.0
    }
}

/// Why a text is no version. Control characters are escaped.
type Refusal = Cow<'static, str>;

/// A text that is no version in an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{version}\" is not a version to {order}: {reason}")]
pub struct Unparsable {
    /// The order that was asked.
    pub order: Order,
    /// The text, as it can be printed: control characters escaped, long texts cut.
    pub version: String,
    /// Why it was refused.
    pub reason: String,
}

impl Unparsable {
    fn new(order: Order, text: &str, reason: Refusal) -> Self {
        Self { order, version: printable(text, QUOTED_CHARS_MAX), reason: reason.into_owned() }
    }
}

/// `text` with what cannot be seen escaped; cut, with an ellipsis, after `chars_max` of its characters.
fn printable(text: &str, chars_max: usize) -> String {
    let mut printable = String::new();
    for character in text.chars().take(chars_max) {
        match character {
            '"' | '\'' | '\\' => printable.push(character),
            _ => printable.extend(character.escape_debug()),
        }
    }
    if text.chars().nth(chars_max).is_some() {
        printable.push('…');
    }
    printable
}
