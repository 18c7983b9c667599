//! What a service takes: its own memory, and how often systemd has restarted it.

use crate::program::Program;
use std::fs;
use std::path::Path;

/// Where the kernel tells of units' groups of processes.
const CGROUPS: &str = "/sys/fs/cgroup";
/// Groups within a unit's that are looked into, and their depth.
const GROUPS_MAX: usize = 256;

/// What a service takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) memory_bytes: u64,
    pub(super) restarts: u64,
}

/// What a unit takes now; of one that does not run, nothing. Errors say why it cannot be told.
pub(super) fn taken(unit: &str) -> Result<Taken, String> {
    let shown = Program::new("systemctl")
        .args(["show", "--property=LoadState,NRestarts,ControlGroup", "--"])
        .arg(unit)
        .run_ok()
        .map_err(|problem| problem.to_string())?;
    let text = String::from_utf8_lossy(&shown.stdout);
    let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    if value("LoadState") != Some("loaded") {
        return Err("systemd has no such unit".to_owned());
    }
    let restarts = value("NRestarts").and_then(|count| count.parse().ok());
    let restarts = restarts.ok_or("systemd does not tell how often it was restarted: it is no service")?;
    let memory_bytes = match value("ControlGroup").unwrap_or_default() {
        "" => 0,
        group => memory(Path::new(CGROUPS), Path::new("/proc"), group)
            .ok_or_else(|| format!("how much memory {group} takes cannot be told"))?,
    };
    Ok(Taken { memory_bytes, restarts })
}

/// Memory of a group's own: what it has written to, in memory or swapped out. Files that are only cached are not its own, and
/// a log that grows would look like a leak. Where the kernel counts no memory for groups, that of their processes: pages that
/// they share count for each.
fn memory(cgroups: &Path, proc: &Path, group: &str) -> Option<u64> {
    let directory = cgroups.join(group.trim_start_matches('/'));
    let number = |text: &str| text.trim().parse::<u64>().ok();
    if let Ok(stat) = fs::read_to_string(directory.join("memory.stat")) {
        let own = stat.lines().find_map(|line| number(line.strip_prefix("anon ")?))?;
        let swapped = fs::read_to_string(directory.join("memory.swap.current")).ok();
        return Some(own + swapped.and_then(|text| number(&text)).unwrap_or(0));
    }
    let mut groups = vec![directory];
    let (mut bytes, mut looked) = (0, 0);
    while let Some(group) = groups.pop().filter(|_| looked < GROUPS_MAX) {
        looked += 1;
        // A group may end between two looks; the unit's own must be there.
        let processes = match fs::read_to_string(group.join("cgroup.procs")) {
            Ok(processes) => processes,
            Err(_) if looked > 1 => continue,
            Err(_) => return None,
        };
        for process in processes.lines() {
            let status = fs::read_to_string(proc.join(process).join("status")).unwrap_or_default();
            let kibibytes = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                number(line.trim_start_matches(':').trim().strip_suffix("kB")?)
            };
            bytes += (kibibytes("RssAnon").unwrap_or(0) + kibibytes("VmSwap").unwrap_or(0)) << 10;
        }
        let within = fs::read_dir(&group).into_iter().flatten().flatten();
        groups.extend(within.map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_the_service_has_written_to_also_where_the_kernel_counts_none_for_groups() {
        let directory = tempfile::tempdir().unwrap();
        let (cgroups, proc) = (directory.path().join("cgroup"), directory.path().join("proc"));
        let group = cgroups.join("system.slice/oil.service");
        fs::create_dir_all(group.join("worker")).unwrap();
        let take = || memory(&cgroups, &proc, "/system.slice/oil.service");
        assert_eq!(take(), None, "without its list of processes nothing is known");
        for (process, path, text) in [
            (
                "7",
                "cgroup.procs",
                "Name:\toil\nRssAnon:\t     100 kB\nRssFile:\t 5000 kB\nVmSwap:\t       4 kB\n",
            ),
            ("8", "worker/cgroup.procs", "RssAnon:\t       1 kB\n"),
        ] {
            fs::write(group.join(path), format!("{process}\n9\n")).unwrap();
            fs::create_dir_all(proc.join(process)).unwrap();
            fs::write(proc.join(process).join("status"), text).unwrap();
        }
        assert_eq!(take(), Some(105 << 10), "process 9 has ended meanwhile");
        fs::write(group.join("memory.stat"), "file 999\nanon 4096\nanon_thp 7\n").unwrap();
        fs::write(group.join("memory.swap.current"), "10\n").unwrap();
        assert_eq!(take(), Some(4106));
        assert_eq!(memory(&cgroups, &proc, "/system.slice/wick.service"), None);
    }
}
