//! The files of a class from dnf's cache, or from repositories that the host trusts.

use super::library;
use crate::hand::kept::{Wanted, fetch_by_rounds, take};
use crate::hand::rpm::{exact, transaction::Exact};
use crate::hand::task::{Said, Task};
use advisory::Problem;
use std::path::{Path, PathBuf};

/// Where dnf keeps what it downloads: a directory for each repository, with one for packages in it.
const CACHE: &str = "/var/cache/dnf";

/// Fetches what is missing. Errors name what could not be had, and why.
pub(super) fn fetch(task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    let packages = task.place.packages();
    let in_cache = |it: &Wanted| cached(&format!("{}.rpm", exact(&it.name, &it.version, &it.arch)));
    let reasons = fetch_by_rounds(
        task,
        in_cache,
        |_| Ok(()),
        |into, is_refreshed, missing| {
            let wanted: Vec<Exact> = missing.iter().map(wanted).collect();
            let reasons = library::fetch(&wanted, into, is_refreshed).unwrap_or_else(|reason| vec![reason]);
            take(into, &packages, missing);
            reasons
        },
    );
    said.told.extend(reasons?);
    Ok(())
}

fn wanted(wanted: &Wanted) -> Exact {
    Exact { name: wanted.name.clone(), arch: wanted.arch.clone(), version: wanted.version.clone() }
}

/// Files of that name in dnf's cache.
fn cached(name: &str) -> Vec<PathBuf> {
    let repositories = std::fs::read_dir(Path::new(CACHE)).into_iter().flatten().flatten();
    let file = |repository: std::fs::DirEntry| repository.path().join("packages").join(name);
    repositories.map(file).filter(|path| path.is_file()).collect()
}
