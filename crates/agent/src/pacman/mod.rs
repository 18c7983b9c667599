//! What an upgrade of some packages would change on a host that pacman keeps, file by file; by the pacman that is installed
//! here, on a copy of its database. What repositories have is read from what root fetched last: pacman fetches for nobody else.

use crate::apt::Outlook;
use crate::job::sight::sha256_of;
use crate::observe::gaps;
use crate::observe::pacman::{LOCAL, Offered, SYNC, offered, settings};
use crate::observe::root::Root;
use crate::program::{Output, Program};
use crate::rehearse::{closure, file};
use exposure::inventory::{Action, ArchiveClass, Candidate, Fetch, Gap, Package, Part};
use rollout::plan::{Change, File};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Where pacman keeps what it downloads.
pub(crate) const CACHE: &str = "/var/cache/pacman/pkg";
/// How packages' files are packed, as they are named.
const ENDINGS: [&str; 3] = ["pkg.tar.zst", "pkg.tar.xz", "pkg.tar.gz"];
/// pacman answers within a second.
const DEADLINE: Duration = Duration::from_secs(120);
/// A description is 1 KiB; a repository's metadata 8 MB.
const DESCRIPTION_BYTES_MAX: u64 = 1 << 20;
const SYNC_BYTES_MAX: u64 = 80 << 20;
/// Arch's kernels: whether the new one is booted cannot be told, since their files carry no version.
const KERNELS: [&str; 4] = ["linux", "linux-lts", "linux-zen", "linux-hardened"];

/// How pacman is to print what it would install: marked, because it says other things in between.
pub(crate) const FORMAT: &str = "= %n %v";

/// Versions that pacman printed as `FORMAT` says, by name. Errors, in words, where a line of them cannot be read, or two tell
/// of one name.
pub fn printed(text: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let text = String::from_utf8_lossy(text);
    let mut versions = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('=')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["=", name, version] = words[..] else {
            return Err(format!("what pacman prints cannot be read: {line:?}"));
        };
        if versions.insert(name.to_owned(), version.to_owned()).is_some() {
            return Err(format!("pacman prints two versions of {name}"));
        }
    }
    Ok(versions)
}

/// Files of that package in a directory of pacman's.
pub(crate) fn cached(directory: &Path, name: &str, version: &str, arch: &str) -> Vec<PathBuf> {
    let file = |ending: &str| directory.join(format!("{name}-{version}-{arch}.{ending}"));
    ENDINGS.map(file).into_iter().filter(|path| path.is_file()).collect()
}

/// What pacman would upgrade, by what root fetched last; sorted by name.
pub(crate) fn candidates(root: &Root, packages: &[Package], found: &mut Vec<Gap>) -> Vec<Candidate> {
    let mut gap = |reason: String, remedy: &str| {
        found.push(gaps::new(Part::Candidates, "pacman", reason, remedy));
    };
    let (upgrades, offered) = match Scratch::lay_out(root).and_then(|scratch| upgrades(&scratch, root)) {
        Ok((upgrades, offered, lost)) => {
            if !lost.is_empty() {
                gap(format!("what repositories have cannot be read: {}", lost.join("; ")), "");
            }
            (upgrades, offered)
        }
        Err(reason) => {
            gap(reason, "install pacman, and have it fetch what repositories have");
            return Vec::new();
        }
    };
    let candidate = |(name, to): (&String, &String)| {
        let it = offered.iter().find(|it| it.name == *name && it.version == *to)?;
        let installed = packages.iter().find(|package| package.name == *name);
        let held = installed.is_some_and(|package| package.held);
        Some(Candidate {
            name: name.clone(),
            arch: it.arch.clone(),
            from: installed.map(|package| package.version.clone()),
            to: Some(to.clone()),
            source: it.source.clone(),
            source_version: to.clone(),
            class: ArchiveClass::Updates,
            archives: vec![it.repository.clone()],
            action: if held {
                Action::KeptBack("held: ignored by pacman".to_owned())
            } else {
                Action::Upgrade
            },
            size_bytes: it.size_bytes,
            fetch: Fetch::Unchecked("read from cached metadata".to_owned()),
        })
    };
    let candidates: Vec<Candidate> = upgrades.iter().filter_map(candidate).collect();
    let is_known = |name: &str| candidates.iter().any(|candidate| candidate.name == name);
    let unknown = upgrades.iter().filter(|(name, _)| !is_known(name));
    let unknown: Vec<String> = unknown.map(|(name, to)| format!("{name} {to}")).collect();
    if !unknown.is_empty() {
        let reason = format!("no repository's metadata tells of {}", gaps::named(&unknown));
        gap(reason, "have pacman fetch what repositories have");
    }
    candidates
}

/// Versions that would take the place of what is installed, by name; what repositories have of them; what cannot be read.
type Upgrades = (BTreeMap<String, String>, Vec<Offered>, Vec<String>);

fn upgrades(scratch: &Scratch, root: &Root) -> Result<Upgrades, String> {
    let output = scratch.run(&["-Qu"], [])?;
    // 1: nothing would be; or it could not look, which only its messages tell.
    let missing = || {
        let missing = scratch.missing.iter().map(|name| format!("{name}: never fetched, or not to be read"));
        missing.chain(scratch.unread.iter().cloned())
    };
    let is_refused = output.stderr.lines().any(|line| line.starts_with("error:"));
    if is_refused || !matches!(output.code, Some(0 | 1)) {
        let told: Vec<String> = std::iter::once(output.told()).chain(missing()).collect();
        return Err(format!("pacman cannot say what it would upgrade: {}", told.join("; ")));
    }
    let (upgrades, unread) = newer(&output.stdout);
    let (offered, mut lost) = offered(root, &upgrades.keys().map(String::as_str).collect());
    lost.extend(unread.iter().map(|line| format!("pacman says {line:?}")));
    lost.extend(missing());
    Ok((upgrades, offered, lost))
}

/// Versions that `pacman -Qu` says would take the place of what is installed, by name; and the lines of it that cannot be read.
/// `bed-lamp 1.0-1 -> 1.0-2 [ignored]`
pub fn newer(text: &[u8]) -> (BTreeMap<String, String>, Vec<String>) {
    let text = String::from_utf8_lossy(text);
    let (mut newer, mut unread) = (BTreeMap::new(), Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name, _, "->", to] | [name, _, "->", to, "[ignored]"] => {
                newer.insert(name.to_owned(), to.to_owned());
            }
            _ => unread.push(line.to_owned()),
        }
    }
    (newer, unread)
}

/// Works out what upgrading the installed packages of `sources` would do to the system in `root`. `packages`: everything
/// that is installed. Errors tell, in words, why it cannot be worked out.
pub(crate) fn rehearse(
    root: &Root,
    sources: &[String],
    packages: &[Package],
    outlook: &mut Outlook,
) -> Result<(), String> {
    let scratch = Scratch::lay_out(root)?;
    let (newer, _, lost) = upgrades(&scratch, root)?;
    outlook.blocks.extend(lost.iter().map(|what| format!("what repositories have cannot be read: {what}")));
    let upgrade = |wanted: &[&Package], _: &mut Vec<String>| {
        let wanted = wanted.iter().map(|package| package.name.as_str());
        let names: BTreeSet<&str> = wanted.filter(|name| newer.contains_key(*name)).collect();
        if names.is_empty() { Ok(BTreeMap::new()) } else { scratch.would(names) }
    };
    let installed = |name: &str| packages.iter().find(|package| package.name == name);
    let pulled = |would: &BTreeMap<String, String>| {
        would.keys().filter_map(|name| installed(name)).map(|package| package.source.as_str()).collect()
    };
    let Some(would) = closure(sources, packages, &mut outlook.blocks, upgrade, pulled)? else {
        return Ok(());
    };
    let (offered, _) = offered(root, &would.keys().map(String::as_str).collect());
    for (name, to) in would {
        let it = offered.iter().find(|it| it.name == name && it.version == to);
        let file = it.and_then(|it| file(it.sha256.as_deref(), it.size_bytes));
        let (Some(it), Some(file)) = (it, file) else {
            outlook.blocks.push(format!("no metadata tells the SHA-256 digest of {name} {to}"));
            continue;
        };
        if KERNELS.contains(&name.as_str()) {
            outlook
                .blocks
                .push(format!("{name}: whether a new kernel is booted cannot be told on this host"));
        }
        let old = installed(&name);
        outlook.changes.push(Change {
            from: old.map(|package| package.version.clone()),
            back: old.and_then(|package| back(root, package)),
            arch: it.arch.clone(),
            source: it.source.clone(),
            archive: it.repository.clone(),
            name,
            to,
            file,
        });
    }
    Ok(())
}

/// The file of what is installed: repositories have the newest version alone, but pacman's cache has what it installed.
fn back(root: &Root, package: &Package) -> Option<File> {
    let cache = root.path().join(CACHE.trim_start_matches('/'));
    let path = cached(&cache, &package.name, &package.version, &package.arch).into_iter().next()?;
    let (sha256, size_bytes) = sha256_of(&path).ok()?;
    Some(File { sha256, size_bytes })
}

/// A copy of pacman's database, for questions that need no right. Gone with this.
#[derive(Debug)]
struct Scratch {
    home: TempDir,
    /// Repositories of the settings of which nothing that can be read is here.
    missing: Vec<String>,
    /// What of the settings could not be read: they may name more repositories.
    unread: Vec<String>,
}

impl Scratch {
    /// Errors, in words, if there is nothing to copy or no room for it.
    fn lay_out(root: &Root) -> Result<Self, String> {
        let home = tempfile::Builder::new().prefix("palisade-pacman-").tempdir();
        let home = home.map_err(|error| format!("no place for a copy of its database: {error}"))?;
        let mut scratch = Self { home, missing: Vec::new(), unread: Vec::new() };
        scratch.copy(root).map_err(|error| format!("its database cannot be copied: {error}"))?;
        Ok(scratch)
    }

    fn copy(&mut self, root: &Root) -> std::io::Result<()> {
        let at = |path: &str| self.home.path().join(path);
        std::fs::create_dir_all(at("db/local"))?;
        std::fs::create_dir_all(at("db/sync"))?;
        for name in root.list(LOCAL)? {
            let name = name.to_string_lossy().into_owned();
            if let Ok(bytes) = root.read(format!("{LOCAL}/{name}/desc"), DESCRIPTION_BYTES_MAX) {
                std::fs::create_dir_all(at(&format!("db/local/{name}")))?;
                std::fs::write(at(&format!("db/local/{name}/desc")), bytes)?;
                std::fs::write(at(&format!("db/local/{name}/files")), "")?;
            } else if let Ok(bytes) = root.read(format!("{LOCAL}/{name}"), DESCRIPTION_BYTES_MAX) {
                std::fs::write(at(&format!("db/local/{name}")), bytes)?;
            }
        }
        let settings = settings::read(root);
        let mut config = "[options]\nSigLevel = Never\nArchitecture = auto\n".to_owned();
        for repository in repositories(&settings.text) {
            if let Ok(bytes) = root.read(format!("{SYNC}/{repository}.db"), SYNC_BYTES_MAX) {
                std::fs::write(at(&format!("db/sync/{repository}.db")), bytes)?;
                let _ = write!(config, "[{repository}]\nServer = file:///nowhere\n");
            } else {
                self.missing.push(repository);
            }
        }
        self.unread = settings.unread;
        std::fs::write(at("pacman.conf"), config)
    }

    /// Versions that installing these would install, by name.
    fn would<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, String>, String> {
        let output =
            self.run(&["-S", "--needed", "--noconfirm", "--print", "--print-format", FORMAT, "--"], names)?;
        if output.code != Some(0) {
            return Err(format!("pacman cannot work it out: {}", output.told()));
        }
        printed(&output.stdout)
    }

    fn run<'a>(&self, command: &[&str], names: impl IntoIterator<Item = &'a str>) -> Result<Output, String> {
        let at = |path: &str| self.home.path().join(path);
        let program =
            Program::new("pacman").arg("--config").arg(at("pacman.conf")).arg("--dbpath").arg(at("db"));
        let program = program.arg("--logfile").arg(at("log")).args(command.iter().copied()).args(names);
        program.env("HOME", self.home.path()).deadline(DEADLINE).run().map_err(|failure| failure.to_string())
    }
}

/// Names of the repositories, in the order of the settings: the first that has a package counts.
fn repositories(settings: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(settings);
    let section = |line: &str| {
        let name = line.trim().strip_prefix('[')?.strip_suffix(']')?.trim().to_owned();
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        (is_name && name != "options" && !name.starts_with('.')).then_some(name)
    };
    text.lines().filter_map(section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_and_repositories_are_read_as_pacman_says_them() {
        let said = b"bed-lamp 1.0-1 -> 1:1.0-2 [ignored]\nbed-oil 1 -> 2\nerror: failed\nbed-wick 1 ->\n";
        let (upgrades, unread) = newer(said);
        let told = |versions: BTreeMap<String, String>| {
            versions.into_iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>()
        };
        assert_eq!(told(upgrades), ["bed-lamp 1:1.0-2", "bed-oil 2"]);
        assert_eq!(unread, ["error: failed", "bed-wick 1 ->"]);
        let said = b"loading packages...\n= bed-lamp 1:1.0-2\nwarning: x -- reinstalling\n";
        assert_eq!(told(printed(said).unwrap()), ["bed-lamp 1:1.0-2"]);
        assert!(printed(b"= bed-lamp \n").unwrap_err().contains("cannot be read"));
        assert!(printed(b"= a 1\n= a 2\n").unwrap_err().contains("two versions of a"));
        let settings =
            b"[options]\nArchitecture = auto\n[core]\nInclude = /x\n#[testing]\n[../x]\n [extra] \n";
        assert_eq!(repositories(settings), ["core", "extra"]);
    }
}
