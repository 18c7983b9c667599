//! Copies of a system's directories in a scratch root, of bounded size.

use super::root::Root;
use std::io;
use std::path::Path;

/// Metadata of a whole distribution is 200 MB, packed; ten times that.
const BYTES_MAX: u64 = 2 << 30;

/// Copies directories of one system into one scratch root.
#[derive(Debug)]
pub(super) struct Copying<'a> {
    root: &'a Root,
    scratch: &'a Path,
    bytes_left: u64,
}

impl<'a> Copying<'a> {
    pub(super) fn new(root: &'a Root, scratch: &'a Path) -> Self {
        Self { root, scratch, bytes_left: BYTES_MAX }
    }

    /// Copies the files of a directory, not those below it; nothing where there is none. `keeps_age`: with the moments at which they
    /// were written.
    pub(super) fn directory(&mut self, directory: &str, keeps_age: bool) -> io::Result<()> {
        let Ok(names) = self.root.list(directory) else { return Ok(()) };
        let target = self.scratch.join(directory.trim_start_matches('/'));
        std::fs::create_dir_all(&target)?;
        for name in names {
            let Ok(file) = self.root.file(Path::new(directory).join(&name)) else { continue };
            let modified = file.metadata().and_then(|metadata| metadata.modified());
            let mut copy = std::fs::File::create(target.join(&name))?;
            let copied = io::copy(&mut io::Read::take(file, self.bytes_left.saturating_add(1)), &mut copy)?;
            self.bytes_left = self
                .bytes_left
                .checked_sub(copied)
                .ok_or_else(|| io::Error::other(format!("larger than {BYTES_MAX} bytes")))?;
            if keeps_age {
                copy.set_modified(modified?)?;
            }
        }
        Ok(())
    }
}
