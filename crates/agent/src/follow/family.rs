//! Which files may hold lines of a log: the log itself, and what rotation made of it.

use super::place::{Id, Stand, id};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What packed files end with.
const PACKED: [&str; 5] = [".gz", ".zst", ".xz", ".bz2", ".Z"];
/// Directories beside a log that rotated files are moved to.
const ASIDE: [&str; 3] = ["old", "archive", "rotated"];
/// Words that rotated files are called by.
const WORDS: [&str; 3] = ["old", "bak", "save"];
/// A directory that changed so lately may have changed again without another time.
const FRESH: Duration = Duration::from_secs(2);

/// A file that was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// The log it belongs to.
    pub(super) log: PathBuf,
    /// Whether it is a log that was named, and no rotated one.
    pub(super) is_named: bool,
    /// Whether it is written to: it is named, and not what rotation made of another that is.
    pub(super) is_current: bool,
    pub(super) id: Id,
    pub(super) stand: Stand,
}

/// Remembers what is in directories until they change.
#[derive(Debug, Default)]
pub(super) struct Directories(BTreeMap<PathBuf, (SystemTime, Vec<PathBuf>)>);

impl Directories {
    /// Everything that may hold lines of these logs, each file once; those that were named first.
    pub(super) fn find(&mut self, logs: &BTreeSet<PathBuf>) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::new();
        let mut seen = BTreeSet::new();
        let mut add = |path: &Path, log: &Path, is_named: bool| {
            let Ok(meta) = fs::metadata(path) else { return };
            if meta.is_file() && seen.insert(id(&meta)) {
                let (id, stand) = (id(&meta), Stand::of(&meta));
                let is_current = is_named && !logs.iter().any(|other| is_made_of(log, other));
                let (path, log) = (path.to_owned(), log.to_owned());
                found.push(Found { path, log, is_named, is_current, id, stand });
            }
        };
        for log in logs {
            add(log, log, true);
        }
        for log in logs {
            let (Some(directory), Some(name)) = (log.parent(), log.file_name()) else { continue };
            for directory in
                [directory.to_owned()].into_iter().chain(ASIDE.map(|aside| directory.join(aside)))
            {
                for path in self.members(&directory) {
                    if path.file_name().is_some_and(|other| is_rotated(other, name)) {
                        add(path, log, false);
                    }
                }
            }
        }
        found
    }

    fn members(&mut self, directory: &Path) -> &[PathBuf] {
        let Ok(changed) = fs::metadata(directory).and_then(|found| found.modified()) else {
            self.0.remove(directory);
            return &[];
        };
        let is_fresh = changed.elapsed().is_ok_and(|since| since < FRESH);
        let entry = self.0.entry(directory.to_owned()).or_insert((SystemTime::UNIX_EPOCH, Vec::new()));
        if is_fresh || entry.0 != changed {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            *entry = (changed, entries.map(|entry| entry.path()).collect());
        }
        &entry.1
    }
}

fn is_made_of(log: &Path, other: &Path) -> bool {
    let (Some(name), Some(other_name)) = (log.file_name(), other.file_name()) else { return false };
    log.parent() == other.parent() && is_rotated(name, other_name)
}

/// Whether a file of this name is what rotation made of a log: `access.log.2.gz`, `access.log-20261130`, `access-1.log`.
fn is_rotated(name: &OsStr, log: &OsStr) -> bool {
    let (Some(name), Some(log)) = (name.to_str(), log.to_str()) else { return false };
    if name == log {
        return false;
    }
    let name = PACKED.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    let says_when = |words: &str| {
        let mut words = words.split(['.', '-', '_']).filter(|word| !word.is_empty());
        words.all(|word| {
            WORDS.contains(&word) || word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'T')
        })
    };
    if let Some(after) = name.strip_prefix(log) {
        return says_when(after);
    }
    let Some((stem, ending)) = log.rsplit_once('.') else { return false };
    let between = name.strip_prefix(stem).and_then(|rest| rest.strip_suffix(ending)?.strip_suffix('.'));
    between.is_some_and(|between| !between.is_empty() && says_when(between))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_are_known_by_name_and_other_logs_are_not_taken_for_them() {
        let is = |name: &str| is_rotated(name.as_ref(), "access.log".as_ref());
        for name in [
            "access.log.1",
            "access.log.12.gz",
            "access.log.gz",
            "access.log-20261130",
            "access.log-20261130-1764500000.zst",
            "access-2026-11-30.log",
            "access.1.log.xz",
            "access.log.old",
            "access.log-2026-11-30T10.bz2",
        ] {
            assert!(is(name), "{name}");
        }
        for name in
            ["access.log", "error.log.1", "access-shop.log", "access.log.json", "access.logs", "access"]
        {
            assert!(!is(name), "{name}");
        }
    }
}
