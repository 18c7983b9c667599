//! What the host's own package manager says that fixes close, as advisories: those that are pending, and those that are
//! installed while the old code still runs.

use super::changelogs::{Changelog, Changelogs, Fetching};
use super::installed::installed_changelog;
use super::tool::Apt;
use advisory::changelog::{Basis, Closed, Entry, advisory_of, closed};
use advisory::{Advisory, Channel, Order};
use exposure::inventory::{Action, ArchiveClass, Candidate, Fetch, Gap, Inventory, Package, Part};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Time for asking archives whether they have the candidates' files.
const ASK_DEADLINE: Duration = Duration::from_secs(20);
/// Time for fetching changelogs; two minutes are for a slow line, a good one needs seconds.
const FETCH_DEADLINE: Duration = Duration::from_secs(120);

/// Whether archives may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Ask the archives that the host already trusts.
    Archives,
    /// Ask nobody: use what is on this machine.
    None,
}

impl Apt {
    /// Completes the candidates of `inventory` (whether each can be fetched) and gives what they close.
    ///
    /// Changelogs are kept in `cache`; without one they are fetched at every look. What cannot be had becomes gaps of the
    /// inventory, and an advisory that says that it does not know.
    pub fn closes(
        &self,
        inventory: &mut Inventory,
        cache: Option<&Path>,
        network: Network,
        progress: &mut dyn FnMut(&str),
    ) -> Vec<Advisory> {
        let unreachable;
        let mut fetching = Fetching::Offline;
        match network {
            Network::Archives => {
                progress("asking archives for the fixes");
                let asked = self.check_fetchable(&mut inventory.candidates, ASK_DEADLINE);
                inventory.gaps.extend(asked.gaps);
                unreachable = asked.unreachable;
                let of_archive = |candidate: &&Candidate| candidate.to.is_some();
                let asked_for = inventory.candidates.iter().filter(of_archive).count();
                fetching = if unreachable.is_empty() || unreachable.len() < asked_for {
                    Fetching::Within { deadline: FETCH_DEADLINE, unreachable: &unreachable }
                } else {
                    Fetching::Unreachable
                };
            }
            Network::None => {
                for candidate in &mut inventory.candidates {
                    candidate.fetch = Fetch::Unchecked("no archive was to be asked".to_owned());
                }
            }
        }
        let running = still_running(inventory);
        let mut wanted: Vec<Candidate> =
            inventory.candidates.iter().filter(|candidate| speaks(candidate)).cloned().collect();
        // The changelog of an installed package may have been left out of the root; its archive may still have it.
        let mut own = BTreeMap::new();
        for package in running.keys().filter_map(|at| inventory.packages.get(*at)) {
            match installed_changelog(&self.root, &package.name) {
                Some(entries) => _ = own.insert(key(package), entries),
                None => wanted.push(as_candidate(package)),
            }
        }
        let mut tell = |done: usize, total: usize, source: &str| {
            progress(&format!("changelogs {done}/{total}: {source}"));
        };
        let (changelogs, gaps) = match self.private() {
            Some(private) => self.changelogs(&wanted, cache.unwrap_or(private), &mut tell, fetching),
            // No archive could send any; that none is enabled is a gap already.
            None => (Changelogs::new(), Vec::new()),
        };
        inventory.gaps.extend(gaps);
        let mut advisories = self.pending(inventory, &changelogs);
        advisories.extend(installed(inventory, &running, &own, &changelogs));
        advisories
    }

    /// One advisory per pending source version of the distribution.
    fn pending(&self, inventory: &mut Inventory, changelogs: &Changelogs) -> Vec<Advisory> {
        let mut advisories = BTreeMap::new();
        let mut gaps = Vec::new();
        for candidate in inventory.candidates.iter().filter(|candidate| speaks(candidate)) {
            let id = (candidate.source.clone(), candidate.source_version.clone());
            let installed = inventory
                .packages
                .iter()
                .find(|package| package.name == candidate.name && package.arch == candidate.arch);
            let Some(installed) = installed.filter(|_| !advisories.contains_key(&id)) else { continue };
            let log = changelogs.get(&id);
            let found = log.map_or_else(Closed::unread, |log| {
                let own = || installed_changelog(&self.root, &installed.name);
                let direct = closed(&installed.source_version, None, &log.entries);
                match direct.basis {
                    Basis::Ancestor => direct,
                    Basis::OwnChangelog | Basis::Unknown => {
                        closed(&installed.source_version, own().as_deref(), &log.entries)
                    }
                }
            });
            if log.is_some() && found.basis == Basis::Unknown {
                gaps.push(not_an_ancestor(installed, &candidate.source_version));
            }
            let advisory = advisory_of(
                &inventory.system.release,
                channel(candidate.class),
                &candidate.source,
                &candidate.source_version,
                &found,
                log.map_or("", |log| &log.sha256),
            );
            advisories.insert(id, advisory);
        }
        inventory.gaps.extend(gaps);
        advisories.into_values().collect()
    }
}

/// Advisories for fixes that are installed while an older version still runs.
fn installed(
    inventory: &mut Inventory,
    running: &BTreeMap<usize, String>,
    own: &BTreeMap<(String, String), Vec<Entry>>,
    changelogs: &Changelogs,
) -> Vec<Advisory> {
    let mut advisories: BTreeMap<(String, String), (String, Advisory)> = BTreeMap::new();
    let mut gaps = Vec::new();
    for (&at, old) in running {
        let package = &inventory.packages[at];
        let id = key(package);
        let log = changelogs.get(&id);
        let entries = own.get(&id).or_else(|| log.map(|log: &Changelog| &log.entries));
        let found = entries.map_or_else(Closed::unread, |entries| closed(old, None, entries));
        if entries.is_some() && found.basis == Basis::Unknown {
            gaps.push(not_an_ancestor(package, old));
        }
        let advisory = advisory_of(
            &inventory.system.release,
            Channel::Main,
            &package.source,
            &package.source_version,
            &found,
            log.map_or("", |log| &log.sha256),
        );
        // Several packages of one source may run in different versions: the oldest has most to close.
        let older = |known: &String| Order::Dpkg.compare(old, known).is_ok_and(std::cmp::Ordering::is_lt);
        if advisories.get(&id).is_none_or(|(known, _)| older(known)) {
            advisories.insert(id, (old.clone(), advisory));
        }
    }
    inventory.gaps.extend(gaps);
    advisories.into_values().map(|(_, advisory)| advisory).collect()
}

/// Packages, by place in the inventory, whose former version still runs, with that version: mapped by a process, or the
/// booted kernel. Where a former version is not known, judging says so; a changelog could not tell.
fn still_running(inventory: &Inventory) -> BTreeMap<usize, String> {
    let mut running = BTreeMap::new();
    let stale: BTreeSet<(&str, &str)> = inventory
        .processes
        .iter()
        .flat_map(|process| &process.stale)
        .filter_map(|file| Some((file.package.as_deref()?, file.version.as_deref()?)))
        .collect();
    for (name, version) in stale {
        let at = inventory.packages.iter().position(|package| package.name == name);
        if let Some(at) = at.filter(|at| inventory.packages[*at].version != version) {
            running.insert(at, version.to_owned());
        }
    }
    let kernel = &inventory.kernel;
    let booted = kernel
        .installed
        .iter()
        .find(|installed| kernel.booted.as_deref() == Some(&installed.release))
        .and_then(|installed| package_at(inventory, installed.package.as_deref()?));
    if let Some(booted) = booted {
        let old = &inventory.packages[booted];
        for newer in
            kernel.installed.iter().filter_map(|other| package_at(inventory, other.package.as_deref()?))
        {
            let package = &inventory.packages[newer];
            let is_newer = package.source == old.source
                && Order::Dpkg
                    .compare(&old.source_version, &package.source_version)
                    .is_ok_and(std::cmp::Ordering::is_lt);
            if is_newer {
                running.insert(newer, old.source_version.clone());
            }
        }
    }
    running
}

fn package_at(inventory: &Inventory, name: &str) -> Option<usize> {
    inventory.packages.iter().position(|package| package.name == name)
}

/// Whether a candidate's changelog says something about the distribution's packages on this host.
fn speaks(candidate: &Candidate) -> bool {
    let moves = match candidate.action {
        Action::Upgrade | Action::KeptBack(_) => true,
        Action::Install | Action::Remove => false,
    };
    moves && candidate.class != ArchiveClass::Foreign && candidate.from.is_some()
}

/// An installed package as if it were to be fetched, for its changelog.
fn as_candidate(package: &Package) -> Candidate {
    Candidate {
        name: package.name.clone(),
        arch: package.arch.clone(),
        from: None,
        to: Some(package.version.clone()),
        source: package.source.clone(),
        source_version: package.source_version.clone(),
        class: ArchiveClass::Updates,
        archives: Vec::new(),
        action: Action::Install,
        size_bytes: 0,
        fetch: Fetch::Unchecked("installed".to_owned()),
    }
}

fn key(package: &Package) -> (String, String) {
    (package.source.clone(), package.source_version.clone())
}

fn channel(class: ArchiveClass) -> Channel {
    match class {
        ArchiveClass::Security => Channel::Security,
        ArchiveClass::PointRelease => Channel::PointRelease,
        ArchiveClass::Esm => Channel::Esm,
        ArchiveClass::Updates | ArchiveClass::Foreign => Channel::Main,
    }
}

fn not_an_ancestor(package: &Package, other: &str) -> Gap {
    Gap {
        part: Part::Changelogs,
        object: format!("{} {}", package.source, package.source_version),
        reason: format!(
            "its changelog and that of {other} share no entry, so more may be closed than is listed"
        ),
        remedy: "read both changelogs".to_owned(),
    }
}
