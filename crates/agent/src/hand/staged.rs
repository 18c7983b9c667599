//! Files laid out for one transaction, under the names that the package manager has for them.

use std::io;
use std::path::{Path, PathBuf};

/// A directory with links to files that were kept; gone when it is dropped.
#[derive(Debug)]
pub(super) struct Staged {
    directory: tempfile::TempDir,
    files: Vec<PathBuf>,
}

impl Staged {
    /// Beside `packages`, so that files can be linked into it.
    pub(super) fn new(packages: &Path) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix(".unfinished-").tempdir_in(packages)?;
        Ok(Self { directory, files: Vec::new() })
    }

    /// Links a kept file into it.
    pub(super) fn link(&mut self, kept: &Path, name: &str) -> io::Result<()> {
        let file = self.directory().join(name);
        std::fs::hard_link(kept, &file)?;
        self.files.push(file);
        self.files.sort();
        Ok(())
    }

    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The packages' files in it, sorted.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }
}
