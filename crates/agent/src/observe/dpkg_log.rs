//! What dpkg's log says was installed when.

use crate::observe::root::{Root, read_capped};
use flate2::read::MultiGzDecoder;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use std::collections::{BTreeMap, BTreeSet};

/// A month of dpkg's log is some 100 KB to 10 MB; logs of a mass rebuild were seen at 40 MB.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// logrotate keeps twelve months of it (`/etc/logrotate.d/dpkg`).
const ROTATIONS_MAX: u32 = 12;

/// How versions of one package changed, in order.
pub type History = Vec<Change>;

/// One change of one package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// When, in the host's own time.
    pub at: DateTime,
    /// Installed version before; `None` if it was not installed.
    pub from: Option<String>,
    /// Installed version after; `None` if it was removed.
    pub to: Option<String>,
}

/// The history of packages, as far as the logs go.
#[derive(Debug)]
pub(super) struct Log {
    histories: BTreeMap<String, History>,
    zone: TimeZone,
}

impl Log {
    /// Reads the logs, newest first, until one begins before `since`.
    pub(super) fn read(root: &Root, packages: &BTreeSet<&str>, since: Timestamp) -> Self {
        // dpkg writes local time without saying which.
        let zone = root.read("/etc/localtime", 64 * 1024).ok();
        let zone = zone.and_then(|bytes| TimeZone::tzif("localtime", &bytes).ok()).unwrap_or(TimeZone::UTC);
        let since = zone.to_datetime(since);
        let mut histories: BTreeMap<String, History> = BTreeMap::new();
        for rotation in 0..=ROTATIONS_MAX {
            let Some(bytes) = rotated(root, rotation) else { break };
            let first = parse(&bytes, packages, &mut histories);
            if first.is_some_and(|first| first < since) {
                break;
            }
        }
        for history in histories.values_mut() {
            history.sort();
        }
        Self { histories, zone }
    }

    /// The version of `package` that was installed at `time`; `None` if the log does not tell.
    pub(super) fn version_at(&self, package: &str, time: Timestamp) -> Option<&str> {
        version_at(self.histories.get(package)?, self.zone.to_datetime(time))
    }
}

/// One log; a broken or missing one ends the history, which only ever explains.
fn rotated(root: &Root, rotation: u32) -> Option<Vec<u8>> {
    let plain =
        if rotation == 0 { "/var/log/dpkg.log".to_owned() } else { format!("/var/log/dpkg.log.{rotation}") };
    if let Ok(bytes) = root.read(&plain, LOG_BYTES_MAX) {
        return Some(bytes);
    }
    let packed = root.file(format!("{plain}.gz")).ok();
    match packed {
        Some(file) => read_capped(&mut MultiGzDecoder::new(file), LOG_BYTES_MAX).ok(),
        // Freshly rotated: there is no newest log until dpkg runs again.
        None => (rotation == 0).then(Vec::new),
    }
}

/// Adds what a log says about `packages` (plain names) to `histories`; returns the time of its first line.
///
/// Lines look like `2026-11-03 06:12:44 upgrade libc6:amd64 2.36-9 2.36-10` (`install`, `remove`, `purge` likewise);
/// everything else is progress.
pub fn parse(
    bytes: &[u8],
    packages: &BTreeSet<&str>,
    histories: &mut BTreeMap<String, History>,
) -> Option<DateTime> {
    let mut first = None;
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        let Some((time, change)) = line.split_at_checked("2026-11-03 06:12:44".len()) else { continue };
        if first.is_none() {
            first = time.parse().ok();
        }
        let words = change.split_ascii_whitespace().collect::<Vec<_>>();
        let ["upgrade" | "install" | "remove" | "purge", package, from, to] = words.as_slice() else {
            continue;
        };
        let name = package.split_once(':').map_or(*package, |(name, _)| name);
        if !packages.contains(name) {
            continue;
        }
        let Ok(at) = time.parse() else { continue };
        let version = |word: &str| (word != "<none>").then(|| word.to_owned());
        let change = Change { at, from: version(from), to: version(to) };
        histories.entry(name.to_owned()).or_default().push(change);
    }
    first
}

/// The version installed at `time` by `history`, which is sorted: the last one before, or what the next change
/// replaced. `None` if it was not installed, or nothing tells.
pub fn version_at(history: &[Change], time: DateTime) -> Option<&str> {
    let next = history.partition_point(|change| change.at <= time);
    let version = match history.get(next) {
        Some(change) => &change.from,
        None => &history.last()?.to,
    };
    version.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_the_version_at_a_time() {
        let log = b"2026-01-01 10:00:00 install tool:amd64 <none> 1.0\n\
            2026-01-01 10:00:01 status installed tool:amd64 1.0\nnoise \xff\n\
            2026-02-01 10:00:00 upgrade other:amd64 7 8\n\
            2026-02-01 10:00:00 upgrade tool:amd64 1.1 1.2\n\
            2026-03-01 10:00:00 remove tool:amd64 1.2 <none>\n2026-13-99 10:00:00 upgrade tool:amd64 8 9";
        let mut histories = BTreeMap::new();
        let first = parse(log, &BTreeSet::from(["tool"]), &mut histories);
        assert_eq!(first, "2026-01-01 10:00:00".parse().ok());
        assert_eq!(histories.keys().collect::<Vec<_>>(), ["tool"]);
        let at = |time: &str| version_at(&histories["tool"], time.parse().unwrap());
        assert_eq!(at("2025-12-31 00:00:00"), None);
        // 1.1 came without a line: what was replaced tells more than what was installed last.
        assert_eq!(at("2026-01-15 00:00:00"), Some("1.1"));
        assert_eq!(at("2026-02-01 10:00:00"), Some("1.2"));
        assert_eq!(at("2026-03-02 00:00:00"), None);
    }
}
