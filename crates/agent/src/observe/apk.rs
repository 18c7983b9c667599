//! What apk's database says is installed.

use crate::observe::gaps;
use crate::observe::owners::Owners;
use crate::observe::root::Root;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use exposure::inventory::{Gap, Origin, Package, PackageState, Part};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// apk lists every file with its checksum: some 100 bytes each; a million files are 100 MB. Twice that, and a bit.
const INSTALLED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// apk-tools 3 moved it under `/usr`; the older place goes first.
pub(crate) const INSTALLED: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];

/// What the owner wants installed; a thousand names are 20 KB.
pub(crate) const WORLD: &str = "/etc/apk/world";
const WORLD_BYTES_MAX: u64 = 1 << 20;
/// How apk names what it unpacks until it is whole: this, and the first 24 bytes of a digest in hex.
const UNFINISHED: &str = ".apk.";
const UNFINISHED_DIGITS: usize = 48;

/// What an installed database says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// Installed packages, in the order of the file.
    pub packages: Vec<Package>,
    /// What could not be read, in words.
    pub lost: Vec<String>,
}

/// The bytes of the database, if there is one.
pub(crate) fn database(root: &Root) -> Option<std::io::Result<Vec<u8>>> {
    let path = INSTALLED.into_iter().find(|path| root.identity_of(path).is_ok())?;
    Some(root.read(path, INSTALLED_BYTES_MAX))
}

/// Reads apk's packages out of its database; those are held of which the owner wants one version.
pub(super) fn read(root: &Root, bytes: &[u8], found: &mut Vec<Gap>) -> Vec<Package> {
    let mut installed = parse_installed(bytes);
    let world = root.read(WORLD, WORLD_BYTES_MAX).unwrap_or_else(|error| {
        if error.kind() != ErrorKind::NotFound {
            let reason = format!("what its owner pins is not known: {error}");
            found.push(gaps::new(Part::Packages, WORLD, reason, "run as root"));
        }
        Vec::new()
    });
    let held = pinned(&world);
    for package in &mut installed.packages {
        package.held = held.contains(&package.name);
    }
    let remedy = "run \"apk fix\", then look again";
    if !installed.lost.is_empty() {
        let reason = format!("damaged: {}", gaps::named(&installed.lost));
        found.push(gaps::new(Part::Packages, INSTALLED[0], reason, remedy));
    }
    if installed.packages.is_empty() {
        found.push(gaps::new(Part::Packages, INSTALLED[0], "names no installed package", remedy));
    }
    installed.packages
}

/// Parses apk's installed database: entries of `X:value` lines, an empty line after each.
///
/// apk keeps one version for a source package (`origin`) and all its binary packages.
pub fn parse_installed(bytes: &[u8]) -> Installed {
    let mut installed = Installed::default();
    let mut entry = Entry::default();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.is_empty() {
            entry.close(&mut installed);
        } else {
            entry.take(line, number);
        }
    }
    // What follows the last line break: nothing in a whole file.
    if entry.line_first.is_some() || (!bytes.is_empty() && !bytes.ends_with(b"\n")) {
        entry.damage.get_or_insert_with(|| "the file is cut off in its entry".to_owned());
        entry.close(&mut installed);
    }
    installed
}

/// Names of which the world asks for one version, or an older one: `lamp=1.0-r1`, `lamp<2`, and `lamp><Q1…`, which installing a
/// file by its path leaves. `lamp~1.0` and `lamp>1` let newer ones in.
pub fn pinned(world: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(world);
    let pin = |word: &str| {
        let (name, asked) = word.split_at(word.find(['=', '<', '>', '~', '@'])?);
        let is_pin = ["=", "<", "><"].iter().any(|mark| asked.starts_with(mark)) && !asked.starts_with("=~");
        (is_pin && !name.is_empty() && !name.starts_with('!')).then(|| name.to_owned())
    };
    text.split_whitespace().filter_map(pin).collect()
}

/// Names that the world asks for, whatever the version.
pub(crate) fn wanted(root: &Root) -> BTreeSet<String> {
    let world = root.read(WORLD, WORLD_BYTES_MAX).unwrap_or_default();
    let text = String::from_utf8_lossy(&world);
    let name = |word: &str| word.split(['=', '<', '>', '~', '@']).next().unwrap_or_default().to_owned();
    text.split_whitespace().map(name).collect()
}

/// Tells `owners` about every file in apk's installed database.
pub fn take_files(bytes: &[u8], owners: &mut Owners) {
    each_path(bytes, |package, path, _| owners.take(package, path));
}

/// Every path in the database, with its package, and whether it is a directory.
fn each_path(bytes: &[u8], mut take: impl FnMut(&str, &[u8], bool)) {
    let (mut package, mut directory) = (String::new(), Vec::new());
    for line in bytes.split(|byte| *byte == b'\n') {
        match line.split_at_checked(2) {
            Some((b"P:", name)) => package = String::from_utf8_lossy(name).into_owned(),
            Some((b"F:", path)) => {
                directory = [b"/", path].concat();
                take(&package, &directory, true);
            }
            Some((b"R:", name)) => take(&package, &[&directory, b"/".as_slice(), name].concat(), false),
            _ => {}
        }
    }
}

/// Files or directories of these packages.
pub(crate) fn paths_of(bytes: &[u8], names: &BTreeSet<&str>, directories: bool) -> BTreeSet<PathBuf> {
    let mut paths = BTreeSet::new();
    each_path(bytes, |package, path, is_directory| {
        if is_directory == directories && names.contains(package) {
            paths.insert(PathBuf::from(OsStr::from_bytes(path)));
        }
    });
    paths
}

/// Whether a file in a directory of packages' is what apk had not unpacked whole.
pub(crate) fn is_unfinished(name: &OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(UNFINISHED));
    digits.is_some_and(|digits| {
        digits.len() == UNFINISHED_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Whether a package has a kernel in it.
pub(crate) fn owns_kernel(bytes: &[u8], name: &str) -> bool {
    let files = paths_of(bytes, &[name].into(), false);
    files.iter().any(|path| path.as_os_str().as_bytes().starts_with(b"/boot/vmlinuz"))
}

/// By what apk knows the installed file of a package again, in hex digits: of a part of it.
pub(crate) fn identity(bytes: &[u8], name: &str) -> Option<String> {
    let mut identity = None;
    for line in bytes.split(|byte| *byte == b'\n') {
        match line.split_at_checked(2) {
            Some((b"C:", value)) => {
                identity = value.strip_prefix(b"Q1").or_else(|| value.strip_prefix(b"Q2"));
            }
            Some((b"P:", found)) if found == name.as_bytes() => {
                let bytes = BASE64.decode(identity?).ok()?;
                return Some(bytes.iter().fold(String::new(), |mut digits, byte| {
                    let _ = write!(digits, "{byte:02x}");
                    digits
                }));
            }
            None if line.is_empty() => identity = None,
            _ => {}
        }
    }
    None
}

#[derive(Default)]
struct Entry<'a> {
    line_first: Option<usize>,
    damage: Option<String>,
    name: Option<&'a str>,
    version: Option<&'a str>,
    arch: Option<&'a str>,
    origin: Option<&'a str>,
    flags: Option<&'a str>,
}

impl<'a> Entry<'a> {
    fn take(&mut self, line: &'a [u8], number: usize) {
        self.line_first.get_or_insert(number);
        let Some((field, value)) = line.split_at_checked(2).filter(|(field, _)| field[1] == b':') else {
            self.damage.get_or_insert_with(|| format!("line {number} is no field"));
            return;
        };
        let slot = match field[0] {
            b'P' => &mut self.name,
            b'V' => &mut self.version,
            b'A' => &mut self.arch,
            b'o' => &mut self.origin,
            b'f' => &mut self.flags,
            _ => return,
        };
        let is_word = !value.is_empty() && value.iter().all(u8::is_ascii_graphic);
        let value = std::str::from_utf8(value).ok().filter(|_| is_word);
        if value.is_none() || slot.is_some() {
            self.damage.get_or_insert_with(|| format!("line {number} is garbled or repeated"));
        }
        *slot = value;
    }

    fn close(&mut self, into: &mut Installed) {
        let entry = std::mem::take(self);
        let Some(line) = entry.line_first else { return };
        let named = || entry.name.map_or_else(|| format!("line {line}"), str::to_owned);
        let missing = || "no name, version or architecture".to_owned();
        match (entry.damage, entry.name, entry.version, entry.arch) {
            (None, Some(name), Some(version), Some(arch)) => into.packages.push(Package {
                name: name.to_owned(),
                arch: arch.to_owned(),
                version: version.to_owned(),
                source: entry.origin.unwrap_or(name).to_owned(),
                source_version: version.to_owned(),
                state: state(entry.flags.unwrap_or_default()),
                held: false,
                essential: false,
                module: None,
                vendor: String::new(),
                origin: Origin::Unknown,
            }),
            // The damage says where it is.
            (Some(damage), None, ..) if damage.starts_with("line ") => into.lost.push(damage),
            (damage, ..) => into.lost.push(format!("{} ({})", named(), damage.unwrap_or_else(missing))),
        }
    }
}

/// What apk has noted of a package: files (`f`) or their attributes (`x`) that could not be written, a script (`s`) that failed.
/// Of what was cut short it notes nothing: the database is written last.
fn state(flags: &str) -> PackageState {
    if flags.contains(['f', 'x']) {
        PackageState::HalfInstalled
    } else if flags.contains('s') {
        PackageState::Unpacked
    } else {
        PackageState::Installed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "C:Q1aaa=\nP:libtls\nV:3.1-r0\nA:x86_64\nS:1\no:tls\nF:lib\nR:libtls.so.3\na:0:0:755\n\
                         F:usr/bin\n\nP:alone\nV:1-r0\nA:x86_64\n\n";

    #[test]
    fn an_installed_database_gives_packages_origins_and_files() {
        let installed = parse_installed(WHOLE.as_bytes());
        assert_eq!(installed.lost, Vec::<String>::new());
        let told = installed.packages.iter().map(|package| (package.name.as_str(), package.source.as_str()));
        assert_eq!(told.collect::<Vec<_>>(), [("libtls", "tls"), ("alone", "alone")]);
        let mut owners = Owners::wanted([b"/lib/libtls.so.3".to_vec(), b"/usr/bin/x".to_vec()]);
        take_files(WHOLE.as_bytes(), &mut owners);
        assert_eq!(owners.of(b"/lib/libtls.so.3"), Some("libtls"));
        assert_eq!(owners.of(b"/usr/bin/x"), None);
    }

    #[test]
    fn a_cut_or_damaged_database_keeps_the_rest_and_names_the_lost() {
        let cut = &WHOLE.as_bytes()[..WHOLE.len() - 5];
        let installed = parse_installed(cut);
        assert_eq!(installed.packages.len(), 1);
        assert_eq!(installed.lost, ["alone (the file is cut off in its entry)"]);
        let damaged = WHOLE.replace("V:3.1-r0", "V:3.1\0r0");
        let installed = parse_installed(damaged.as_bytes());
        assert_eq!((installed.packages.len(), installed.lost.len()), (1, 1));
        let installed = parse_installed(WHOLE.replace("P:alone", "P:\0").as_bytes());
        assert_eq!(installed.lost, ["line 12 is garbled or repeated"]);
    }

    #[test]
    fn a_script_that_failed_and_files_that_were_not_written_are_told_by_the_database() {
        let state = |flags: &str| {
            let text = WHOLE.replace("S:1\n", &format!("S:1\nf:{flags}\n"));
            parse_installed(text.as_bytes()).packages[0].state
        };
        assert_eq!(state("s"), PackageState::Unpacked);
        assert_eq!([state("fs"), state("x")], [PackageState::HalfInstalled; 2]);
        assert_eq!(state("S"), PackageState::Installed, "which checksum it has");
    }

    #[test]
    fn one_version_that_the_owner_wants_is_held_and_newer_ones_that_he_lets_in_are_not() {
        let world = b"a=1-r0\nb<2\nc><Q1aaa=\nd~1.0\ne>1\nf\n!g=1\nh=~1\ni@edge\nso:x=1 k<=3@edge\n";
        assert_eq!(pinned(world).into_iter().collect::<Vec<_>>(), ["a", "b", "c", "k", "so:x"]);
    }

    #[test]
    fn what_lies_of_a_package_is_found() {
        let text = "C:Q1fMkIKIpinWAsYtDOZeKpLt/A0fo=\nP:linux-virt\nV:1\nA:x86_64\nF:boot\nR:vmlinuz-virt\n\nP:b\nV:1\n\n";
        let digits = identity(text.as_bytes(), "linux-virt").unwrap();
        assert_eq!(digits, "7cc908288a629d602c62d0ce65e2a92edfc0d1fa");
        assert_eq!(identity(text.as_bytes(), "b"), None, "not another's");
        assert!(owns_kernel(text.as_bytes(), "linux-virt") && !owns_kernel(text.as_bytes(), "b"));
        let one = format!(".apk.{}", "4ae3c6aeeb827fd90108bf4b401e93fb7b2a86b071d47493");
        assert!(is_unfinished(OsStr::new(&one)) && !is_unfinished(OsStr::new(".apk.4ae3")));
    }
}
