//! What the host's own package manager knows: enabled archives and how fresh they are, what it would upgrade, whether
//! that can be fetched, and what the changelogs of the candidates say. Takes a root directory; gives parts of its
//! inventory. Everything is asked of the real apt, so that we never disagree with what will happen.
//!
//! [`Apt::open`] first; then [`Apt::look`], and [`Apt::closes`] for what the candidates close.

pub mod packages;
pub mod release;
pub mod simulation;
mod archives;
mod candidates;
mod changelogs;
mod closes;
mod control;
mod fetch;
mod installed;
mod rehearsal;
mod tool;

pub use changelogs::{Changelog, Changelogs, Fetching};
pub use closes::Network;
pub(crate) use control::fields;
pub use fetch::Asked;
pub(crate) use fetch::cached_name;
pub use installed::installed_changelog;
pub(crate) use rehearsal::Outlook;
pub use tool::Apt;

use crate::program;
use archives::Source;
use candidates::Offers;
use exposure::inventory::{Archive, Candidate, Gap, Origin, Package, Part};
use jiff::Timestamp;
use simulation::Simulation;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// Longest time that apt may take to work out an upgrade; 7 s seen on a busy machine.
const SIMULATION_DEADLINE: Duration = Duration::from_secs(180);

/// What apt knows about a root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Enabled archives whose index is at hand, in apt's order.
    pub archives: Vec<Archive>,
    /// What a dist-upgrade would change, and what it would keep back; sorted by name and architecture.
    pub candidates: Vec<Candidate>,
    /// Where each installed package comes from, by name, architecture and version.
    pub origins: BTreeMap<(String, String, String), Origin>,
    /// What could not be read, and which archives are stale.
    pub gaps: Vec<Gap>,
}

impl Apt {
    /// What apt knows about the root and its installed `packages`. Freshness is judged at `now`.
    pub fn look(&self, packages: &[Package], now: Timestamp) -> View {
        // Images often come without sources and indexes: four programs would be started to hear that there is nothing.
        if self.private().is_none() {
            return View { gaps: vec![archives::none_enabled(), no_index()], ..View::default() };
        }
        // The simulation is one thread's work for seconds; the indexes are read beside it.
        let (simulation, (sources, mut gaps, records)) = std::thread::scope(|scope| {
            let simulation = scope.spawn(|| self.simulate());
            let seen = self.read_archives(packages, now);
            (simulation.join().unwrap_or_else(|_| Err(candidates_gap("the simulation broke off"))), seen)
        });
        let mut offers = Offers::default();
        for (source, records) in sources.iter().zip(records) {
            offers.add(source, records);
        }
        let simulation = match simulation {
            Ok(simulation) => simulation,
            Err(gap) => {
                gaps.push(gap);
                Simulation::default()
            }
        };
        gaps.extend(simulation.unread.iter().map(|line| candidates_gap(&format!("unknown step \"{line}\""))));
        // Newly installed packages were not asked about yet.
        let new: HashSet<&str> = simulation
            .steps
            .iter()
            .filter(|step| step.from.is_none())
            .map(|step| step.name.as_str())
            .collect();
        if !new.is_empty() {
            for source in &sources {
                let (records, _) = source.records(&|name, _| new.contains(name));
                offers.add(source, records);
            }
        }
        let archives: Vec<_> = sources.iter().map(|source| source.archive.clone()).collect();
        let known = !archives.is_empty();
        if !known {
            gaps.push(Gap { remedy: self.remedy("apt-get update"), ..no_index() });
        }
        View {
            candidates: candidates::candidates(&simulation, packages, &offers, &sources),
            origins: candidates::origins(packages, known.then_some(&offers)),
            archives,
            gaps,
        }
    }

    /// What a dist-upgrade would do.
    fn simulate(&self) -> Result<Simulation, Gap> {
        let program =
            self.program("apt-get").args(["-s", "-q", "dist-upgrade"]).deadline(SIMULATION_DEADLINE);
        let output = program.run_ok().map_err(|error: program::Error| Gap {
            remedy: self.remedy("repair apt: apt-get -s dist-upgrade"),
            ..candidates_gap(&error.to_string())
        })?;
        Ok(simulation::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    /// The enabled archives, and of each what it offers of the installed packages and of their sources.
    fn read_archives(
        &self,
        packages: &[Package],
        now: Timestamp,
    ) -> (Vec<Source>, Vec<Gap>, Vec<Vec<packages::Record>>) {
        let (sources, mut gaps) = archives::sources(self, now);
        let names: HashSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        let built: HashSet<&str> = packages.iter().map(|package| package.source.as_str()).collect();
        let mut records = Vec::with_capacity(sources.len());
        for source in &sources {
            let (read, unread) =
                source.records(&|name, source| names.contains(name) || built.contains(source));
            records.push(read);
            gaps.extend(unread);
        }
        (sources, gaps, records)
    }
}

fn no_index() -> Gap {
    candidates_gap("no archive's index is at hand, so no upgrade can be seen")
}

fn candidates_gap(reason: &str) -> Gap {
    Gap {
        part: Part::Candidates,
        object: "apt-get dist-upgrade (simulated)".to_owned(),
        reason: reason.to_owned(),
        remedy: "apt-get update".to_owned(),
    }
}
