//! One look at the host, for converging: everything is looked up anew, and what cannot be read is no answer.

use super::{clock, lock};
use crate::hand::named::{lies_beside, named};
use crate::hand::units::{INIT, is_deferred};
use crate::observe::root::Root;
use crate::observe::{kernels_now, packages_now, processes_now};
use crate::state::kept_name;
use advisory::Order;
use advisory::Problem;
use exposure::inventory::{Gap, Package, PackageState, Part, Process};
use exposure::selector::release_word;
use jiff::Timestamp;
use rollout::converge::{Before, Duty, Fitness, Observation, Seen};
use rollout::order::{Direction, Stage};
use rollout::plan::{Digest, File, HostClass, Plan};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Bytes hashed at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Free on `/boot` for a kernel and its initial file system: 200 MiB, twice what a large one takes.
const BOOT_BYTES_MIN: u64 = 200 << 20;

/// What is asked of a look, or begun: the job at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) digest: Digest,
    pub(crate) class: &'a HostClass,
    pub(crate) fence: u64,
    pub(crate) direction: Direction,
    pub(crate) stage: Stage,
    /// The journal's entry.
    pub(crate) seq: u64,
    /// The approvers' word that the order heard last rests on.
    pub(crate) word: Option<Uuid>,
    /// The server's last signed word that it is not halted.
    pub(crate) clearance: Option<&'a str>,
}

/// What was seen.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, looked up by itself")]
pub(crate) struct Look {
    pub(crate) now: Timestamp,
    pub(crate) uptime_ms: u64,
    pub(crate) boot: u64,
    pub(crate) machine: u64,
    pub(crate) release: String,
    pub(crate) arch: String,
    pub(crate) group: String,
    pub(crate) packages: Vec<Package>,
    pub(crate) fetched: bool,
    pub(crate) kept: bool,
    pub(crate) fitness: Fitness,
    pub(crate) working: bool,
    pub(crate) locked_by: Option<String>,
    pub(crate) disk_free_bytes: u64,
    pub(crate) inodes_free: u64,
    pub(crate) stale: bool,
    pub(crate) reboot_needed: bool,
    pub(crate) kernel_old: bool,
    pub(crate) leftover: bool,
    pub(crate) duty: Duty,
    pub(crate) owed: bool,
}

impl Look {
    /// The packages as converging takes them.
    pub(crate) fn seen(&self) -> Vec<Seen<'_>> {
        let seen = |package: &'_ Package| package.state == PackageState::Installed;
        self.packages
            .iter()
            .map(|package| Seen {
                name: &package.name,
                arch: &package.arch,
                version: &package.version,
                whole: seen(package),
                held: package.held,
            })
            .collect()
    }

    /// The observation, with `packages` of [`Look::seen`].
    pub(crate) fn observation<'a>(
        &'a self,
        packages: &'a [Seen<'a>],
        healthy: Option<bool>,
        before: Before,
    ) -> Observation<'a> {
        Observation {
            now: self.now,
            uptime_ms: self.uptime_ms,
            boot: self.boot,
            machine: self.machine,
            release: &self.release,
            arch: &self.arch,
            group: &self.group,
            packages,
            fetched: self.fetched,
            kept: self.kept,
            fitness: self.fitness,
            working: self.working,
            locked_by: self.locked_by.as_deref(),
            disk_free_bytes: self.disk_free_bytes,
            inodes_free: self.inodes_free,
            stale: self.stale,
            reboot_needed: self.reboot_needed,
            kernel_old: self.kernel_old,
            leftover: self.leftover,
            duty: self.duty,
            owed: self.owed,
            healthy,
            before,
        }
    }
}

/// Where to look.
#[derive(Debug)]
pub(crate) struct Sight {
    root: PathBuf,
    proc: PathBuf,
    cache: PathBuf,
    machine: u64,
    group: String,
    /// Files whose digests were looked at, as they were then: hashing 100 MiB at every step would be felt.
    hashed: BTreeMap<Digest, Stamp>,
}

/// Tells a file from one that took its place: inode, size, time of change (which cannot be set back).
type Stamp = (u64, u64, i64, i64);

impl Sight {
    /// `cache`: the directory in which packages' files lie by their digests.
    pub(crate) fn new(root: &Path, cache: &Path, machine: u64, group: &str) -> Self {
        Self {
            root: root.to_owned(),
            proc: PathBuf::from("/proc"),
            cache: cache.to_owned(),
            machine,
            group: group.to_owned(),
            hashed: BTreeMap::new(),
        }
    }

    pub(crate) fn boot(&self) -> u64 {
        clock::boot(&self.proc)
    }

    /// What a host sees that has no job: who and when it is.
    pub(crate) fn glance(&self, now: Timestamp) -> Look {
        Look {
            now,
            uptime_ms: clock::uptime_ms(),
            boot: self.boot(),
            machine: self.machine,
            release: String::new(),
            arch: String::new(),
            group: self.group.clone(),
            packages: Vec::new(),
            fetched: false,
            kept: false,
            fitness: Fitness::Unasked,
            working: false,
            locked_by: None,
            disk_free_bytes: 0,
            inodes_free: 0,
            stale: false,
            reboot_needed: false,
            kernel_old: false,
            leftover: false,
            duty: Duty::Unasked,
            owed: false,
        }
    }

    /// Looks at what the job is about. Errors where what must be known cannot be: nothing follows from such a look.
    pub(crate) fn look(&mut self, job: &Job<'_>, now: Timestamp) -> Result<Look, Problem> {
        let unseen = |what: &str, problem: &dyn std::fmt::Display| {
            Problem::new("look at", what, problem.to_string())
                .remedy("nothing is begun until it can be seen; repair it")
        };
        let place = self.root.display().to_string();
        let root = Root::open(&self.root).map_err(|problem| unseen(&place, &problem))?;
        let (system, packages, gaps) = packages_now(&root);
        if let Some(gap) = gaps.iter().find(|gap| is_blind(gap, packages.is_empty())) {
            return Err(unseen(&gap.object, &gap.reason));
        }
        let free = rustix::fs::statvfs(self.root.join("var")).map_err(|problem| unseen("/var", &problem))?;
        // A file system of its own on some hosts, and not there in some images.
        let usr = Some(self.root.join("usr")).filter(|usr| usr.is_dir()).unwrap_or_else(|| self.root.clone());
        let files = rustix::fs::statvfs(usr).map_err(|problem| unseen("/usr", &problem))?;
        let (stale, reboot_needed, kernel_old) = match job.stage {
            Stage::Restarting | Stage::Verifying | Stage::Soaking | Stage::Reverting => {
                let changed = job.class.changes.iter().map(|change| change.name.as_str()).collect();
                let running = processes_now(&root, &self.proc, &system, &changed);
                let stale = stale_units(&running, &changed);
                let kernel_old = is_kernel_old(&root, &self.proc, &packages, &changed);
                let reboot = unrestartable(&stale).is_some() || is_hinted(&root, &changed) || kernel_old;
                (!stale.is_empty(), reboot, kernel_old)
            }
            Stage::Preflight
            | Stage::Fetched
            | Stage::Committed
            | Stage::Applying
            | Stage::AwaitingReboot
            | Stage::Proven
            | Stage::Skipped(_)
            | Stage::Withdrawn
            | Stage::Failed(_)
            | Stage::RolledBack
            | Stage::Inconsistent => (false, false, false),
        };
        let release = release_word(&system.release.to_string());
        let new = job.class.changes.iter().map(|change| Some(&change.file));
        // What was newly installed has no old file, and stays on the way back.
        let old = job.class.changes.iter().filter(|change| change.from.is_some()).map(|c| c.back.as_ref());
        let (new, old): (Vec<_>, Vec<_>) = (new.collect(), old.collect());
        Ok(Look {
            release: if release_word(&job.class.release) == release {
                job.class.release.clone()
            } else {
                release
            },
            arch: system.arch,
            packages: named(job.class, packages),
            fetched: self.has_all(&new),
            kept: self.has_all(&old),
            locked_by: lock::holder(&root, &self.proc),
            disk_free_bytes: if self.has_room_to_boot(job.class) {
                free_bytes(&free).min(free_bytes(&files))
            } else {
                0
            },
            inodes_free: free_inodes(&free).min(free_inodes(&files)),
            stale,
            reboot_needed,
            kernel_old,
            ..self.glance(now)
        })
    }

    fn has_all(&mut self, files: &[Option<&File>]) -> bool {
        files.iter().all(|file| file.is_some_and(|file| self.has(file)))
    }

    /// Whether a kernel of the class would find room where it is booted from.
    fn has_room_to_boot(&self, class: &HostClass) -> bool {
        let has_kernel = class
            .changes
            .iter()
            .any(|change| change.name.starts_with("linux-image-") || lies_beside(&change.name));
        let free = || rustix::fs::statvfs(self.root.join("boot")).map(|free| free_bytes(&free));
        !has_kernel || free().is_ok_and(|free| free >= BOOT_BYTES_MIN)
    }

    /// Whether the cache has this very file.
    fn has(&mut self, file: &File) -> bool {
        let path = self.cache.join(kept_name(file));
        let Ok(found) = std::fs::metadata(&path) else { return false };
        if !found.is_file() || found.len() != file.size_bytes {
            return false;
        }
        let stamp = (found.ino(), found.len(), found.ctime(), found.ctime_nsec());
        if self.hashed.get(&file.sha256) == Some(&stamp) {
            return true;
        }
        let is_it = sha256_of(&path).is_ok_and(|(digest, _)| digest == file.sha256);
        if is_it {
            self.hashed.insert(file.sha256, stamp);
        }
        is_it
    }
}

/// Free for everybody: f_bavail counts fragments (statvfs(3)).
pub(crate) fn free_bytes(found: &rustix::fs::StatVfs) -> u64 {
    found.f_bavail.saturating_mul(found.f_frsize)
}

/// File systems that make inodes as they need them tell none.
pub(crate) fn free_inodes(found: &rustix::fs::StatVfs) -> u64 {
    if found.f_files == 0 { u64::MAX } else { found.f_favail }
}

/// Digest and length of a file.
pub(crate) fn sha256_of(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hash, mut length) = (Sha256::new(), 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            return Ok((Digest(hash.finalize().into()), length));
        }
        hash.update(chunk.get(..count).unwrap_or_default());
        length += count as u64;
    }
}

/// Whether a gap hides which versions are installed. Changes that dpkg has not merged yet do not: they were read as well.
fn is_blind(gap: &Gap, is_empty: bool) -> bool {
    gap.part == Part::Packages && (is_empty || !gap.object.ends_with("/updates"))
}

/// Units whose processes map stale files of these packages; a process that may not be looked at counts as one.
pub(crate) fn stale_units(running: &[Process], changed: &BTreeSet<&str>) -> BTreeSet<String> {
    let is_stale = |process: &&Process| {
        let of = |package: &String| changed.contains(package.as_str());
        process.hidden || process.stale.iter().any(|file| file.package.as_ref().is_some_and(of))
    };
    let unit = |process: &Process| process.unit.clone().unwrap_or_else(|| process.name.clone());
    running.iter().filter(is_stale).map(unit).collect()
}

/// Units whose processes run code of these packages.
pub(crate) fn units_using(running: &[Process], packages: &BTreeSet<&str>) -> BTreeSet<String> {
    let uses =
        |process: &&Process| process.packages.iter().any(|package| packages.contains(package.as_str()));
    running.iter().filter(uses).filter_map(|process| process.unit.clone()).collect()
}

/// The unit among these that only a reboot renews.
fn unrestartable(units: &BTreeSet<String>) -> Option<&String> {
    units.iter().find(|unit| *unit == INIT || is_deferred(unit))
}

/// Whether the distribution says that one of these packages wants a reboot.
pub(crate) fn is_hinted(root: &Root, changed: &BTreeSet<&str>) -> bool {
    if root.identity_of("/run/reboot-required").is_err() {
        return false;
    }
    let packages = root.read("/run/reboot-required.pkgs", 1 << 20).unwrap_or_default();
    let packages = String::from_utf8_lossy(&packages);
    // Without a list it may be for any of them.
    packages.trim().is_empty() || packages.lines().any(|line| changed.contains(line.trim()))
}

/// Whether a kernel among these packages is installed and not what is booted: a newer release, or the same one written
/// anew since the boot.
fn is_kernel_old(root: &Root, proc: &Path, packages: &[Package], changed: &BTreeSet<&str>) -> bool {
    let kernels = kernels_now(root, proc, packages);
    let Some(booted) = kernels.booted else { return false };
    let of = |package: &Option<String>| package.as_deref().is_some_and(|name| changed.contains(name));
    let ours = kernels.installed.into_iter().filter(|kernel| of(&kernel.package));
    let order = |one: &str, other: &str| Order::Dpkg.compare(one, other).unwrap_or_else(|_| one.cmp(other));
    let Some(newest) = ours.max_by(|one, other| order(&one.release, &other.release)) else { return false };
    let uptime = i64::try_from(clock::uptime_ms() / 1_000).unwrap_or(i64::MAX);
    let booted_at = Timestamp::now().as_second().saturating_sub(uptime);
    let image = root.path().join(format!("boot/vmlinuz-{}", newest.release));
    newest.release != booted || std::fs::metadata(image).is_ok_and(|image| image.ctime() > booted_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use exposure::inventory::StaleFile;
    use std::fs;

    #[test]
    fn a_file_counts_as_fetched_only_with_its_digest_and_only_as_long_as_it_is_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let state = crate::state::State::create(&directory.path().join("state")).unwrap();
        let folder = state.folder(crate::state::PACKAGES).unwrap();
        let mut sight = Sight::new(directory.path(), &folder, 1, "");
        let file = File { sha256: Digest::of(b"package"), size_bytes: 7 };
        let path = folder.join(kept_name(&file));
        assert!(!sight.has(&file));
        fs::write(&path, "pack").unwrap();
        assert!(!sight.has(&file), "cut short");
        fs::write(&path, "pickage").unwrap();
        assert!(!sight.has(&file), "another of the same length");
        fs::write(&path, "package").unwrap();
        assert!(sight.has(&file) && sight.has(&file));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "pickage").unwrap();
        assert!(!sight.has(&file), "it took the good one's place");
        assert!(!sight.has_all(&[Some(&file), None]), "what is not named cannot be kept");
    }

    #[test]
    fn what_cannot_be_inspected_counts_as_stale() {
        let process = |name: &str, hidden, package: Option<&str>| Process {
            pid: 1,
            started: None,
            name: name.to_owned(),
            unit: Some(format!("{name}.service")),
            executable: None,
            packages: Vec::new(),
            stale: package
                .map(|package| StaleFile {
                    path: "/lib/x.so".to_owned(),
                    package: Some(package.to_owned()),
                    version: None,
                })
                .into_iter()
                .collect(),
            sockets: Vec::new(),
            hidden,
        };
        let running =
            [process("a", false, Some("ssl")), process("b", false, Some("x")), process("dbus", true, None)];
        let stale = stale_units(&running, &["ssl"].into());
        assert_eq!(stale.iter().collect::<Vec<_>>(), ["a.service", "dbus.service"]);
        assert_eq!(unrestartable(&stale).map(String::as_str), Some("dbus.service"));
        assert_eq!(stale_units(&running[1..2], &["ssl"].into()), BTreeSet::new());
    }
}
