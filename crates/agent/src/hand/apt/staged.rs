//! Files laid out as apt's cache, for one transaction.

use std::io;
use std::path::{Path, PathBuf};

/// A directory that apt takes for its cache; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Staged(tempfile::TempDir);

impl Staged {
    /// Beside `packages`, so that files can be linked into it.
    pub(super) fn new(packages: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix(".unfinished-").tempdir_in(packages)?;
        // apt wants it, also where nothing is downloaded.
        std::fs::create_dir(directory.path().join("partial"))?;
        Ok(Self(directory))
    }

    pub(super) fn directory(&self) -> &Path {
        self.0.path()
    }

    /// The packages' files in it, sorted.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path()).into_iter().flatten().flatten();
        let is_package = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "deb");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_package).collect();
        files.sort();
        files
    }
}
