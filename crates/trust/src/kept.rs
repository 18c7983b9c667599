//! What a host remembers: one file, replaced in one step, so that a crash leaves the old memory or the new one. A version
//! floor that is lost by half would let an old plan pass.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// The file's name.
const FILE: &str = "trusted.json";
/// Bytes of the file: a root, a timestamp and a snapshot, each at its largest, as JSON in JSON (at most six bytes
/// for one).
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Documents as they came, and the newest moment at which all was well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) root: String,
    #[serde(default)]
    pub(crate) timestamp: Option<String>,
    #[serde(default)]
    pub(crate) snapshot: Option<String>,
    /// When an update last succeeded. The clock is not to go back behind it.
    #[serde(default)]
    pub(crate) latest: Option<Timestamp>,
}

impl Kept {
    /// Reads the memory in `directory`; `None` when there is none yet. A damaged one is an error: to begin anew would be
    /// to forget the floors.
    pub(crate) fn read(directory: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(directory.join(FILE)) {
            Ok(file) => file,
            Err(problem) if problem.kind() == ErrorKind::NotFound => return Ok(None),
            Err(problem) => return Err(problem),
        };
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
        Ok(Some(serde_json::from_slice(&text)?))
    }

    pub(crate) fn write(&self, directory: &Path) -> io::Result<()> {
        replace(directory, FILE, &serde_json::to_vec(self)?)
    }
}

/// Replaces `directory/name` in one step; on the disk when this returns.
pub(crate) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(directory.join(name))?;
    File::open(directory)?.sync_all()
}
