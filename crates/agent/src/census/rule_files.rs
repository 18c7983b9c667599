//! Files of rules that a user names, and directories of them.

use advisory::Problem;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file of rules that is larger is no such file: 4 MiB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Name and text of each file, in the order of their names; and what could not be read. Nothing hides anything else.
pub fn read(named: &[PathBuf]) -> (Vec<(String, Vec<u8>)>, Vec<Problem>) {
    let (mut found, mut texts, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for path in named {
        if path.is_dir() {
            gather(path, &mut found, &mut problems);
        } else {
            found.push(path.clone());
        }
    }
    for path in found {
        match text(&path) {
            Ok(text) => texts.push((path.display().to_string(), text)),
            Err(error) => problems.push(refused(&path, &error)),
        }
    }
    (texts, problems)
}

/// The files of rules in a directory and those below it.
fn gather(directory: &Path, found: &mut Vec<PathBuf>, problems: &mut Vec<Problem>) {
    let mut members = match fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
        Ok(members) => members,
        Err(error) => return problems.push(refused(directory, &error)),
    };
    members.sort_by_key(fs::DirEntry::path);
    for member in members {
        let path = member.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        // Linked directories are not followed: they may lead round in a circle. CrowdSec links the files of its hub.
        if member.file_type().is_ok_and(|kind| kind.is_dir()) {
            gather(&path, found, problems);
        } else if ["yaml", "yml", "conf"].contains(&ending) && !path.is_dir() {
            found.push(path);
        }
    }
}

fn text(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other("it is larger than 4 MiB; leave it out"));
    }
    Ok(text)
}

fn refused(path: &Path, error: &io::Error) -> Problem {
    Problem::new("read rules", path.display().to_string(), error)
        .remedy("name a file or a directory of rules")
}
