//! Extracts of feeds that were read before, kept in the cache directory. Nothing here fails: without an extract the feed
//! is read, and an extract that cannot be kept is made again.

use advisory::Release;
use advisory::digest::hex;
use advisory::extract::{Extract, Key};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Changes with everything that makes an extract of the same feed mean something else.
const LAYOUT: &str = concat!("palisade.extract/1 ", env!("CARGO_PKG_VERSION"));

/// Bytes of an extract that is used: one of all Ubuntu releases' 515 MB zip would have some 200 MB.
const EXTRACT_BYTES_MAX: u64 = 1 << 30;

/// A feed written within this time may be written again without a new time of change: file systems count in up to two
/// seconds (FAT).
const SETTLED_MS: i64 = 2_000;

/// The directory of extracts.
#[derive(Debug)]
pub(super) struct Extracts {
    directory: PathBuf,
    /// Which build of this program it is: another one may read feeds otherwise.
    program: String,
}

/// Where the extract of one feed lies, and what it must be made from.
#[derive(Debug)]
pub(super) struct Slot {
    path: PathBuf,
    pub(super) key: Key,
}

impl Extracts {
    /// The extracts in the cache directory `cache`; `None` where others could write into them.
    pub(super) fn open(cache: &Path) -> Option<Self> {
        let directory = cache.join("feeds");
        if std::fs::symlink_metadata(&directory).is_err() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
        }
        let found = std::fs::symlink_metadata(&directory).ok()?;
        if !found.is_dir() || !is_ours(&found) {
            return None;
        }
        let program = identity(&std::fs::metadata(std::env::current_exe().ok()?).ok()?);
        Some(Self { directory, program })
    }

    /// The slot of the feed in `file`, which was opened as `path`; `None` if it changed a moment before `now`.
    pub(super) fn slot(&self, path: &Path, file: &File, release: &Release, now: Timestamp) -> Option<Slot> {
        let found = file.metadata().ok().filter(Metadata::is_file)?;
        let age_ms = now.as_millisecond().checked_sub(found.mtime().checked_mul(1000)?)?;
        if age_ms < SETTLED_MS {
            return None;
        }
        // The path as it was given is part of it: every explanation names it.
        let given = path.to_string_lossy();
        let whole = std::fs::canonicalize(path).ok()?;
        let place = digest(&[&given, &whole.to_string_lossy(), &release.to_string()]);
        let name = hex(&place[..16]);
        let key = digest(&[LAYOUT, &self.program, &given, &identity(&found), &release.to_string()]);
        Some(Slot { path: self.directory.join(name), key })
    }
}

impl Slot {
    /// The extract kept here, unless somebody else could have written it.
    pub(super) fn open(&self) -> Option<Extract<File>> {
        let flags = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).ok()?;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(&self.path).ok()?;
        let found = file.metadata().ok()?;
        if !found.is_file() || !is_ours(&found) || found.len() > EXTRACT_BYTES_MAX {
            return None;
        }
        Extract::open(file, &self.key)
    }

    /// Throws away what is kept here.
    pub(super) fn clear(&self) {
        // Where it cannot be removed, it is found damaged again.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Keeps `bytes` here, in one step: a reader sees the old ones or these.
    pub(super) fn keep(&self, bytes: &[u8]) -> std::io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        // Made with mode 0600; gone by itself if anything below fails.
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(bytes)?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }
}

/// Whether nobody but us (and root) can have written there.
fn is_ours(found: &Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
}

/// What changes when a file is replaced or written to. The time of change cannot be set back.
fn identity(found: &Metadata) -> String {
    format!(
        "{}:{} {} {}.{:09} {}.{:09}",
        found.dev(),
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec()
    )
}

/// SHA-256 of texts, each with its length, so that no two lists look the same.
fn digest(parts: &[&str]) -> Key {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}
