//! The key that opens the authority's own. It lies in a file outside of the store, so that whoever gets the store, or a
//! backup of it, does not have the authority.

use super::Error;
use crate::seal::{Seal, unhex};
use advisory::digest::hex;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of the file: 64 hex digits and the end of the line, twice over.
const FILE_BYTES_MAX: u64 = 130;

/// Reads the key; `None` if there is no file.
pub(super) fn read(path: &Path) -> Result<Option<Seal>, Error> {
    let wrong = |reason: String| Error::KeyFile { file: path.display().to_string(), reason };
    let file = match File::open(path) {
        Err(problem) if problem.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|problem| wrong(problem.to_string()))?,
    };
    let mode = file.metadata().map_err(|problem| wrong(problem.to_string()))?.mode();
    if mode & 0o077 != 0 {
        return Err(wrong(format!("others may read it (mode {:o}); run \"chmod 600\" on it", mode & 0o777)));
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|problem| wrong(problem.to_string()))?;
    let key = unhex(text.trim()).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let key = key.ok_or_else(|| wrong("it does not hold 64 hex digits".to_owned()))?;
    Ok(Some(Seal::new(&key)))
}

/// Reads the key; makes it where there is none.
pub(super) fn read_or_make(path: &Path) -> Result<Seal, Error> {
    if let Some(seal) = read(path)? {
        return Ok(seal);
    }
    let wrong = |reason: String| Error::KeyFile { file: path.display().to_string(), reason };
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|problem| wrong(problem.to_string()))?;
    write(path, &key).map_err(|problem| wrong(problem.to_string()))?;
    Ok(Seal::new(&key))
}

/// It must be there for good before anything is sealed with it.
fn write(path: &Path, key: &[u8; 32]) -> std::io::Result<()> {
    let new = path.with_added_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(file, "{}", hex(key))?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}
