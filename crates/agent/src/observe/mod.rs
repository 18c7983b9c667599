//! Reads one host, or one root directory, into an inventory.
//!
//! Reading never fails as a whole: what cannot be read becomes a [`Gap`] that names it, and the rest stands. Bytes are
//! read here and judged by the pure `parse_…` functions of the modules below. Nothing is changed, and nothing fetched.

pub mod apk;
pub mod dpkg;
pub mod dpkg_log;
pub mod dpkg_status;
pub mod maps;
pub mod os_release;
pub mod owners;
pub mod pacman;
pub mod processes;
pub mod repos;
pub mod root;
pub mod rpm;
pub mod sockets;
mod again;
mod copying;
pub(crate) mod dnf;
pub(crate) mod zypp;
pub(crate) mod gaps;
mod kernel;

pub use again::processes_again;
pub(crate) use again::{kernels_now, packages_now, processes_now, system_now};
pub(crate) use repos::is_zypps;

use crate::apt::Apt;
use advisory::{Family, Release};
use exposure::inventory::{Gap, Inventory, Manager, Origin, Package, Part, Process, StaleFile, System};
use jiff::Timestamp;
use owners::Owners;
use processes::{Running, Seen};
use root::Root;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What one look gives.
#[derive(Debug)]
pub struct Observation {
    /// The host.
    pub inventory: Inventory,
    /// Cached `updateinfo` files of the enabled RPM repositories: a feed that is already on the host. Packed as the
    /// repository packs them (gz, zst, xz, bz2), and free of links.
    pub feeds: Vec<PathBuf>,
    /// apt on this root, for asking further; on hosts that apt keeps.
    pub apt: Option<Apt>,
}

/// Looks at the system in the root directory `root` at the time `now`.
///
/// `host` is its name; its own `/etc/hostname` if `None`. `progress` is told what is being read, in one word.
pub fn observe(
    root: &Path,
    host: Option<&str>,
    now: Timestamp,
    progress: &mut dyn FnMut(&str),
) -> Observation {
    observe_with_proc(root, Path::new("/proc"), host, now, progress)
}

/// As [`observe`], with the process file system mounted at `proc`.
pub fn observe_with_proc(
    root: &Path,
    proc: &Path,
    host: Option<&str>,
    now: Timestamp,
    progress: &mut dyn FnMut(&str),
) -> Observation {
    let mut found = Vec::new();
    let directory = match Root::open(root) {
        Ok(directory) => directory,
        Err(error) => return nothing(root, host, now, &error),
    };
    let mut inventory =
        blank(root, host.map_or_else(|| host_name(&directory, proc, &mut found), str::to_owned), now);

    progress("system");
    inventory.system = os_release::read(&directory, &mut found);
    progress("packages");
    let database = Database::find(&directory, &inventory.system.release.family, &mut found);
    let mut feeds = Vec::new();
    let apt = read_packages(&directory, &database, &mut inventory, &mut feeds, progress, &mut found);

    progress("processes");
    let seen = processes::scan(proc, &directory, &mut found);
    progress("kernel");
    inventory.kernel.booted = kernel::booted(proc, &directory, &mut found);
    let releases = kernel::installed(&directory, &mut found);
    progress("files");
    let kernels = releases.iter().flat_map(|release| kernel::files(release));
    let mapped = seen.files.iter().flat_map(|file| owners::names(file)).map(<[u8]>::to_vec);
    let mut owners = Owners::wanted(kernels.chain(mapped));
    if !owners.is_empty() {
        database.take_files(&directory, &mut owners, &mut found);
    }
    let with_package = |release| kernel::with_package(release, &inventory.packages, |file| owners.of(file));
    inventory.kernel.installed = releases.into_iter().map(with_package).collect();
    inventory.processes = with_packages(seen, &owners);
    if matches!(database, Database::Dpkg) {
        tell_stale_versions(&directory, &mut inventory.processes);
    }

    found.sort();
    found.dedup();
    inventory.gaps = found;
    Observation { inventory, feeds, apt }
}

/// Where the packages of a root are recorded.
#[derive(Debug)]
enum Database {
    Dpkg,
    Rpm(rpm::Database),
    /// The bytes of apk's database.
    Apk(Vec<u8>),
    Pacman,
    None,
}

impl Database {
    /// Finds the package manager's database. Where there are several (rpm is a tool on Debian too), the family decides.
    fn find(root: &Root, family: &Family, found: &mut Vec<Gap>) -> Self {
        let is_rpm = family.order() == Some(advisory::Order::Rpm);
        let dpkg = || dpkg::is_kept_by_dpkg(root).then_some(Ok(Self::Dpkg));
        let rpm = || Some(rpm::Database::find(root)?.map(Self::Rpm));
        let apk = || Some(apk::database(root)?.map(Self::Apk));
        let pacman = || pacman::is_kept_by_pacman(root).then_some(Ok(Self::Pacman));
        let is_other = |name: &str| matches!(family, Family::Other(id) if id == name);
        let is_arch = is_other("arch");
        let is_alpines = *family == Family::Alpine || is_other("postmarketos");
        let database = if is_rpm {
            rpm().or_else(dpkg).or_else(apk)
        } else if is_arch {
            pacman().or_else(dpkg)
        } else if is_alpines {
            apk().or_else(dpkg)
        } else {
            dpkg().or_else(apk).or_else(rpm).or_else(pacman)
        };
        match database {
            Some(Ok(database)) => return database,
            Some(Err(error)) => {
                let reason = format!("the package database cannot be read: {error}");
                found.push(gaps::new(Part::Packages, root.path().display(), reason, "run as root"));
                return Self::None;
            }
            None => {}
        }
        let reason = "no package database found (dpkg, rpm, apk, pacman), so nothing can be judged";
        let remedy = "check that this is the root directory of a system";
        found.push(gaps::new(Part::Packages, root.path().display(), reason, remedy));
        Self::None
    }

    fn manager(&self) -> Manager {
        match self {
            Self::Dpkg => Manager::Dpkg,
            Self::Rpm(_) => Manager::Rpm,
            Self::Apk(_) => Manager::Apk,
            Self::Pacman => Manager::Pacman,
            Self::None => Manager::Unknown,
        }
    }

    /// Tells `owners` which package owns which file.
    fn take_files(&self, root: &Root, owners: &mut Owners, found: &mut Vec<Gap>) {
        match self {
            Self::Dpkg => dpkg::take_files(root, owners, found),
            Self::Rpm(database) => database.take_files(owners, found),
            Self::Apk(bytes) => apk::take_files(bytes, owners),
            Self::Pacman => pacman::take_files(root, owners),
            Self::None => {}
        }
    }
}

/// Reads packages, and what the package manager knows besides: archives and candidates.
fn read_packages(
    root: &Root,
    database: &Database,
    inventory: &mut Inventory,
    feeds: &mut Vec<PathBuf>,
    progress: &mut dyn FnMut(&str),
    found: &mut Vec<Gap>,
) -> Option<Apt> {
    inventory.system.manager = database.manager();
    match database {
        Database::Dpkg => {
            let read = dpkg::read(root, found);
            inventory.packages = read.packages;
            inventory.system.arch = read.arch;
            progress("archives and candidates");
            match Apt::open(root.path(), &inventory.system) {
                Ok(opened) => {
                    let view = opened.look(&inventory.packages, inventory.observed);
                    inventory.archives = view.archives;
                    inventory.candidates = view.candidates;
                    found.extend(view.gaps);
                    tell_origins(&mut inventory.packages, view.origins);
                    // Their origins do not change their order.
                    return Some(opened);
                }
                Err(gap) => found.push(gap),
            }
        }
        Database::Rpm(database) => {
            inventory.packages = database.packages(found);
            inventory.packages.sort();
            rpm::tell_origins(&inventory.system.release.family, &mut inventory.packages);
            inventory.system.arch = most_common_arch(&inventory.packages);
            progress("archives");
            let (repositories, archives) = repos::read(root, inventory.observed, found);
            inventory.archives = archives;
            for path in repositories.iter().filter_map(|repository| repository.updateinfo.as_ref()) {
                // Opened once to be sure that it is a file, and inside the root.
                match root.file(path).and_then(|_| root.real_path(path)) {
                    Ok(path) => feeds.push(path),
                    Err(error) => found.push(gaps::new(Part::Archives, path, error, repos::refresh(root))),
                }
            }
            progress("candidates");
            let packages = &mut inventory.packages;
            inventory.candidates = if is_zypps(root) {
                zypp::candidates(root, &repositories, packages, found)
            } else {
                dnf::candidates(root, database, &repositories, packages, found)
            };
        }
        Database::Apk(bytes) => {
            inventory.packages = apk::read(root, bytes, found);
            inventory.system.arch = most_common_arch(&inventory.packages);
            progress("candidates");
            inventory.candidates = crate::apk::candidates(root, &inventory.packages, found);
        }
        Database::Pacman => {
            inventory.packages = pacman::read(root, found);
            inventory.system.arch = most_common_arch(&inventory.packages);
            progress("candidates");
            inventory.candidates = crate::pacman::candidates(root, &inventory.packages, found);
        }
        Database::None => {}
    }
    inventory.packages.sort();
    None
}

/// Puts the origins that apt knows to the packages.
fn tell_origins(packages: &mut [Package], mut origins: BTreeMap<(String, String, String), Origin>) {
    if origins.is_empty() {
        return;
    }
    for package in packages {
        let key = (package.name.clone(), package.arch.clone(), package.version.clone());
        package.origin = origins.remove(&key).unwrap_or(Origin::Unknown);
    }
}

/// The architecture that most packages are built for.
fn most_common_arch(packages: &[Package]) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    for package in
        packages.iter().filter(|package| !["noarch", "all", "any", ""].contains(&package.arch.as_str()))
    {
        *counts.entry(&package.arch).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map(|(arch, _)| arch.to_owned()).unwrap_or_default()
}

/// Puts the names of packages to the files of processes.
fn with_packages(seen: Seen, owners: &Owners) -> Vec<Process> {
    let Seen { processes, files } = seen;
    let owner = |file: usize| owners::names(&files[file]).find_map(|name| owners.of(name)).map(str::to_owned);
    let named = |running: Running| Process {
        pid: running.pid,
        started: running.started,
        name: running.name,
        unit: running.unit,
        executable: running.executable.and_then(owner),
        packages: running
            .files
            .iter()
            .filter_map(|file| owner(*file))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        stale: {
            let stale = running.stale.iter().map(|file| StaleFile {
                path: String::from_utf8_lossy(&files[*file]).into_owned(),
                package: owner(*file),
                version: None,
            });
            stale.collect::<BTreeSet<_>>().into_iter().collect()
        },
        sockets: running.sockets.into_iter().collect(),
        hidden: running.hidden,
    };
    let matters = |process: &Process| {
        process.hidden
            || !process.packages.is_empty()
            || !process.stale.is_empty()
            || !process.sockets.is_empty()
    };
    processes.into_iter().map(named).filter(matters).collect()
}

/// Tells of which version a stale file is: of the one that was installed when its process started.
fn tell_stale_versions(root: &Root, processes: &mut [Process]) {
    let stale = || processes.iter().filter(|process| !process.stale.is_empty());
    let packages = stale()
        .flat_map(|process| &process.stale)
        .filter_map(|file| file.package.clone())
        .collect::<BTreeSet<_>>();
    let Some(since) = stale().filter_map(|process| process.started).min() else { return };
    if packages.is_empty() {
        return;
    }
    let names = packages.iter().map(String::as_str).collect();
    let log = dpkg_log::Log::read(root, &names, since);
    for process in processes {
        let Some(started) = process.started else { continue };
        for file in &mut process.stale {
            let version = file.package.as_deref().and_then(|package| log.version_at(package, started));
            file.version = version.map(str::to_owned);
        }
    }
}

/// The name of the system: the running kernel's for our own root, else what the root says.
fn host_name(root: &Root, proc: &Path, found: &mut Vec<Gap>) -> String {
    let own = || std::fs::read_to_string(proc.join("sys/kernel/hostname")).ok().filter(|_| root.is_own());
    let recorded = || root.read("/etc/hostname", 4096).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let mut names = own().into_iter().chain(recorded()).map(|name| name.trim().to_owned());
    names.find(|name| !name.is_empty()).unwrap_or_else(|| {
        let remedy = "name the host when you look at it";
        found.push(gaps::new(Part::System, "/etc/hostname", "the system has no name", remedy));
        String::new()
    })
}

fn blank(root: &Path, host: String, now: Timestamp) -> Inventory {
    Inventory {
        host,
        observed: now,
        root: root.display().to_string(),
        system: System {
            release: Release::new(Family::Other(String::new()), ""),
            version_id: String::new(),
            codename: String::new(),
            pretty: String::new(),
            arch: String::new(),
            manager: Manager::Unknown,
        },
        packages: Vec::new(),
        archives: Vec::new(),
        candidates: Vec::new(),
        kernel: exposure::inventory::Kernel::default(),
        processes: Vec::new(),
        gaps: Vec::new(),
    }
}

/// The inventory of a root that cannot be entered.
fn nothing(root: &Path, host: Option<&str>, now: Timestamp, error: &std::io::Error) -> Observation {
    let mut inventory = blank(root, host.unwrap_or_default().to_owned(), now);
    let parts = [
        Part::System,
        Part::Packages,
        Part::Archives,
        Part::Candidates,
        Part::Kernel,
        Part::Processes,
        Part::Sockets,
    ];
    let remedy = "give the root directory of a system, and run as root";
    inventory.gaps = parts.map(|part| gaps::new(part, root.display(), error, remedy)).to_vec();
    Observation { inventory, feeds: Vec::new(), apt: None }
}
