//! The feeds a check was given: opened, read, and looked at with suspicion.

use crate::terminal::Progress;
use advisory::format::lifecycle::Lifecycle;
use advisory::format::{self, Feed};
use advisory::{Advisory, Problem, Release, Signals};
use exposure::Inventory;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// A feed of bulletins or KEV whose newest record is older than this is taken for abandoned: both change every few days.
const FEED_DAYS_MAX: i64 = 14;
/// EPSS scores are made anew every day.
const EPSS_DAYS_MAX: i64 = 7;
/// With fewer records than this a feed is an excerpt, and its age says nothing.
const RECORDS_MIN: usize = 100;
/// Files that are read of one directory.
const FILES_MAX: usize = 1_000_000;

/// Where Debian's packages keep the life cycle files.
const LIFECYCLE_FILES: [&str; 3] = [
    "usr/share/distro-info/debian.csv",
    "usr/share/distro-info/ubuntu.csv",
    "usr/share/debian-security-support/security-support-limited",
];

/// What all feeds gave together.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) advisories: Vec<Advisory>,
    pub(super) signals: Signals,
    pub(super) lifecycle: Lifecycle,
    pub(super) problems: Vec<Problem>,
}

/// Reads the feeds given, those that the host's package manager keeps, and the host's life cycle files.
pub(super) fn read(
    given: &[PathBuf],
    own: &[PathBuf],
    inventory: &Inventory,
    now: Timestamp,
    progress: &Progress,
) -> Read {
    let release = &inventory.system.release;
    let mut read = Read::default();
    for path in lifecycle_files(Path::new(&inventory.root), release) {
        read.take(file(&path, release));
    }
    for path in own {
        progress.tell(&format!("reading {}", path.display()));
        read.take(file(path, release));
    }
    for path in given {
        progress.tell(&format!("reading {}", path.display()));
        let mut feed = if path.is_dir() { directory(path, release) } else { file(path, release) };
        feed.problems.extend(suspicions(path, &feed, release, now));
        read.take(feed);
    }
    read
}

impl Read {
    fn take(&mut self, feed: Feed) {
        self.advisories.extend(feed.advisories);
        self.signals.merge(feed.signals);
        self.lifecycle.merge(feed.lifecycle);
        self.problems.extend(feed.problems);
    }
}

fn file(path: &Path, release: &Release) -> Feed {
    let name = path.to_string_lossy();
    match File::open(path) {
        Ok(file) => format::read(None, &name, BufReader::new(file), Some(release)),
        Err(error) => Feed { problems: vec![Problem::new("open feed", name, error)], ..Feed::default() },
    }
}

/// A directory of records: every file in it, in the order of their names, folders included.
fn directory(path: &Path, release: &Release) -> Feed {
    let mut whole = Feed::default();
    let mut files = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        match std::fs::read_dir(&folder) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    // Links are not followed: a feed is a tree.
                    match entry.file_type() {
                        Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                        Ok(kind) if kind.is_file() => files.push(entry.path()),
                        Ok(_) | Err(_) => {}
                    }
                }
            }
            Err(error) => whole.problems.push(Problem::new("list feed", folder.to_string_lossy(), error)),
        }
    }
    files.sort();
    if files.len() > FILES_MAX {
        let reason = format!("{} files; only the first {FILES_MAX} are read", files.len());
        whole.problems.push(Problem::new("list feed", path.to_string_lossy(), reason));
        files.truncate(FILES_MAX);
    }
    if files.is_empty() {
        whole.problems.push(Problem::new(
            "read feed",
            path.to_string_lossy(),
            "the directory holds no files",
        ));
    }
    for path in files {
        let feed = file(&path, release);
        whole.advisories.extend(feed.advisories);
        whole.signals.merge(feed.signals);
        whole.lifecycle.merge(feed.lifecycle);
        whole.problems.extend(feed.problems);
        whole.truncated |= feed.truncated;
    }
    whole
}

/// A feed that is about other systems, or that nobody renews, must not look like silence of the vendor.
fn suspicions(path: &Path, feed: &Feed, release: &Release, now: Timestamp) -> Vec<Problem> {
    let name = path.to_string_lossy();
    let today = TimeZone::UTC.to_datetime(now).date();
    let mut problems = Vec::new();
    let releases: BTreeSet<&Release> =
        feed.advisories.iter().flat_map(|advisory| &advisory.claims).map(|claim| &claim.release).collect();
    if !releases.is_empty() && !releases.contains(release) {
        let about: Vec<String> = releases.iter().take(5).map(ToString::to_string).collect();
        let reason =
            format!("it is about {}, and this host is {release}: it says nothing here", about.join(", "));
        problems.push(Problem::new("use feed", name.clone(), reason).remedy("give the feed of this release"));
    }
    let stale = |what: &str, days: i64| {
        Problem::new(
            "use feed",
            name.clone(),
            format!("{what} is {days} days old: what came later is not known"),
        )
        .remedy("fetch it again")
    };
    let days_since = |then: Timestamp| now.duration_since(then).as_hours() / 24;
    let newest = feed.advisories.iter().filter_map(|advisory| advisory.modified.or(advisory.published)).max();
    if let Some(newest) = newest
        && feed.advisories.len() >= RECORDS_MIN
        && days_since(newest) > FEED_DAYS_MAX
    {
        problems.push(stale("its newest record", days_since(newest)));
    }
    if let Some(released) = feed.signals.kev_released
        && days_since(released) > FEED_DAYS_MAX
    {
        problems.push(stale("the KEV catalogue", days_since(released)));
    }
    if let Some(date) = feed.signals.epss_date
        && today > date.saturating_add(EPSS_DAYS_MAX.days())
    {
        let days = i64::from(date.until(today).map_or(0, |span| span.get_days()));
        problems.push(stale("the EPSS scores", days));
    }
    problems
}

/// The life cycle files of the root, or of the machine where the root has none.
fn lifecycle_files(root: &Path, release: &Release) -> Vec<PathBuf> {
    let ended = format!("usr/share/debian-security-support/security-support-ended.deb{}", release.version);
    LIFECYCLE_FILES
        .iter()
        .copied()
        .chain([ended.as_str()])
        .filter_map(|file| {
            [root.join(file), Path::new("/").join(file)].into_iter().find(|path| path.is_file())
        })
        .collect()
}
