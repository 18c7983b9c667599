//! The changelogs of candidates. Of each source the smallest package that carries one is fetched, by apt, which checks
//! signatures and hashes; the changelog is kept in a cache, so that a second look fetches nothing.

use super::fetch::{apt_name, cached_name};
use super::installed::{NAMES, unpack};
use super::tool::Apt;
use crate::program::{self, Program, is_stopped};
use advisory::changelog::{Entry, read};
use advisory::digest::sha256;
use exposure::inventory::{Candidate, Fetch, Gap, Part};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Packages per call of apt. Opening its cache costs a second or two, so few calls; several, so that progress shows.
const BATCH: usize = 24;

/// Longest time that unpacking one package may take.
const UNPACK_DEADLINE: Duration = Duration::from_secs(60);

/// Downloads that may fail for want of a network before no further one is tried: one may be a hiccup.
const NETWORK_FAILURES_MAX: usize = 2;

/// What apt says where the network, not the archive, is at fault.
const NETWORK_FAILURES: [&str; 8] = [
    "Could not resolve",
    "Could not connect",
    "Cannot initiate the connection",
    "Connection timed out",
    "Unable to connect",
    "Temporary failure",
    "Connection failed",
    "Network is unreachable",
];

/// Sources named in a gap before the rest is only counted.
const NAMED_MAX: usize = 5;

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

/// Whether changelogs that are not in the cache may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetching<'a> {
    /// No archive is to be asked.
    Offline,
    /// The archives were asked, and none of them can be reached.
    Unreachable,
    /// Within `deadline`, except from archives that cannot be reached.
    Within {
        /// For all of them together.
        deadline: Duration,
        /// Packages of such archives, `name:arch=version`.
        unreachable: &'a BTreeSet<String>,
    },
}

/// Why there is no changelog, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lack {
    reason: String,
    remedy: String,
}

impl Lack {
    fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into() }
    }

    fn unreachable(why: &str) -> Self {
        Self::new(format!("the archive cannot be reached{why}"), "look again with the archive in reach")
    }
}

/// A candidate's package, as apt is asked for it.
#[derive(Clone, Debug)]
struct Deb {
    name: String,
    arch: String,
    version: String,
    size_bytes: u64,
    /// Why asking for it would be in vain.
    lost: Option<Lack>,
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
    /// `progress(done, total, source)` is told of each source. What cannot be had is told in gaps, those of the same reason in
    /// one.
    /// The cache is the directory `changelogs` in `cache`.
    pub fn changelogs(
        &self,
        candidates: &[Candidate],
        cache: &Path,
        progress: &mut dyn FnMut(usize, usize, &str),
        fetching: Fetching<'_>,
    ) -> (Changelogs, Vec<Gap>) {
        let nothing = BTreeSet::new();
        let (end, unreachable) = match fetching {
            Fetching::Offline => {
                let reason = "not in the cache, and no archive was to be asked";
                (Err(Lack::new(reason, "run without --offline once")), &nothing)
            }
            Fetching::Unreachable => (Err(Lack::unreachable("")), &nothing),
            Fetching::Within { deadline, unreachable } => (Ok(Instant::now() + deadline), unreachable),
        };
        let cache = Cache::open(cache);
        let mut run = Run {
            apt: self,
            found: Changelogs::new(),
            reasons: HashMap::new(),
            total: 0,
            progress,
            cache,
            end,
            network_failures: 0,
        };
        let mut missing = wanted(candidates, unreachable);
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
        run.finish(&sources_of(candidates))
    }
}

/// The source versions of candidates, in order, with their packages, smallest first.
fn wanted(candidates: &[Candidate], unreachable: &BTreeSet<String>) -> Vec<Wanted> {
    let mut by_source: BTreeMap<(String, String), Vec<Deb>> = BTreeMap::new();
    for candidate in candidates {
        if let Some(version) = &candidate.to {
            let key = (candidate.source.clone(), candidate.source_version.clone());
            let lost = match &candidate.fetch {
                Fetch::Missing(reason) => Some(Lack::new(reason.clone(), "apt-get update, then look again")),
                Fetch::Fetchable | Fetch::Unchecked(_) => apt_name(candidate)
                    .filter(|name| unreachable.contains(name))
                    .map(|_| Lack::unreachable("")),
            };
            by_source.entry(key).or_default().push(Deb {
                name: candidate.name.clone(),
                arch: candidate.arch.clone(),
                version: version.clone(),
                size_bytes: candidate.size_bytes,
                lost,
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
    reasons: HashMap<(String, String), Lack>,
    total: usize,
    progress: &'a mut dyn FnMut(usize, usize, &str),
    cache: Cache,
    /// Until when to fetch, or why not at all.
    end: Result<Instant, Lack>,
    network_failures: usize,
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
            self.reasons.insert(key.clone(), Lack::new(format!("{from}: its changelog has no entry"), ""));
            return false;
        }
        self.found.insert(key.clone(), Changelog { entries, sha256: sha256(bytes), from });
        (self.progress)(self.found.len(), self.total, &key.0);
        true
    }

    /// Fetches one batch of packages; if apt refuses the batch, each of them alone.
    fn fetch(&mut self, batch: &[(&(String, String), &Deb)]) {
        let lost = |deb: &Deb| self.end.as_ref().err().or(deb.lost.as_ref()).cloned();
        let (lost, batch): (Vec<_>, Vec<_>) =
            batch.iter().map(|(key, deb)| (*key, *deb, lost(deb))).partition(|(_, _, lost)| lost.is_some());
        self.reasons.extend(lost.into_iter().filter_map(|(key, _, lost)| Some((key.clone(), lost?))));
        let batch: Vec<_> = batch.into_iter().map(|(key, deb, _)| (key, deb)).collect();
        if !batch.is_empty() {
            self.fetch_some(&batch);
        }
    }

    fn fetch_some(&mut self, batch: &[(&(String, String), &Deb)]) {
        match self.download(batch) {
            Ok(directory) => {
                for (key, deb) in batch {
                    self.unpack(key, deb, directory.path());
                }
            }
            Err(Refusal { lack, of_each: true }) if batch.len() > 1 => {
                drop(lack); // each of them gets its own
                for one in batch {
                    self.fetch(std::slice::from_ref(one));
                }
            }
            Err(Refusal { lack, .. }) => {
                self.reasons.extend(batch.iter().map(|(key, _)| ((*key).clone(), lack.clone())));
            }
        }
    }

    /// All packages of a batch, or none: apt leaves unchecked pieces behind when it fails.
    fn download(&mut self, batch: &[(&(String, String), &Deb)]) -> Result<tempfile::TempDir, Refusal> {
        let end = self.end.clone().map_err(Refusal::of_all)?;
        let late = || Lack::new("no time was left to fetch it", "look again: what was fetched is kept");
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Refusal::of_all(late()));
        }
        let directory = self.apt.download_directory().map_err(|error| {
            Refusal::of_all(Lack::new(error.to_string(), "free some space, or set TMPDIR"))
        })?;
        let names = batch.iter().map(|(_, deb)| format!("{}:{}={}", deb.name, deb.arch, deb.version));
        // One try each: what failed is asked for again at the next look, and a dead line is not waited for twice.
        let program = self.apt.program("apt-get").args(["-q", "-o", "Acquire::Retries=0"]);
        let program = program.args(["-o", "Acquire::http::Timeout=10", "-o", "Acquire::https::Timeout=10"]);
        let program = program.args(["download", "--"]).args(names).directory(directory.path()).deadline(left);
        let output = program.run().map_err(|error| {
            let is_late = matches!(error, program::Error::Deadline { .. });
            Refusal::of_all(if is_late { late() } else { Lack::new(error.to_string(), "") })
        })?;
        let Err(error) = program.check(&output) else { return Ok(directory) };
        if is_stopped() {
            return Err(Refusal::of_all(Lack::new("interrupted", "")));
        }
        if let Some(said) = network_failure(&output.stderr) {
            let lack = Lack::unreachable(&format!(" ({said})"));
            self.network_failures += 1;
            if self.network_failures >= NETWORK_FAILURES_MAX {
                self.end = Err(lack.clone());
            }
            return Err(Refusal::of_all(lack));
        }
        let remedy = self.apt.remedy("apt-get update, then look again");
        Err(Refusal { lack: Lack::new(error.to_string(), remedy), of_each: true })
    }

    fn unpack(&mut self, key: &(String, String), deb: &Deb, directory: &Path) {
        let name = cached_name(&deb.name, &deb.version, &deb.arch);
        match changelog_in(&directory.join(&name)) {
            Ok(Some(bytes)) => {
                if self.take(key, &bytes, name) {
                    self.cache.put(key, &bytes);
                }
            }
            Ok(None) => {
                self.reasons.insert(key.clone(), Lack::new("its packages carry no changelog", ""));
            }
            Err(error) => {
                self.reasons.insert(key.clone(), Lack::new(format!("{name}: {error}"), ""));
            }
        }
    }

    fn finish(mut self, keys: &BTreeSet<(String, String)>) -> (Changelogs, Vec<Gap>) {
        let mut lacking: BTreeMap<Lack, Vec<&(String, String)>> = BTreeMap::new();
        for key in keys.iter().filter(|key| !self.found.contains_key(*key)) {
            let lack = self.reasons.remove(key).unwrap_or_else(|| Lack::new("none was found", ""));
            lacking.entry(lack).or_default().push(key);
        }
        let cache = self.cache.problem.take();
        let gaps = lacking.into_iter().map(|(Lack { reason, remedy }, keys)| Gap {
            part: Part::Changelogs,
            object: object_of(&keys),
            reason,
            remedy,
        });
        (self.found, cache.into_iter().chain(gaps).collect())
    }
}

/// Why apt gave none of the packages it was asked for.
#[derive(Debug)]
struct Refusal {
    lack: Lack,
    /// Whether one of them may be the cause, so that the others can be had without it.
    of_each: bool,
}

impl Refusal {
    fn of_all(lack: Lack) -> Self {
        Self { lack, of_each: false }
    }
}

/// With what words apt says that the network failed it, if it does.
fn network_failure(stderr: &str) -> Option<&'static str> {
    NETWORK_FAILURES.into_iter().find(|said| stderr.contains(said))
}

/// The source versions that candidates are built from.
fn sources_of(candidates: &[Candidate]) -> BTreeSet<(String, String)> {
    let moved = candidates.iter().filter(|candidate| candidate.to.is_some());
    moved.map(|candidate| (candidate.source.clone(), candidate.source_version.clone())).collect()
}

/// What a gap about the changelogs of these source versions is about.
fn object_of(keys: &[&(String, String)]) -> String {
    if let [(source, version)] = keys {
        return format!("changelog of {source} {version}");
    }
    let named: Vec<&str> = keys.iter().take(NAMED_MAX).map(|(source, _)| source.as_str()).collect();
    let more = match keys.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("changelogs of {} sources: {}{more}", keys.len(), named.join(", "))
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
        remedy: if error.kind() == io::ErrorKind::StorageFull {
            "free some space, or name another cache directory (--cache)".to_owned()
        } else {
            "name another cache directory (--cache)".to_owned()
        },
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
    fn sources_that_lack_the_same_share_a_gap() {
        let keys: Vec<(String, String)> =
            ["a", "b", "c", "d", "e", "f", "g"].map(|name| (name.into(), "1".into())).into();
        let keys: Vec<_> = keys.iter().collect();
        assert_eq!(object_of(&keys[..1]), "changelog of a 1");
        assert_eq!(object_of(&keys), "changelogs of 7 sources: a, b, c, d, e and 2 more");
    }

    #[test]
    fn only_a_packages_own_changelog_counts() {
        assert_eq!(rank_of(Path::new("./usr/share/doc/x/changelog.Debian.gz")), Some(0));
        assert_eq!(rank_of(Path::new("usr/share/doc/x/changelog.gz")), Some(2));
        assert_eq!(rank_of(Path::new("./usr/share/doc/x/examples/changelog.gz")), None);
        assert_eq!(rank_of(Path::new("./usr/share/doc/changelog.gz")), None);
    }
}
