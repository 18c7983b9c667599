//! The files of a class from pacman's cache, or from repositories that the host trusts. Those have the newest version alone.

use crate::hand::kept::{Wanted, fetch_by_rounds, take};
use crate::hand::task::Task;
use crate::observe::pacman::SYNC;
use crate::pacman::{CACHE, cached};
use crate::program::Program;
use advisory::Problem;
use std::path::Path;
use std::time::Duration;

/// 2 GiB at 1 MiB/s.
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(2_048);

/// Fetches what is missing. Errors name what could not be had, and why.
pub(super) fn fetch(task: &Task<'_>) -> Result<(), Problem> {
    let packages = task.place.packages();
    let in_cache = |it: &Wanted| cached(Path::new(CACHE), &it.name, &it.version, &it.arch);
    let mut reasons = Vec::new();
    // The host's own database is not told what repositories say now: who upgrades by that would upgrade in part.
    fetch_by_rounds(task, in_cache, lay_out, |into, is_refreshed, missing| {
        if is_refreshed {
            let asked = pacman(into).args(["-Sy"]).run_ok();
            reasons.extend(asked.err().map(|problem| problem.to_string()));
        }
        for wanted in missing.iter() {
            // One that is not to be had must not keep the others; what it needs comes with the plan.
            let asked = pacman(into).args(["-Swdd", "--"]).arg(wanted.name.clone()).run_ok();
            reasons
                .extend(asked.err().map(|problem| format!("{} {}: {problem}", wanted.name, wanted.version)));
        }
        take(&into.join("packages"), &packages, missing);
        reasons.clone()
    })
    .map(|_| ())
}

/// A copy of what repositories have, and a place for files.
fn lay_out(directory: &Path) -> std::io::Result<()> {
    for folder in ["packages", "db/local", "db/sync"] {
        std::fs::create_dir_all(directory.join(folder))?;
    }
    for entry in std::fs::read_dir(SYNC).into_iter().flatten().flatten() {
        std::fs::copy(entry.path(), directory.join("db/sync").join(entry.file_name()))?;
    }
    Ok(())
}

fn pacman(directory: &Path) -> Program {
    Program::new("pacman")
        .args(["--noconfirm", "--noprogressbar", "--dbpath"])
        .arg(directory.join("db"))
        .arg("--cachedir")
        .arg(directory.join("packages"))
        .deadline(DOWNLOAD_WITHIN)
}
