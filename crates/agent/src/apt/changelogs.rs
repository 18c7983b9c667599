//! The changelogs of candidates. Of each source the smallest package that carries one is fetched, by apt, which checks
//! signatures and hashes; the changelog is kept in a cache, so that a second look fetches nothing.

use super::installed::{NAMES, unpack};
use super::tool::Apt;
use crate::program::Program;
use advisory::changelog::{Entry, read};
use advisory::digest::sha256;
use exposure::inventory::{Candidate, Gap, Part};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Packages per call of apt. Opening its cache costs a second or two, so few calls; several, so that progress shows.
const BATCH: usize = 24;

/// Longest time that unpacking one package may take.
const UNPACK_DEADLINE: Duration = Duration::from_secs(60);

/// Longest name of a file in the cache, bytes; file systems take 255.
const FILE_NAME_BYTES_MAX: usize = 200;

/// Most members of a package that are passed over in search of the changelog; the largest packages have 100,000.
const MEMBERS_MAX: usize = 500_000;

/// The changelog of one candidate source version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changelog {
    /// Its entries, newest first.
    pub entries: Vec<Entry>,
    /// SHA-256 of its bytes, unpacked; lower-case hex.
    pub sha256: String,
    /// Where it was had from: a package's file name, or a file of the cache.
    pub from: String,
}

/// Changelogs by source and source version.
pub type Changelogs = BTreeMap<(String, String), Changelog>;

/// A candidate's package, as apt is asked for it.
#[derive(Clone, Debug)]
struct Deb {
    name: String,
    arch: String,
    version: String,
    size_bytes: u64,
}

/// A source version whose changelog is wanted, with its packages, smallest first.
#[derive(Debug)]
struct Wanted {
    key: (String, String),
    debs: Vec<Deb>,
}

impl Apt {
    /// The changelogs of all candidates that would be installed or are kept back, one per source version.
    ///
    /// `progress(done, total, source)` is told of each source. What cannot be had within `deadline` is told in gaps;
    /// without one nothing is fetched, and only the cache is read.
    /// The cache is the directory `changelogs` in `cache`.
    pub fn changelogs(
        &self,
        candidates: &[Candidate],
        cache: &Path,
        progress: &mut dyn FnMut(usize, usize, &str),
        deadline: Option<Duration>,
    ) -> (Changelogs, Vec<Gap>) {
        let end = deadline.map(|deadline| Instant::now() + deadline);
        let cache = Cache::open(cache);
        let mut run = Run {
            apt: self,
            found: Changelogs::new(),
            reasons: HashMap::new(),
            total: 0,
            progress,
            cache,
            end,
        };
        let mut missing = wanted(candidates);
        run.total = missing.len();
        missing.retain(|wanted| !run.take_cached(&wanted.key));
        // Each round asks for one package per source; what has no changelog in it goes on with the next.
        for round in 0.. {
            missing.retain(|wanted| wanted.debs.len() > round && !run.found.contains_key(&wanted.key));
            if missing.is_empty() {
                break;
            }
            for batch in missing.chunks(BATCH) {
                run.fetch(&batch.iter().map(|wanted| (&wanted.key, &wanted.debs[round])).collect::<Vec<_>>());
            }
        }
        run.finish(candidates)
    }
}

/// The source versions of candidates, in order, with their packages, smallest first.
fn wanted(candidates: &[Candidate]) -> Vec<Wanted> {
    let mut by_source: BTreeMap<(String, String), Vec<Deb>> = BTreeMap::new();
    for candidate in candidates {
        if let Some(version) = &candidate.to {
            let key = (candidate.source.clone(), candidate.source_version.clone());
            by_source.entry(key).or_default().push(Deb {
                name: candidate.name.clone(),
                arch: candidate.arch.clone(),
                version: version.clone(),
                size_bytes: candidate.size_bytes,
            });
        }
    }
    let mut wanted: Vec<_> = by_source.into_iter().map(|(key, debs)| Wanted { key, debs }).collect();
    for wanted in &mut wanted {
        wanted.debs.sort_by(|a, b| (a.size_bytes, &a.name).cmp(&(b.size_bytes, &b.name)));
    }
    wanted
}

/// One call of [`Apt::changelogs`] under way.
struct Run<'a> {
    apt: &'a Apt,
    found: Changelogs,
    /// Why the last package of a source gave no changelog.
    reasons: HashMap<(String, String), String>,
    total: usize,
    progress: &'a mut dyn FnMut(usize, usize, &str),
    cache: Cache,
    /// Until when to fetch; `None` not at all.
    end: Option<Instant>,
}

impl Run<'_> {
    fn take_cached(&mut self, key: &(String, String)) -> bool {
        let Some(path) = self.cache.file(key) else { return false };
        let Some(bytes) = File::open(&path).ok().and_then(|file| unpack("x.gz", file).ok()) else {
            return false;
        };
        self.take(key, &bytes, path.display().to_string())
    }

    /// Takes a changelog in, if it is one.
    fn take(&mut self, key: &(String, String), bytes: &[u8], from: String) -> bool {
        let (entries, _) = read(bytes, &from);
        if entries.is_empty() {
            self.reasons.insert(key.clone(), format!("{from}: its changelog has no entry"));
            return false;
        }
        self.found.insert(key.clone(), Changelog { entries, sha256: sha256(bytes), from });
        (self.progress)(self.found.len(), self.total, &key.0);
        true
    }

    /// Fetches one batch of packages; if apt refuses the batch, each of them alone.
    fn fetch(&mut self, batch: &[(&(String, String), &Deb)]) {
        match self.download(batch) {
            Ok(directory) => {
                for (key, deb) in batch {
                    self.unpack(key, deb, directory.path());
                }
            }
            Err(reason) if batch.len() == 1 => {
                self.reasons.insert(batch[0].0.clone(), reason);
            }
            Err(_) => batch.iter().for_each(|one| self.fetch(std::slice::from_ref(one))),
        }
    }

    /// All packages of a batch, or none: apt leaves unchecked pieces behind when it fails.
    fn download(&self, batch: &[(&(String, String), &Deb)]) -> Result<tempfile::TempDir, String> {
        let Some(end) = self.end else {
            return Err("it is not in the cache, and no archive was to be asked".to_owned());
        };
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("no time was left to fetch it".to_owned());
        }
        let directory = self.apt.download_directory().map_err(|error| error.to_string())?;
        let names = batch.iter().map(|(_, deb)| format!("{}:{}={}", deb.name, deb.arch, deb.version));
        let program = self.apt.program("apt-get").args(["-q", "-o", "Acquire::Retries=1"]);
        let program = program.args(["-o", "Acquire::http::Timeout=10", "-o", "Acquire::https::Timeout=10"]);
        let program = program.args(["download", "--"]).args(names);
        program
            .directory(directory.path())
            .deadline(left)
            .run_ok()
            .map_err(|error| error.to_string())
            .map(|_| directory)
    }

    fn unpack(&mut self, key: &(String, String), deb: &Deb, directory: &Path) {
        let name = format!("{}_{}_{}.deb", deb.name, deb.version.replace(':', "%3a"), deb.arch);
        match changelog_in(&directory.join(&name)) {
            Ok(Some(bytes)) => {
                if self.take(key, &bytes, name) {
                    self.cache.put(key, &bytes);
                }
            }
            Ok(None) => {
                self.reasons.insert(key.clone(), format!("{name} carries no changelog"));
            }
            Err(error) => {
                self.reasons.insert(key.clone(), format!("{name}: {error}"));
            }
        }
    }

    fn finish(mut self, candidates: &[Candidate]) -> (Changelogs, Vec<Gap>) {
        let mut gaps: Vec<Gap> = self.cache.problem.take().into_iter().collect();
        for wanted in wanted(candidates).into_iter().filter(|wanted| !self.found.contains_key(&wanted.key)) {
            let reason = self.reasons.remove(&wanted.key).unwrap_or_else(|| "none was found".to_owned());
            gaps.push(Gap {
                part: Part::Changelogs,
                object: format!("changelog of {} {}", wanted.key.0, wanted.key.1),
                reason,
                remedy: "apt-get update, and look again with the network up".to_owned(),
            });
        }
        (self.found, gaps)
    }
}

/// The Debian changelog in a package, unpacked; `None` if it carries none (its documentation is a link to another's).
fn changelog_in(deb: &Path) -> io::Result<Option<Vec<u8>>> {
    let unpack_deb = Program::new("dpkg-deb").arg("--fsys-tarfile").arg(deb);
    let unpack_deb = unpack_deb.deadline(UNPACK_DEADLINE).stdout_bytes_max(u64::MAX);
    let found = unpack_deb.read(|pipe| {
        let mut second = None;
        for member in tar::Archive::new(pipe).entries()?.take(MEMBERS_MAX) {
            let member = member?;
            if !member.header().entry_type().is_file() {
                continue;
            }
            let Some(rank) = rank_of(&member.path()?) else { continue };
            let bytes = unpack(NAMES[rank], member)?;
            if rank < NAMES.len() - 1 {
                return Ok(Some(bytes));
            }
            second = Some(bytes);
        }
        Ok(second)
    });
    match found {
        Ok((Some(bytes), _)) => Ok(Some(bytes)),
        Ok((None, output)) => unpack_deb.check(&output).map(|()| None).map_err(io::Error::other),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Which of [`NAMES`] a member of a package is: `./usr/share/doc/PACKAGE/NAME`.
fn rank_of(path: &Path) -> Option<usize> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let rest = path.strip_prefix("usr/share/doc").ok()?;
    let mut parts = rest.iter();
    let (_package, name) = (parts.next()?, parts.next()?);
    NAMES.iter().position(|known| name == *known).filter(|_| parts.next().is_none())
}

/// Changelogs on disk, one packed file per source version.
struct Cache {
    directory: PathBuf,
    /// The first thing that went wrong; a cache that cannot be written costs time, not results.
    problem: Option<Gap>,
}

impl Cache {
    fn open(cache: &Path) -> Self {
        let directory = cache.join("changelogs");
        let problem = std::fs::create_dir_all(&directory).err().map(|error| cache_gap(&directory, &error));
        Self { directory, problem }
    }

    /// The file of a source version. `None` if its name is too long to be one. Versions come from indexes, so they
    /// may hold anything: what is not plainly harmless is written as `%XX`.
    fn file(&self, (source, version): &(String, String)) -> Option<PathBuf> {
        let mut name = String::new();
        for byte in source.bytes().chain([b'_']).chain(version.bytes()) {
            let plain =
                byte.is_ascii_alphanumeric() || b"+-~_".contains(&byte) || (byte == b'.' && !name.is_empty());
            if plain {
                name.push(char::from(byte));
            } else {
                let _ = write!(name, "%{byte:02X}");
            }
        }
        (name.len() <= FILE_NAME_BYTES_MAX).then(|| self.directory.join(name + ".gz"))
    }

    fn put(&mut self, key: &(String, String), bytes: &[u8]) {
        if self.problem.is_some() {
            return;
        }
        let Some(path) = self.file(key) else { return };
        let write = || {
            let file = tempfile::NamedTempFile::new_in(&self.directory)?;
            let mut packed = GzEncoder::new(file, Compression::fast());
            packed.write_all(bytes)?;
            let file = packed.finish()?;
            file.persist(path).map_err(|error| error.error)
        };
        if let Err(error) = write() {
            self.problem = Some(cache_gap(&self.directory, &error));
        }
    }
}

fn cache_gap(directory: &Path, error: &io::Error) -> Gap {
    Gap {
        part: Part::Changelogs,
        object: directory.display().to_string(),
        reason: format!("changelogs cannot be kept there, so the next look fetches them again: {error}"),
        remedy: "free some space, or name another cache directory".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_version_stays_inside_the_cache() {
        let cache = Cache { directory: "/cache".into(), problem: None };
        let file = |source: &str, version: &str| cache.file(&(source.into(), version.into()));
        assert_eq!(file("x", "1:2.0~rc1+b1").unwrap(), Path::new("/cache/x_1%3A2.0~rc1+b1.gz"));
        assert_eq!(file("..", "/../../etc").unwrap(), Path::new("/cache/%2E._%2F..%2F..%2Fetc.gz"));
        assert_eq!(file("x", &"1".repeat(500)), None);
    }

    #[test]
    fn only_a_packages_own_changelog_counts() {
        assert_eq!(rank_of(Path::new("./usr/share/doc/x/changelog.Debian.gz")), Some(0));
        assert_eq!(rank_of(Path::new("usr/share/doc/x/changelog.gz")), Some(2));
        assert_eq!(rank_of(Path::new("./usr/share/doc/x/examples/changelog.gz")), None);
        assert_eq!(rank_of(Path::new("./usr/share/doc/changelog.gz")), None);
    }
}
