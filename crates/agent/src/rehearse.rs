//! "What would this do to you?" Asked by the server before a plan is made, answered by the host's own package manager, on a
//! thread of its own. Nothing is changed.

use crate::apt::{Apt, Network, Outlook};
use crate::hand::units::{is_deferred, is_service};
use crate::job::sight::{free_bytes, free_inodes, is_hinted, units_using};
use crate::observe::root::Root;
use crate::observe::{is_zypps, packages_now, processes_now};
use crate::state::State;
use exposure::inventory::{Manager, Package, PackageState, Process};
use jiff::Timestamp;
use rollout::converge::{Before, Observation};
use rollout::plan::{Change, Digest, File, HostClass};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};
use uuid::Uuid;
use wire::v1::{Rehearse, Rehearsed};

/// How long a rehearsal may take; after that the server is told that it took too long.
const DEADLINE: Duration = Duration::from_secs(600);
/// How often the set may grow: a source that pulls in a source that pulls in a source.
const ROUNDS_MAX: usize = 8;
/// Source packages in one question.
const SOURCES_MAX: usize = 1_000;

/// Answers to the server's questions, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Rehearsal {
    under_way: Option<UnderWay>,
    found: Option<(Rehearsed, Duration)>,
    /// The question that was answered last: asked again, it is not worked out again at once.
    last: Option<Uuid>,
}

#[derive(Debug)]
struct UnderWay {
    id: Uuid,
    began: Instant,
    told: Receiver<Rehearsed>,
    is_over: Arc<AtomicBool>,
}

impl Rehearsal {
    /// Begins to work out an answer, unless that is done already.
    pub(crate) fn begin(&mut self, asked: &Rehearse, root: &Path, network: Network, state: &State) {
        self.take();
        let is_known = self.under_way.as_ref().is_some_and(|under_way| under_way.id == asked.id)
            || self.found.as_ref().is_some_and(|(found, _)| found.id == asked.id)
            || self.last == Some(asked.id);
        // One at a time; the server asks again.
        if is_known || self.under_way.is_some() {
            return;
        }
        let (tell, told) = channel();
        let is_over = Arc::<AtomicBool>::default();
        let (asked, root, cache, over) =
            (asked.clone(), root.to_owned(), state.directory().to_owned(), is_over.clone());
        let id = asked.id;
        let thread = std::thread::Builder::new().name("rehearsal".to_owned());
        let started = thread.spawn(move || {
            let found = rehearse(&asked, &root, &cache, network);
            // Nobody there to hear it: the agent ends.
            let _ = tell.send(found);
            over.store(true, Ordering::Relaxed);
        });
        if started.is_ok() {
            self.under_way = Some(UnderWay { id, began: Instant::now(), told, is_over });
        }
    }

    /// Whether there is something new to tell.
    pub(crate) fn is_over(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| {
            under_way.is_over.load(Ordering::Relaxed) || under_way.began.elapsed() >= DEADLINE
        })
    }

    /// What was found and not told yet, and how long it took.
    pub(crate) fn found(&mut self) -> Option<&(Rehearsed, Duration)> {
        self.take();
        self.found.as_ref()
    }

    /// The server has the answer.
    pub(crate) fn told(&mut self) {
        self.last = self.found.take().map(|(found, _)| found.id).or(self.last);
    }

    fn take(&mut self) {
        let Some(under_way) = &self.under_way else { return };
        let took = under_way.began.elapsed();
        let found = match under_way.told.try_recv() {
            Ok(found) => found,
            Err(TryRecvError::Empty) if took < DEADLINE => return,
            Err(TryRecvError::Empty) => {
                let reason = format!("rehearsing took longer than {} s", DEADLINE.as_secs());
                blocked(under_way.id, reason)
            }
            Err(TryRecvError::Disconnected) => blocked(under_way.id, "rehearsing broke off".to_owned()),
        };
        self.found = Some((found, took));
        self.under_way = None;
    }
}

fn blocked(id: Uuid, reason: String) -> Rehearsed {
    Rehearsed {
        id,
        changes: Vec::new(),
        blocks: vec![reason],
        restarts: Vec::new(),
        reboot: None,
        download_bytes: 0,
    }
}

/// Works out what a change would do to the system in `root`; `cache` lies where packages' files are to go.
pub fn rehearse(asked: &Rehearse, root: &Path, cache: &Path, network: Network) -> Rehearsed {
    let now = Timestamp::now();
    let opened = match Root::open(root) {
        Ok(opened) => opened,
        Err(problem) => {
            return blocked(asked.id, format!("{} cannot be looked at: {problem}", root.display()));
        }
    };
    if asked.sources.len() > SOURCES_MAX {
        return blocked(asked.id, format!("{} source packages; at most {SOURCES_MAX}", asked.sources.len()));
    }
    let (system, packages, gaps) = packages_now(&opened);
    let mut outlook = match system.manager {
        Manager::Dpkg => match Apt::open(root, &system) {
            Ok(apt) => apt.rehearse(&asked.sources, &packages, network, now),
            Err(gap) => {
                Outlook { blocks: vec![format!("{}: {}", gap.object, gap.reason)], ..Outlook::default() }
            }
        },
        Manager::Rpm => {
            let rehearse = if is_zypps(&opened) { crate::zypper::rehearse } else { crate::dnf::rehearse };
            outlook(|found| rehearse(&opened, &asked.sources, &packages, network, now, found))
        }
        Manager::Pacman => {
            outlook(|found| crate::pacman::rehearse(&opened, &asked.sources, &packages, found))
        }
        Manager::Apk => {
            outlook(|found| crate::apk::rehearse(&opened, &asked.sources, &packages, network, found))
        }
        Manager::Unknown => {
            let reason =
                format!("{}: this version rehearses changes with other package managers", system.manager);
            Outlook { blocks: vec![reason], ..Outlook::default() }
        }
    };
    if packages.is_empty() {
        outlook.blocks.extend(gaps.iter().map(|gap| format!("{}: {}", gap.object, gap.reason)));
    }
    outlook.changes.sort_by(|one, other| (&one.name, &one.arch).cmp(&(&other.name, &other.arch)));
    let files = outlook.changes.iter().flat_map(|change| [Some(&change.file), change.back.as_ref()]);
    let download_bytes = files.flatten().fold(0_u64, |sum, file| sum.saturating_add(file.size_bytes));
    room(&outlook.changes, root, cache, &mut outlook.blocks);
    let touched =
        touched(&outlook.changes, |replaced| processes_now(&opened, Path::new("/proc"), &system, replaced));
    let reboot = reboot(&outlook.changes, &touched, &opened);
    Rehearsed {
        id: asked.id,
        changes: outlook.changes,
        blocks: outlook.blocks,
        restarts: touched.into_iter().filter(|unit| is_restarted(unit)).collect(),
        reboot,
        download_bytes,
    }
}

/// What is found until nothing more can be worked out; why not is in the way, too.
fn outlook(work_out: impl FnOnce(&mut Outlook) -> Result<(), String>) -> Outlook {
    let mut outlook = Outlook::default();
    if let Err(reason) = work_out(&mut outlook) {
        outlook.blocks.push(reason);
    }
    outlook
}

/// A file as repositories' metadata tells of it: SHA-256 in 64 hex digits, and bytes. `None`: not enough to know it again.
pub(crate) fn file(sha256: Option<&str>, size_bytes: u64) -> Option<File> {
    let sha256 = Digest::try_from(sha256?.to_owned()).ok()?;
    (size_bytes > 0).then_some(File { sha256, size_bytes })
}

/// What a package manager would do to upgrade these sources whole, and every source whole that they pull in; `None` if
/// nothing of them may be upgraded.
///
/// `upgrade` asks the package manager about these packages; `pulled` names the source packages of what it would replace.
pub(crate) fn closure<'p, T>(
    sources: &'p [String],
    packages: &'p [Package],
    blocks: &mut Vec<String>,
    mut upgrade: impl FnMut(&[&'p Package], &mut Vec<String>) -> Result<T, String>,
    pulled: impl Fn(&T) -> Vec<&'p str>,
) -> Result<Option<T>, String> {
    let mut whole: BTreeSet<&str> = sources.iter().map(String::as_str).collect();
    for _ in 0..ROUNDS_MAX {
        let ours = packages.iter().filter(|package| whole.contains(package.source.as_str()));
        let wanted: Vec<&Package> = ours.filter(|package| !package.held).collect();
        if wanted.is_empty() {
            tell_held(packages, &whole, blocks);
            return Ok(None);
        }
        let answer = upgrade(&wanted, blocks)?;
        let before = whole.len();
        whole.extend(pulled(&answer));
        if whole.len() == before {
            tell_held(packages, &whole, blocks);
            return Ok(Some(answer));
        }
    }
    tell_held(packages, &whole, blocks);
    Err(format!("after {ROUNDS_MAX} rounds the package manager still pulls in further source packages"))
}

/// Held or broken packages of the sources that are to be upgraded whole.
fn tell_held(packages: &[Package], whole: &BTreeSet<&str>, blocks: &mut Vec<String>) {
    for package in packages.iter().filter(|package| whole.contains(package.source.as_str())) {
        if package.held {
            blocks.push(format!("{} is held by the operator", package.name));
        }
        if package.state != PackageState::Installed {
            blocks.push(format!("{} is not installed whole: repair it first", package.name));
        }
    }
}

/// Whether there is room, by the measure that the host holds its orders against.
fn room(changes: &[Change], root: &Path, cache: &Path, blocks: &mut Vec<String>) {
    let class = HostClass {
        name: String::new(),
        release: String::new(),
        arch: String::new(),
        changes: changes.to_vec(),
    };
    let places: [PathBuf; 2] = [root.join("var"), cache.to_owned()];
    for place in places {
        let Ok(free) = rustix::fs::statvfs(&place) else {
            blocks.push(format!("{}: how much is free cannot be told", place.display()));
            continue;
        };
        let seen =
            Observation { disk_free_bytes: free_bytes(&free), inodes_free: free_inodes(&free), ..NOTHING };
        if !seen.has_room(&class) {
            blocks.push(format!(
                "{}: too little room: {} bytes are free",
                place.display(),
                seen.disk_free_bytes
            ));
        }
        if !seen.has_inodes(&class) {
            blocks.push(format!("{}: too few inodes: {} are free", place.display(), seen.inodes_free));
        }
    }
}

/// An observation of nothing, to be filled.
const NOTHING: Observation<'static> = Observation {
    now: Timestamp::UNIX_EPOCH,
    uptime_ms: 0,
    boot: 0,
    machine: 0,
    release: "",
    arch: "",
    group: "",
    packages: &[],
    fetched: false,
    kept: false,
    fitness: rollout::converge::Fitness::Unasked,
    working: false,
    locked_by: None,
    disk_free_bytes: 0,
    inodes_free: 0,
    stale: false,
    reboot_needed: false,
    kernel_old: false,
    leftover: false,
    duty: rollout::converge::Duty::Unasked,
    owed: false,
    healthy: None,
    before: Before::Known,
};

/// Units whose processes map files of what would be replaced.
fn touched(changes: &[Change], running: impl FnOnce(&BTreeSet<&str>) -> Vec<Process>) -> BTreeSet<String> {
    let replaced: BTreeSet<&str> =
        changes.iter().filter(|change| change.from.is_some()).map(|change| change.name.as_str()).collect();
    units_using(&running(&replaced), &replaced)
}

/// Sessions and slices are nobody's to restart.
fn is_restarted(unit: &str) -> bool {
    is_service(unit) && !is_deferred(unit)
}

/// Why the host would have to be rebooted.
fn reboot(changes: &[Change], touched: &BTreeSet<String>, root: &Root) -> Option<String> {
    if let Some(kernel) = changes.iter().find(|change| is_kernel(&change.name)) {
        return Some(format!("a kernel: {} {}", kernel.name, kernel.to));
    }
    // A session is its person's to end, and systemd can be executed anew.
    let is_deferred = |unit: &&String| is_service(unit) && is_deferred(unit);
    if let Some(unit) = touched.iter().find(is_deferred) {
        return Some(format!("{unit} maps files that would be replaced, and cannot be restarted"));
    }
    let names = changes.iter().map(|change| change.name.as_str()).collect();
    let hinted = !changes.is_empty() && is_hinted(root, &names);
    hinted.then(|| "the distribution asks for a reboot already (/run/reboot-required)".to_owned())
}

/// A kernel's own package: `linux-image-6.1.0-37-amd64`; the meta packages bring one with them.
fn is_kernel(name: &str) -> bool {
    name.strip_prefix("linux-image-").is_some_and(|rest| rest.contains(|c: char| c.is_ascii_digit()))
        || ["kernel", "kernel-core", "kernel-uek-core"].contains(&name)
}
