//! The files of a class from dnf's cache, or from repositories that the host trusts.

use super::library;
use crate::hand::kept::{Wanted, keep, missing, take, why};
use crate::hand::rpm::{exact, transaction::Exact};
use crate::hand::task::{Said, Task};
use advisory::Problem;
use std::path::{Path, PathBuf};

/// Where dnf keeps what it downloads: a directory for each repository, with one for packages in it.
const CACHE: &str = "/var/cache/dnf";

/// Fetches what is missing. Errors name what could not be had, and why.
pub(super) fn fetch(task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    let packages = task.place.packages();
    let mut missing = missing(&packages, task.class);
    missing.retain(|wanted| {
        let name = format!("{}.rpm", exact(&wanted.name, &wanted.version, &wanted.arch));
        !cached(&name).iter().any(|path| keep(path, &packages, &wanted.file).is_ok())
    });
    if missing.is_empty() {
        return Ok(());
    }
    let failed = |reason: String| {
        task.order
            .refused(reason)
            .remedy("it is tried again; see whether the repository has the file, and the network")
    };
    let directory = tempfile::Builder::new().prefix("palisade-").tempdir_in("/var/cache");
    let directory = directory.map_err(|problem| failed(format!("no place to download to: {problem}")))?;
    let mut reasons = Vec::new();
    // By the metadata that is there; then by what repositories say now.
    for is_refreshed in [false, true] {
        let wanted: Vec<Exact> = missing.iter().map(wanted).collect();
        reasons =
            library::fetch(&wanted, directory.path(), is_refreshed).unwrap_or_else(|reason| vec![reason]);
        take(directory.path(), &packages, &mut missing);
        if missing.is_empty() {
            said.told.append(&mut reasons);
            return Ok(());
        }
    }
    Err(failed(why(&missing, reasons)))
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
