//! The files of a class from zypper's cache, or from repositories that the host trusts.

use super::cached;
use crate::hand::kept::{Wanted, fetch_by_rounds, take};
use crate::hand::task::{Said, Task};
use crate::program::Program;
use crate::zypper::summary;
use advisory::Problem;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where zypper keeps what it downloads: a directory for each repository.
const CACHE: &str = "/var/cache/zypp/packages";
/// 2 GiB at 1 MiB/s.
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(2_048);
/// Seconds that zypper itself waits for another's lock.
const LOCK_SECONDS: &str = "300";

/// Fetches what is missing. Errors name what could not be had, and why.
pub(super) fn fetch(task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    let packages = task.place.packages();
    let in_cache = |it: &Wanted| below(Path::new(CACHE), &cached(&it.name, &it.version, &it.arch));
    let reasons = fetch_by_rounds(
        task,
        in_cache,
        |_| Ok(()),
        |into, is_refreshed, missing| {
            if is_refreshed && let Err(reason) = zypper().args(["refresh"]).deadline(DOWNLOAD_WITHIN).run_ok()
            {
                said.told.push(format!("not all repositories could be read: {reason}"));
            }
            let reasons = download(missing, into);
            for folder in below(into, "") {
                for arch in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                    take(&arch.path(), &packages, missing);
                }
            }
            reasons
        },
    );
    said.told.extend(reasons?);
    Ok(())
}

/// Downloads these into a directory of repositories; gives what could not be had, in words. One that is not to be had does
/// not keep the others.
fn download(wanted: &[Wanted], into: &Path) -> Vec<String> {
    let names = wanted.iter().map(|wanted| format!("{}={}", wanted.name, wanted.version));
    let program =
        zypper().args(["--xmlout", "--no-refresh", "--pkg-cache-dir"]).arg(into).arg("download").args(names);
    match program.deadline(DOWNLOAD_WITHIN).run() {
        Ok(output) => {
            summary::parse(&output.stdout).map_or_else(|reason| vec![reason], |summary| summary.said)
        }
        Err(problem) => vec![problem.to_string()],
    }
}

fn zypper() -> Program {
    Program::new("zypper").arg("--non-interactive").env("ZYPP_LOCK_TIMEOUT", LOCK_SECONDS)
}

/// `name` in every directory of a directory, where it is there.
fn below(directory: &Path, name: &str) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(directory).into_iter().flatten().flatten();
    folders.map(|folder| folder.path().join(name)).filter(|path| path.exists()).collect()
}
