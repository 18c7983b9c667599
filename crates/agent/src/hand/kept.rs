//! The files of a class, new and old, in the directory of this half: kept only with the very digests that approvers have
//! signed.

use super::task::Task;
use crate::job::sight::sha256_of;
use crate::state::kept_name;
use advisory::Problem;
use rollout::plan::{Change, Digest, File, HostClass};
use sha2::{Digest as _, Sha256};
use std::fs::Permissions;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Bytes copied at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Reasons that are told, package by package.
const REASONS_MAX: usize = 3;

/// One file that is not here, as its package manager knows it.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) arch: String,
    pub(super) version: String,
    pub(super) file: File,
}

/// The files that are not here.
pub(super) fn missing(packages: &Path, class: &HostClass) -> Vec<Wanted> {
    let changes = class.changes.iter().flat_map(|change| {
        let new = Some((change, &change.to, &change.file));
        let old = change.from.as_ref().zip(change.back.as_ref()).map(|(from, back)| (change, from, back));
        [new, old].into_iter().flatten()
    });
    let is_here = |file: &File| {
        sha256_of(&packages.join(kept_name(file))).is_ok_and(|found| found == (file.sha256, file.size_bytes))
    };
    let wanted = |(change, version, file): (&Change, &String, &File)| Wanted {
        name: change.name.clone(),
        arch: change.arch.clone(),
        version: version.clone(),
        file: file.clone(),
    };
    changes.filter(|(_, _, file)| !is_here(file)).map(wanted).collect()
}

/// Fetches what is missing: what the package manager has in its cache (`cached`), then what repositories have, by the metadata that
/// is here, then by what they say now. Errors name what could not be had, and why.
///
/// `prepare` gets a directory of its own, once; `download` the same, whether metadata is to be read anew, and what is missing: it takes
/// over what has come, and gives reasons. Gives those of the round with which all had come.
pub(super) fn fetch_by_rounds(
    task: &Task<'_>,
    cached: impl Fn(&Wanted) -> Vec<PathBuf>,
    prepare: impl FnOnce(&Path) -> io::Result<()>,
    mut download: impl FnMut(&Path, bool, &mut Vec<Wanted>) -> Vec<String>,
) -> Result<Vec<String>, Problem> {
    let packages = task.place.packages();
    let mut missing = missing(&packages, task.class);
    missing.retain(|wanted| !cached(wanted).iter().any(|path| keep(path, &packages, &wanted.file).is_ok()));
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |reason: String| {
        task.order
            .refused(reason)
            .remedy("it is tried again; see whether the repository has the file, and the network")
    };
    let directory = tempfile::Builder::new().prefix("palisade-").tempdir_in("/var/cache");
    let directory = directory.and_then(|directory| prepare(directory.path()).map(|()| directory));
    let directory = directory.map_err(|problem| failed(format!("no place to download to: {problem}")))?;
    let mut reasons = Vec::new();
    for is_refreshed in [false, true] {
        reasons = download(directory.path(), is_refreshed, &mut missing);
        if missing.is_empty() {
            return Ok(reasons);
        }
    }
    Err(failed(why(&missing, reasons)))
}

/// Takes over every file of a directory that is wanted, and no longer misses it.
pub(super) fn take(from: &Path, packages: &Path, missing: &mut Vec<Wanted>) {
    let files = std::fs::read_dir(from).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in files.filter(|path| path.is_file()) {
        missing.retain(|wanted| keep(&path, packages, &wanted.file).is_err());
    }
}

/// Copies a file here if it is the one: hashed while it is copied, since somebody else may still write to the other.
pub(super) fn keep(from: &Path, packages: &Path, wanted: &File) -> io::Result<()> {
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

/// Why files are still missing, in one sentence; what came and is not the one is told where the package manager gave no
/// reasons.
pub(super) fn why(missing: &[Wanted], mut reasons: Vec<String>) -> String {
    if reasons.is_empty() {
        let other = |wanted: &Wanted| {
            format!("{} {} is not the file that was signed for", wanted.name, wanted.version)
        };
        reasons.extend(missing.iter().map(other));
    }
    reasons.truncate(REASONS_MAX);
    format!("{} files could not be had: {}", missing.len(), reasons.join("; "))
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
