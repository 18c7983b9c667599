//! What runs in a root, what it maps, and who listens. Everything is read from `/proc`, by our own eyes.

use crate::observe::gaps;
use crate::observe::maps::{is_packageable, parse_maps};
use crate::observe::root::{Identity, Root, of};
use crate::observe::sockets::{Listener, TABLES, parse_table};
use exposure::inventory::{Gap, Part, Socket};
use jiff::{SignedDuration, Timestamp};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// `vm.max_map_count` is 65,530 by default; with paths of ordinary length that is 10 MB.
const MAPS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A million sockets at 150 bytes a line.
const TABLE_BYTES_MAX: u64 = 150 * 1_000_000;

/// Processes that could not be inspected, named one by one before the rest is only counted.
const NAMED_MAX: usize = 5;

/// `PF_KTHREAD` of `include/linux/sched.h`: kernel threads have neither files nor a root.
const PF_KTHREAD: u64 = 0x0020_0000;

/// The processes of one root.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By process id.
    pub(super) processes: Vec<Running>,
    /// Distinct files mapped by any of them; [`Running::files`] points here.
    pub(super) files: Vec<Vec<u8>>,
}

/// One process, before it is known which packages its files belong to.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) pid: u32,
    pub(super) started: Option<Timestamp>,
    pub(super) name: String,
    pub(super) unit: Option<String>,
    /// Its executable: an index into [`Seen::files`].
    pub(super) executable: Option<usize>,
    /// Files it maps for execution, stale ones included.
    pub(super) files: BTreeSet<usize>,
    /// Those that are not on disk any more.
    pub(super) stale: BTreeSet<usize>,
    pub(super) sockets: BTreeSet<Socket>,
    /// The kernel did not let us see what it maps.
    pub(super) hidden: bool,
}

/// What became of looking at something that may vanish meanwhile.
enum Look<T> {
    Seen(T),
    /// The process has ended: normal.
    Gone,
    Denied,
}

impl<T> From<io::Result<T>> for Look<T> {
    fn from(looked: io::Result<T>) -> Self {
        match looked {
            Ok(seen) => Self::Seen(seen),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Self::Denied,
            // ENOENT and ESRCH; whatever else the kernel answers, there is nothing to be seen there.
            Err(_) => Self::Gone,
        }
    }
}

/// Looks at every process whose root directory is `root`, and at who listens.
pub(super) fn scan(proc: &Path, root: &Root, found: &mut Vec<Gap>) -> Seen {
    look(proc, root, true, found)
}

/// The same, but for who listens: for that the kernel walks its whole table of connections, a few milliseconds long whatever is in
/// there, for each network namespace twice.
pub(super) fn scan_mapped(proc: &Path, root: &Root, found: &mut Vec<Gap>) -> Seen {
    look(proc, root, false, found)
}

fn look(proc: &Path, root: &Root, with_listeners: bool, found: &mut Vec<Gap>) -> Seen {
    let pids = match pids(proc) {
        Ok(pids) if !pids.is_empty() => pids,
        Ok(_) => return unseen(proc, "shows no processes", found),
        Err(error) => return unseen(proc, &error.to_string(), found),
    };
    let mut scan = Scan::new(proc, root);
    for pid in &pids {
        scan.look_at(*pid);
    }
    if with_listeners {
        scan.listeners(&pids);
    }
    let hidden = !proc.join("1").exists();
    if !scan.denied.is_empty() && scan.runs() {
        // Only now it matters how many there are.
        let others = std::mem::take(&mut scan.others);
        scan.looked_at += others.into_iter().filter(|pid| scan.stat(*pid).is_some()).count();
    }
    scan.report(hidden, found);
    let mut processes = scan.processes.into_values().collect::<Vec<_>>();
    processes.retain(|process| process.hidden || !process.files.is_empty() || !process.sockets.is_empty());
    Seen { processes, files: scan.files }
}

fn unseen(proc: &Path, reason: &str, found: &mut Vec<Gap>) -> Seen {
    for part in [Part::Processes, Part::Sockets] {
        found.push(gaps::new(part, proc.display(), reason, "mount proc there, then look again"));
    }
    Seen::default()
}

fn pids(proc: &Path) -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir(proc)? {
        pids.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    pids.sort_unstable();
    Ok(pids)
}

struct Scan<'a> {
    proc: &'a Path,
    root: &'a Root,
    /// Read when the first process is seen: an image has none.
    boot: OnceCell<Option<Timestamp>>,
    processes: BTreeMap<u32, Running>,
    files: Vec<Vec<u8>>,
    indices: HashMap<Vec<u8>, usize>,
    /// What lies at the path of a file now.
    on_disk: HashMap<usize, Option<Identity>>,
    /// One process of each network namespace.
    networks: BTreeMap<Identity, u32>,
    buffer: Vec<u8>,
    /// Processes looked at, those of other roots excluded.
    looked_at: usize,
    /// Processes of other roots, or gone, among them threads of the kernel.
    others: Vec<u32>,
    /// Those that could not be inspected, `name (pid)`.
    denied: Vec<String>,
    /// Lines of the kernel that could not be read: maps, tables.
    unreadable: (usize, usize),
    /// Listening sockets that nobody visible holds.
    orphans: Vec<Socket>,
}

impl<'a> Scan<'a> {
    fn new(proc: &'a Path, root: &'a Root) -> Self {
        Self {
            proc,
            root,
            boot: OnceCell::new(),
            processes: BTreeMap::new(),
            files: Vec::new(),
            indices: HashMap::new(),
            on_disk: HashMap::new(),
            networks: BTreeMap::new(),
            buffer: Vec::new(),
            looked_at: 0,
            others: Vec::new(),
            denied: Vec::new(),
            unreadable: (0, 0),
            orphans: Vec::new(),
        }
    }

    fn path(&self, pid: u32, name: &str) -> PathBuf {
        self.proc.join(format!("{pid}/{name}"))
    }

    /// Reads a file of a process into the buffer.
    fn read(&mut self, pid: u32, name: &str, bytes_max: u64) -> Look<()> {
        self.buffer.clear();
        let file = std::fs::File::open(self.path(pid, name));
        file.and_then(|file| file.take(bytes_max).read_to_end(&mut self.buffer)).map(|_| ()).into()
    }

    /// Name and start of a process, in ticks; `None` if it is gone, or a thread of the kernel.
    fn stat(&mut self, pid: u32) -> Option<(String, u64)> {
        let Look::Seen(()) = self.read(pid, "stat", 4096) else { return None };
        let stat = parse_stat(&self.buffer)?;
        let name = || String::from_utf8_lossy(stat.name).into_owned();
        (stat.flags & PF_KTHREAD == 0).then(|| (name(), stat.started_ticks))
    }

    fn look_at(&mut self, pid: u32) {
        let place = self.path(pid, "root");
        // The root first: that is one call, and of an image's or a container's root few processes are.
        let found = Look::from(rustix::fs::stat(&place).map_err(io::Error::from));
        if matches!(&found, Look::Seen(stat) if of(stat) != self.root.identity())
            || matches!(found, Look::Gone)
        {
            self.others.push(pid);
            return;
        }
        let Some((name, ticks)) = self.stat(pid) else { return };
        self.looked_at += 1;
        match found {
            Look::Seen(_) | Look::Gone => {}
            Look::Denied => {
                // Whose root it has is not known; of the running system it most likely is.
                self.denied.push(format!("{name} ({pid})"));
                if self.root.is_own() {
                    self.hide(pid, name, ticks);
                }
                return;
            }
        }
        // Paths are told as we see them: below the root, if it is not ours.
        let above =
            std::fs::read_link(&place).map(|path| path.into_os_string().into_vec()).unwrap_or_default();
        let mut process = Running { pid, name, started: self.started(ticks), ..Running::default() };
        if let Look::Seen(()) = self.read(pid, "cgroup", 64 * 1024) {
            process.unit = unit(&self.buffer);
        }
        match self.read(pid, "maps", MAPS_BYTES_MAX) {
            Look::Seen(()) => {}
            Look::Gone => return,
            Look::Denied => {
                self.denied.push(format!("{} ({pid})", process.name));
                self.hide(pid, process.name, ticks);
                return;
            }
        }
        self.take_maps(&above, &mut process);
        if let Ok(stat) = rustix::fs::stat(self.path(pid, "ns/net")) {
            self.networks.entry(of(&stat)).or_insert(pid);
        }
        self.processes.insert(pid, process);
    }

    /// Keeps a process of which only the name may be known.
    fn hide(&mut self, pid: u32, name: String, ticks: u64) {
        let started = self.started(ticks);
        self.processes.insert(pid, Running { pid, name, started, hidden: true, ..Running::default() });
    }

    fn started(&self, ticks: u64) -> Option<Timestamp> {
        let per_second = rustix::param::clock_ticks_per_second();
        let since_boot =
            SignedDuration::from_millis(i64::try_from(ticks.checked_mul(1000)? / per_second).ok()?);
        let boot =
            self.boot.get_or_init(|| boot_time(&std::fs::read(self.proc.join("stat")).unwrap_or_default()));
        (*boot)?.checked_add(since_boot).ok()
    }

    /// Adds the files in the buffer's maps to `process`.
    fn take_maps(&mut self, above: &[u8], process: &mut Running) {
        let executable = std::fs::read_link(self.path(process.pid, "exe")).unwrap_or_default();
        let executable = executable.as_os_str().as_bytes();
        let buffer = std::mem::take(&mut self.buffer);
        let (mappings, unreadable) = parse_maps(&buffer);
        self.unreadable.0 += unreadable;
        if buffer.len() as u64 == MAPS_BYTES_MAX {
            self.unreadable.0 += 1;
        }
        let mut last: Option<&[u8]> = None;
        for mapping in &mappings {
            // Segments of one file follow each other.
            if last == Some(mapping.path.as_ref()) {
                continue;
            }
            last = Some(mapping.path.as_ref());
            let whole = inside(above, &mapping.path);
            let (path, stale) = match mapping.deleted() {
                Some(deleted) if !self.is_at(whole, mapping.device, mapping.inode) => {
                    (inside(above, deleted), true)
                }
                _ => (whole, false),
            };
            if !is_packageable(path) {
                continue;
            }
            let file = self.file(path);
            let stale = stale || self.is_replaced(file, mapping.device, mapping.inode);
            if stale {
                process.stale.insert(file);
            }
            if executable == &*mapping.path {
                process.executable = Some(file);
            }
            process.files.insert(file);
        }
        self.buffer = buffer;
    }

    fn file(&mut self, path: &[u8]) -> usize {
        if let Some(index) = self.indices.get(path) {
            return *index;
        }
        self.files.push(path.to_vec());
        self.indices.insert(path.to_vec(), self.files.len() - 1);
        self.files.len() - 1
    }

    /// Whether exactly this inode lies at `path`.
    fn is_at(&self, path: &[u8], device: (u32, u32), inode: u64) -> bool {
        let there = self.root.identity_of(Path::new(std::ffi::OsStr::from_bytes(path)));
        there.is_ok_and(|there| there == Identity { device: device_number(device), inode })
    }

    /// Whether another file of the same device lies at the path now. Where devices differ nothing can be said: overlay
    /// and btrfs tell other devices in maps than in `stat`.
    fn is_replaced(&mut self, file: usize, device: (u32, u32), inode: u64) -> bool {
        let path = Path::new(std::ffi::OsStr::from_bytes(&self.files[file]));
        let there = self.on_disk.entry(file).or_insert_with(|| self.root.identity_of(path).ok());
        there.is_some_and(|there| there.device == device_number(device) && there.inode != inode)
    }

    /// Finds the listening sockets of every network namespace, and who holds them.
    fn listeners(&mut self, pids: &[u32]) {
        let mut listeners: BTreeMap<u64, BTreeSet<Socket>> = BTreeMap::new();
        let networks = self.networks.values().copied().collect::<Vec<_>>();
        for pid in networks {
            for (table, protocol) in TABLES {
                // A kernel without IPv6 has no such table.
                let Look::Seen(()) = self.read(pid, &format!("net/{table}"), TABLE_BYTES_MAX) else {
                    continue;
                };
                let (found, unreadable) = parse_table(&self.buffer, protocol);
                self.unreadable.1 += unreadable;
                for Listener { socket, inode } in found {
                    listeners.entry(inode).or_default().insert(socket);
                }
            }
        }
        if listeners.is_empty() {
            return;
        }
        // Processes of other roots may hold sockets of ours' network: those are seen, and are not ours to report.
        let mut held = BTreeSet::new();
        for pid in pids {
            for inode in socket_inodes(&self.path(*pid, "fd")) {
                let Some(sockets) = listeners.get(&inode) else { continue };
                held.insert(inode);
                if let Some(process) = self.processes.get_mut(pid) {
                    process.sockets.extend(sockets.iter().cloned());
                }
            }
        }
        listeners.retain(|inode, _| !held.contains(inode));
        self.orphans = listeners.into_values().flatten().collect();
    }

    /// Whether anything is known to run from the root.
    fn runs(&self) -> bool {
        self.root.is_own() || !self.processes.is_empty()
    }

    fn report(&self, hidden: bool, found: &mut Vec<Gap>) {
        // Root sees all but what the kernel keeps even from it.
        let is_root = rustix::process::geteuid().is_root();
        let run_as_root = if is_root { "" } else { "run as root" };
        let cause = if is_root {
            "; a security module, a container or the process itself (not dumpable) hides that from root"
        } else {
            ""
        };
        // An image or a chroot that nothing is seen to run from is taken for one that does not run: processes of other
        // users that may not be looked at say nothing about it.
        if !self.runs() {
            return;
        }
        if !self.denied.is_empty() {
            let (count, processes) = (self.denied.len(), self.looked_at);
            let named = match self.denied.get(..NAMED_MAX) {
                Some(first) if count > NAMED_MAX => {
                    format!("{} and {} more", first.join(", "), count - NAMED_MAX)
                }
                _ => self.denied.join(", "),
            };
            let reason = format!("not permitted to inspect {count} of {processes} processes: {named}{cause}");
            found.push(gaps::new(Part::Processes, self.proc.display(), reason, run_as_root));
        } else if hidden {
            let reason = format!("processes of other users are hidden (hidepid){cause}");
            found.push(gaps::new(Part::Processes, self.proc.display(), reason, run_as_root));
        }
        if !self.denied.is_empty() || hidden {
            let orphans = match self.orphans.as_slice() {
                [] => String::new(),
                orphans => format!("; {} without a visible owner: {}", orphans.len(), gaps::named(orphans)),
            };
            let reason = format!("sockets of processes that could not be inspected are unknown{orphans}");
            found.push(gaps::new(Part::Sockets, self.proc.display(), reason, run_as_root));
        }
        // Where nothing is hidden, sockets that no process holds are the kernel's own (NFS, tunnels), or just closed.
        for (part, lines) in [(Part::Processes, self.unreadable.0), (Part::Sockets, self.unreadable.1)] {
            if lines > 0 {
                let reason = format!("{lines} lines of the kernel could not be read");
                found.push(gaps::new(part, self.proc.display(), reason, ""));
            }
        }
    }
}

fn device_number((major, minor): (u32, u32)) -> u64 {
    rustix::fs::makedev(major, minor)
}

/// `path` as the process sees it: without the way to its root.
fn inside<'a>(above: &[u8], path: &'a [u8]) -> &'a [u8] {
    match path.strip_prefix(above) {
        Some(inside) if above != b"/" && inside.starts_with(b"/") => inside,
        _ => path,
    }
}

/// The inodes of the sockets a process holds.
fn socket_inodes(descriptors: &Path) -> Vec<u64> {
    let Ok(entries) = std::fs::read_dir(descriptors) else { return Vec::new() };
    let links = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let inode = |link: PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix("]")?.parse().ok();
    links.filter_map(inode).collect()
}

/// What we need of `/proc/PID/stat`.
struct Stat<'a> {
    name: &'a [u8],
    flags: u64,
    started_ticks: u64,
}

/// Fields of proc_pid_stat(5). The name stands in parentheses, and may hold blanks and parentheses itself.
fn parse_stat(bytes: &[u8]) -> Option<Stat<'_>> {
    let (open, close) = (memchr::memchr(b'(', bytes)?, memchr::memrchr(b')', bytes)?);
    let name = bytes.get(open + 1..close)?;
    let mut fields = std::str::from_utf8(&bytes[close + 1..]).ok()?.split_ascii_whitespace();
    // Field 3 is the first after the name: flags are field 9, the start is field 22.
    let flags = fields.nth(9 - 3)?.parse().ok()?;
    let started_ticks = fields.nth(22 - 9 - 1)?.parse().ok()?;
    Some(Stat { name, flags, started_ticks })
}

/// `btime` of `/proc/stat`.
fn boot_time(stat: &[u8]) -> Option<Timestamp> {
    let line = stat.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"btime "))?;
    Timestamp::from_second(std::str::from_utf8(line).ok()?.trim().parse().ok()?).ok()
}

/// The unit of the system's manager that a process belongs to, by `/proc/PID/cgroup`: systemd names its cgroups after
/// its units. Deeper ones belong to a user's own manager, or to the service itself.
pub fn unit(cgroup: &[u8]) -> Option<String> {
    let lines = || cgroup.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    // `N:name=systemd:/path` in the older and mixed hierarchies, `0::/path` in the unified one.
    let named = lines().filter_map(|line| line.split_once(":name=systemd:"));
    let unified = lines().filter_map(|line| line.strip_prefix("0::")).map(|path| ("0", path));
    let is_unit = |name: &&str| {
        [".service", ".scope", ".socket", ".mount", ".swap"].iter().any(|kind| name.ends_with(kind))
    };
    named.chain(unified).find_map(|(_, path)| path.split('/').find(is_unit)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let line = b"812 (a) b (c) S 1 2 3 4 5 2097216 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.name, stat.flags, stat.started_ticks), (b"a) b (c".as_slice(), 2_097_216, 4711));
        assert!(parse_stat(b"812 )(").is_none() && parse_stat(b"812 (a) S 1").is_none());
    }

    #[test]
    fn the_unit_is_the_one_the_system_manager_knows() {
        let cases = [
            ("0::/system.slice/nginx.service\n", Some("nginx.service")),
            ("0::/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
            ("0::/user.slice/user-1.slice/user@1.service/app.slice/a.service", Some("user@1.service")),
            ("9:name=systemd:/system.slice/cron.service\n4:memory:/x\n0::/\n", Some("cron.service")),
            ("9:name=systemd:/\n0::/system.slice/cron.service\n", Some("cron.service")),
            ("0::/docker/abc\n4:memory:/a.service\n", None),
            ("0::/system.slice/docker-abc.scope", Some("docker-abc.scope")),
        ];
        for (cgroup, expected) in cases {
            assert_eq!(unit(cgroup.as_bytes()).as_deref(), expected, "{cgroup}");
        }
    }

    #[test]
    fn paths_are_told_from_inside_the_root() {
        assert_eq!(inside(b"/srv/root", b"/srv/root/usr/bin/a"), b"/usr/bin/a");
        assert_eq!(inside(b"/srv/root", b"/srv/rootfs/a"), b"/srv/rootfs/a");
        assert_eq!(inside(b"/", b"/usr/bin/a"), b"/usr/bin/a");
    }
}
