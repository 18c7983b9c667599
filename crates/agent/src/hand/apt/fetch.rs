//! The files of a class, new and old, into the directory of this half: from apt's cache or from archives that the host
//! trusts, and kept only with the very digests that approvers have signed.

use super::command::{download, update};
use crate::apt::cached_name;
use crate::hand::order::Order;
use crate::hand::place::Place;
use crate::job::sight::sha256_of;
use crate::program::Program;
use crate::state::kept_name;
use advisory::Problem;
use rollout::plan::{Digest, File, HostClass};
use sha2::{Digest as _, Sha256};
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where apt keeps what it downloads.
const CACHE: &str = "/var/cache/apt";
/// How long another program's lock on indexes is waited for: apt itself waits only for dpkg's.
const LISTS_WITHIN: Duration = Duration::from_secs(300);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(3);
/// Reasons that are told, package by package.
const REASONS_MAX: usize = 3;
/// Bytes copied at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// One file, as apt asks for it.
#[derive(Debug)]
struct Wanted {
    /// `name:arch=version`
    name: String,
    /// As apt's cache names it.
    cached: String,
    file: File,
}

/// Fetches what is missing. Errors name what could not be had, and why.
pub(in crate::hand) fn fetch(
    place: &Place,
    order: &Order,
    class: &HostClass,
    told: &mut Vec<String>,
) -> Result<(), Problem> {
    place.sweep();
    let packages = place.packages();
    let mut missing = missing(&packages, class);
    missing.retain(|wanted| {
        keep(&Path::new(CACHE).join("archives").join(&wanted.cached), &packages, &wanted.file).is_err()
    });
    if missing.is_empty() {
        return Ok(());
    }
    let directory = downloads().map_err(|problem| {
        order.refused(format!("no place to download to: {problem}")).remedy("free some space")
    })?;
    // The indexes that lie here name what is wanted, as a rule, and whether it is that the digest says: they are read anew
    // only where a file does not come.
    let names: Vec<String> = missing.iter().map(|wanted| wanted.name.clone()).collect();
    let _ = waiting(&download(&names).directory(directory.path()));
    take(directory.path(), &packages, &mut missing);
    if missing.is_empty() {
        return Ok(());
    }
    // What an index says does not count in the end. So one archive of many that cannot be read is no reason to stop, as long
    // as the files come.
    let updated = waiting(&update());
    if let Err(reason) = &updated {
        told.push(format!("not all archives could be read: {reason}"));
    }
    let failed = |reason: String| {
        let reason = match &updated {
            Err(why) => format!("{reason}; not all archives could be read: {why}"),
            Ok(()) => reason,
        };
        order
            .refused(reason)
            .remedy("it is tried again; see whether the archive has the file, and the network")
    };
    let names: Vec<String> = missing.iter().map(|wanted| wanted.name.clone()).collect();
    let mut reasons = Vec::new();
    let at_once = waiting(&download(&names).directory(directory.path()));
    take(directory.path(), &packages, &mut missing);
    if at_once.is_err() {
        // One that is not to be had keeps apt from fetching the others: each by itself, then.
        for wanted in &missing {
            let alone = waiting(&download(std::slice::from_ref(&wanted.name)).directory(directory.path()));
            reasons.extend(alone.err().map(|reason| format!("{}: {reason}", wanted.name)));
        }
        take(directory.path(), &packages, &mut missing);
    }
    if missing.is_empty() {
        return Ok(());
    }
    let other = |wanted: &Wanted| format!("{} is not the file that was signed for", wanted.name);
    if reasons.is_empty() {
        reasons.extend(missing.iter().map(other));
    }
    let count = missing.len();
    reasons.truncate(REASONS_MAX);
    Err(failed(format!("{count} files could not be had: {}", reasons.join("; "))))
}

/// The files that are not here.
fn missing(packages: &Path, class: &HostClass) -> Vec<Wanted> {
    let changes = class.changes.iter().flat_map(|change| {
        let new = Some((change, &change.to, &change.file));
        let old = change.from.as_ref().zip(change.back.as_ref()).map(|(from, back)| (change, from, back));
        [new, old].into_iter().flatten()
    });
    let is_here = |file: &File| {
        sha256_of(&packages.join(kept_name(file))).is_ok_and(|found| found == (file.sha256, file.size_bytes))
    };
    changes
        .filter(|(_, _, file)| !is_here(file))
        .map(|(change, version, file)| Wanted {
            name: format!("{}:{}={version}", change.name, change.arch),
            cached: cached_name(&change.name, version, &change.arch),
            file: file.clone(),
        })
        .collect()
}

/// Takes over every download that is wanted.
fn take(downloads: &Path, packages: &Path, missing: &mut Vec<Wanted>) {
    let files = std::fs::read_dir(downloads).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.is_file()) {
        missing.retain(|wanted| keep(&path, packages, &wanted.file).is_err());
    }
}

/// Copies a file here if it is the one: hashed while it is copied, since apt's download user may still write to the other.
fn keep(from: &Path, packages: &Path, wanted: &File) -> io::Result<()> {
    let mut source = std::fs::File::open(from)?;
    if source.metadata()?.len() != wanted.size_bytes {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut copy = tempfile::Builder::new().prefix(".unfinished-").tempfile_in(packages)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = source.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        let bytes = chunk.get(..count).unwrap_or_default();
        hash.update(bytes);
        copy.write_all(bytes)?;
    }
    if Digest(hash.finalize().into()) != wanted.sha256 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    copy.as_file().set_permissions(Permissions::from_mode(0o644))?;
    copy.as_file().sync_all()?;
    copy.persist(packages.join(kept_name(wanted)))?;
    std::fs::File::open(packages)?.sync_all()
}

/// Runs one of apt's fetching commands, and waits where another program holds the lock on indexes or downloads.
fn waiting(program: &Program) -> Result<(), String> {
    let end = Instant::now() + LISTS_WITHIN;
    loop {
        match program.run_ok() {
            Ok(_) => return Ok(()),
            Err(problem) => {
                let reason = problem.to_string();
                if !reason.contains("Could not get lock") || Instant::now() >= end {
                    return Err(reason);
                }
                std::thread::sleep(AGAIN);
            }
        }
    }
}

/// A directory for downloads, which apt's own download user may write to; it is gone when it is dropped.
fn downloads() -> io::Result<tempfile::TempDir> {
    let directory = tempfile::Builder::new().prefix("palisade-").tempdir_in(CACHE)?;
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    if let Some(user) = crate::user::id("_apt") {
        chown(directory.path(), Some(user), None)?;
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_file_that_was_signed_for_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (from, packages) = (directory.path().join("x.deb"), directory.path().join("packages"));
        std::fs::create_dir(&packages).unwrap();
        let wanted = File { sha256: Digest::of(b"signed"), size_bytes: 6 };
        std::fs::write(&from, "sagned").unwrap();
        assert!(keep(&from, &packages, &wanted).is_err());
        assert_eq!(std::fs::read_dir(&packages).unwrap().count(), 0, "nothing is left of it");
        std::fs::write(&from, "signed").unwrap();
        keep(&from, &packages, &wanted).unwrap();
        assert_eq!(std::fs::read(packages.join(kept_name(&wanted))).unwrap(), b"signed");
    }
}
