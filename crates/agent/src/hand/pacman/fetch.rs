//! The files of a class from pacman's cache, or from repositories that the host trusts. Those have the newest version alone.

use crate::hand::kept::{keep, missing, take, why};
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
    let mut missing = missing(&packages, task.class);
    missing.retain(|wanted| {
        let files = cached(Path::new(CACHE), &wanted.name, &wanted.version, &wanted.arch);
        !files.iter().any(|path| keep(path, &packages, &wanted.file).is_ok())
    });
    if missing.is_empty() {
        return Ok(());
    }
    let failed = |reason: String| {
        task.order
            .refused(reason)
            .remedy("it is tried again; see whether the repository has the file, and the network")
    };
    let directory = scratch().map_err(|problem| failed(format!("no place to download to: {problem}")))?;
    let mut reasons = Vec::new();
    // By the metadata that is there; then by what repositories say now, without telling the host's own database: who upgrades
    // by that would upgrade in part.
    for is_refreshed in [false, true] {
        if is_refreshed {
            let asked = pacman(directory.path()).args(["-Sy"]).run_ok();
            reasons.extend(asked.err().map(|problem| problem.to_string()));
        }
        for wanted in &missing {
            // One that is not to be had must not keep the others; what it needs comes with the plan.
            let program = pacman(directory.path()).args(["-Swdd", "--"]).arg(wanted.name.clone());
            let asked = program.run_ok();
            reasons
                .extend(asked.err().map(|problem| format!("{} {}: {problem}", wanted.name, wanted.version)));
        }
        take(&directory.path().join("packages"), &packages, &mut missing);
        if missing.is_empty() {
            return Ok(());
        }
    }
    Err(failed(why(&missing, reasons)))
}

/// A place with a copy of what repositories have, and one for files.
fn scratch() -> std::io::Result<tempfile::TempDir> {
    let directory = tempfile::Builder::new().prefix("palisade-").tempdir_in("/var/cache")?;
    let at = |path: &str| directory.path().join(path);
    for folder in ["packages", "db/local", "db/sync"] {
        std::fs::create_dir_all(at(folder))?;
    }
    for entry in std::fs::read_dir(SYNC).into_iter().flatten().flatten() {
        std::fs::copy(entry.path(), at("db/sync").join(entry.file_name()))?;
    }
    Ok(directory)
}

fn pacman(directory: &Path) -> Program {
    Program::new("pacman")
        .args(["--noconfirm", "--noprogressbar", "--dbpath"])
        .arg(directory.join("db"))
        .arg("--cachedir")
        .arg(directory.join("packages"))
        .deadline(DOWNLOAD_WITHIN)
}
