//! Which archives a root has enabled, how fresh their indexes are, and what these offer.

use super::control;
use super::packages::{self, Record};
use super::release::{self, Release, class_of, staleness};
use super::tool::Apt;
use crate::program::Program;
use exposure::inventory::{Archive, Gap, Part};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// apt's tool that unpacks its own indexes, whatever they are packed with.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// How apt may have packed an index in its lists directory.
const PACKED: [&str; 6] = ["lz4", "zst", "xz", "gz", "bz2", "lzma"];

/// Longest index that is read, bytes unpacked: 1 GiB. Debian 12 main has 50 MB.
const INDEX_BYTES_MAX: u64 = 1 << 30;

/// Longest time that unpacking one index may take.
const INDEX_DEADLINE: Duration = Duration::from_secs(60);

/// An enabled archive with the indexes that were fetched of it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) archive: Archive,
    pub(super) release: Release,
    indexes: Vec<PathBuf>,
}

impl Source {
    /// As apt names it where it lists offers: `Debian-Security:12/oldstable-security`.
    pub(super) fn words(&self) -> String {
        let Release { label, version, suite, .. } = &self.release;
        match (version.is_empty(), suite.is_empty()) {
            (true, _) => format!("{label}:{suite}"),
            (false, true) => format!("{label}:{version}"),
            (false, false) => format!("{label}:{version}/{suite}"),
        }
    }

    /// What its indexes offer of the packages that `wanted(binary, source)` asks for.
    pub(super) fn records(&self, wanted: &dyn Fn(&str, &str) -> bool) -> (Vec<Record>, Vec<Gap>) {
        let mut records = Vec::new();
        let mut gaps = Vec::new();
        for index in &self.indexes {
            match read_index(index, wanted) {
                Ok(read) => records.extend(read),
                Err(reason) => gaps.push(Gap {
                    part: Part::Candidates,
                    object: index.display().to_string(),
                    reason,
                    remedy: "apt-get update".to_owned(),
                }),
            }
        }
        (records, gaps)
    }
}

fn read_index(index: &Path, wanted: &dyn Fn(&str, &str) -> bool) -> Result<Vec<Record>, String> {
    // 1 MiB: a pipe gives 64 kB at a time, a file as much as we ask for.
    let buffered = |reader| BufReader::with_capacity(1 << 20, reader);
    if packed_with(index).is_none() {
        let file = File::open(index).map_err(|error| error.to_string())?;
        return packages::read(buffered(file.take(INDEX_BYTES_MAX)), wanted)
            .map_err(|error| error.to_string());
    }
    let unpack = Program::new(APT_HELPER).arg("cat-file").arg(index);
    let unpack = unpack.deadline(INDEX_DEADLINE).stdout_bytes_max(INDEX_BYTES_MAX);
    let (records, output) = unpack
        .read(|pipe| packages::read(BufReader::with_capacity(1 << 20, pipe), wanted))
        .map_err(|error| error.to_string())?;
    unpack.check(&output).map_err(|error| error.to_string())?;
    Ok(records)
}

fn packed_with(path: &Path) -> Option<&str> {
    path.extension()?.to_str().filter(|extension| PACKED.contains(extension))
}

/// One index that the sources ask for.
#[derive(Debug, Default)]
struct Target {
    /// `main/binary-amd64/Packages`
    key: String,
    /// Where apt would put it, without the ending of a packer.
    file: PathBuf,
    /// Address of the suite, with credentials if the sources have them.
    base: String,
    /// Address of the repository.
    repository: String,
    /// Line of the sources that names it.
    named_in: String,
    optional: bool,
}

/// The enabled archives in apt's order, and what is wrong with them at `now`.
pub(super) fn sources(apt: &Apt, now: Timestamp) -> (Vec<Source>, Vec<Gap>) {
    let gap = |object: &str, reason: String, remedy: &str| Gap {
        part: Part::Archives,
        object: object.to_owned(),
        reason,
        remedy: remedy.to_owned(),
    };
    let listing = apt.program("apt-get").args(["indextargets", "--no-release-info", "Created-By: Packages"]);
    let output = match listing.run_ok() {
        Ok(output) => output,
        Err(error) => {
            let remedy = apt.remedy("repair the sources of apt: apt-get indextargets");
            return (Vec::new(), vec![gap("sources of apt", error.to_string(), &remedy)]);
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    // By address of the suite; the order of first mention is kept beside.
    let mut suites: BTreeMap<String, (usize, Vec<Target>)> = BTreeMap::new();
    for target in text.split("\n\n").map(target_of).filter(|target| !target.key.is_empty()) {
        let order = suites.len();
        suites.entry(target.base.clone()).or_insert((order, Vec::new())).1.push(target);
    }
    let mut suites: Vec<_> = suites.into_values().collect();
    suites.sort_by_key(|(order, _)| *order);
    let mut found = Vec::new();
    let mut gaps = Vec::new();
    if suites.is_empty() {
        gaps.push(none_enabled());
    }
    for (_, targets) in suites {
        let address = without_credentials(&targets[0].base);
        let missing = targets.iter().filter(|target| !target.optional && index_of(target).is_none()).count();
        match source_of(apt, &targets) {
            Some(_) | None if missing == targets.iter().filter(|target| !target.optional).count() => {
                let reason = format!("named in {} but never fetched", targets[0].named_in);
                gaps.push(gap(&address, reason, "apt-get update"));
            }
            None => gaps.push(gap(&address, "its Release file is missing".to_owned(), "apt-get update")),
            Some(source) => {
                if missing > 0 {
                    let reason = format!("{missing} of its indexes were never fetched");
                    gaps.push(gap(&address, reason, "apt-get update"));
                }
                gaps.extend(staleness(&source.archive, now));
                found.push(source);
            }
        }
    }
    (found, gaps)
}

/// What is said of a root that no archive serves.
pub(super) fn none_enabled() -> Gap {
    Gap {
        part: Part::Archives,
        object: "sources of apt".to_owned(),
        reason: "no archive is enabled".to_owned(),
        remedy: "enable the distribution's archives".to_owned(),
    }
}

fn target_of(stanza: &str) -> Target {
    let mut target = Target::default();
    for (name, value) in control::fields(stanza) {
        match name {
            "MetaKey" => value.clone_into(&mut target.key),
            "Filename" => target.file = value.into(),
            "Base-URI" => value.clone_into(&mut target.base),
            "Repo-URI" => value.clone_into(&mut target.repository),
            "Sourcesentry" => value.clone_into(&mut target.named_in),
            "Optional" => target.optional = value == "yes",
            _ => {}
        }
    }
    target
}

/// The file of an index as it lies in the lists directory, packed or not.
fn index_of(target: &Target) -> Option<PathBuf> {
    let packed = PACKED.iter().map(|ending| {
        let mut name = target.file.clone().into_os_string();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    });
    std::iter::once(target.file.clone()).chain(packed).find(|path| path.is_file())
}

/// The archive of one suite; `None` if its Release file is missing.
fn source_of(apt: &Apt, targets: &[Target]) -> Option<Source> {
    let first = targets.first()?;
    let (text, signed) = release_of(first)?;
    let release = release::parse(&text);
    let archive = Archive {
        address: without_credentials(&first.repository).trim_end_matches('/').to_owned(),
        suite: release.suite.clone(),
        codename: release.codename.clone(),
        origin: release.origin.clone(),
        label: release.label.clone(),
        class: class_of(&release, &apt.system.release.family),
        date: release.date,
        valid_until: release.valid_until,
        trusted: signed || trusts_unsigned(apt, &first.base),
    };
    Some(Source { archive, release, indexes: targets.iter().filter_map(index_of).collect() })
}

/// Whether the sources call an archive trusted although it is not signed (`[trusted=yes]`). apt tells it only with
/// everything else it knows about an archive, which takes it a second; so it is asked about the rare unsigned ones only.
fn trusts_unsigned(apt: &Apt, base: &str) -> bool {
    let listing = apt.program("apt-get").args(["indextargets", "Trusted: yes", "Created-By: Packages"]);
    let listed = listing.run_ok().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&listed).split("\n\n").any(|stanza| target_of(stanza).base == base)
}

/// The Release file beside an index, and whether it is a signed one. apt keeps an InRelease, or a Release.gpg, only if
/// the signature was good; what it took without is kept as a bare Release.
fn release_of(target: &Target) -> Option<(Vec<u8>, bool)> {
    let name = target.file.file_name()?.to_str()?;
    let prefix = name.strip_suffix(&file_name_of(&target.key))?;
    let file = |name: &str| target.file.with_file_name(format!("{prefix}{name}"));
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        // The header is all we need; the checksums after it are long.
        let read = File::open(path).and_then(|file| file.take(256 << 10).read_to_end(&mut bytes));
        read.map(|_| bytes)
    };
    read(&file("InRelease"))
        .map(|bytes| (bytes, true))
        .or_else(|_| io::Result::Ok((read(&file("Release"))?, file("Release.gpg").is_file())))
        .ok()
}

/// How apt makes a file name of the path of an index (`URItoFileName`, apt-pkg/contrib/strutl.cc).
fn file_name_of(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for c in key.chars() {
        match c {
            '/' => name.push('_'),
            '_' | '\\' | '|' | '{' | '}' | '[' | ']' | '<' | '>' | '"' | '^' | '~' | '=' | '!' | '@'
            | '#' | '$' | '%' | '&' | '*' => {
                let _ = write!(name, "%{:02x}", u32::from(c));
            }
            _ => name.push(c),
        }
    }
    name
}

/// `scheme://user:password@host/…` without user and password.
pub(super) fn without_credentials(address: &str) -> String {
    if let Some((scheme, rest)) = address.split_once("://") {
        let end = rest.find('/').unwrap_or(rest.len());
        if let Some(at) = rest[..end].rfind('@') {
            return format!("{scheme}://{}", &rest[at + 1..]);
        }
    }
    address.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_leave_an_address() {
        assert_eq!(
            without_credentials("https://me:p@ss@archive.example/x@y/"),
            "https://archive.example/x@y/"
        );
        assert_eq!(without_credentials("https://me:pw@archive.example"), "https://archive.example");
        assert_eq!(without_credentials("file:/srv/a@b"), "file:/srv/a@b");
    }

    #[test]
    fn files_are_named_as_apt_names_them() {
        assert_eq!(file_name_of("main/binary-amd64/Packages"), "main_binary-amd64_Packages");
        assert_eq!(file_name_of("a_b/Packages"), "a%5fb_Packages");
    }
}
