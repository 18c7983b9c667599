//! A second look at what changes fastest: processes and who listens, without asking the package manager anything.

use super::{Database, owners, processes, tell_stale_versions, with_packages};
use crate::observe::owners::Owners;
use crate::observe::root::Root;
use exposure::inventory::{Gap, Inventory, Part};
use jiff::Timestamp;
use std::path::Path;

/// Looks again at the processes of the root directory `root`, at the time `now`, and puts them into `inventory`, an
/// earlier look at it. Everything else in there stays as it was seen.
pub fn processes_again(root: &Path, proc: &Path, now: Timestamp, inventory: &mut Inventory) {
    let Ok(directory) = Root::open(root) else { return };
    let is_of_processes = |gap: &Gap| matches!(gap.part, Part::Processes | Part::Sockets);
    let mut found = Vec::new();
    let seen = processes::scan(proc, &directory, &mut found);
    let mut owners =
        Owners::wanted(seen.files.iter().flat_map(|file| owners::names(file)).map(<[u8]>::to_vec));
    // What is wrong with the database was told by the first look, and is told again by the next whole one.
    let database = Database::find(&directory, &inventory.system.release.family, &mut Vec::new());
    if !owners.is_empty() {
        database.take_files(&directory, &mut owners, &mut Vec::new());
    }
    inventory.processes = with_packages(seen, &owners);
    if matches!(database, Database::Dpkg) {
        tell_stale_versions(&directory, &mut inventory.processes);
    }
    inventory.observed = now;
    found.retain(is_of_processes);
    inventory.gaps.retain(|gap| !is_of_processes(gap));
    inventory.gaps.append(&mut found);
    inventory.gaps.sort();
    inventory.gaps.dedup();
}
