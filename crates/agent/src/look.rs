//! One look at the host, as the server is told of it: an inventory, what the host's package manager says that its fixes
//! close, settled and in pieces.

use crate::apt::Network;
use crate::observe::{Observation, observe, processes_again};
use advisory::{Advisory, NameKind, Problem, format};
use exposure::Inventory;
use exposure::inventory::{Gap, Part, Process, StaleFile};
use exposure::judge::names;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use wire::v1::{Broken, Pieces, Report, join, settle, split};

/// Looks at everything. Takes seconds, and asks archives where `network` lets it.
pub(crate) fn whole(root: &Path, network: Network, cache: &Path) -> Report {
    let now = Timestamp::now();
    let Observation { mut inventory, feeds, apt } = observe(root, None, now, &mut |_| {});
    let mut closes = closed_by_feeds(&mut inventory, &feeds);
    if let Some(apt) = apt {
        closes.extend(apt.closes(&mut inventory, Some(cache), network, &mut |_| {}));
    }
    report(inventory, &closes)
}

/// Looks at the processes only; everything else is taken from `last`. `None` if that is not enough: other files are stale
/// than before, and what that means only a whole look can tell.
pub(crate) fn processes(root: &Path, last: Report) -> Result<Option<Report>, Broken> {
    let now = Timestamp::now();
    let pieces = Pieces { parts: last.parts, bodies: last.bodies };
    let (mut inventory, closes) = join("", now, &pieces)?;
    drop(pieces);
    let stale_before = stale(&inventory.processes);
    processes_again(root, Path::new("/proc"), now, &mut inventory);
    if stale(&inventory.processes) != stale_before {
        return Ok(None);
    }
    Ok(Some(report(inventory, &closes)))
}

fn report(mut inventory: Inventory, closes: &[Advisory]) -> Report {
    inventory.gaps.iter_mut().for_each(steady);
    inventory.gaps.sort();
    inventory.gaps.dedup();
    settle(&mut inventory);
    let Pieces { parts, bodies } = split(&inventory, closes);
    Report { observed_at: inventory.observed.as_microsecond(), parts, bodies }
}

/// A gap about processes names and counts them, and they come and go: without that it is the same gap at the next look.
fn steady(gap: &mut Gap) {
    if gap.part == Part::Processes && gap.reason.starts_with("not permitted to inspect") {
        "not permitted to inspect some processes".clone_into(&mut gap.reason);
    }
}

fn stale(processes: &[Process]) -> BTreeSet<StaleFile> {
    processes.iter().flat_map(|process| &process.stale).cloned().collect()
}

/// What the feeds that the package manager keeps on the host (`updateinfo`) say about packages that are not up to date
/// in memory or on disk. They say more, about packages that are; the server need not be told what is long done.
fn closed_by_feeds(inventory: &mut Inventory, feeds: &[PathBuf]) -> Vec<Advisory> {
    let release = inventory.system.release.clone();
    let moves: HashSet<&str> = inventory
        .candidates
        .iter()
        .map(|candidate| candidate.name.as_str())
        .chain(
            inventory
                .processes
                .iter()
                .flat_map(|process| &process.stale)
                .filter_map(|file| file.package.as_deref()),
        )
        .chain(inventory.kernel.installed.iter().filter_map(|kernel| kernel.package.as_deref()))
        .collect();
    let packages = inventory.packages.iter().filter(|package| moves.contains(package.name.as_str()));
    let wanted: HashSet<(NameKind, String)> =
        packages.flat_map(names).map(|(kind, name)| (kind, name.into_owned())).collect();
    let mut closes = Vec::new();
    for path in feeds {
        let name = path.to_string_lossy();
        let read =
            File::open(path).map(|file| format::read(None, &name, BufReader::new(file), Some(&release)));
        match read {
            Ok(feed) => {
                let speaks = |advisory: &Advisory| {
                    advisory
                        .claims
                        .iter()
                        .any(|claim| wanted.contains(&(claim.name_kind, claim.name.clone())))
                };
                closes.extend(feed.advisories.into_iter().filter(speaks));
                inventory.gaps.extend(feed.problems.into_iter().take(1).map(unread));
            }
            Err(error) => inventory.gaps.push(unread(Problem::new("open feed", name, error))),
        }
    }
    closes
}

fn unread(problem: Problem) -> Gap {
    let Problem { object, reason, remedy, .. } = problem;
    Gap { part: Part::Changelogs, object, reason, remedy }
}
