//! The agent's directory: who the host is, what it has still to tell, what it kept. Everything the agent writes is here.
//!
//! Files are replaced in one step and reach the disk before they count, so that a crash leaves the old one or the new
//! one. Nobody but the owner may read the directory: the host's key lies in it.

use crate::identity::{Identity, Key};
use rollout::plan;
use rustix::fs::{Gid, Uid};
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where it is unless told otherwise.
pub const DIRECTORY: &str = "/var/lib/palisade-agent";

/// The host's identity, whole: one file, so that it cannot be there by half.
const IDENTITY: &str = "identity.json";
/// The key of the certificate that was asked for last; there from before the question until the answer is kept.
const NEXT_KEY: &str = "next.key";
/// What stands for the machine's id where it has none.
const MACHINE: &str = "machine";
/// How the agent is.
pub(crate) const STATUS: &str = "status.json";
/// Fetched changelogs.
pub(crate) const CACHE: &str = "cache";
/// Reports that wait.
pub(crate) const SPOOL: &str = "spool";
/// What is known of those who may sign: roots, and the newest versions seen.
pub(crate) const TRUST: &str = "trust";
/// Plans and words that were verified, by their digests.
pub(crate) const PLANS: &str = "plans";
/// Where the host's job stands.
pub(crate) const JOURNAL: &str = "journal.json";
/// Packages' files, by their digests.
pub(crate) const PACKAGES: &str = "packages";
/// What the dry hand pretends to have done.
pub(crate) const PRETENCE: &str = "dry.json";
/// How the dry hand is to fail.
pub(crate) const FAULTS: &str = "dry-faults.json";
/// What was seen of jobs that are over.
pub(crate) const EVIDENCE: &str = "evidence";
/// How services did that a plan's attempts are replayed to: before the change, and after it.
pub(crate) const REPLAY: &str = "replay.json";
/// The terms of the fleet's census, with its key.
pub(crate) const CENSUS_TERMS: &str = "census.json";
/// How far logs were read, and what was counted in them.
pub(crate) const CENSUS: &str = "census.state";
/// The same, where it was damaged.
const CENSUS_DAMAGED: &str = "census.state.damaged";
/// Everything that the agent writes, or is given there.
const NAMES: [&str; 17] = [
    IDENTITY,
    NEXT_KEY,
    MACHINE,
    STATUS,
    CACHE,
    SPOOL,
    TRUST,
    PLANS,
    JOURNAL,
    PACKAGES,
    PRETENCE,
    FAULTS,
    EVIDENCE,
    REPLAY,
    CENSUS_TERMS,
    CENSUS,
    CENSUS_DAMAGED,
];
/// Bytes of a small file: 1 MiB, a hundred times a chain of certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The agent's directory.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    /// Whose files they are to be, where that is not us: root enrols, and the service reads.
    owner: Option<(Uid, Gid)>,
}

/// Held by the one agent, or the one command, that may change the directory.
#[derive(Debug)]
pub struct Lock {
    _directory: File,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing there.
    #[error("open {0}: this host is not enrolled; enrol it with \"palisade agent enroll\"")]
    NotEnrolled(PathBuf),
    /// The first certificate was asked for, and never came.
    #[error(
        "open {0}: enrolment was begun and not finished: there is a key and no certificate; repeat \
         \"palisade agent enroll\" with a new token"
    )]
    HalfThere(PathBuf),
    /// Others may read it.
    #[error(
        "open {path}: others may read it (mode {mode:03o}), and a key lies in it; chmod {wanted:03o} {path}"
    )]
    Loose {
        /// The directory, or a file in it.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// It belongs to another user.
    #[error("open {path}: it belongs to user {owner}; run as that user, or as root")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The owner's id.
        owner: u32,
    },
    /// Another agent works in it.
    #[error("lock {0}: an agent is running on it; stop that one first")]
    Busy(PathBuf),
    /// A file does not say what it should.
    #[error(
        "read {path}: {reason}; enrol this host again: \"palisade agent uninstall\", then \"palisade agent enroll\""
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It holds what the agent did not put there.
    #[error(
        "remove {path}: the agent did not put that there; remove it yourself, or name the agent's directory"
    )]
    Strange {
        /// What that is.
        path: PathBuf,
    },
    /// The system says no.
    #[error("{operation} {path}: {reason}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

impl State {
    /// Opens a directory that is there.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let path = directory.to_owned();
        let found = match std::fs::metadata(directory) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Error::NotEnrolled(path)),
            Err(reason) => return Err(Error::System { operation: "open", path, reason }),
        };
        if !found.is_dir() {
            return Err(Error::Broken { path, reason: "it is no directory".to_owned() });
        }
        let us = rustix::process::geteuid();
        let is_ours = found.uid() == us.as_raw();
        if !is_ours && !us.is_root() {
            return Err(Error::Foreign { path, owner: found.uid() });
        }
        check_mode(directory, &found, 0o700)?;
        let owner = (!is_ours).then(|| (Uid::from_raw(found.uid()), Gid::from_raw(found.gid())));
        Ok(Self { directory: path, owner })
    }

    /// Opens a directory, or makes it.
    pub fn create(directory: &Path) -> Result<Self, Error> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|reason| Error::System { operation: "make", path: directory.to_owned(), reason })?;
        Self::open(directory)
    }

    /// Its path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Keeps every other agent out until the lock is dropped. Works on a read-only file system too.
    pub fn lock(&self) -> Result<Lock, Error> {
        let failed = |reason| Error::System { operation: "lock", path: self.directory.clone(), reason };
        let directory = File::open(&self.directory).map_err(failed)?;
        match directory.try_lock() {
            Ok(()) => Ok(Lock { _directory: directory }),
            Err(TryLockError::WouldBlock) => Err(Error::Busy(self.directory.clone())),
            Err(TryLockError::Error(reason)) => Err(failed(reason)),
        }
    }

    /// Who the host is. Errors unless it is enrolled, and everything of its identity fits together.
    pub fn identity(&self) -> Result<Identity, Error> {
        let path = self.path(IDENTITY);
        let bytes = self.read_small(IDENTITY)?;
        let Some(bytes) = bytes else {
            let begun = self.path(NEXT_KEY).exists();
            let missing = if begun { Error::HalfThere } else { Error::NotEnrolled };
            return Err(missing(self.directory.clone()));
        };
        let broken = |reason: String| Error::Broken { path: path.clone(), reason };
        let identity: Identity =
            serde_json::from_slice(&bytes).map_err(|problem| broken(problem.to_string()))?;
        identity.check().map_err(|problem| broken(problem.to_string()))?;
        Ok(identity)
    }

    /// Whether there is an identity, whatever its state.
    pub fn is_enrolled(&self) -> bool {
        self.path(IDENTITY).exists()
    }

    /// Replaces the identity. From here on the next key is the key.
    pub(crate) fn keep_identity(&self, identity: &Identity) -> Result<(), Error> {
        let bytes = serde_json::to_vec(identity).expect("text fields only");
        self.keep(IDENTITY, &bytes, Durable::Yes).map_err(|reason| self.not_written(IDENTITY, reason))?;
        // Left behind, it does no harm: a key that is in use already is not used for the next certificate.
        let _ = std::fs::remove_file(self.path(NEXT_KEY));
        Ok(())
    }

    /// The key for the next certificate: the one that was made for it and never answered, or a new one. It is on the disk
    /// before it is used, so that an answer that was lost with us can be asked for again.
    pub(crate) fn next_key(&self, present: Option<&Key>) -> Result<Key, Error> {
        if let Some(bytes) = self.read_small(NEXT_KEY)?
            && let Some(key) = std::str::from_utf8(&bytes).ok().and_then(|pem| Key::from_pem(pem).ok())
            && present.is_none_or(|present| present.public() != key.public())
        {
            return Ok(key);
        }
        let key = Key::make().map_err(|reason| self.not_written(NEXT_KEY, io::Error::other(reason)))?;
        let kept = self.keep(NEXT_KEY, key.pem().as_bytes(), Durable::Yes);
        kept.map_err(|reason| self.not_written(NEXT_KEY, reason))?;
        Ok(key)
    }

    /// A number of our own, for a machine that has no id: drawn once.
    pub(crate) fn own_machine(&self) -> Result<Vec<u8>, Error> {
        if let Some(number) = self.read_small(MACHINE)? {
            return Ok(number);
        }
        let mut number = vec![0; 32];
        let drawn = getrandom::fill(&mut number).map_err(io::Error::other);
        let kept = drawn.and_then(|()| self.keep(MACHINE, &number, Durable::Yes));
        kept.map_err(|reason| self.not_written(MACHINE, reason))?;
        Ok(number)
    }

    /// Forgets the root of an enrolment that was never finished: no plan was believed by it.
    pub(crate) fn forget_trust(&self) -> Result<(), Error> {
        let path = self.path(TRUST);
        match std::fs::remove_dir_all(&path) {
            Err(reason) if reason.kind() != ErrorKind::NotFound => {
                Err(Error::System { operation: "remove", path, reason })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes the directory and everything of the agent's in it. Errors, and removes nothing, if somebody else's things
    /// are there too.
    pub fn wipe(self) -> Result<(), Error> {
        let failed = |reason| Error::System { operation: "remove", path: self.directory.clone(), reason };
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if !is_unfinished(&name) && !NAMES.iter().any(|ours| *ours == name) {
                return Err(Error::Strange { path: self.directory.join(name) });
            }
        }
        // systemd keeps the directory of a dynamic user elsewhere, and leaves a link.
        let real = std::fs::canonicalize(&self.directory).map_err(failed)?;
        std::fs::remove_dir_all(&real).map_err(failed)?;
        if std::fs::symlink_metadata(&self.directory).is_ok() {
            std::fs::remove_file(&self.directory).map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.join(name)
    }

    /// A folder in the directory, made if it is not there.
    pub(crate) fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path(name);
        if !path.is_dir() {
            DirBuilder::new().mode(0o700).create(&path)?;
            self.give(&File::open(&path)?)?;
        }
        Ok(path)
    }

    /// Writes a file, in one step and for its owner's eyes only.
    pub(crate) fn keep(&self, name: impl AsRef<Path>, bytes: &[u8], durable: Durable) -> io::Result<()> {
        let path = self.path(name);
        let folder = path.parent().unwrap_or(&self.directory);
        // Made with mode 0600; gone by itself if anything below fails.
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
        file.write_all(bytes)?;
        self.give(file.as_file())?;
        if durable == Durable::Yes {
            file.as_file().sync_all()?;
        }
        file.persist(&path).map_err(|error| error.error)?;
        if durable == Durable::Yes {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    /// The bytes of a file, up to `bytes_max`; `None` if there is none.
    pub(crate) fn read(&self, name: impl AsRef<Path>, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::other(format!("it has more than {bytes_max} bytes")));
        }
        Ok(Some(bytes))
    }

    /// A small file with secrets in it.
    fn read_small(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(name);
        if let Ok(found) = std::fs::metadata(&path) {
            check_mode(&path, &found, 0o600)?;
        }
        self.read(name, FILE_BYTES_MAX).map_err(|reason| Error::System { operation: "read", path, reason })
    }

    fn give(&self, file: &File) -> io::Result<()> {
        let Some((user, group)) = self.owner else { return Ok(()) };
        Ok(rustix::fs::fchown(file, Some(user), Some(group))?)
    }

    fn not_written(&self, name: &str, reason: io::Error) -> Error {
        Error::System { operation: "write", path: self.path(name), reason }
    }
}

/// How files begin that were not finished.
pub(crate) const TEMPORARY: &str = ".unfinished-";

/// Whether a file must have reached the disk before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    Yes,
    No,
}

fn check_mode(path: &Path, found: &Metadata, wanted: u32) -> Result<(), Error> {
    let mode = found.mode() & 0o777;
    let is_private = mode | 0o700 == 0o700;
    if is_private { Ok(()) } else { Err(Error::Loose { path: path.to_owned(), mode, wanted }) }
}

/// Whether a file of ours was not finished.
pub(crate) fn is_unfinished(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
}

/// What a package's file is called among those kept by their digests ([`PACKAGES`]).
pub(crate) fn kept_name(file: &plan::File) -> String {
    format!("{}.deb", file.sha256)
}

/// What is in a folder; nothing where it cannot be read.
pub(crate) fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The newest files of a folder; the others are removed.
pub(crate) fn keep_newest(folder: &Path, files_max: usize) -> Vec<PathBuf> {
    let time = |path: &Path| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    let mut files: Vec<_> = entries(folder).filter_map(|path| Some((time(&path)?, path))).collect();
    files.sort();
    let old = files.len().saturating_sub(files_max);
    for (_, path) in files.drain(..old) {
        let _ = std::fs::remove_file(path);
    }
    files.into_iter().map(|(_, path)| path).collect()
}
