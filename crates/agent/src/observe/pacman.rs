//! What pacman's database says is installed: a directory for each package, with its description and its files.

pub(crate) mod settings;

use crate::observe::gaps;
use crate::observe::owners::Owners;
use crate::observe::root::Root;
use crate::unpack::{Bytes, Caps};
use exposure::inventory::{Gap, Origin, Package, PackageState, Part};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;

/// The database, and what it says of repositories.
pub(crate) const LOCAL: &str = "/var/lib/pacman/local";
pub(crate) const SYNC: &str = "/var/lib/pacman/sync";
/// pacman's settings.
pub(crate) const CONFIG: &str = "/etc/pacman.conf";
/// Settings are some 100 lines.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// A description is 1 KiB; a list of 100,000 files 10 MB.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;
const FILES_BYTES_MAX: u64 = 64 << 20;
/// Arch's `extra` is 8 MB, packed; ten times that. Unpacked it is 50 MB.
const SYNC_BYTES_MAX: u64 = 80 << 20;
const SYNC_UNPACKED_BYTES_MAX: u64 = 512 << 20;

/// Whether pacman keeps this root.
pub(super) fn is_kept_by_pacman(root: &Root) -> bool {
    root.identity_of(format!("{LOCAL}/ALPM_DB_VERSION")).is_ok()
}

/// The installed packages. A description that cannot be read belongs to a package whose installation was interrupted.
pub(super) fn read(root: &Root, found: &mut Vec<Gap>) -> Vec<Package> {
    let held = held(root, found);
    let (mut packages, mut lost) = (Vec::new(), Vec::new());
    for name in root.list(LOCAL).unwrap_or_default() {
        if name == "ALPM_DB_VERSION" {
            continue;
        }
        let entry = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let description =
            root.read(format!("{LOCAL}/{entry}/desc"), DESCRIPTION_BYTES_MAX).unwrap_or_default();
        match described(&entry, &description) {
            Some(mut package) => {
                package.held = held.iter().any(|pattern| pattern.matches(&package.name));
                packages.push(package);
            }
            None => lost.push(entry),
        }
    }
    let remedy = "see \"pacman -Dk\", then look again";
    if !lost.is_empty() {
        let reason = format!("damaged: {}", gaps::named(&lost));
        found.push(gaps::new(Part::Packages, LOCAL, reason, remedy));
    }
    if packages.is_empty() {
        found.push(gaps::new(Part::Packages, LOCAL, "names no installed package", remedy));
    }
    packages
}

/// The package of a directory of the database, by its description; by its name alone if that says nothing. `None`: it is no
/// package's.
pub fn described(entry: &str, description: &[u8]) -> Option<Package> {
    package(&fields(description), PackageState::Installed).or_else(|| interrupted(entry))
}

fn package(fields: &BTreeMap<String, Vec<String>>, state: PackageState) -> Option<Package> {
    let field = |name: &str| fields.get(name).and_then(|values| values.first()).cloned();
    let (name, version) = (field("NAME")?, field("VERSION")?);
    Some(Package {
        source: field("BASE").unwrap_or_else(|| name.clone()),
        source_version: version.clone(),
        arch: field("ARCH").unwrap_or_default(),
        name,
        version,
        state,
        held: false,
        essential: false,
        module: None,
        vendor: field("PACKAGER").unwrap_or_default(),
        // Nothing in the database tells a repository's package from one that was built here.
        origin: Origin::Unknown,
    })
}

/// A package of which nothing but the name of its directory is left: `name-version-release`.
fn interrupted(entry: &str) -> Option<Package> {
    let (rest, release) = entry.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    let value = |text: String| vec![text];
    let fields = BTreeMap::from([
        ("NAME".to_owned(), value(name.to_owned())),
        ("VERSION".to_owned(), value(format!("{version}-{release}"))),
    ]);
    let is_whole = |package: &Package| ![name, version, release].contains(&"") && !package.name.is_empty();
    package(&fields, PackageState::HalfInstalled).filter(is_whole)
}

/// Patterns of names that the operator holds back.
fn held(root: &Root, found: &mut Vec<Gap>) -> Vec<glob::Pattern> {
    let settings = settings::read(root);
    if !settings.unread.is_empty() {
        let reason = format!("what its owner ignores is not known: {}", gaps::named(&settings.unread));
        found.push(gaps::new(Part::Packages, CONFIG, reason, "see \"pacman-conf\", then look again"));
    }
    let words = options(&settings.text, "IgnorePkg");
    words.iter().filter_map(|word| glob::Pattern::new(word).ok()).collect()
}

/// Words of an option of pacman's settings, which may be given many times.
pub(crate) fn options(text: &[u8], option: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let value = |line: &str| {
        let (name, value) = line.trim().split_once('=')?;
        (name.trim() == option).then(|| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    text.lines().filter_map(value).flatten().collect()
}

/// A description: `%NAME%`, its values a line each, an empty line.
pub fn fields(text: &[u8]) -> BTreeMap<String, Vec<String>> {
    let text = String::from_utf8_lossy(text);
    let (mut fields, mut name) = (BTreeMap::<String, Vec<String>>::new(), String::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix('%').and_then(|line| line.strip_suffix('%')) {
            Some(field) => field.clone_into(&mut name),
            None => fields.entry(name.clone()).or_default().push(line.to_owned()),
        }
    }
    fields
}

/// Tells `owners` about every file of every package.
pub(super) fn take_files(root: &Root, owners: &mut Owners) {
    for name in root.list(LOCAL).unwrap_or_default() {
        let entry = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let Some(package) = interrupted(&entry) else { continue };
        let files = root.read(format!("{LOCAL}/{entry}/files"), FILES_BYTES_MAX).unwrap_or_default();
        for file in fields(&files).remove("FILES").unwrap_or_default() {
            owners.take(&package.name, format!("/{file}").as_bytes());
        }
    }
}

/// One package that a repository has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub arch: String,
    /// Name of what it was built from.
    pub source: String,
    /// Name of the repository.
    pub repository: String,
    /// 64 hex digits; `None` where it is not told.
    pub sha256: Option<String>,
    /// Bytes of its file; 0 where it is not told.
    pub size_bytes: u64,
}

/// What the repositories have of these packages, by the metadata that is cached here; and what of it cannot be read.
pub(crate) fn offered(root: &Root, names: &BTreeSet<&str>) -> (Vec<Offered>, Vec<String>) {
    let (mut offered, mut lost) = (Vec::new(), Vec::new());
    for name in root.list(SYNC).unwrap_or_default() {
        let file = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let Some(repository) = file.strip_suffix(".db") else { continue };
        let bytes = root.read(format!("{SYNC}/{file}"), SYNC_BYTES_MAX);
        match bytes.and_then(|bytes| read_sync(bytes, repository, names)) {
            Ok((mut read, damaged)) => {
                offered.append(&mut read);
                lost.extend(
                    damaged.iter().map(|entry| format!("{repository}: {entry} describes no package")),
                );
            }
            Err(error) => lost.push(format!("{repository}: {error}")),
        }
    }
    (offered, lost)
}

/// What one repository has of these packages, and the entries of it that describe none. Errors where it cannot be read to its
/// end: half a repository is none.
pub fn read_sync(
    bytes: Vec<u8>,
    repository: &str,
    names: &BTreeSet<&str>,
) -> io::Result<(Vec<Offered>, Vec<String>)> {
    let unpacked = Bytes::of(Box::new(io::Cursor::new(bytes)), Caps::OF_LOGS)?;
    let mut archive = tar::Archive::new(unpacked.take(SYNC_UNPACKED_BYTES_MAX));
    let (mut offered, mut damaged) = (Vec::new(), Vec::new());
    // As they are: names too long for a header, which an archive may have of any length, no repository has.
    for entry in archive.entries()?.raw(true) {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        if !entry.header().entry_type().is_file() || !path.ends_with("desc") {
            continue;
        }
        let (size, mut text) = (entry.size(), Vec::new());
        let described = (size <= DESCRIPTION_BYTES_MAX).then_some(entry);
        described.map_or(Ok(0), |entry| entry.take(size).read_to_end(&mut text))?;
        let fields = fields(&text);
        let field = |name: &str| fields.get(name).and_then(|values| values.first()).cloned();
        let (Some(name), Some(version)) = (field("NAME"), field("VERSION")) else {
            damaged.push(path.display().to_string());
            continue;
        };
        if names.contains(name.as_str()) {
            offered.push(Offered {
                source: field("BASE").unwrap_or_else(|| name.clone()),
                arch: field("ARCH").unwrap_or_default(),
                repository: repository.to_owned(),
                sha256: field("SHA256SUM"),
                size_bytes: field("CSIZE").and_then(|size| size.parse().ok()).unwrap_or(0),
                name,
                version,
            });
        }
    }
    // Two empty blocks end an archive; the reader stops after the first, or where there is nothing more. And what it is packed
    // with is whole only if the rest of it unpacks.
    let mut rest = archive.into_inner();
    if io::copy(&mut rest, &mut io::sink())? < 512 {
        return Err(io::Error::other("it is cut off, or unpacks to more than any repository does"));
    }
    Ok((offered, damaged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn packages_are_read_and_what_was_interrupted_is_half_installed() {
        let directory = tempfile::tempdir().unwrap();
        let local = directory.path().join("var/lib/pacman/local");
        let entry = |name: &str, desc: &str| {
            fs::create_dir_all(local.join(name)).unwrap();
            fs::write(local.join(name).join("desc"), desc).unwrap();
        };
        fs::create_dir_all(&local).unwrap();
        fs::write(local.join("ALPM_DB_VERSION"), "9\n").unwrap();
        entry("lamp-1:1.0-2", "%NAME%\nlamp\n\n%VERSION%\n1:1.0-2\n\n%BASE%\nlamps\n\n%ARCH%\nany\n\n");
        entry("bed-oil-1.0-2", "");
        fs::create_dir_all(directory.path().join("etc")).unwrap();
        fs::write(
            directory.path().join("etc/pacman.conf"),
            "[options]\n#IgnorePkg = x\nInclude = /etc/held\n",
        )
        .unwrap();
        fs::write(directory.path().join("etc/held"), "IgnorePkg = bed-* y\n").unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert!(is_kept_by_pacman(&root));
        let mut found = Vec::new();
        let told: Vec<_> = read(&root, &mut found)
            .into_iter()
            .map(|p| (p.name, p.version, p.source, p.state, p.held))
            .collect();
        let one = |name: &str, version: &str, source: &str, state, held| {
            (name.to_owned(), version.to_owned(), source.to_owned(), state, held)
        };
        let mut expected = [
            one("lamp", "1:1.0-2", "lamps", PackageState::Installed, false),
            one("bed-oil", "1.0-2", "bed-oil", PackageState::HalfInstalled, true),
        ];
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        let mut told = told;
        told.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(told, expected);
        assert_eq!(found, []);
        fs::remove_file(directory.path().join("etc/held")).unwrap();
        read(&root, &mut found);
        assert!(found.len() == 1 && found[0].reason.contains("/etc/held: "), "{found:?}");
    }

    #[test]
    fn a_repository_tells_digests_whatever_it_is_packed_with() {
        let text = "%FILENAME%\nlamp\n\n%NAME%\nlamp\n\n%VERSION%\n2-1\n\n%ARCH%\nany\n\n%CSIZE%\n4711\n\n%SHA256SUM%\nab\n";
        let mut builder = tar::Builder::new(Vec::new());
        for name in ["lamp-2-1/desc", "other-1-1/desc"] {
            let text = if name.starts_with("lamp") { text.to_owned() } else { text.replace("lamp", "other") };
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_cksum();
            builder.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let plain = builder.into_inner().unwrap();
        let ask = |packed: Vec<u8>| read_sync(packed, "bed", &["lamp"].into());
        for packed in [plain.clone(), zstd::encode_all(&plain[..], 1).unwrap()] {
            let (offered, damaged) = ask(packed).unwrap();
            assert_eq!((offered.len(), damaged.len()), (1, 0));
            assert_eq!((offered[0].sha256.as_deref(), offered[0].size_bytes), (Some("ab"), 4711));
        }
        // Of four blocks with two empty ones after them.
        assert_eq!(plain.len(), 6 * 512);
        for end in (0..=5 * 512).step_by(64) {
            assert!(ask(plain[..end].to_vec()).is_err(), "cut off after {end} bytes");
        }
        let nameless = String::from_utf8(plain).unwrap().replacen("%NAME%", "%GAME%", 1);
        let (offered, damaged) = ask(nameless.into_bytes()).unwrap();
        assert_eq!((offered, damaged), (Vec::new(), vec!["lamp-2-1/desc".to_owned()]));
    }
}
