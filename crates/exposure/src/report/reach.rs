//! Whether vulnerable code can be reached right now: who listens, who maps it, which kernel is booted.

use crate::inventory::{Inventory, Part, Process};
use crate::ssvc::Exposure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How reachable a source package's code is on this host, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// What was seen.
    pub seen: Seen,
    /// What ranking takes it for.
    pub exposure: Exposure,
    /// The evidence, strongest first: `nginx.service (pid 812) listens on tcp/0.0.0.0:443`.
    pub evidence: Vec<String>,
}

/// What was seen of a package's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// Installed; no process maps it.
    NotRunning,
    /// Not everything could be looked at, and nothing was seen.
    Unknown,
    /// A process maps it, or it is the booted kernel.
    Running,
    /// A process that maps it listens, for this host only.
    ListeningLocally,
    /// A process that maps it listens for the network.
    Listening,
}

impl Reach {
    /// The strongest piece of evidence in a line.
    pub fn because(&self) -> &str {
        self.evidence.first().map_or("", String::as_str)
    }
}

/// How a process is named to a person: its unit if it has one, else its name, and its pid.
pub fn named(process: &Process) -> String {
    match &process.unit {
        Some(unit) => format!("{unit} (pid {})", process.pid),
        None => format!("{} (pid {})", process.name, process.pid),
    }
}

/// Looks for processes that map files of `binaries`, the binary packages of one source package.
pub fn reach(inventory: &Inventory, source: &str, binaries: &BTreeSet<&str>) -> Reach {
    if is_kernel(source)
        && let Some(reach) = kernel(inventory, binaries)
    {
        return reach;
    }
    let mut seen = Seen::NotRunning;
    let mut evidence: Vec<(Seen, String)> = Vec::new();
    for process in &inventory.processes {
        let mapped = process.packages.iter().any(|package| binaries.contains(package.as_str()));
        let interprets = !mapped && interprets(process, binaries);
        if !mapped && !interprets {
            continue;
        }
        let note = if interprets { ", and may have loaded it: interpreted code is not visible in maps" } else { "" };
        let (how, line) = if let Some(socket) = process.sockets.iter().find(|socket| !socket.is_local()) {
            (Seen::Listening, format!("{} listens on {socket}{note}", named(process)))
        } else if let Some(socket) = process.sockets.first() {
            (Seen::ListeningLocally, format!("{} listens on {socket}, for this host only{note}", named(process)))
        } else {
            (Seen::Running, format!("{} runs it{note}", named(process)))
        };
        seen = seen.max(how);
        evidence.push((how, line));
    }
    // Stable: within one strength the order of the inventory, which is by pid.
    evidence.sort_by_key(|(how, _)| std::cmp::Reverse(*how));
    let mut evidence: Vec<String> = evidence.into_iter().map(|(_, line)| line).collect();
    // What was not seen may be worse than what was, unless the worst was seen already.
    let unseen = inventory.gaps_in(Part::Processes).chain(inventory.gaps_in(Part::Sockets)).next();
    if let Some(gap) = unseen
        && seen != Seen::Listening
    {
        evidence.push(format!("not everything could be seen: {}", gap.reason));
        return Reach { seen: seen.max(Seen::Unknown), exposure: Exposure::Open, evidence };
    }
    let exposure = match seen {
        Seen::NotRunning => Exposure::Small,
        Seen::Unknown | Seen::Listening => Exposure::Open,
        Seen::Running | Seen::ListeningLocally => Exposure::Controlled,
    };
    if evidence.is_empty() {
        evidence.push("installed, no process maps it".to_owned());
    }
    Reach { seen, exposure, evidence }
}

/// Source packages that build kernels: the booted release tells, not maps.
pub fn is_kernel(source: &str) -> bool {
    source == "linux"
        || source == "kernel"
        || source.starts_with("linux-signed-")
        || source.starts_with("linux-6")
        || source.starts_with("linux-5")
        || source.starts_with("kernel-")
}

/// `None` where the packages are of the kernel's source but hold no kernel: headers, tools.
fn kernel(inventory: &Inventory, binaries: &BTreeSet<&str>) -> Option<Reach> {
    let images: Vec<_> = inventory
        .kernel
        .installed
        .iter()
        .filter(|kernel| kernel.package.as_deref().is_some_and(|package| binaries.contains(package)))
        .collect();
    let holds_kernel = binaries.iter().any(|name| name.starts_with("linux-image-") || name.starts_with("kernel"));
    if images.is_empty() && !holds_kernel {
        return None;
    }
    let Some(booted) = &inventory.kernel.booted else {
        return Some(Reach {
            seen: Seen::NotRunning,
            exposure: Exposure::Small,
            evidence: vec!["installed; this root is not the running system".to_owned()],
        });
    };
    let running = images.iter().any(|kernel| kernel.release == *booted);
    Some(if running {
        Reach {
            seen: Seen::Running,
            exposure: Exposure::Controlled,
            evidence: vec![format!("kernel {booted} is booted")],
        }
    } else {
        Reach {
            seen: Seen::NotRunning,
            exposure: Exposure::Small,
            evidence: vec![format!("installed; the booted kernel is {booted}")],
        }
    })
}

/// Whether `process` is an interpreter whose libraries are among `binaries`: their code is read, not mapped.
fn interprets(process: &Process, binaries: &BTreeSet<&str>) -> bool {
    /// Prefixes of interpreters' packages, and a test for the packages they load.
    const INTERPRETERS: [(&str, fn(&str) -> bool); 5] = [
        ("python3", |name| name.starts_with("python3-")),
        ("perl", |name| name.starts_with("perl-modules") || (name.starts_with("lib") && name.ends_with("-perl"))),
        ("ruby", |name| name.starts_with("ruby-")),
        ("php", |name| name.starts_with("php-")),
        ("nodejs", |name| name.starts_with("node-")),
    ];
    let Some(executable) = &process.executable else { return false };
    INTERPRETERS
        .iter()
        .any(|(prefix, loads)| executable.starts_with(prefix) && binaries.iter().any(|name| loads(name)))
}
