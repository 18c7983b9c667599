//! What zypper would upgrade, by its cached metadata alone: nothing is fetched here. zypper runs on a scratch root, made of
//! copies of what the question needs, so that it needs no right and changes nothing.

use crate::observe::copying::Copying;
use crate::observe::gaps;
use crate::observe::repos::{self, CONFIG_BYTES_MAX, Repository, ZYPP_CACHE, ZYPP_REPOSITORIES};
use crate::observe::root::Root;
use crate::observe::rpm::Database;
use crate::program::{Error, Output, Program};
use crate::zypper::primary::{self, Offered};
use crate::zypper::summary::{self, Summary};
use exposure::inventory::{Action, ArchiveClass, Candidate, Fetch, Gap, Package, Part};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// zypper needs a second here, and a minute on a small machine that has to index its metadata.
const DEADLINE: Duration = Duration::from_secs(240);
/// Of its messages, so many are told.
const SAID_TOLD: usize = 3;
/// Locks that the operator set.
const LOCKS: &str = "/etc/zypp/locks";
/// Exit codes of success: with nothing more to say, with a reboot or a restart of zypper advised, with repositories passed over.
const DONE: [i32; 4] = [0, 102, 103, 106];

/// A root for zypper to work on. Gone with this.
#[derive(Debug)]
pub(crate) struct Scratch {
    database: Database,
    /// Aliases of the enabled repositories whose metadata is there.
    repositories: Vec<String>,
}

impl Scratch {
    /// Copies what zypper's answers about `root` hang on. Errors, in words, if there is nothing to copy or no room for it.
    pub(crate) fn lay_out(root: &Root, now: Timestamp) -> Result<Self, String> {
        let (repositories, _) = repos::read(root, now, &mut Vec::new());
        Self::with(root, &repositories)
    }

    fn with(root: &Root, repositories: &[Repository]) -> Result<Self, String> {
        let database = Database::copied(root)
            .ok_or("rpm has no database here")?
            .map_err(|error| format!("rpm's database cannot be copied: {error}"))?;
        let is_cached = |repository: &&Repository| repository.repodata.is_some();
        let repositories: Vec<String> =
            repositories.iter().filter(is_cached).map(|repository| repository.id.clone()).collect();
        if repositories.is_empty() {
            return Err("no repository has cached metadata: run \"zypper refresh\"".to_owned());
        }
        lay_out(root, database.home.path(), &repositories)
            .map_err(|error| format!("zypper's metadata cannot be copied: {error}"))?;
        Ok(Self { database, repositories })
    }

    fn path(&self) -> &Path {
        self.database.home.path()
    }

    /// Fetches the repositories' metadata anew, into the scratch root.
    pub(crate) fn refresh(&self) -> Result<(), String> {
        let output = self.run(&["refresh"], [])?;
        if output.code == Some(0) { Ok(()) } else { Err(refused(&output)) }
    }

    /// What a command would do, or has.
    pub(crate) fn would<'a>(
        &self,
        command: &[&str],
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Summary, String> {
        let output = self.run(command, names)?;
        if !output.code.is_some_and(|code| DONE.contains(&code)) {
            return Err(refused(&output));
        }
        summary::parse(&output.stdout)
    }

    /// What the repositories have of these packages, each with its repository's alias.
    pub(crate) fn offered(&self, names: &BTreeSet<&str>) -> Result<Vec<(String, Offered)>, String> {
        let mut offered = Vec::new();
        for alias in &self.repositories {
            let folder = self.path().join(ZYPP_CACHE.trim_start_matches('/')).join(alias).join("repodata");
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if !entry.file_name().to_string_lossy().contains("primary.xml") {
                    continue;
                }
                let told = |error: String| format!("what {alias} has cannot be read: {error}");
                let file = std::fs::File::open(entry.path()).map_err(|error| told(error.to_string()))?;
                let read = primary::read(Box::new(file), names).map_err(told)?;
                offered.extend(read.into_iter().map(|it| (alias.clone(), it)));
            }
        }
        Ok(offered)
    }

    fn run<'a>(&self, command: &[&str], names: impl IntoIterator<Item = &'a str>) -> Result<Output, String> {
        let root = self.path();
        let mut program = Program::new("zypper").args(["--non-interactive", "--xmlout", "--root"]).arg(root);
        if command.first() != Some(&"refresh") {
            program = program.arg("--no-refresh");
        }
        let program = program.args(command.iter().copied()).args(names);
        let answered = program.env("HOME", root).deadline(DEADLINE).run();
        answered.map_err(|failure| {
            if matches!(failure, Error::Missing(_)) {
                return "zypper is not installed here: install it".to_owned();
            }
            format!("zypper cannot be asked: {failure}")
        })
    }
}

/// Why it did not do what it was asked.
fn refused(output: &Output) -> String {
    let said = summary::parse(&output.stdout).map(|summary| summary.said).unwrap_or_default();
    let said = if said.is_empty() { output.told() } else { said.join("; ") };
    format!("zypper cannot work it out: {said}")
}

/// Marks as held what the operator locked.
pub(super) fn tell_held(root: &Root, packages: &mut [Package]) {
    let locks = root.read(LOCKS, CONFIG_BYTES_MAX).map(|bytes| parse_locks(&bytes)).unwrap_or_default();
    for package in packages {
        package.held = locks.iter().any(|lock| lock.matches(&package.name));
    }
}

/// What zypper would upgrade, sorted by name and architecture.
pub(super) fn candidates(
    root: &Root,
    repositories: &[Repository],
    packages: &mut [Package],
    found: &mut Vec<Gap>,
) -> Vec<Candidate> {
    tell_held(root, packages);
    let answered = Scratch::with(root, repositories).and_then(|scratch| {
        let summary = scratch.would(&["list-updates", "--all"], [])?;
        if !summary.is_told {
            return Err(format!("zypper does not say what it would upgrade: {}", summary.said.join("; ")));
        }
        let names = summary.installs.iter().map(|step| step.name.as_str()).collect();
        let offered = scratch.offered(&names)?;
        Ok((summary, offered))
    });
    let mut gap = |reason| {
        let remedy = "run \"zypper refresh\", then look again";
        found.push(gaps::new(Part::Candidates, "zypper", reason, remedy));
    };
    let (summary, offered) = match answered {
        Ok(answered) => answered,
        Err(reason) => {
            gap(reason);
            return Vec::new();
        }
    };
    // It ends well, and tells of what it could not read only in words: "Skipping repository 'x'".
    if !summary.said.is_empty() {
        let said: Vec<&str> = summary.said.iter().take(SAID_TOLD).map(String::as_str).collect();
        gap(format!("not all of what repositories have could be read: {}", said.join("; ")));
    }
    let of_step = |step: &summary::Step| {
        let is_it =
            |it: &&Offered| it.name == step.name && it.arch == step.arch && it.version == step.version;
        offered.iter().map(|(_, it)| it).find(is_it)
    };
    let unknown = summary.installs.iter().filter(|step| of_step(step).is_none());
    let unknown: Vec<String> = unknown.map(|step| format!("{} {}", step.name, step.version)).collect();
    if !unknown.is_empty() {
        gap(format!("no repository's metadata tells of {}", gaps::named(&unknown)));
    }
    let candidate = |step: &summary::Step| {
        let it = of_step(step)?;
        let held = packages.iter().any(|package| package.name == step.name && package.held);
        Some(Candidate {
            name: step.name.clone(),
            arch: step.arch.clone(),
            from: step.from.clone(),
            to: Some(step.version.clone()),
            source: it.source.clone(),
            source_version: it.source_version.clone(),
            class: ArchiveClass::Updates,
            archives: vec![step.repository.clone()],
            action: if held {
                Action::KeptBack("held: locked by zypper".to_owned())
            } else {
                Action::Upgrade
            },
            size_bytes: it.size_bytes,
            fetch: Fetch::Unchecked("read from cached metadata".to_owned()),
        })
    };
    let candidates = summary.installs.iter().filter_map(candidate);
    let by_name = candidates.map(|candidate| ((candidate.name.clone(), candidate.arch.clone()), candidate));
    by_name.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// Lays out a root for zypper in `scratch`, beside the copied database: repositories, their metadata, locks, products.
fn lay_out(root: &Root, scratch: &Path, repositories: &[String]) -> std::io::Result<()> {
    let mut copying = Copying::new(root, scratch);
    let mut copy = |directory: &str| copying.directory(directory, false);
    for directory in [ZYPP_REPOSITORIES, "/etc/products.d", "/etc/zypp/vars.d"] {
        copy(directory)?;
    }
    // Another system's credentials are nothing to us: its repositories are not asked.
    if root.is_own() {
        copy("/etc/zypp/credentials.d")?;
    }
    for alias in repositories.iter().filter(|alias| !alias.contains('/')) {
        copy(&format!("{ZYPP_CACHE}/{alias}"))?;
        copy(&format!("{ZYPP_CACHE}/{alias}/repodata"))?;
    }
    for (from, to) in [("/etc/os-release", "etc/os-release"), (LOCKS, "etc/zypp/locks")] {
        if let Ok(bytes) = root.read(from, CONFIG_BYTES_MAX) {
            std::fs::write(scratch.join(to), bytes)?;
        }
    }
    // The copied database lies here, whatever this machine's own rpm has for a default.
    std::fs::write(scratch.join(".rpmmacros"), "%_dbpath /rpmdb\n")
}

/// Patterns of names that zypper's locks hold: groups of `key: value`, an empty line after each. Locks of other kinds than
/// packages, and those by regular expression, are zypper's own to respect.
fn parse_locks(bytes: &[u8]) -> Vec<glob::Pattern> {
    let text = String::from_utf8_lossy(bytes);
    let lock = |group: &str| {
        let fields: BTreeMap<&str, &str> = group
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(k, v)| (k.trim(), v.trim()))
            .collect();
        let is_package = fields.get("type").is_none_or(|kind| *kind == "package");
        let name = fields.get("solvable_name").filter(|_| is_package)?;
        match *fields.get("match_type").unwrap_or(&"glob") {
            "glob" => glob::Pattern::new(name).ok(),
            "exact" => glob::Pattern::new(&glob::Pattern::escape(name)).ok(),
            "substring" => glob::Pattern::new(&format!("*{}*", glob::Pattern::escape(name))).ok(),
            _ => None,
        }
    };
    text.split("\n\n").filter_map(lock).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_hold_packages_by_name() {
        let locks = parse_locks(
            b"\ntype: package\nmatch_type: glob\ncase_sensitive: on\nsolvable_name: bed-*\n\n\
              type: patch\nmatch_type: glob\nsolvable_name: all\n\nmatch_type: exact\nsolvable_name: lamp\n",
        );
        let is_held = |name: &str| locks.iter().any(|lock| lock.matches(name));
        assert!(is_held("bed-oil") && is_held("lamp") && !is_held("all") && !is_held("lamps"));
    }
}
