//! Which package owns which file, asked for just the files that matter.

use memchr::{memchr, memmem};
use std::collections::{BTreeSet, HashMap};

/// Directories that distributions with a merged `/usr` reach by two names. Databases name either.
const MERGED: [&[u8]; 6] = [b"/bin/", b"/sbin/", b"/lib/", b"/lib32/", b"/lib64/", b"/libx32/"];

/// Paths beyond this length are no files (`PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;

/// Paths whose owners are wanted, and the owners found so far.
#[derive(Debug)]
pub struct Owners {
    paths: HashMap<Vec<u8>, Owner>,
    /// Every spelling of a path, with the path.
    spellings: HashMap<Vec<u8>, Vec<Vec<u8>>>,
    /// Whether any spelling has this length: most lines are turned away by this alone.
    lengths: Vec<bool>,
    /// The only packages whose files matter; `None`: all.
    packages: Option<BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Owner {
    exact: Option<String>,
    alias: Option<String>,
}

impl Owners {
    /// Asks for the owners of `paths` (absolute).
    pub fn wanted(paths: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut owners = Self {
            paths: HashMap::new(),
            spellings: HashMap::new(),
            lengths: vec![false; PATH_BYTES_MAX + 1],
            packages: None,
        };
        for path in paths {
            if path.len() + b"/usr".len() > PATH_BYTES_MAX || owners.paths.contains_key(&path) {
                continue;
            }
            for spelling in [Some(path.clone()), alias(&path)].into_iter().flatten() {
                owners.lengths[spelling.len()] = true;
                owners.spellings.entry(spelling).or_default().push(path.clone());
            }
            owners.paths.insert(path, Owner::default());
        }
        owners
    }

    /// No other packages than these are wanted as owners.
    #[must_use]
    pub fn among(self, packages: &BTreeSet<&str>) -> Self {
        let packages = packages.iter().map(|&package| package.to_owned()).collect();
        Self { packages: Some(packages), ..self }
    }

    /// Whether a package may be wanted as an owner: where each has a list of its own, no other's need be read.
    pub fn wants(&self, package: &str) -> bool {
        self.packages.as_ref().is_none_or(|packages| packages.contains(package))
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Takes a list of files of `package`, one absolute path per line, as dpkg's `info/*.list`.
    pub fn take_list(&mut self, package: &str, list: &[u8]) {
        let mut rest = list;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            self.take(package, &rest[..end]);
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }

    /// Takes one file of `package`.
    pub fn take(&mut self, package: &str, path: &[u8]) {
        if !self.lengths.get(path.len()).is_some_and(|wanted| *wanted) || !self.wants(package) {
            return;
        }
        for wanted in self.spellings.get(path).into_iter().flatten() {
            let Some(owner) = self.paths.get_mut(wanted) else { continue };
            let slot = if wanted == path { &mut owner.exact } else { &mut owner.alias };
            // Several packages may share a directory; the first by name stands for it, whatever the order of reading.
            if slot.as_deref().is_none_or(|known| package < known) {
                *slot = Some(package.to_owned());
            }
        }
    }

    /// The package that owns `path`, if one does. The path as asked goes before its other name.
    pub fn of(&self, path: &[u8]) -> Option<&str> {
        let owner = self.paths.get(path)?;
        owner.exact.as_deref().or(owner.alias.as_deref())
    }
}

/// The names by which the owner of a file may be found: its own, then those of the shared library it is a version of
/// (`libx.so.4.8.0`, `libx.so.4.8`, `libx.so.4`). An upgrade often renames the file, but keeps the link that programs
/// load it by.
pub fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    // Up to the first number after `.so.`; the bare `.so` belongs to a development package.
    let shortest = memmem::rfind(path, b".so.").map(|at| at + b".so.".len());
    std::iter::successors(Some(path), move |name| {
        let shorter = &name[..memchr::memrchr(b'.', name)?];
        (shorter.len() > shortest?).then_some(shorter)
    })
}

/// The other name of `path` where `/usr` is merged: `/lib/x` for `/usr/lib/x`, and back.
fn alias(path: &[u8]) -> Option<Vec<u8>> {
    let merged = |path: &[u8]| MERGED.iter().any(|directory| path.starts_with(directory));
    match path.strip_prefix(b"/usr") {
        Some(short) if merged(short) => Some(short.to_vec()),
        Some(_) => None,
        None => merged(path).then(|| [b"/usr", path].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_a_library_is_also_known_by_the_link_to_it() {
        let told = |path: &'static str| {
            names(path.as_bytes()).map(|name| std::str::from_utf8(name).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(told("/l/libx.so.4.8.0"), ["/l/libx.so.4.8.0", "/l/libx.so.4.8", "/l/libx.so.4"]);
        assert_eq!(told("/l/libx.so.4"), ["/l/libx.so.4"]);
        assert_eq!(told("/l/libx-2.36.so"), ["/l/libx-2.36.so"]);
        assert_eq!(told("/bin/python3.11"), ["/bin/python3.11"]);
    }

    #[test]
    fn both_names_of_a_merged_directory_lead_to_the_owner() {
        let asked = ["/usr/lib/a.so", "/lib/b.so", "/usr/lib/c.so", "/opt/d", "/lib/e.so", "/usr/lib/e.so"];
        let mut owners = Owners::wanted(asked.map(|path| path.as_bytes().to_vec()));
        owners.take_list("old", b"/.\n/lib\n/lib/a.so\n/lib/c.so\n/usr/opt/d\n/lib/e.so");
        owners.take_list("new", b"/usr/lib/b.so\n/usr/lib/c.so\n");
        let found = asked.map(|path| owners.of(path.as_bytes()));
        assert_eq!(found, [Some("old"), Some("new"), Some("new"), None, Some("old"), Some("old")]);
    }
}
