//! What dnf would upgrade, by its cached metadata alone: nothing is fetched here.
//!
//! Besides `-C`, dnf writes logs and caches wherever its configuration says. On the running system that is its normal
//! life; for a foreign root it works on a scratch root instead, made of copies of what the question needs.

use crate::observe::copying::Copying;
use crate::observe::gaps;
use crate::observe::repos::{self, CONFIG_BYTES_MAX, Repository};
use crate::observe::root::Root;
use crate::observe::rpm::{Database, evr, split_source};
use crate::program::{Error, Program};
use exposure::inventory::{Action, ArchiveClass, Candidate, Fetch, Gap, Package, Part};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// dnf needs 0.3 s here, and up to a minute on a small machine that has to index its metadata anew.
const DEADLINE: Duration = Duration::from_secs(120);

/// A separator that no field holds.
const SEPARATOR: char = '\u{1f}';

/// Locks of the versionlock plugin.
const LOCKS: &str = "/etc/dnf/plugins/versionlock.list";

/// Options of a repository that decide what dnf would install; others are not given to a scratch root.
const OPTIONS: [&str; 10] = [
    "baseurl",
    "mirrorlist",
    "metalink",
    "exclude",
    "excludepkgs",
    "includepkgs",
    "priority",
    "cost",
    "module_hotfixes",
    "enablegroups",
];

/// Settings of our own system that say where things lie, or what is run: in a scratch root they have no place.
const PLACES: [&str; 14] = [
    "cachedir",
    "config_file_path",
    "installroot",
    "logdir",
    "name",
    "persistdir",
    "pluginconfpath",
    "pluginpath",
    "plugins",
    "reposdir",
    "skip_if_unavailable",
    "system_cachedir",
    "usr_drift_protected_paths",
    "varsdir",
];

/// A root for dnf to work on, made of copies: database, repositories' options, cached metadata. Gone with this.
#[derive(Debug)]
pub(crate) struct Scratch {
    database: Database,
}

impl Scratch {
    /// Copies what dnf's answers about `root` hang on. Errors, in words, if there is nothing to copy or no room for it.
    pub(crate) fn lay_out(root: &Root, now: Timestamp) -> Result<Self, String> {
        let database = Database::copied(root)
            .ok_or("rpm has no database here")?
            .map_err(|error| format!("rpm's database cannot be copied: {error}"))?;
        let (repositories, _) = repos::read(root, now, &mut Vec::new());
        if repositories.iter().all(|repository| repository.repodata.is_none()) {
            return Err("no repository has cached metadata: run \"dnf makecache\"".to_owned());
        }
        lay_out(root, database.home.path(), &repositories)
            .map_err(|error| format!("dnf's metadata cannot be copied: {error}"))?;
        Ok(Self { database })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        self.database.home.path()
    }
}

/// Marks as held what the operator locked.
pub(super) fn tell_held(root: &Root, packages: &mut [Package]) -> BTreeSet<String> {
    let locked = locks(root);
    for package in packages {
        package.held = locked.contains(&package.name);
    }
    locked
}

fn locks(root: &Root) -> BTreeSet<String> {
    root.read(LOCKS, CONFIG_BYTES_MAX).map(|bytes| parse_locks(&bytes)).unwrap_or_default()
}

/// What dnf would upgrade, sorted by name and architecture. Packages that the operator locked are marked as held.
pub(super) fn candidates(
    root: &Root,
    database: &Database,
    repositories: &[Repository],
    packages: &mut [Package],
    found: &mut Vec<Gap>,
) -> Vec<Candidate> {
    let locked = tell_held(root, packages);
    let mut gap = |reason: String, remedy: &str| {
        found.push(gaps::new(Part::Candidates, "dnf", reason, remedy));
    };
    let refresh = "run \"dnf makecache\", then look again";
    let cached = |repository: &&Repository| repository.repodata.is_some();
    if !repositories.iter().any(|repository| cached(&repository)) {
        gap("no repository has cached metadata, so nothing is known about upgrades".to_owned(), refresh);
        return Vec::new();
    }
    let mut arguments = ["-q", "-C", "--noplugins"].map(str::to_owned).to_vec();
    if !root.is_own() {
        if let Err(error) = lay_out(root, database.home.path(), repositories) {
            gap(format!("its metadata cannot be copied: {error}"), "");
            return Vec::new();
        }
        let home = database.home.path().display();
        arguments.push(format!("--installroot={home}"));
        arguments.push(format!("--config={home}/etc/dnf/dnf.conf"));
        // Neither the foreign system's logs nor ours.
        arguments.push(format!("--setopt=logdir={home}/log"));
    }
    // One repository that was never fetched would make dnf refuse all of them.
    let uncached = repositories.iter().filter(|repository| !cached(repository));
    arguments.extend(uncached.map(|repository| format!("--disablerepo={}", repository.id)));
    let fields = ["name", "epoch", "version", "release", "arch", "sourcerpm", "repoid", "downloadsize"];
    let format = fields.map(|field| format!("%{{{field}}}")).join(&SEPARATOR.to_string());
    arguments.extend(["repoquery", "--upgrades", "--latest-limit=1", "--qf"].map(str::to_owned));
    arguments.push(format);
    let query = |more: &[String]| {
        let program = Program::new("dnf").args(arguments.iter().chain(more));
        program.env("HOME", database.home.path()).deadline(DEADLINE).run()
    };
    let offered = match query(&[]) {
        Ok(output) if output.code == Some(0) => parse_offers(&output.stdout),
        Ok(output) => {
            gap(output.told(), refresh);
            return Vec::new();
        }
        Err(Error::Missing(_)) => {
            gap(
                "it is not installed here, and nothing else can tell".to_owned(),
                "install the package \"dnf\"",
            );
            return Vec::new();
        }
        Err(failure) => {
            gap(failure.to_string(), refresh);
            return Vec::new();
        }
    };
    // What the configuration excludes is kept back, not absent.
    let kept = match query(&["--disableexcludes=all".to_owned()]) {
        Ok(output) if output.code == Some(0) => parse_offers(&output.stdout),
        _ => {
            gap("which packages its configuration excludes is not known".to_owned(), "");
            Offers::default()
        }
    };
    let lost = offered.lost + kept.lost;
    if lost > 0 {
        gap(format!("{lost} lines of its answer cannot be read"), "");
    }
    let mut candidates = BTreeMap::new();
    for offer in kept.offers {
        let action = Action::KeptBack("excluded by dnf's configuration".to_owned());
        candidates.insert((offer.name.clone(), offer.arch.clone()), candidate(offer, action, packages));
    }
    for offer in offered.offers {
        let action = if locked.contains(&offer.name) {
            Action::KeptBack("held: locked by versionlock".to_owned())
        } else {
            Action::Upgrade
        };
        candidates.insert((offer.name.clone(), offer.arch.clone()), candidate(offer, action, packages));
    }
    candidates.into_values().collect()
}

/// Lays out a root for dnf in `scratch`, beside the copied database: the repositories' options and cached metadata.
fn lay_out(root: &Root, scratch: &Path, repositories: &[Repository]) -> std::io::Result<()> {
    let mut copying = Copying::new(root, scratch);
    // dnf takes the age of metadata from its files.
    let mut copy = |directory: &str| copying.directory(directory, true);
    for directory in ["/etc/dnf/vars", "/etc/yum/vars", "/etc/dnf/modules.d", "/etc/dnf/modules.defaults.d"] {
        copy(directory)?;
    }
    let mut config = "[main]\n".to_owned();
    // Our own system's settings may name a proxy, a key, a certificate: without them its repositories cannot be asked.
    // Another system's might lead anywhere.
    let is_ours = root.is_own();
    let tell = |config: &mut String, options: &BTreeMap<String, String>| {
        let wanted = options.iter().filter(|(name, value)| {
            let decides = OPTIONS.contains(&name.as_str());
            !value.is_empty() && (decides || is_ours && !PLACES.contains(&name.as_str()))
        });
        for (name, value) in wanted {
            writeln!(config, "{name}={value}").expect("a String takes any text");
        }
    };
    if is_ours {
        tell(&mut config, &repos::main_options(root));
    }
    for repository in repositories {
        let Some(repodata) = &repository.repodata else { continue };
        // What dnf allows in an id; the rest could not have been cached.
        let is_id = repository.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte));
        if is_id {
            copy(repodata)?;
            write!(config, "[{}]\nname={}\n", repository.id, repository.id).expect("a String takes any text");
            tell(&mut config, &repository.options);
        }
    }
    for directory in ["etc/dnf", "etc/yum.repos.d", "log", "var/lib/dnf"] {
        std::fs::create_dir_all(scratch.join(directory))?;
    }
    std::fs::write(scratch.join("etc/dnf/dnf.conf"), config)?;
    // The copied database lies here, whatever this machine's own rpm has for a default.
    std::fs::write(scratch.join(".rpmmacros"), "%_dbpath /rpmdb\n")
}

/// Names of the packages that a versionlock list holds: `name-epoch:version-release.arch`, `!` for exclusion.
fn parse_locks(bytes: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(bytes);
    let patterns =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    let name = |pattern: &str| {
        let (rest, _release) = pattern.rsplit_once('-')?;
        Some(rest.rsplit_once('-')?.0.to_owned())
    };
    patterns.filter_map(name).collect()
}

/// What dnf offers.
#[derive(Debug, Default)]
struct Offers {
    offers: Vec<Offer>,
    /// Lines that could not be read.
    lost: usize,
}

/// One package that dnf offers.
#[derive(Debug)]
struct Offer {
    name: String,
    arch: String,
    version: String,
    source: String,
    source_version: String,
    repository: String,
    size_bytes: u64,
}

fn parse_offers(bytes: &[u8]) -> Offers {
    let mut offers = Offers::default();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match parse_offer(line) {
            Some(offer) => offers.offers.push(offer),
            None => offers.lost += 1,
        }
    }
    offers
}

fn parse_offer(line: &[u8]) -> Option<Offer> {
    let fields = std::str::from_utf8(line).ok()?.split(SEPARATOR).collect::<Vec<_>>();
    let [name, epoch, version, release, arch, source_rpm, repository, size] = fields.as_slice() else {
        return None;
    };
    let epoch = epoch.parse::<u32>().ok()?;
    let (source, source_version) = match split_source(source_rpm) {
        Some((source, version, release)) => (source.to_owned(), evr(epoch, version, release)),
        None => ((*name).to_owned(), evr(epoch, version, release)),
    };
    Some(Offer {
        name: (*name).to_owned(),
        arch: (*arch).to_owned(),
        version: evr(epoch, version, release),
        source,
        source_version,
        repository: (*repository).to_owned(),
        size_bytes: size.parse().unwrap_or(0),
    })
}

fn candidate(offer: Offer, action: Action, packages: &[Package]) -> Candidate {
    // The last of several installed versions is the latest installed: kernels lie side by side.
    let installed = packages.iter().rfind(|package| package.name == offer.name && package.arch == offer.arch);
    Candidate {
        name: offer.name,
        arch: offer.arch,
        from: installed.map(|package| package.version.clone()),
        to: Some(offer.version),
        source: offer.source,
        source_version: offer.source_version,
        class: ArchiveClass::Updates,
        archives: vec![offer.repository],
        action,
        size_bytes: offer.size_bytes,
        fetch: Fetch::Unchecked("read from cached metadata".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_gives_version_source_and_repository() {
        let line = "web\u{1f}1\u{1f}2.0\u{1f}1.el9\u{1f}noarch\u{1f}web-server-2.0-1.el9.src.rpm\u{1f}bed\u{1f}4711\nnoise\n";
        let offers = parse_offers(line.as_bytes());
        let offer = &offers.offers[0];
        assert_eq!((offer.version.as_str(), offer.source.as_str()), ("1:2.0-1.el9", "web-server"));
        assert_eq!((offer.source_version.as_str(), offer.size_bytes, offers.lost), ("1:2.0-1.el9", 4711, 1));
    }

    #[test]
    fn a_lock_holds_by_name_and_an_exclusion_does_not() {
        let locks = parse_locks(b"# note\nmy-web-1:2.0-1.el9.*\n!bad-0:1-1.*\nshort\n");
        assert_eq!(locks.into_iter().collect::<Vec<_>>(), ["my-web"]);
    }
}
