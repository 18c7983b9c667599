//! Who holds the package manager's lock: looked up in the kernel's list of locks, so that looking takes none.

use crate::observe::root::Root;
use std::path::Path;

/// Files that dpkg, apt, rpm and apk lock while they change packages.
const LOCKS: [&str; 6] = [
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/rpm/.rpm.lock",
    "/usr/lib/sysimage/rpm/.rpm.lock",
    "/lib/apk/db/lock",
    "/usr/lib/apk/db/lock",
];

/// pacman's lock: a file that is there while it works, and after a power failure.
const PACMAN_LOCK: &str = "/var/lib/pacman/db.lck";

/// Programs that take pacman's lock.
pub(crate) const PACMANS: [&str; 3] = ["pacman", "pamac-daemon", "packagekitd"];

/// The program that holds one of the locks: `apt-get (4711)`.
pub(crate) fn holder(root: &Root, proc: &Path) -> Option<String> {
    let held = std::fs::read_to_string(proc.join("locks")).unwrap_or_default();
    let locks = LOCKS.iter().filter_map(|path| root.identity_of(path).ok());
    let found = locks.filter_map(|lock| {
        let mut lines = held.lines().filter_map(parse);
        lines.find(|line| line.inode == lock.inode && is_on(line.device, lock.device))
    });
    let Some(line) = { found }.next() else { return pacman(root, proc) };
    let name = |pid: u32| std::fs::read_to_string(proc.join(format!("{pid}/comm"))).ok();
    Some(match line.pid.and_then(|pid| Some((pid, name(pid)?))) {
        Some((pid, name)) => format!("{} ({pid})", name.trim()),
        // Of another namespace, or gone meanwhile.
        None => "a program that cannot be seen".to_owned(),
    })
}

/// The program that holds pacman's lock: the file does not name it, so it is looked for. One that nobody holds is told by pacman.
fn pacman(root: &Root, proc: &Path) -> Option<String> {
    root.identity_of(PACMAN_LOCK).ok()?;
    let mut processes = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let named = |entry: std::fs::DirEntry| {
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        PACMANS.contains(&name.trim()).then(|| format!("{} ({})", name.trim(), entry.file_name().display()))
    };
    processes.find_map(named)
}

#[derive(Debug, PartialEq, Eq)]
struct Line {
    pid: Option<u32>,
    device: (u64, u64),
    inode: u64,
}

/// `1: POSIX  ADVISORY  WRITE 4711 fd:01:131090 0 EOF` (proc_locks(5)). One that waits has `->` for its second word.
fn parse(line: &str) -> Option<Line> {
    let mut words = line.split_whitespace().skip(1);
    if words.next()? == "->" {
        return None;
    }
    let mut words = words.skip(2);
    let pid = words.next()?.parse().ok().filter(|pid| *pid > 0);
    let mut file = words.next()?.split(':');
    let number = |text: Option<&str>| u64::from_str_radix(text?, 16).ok();
    let device = (number(file.next())?, number(file.next())?);
    Some(Line { pid, device, inode: file.next()?.parse().ok()? })
}

/// Whether a lock's device is the file's. File systems without a device of their own (overlay, btrfs) tell one number
/// here and another there: then the inode must do, since a lock that is overlooked costs more than one too many.
fn is_on((major, minor): (u64, u64), device: u64) -> bool {
    let file = (u64::from(rustix::fs::major(device)), u64::from(rustix::fs::minor(device)));
    (major, minor) == file || major == 0 || file.0 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_the_lock_is_named_and_who_waits_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let (root, proc) = (directory.path().join("root"), directory.path().join("proc"));
        let lock = root.join("var/lib/dpkg/lock");
        std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
        std::fs::create_dir_all(proc.join("4711")).unwrap();
        std::fs::write(&lock, "").unwrap();
        std::fs::write(proc.join("4711/comm"), "unattended-upgr\n").unwrap();
        let opened = Root::open(&root).unwrap();
        let lock = opened.identity_of("/var/lib/dpkg/lock").unwrap();
        let (major, minor) = (rustix::fs::major(lock.device), rustix::fs::minor(lock.device));
        let file = format!("{major:02x}:{minor:02x}:{}", lock.inode);
        let told = |locks: String| {
            std::fs::write(proc.join("locks"), locks).unwrap();
            holder(&opened, &proc)
        };
        let held = format!("1: POSIX  ADVISORY  WRITE 4711 {file} 0 EOF\n");
        assert_eq!(told(held).as_deref(), Some("unattended-upgr (4711)"));
        let unseen = format!("1: OFDLCK ADVISORY  WRITE -1 {file} 0 EOF\n");
        assert_eq!(told(unseen).as_deref(), Some("a program that cannot be seen"));
        let others = format!(
            "1: -> POSIX ADVISORY WRITE 4711 {file} 0 EOF\n2: POSIX ADVISORY WRITE 1 {major:02x}:{minor:02x}:1 0 EOF\nx\n"
        );
        assert_eq!(told(others), None);
    }
}
