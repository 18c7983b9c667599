//! What dpkg's database says is installed.

use crate::observe::dpkg_status::{Entry, Layout, read_status};
use crate::observe::gaps;
use crate::observe::owners::Owners;
use crate::observe::root::Root;
use exposure::inventory::{Gap, Package, Part};
use memchr::memchr;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;

/// All of Debian is 70,000 packages, each with some 1.2 KB in the status file: 84 MB; three times that.
const STATUS_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The longest lists, of documentation and icons, have 50,000 files: 5 MB.
const LIST_BYTES_MAX: u64 = 64 * 1024 * 1024;

const STATUS: &str = "/var/lib/dpkg/status";
/// One file per package, in images built without dpkg (Bazel's "distroless").
const STATUS_PARTS: &str = "/var/lib/dpkg/status.d";
/// Changes not yet merged into the status file; they outlive only an interrupted dpkg.
const UPDATES: &str = "/var/lib/dpkg/updates";
const INFO: &str = "/var/lib/dpkg/info";

/// dpkg's packages, with the names of those that are only known.
#[derive(Debug, Default)]
pub(super) struct Database {
    /// Installed packages, sorted.
    pub(super) packages: Vec<Package>,
    /// Native architecture; empty if not known.
    pub(super) arch: String,
}

/// Whether dpkg keeps this root.
pub(super) fn is_kept_by_dpkg(root: &Root) -> bool {
    [STATUS, STATUS_PARTS, INFO].iter().any(|path| root.identity_of(path).is_ok())
}

/// Reads dpkg's database.
pub(super) fn read(root: &Root, found: &mut Vec<Gap>) -> Database {
    let mut entries = Vec::new();
    let mut packages_gap = |path: &str, reason: &str, remedy: &str| {
        found.push(gaps::new(Part::Packages, path, reason, remedy));
    };
    let mut files = vec![(STATUS.to_owned(), Layout::Database)];
    match root.list(STATUS_PARTS) {
        Ok(names) => files.extend(
            names
                .iter()
                // Checksums lie beside the entries.
                .filter(|name| !name.as_bytes().ends_with(b".md5sums") && !name.as_bytes().starts_with(b"."))
                .map(|name| (format!("{STATUS_PARTS}/{}", name.display()), Layout::Part)),
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => packages_gap(STATUS_PARTS, &error.to_string(), ""),
    }
    let in_parts = files.len() > 1;
    match root.list(UPDATES) {
        Ok(names) => {
            // dpkg numbers them; anything else is a temporary file of its own.
            let numbered = |name: &OsString| name.as_bytes().iter().all(u8::is_ascii_digit);
            let updates = names.into_iter().filter(numbered).collect::<Vec<_>>();
            if !updates.is_empty() {
                let reason = "dpkg was interrupted, or is running: its last changes are not merged yet";
                packages_gap(UPDATES, reason, "run \"dpkg --configure -a\", then look again");
            }
            let path = |name: OsString| (format!("{UPDATES}/{}", name.display()), Layout::Update);
            files.extend(updates.into_iter().map(path));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => packages_gap(UPDATES, &error.to_string(), ""),
    }
    let restore = "restore it from /var/lib/dpkg/status-old or /var/backups/dpkg.status.*, then look again";
    for (path, layout) in files {
        let read = root.file_up_to(&path, STATUS_BYTES_MAX).and_then(|file| read_status(file, layout));
        let status = match read {
            Ok(status) => status,
            Err(error) if error.kind() == ErrorKind::NotFound && path == STATUS && in_parts => continue,
            Err(error) => {
                packages_gap(&path, &error.to_string(), restore);
                continue;
            }
        };
        if !status.lost.is_empty() {
            let reason = format!("damaged: {}", gaps::named(&status.lost));
            packages_gap(&path, &reason, restore);
        }
        entries.extend(status.entries);
    }
    // Mostly sorted already. Of several entries about one package the last one counts.
    entries.sort_by(|one, other| (&one.name, &one.arch).cmp(&(&other.name, &other.arch)));
    entries.dedup_by(|later, kept| {
        let same = later.name == kept.name && later.arch == kept.arch;
        if same {
            std::mem::swap(later, kept);
        }
        same
    });
    let unknown = unknown_to(&entries, root);
    if !unknown.is_empty() {
        let reason = format!("{} packages have files but no entry: {}", unknown.len(), gaps::named(&unknown));
        packages_gap(STATUS, &reason, restore);
    }
    let packages = entries.into_iter().filter_map(|entry| entry.installed).collect::<Vec<_>>();
    if packages.is_empty() {
        packages_gap(STATUS, "names no installed package", restore);
    }
    let arch = native_arch(root, &packages);
    Database { packages, arch }
}

/// Packages that have a list of files but no entry: the proof that a status file was cut between two entries.
///
/// `entries` are sorted by name.
fn unknown_to(entries: &[Entry], root: &Root) -> Vec<String> {
    let is_known = |name: &&[u8]| entries.binary_search_by(|entry| entry.name.as_bytes().cmp(name)).is_ok();
    let lists =
        root.directory(INFO).and_then(|directory| directory.files_ending(b".list")).unwrap_or_default();
    let names = lists.iter().filter_map(|file| {
        let name = file.as_bytes().strip_suffix(b".list")?;
        // `libc6:amd64.list` where several architectures may be installed side by side.
        Some(&name[..memchr(b':', name).unwrap_or(name.len())])
    });
    let names = names.filter(|name| !is_known(name)).map(|name| String::from_utf8_lossy(name).into_owned());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Tells `owners` which package owns which file, by dpkg's lists.
pub(super) fn take_files(root: &Root, owners: &mut Owners, found: &mut Vec<Gap>) {
    let mut unreadable = Vec::new();
    let lists = root.directory(INFO).and_then(|directory| Ok((directory.files_ending(b".list")?, directory)));
    let (names, directory) = match lists {
        Ok(lists) => lists,
        // Images without dpkg keep no lists.
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => {
            let reason = format!("which packages own the mapped files is not known: {error}");
            found.push(gaps::new(Part::Processes, INFO, reason, "run as root"));
            return;
        }
    };
    let mut list = Vec::new();
    for file in names {
        let Some(name) = file.as_bytes().strip_suffix(b".list") else { continue };
        let name = String::from_utf8_lossy(&name[..memchr(b':', name).unwrap_or(name.len())]);
        if !owners.wants(&name) {
            continue;
        }
        match directory.read_over(&file, &mut list, LIST_BYTES_MAX) {
            Ok(()) => owners.take_list(&name, &list),
            Err(error) => unreadable.push(format!("{name} ({error})")),
        }
    }
    if !unreadable.is_empty() {
        let reason = format!("lists of files cannot be read: {}", gaps::named(&unreadable));
        found.push(gaps::new(Part::Processes, INFO, reason, ""));
    }
}

/// dpkg itself is always of the native architecture; an image without it has one architecture anyhow.
fn native_arch(root: &Root, packages: &[Package]) -> String {
    let recorded = root.read("/var/lib/dpkg/arch", 4096).unwrap_or_default();
    let first = recorded.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if let Ok(arch) = std::str::from_utf8(first)
        && !arch.trim().is_empty()
    {
        return arch.trim().to_owned();
    }
    let dpkg = packages.iter().find(|package| package.name == "dpkg" && package.arch != "all");
    let any = || packages.iter().find(|package| package.arch != "all");
    dpkg.or_else(any).map(|package| package.arch.clone()).unwrap_or_default()
}
