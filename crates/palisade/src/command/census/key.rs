//! The key that makes pseudonyms. It stays on the host; whoever has it can tell what addresses they stand for.

use crate::home;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use traffic::census::Key;

const KEY_BYTES: usize = 32;

/// The key in `named`, or the user's own, which is made when it is first needed.
pub(super) fn key(named: Option<&Path>) -> Result<Key> {
    if let Some(path) = named {
        return read(path).with_context(|| format!("read key {}", path.display()));
    }
    let Some(path) = own() else {
        bail!(
            "nowhere to keep the key of pseudonyms: neither HOME nor XDG_STATE_HOME is set; give --key FILE"
        );
    };
    match read(&path) {
        Err(error)
            if error
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.kind() == ErrorKind::NotFound) =>
        {
            make(&path).with_context(|| format!("make key {}; give one with --key FILE", path.display()))
        }
        read => read.with_context(|| format!("read key {}", path.display())),
    }
}

fn read(path: &Path) -> Result<Key> {
    let bytes = fs::read(path)?;
    let length = bytes.len();
    let Ok(bytes) = <[u8; KEY_BYTES]>::try_from(bytes) else {
        bail!("it has {length} bytes, not {KEY_BYTES}; make one: head -c 32 /dev/urandom > FILE");
    };
    Ok(Key::new(bytes))
}

/// Two programs that make it at once end up with the same one: the file appears whole, and only once.
fn make(path: &Path) -> Result<Key> {
    let directory = path.parent().context("it has no directory")?;
    fs::create_dir_all(directory)?;
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes)?;
    // Only its owner may read it: that is how temporary files are made.
    let mut fresh = tempfile::NamedTempFile::new_in(directory)?;
    fresh.write_all(&bytes)?;
    fresh.as_file().sync_all()?;
    match fresh.persist_noclobber(path) {
        Ok(_) => Ok(Key::new(bytes)),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(error.error.into()),
    }
}

/// `$XDG_STATE_HOME/palisade/census.key`, `~/.local/state/palisade/census.key`.
fn own() -> Option<PathBuf> {
    home::directory("XDG_STATE_HOME", ".local/state").map(|state| state.join("palisade/census.key"))
}
