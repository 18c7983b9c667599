//! The Debian changelog as a source of advisories. Takes the changelog of a candidate and the installed version; gives
//! what the upgrade closes, with no feed at all.

mod ancestry;
mod mention;

pub use ancestry::{Basis, Closed, advisory_of, closed};

use crate::problem::Problem;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use mention::Mentions;

/// Longest changelog that is read: 32 MiB. The longest in Debian 12 (the kernel's) has 3 MiB.
pub const CHANGELOG_BYTES_MAX: usize = 32 << 20;

/// Most entries that are read of one changelog; the longest in Debian 12 has about 600.
const ENTRIES_MAX: usize = 20_000;

/// Longest summary of an entry, characters: a line of a report.
const SUMMARY_CHARS_MAX: usize = 160;

/// Dates as changelogs have them. Weekdays are often wrong, and say nothing.
const DATES: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);

/// One version's entry in a changelog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Source package.
    pub source: String,
    /// Source version, epoch included; of a binary-only rebuild, with its `+bN`.
    pub version: String,
    /// Where it was uploaded to: `bookworm-security`.
    pub distributions: Vec<String>,
    /// `urgency=`, in lower case; empty if there is none.
    pub urgency: String,
    /// A rebuild of the same source (`binary-only=yes`).
    pub binary_only: bool,
    /// When it was made; `None` if there is no date that can be read.
    pub date: Option<Timestamp>,
    /// CVE ids it names as closed, sorted. A mere mention counts too, unless the text plainly says otherwise.
    pub cves: Vec<String>,
    /// CVE ids whose fix it takes back, sorted.
    pub reverted: Vec<String>,
    /// CVE ids that it names only where it repairs a regression; a part of `cves`.
    pub repaired: Vec<String>,
    /// It says that it repairs a regression.
    pub regression: bool,
    /// The beginning of its first item.
    pub summary: String,
}

/// The entries of a changelog, newest first, as they stand. Never fails: what cannot be read is told in problems, and
/// the entries around it are kept.
///
/// `object` names the changelog in problems. Format: deb-changelog(5).
pub fn read(bytes: &[u8], object: &str) -> (Vec<Entry>, Vec<Problem>) {
    let mut problems = Vec::new();
    let kept = &bytes[..bytes.len().min(CHANGELOG_BYTES_MAX)];
    if kept.len() < bytes.len() {
        let reason = format!("longer than {CHANGELOG_BYTES_MAX} bytes; its oldest entries are left out");
        problems.push(Problem::new("read changelog", object, reason));
    }
    let text = String::from_utf8_lossy(kept);
    let mut reader = Reader::default();
    let mut lines = text.lines().enumerate();
    for (number, line) in lines.by_ref() {
        if reader.entries.len() >= ENTRIES_MAX {
            let reason = format!("more than {ENTRIES_MAX} entries; the oldest are left out");
            problems.push(Problem::new("read changelog", object, reason));
            break;
        }
        if is_end(line) {
            break;
        }
        reader.line(number + 1, line);
    }
    reader.finish_entry();
    if let Some((number, count)) = reader.strange {
        let reason = format!("line {number} is no part of an entry ({count} such lines)");
        problems.push(Problem::new("read changelog", object, reason));
    }
    if reader.entries.is_empty() {
        problems.push(Problem::new("read changelog", object, "no entry found"));
    }
    (reader.entries, problems)
}

/// Where the changelog proper ends: from here on dpkg reads nothing either (Dpkg::Changelog::Parse).
fn is_end(line: &str) -> bool {
    let lower = line.trim_end().to_ascii_lowercase();
    lower.starts_with("old changelog:") || lower.starts_with("local variables:") || lower == "changes:"
}

#[derive(Default)]
struct Reader {
    entries: Vec<Entry>,
    open: Option<Entry>,
    mentions: Mentions,
    /// First line that is no part of an entry, and how many there are.
    strange: Option<(usize, usize)>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) {
        if let Some(entry) = header(line) {
            self.finish_entry(); // an entry without a trailer is kept, without a date
            self.open = Some(entry);
        } else if let (Some(trailer), Some(entry)) = (line.strip_prefix(" --"), self.open.as_mut()) {
            let date = trailer.rsplit_once('>').map_or(trailer, |(_, date)| date);
            entry.date = date_of(date);
            self.finish_entry();
        } else if line.trim().is_empty() {
            self.mentions.end_item();
        } else if line.starts_with([' ', '\t']) && self.open.is_some() {
            self.body(line);
        } else if !is_comment(line) {
            self.strange.get_or_insert((number, 0)).1 += 1;
            // Text at the margin within an entry (a hand-made changelog) may still name a CVE.
            if self.open.is_some() {
                self.body(line);
            }
        }
    }

    fn body(&mut self, line: &str) {
        let text = line.trim();
        if let Some(entry) = self.open.as_mut()
            && entry.summary.is_empty()
            && !(text.starts_with('[') && text.ends_with(']'))
        {
            entry.summary =
                text.trim_start_matches(['*', '-', '+', ' ']).chars().take(SUMMARY_CHARS_MAX).collect();
        }
        self.mentions.line(text);
    }

    fn finish_entry(&mut self) {
        let mentions = std::mem::take(&mut self.mentions);
        if let Some(mut entry) = self.open.take() {
            mentions.tell(&mut entry);
            self.entries.push(entry);
        }
    }
}

/// `SOURCE (VERSION) DISTRIBUTION…; KEY=VALUE, KEY=VALUE`
fn header(line: &str) -> Option<Entry> {
    let (source, rest) = line.split_once(" (")?;
    let (version, rest) = rest.split_once(')')?;
    let (distributions, metadata) = rest.split_once(';')?;
    let good = source.starts_with(|c: char| c.is_ascii_alphanumeric())
        && source.chars().all(|c| c.is_ascii_alphanumeric() || "+-._".contains(c))
        && version.starts_with(|c: char| c.is_ascii_alphanumeric())
        && version.chars().all(|c| c.is_ascii_alphanumeric() || "+-.~:_".contains(c))
        && distributions.starts_with(' ');
    if !good {
        return None;
    }
    let value = |wanted: &str| {
        metadata
            .split([',', ' '])
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim().to_ascii_lowercase())
    };
    Some(Entry {
        source: source.to_owned(),
        version: version.to_owned(),
        distributions: distributions.split_whitespace().map(str::to_owned).collect(),
        urgency: value("urgency").unwrap_or_default(),
        binary_only: value("binary-only").is_some_and(|value| value == "yes"),
        ..Entry::default()
    })
}

fn date_of(text: &str) -> Option<Timestamp> {
    // Two blanks before a one-digit day, and a zone's name in brackets behind it, are common.
    let text = text.split('(').next()?.split_whitespace().collect::<Vec<_>>().join(" ");
    DATES.parse_timestamp(&text).ok()
}

/// Lines that dpkg ignores: `vim:` settings, CVS keywords, comments.
fn is_comment(line: &str) -> bool {
    line.starts_with(['#', '$', ';'])
        || line.starts_with("/*")
        || line.starts_with("vim:")
        || line.starts_with("vi:")
        || line.starts_with("-*-")
}
