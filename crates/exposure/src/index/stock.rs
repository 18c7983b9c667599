//! The fleet in pieces that hosts share. Takes batches of packages, each read once however many hosts have it, and for each
//! host its batches and what of it decides about single packages; gives a [`Snapshot`].
//!
//! Nearly every package is judged alike on every host of a release. Only kernels, and packages of which other versions
//! still run, hang on the host; their batches are read again with it.

use super::lists::Lists;
use super::{HostId, HostRows, Snapshot, number};
use crate::Inventory;
use crate::inventory::{Gap, Kernel, Manager, Package, Process, System};
use crate::judge::{Host, Installed, is_kernel};
use advisory::Release;
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;

/// Builds of a batch as they are on a host where nothing else decides about them.
#[derive(Clone, Debug)]
pub struct Fresh {
    builds: Vec<Installed>,
    names: Box<[Box<str>]>,
    has_kernel: bool,
}

/// A batch that is in the stock.
#[derive(Clone, Debug)]
pub struct Batch {
    /// In the stock's lists.
    list: u32,
    /// Binary names, sorted.
    names: Box<[Box<str>]>,
    has_kernel: bool,
}

/// Builds of batches as they are on one host.
#[derive(Clone, Debug, Default)]
pub struct Own(Vec<Installed>);

/// Distinct builds of batches.
#[derive(Debug, Default)]
pub struct Stock {
    rows: Vec<(Release, Arc<Installed>)>,
    places: HashMap<Release, HashMap<Arc<Installed>, u32>>,
    lists: Lists,
}

impl Fresh {
    /// Reads a batch for hosts of `release`. Work for any core.
    pub fn read(release: &Release, packages: Vec<Package>) -> Self {
        let mut names: Vec<Box<str>> = packages.iter().map(|package| package.name.as_str().into()).collect();
        names.sort_unstable();
        names.dedup();
        let has_kernel = packages.iter().any(is_kernel);
        let builds = builds(&bare(release.clone(), packages));
        Self { builds, names: names.into(), has_kernel }
    }
}

impl Batch {
    /// Whether this host's kernel or processes decide about a package of the batch, so that it must be read as [`Own`].
    pub fn hangs_on(&self, kernel: &Kernel, processes: &[Process]) -> bool {
        let has = |name: &Option<String>| {
            name.as_deref().is_some_and(|name| self.names.binary_search_by(|own| (**own).cmp(name)).is_ok())
        };
        self.has_kernel
            || kernel.installed.iter().any(|kernel| has(&kernel.package))
            || processes.iter().flat_map(|process| &process.stale).any(|file| has(&file.package))
    }
}

impl Batch {
    /// A host that has all these. Work for any core.
    pub fn join<'b>(id: HostId, system: &System, batches: impl IntoIterator<Item = &'b Self>) -> HostRows {
        let mut lists: Vec<u32> = batches.into_iter().map(|batch| batch.list).collect();
        lists.sort_unstable();
        lists.dedup();
        HostRows {
            id,
            release: system.release.clone(),
            version_id: system.version_id.as_str().into(),
            lists: lists.into(),
        }
    }
}

impl Own {
    /// Reads the packages of all batches that hang on a host, with what decides about them. Packages of one source must be in
    /// one batch. Work for any core.
    pub fn read(
        release: &Release,
        packages: Vec<Package>,
        kernel: &Kernel,
        processes: &[Process],
        gaps: &[Gap],
    ) -> Self {
        let mut host = bare(release.clone(), packages);
        (host.kernel, host.processes, host.gaps) = (kernel.clone(), processes.to_vec(), gaps.to_vec());
        Self(builds(&host))
    }
}

impl Stock {
    /// Puts a batch into the stock.
    pub fn keep(&mut self, release: &Release, fresh: Fresh) -> Batch {
        let Fresh { builds, names, has_kernel } = fresh;
        Batch { list: self.list_of(release, builds), names, has_kernel }
    }

    /// Puts batches into the stock as they are on some hosts: those whose kernel, processes and gaps they were read with.
    pub fn keep_own(&mut self, release: &Release, own: Own) -> Batch {
        Batch { list: self.list_of(release, own.0), names: Box::default(), has_kernel: false }
    }

    /// All builds, and the hosts that have them; see [`Batch::join`]. Of a host that comes twice the earlier counts.
    pub fn snapshot(self, mut hosts: Vec<HostRows>) -> Snapshot {
        hosts.sort_by_key(|host| host.id);
        hosts.dedup_by_key(|host| host.id);
        let lists = self.lists.iter().map(|(_, list)| Arc::clone(list)).collect();
        Snapshot { rows: self.rows, lists, hosts }
    }

    fn list_of(&mut self, release: &Release, builds: Vec<Installed>) -> u32 {
        let Self { rows, places, lists } = self;
        let places = match places.get_mut(release) {
            Some(places) => places,
            None => places.entry(release.clone()).or_default(),
        };
        let place = |build: Installed| {
            if let Some(&place) = places.get(&build) {
                return place;
            }
            let (place, build) = (number(rows.len()), Arc::new(build));
            rows.push((release.clone(), Arc::clone(&build)));
            places.insert(build, place);
            place
        };
        let mut list: Vec<u32> = builds.into_iter().map(place).collect();
        list.sort_unstable();
        list.dedup();
        lists.id(&list)
    }
}

fn builds(inventory: &Inventory) -> Vec<Installed> {
    let host = Host::new(inventory);
    inventory.packages.iter().flat_map(|package| host.names(package)).collect()
}

/// A host that has these packages, and of which nothing else is known.
fn bare(release: Release, packages: Vec<Package>) -> Inventory {
    Inventory {
        host: String::new(),
        observed: Timestamp::UNIX_EPOCH,
        root: String::new(),
        system: System {
            release,
            version_id: String::new(),
            codename: String::new(),
            pretty: String::new(),
            arch: String::new(),
            manager: Manager::Unknown,
        },
        packages,
        archives: Vec::new(),
        candidates: Vec::new(),
        kernel: Kernel::default(),
        processes: Vec::new(),
        gaps: Vec::new(),
    }
}
