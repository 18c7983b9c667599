//! A second look at what changes fastest, without asking the package manager anything: processes and who listens; and, for a
//! host under change, what is installed and booted.

use super::{Database, dpkg, kernel, os_release, owners, processes, tell_stale_versions, with_packages};
use crate::observe::owners::Owners;
use crate::observe::processes::Seen;
use crate::observe::root::Root;
use exposure::inventory::{Gap, Inventory, Kernel, Package, Part, Process, System};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::path::Path;

/// Looks again at the processes of the root directory `root`, at the time `now`, and puts them into `inventory`, an
/// earlier look at it. Everything else in there stays as it was seen.
pub fn processes_again(root: &Path, proc: &Path, now: Timestamp, inventory: &mut Inventory) {
    let Ok(directory) = Root::open(root) else { return };
    let is_of_processes = |gap: &Gap| matches!(gap.part, Part::Processes | Part::Sockets);
    let mut found = Vec::new();
    let seen = processes::scan(proc, &directory, &mut found);
    inventory.processes = of_packages(seen, &directory, &inventory.system, None);
    inventory.observed = now;
    found.retain(is_of_processes);
    inventory.gaps.retain(|gap| !is_of_processes(gap));
    inventory.gaps.append(&mut found);
    inventory.gaps.sort();
    inventory.gaps.dedup();
}

/// Which packages' files they map: of these packages, or of all.
fn of_packages(seen: Seen, root: &Root, system: &System, packages: Option<&BTreeSet<&str>>) -> Vec<Process> {
    let owners = Owners::wanted(seen.files.iter().flat_map(|file| owners::names(file)).map(<[u8]>::to_vec));
    let mut owners = match packages {
        Some(packages) => owners.among(packages),
        None => owners,
    };
    // What is wrong with the database was told by the first look, and is told again by the next whole one.
    let database = Database::find(root, &system.release.family, &mut Vec::new());
    if !owners.is_empty() {
        database.take_files(root, &mut owners, &mut Vec::new());
    }
    let mut processes = with_packages(seen, &owners);
    if matches!(database, Database::Dpkg) {
        tell_stale_versions(root, &mut processes);
    }
    processes
}

/// The system, and which package manager keeps it, as files tell: no program is asked.
pub(crate) fn system_now(root: &Root) -> System {
    let mut found = Vec::new();
    let mut system = os_release::read(root, &mut found);
    system.manager = Database::find(root, &system.release.family, &mut found).manager();
    system
}

/// The system and its packages as the database has them now, and what could not be read of them.
pub(crate) fn packages_now(root: &Root) -> (System, Vec<Package>, Vec<Gap>) {
    let mut found = Vec::new();
    let mut system = os_release::read(root, &mut found);
    let database = Database::find(root, &system.release.family, &mut found);
    system.manager = database.manager();
    let packages = match &database {
        Database::Dpkg => {
            let read = dpkg::read(root, &mut found);
            system.arch = read.arch;
            read.packages
        }
        Database::Rpm(database) => {
            let mut packages = database.packages(&mut found);
            if super::repos::is_zypps(root) {
                super::zypp::tell_held(root, &mut packages);
            } else {
                super::dnf::tell_held(root, &mut packages);
            }
            packages
        }
        Database::Apk(bytes) => super::apk::read(root, bytes, &mut found),
        Database::Pacman => super::pacman::read(root, &mut found),
        Database::None => Vec::new(),
    };
    if system.arch.is_empty() {
        system.arch = super::most_common_arch(&packages);
    }
    (system, packages, found)
}

/// What runs now, and which files of these packages it maps, stale ones included. Files of others count as nobody's, and who
/// listens is not looked for.
pub(crate) fn processes_now(
    root: &Root,
    proc: &Path,
    system: &System,
    packages: &BTreeSet<&str>,
) -> Vec<Process> {
    of_packages(processes::scan_mapped(proc, root, &mut Vec::new()), root, system, Some(packages))
}

/// Which kernel is booted, and which are installed, as the names of `packages` tell.
pub(crate) fn kernels_now(root: &Root, proc: &Path, packages: &[Package]) -> Kernel {
    let mut found = Vec::new();
    let named = |release| kernel::with_package(release, packages, |_| None);
    Kernel {
        booted: kernel::booted(proc, root, &mut found),
        installed: kernel::installed(root, &mut found).into_iter().map(named).collect(),
    }
}
