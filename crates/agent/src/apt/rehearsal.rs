//! What an upgrade of some source packages would change on this host, closed under dependencies, file by file; by apt's own
//! simulation. Nothing is changed, and nothing fetched.

use super::archives::{self, Source};
use super::fetch::{apt_name, cached_name};
use super::packages::Record;
use super::simulation::{self, Simulation, Step};
use super::{Apt, Network, SIMULATION_DEADLINE};
use crate::job::sight::sha256_of;
use crate::rehearse::closure;
use advisory::Order;
use exposure::inventory::{Action, Candidate, Fetch, Package};
use jiff::Timestamp;
use rollout::plan::{Change, Digest, File};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Unmet dependencies that are told.
const UNMET_MAX: usize = 3;
/// How long archives are asked whether they have the files.
const FETCH_DEADLINE: Duration = Duration::from_secs(60);

/// What would change, and what stands in the way.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    pub(crate) changes: Vec<Change>,
    pub(crate) blocks: Vec<String>,
}

impl Apt {
    /// Works out what upgrading the installed binaries of `sources` would do. `packages`: everything that is installed.
    pub(crate) fn rehearse(
        &self,
        sources: &[String],
        packages: &[Package],
        network: Network,
        now: Timestamp,
    ) -> Outlook {
        let mut outlook = Outlook::default();
        if self.private().is_none() {
            outlook
                .blocks
                .push("apt knows no archive here: enable one, and run \"apt-get update\"".to_owned());
            return outlook;
        }
        let simulation = match self.closure(sources, packages, &mut outlook.blocks) {
            Ok(simulation) => simulation.unwrap_or_default(),
            Err(reason) => {
                outlook.blocks.push(reason);
                return outlook;
            }
        };
        judge(&simulation, packages, &mut outlook.blocks);
        let upgrades: Vec<&Step> = simulation.steps.iter().filter(|step| step.to.is_some()).collect();
        if upgrades.is_empty() {
            return outlook;
        }
        if let Err(reason) = self.is_closed(&upgrades) {
            outlook.blocks.push(reason);
        }
        self.files(&upgrades, now, &mut outlook);
        if network == Network::Archives {
            self.ask(&mut outlook);
        }
        outlook
    }

    /// What apt would do to upgrade the sources whole, and every source whole that they pull in.
    fn closure(
        &self,
        sources: &[String],
        packages: &[Package],
        blocks: &mut Vec<String>,
    ) -> Result<Option<Simulation>, String> {
        let upgrade = |wanted: &[&Package], blocks: &mut Vec<String>| {
            let named: Vec<String> =
                wanted.iter().map(|package| self.named(&package.name, &package.arch)).collect();
            self.install(&named, blocks)
        };
        let pulled = |simulation: &Simulation| {
            let replaced = simulation.steps.iter().filter(|step| step.from.is_some());
            let installed = |step| packages.iter().find(|package| is_of(step, package));
            replaced.filter_map(installed).map(|package| package.source.as_str()).collect()
        };
        closure(sources, packages, blocks, upgrade, pulled)
    }

    /// What apt would do to install these. If it would have to remove something, that is told.
    fn install(&self, named: &[String], blocks: &mut Vec<String>) -> Result<Simulation, String> {
        let simulate = |removing: bool| {
            let mut program =
                self.program("apt-get").args(["-s", "-q", "-o", "APT::Install-Recommends=false"]);
            if !removing {
                program = program.arg("--no-remove");
            }
            program.args(["install", "--"]).args(named.iter().cloned()).deadline(SIMULATION_DEADLINE).run()
        };
        let output = simulate(false).map_err(|problem| problem.to_string())?;
        if output.code == Some(0) {
            return Ok(simulation::parse(&String::from_utf8_lossy(&output.stdout)));
        }
        let removing = simulate(true).map_err(|problem| problem.to_string())?;
        let simulation = simulation::parse(&String::from_utf8_lossy(&removing.stdout));
        let removed: Vec<&str> =
            simulation.steps.iter().filter(|step| step.to.is_none()).map(|step| step.name.as_str()).collect();
        if removing.code != Some(0) || removed.is_empty() {
            let unmet = unmet(&String::from_utf8_lossy(&output.stdout));
            return Err(format!("apt cannot work it out: {}{unmet}", output.told()));
        }
        blocks.extend(removed.iter().map(|name| format!("{name} would be removed")));
        Ok(Simulation {
            steps: simulation.steps.iter().filter(|step| step.to.is_some()).cloned().collect(),
            ..simulation
        })
    }

    /// Whether naming exactly these versions does exactly this: that is what will be asked.
    fn is_closed(&self, upgrades: &[&Step]) -> Result<(), String> {
        let exact = |step: &&Step| {
            let version = step.to.as_deref().unwrap_or_default();
            format!("{}={version}", self.named(&step.name, &step.arch))
        };
        let simulation = self.install(&upgrades.iter().map(exact).collect::<Vec<_>>(), &mut Vec::new())?;
        let plain = |step: &Step| (step.name.clone(), step.arch.clone(), step.to.clone());
        let wanted: BTreeSet<_> = upgrades.iter().map(|step| plain(step)).collect();
        let done: BTreeSet<_> = simulation.steps.iter().map(plain).collect();
        match wanted.symmetric_difference(&done).next() {
            None => Ok(()),
            Some((name, ..)) => Err(format!("named with exact versions, apt does something else to {name}")),
        }
    }

    /// As apt takes it: `name`, or `name:arch` for a foreign architecture.
    fn named(&self, name: &str, arch: &str) -> String {
        if arch == self.system.arch || arch == "all" || arch.is_empty() {
            name.to_owned()
        } else {
            format!("{name}:{arch}")
        }
    }

    /// The files of every change, new and old, by what the indexes say.
    fn files(&self, upgrades: &[&Step], now: Timestamp, outlook: &mut Outlook) {
        let (sources, _) = archives::sources(self, now);
        let names: BTreeSet<&str> = upgrades.iter().map(|step| step.name.as_str()).collect();
        let offers: Vec<(&Source, Vec<Record>)> = sources
            .iter()
            .map(|source| (source, source.records(&|name, _| names.contains(name)).0))
            .collect();
        let offered = |step: &Step, version: &str| -> Vec<(String, &Record)> {
            let is_it = |record: &&Record| {
                record.name == step.name && record.arch == step.arch && record.version == version
            };
            offers
                .iter()
                .flat_map(|(source, records)| {
                    records.iter().filter(is_it).map(|record| (source.words(), record))
                })
                .collect()
        };
        for step in upgrades {
            let version = step.to.clone().unwrap_or_default();
            let mut found = offered(step, &version);
            // As apt lists them: the first archive that it names is where it fetches from.
            let place = |words: &String| step.archives.iter().position(|archive| archive == words);
            found.sort_by_key(|(words, _)| place(words).unwrap_or(usize::MAX));
            let Some((archive, record, file)) =
                found.into_iter().find_map(|(archive, record)| Some((archive, record, file_of(record)?)))
            else {
                outlook.blocks.push(format!("no index tells the digest of {} {version}", step.name));
                continue;
            };
            if let Some(percent) = record.phased_percent.filter(|percent| *percent < 100) {
                let reason = format!("its vendor gives it to {percent} % of all hosts so far");
                outlook
                    .blocks
                    .push(format!("{} {version} is phased in: {reason}; ask again later", step.name));
            }
            let back = step.from.as_deref().and_then(|from| {
                let listed = offered(step, from).into_iter().find_map(|(_, record)| file_of(record));
                listed.or_else(|| self.cached(step, from))
            });
            outlook.changes.push(Change {
                name: step.name.clone(),
                arch: step.arch.clone(),
                source: record.source.clone(),
                from: step.from.clone(),
                to: version,
                archive,
                file,
                back,
            });
        }
    }

    /// The file of an installed version, where apt's cache has it still.
    fn cached(&self, step: &Step, version: &str) -> Option<File> {
        let name = cached_name(&step.name, version, &step.arch);
        if name.contains('/') {
            return None;
        }
        let (sha256, size_bytes) = sha256_of(&self.root.join("var/cache/apt/archives").join(name)).ok()?;
        Some(File { sha256, size_bytes })
    }

    /// Asks the archives whether they have the files: new ones that they lack stand in the way, old ones are no way back.
    fn ask(&self, outlook: &mut Outlook) {
        let candidate = |change: &Change, version: &String, file: &File| Candidate {
            name: change.name.clone(),
            arch: change.arch.clone(),
            from: None,
            to: Some(version.clone()),
            source: change.source.clone(),
            source_version: String::new(),
            class: exposure::inventory::ArchiveClass::Foreign,
            archives: Vec::new(),
            action: Action::Install,
            size_bytes: file.size_bytes,
            fetch: Fetch::Unchecked(String::new()),
        };
        let new = outlook.changes.iter().map(|change| candidate(change, &change.to, &change.file));
        let old = outlook
            .changes
            .iter()
            .filter_map(|change| Some(candidate(change, change.from.as_ref()?, change.back.as_ref()?)));
        let mut candidates: Vec<Candidate> = new.chain(old).collect();
        self.check_fetchable(&mut candidates, FETCH_DEADLINE);
        let found: BTreeMap<String, Fetch> = candidates
            .into_iter()
            .filter_map(|candidate| Some((apt_name(&candidate)?, candidate.fetch)))
            .collect();
        for change in &mut outlook.changes {
            let name = |version: &String| format!("{}:{}={version}", change.name, change.arch);
            if let Some(Fetch::Missing(reason) | Fetch::Unchecked(reason)) = found.get(&name(&change.to)) {
                outlook.blocks.push(format!("{} {} cannot be fetched: {reason}", change.name, change.to));
            }
            let is_gone = |version: &String| {
                let in_cache = self.cached(&step_of(change), version).is_some();
                !in_cache && matches!(found.get(&name(version)), Some(Fetch::Missing(_)))
            };
            if change.from.as_ref().is_some_and(is_gone) {
                change.back = None;
            }
        }
    }
}

/// The dependencies that apt finds unmet, the first few.
fn unmet(text: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.contains("unmet dependencies")).skip(1);
    let lines = lines.take_while(|line| line.starts_with(' ')).take(UNMET_MAX);
    lines.fold(String::new(), |told, line| {
        told + "; " + &line.split_whitespace().collect::<Vec<_>>().join(" ")
    })
}

fn step_of(change: &Change) -> Step {
    Step { name: change.name.clone(), arch: change.arch.clone(), ..Step::default() }
}

fn file_of(record: &Record) -> Option<File> {
    let sha256 = Digest::try_from(record.sha256.to_ascii_lowercase()).ok()?;
    (record.size_bytes > 0).then_some(File { sha256, size_bytes: record.size_bytes })
}

/// Whether a step is about an installed package. A package may move between an architecture and "all".
fn is_of(step: &Step, package: &Package) -> bool {
    let same = package.arch == step.arch
        || step.arch.is_empty()
        || [&package.arch, &step.arch].iter().any(|arch| *arch == "all");
    package.name == step.name && same
}

/// What must not happen.
fn judge(simulation: &Simulation, packages: &[Package], blocks: &mut Vec<String>) {
    blocks.extend(
        simulation.unread.iter().map(|line| format!("apt says what this version cannot read: {line}")),
    );
    for step in &simulation.steps {
        let Some(to) = &step.to else {
            blocks.push(format!("{} would be removed", step.name));
            continue;
        };
        let Some(package) = packages.iter().find(|package| is_of(step, package)) else { continue };
        if step.from.is_none() {
            continue;
        }
        if package.arch != step.arch {
            blocks.push(format!("{} would move from {} to {}", step.name, package.arch, step.arch));
        }
        if Order::Dpkg.compare(to, &package.version) == Ok(Ordering::Less) {
            blocks.push(format!("{} would go back from {} to {to}", step.name, package.version));
        }
    }
}
