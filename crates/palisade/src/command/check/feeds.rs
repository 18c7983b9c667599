//! The feeds a check was given: opened, read, and looked at with suspicion.

use super::extracts::{Extracts, Slot};
use crate::terminal::Progress;
use advisory::extract::{self, About, Extract, Wanted};
use advisory::format::lifecycle::Lifecycle;
use advisory::format::{self, Feed};
use advisory::{Advisory, Family, NameKind, Problem, Release, Signals, Version};
use exposure::Inventory;
use exposure::inventory::Package;
use exposure::judge::{Host, names};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use std::borrow::Cow;
use std::cell::LazyCell;
use std::collections::{BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read as _, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A feed of bulletins or KEV whose newest record is older than this is taken for abandoned: both change every few days.
const FEED_DAYS_MAX: i64 = 14;
/// EPSS scores are made anew every day.
const EPSS_DAYS_MAX: i64 = 7;
/// With fewer records than this a feed is an excerpt, and its age says nothing.
const RECORDS_MIN: usize = 100;
/// Bytes that are taken from a pipe: 2 GiB, four times the largest feed (Ubuntu's, 515 MB).
const PIPE_BYTES_MAX: u64 = 2 << 30;
/// Bytes taken from a pipe at once: as many as Linux keeps in one.
const PIPE_CHUNK_BYTES: usize = 64 << 10;
/// How often we look whether we are to stop while a pipe is silent.
const PATIENCE: Duration = Duration::from_millis(50);
/// Files that are read of one directory.
const FILES_MAX: usize = 1_000_000;

/// Where Debian's packages keep the life cycle files of releases, and of packages.
const DEBIAN_RELEASES: &str = "usr/share/distro-info/debian.csv";
const UBUNTU_RELEASES: &str = "usr/share/distro-info/ubuntu.csv";
const SUPPORT_LIMITED: &str = "usr/share/debian-security-support/security-support-limited";

/// What all feeds gave together.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) advisories: Vec<Advisory>,
    pub(super) signals: Signals,
    pub(super) lifecycle: Lifecycle,
    pub(super) problems: Vec<Problem>,
    /// Where signals come from, in the order of the feeds.
    pieces: Vec<Piece>,
}

/// What one feed knows besides advisories.
#[derive(Debug)]
enum Piece {
    Signals(Signals),
    /// An extract: of its signals only a few are needed, and those only in the end.
    Extract {
        extract: Extract<File>,
        slot: Slot,
    },
}

/// What feeds are read for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) inventory: &'a Inventory,
    pub(super) now: Timestamp,
    /// Where feeds that were read before left extracts.
    pub(super) cache: Option<&'a Path>,
    pub(super) progress: &'a Progress,
    /// Whether records are wanted, too, that only say that what is installed has long been fixed.
    pub(super) with_fixed: bool,
}

/// Reads the feeds given, those that the host's package manager keeps, and the host's life cycle files; and adds what
/// they know of the holes that `closes` names, advisories of the package manager itself.
///
/// Of a feed that was read before come only the advisories that speak about installed packages, and unless asked for
/// not those that find nothing there but what is fixed.
pub(super) fn read(given: &[PathBuf], own: &[PathBuf], closes: &[Advisory], asked: Asked<'_>) -> Read {
    let all = |cache| {
        let mut read = pieces(given, own, Asked { cache, ..asked });
        read.advisories.extend_from_slice(closes);
        read.completed()
    };
    // A damaged extract was thrown away, and made anew the second time. Without a cache nothing can be damaged.
    all(asked.cache).or_else(|| all(asked.cache)).or_else(|| all(None)).unwrap_or_default()
}

/// What feeds and extracts say, each for itself.
fn pieces(given: &[PathBuf], own: &[PathBuf], asked: Asked<'_>) -> Read {
    let Asked { inventory, now, progress, .. } = asked;
    let release = &inventory.system.release;
    let installed = LazyCell::new(|| Installed::of(inventory, asked.with_fixed));
    let extracts = asked.cache.filter(|_| !given.is_empty() || !own.is_empty()).and_then(Extracts::open);
    let mut read = Read::default();
    for path in lifecycle_files(Path::new(&inventory.root), release) {
        read.take(file(&path, release));
    }
    let all = own.iter().map(|path| (path, false)).chain(given.iter().map(|path| (path, true)));
    for (path, is_given) in all {
        progress.tell(&format!("reading {}", path.display()));
        if is_given && path.is_dir() {
            let mut feed = directory(path, release);
            feed.problems.extend(suspicions(path, &About::new(&feed, release), &feed.signals, release, now));
            read.take(feed);
            continue;
        }
        let opened = match open(path) {
            Ok(opened) => opened,
            Err(error) => {
                read.problems.push(Problem::new("open feed", path.to_string_lossy(), error));
                continue;
            }
        };
        // What came through a pipe comes only once.
        let kept_in = extracts.as_ref().filter(|_| path.is_file());
        let slot = kept_in.and_then(|extracts| extracts.slot(path, &opened, release, now));
        let (slot, kept) = match slot.map(|slot| looked_up(slot, &installed)) {
            Some(Ok(kept)) => (None, Some(kept)),
            Some(Err(slot)) => (Some(slot), None),
            None => (None, None),
        };
        if let Some((slot, extract, advisories)) = kept {
            let about = extract.about();
            read.problems.extend(about.problems.iter().cloned());
            if is_given {
                read.problems.extend(suspicions(path, about, &Signals::default(), release, now));
            }
            read.advisories.extend(advisories);
            read.pieces.push(Piece::Extract { extract, slot });
            continue;
        }
        let mut feed = format::read(None, &path.to_string_lossy(), &opened, Some(release));
        let same = |slot: &Slot| {
            let again = extracts.as_ref()?.slot(path, &opened, release, now)?;
            (again.key == slot.key).then_some(())
        };
        // A feed that was written to while it was read is not what its time of change says.
        if let Some(slot) = slot.filter(|slot| same(slot).is_some())
            && let Some(bytes) = extract::write(&feed, release, &slot.key)
        {
            // A full disk costs the time that an extract would save, nothing else.
            let _ = slot.keep(&bytes);
        }
        if is_given {
            feed.problems.extend(suspicions(path, &About::new(&feed, release), &feed.signals, release, now));
        }
        read.take(feed);
    }
    read
}

/// Installed packages by the names under which records may speak of them.
struct Installed<'a> {
    host: Host<'a>,
    sources: HashMap<Cow<'a, str>, Vec<&'a Package>>,
    binaries: HashMap<Cow<'a, str>, Vec<&'a Package>>,
    with_fixed: bool,
}

impl<'a> Installed<'a> {
    /// `with_fixed`: every record about an installed package is wanted.
    fn of(inventory: &'a Inventory, with_fixed: bool) -> Self {
        let host = Host::new(inventory);
        let by_name = || HashMap::with_capacity(inventory.packages.len());
        let mut installed = Self { host, sources: by_name(), binaries: by_name(), with_fixed };
        for package in &inventory.packages {
            for (kind, name) in names(package) {
                let by_name = match kind {
                    NameKind::Source => &mut installed.sources,
                    NameKind::Binary => &mut installed.binaries,
                };
                by_name.entry(name).or_default().push(package);
            }
        }
        installed
    }

    fn wanted(&self, kind: NameKind, name: &str) -> Wanted {
        let by_name = match kind {
            NameKind::Source => &self.sources,
            NameKind::Binary => &self.binaries,
        };
        let Some(packages) = by_name.get(name) else { return Wanted::None };
        // Where more than its version decides about any of them, all records are wanted.
        let version = |package: &&'a Package| {
            let installed = self.host.installed(package, kind, name)?;
            let version = self.host.order()?.parse(&installed.version).ok()?;
            installed.is_judged_by_version().then_some(version)
        };
        let versions: Option<Vec<Version>> = packages.iter().map(version).collect();
        let oldest = versions.filter(|_| !self.with_fixed).and_then(|versions| versions.into_iter().min());
        oldest.map_or(Wanted::All, Wanted::NotFixedAt)
    }
}

/// What the extract in `slot` says about installed packages; the slot alone if there is none, or a damaged one.
fn looked_up(slot: Slot, installed: &Installed<'_>) -> Result<(Slot, Extract<File>, Vec<Advisory>), Slot> {
    let look = || {
        let mut extract = slot.open()?;
        let advisories = extract.advisories(|kind, name| installed.wanted(kind, name))?;
        Some((extract, advisories))
    };
    match look() {
        Some((extract, advisories)) => Ok((slot, extract, advisories)),
        None => Err(slot),
    }
}

impl Read {
    fn take(&mut self, feed: Feed) {
        self.advisories.extend(feed.advisories);
        self.pieces.push(Piece::Signals(feed.signals));
        self.lifecycle.merge(feed.lifecycle);
        self.problems.extend(feed.problems);
    }

    /// Adds what extracts know of the CVEs that advisories name: other advisories about them, which may say that a hole is
    /// in other packages only, or is fixed; and their CVSS vectors. `None` if an extract is damaged; it is thrown away.
    fn completed(mut self) -> Option<Self> {
        let cves: BTreeSet<String> =
            self.advisories.iter().flat_map(Advisory::cves).map(str::to_owned).collect();
        let mut damaged = false;
        for piece in std::mem::take(&mut self.pieces) {
            match piece {
                Piece::Signals(signals) => self.signals.merge(signals),
                Piece::Extract { mut extract, slot } => {
                    if let Some((advisories, signals)) = named(&mut extract, &cves) {
                        self.advisories.extend(advisories);
                        self.signals.merge(signals);
                    } else {
                        slot.clear();
                        damaged = true;
                    }
                }
            }
        }
        (!damaged).then_some(self)
    }
}

/// What an extract knows of CVEs; `None` if it is damaged.
fn named(extract: &mut Extract<File>, cves: &BTreeSet<String>) -> Option<(Vec<Advisory>, Signals)> {
    let (mut advisories, mut signals) = (Vec::new(), Signals::default());
    for cve in cves {
        advisories.extend(extract.naming(cve)?);
        let vectors = extract.vectors(cve)?;
        if !vectors.is_empty() {
            signals.cvss.insert(cve.clone(), vectors);
        }
    }
    Some((advisories, signals))
}

/// Opens a feed. What is no regular file, a pipe above all, is read to its end into a file of its own: formats are told
/// apart, and archives read, from more than one place.
fn open(path: &Path) -> io::Result<File> {
    // A pipe that nobody writes to yet must not keep us from hearing that we are to stop.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let kind = file.metadata()?;
    if kind.is_file() || kind.is_dir() { Ok(file) } else { spool(file, PIPE_BYTES_MAX) }
}

/// All that comes out of `pipe`, in a file without a name.
fn spool(mut pipe: File, bytes_max: u64) -> io::Result<File> {
    let mut spooled = tempfile::tempfile()?;
    let mut chunk = vec![0; PIPE_CHUNK_BYTES];
    let mut bytes = 0;
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    loop {
        if agent::program::is_stopped() {
            return Err(io::Error::other("interrupted"));
        }
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&patience)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let count = match pipe.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
            Err(error) => return Err(error),
        };
        bytes += count as u64;
        if bytes > bytes_max {
            let reason = format!("a pipe that gives more than {bytes_max} bytes; give a file");
            return Err(io::Error::other(reason));
        }
        spooled.write_all(&chunk[..count])?;
    }
    spooled.rewind()?;
    Ok(spooled)
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
fn suspicions(
    path: &Path,
    about: &About,
    signals: &Signals,
    release: &Release,
    now: Timestamp,
) -> Vec<Problem> {
    let name = path.to_string_lossy();
    let today = TimeZone::UTC.to_datetime(now).date();
    let mut problems = Vec::new();
    if !about.releases.is_empty() && !about.speaks {
        let others: Vec<String> = about.releases.iter().map(ToString::to_string).collect();
        let reason =
            format!("it is about {}, and this host is {release}: it says nothing here", others.join(", "));
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
    if let Some(newest) = about.newest
        && about.records >= RECORDS_MIN
        && days_since(newest) > FEED_DAYS_MAX
    {
        problems.push(stale("its newest record", days_since(newest)));
    }
    if let Some(released) = signals.kev_released
        && days_since(released) > FEED_DAYS_MAX
    {
        problems.push(stale("the KEV catalogue", days_since(released)));
    }
    if let Some(date) = signals.epss_date
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
    let releases = if release.family == Family::Ubuntu { UBUNTU_RELEASES } else { DEBIAN_RELEASES };
    [releases, SUPPORT_LIMITED, ended.as_str()]
        .into_iter()
        .filter_map(|file| {
            [root.join(file), Path::new("/").join(file)].into_iter().find(|path| path.is_file())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_is_read_to_its_end_and_not_beyond_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("feed");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let given = b"0123456789".repeat(20_000);
        let writer = std::thread::spawn({
            let (path, given) = (path.clone(), given.clone());
            move || {
                // Longer than one look lasts: a pipe without a writer is not at its end.
                std::thread::sleep(PATIENCE * 3);
                let mut pipe = OpenOptions::new().write(true).open(path).unwrap();
                pipe.write_all(&given).unwrap();
            }
        });
        let mut had = Vec::new();
        open(&path).unwrap().read_to_end(&mut had).unwrap();
        writer.join().unwrap();
        assert_eq!((had.len(), had == given), (given.len(), true));
        let endless = File::open("/dev/zero").unwrap();
        assert!(spool(endless, 100_000).unwrap_err().to_string().contains("give a file"));
    }
}
