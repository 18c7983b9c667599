//! Until when releases and packages are supported: `distro-info-data` and `debian-security-support`.
//!
//! Takes their files; answers whether a source package of a release gets security fixes on a day.

use super::intake::{self, Line, Problems, next_line};
use crate::problem::Problem;
use crate::release::{Family, Release};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::BufRead;

/// Bytes of one of these files; they have a few kilobytes.
pub const TEXT_BYTES_MAX: u64 = 16 << 20;

/// Bytes of a line.
const LINE_BYTES_MAX: usize = 8_192;

/// Bytes of a name pattern, and `.*` in it: matching costs their product with the name's length at most.
const PATTERN_BYTES_MAX: usize = 256;
const WILDCARDS_MAX: usize = 4;

const OPERATION: &str = "read life cycle";

/// What the files say; see [`Lifecycle::support`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Dates of releases. A list of pairs in JSON would be longer to use: the key is `family version`.
    pub releases: BTreeMap<String, Dates>,
    /// By release: packages whose support ends before the release's.
    pub ended: BTreeMap<String, Vec<Ended>>,
    /// By release: packages with limited support.
    pub limited: BTreeMap<String, Vec<Limited>>,
}

/// When a release was released and until when, its last day included, it is supported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dates {
    /// First day; `None` if it is not released yet.
    pub release: Option<Date>,
    /// Last day of regular support.
    pub eol: Option<Date>,
    /// Last day of free long term support.
    pub eol_lts: Option<Date>,
    /// Last day of paid or registered support: Debian ELTS, Ubuntu ESM and its legacy extension.
    pub eol_elts: Option<Date>,
}

/// A source package whose support has ended, or will.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its name; `.*` in it stands for anything.
    pub source: String,
    /// Last version with support; `0` for none.
    pub version: String,
    /// Last day with support.
    pub date: Date,
    /// Why.
    pub reason: String,
}

/// A source package with limited support.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// Its name; `.*` in it stands for anything.
    pub source: String,
    /// How it is limited.
    pub reason: String,
}

/// Whether a source package gets security fixes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "support")]
pub enum Support {
    /// From the distribution.
    Supported {
        /// Last day, where it is fixed already.
        until: Option<Date>,
    },
    /// From the free long term support.
    Lts {
        /// Last day.
        until: Date,
    },
    /// Only from paid or registered support: Debian ELTS, Ubuntu ESM.
    Elts {
        /// Last day.
        until: Date,
    },
    /// From nobody.
    Ended {
        /// Last day with support.
        since: Date,
        /// Why; empty for the end of the whole release.
        reason: String,
    },
    /// Under conditions only.
    Limited {
        /// Which.
        reason: String,
    },
    /// The files do not tell: an unknown release, or one not yet released.
    Unknown,
}

impl Lifecycle {
    /// Support of `source` in `release` on `day`; see [`Phase::support`].
    pub fn support(&self, release: &Release, source: &str, day: Date) -> Support {
        self.phase(release, day).support(source)
    }

    /// What the files say about `release` on `day`, for asking about many packages.
    pub fn phase(&self, release: &Release, day: Date) -> Phase<'_> {
        let key = release.to_string();
        Phase {
            release: self.releases.get(&key).map_or(Support::Unknown, |dates| dates.phase(day)),
            ended: self.ended.get(&key).map_or(&[], Vec::as_slice),
            limited: self.limited.get(&key).map_or(&[], Vec::as_slice),
            day,
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.releases.is_empty() && self.ended.is_empty() && self.limited.is_empty()
    }

    /// Adds what `other` knows; for the same release the later file counts.
    pub fn merge(&mut self, other: Self) {
        self.releases.extend(other.releases);
        self.ended.extend(other.ended);
        self.limited.extend(other.limited);
    }
}

/// What the files say about one release on one day.
#[derive(Clone, Debug)]
pub struct Phase<'a> {
    release: Support,
    ended: &'a [Ended],
    limited: &'a [Limited],
    day: Date,
}

impl Phase<'_> {
    /// Support of `source`. The first that holds: the release's end, the package's end, the package's limits, the
    /// release's phase.
    pub fn support(&self, source: &str) -> Support {
        if matches!(self.release, Support::Ended { .. }) {
            return self.release.clone();
        }
        let mut ended = self.ended.iter().filter(|ended| ended.date <= self.day);
        if let Some(ended) = ended.find(|ended| matches(&ended.source, source)) {
            return Support::Ended { since: ended.date, reason: ended.reason.clone() };
        }
        if let Some(limited) = self.limited.iter().find(|limited| matches(&limited.source, source)) {
            return Support::Limited { reason: limited.reason.clone() };
        }
        self.release.clone()
    }
}

impl Dates {
    fn phase(&self, day: Date) -> Support {
        if self.release.is_none_or(|release| day < release) {
            return Support::Unknown;
        }
        let last = [self.eol, self.eol_lts, self.eol_elts].into_iter().flatten().max();
        match (self.eol, self.eol_lts, self.eol_elts, last) {
            (None, _, _, _) => Support::Supported { until: None },
            (Some(until), _, _, _) if day <= until => Support::Supported { until: Some(until) },
            (_, Some(until), _, _) if day <= until => Support::Lts { until },
            (_, _, Some(until), _) if day <= until => Support::Elts { until },
            (Some(eol), _, _, last) => Support::Ended { since: last.unwrap_or(eol), reason: String::new() },
        }
    }
}

/// `pattern` with `.*` for anything else; the whole name must match.
fn matches(pattern: &str, name: &str) -> bool {
    // Nearly all patterns are plain names of something else.
    if !pattern.starts_with('.') && pattern.as_bytes().first() != name.as_bytes().first() {
        return false;
    }
    let mut parts = pattern.split(".*");
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(before) = last.replace(part) {
            let Some(at) = rest.find(before) else { return false };
            rest = &rest[at + before.len()..];
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

/// `debian.csv` or `ubuntu.csv` of distro-info-data; which of both, its header tells.
pub fn read_releases(feed: &str, text: &mut dyn BufRead, lifecycle: &mut Lifecycle) -> Vec<Problem> {
    let mut problems = Problems::new(feed);
    read_releases_into(feed, text, lifecycle, &mut problems);
    problems.finish()
}

/// Which of the two lists of debian-security-support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `security-support-ended`: source, version, date, reason.
    Ended,
    /// `security-support-limited`: source, reason.
    Limited,
}

/// A list of debian-security-support. Its release is the `.debN` of the name, else `release`.
pub fn read_list(
    feed: &str,
    list: List,
    text: &mut dyn BufRead,
    release: Option<&Release>,
    lifecycle: &mut Lifecycle,
) -> Vec<Problem> {
    let mut problems = Problems::new(feed);
    read_list_into(feed, list, text, release, lifecycle, &mut problems);
    problems.finish()
}

pub(super) fn read_releases_into(
    feed: &str,
    text: &mut dyn BufRead,
    lifecycle: &mut Lifecycle,
    problems: &mut Problems,
) {
    let mut header: Option<(Family, Vec<String>)> = None;
    each_line(feed, text, problems, &mut |row| {
        let Some((family, columns)) = &header else {
            let columns: Vec<String> = row.split(',').map(|name| name.trim().to_owned()).collect();
            let family = match () {
                () if columns.iter().any(|name| name == "eol-esm" || name == "eol-server") => Family::Ubuntu,
                () if columns.iter().any(|name| name == "eol-lts" || name == "eol-elts") => Family::Debian,
                () => return Err("its columns are not those of debian.csv or ubuntu.csv".to_owned()),
            };
            header = Some((family, columns));
            return Ok(());
        };
        let value = |name: &str| {
            let column = columns.iter().position(|column| column == name)?;
            row.split(',').nth(column).map(str::trim).filter(|text| !text.is_empty())
        };
        let date = |name: &str| {
            let parse = |text: &str| {
                text.parse::<Date>()
                    .map_err(|_| format!("{name} is no date: {:?}", intake::one_line(text, 32)))
            };
            value(name).map(parse).transpose()
        };
        // `18.04 LTS`; sid and experimental have no number and no end.
        let Some(version) = value("version").and_then(|text| text.split(' ').next()) else { return Ok(()) };
        let (release, eol) = (date("release")?, date("eol")?);
        let dates = if *family == Family::Ubuntu {
            let eol_elts = date("eol-esm")?.max(date("eol-legacy")?);
            Dates { release, eol, eol_lts: date("eol-server")?, eol_elts }
        } else {
            Dates { release, eol, eol_lts: date("eol-lts")?, eol_elts: date("eol-elts")? }
        };
        lifecycle.releases.insert(Release::new(family.clone(), version).to_string(), dates);
        Ok(())
    });
}

pub(super) fn read_list_into(
    feed: &str,
    list: List,
    text: &mut dyn BufRead,
    release: Option<&Release>,
    lifecycle: &mut Lifecycle,
    problems: &mut Problems,
) {
    let suffix = feed.rsplit_once(".deb").map(|(_, number)| number);
    let named =
        suffix.filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    let release = match (named, release) {
        (Some(number), _) => Release::new(Family::Debian, number),
        (None, Some(release)) => release.clone(),
        (None, None) => {
            let reason =
                "neither its name (….debN) nor the caller says for which release it is; it is not used";
            return problems.refuse(OPERATION, reason, "name the release");
        }
    };
    let key = release.to_string();
    // The list of a release replaces an older one, also when it is empty.
    let mut ended = Vec::new();
    let mut limited = Vec::new();
    each_line(feed, text, problems, &mut |row| {
        if row.trim_start().starts_with('#') {
            return Ok(());
        }
        let mut columns = Columns(row);
        let source = columns.next().to_owned();
        if source.len() > PATTERN_BYTES_MAX || source.matches(".*").count() > WILDCARDS_MAX {
            return Err("its name pattern is too long".to_owned());
        }
        match list {
            List::Ended => {
                let (version, date) = (columns.next(), columns.next());
                let date = date.parse().map_err(|_| {
                    format!("{source}: the third column is no date: {:?}", intake::one_line(date, 32))
                })?;
                let reason = columns.rest();
                ended.push(Ended { source, version: intake::one_line(version, 256), date, reason });
            }
            List::Limited => limited.push(Limited { source, reason: columns.rest() }),
        }
        Ok(())
    });
    match list {
        List::Ended => drop(lifecycle.ended.insert(key, ended)),
        List::Limited => drop(lifecycle.limited.insert(key, limited)),
    }
}

/// Columns between runs of blanks; the last takes the rest of the line.
struct Columns<'a>(&'a str);

impl<'a> Columns<'a> {
    fn next(&mut self) -> &'a str {
        let text = self.0.trim_start();
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        self.0 = &text[end..];
        &text[..end]
    }

    fn rest(self) -> String {
        intake::one_line(self.0, 1_024)
    }
}

/// Every line that is not blank; those that `use_line` refuses are problems.
fn each_line(
    feed: &str,
    text: &mut dyn BufRead,
    problems: &mut Problems,
    use_line: &mut dyn FnMut(&str) -> Result<(), String>,
) {
    let mut line = Vec::new();
    for number in 1_u64.. {
        let result = match next_line(text, &mut line, LINE_BYTES_MAX) {
            Ok(Line::End) => break,
            Ok(Line::TooLong) => Err(format!("longer than {LINE_BYTES_MAX} bytes")),
            Ok(Line::Text) => match std::str::from_utf8(&line) {
                Ok(row) if row.trim().is_empty() => Ok(()),
                Ok(row) => use_line(row),
                Err(_) => Err("not UTF-8".to_owned()),
            },
            Err(error) => {
                problems.cut(OPERATION, format_args!("cut off at line {number}: {error}"));
                break;
            }
        };
        if let Err(reason) = result {
            let object = format!("{feed}: line {number}");
            problems.push(Problem::new(OPERATION, object, reason).remedy("the line is not used"));
        }
    }
}
