//! The files of a class from apt's cache, or from archives that the host trusts.

use super::command::{download, update};
use crate::apt::cached_name;
use crate::hand::kept::{Wanted, keep, missing, take, why};
use crate::hand::task::{Said, Task};
use crate::program::Program;
use advisory::Problem;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where apt keeps what it downloads.
const CACHE: &str = "/var/cache/apt";
/// How long another program's lock on indexes is waited for: apt itself waits only for dpkg's.
const LISTS_WITHIN: Duration = Duration::from_secs(300);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(3);

/// Fetches what is missing. Errors name what could not be had, and why.
pub(super) fn fetch(task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    let packages = task.place.packages();
    let mut missing = missing(&packages, task.class);
    missing.retain(|wanted| {
        let cached = cached_name(&wanted.name, &wanted.version, &wanted.arch);
        keep(&Path::new(CACHE).join("archives").join(cached), &packages, &wanted.file).is_err()
    });
    if missing.is_empty() {
        return Ok(());
    }
    let directory = downloads().map_err(|problem| {
        task.order.refused(format!("no place to download to: {problem}")).remedy("free some space")
    })?;
    // The indexes that lie here name what is wanted, as a rule, and whether it is that the digest says: they are read anew
    // only where a file does not come.
    let names: Vec<String> = missing.iter().map(exact).collect();
    let _ = waiting(&download(&names).directory(directory.path()));
    take(directory.path(), &packages, &mut missing);
    if missing.is_empty() {
        return Ok(());
    }
    // What an index says does not count in the end. So one archive of many that cannot be read is no reason to stop, as long
    // as the files come.
    let updated = waiting(&update());
    if let Err(reason) = &updated {
        said.told.push(format!("not all archives could be read: {reason}"));
    }
    let failed = |reason: String| {
        let reason = match &updated {
            Err(why) => format!("{reason}; not all archives could be read: {why}"),
            Ok(()) => reason,
        };
        task.order
            .refused(reason)
            .remedy("it is tried again; see whether the archive has the file, and the network")
    };
    let names: Vec<String> = missing.iter().map(exact).collect();
    let mut reasons = Vec::new();
    let at_once = waiting(&download(&names).directory(directory.path()));
    take(directory.path(), &packages, &mut missing);
    if at_once.is_err() {
        // One that is not to be had keeps apt from fetching the others: each by itself, then.
        for wanted in &missing {
            let name = exact(wanted);
            let alone = waiting(&download(std::slice::from_ref(&name)).directory(directory.path()));
            reasons.extend(alone.err().map(|reason| format!("{name}: {reason}")));
        }
        take(directory.path(), &packages, &mut missing);
    }
    if missing.is_empty() { Ok(()) } else { Err(failed(why(&missing, reasons))) }
}

/// As apt is asked for it: `name:arch=version`.
fn exact(wanted: &Wanted) -> String {
    format!("{}:{}={}", wanted.name, wanted.arch, wanted.version)
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
