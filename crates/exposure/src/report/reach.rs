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

/// So few hidden processes, or one among so many, are named as what was not looked into, and count as ones that may map
/// anything but do not listen; with more of them nothing can be said.
const HIDDEN_FEW: usize = 3;
const HIDDEN_SHARE: usize = 10;

/// How a process is named to a person: its unit if it has one, else its name, and its pid.
pub fn named(process: &Process) -> String {
    match &process.unit {
        Some(unit) => format!("{unit} (pid {})", process.pid),
        None => format!("{} (pid {})", process.name, process.pid),
    }
}

/// Looks for processes that map files of `binaries`, the binary packages of one source package.
pub(super) fn reach(inventory: &Inventory, source: &str, binaries: &BTreeSet<&str>) -> Reach {
    if is_kernel(source) {
        return kernel(inventory, binaries);
    }
    let mut seen = Seen::NotRunning;
    let mut evidence: Vec<(Seen, String)> = Vec::new();
    for process in &inventory.processes {
        let mapped = process.packages.iter().any(|package| binaries.contains(package.as_str()));
        let interprets = !mapped && interprets(process, binaries);
        if !mapped && !interprets {
            continue;
        }
        let note =
            if interprets { ", and may have loaded it: interpreted code is not visible in maps" } else { "" };
        let (how, line) = if let Some(socket) = process.sockets.iter().find(|socket| !socket.is_local()) {
            (Seen::Listening, format!("{} listens on {socket}{note}", named(process)))
        } else if let Some(socket) = process.sockets.first() {
            (
                Seen::ListeningLocally,
                format!("{} listens on {socket}, for this host only{note}", named(process)),
            )
        } else {
            (Seen::Running, format!("{} runs it{note}", named(process)))
        };
        seen = seen.max(how);
        evidence.push((how, line));
    }
    // Stable: within one strength the order of the inventory, which is by pid.
    evidence.sort_by_key(|(how, _)| std::cmp::Reverse(*how));
    let mut evidence: Vec<String> = evidence.into_iter().map(|(_, line)| line).collect();
    let mut exposure = match seen {
        Seen::NotRunning => Exposure::Small,
        Seen::Running | Seen::ListeningLocally => Exposure::Controlled,
        Seen::Unknown | Seen::Listening => Exposure::Open,
    };
    // What was not seen may be worse than what was, unless the worst was seen already.
    let unseen = inventory.gaps_in(Part::Processes).chain(inventory.gaps_in(Part::Sockets)).next();
    if let Some(gap) = unseen
        && seen != Seen::Listening
    {
        let hidden: Vec<String> =
            inventory.processes.iter().filter(|process| process.hidden).map(named).collect();
        let few = hidden.len() <= HIDDEN_FEW || hidden.len() * HIDDEN_SHARE <= inventory.processes.len();
        if !hidden.is_empty() && few {
            evidence.push(format!("not looked into: {}", hidden.join(", ")));
            exposure = exposure.max(Exposure::Controlled);
        } else {
            evidence.push(format!("not everything could be seen: {}", gap.reason));
            return Reach { seen: seen.max(Seen::Unknown), exposure: Exposure::Open, evidence };
        }
    }
    if seen == Seen::NotRunning {
        evidence.insert(0, "installed, no process was seen to map it".to_owned());
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

/// A kernel is reached by being booted.
fn kernel(inventory: &Inventory, binaries: &BTreeSet<&str>) -> Reach {
    let images: Vec<_> = inventory
        .kernel
        .installed
        .iter()
        .filter(|kernel| kernel.package.as_deref().is_some_and(|package| binaries.contains(package)))
        .collect();
    let holds_kernel =
        binaries.iter().any(|name| name.starts_with("linux-image-") || name.starts_with("kernel"));
    if images.is_empty() && !holds_kernel {
        return Reach {
            seen: Seen::NotRunning,
            exposure: Exposure::Small,
            evidence: vec!["headers and tools of a kernel that is not installed".to_owned()],
        };
    }
    let Some(booted) = &inventory.kernel.booted else {
        return Reach {
            seen: Seen::NotRunning,
            exposure: Exposure::Small,
            evidence: vec!["installed; this root is not the running system".to_owned()],
        };
    };
    let running = images.iter().any(|kernel| kernel.release == *booted);
    if running {
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
    }
}

/// Whether `process` is an interpreter whose libraries are among `binaries`: their code is read, not mapped.
fn interprets(process: &Process, binaries: &BTreeSet<&str>) -> bool {
    let Some(executable) = &process.executable else { return false };
    binaries
        .iter()
        .any(|name| interpreter(name).is_some_and(|interpreter| executable.starts_with(interpreter)))
}

/// How the packages of the interpreter begin that loads the code of this package.
fn interpreter(package: &str) -> Option<&'static str> {
    if package.starts_with("perl-modules") || (package.starts_with("lib") && package.ends_with("-perl")) {
        return Some("perl");
    }
    let by_prefix = [("python3-", "python3"), ("ruby-", "ruby"), ("php-", "php"), ("node-", "nodejs")];
    by_prefix.into_iter().find(|(prefix, _)| package.starts_with(prefix)).map(|(_, interpreter)| interpreter)
}
