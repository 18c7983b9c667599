//! What apk's database says is installed.

use crate::observe::gaps;
use crate::observe::owners::Owners;
use crate::observe::root::Root;
use exposure::inventory::{Gap, Origin, Package, PackageState, Part};

/// apk lists every file with its checksum: some 100 bytes each; a million files are 100 MB. Twice that, and a bit.
const INSTALLED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// apk-tools 3 moved it under `/usr`; the older place goes first.
const INSTALLED: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];

/// What an installed database says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// Installed packages, in the order of the file.
    pub packages: Vec<Package>,
    /// What could not be read, in words.
    pub lost: Vec<String>,
}

/// The bytes of the database, if there is one.
pub(super) fn database(root: &Root) -> Option<std::io::Result<Vec<u8>>> {
    let path = INSTALLED.into_iter().find(|path| root.identity_of(path).is_ok())?;
    Some(root.read(path, INSTALLED_BYTES_MAX))
}

/// Reads apk's packages out of its database.
pub(super) fn read(bytes: &[u8], found: &mut Vec<Gap>) -> Vec<Package> {
    let installed = parse_installed(bytes);
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

/// Tells `owners` about every file in apk's installed database.
pub fn take_files(bytes: &[u8], owners: &mut Owners) {
    let (mut package, mut directory) = (String::new(), Vec::new());
    for line in bytes.split(|byte| *byte == b'\n') {
        match line.split_at_checked(2) {
            Some((b"P:", name)) => package = String::from_utf8_lossy(name).into_owned(),
            Some((b"F:", path)) => {
                directory = [b"/", path].concat();
                owners.take(&package, &directory);
            }
            Some((b"R:", name)) => owners.take(&package, &[&directory, b"/".as_slice(), name].concat()),
            _ => {}
        }
    }
}

#[derive(Default)]
struct Entry<'a> {
    line_first: Option<usize>,
    damage: Option<String>,
    name: Option<&'a str>,
    version: Option<&'a str>,
    arch: Option<&'a str>,
    origin: Option<&'a str>,
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
                state: PackageState::Installed,
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
}
