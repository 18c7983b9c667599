//! The files of a class from apk's cache, or from repositories that the host trusts. Those have the newest version alone, as a rule.

use crate::apk::{AS_THEY_ARE, cached, indexes_kept, is_index, refusal};
use crate::hand::kept::{Wanted, fetch_by_rounds, take};
use crate::hand::task::Task;
use crate::observe::root::Root;
use crate::program::Program;
use advisory::Problem;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// 2 GiB at 1 MiB/s.
const DOWNLOAD_WITHIN: Duration = Duration::from_secs(2_048);

/// Fetches what is missing. Errors name what could not be had, and why.
pub(super) fn fetch(task: &Task<'_>) -> Result<(), Problem> {
    let packages = task.place.packages();
    let root = Root::open(Path::new("/")).ok();
    let in_cache = |it: &Wanted| -> Vec<PathBuf> {
        let files = root.as_ref().map(|root| cached(root, &it.name, &it.version));
        files.into_iter().flatten().map(|(_, path)| path).collect()
    };
    let lay_out = |directory: &Path| lay_out(root.as_ref(), directory);
    // The host's own indexes are not told what repositories say now.
    fetch_by_rounds(task, in_cache, lay_out, |into, is_refreshed, missing| {
        let mut reasons = Vec::new();
        // Each by itself: of several of which one is not to be had, apk gives none. It gives the newest version alone.
        for wanted in missing.iter() {
            let asked = apk(into, is_refreshed).arg(wanted.name.clone()).run();
            let reason = match asked {
                Ok(output) => refusal(&output).or_else(|| (output.code != Some(0)).then(|| output.told())),
                Err(failure) => Some(failure.to_string()),
            };
            reasons.extend(reason.map(|reason| format!("{} {}: {reason}", wanted.name, wanted.version)));
        }
        take(&into.join("packages"), &packages, missing);
        reasons
    })
    .map(|_| ())
}

/// A copy of what repositories have, and a place for files.
fn lay_out(root: Option<&Root>, directory: &Path) -> std::io::Result<()> {
    for folder in ["packages", "cache"] {
        std::fs::create_dir_all(directory.join(folder))?;
    }
    let indexes = root.and_then(indexes_kept).map(std::fs::read_dir);
    for entry in indexes.into_iter().flatten().flatten().flatten() {
        if is_index(&entry.file_name()) {
            std::fs::copy(entry.path(), directory.join("cache").join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn apk(directory: &Path, is_refreshed: bool) -> Program {
    let age = if is_refreshed { "0" } else { AS_THEY_ARE };
    Program::new("apk")
        .args(["--interactive=no", "--cache-max-age", age, "--cache-dir"])
        .arg(directory.join("cache"))
        .args(["fetch", "--output"])
        .arg(directory.join("packages"))
        .arg("--")
        .deadline(DOWNLOAD_WITHIN)
}
