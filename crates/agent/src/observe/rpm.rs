//! What rpm's database says is installed. The database's format is rpm's own affair, so the host's `rpm` is asked.

use crate::observe::gaps;
use crate::observe::owners::Owners;
use crate::observe::root::Root;
use crate::program::{Error, Output, Program};
use advisory::{Family, Module};
use exposure::inventory::{Gap, Origin, Package, PackageState, Part};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Where rpm keeps its database: since 2021, before, and on ostree.
const DATABASES: [&str; 3] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm", "/usr/share/rpm"];

/// The file that makes a directory a database: SQLite, ndb, Berkeley DB.
const FILES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

/// A database of 3,000 packages is 200 MB; ten times that.
const DATABASE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// 50,000 packages at 300 bytes a line are 15 MB.
const QUERY_BYTES_MAX: u64 = 64 << 20;

/// Two million files at 100 bytes a line.
const FILE_QUERY_BYTES_MAX: u64 = 256 << 20;

/// Time for one question; rpm answers within a second.
const DEADLINE: Duration = Duration::from_secs(60);

/// Unit separator: no field of a package holds it, whereas vendors hold commas, blanks and worse.
const SEPARATOR: char = '\u{1f}';

const INSTALL_RPM: &str = "install the package \"rpm\", then look again";

/// rpm's database of one root.
#[derive(Debug)]
pub(super) struct Database {
    /// The directory to give to rpm.
    pub(super) directory: PathBuf,
    /// Home for the tools: empty, and gone with this.
    pub(super) home: TempDir,
    path: String,
}

/// What `rpm -qa` said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Queried {
    /// Packages, in the order told.
    pub packages: Vec<Package>,
    /// What could not be read, in words.
    pub lost: Vec<String>,
}

impl Database {
    /// Finds the database of `root`; `None` if there is none.
    ///
    /// rpm writes beside a database that it reads, and follows its links: a foreign root's database is therefore copied
    /// first, file by file.
    pub(super) fn find(root: &Root) -> Option<std::io::Result<Self>> {
        Some(Self::open(root, Self::path(root)?, !root.is_own()))
    }

    /// A copy of the database of `root`, be it our own; `None` if there is none.
    pub(super) fn copied(root: &Root) -> Option<std::io::Result<Self>> {
        Some(Self::open(root, Self::path(root)?, true))
    }

    fn path(root: &Root) -> Option<&'static str> {
        let has = |path: &&str| FILES.iter().any(|file| root.identity_of(format!("{path}/{file}")).is_ok());
        DATABASES.into_iter().find(has)
    }

    fn open(root: &Root, path: &str, copied: bool) -> std::io::Result<Self> {
        let home = tempfile::Builder::new().prefix("palisade-rpm-").tempdir()?;
        let directory = if copied { copy(root, path, home.path())? } else { PathBuf::from(path) };
        Ok(Self { directory, home, path: path.to_owned() })
    }

    /// The installed packages.
    pub(super) fn packages(&self, found: &mut Vec<Gap>) -> Vec<Package> {
        let mut gap = |reason: &str, remedy: &str| {
            found.push(gaps::new(Part::Packages, &self.path, reason, remedy));
        };
        let fields = [
            "%{NAME}",
            "%{EPOCHNUM}",
            "%{VERSION}",
            "%{RELEASE}",
            "%|ARCH?{%{ARCH}}|",
            "%|SOURCERPM?{%{SOURCERPM}}|",
            "%|VENDOR?{%{VENDOR}}|",
            "%|MODULARITYLABEL?{%{MODULARITYLABEL}}|",
        ];
        let format = format!("{}\n", fields.join(&SEPARATOR.to_string()));
        let repair = "run \"rpm --rebuilddb\" on that system, then look again";
        match self.query(&format, QUERY_BYTES_MAX) {
            Ok(output) => {
                if output.code != Some(0) || !output.stderr.trim().is_empty() {
                    gap(&output.told(), repair);
                }
                let queried = parse_query(&output.stdout);
                if !queried.lost.is_empty() {
                    gap(&format!("rpm's answer is garbled: {}", gaps::named(&queried.lost)), repair);
                }
                if queried.packages.is_empty() {
                    gap("names no installed package", repair);
                }
                queried.packages
            }
            Err(failure) => {
                let remedy = if matches!(failure, Error::Missing(_)) { INSTALL_RPM } else { repair };
                gap(&format!("rpm could not be asked: {failure}"), remedy);
                Vec::new()
            }
        }
    }

    /// Tells `owners` about every file of every package. A failure costs owners, not packages, and is said.
    pub(super) fn take_files(&self, owners: &mut Owners, found: &mut Vec<Gap>) {
        let format = format!("[%{{=NAME}}{SEPARATOR}%{{FILENAMES}}\n]");
        let reason = match self.query(&format, FILE_QUERY_BYTES_MAX) {
            Ok(output) => {
                for line in output.stdout.split(|byte| *byte == b'\n') {
                    let Some(at) = memchr::memchr(SEPARATOR as u8, line) else { continue };
                    if let Ok(package) = std::str::from_utf8(&line[..at]) {
                        owners.take(package, &line[at + 1..]);
                    }
                }
                if output.code == Some(0) {
                    return;
                }
                output.told()
            }
            Err(failure) => failure.to_string(),
        };
        let reason = format!("which packages own the mapped files is not known: {reason}");
        found.push(gaps::new(Part::Processes, &self.path, reason, ""));
    }

    fn query(&self, format: &str, stdout_bytes_max: u64) -> Result<Output, Error> {
        let mut database = std::ffi::OsString::from("--dbpath=");
        database.push(&self.directory);
        Program::new("rpm")
            .args([database, "-qa".into(), "--qf".into(), format.into()])
            .env("HOME", self.home.path())
            .deadline(DEADLINE)
            .stdout_bytes_max(stdout_bytes_max)
            .run()
    }
}

/// Copies the regular files of the directory at `path` into `scratch`.
fn copy(root: &Root, path: &str, scratch: &Path) -> std::io::Result<PathBuf> {
    let target = scratch.join("rpmdb");
    std::fs::create_dir(&target)?;
    let mut bytes_left = DATABASE_BYTES_MAX;
    for name in root.list(path)? {
        let file = match root.file(Path::new(path).join(&name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
            // Directories and other things that no database consists of.
            Err(_) => continue,
        };
        let mut copy = std::fs::File::create_new(target.join(&name))?;
        // At most one byte too many: enough to know.
        let copied = std::io::copy(&mut std::io::Read::take(file, bytes_left.saturating_add(1)), &mut copy)?;
        bytes_left = bytes_left
            .checked_sub(copied)
            .ok_or_else(|| std::io::Error::other(format!("larger than {DATABASE_BYTES_MAX} bytes")))?;
    }
    Ok(target)
}

/// Parses what the query printed.
pub fn parse_query(bytes: &[u8]) -> Queried {
    let mut queried = Queried::default();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.is_empty() {
            continue;
        }
        match parse_package(line) {
            // Keys that rpm keeps as if they were packages.
            Some(package) if package.name == "gpg-pubkey" => {}
            Some(package) => queried.packages.push(package),
            None => queried.lost.push(format!("line {number}")),
        }
    }
    queried
}

fn parse_package(line: &[u8]) -> Option<Package> {
    let fields = std::str::from_utf8(line).ok()?.split(SEPARATOR).collect::<Vec<_>>();
    let [name, epoch, version, release, arch, source_rpm, vendor, module] = fields.as_slice() else {
        return None;
    };
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if ![name, epoch, version, release].into_iter().all(|field| is_word(field)) {
        return None;
    }
    let epoch = epoch.parse().ok()?;
    let binary = evr(epoch, version, release);
    let (source, source_version) = match split_source(source_rpm) {
        Some((source, version, release)) => (source.to_owned(), evr(epoch, version, release)),
        None => ((*name).to_owned(), binary.clone()),
    };
    Some(Package {
        name: (*name).to_owned(),
        arch: (*arch).to_owned(),
        version: binary,
        source,
        source_version,
        state: PackageState::Installed,
        held: false,
        essential: false,
        module: parse_module(module),
        vendor: (*vendor).to_owned(),
        origin: Origin::Unknown,
    })
}

/// A version as inventories and plans have it: `epoch:version-release`, a zero epoch left out.
pub(crate) fn evr(epoch: u32, version: &str, release: &str) -> String {
    match epoch {
        0 => format!("{version}-{release}"),
        epoch => format!("{epoch}:{version}-{release}"),
    }
}

/// Name, version and release of `name-version-release.src.rpm`. The epoch is not in it; the binary's is taken, which
/// is the same but for the rare package that sets its own.
pub(crate) fn split_source(source_rpm: &str) -> Option<(&str, &str, &str)> {
    let stem = source_rpm.strip_suffix(".rpm")?;
    let stem = stem.strip_suffix(".src").or_else(|| stem.strip_suffix(".nosrc"))?;
    let (rest, release) = stem.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    (!name.is_empty() && !version.is_empty() && !release.is_empty()).then_some((name, version, release))
}

/// `name:stream:version:context`, the architecture sometimes after it.
fn parse_module(label: &str) -> Option<Module> {
    let mut parts = label.split(':');
    let (name, stream) = (parts.next()?, parts.next()?);
    (!name.is_empty() && !stream.is_empty())
        .then(|| Module { name: name.to_owned(), stream: stream.to_owned() })
}

/// Judges by the vendor tag who built each package: whoever built the C library is the distribution.
pub(super) fn tell_origins(family: &Family, packages: &mut [Package]) {
    let vendor_of = |name: &str| {
        packages.iter().find(|package| package.name == name).map(|package| package.vendor.clone())
    };
    let Some(distribution) =
        vendor_of("glibc").or_else(|| vendor_of("rpm")).filter(|vendor| !vendor.is_empty())
    else {
        return;
    };
    for package in packages {
        // openSUSE Leap takes packages over from SUSE Linux Enterprise as they are.
        let is_leap = *family == Family::OpenSuse
            && ["SUSE", "openSUSE"].iter().any(|start| package.vendor.starts_with(start));
        package.origin = if package.vendor == distribution || is_leap {
            Origin::Vendor
        } else if package.vendor.is_empty() {
            Origin::Local
        } else {
            Origin::Foreign(package.vendor.clone())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gives_versions_sources_and_modules() {
        let answer = "npm\u{1f}1\u{1f}8.1\u{1f}1.el9\u{1f}x86_64\u{1f}nodejs-18.2-1.el9.src.rpm\u{1f}Bed, inc <b@c>\u{1f}\
                      nodejs:18:9010:abc:x86_64\n\
                      gpg-pubkey\u{1f}0\u{1f}1\u{1f}2\u{1f}\u{1f}\u{1f}\u{1f}\n\
                      odd-name\u{1f}0\u{1f}2~rc\u{1f}1\u{1f}noarch\u{1f}\u{1f}\u{1f}\nshort\u{1f}0\n";
        let queried = parse_query(answer.as_bytes());
        let told = queried.packages.iter().map(|package| {
            (
                package.name.as_str(),
                package.version.as_str(),
                package.source.as_str(),
                package.source_version.as_str(),
            )
        });
        let expected =
            [("npm", "1:8.1-1.el9", "nodejs", "1:18.2-1.el9"), ("odd-name", "2~rc-1", "odd-name", "2~rc-1")];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert_eq!(queried.packages[0].module.as_ref().map(Module::to_string).as_deref(), Some("nodejs:18"));
        assert_eq!(queried.packages[0].vendor, "Bed, inc <b@c>");
        assert_eq!(queried.lost, ["line 4"]);
    }

    #[test]
    fn whoever_built_the_c_library_is_the_distribution() {
        let line = |name: &str, vendor: &str| {
            format!("{name}\u{1f}0\u{1f}1\u{1f}1\u{1f}noarch\u{1f}\u{1f}{vendor}\u{1f}\n")
        };
        let answer = [("glibc", "Bed"), ("a", "Bed"), ("b", "Elsewhere"), ("c", "")]
            .map(|(name, vendor)| line(name, vendor))
            .concat();
        let mut packages = parse_query(answer.as_bytes()).packages;
        tell_origins(&Family::RockyLinux, &mut packages);
        let origins = packages.into_iter().map(|package| package.origin).collect::<Vec<_>>();
        let foreign = Origin::Foreign("Elsewhere".to_owned());
        assert_eq!(origins, [Origin::Vendor, Origin::Vendor, foreign, Origin::Local]);
    }
}
