//! What apt would change, joined with what the indexes say about it, and what it would not change although it could.

use super::archives::Source;
use super::packages::Record;
use super::simulation::{Simulation, Step};
use advisory::Order;
use exposure::inventory::{Action, ArchiveClass, Candidate, Fetch, Origin, Package};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What all indexes offer of the packages we asked about.
#[derive(Debug, Default)]
pub(super) struct Offers<'a> {
    by_name: HashMap<String, Vec<Offer<'a>>>,
    /// Source packages that the distribution's archives offer anything of.
    vendor_sources: HashSet<String>,
}

#[derive(Debug)]
struct Offer<'a> {
    record: Record,
    source: &'a Source,
}

impl<'a> Offers<'a> {
    pub(super) fn add(&mut self, source: &'a Source, records: Vec<Record>) {
        for record in records {
            if source.archive.class != ArchiveClass::Foreign && !self.vendor_sources.contains(&record.source)
            {
                self.vendor_sources.insert(record.source.clone());
            }
            self.by_name.entry(record.name.clone()).or_default().push(Offer { record, source });
        }
    }

    /// Offers of a package for one architecture, those for all architectures included.
    fn of(&self, name: &str, arch: &str) -> impl Iterator<Item = &Offer<'a>> {
        let for_arch =
            move |offered: &str| offered == arch || offered == "all" || arch == "all" || arch.is_empty();
        self.by_name.get(name).into_iter().flatten().filter(move |offer| for_arch(&offer.record.arch))
    }

    fn of_version(&self, name: &str, arch: &str, version: &str) -> Vec<&Offer<'a>> {
        self.of(name, arch).filter(|offer| offer.record.version == version).collect()
    }

    /// Where an installed package comes from.
    pub(super) fn origin(&self, package: &Package) -> Origin {
        let vendor = |offer: &&Offer| offer.source.archive.class != ArchiveClass::Foreign;
        let exact = self.of_version(&package.name, &package.arch, &package.version);
        if exact.iter().any(vendor) {
            return Origin::Vendor;
        }
        if let Some(offer) = exact.first() {
            return Origin::Foreign(publisher(offer));
        }
        let mut offered = self.of(&package.name, &package.arch).peekable();
        let first = offered.peek().map(|offer| publisher(offer));
        let mut ours = offered.filter(vendor).peekable();
        if ours.peek().is_some() {
            // An older version than is offered now is the distribution's own; one above all that it offers is not.
            let older =
                |offer: &Offer| compare(&package.version, &offer.record.version) == Some(Ordering::Less);
            return if ours.any(older) { Origin::Vendor } else { Origin::Local };
        }
        if first.is_none() && self.vendor_sources.contains(&package.source) {
            // One of the packages that a source used to build: kernels change their names with every ABI.
            return Origin::Vendor;
        }
        first.map_or(Origin::Local, Origin::Foreign)
    }
}

fn publisher(offer: &Offer) -> String {
    let archive = &offer.source.archive;
    [&archive.origin, &archive.label, &archive.address]
        .into_iter()
        .find(|name| !name.is_empty())
        .cloned()
        .unwrap_or_default()
}

/// Candidates, sorted by name and architecture.
pub(super) fn candidates(
    simulation: &Simulation,
    packages: &[Package],
    offers: &Offers,
    sources: &[Source],
) -> Vec<Candidate> {
    let installed: HashMap<(&str, &str), &Package> =
        packages.iter().map(|package| ((package.name.as_str(), package.arch.as_str()), package)).collect();
    let mut candidates: Vec<_> = simulation
        .steps
        .iter()
        .map(|step| candidate_of(step, &installed, packages, offers, sources))
        .collect();
    let changed: BTreeSet<(String, String)> = candidates
        .iter()
        .filter(|candidate| candidate.from.is_some())
        .map(|candidate| (candidate.name.clone(), candidate.arch.clone()))
        .collect();
    // A package may move between its own architecture and "all" in an upgrade.
    let is_changed = |package: &Package| {
        [package.arch.as_str(), "all", ""]
            .iter()
            .any(|arch| changed.contains(&(package.name.clone(), (*arch).to_owned())))
            || (package.arch == "all" && changed.iter().any(|(name, _)| *name == package.name))
    };
    for package in packages.iter().filter(|package| !is_changed(package)) {
        candidates.extend(kept_back(package, simulation, offers));
    }
    candidates.sort();
    candidates
}

fn candidate_of(
    step: &Step,
    installed: &HashMap<(&str, &str), &Package>,
    packages: &[Package],
    offers: &Offers,
    sources: &[Source],
) -> Candidate {
    let action = match (&step.from, &step.to) {
        (_, None) => Action::Remove,
        (None, Some(_)) => Action::Install,
        (Some(_), Some(_)) => Action::Upgrade,
    };
    let version = step.to.as_deref().or(step.from.as_deref()).unwrap_or_default();
    let exact = offers.of_version(&step.name, &step.arch, version);
    // apt prints no architecture where it removes a native package.
    let current = installed.get(&(step.name.as_str(), step.arch.as_str())).copied().or_else(|| {
        packages
            .iter()
            .find(|package| package.name == step.name && Some(&package.version) == step.from.as_ref())
    });
    let record = exact.first().map(|offer| &offer.record);
    let (source, source_version) = match (record, current) {
        (_, Some(package)) if step.to.is_none() => (package.source.clone(), package.source_version.clone()),
        (Some(record), _) => (record.source.clone(), record.source_version.clone()),
        (None, package) => {
            let source = package.map_or(&step.name, |package| &package.source);
            (source.clone(), version.to_owned())
        }
    };
    let by_name = || {
        let named = |source: &&Source| step.archives.contains(&source.words());
        sources.iter().filter(named).map(|source| source.archive.class).min_by_key(|class| rank(*class))
    };
    let class = match step.to {
        Some(_) => class_of(&exact).or_else(by_name),
        None => current
            .and_then(|package| class_of(&offers.of_version(&package.name, &package.arch, &package.version))),
    };
    Candidate {
        name: step.name.clone(),
        arch: if step.arch.is_empty() {
            current.map(|package| package.arch.clone()).unwrap_or_default()
        } else {
            step.arch.clone()
        },
        from: step.from.clone(),
        to: step.to.clone(),
        source,
        source_version,
        class: class.unwrap_or(ArchiveClass::Foreign),
        archives: step.archives.clone(),
        size_bytes: record.filter(|_| step.to.is_some()).map_or(0, |record| record.size_bytes),
        fetch: not_looked_up(&action),
        action,
    }
}

fn not_looked_up(action: &Action) -> Fetch {
    Fetch::Unchecked(match action {
        Action::Remove => "nothing to fetch".to_owned(),
        Action::Upgrade | Action::Install | Action::KeptBack(_) => "not looked up".to_owned(),
    })
}

/// The most security-minded class of archive among offers.
fn class_of(offers: &[&Offer]) -> Option<ArchiveClass> {
    offers.iter().map(|offer| offer.source.archive.class).min_by_key(|class| rank(*class))
}

fn rank(class: ArchiveClass) -> u8 {
    match class {
        ArchiveClass::Security => 0,
        ArchiveClass::Esm => 1,
        ArchiveClass::PointRelease => 2,
        ArchiveClass::Updates => 3,
        ArchiveClass::Foreign => 4,
    }
}

/// A newer version of the distribution that apt sees and would not install.
fn kept_back(package: &Package, simulation: &Simulation, offers: &Offers) -> Option<Candidate> {
    let mut newer: Vec<&Offer> = offers
        .of(&package.name, &package.arch)
        .filter(|offer| {
            offer.source.archive.class != ArchiveClass::Foreign && !offer.source.release.not_automatic
        })
        .filter(|offer| offer.record.version != package.version)
        .filter(|offer| compare(&offer.record.version, &package.version) == Some(Ordering::Greater))
        .collect();
    newer.sort_by(|a, b| {
        compare(&b.record.version, &a.record.version)
            .unwrap_or_else(|| b.record.version.cmp(&a.record.version))
    });
    let best = newer.first()?;
    let exact = offers.of_version(&package.name, &package.arch, &best.record.version);
    let named = |names: &BTreeSet<String>| {
        names.contains(&package.name) || names.contains(&format!("{}:{}", package.name, package.arch))
    };
    let phased = best.record.phased_percent.filter(|percent| *percent < 100);
    let reason = match phased {
        _ if package.held => "held by the operator".to_owned(),
        Some(percent) if named(&simulation.phased) || named(&simulation.kept_back) => {
            format!("phased: offered to {percent} % of hosts so far")
        }
        None if named(&simulation.phased) => "phased: not yet offered to this host".to_owned(),
        Some(_) | None if named(&simulation.kept_back) => {
            "not installable: its dependencies cannot be met without other changes".to_owned()
        }
        Some(_) | None => "apt prefers the installed version: pinned".to_owned(),
    };
    Some(Candidate {
        name: package.name.clone(),
        arch: best.record.arch.clone(),
        from: Some(package.version.clone()),
        to: Some(best.record.version.clone()),
        source: best.record.source.clone(),
        source_version: best.record.source_version.clone(),
        class: class_of(&exact)?,
        archives: exact.iter().map(|offer| offer.source.words()).collect(),
        size_bytes: best.record.size_bytes,
        action: Action::KeptBack(reason),
        fetch: Fetch::Unchecked("not looked up".to_owned()),
    })
}

/// dpkg's order; `None` if one of the versions is none.
fn compare(a: &str, b: &str) -> Option<Ordering> {
    Order::Dpkg.compare(a, b).ok()
}

/// Origins by (name, architecture, version).
pub(super) type Origins = BTreeMap<(String, String, String), Origin>;

/// Where every installed package comes from.
pub(super) fn origins(packages: &[Package], offers: Option<&Offers>) -> Origins {
    let key = |package: &Package| (package.name.clone(), package.arch.clone(), package.version.clone());
    let origin = |package| offers.map_or(Origin::Unknown, |offers| offers.origin(package));
    packages.iter().map(|package| (key(package), origin(package))).collect()
}
