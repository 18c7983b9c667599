//! Small hosts and bulletins, written out in one line each.
#![allow(dead_code, reason = "each test file uses its part")]

use advisory::{Advisory, Channel, Claim, Document, Family, Kind, Module, NameKind, Release, State};
use exposure::inventory::{
    Action, Archive, ArchiveClass, Candidate, Fetch, Gap, InstalledKernel, Inventory, Kernel, Manager,
    Origin, Package, PackageState, Part, Process, StaleFile, System,
};
use exposure::judge::Host;
use exposure::verdict::{Explanation, Verdict};
use jiff::Timestamp;
use std::sync::Arc;

pub(crate) fn debian() -> Release {
    Release::new(Family::Debian, "12")
}

pub(crate) fn alma(version: &str) -> Release {
    Release::new(Family::AlmaLinux, version)
}

pub(crate) fn document(entry: &str) -> Arc<Document> {
    Arc::new(Document { feed: "test".into(), entry: entry.into(), sha256: "ab".repeat(32) })
}

pub(crate) fn advisory(id: &str, claims: Vec<Claim>) -> Advisory {
    Advisory { claims, ..Advisory::new(id, Kind::Security, document(id)) }
}

/// A claim about a name: fixed in `fixed`, or affected without a fix.
pub(crate) fn claim(release: &Release, name_kind: NameKind, name: &str, fixed: Option<&str>) -> Claim {
    Claim {
        release: release.clone(),
        channel: Channel::Main,
        name_kind,
        name: name.into(),
        module: None,
        flavour: None,
        arch: None,
        introduced: None,
        fixed: fixed.map(str::to_owned),
        last_affected: None,
        versions: Vec::new(),
        state: if fixed.is_some() { State::Fixed } else { State::Affected },
        reason: String::new(),
    }
}

pub(crate) fn source(release: &Release, name: &str, fixed: &str) -> Claim {
    claim(release, NameKind::Source, name, Some(fixed))
}

pub(crate) fn binary(release: &Release, name: &str, fixed: &str) -> Claim {
    claim(release, NameKind::Binary, name, Some(fixed))
}

#[expect(clippy::unnecessary_wraps, reason = "packages and claims have one or none")]
pub(crate) fn module(name: &str, stream: &str) -> Option<Module> {
    Some(Module { name: name.into(), stream: stream.into() })
}

pub(crate) fn package(name: &str, version: &str) -> Package {
    Package {
        name: name.into(),
        arch: "amd64".into(),
        version: version.into(),
        source: name.into(),
        source_version: version.into(),
        state: PackageState::Installed,
        held: false,
        essential: false,
        module: None,
        vendor: String::new(),
        origin: Origin::Vendor,
    }
}

pub(crate) fn from_source(name: &str, version: &str, source: &str, source_version: &str) -> Package {
    Package { source: source.into(), source_version: source_version.into(), ..package(name, version) }
}

pub(crate) fn candidate(name: &str, from: &str, to: &str) -> Candidate {
    Candidate {
        name: name.into(),
        arch: "amd64".into(),
        from: Some(from.into()),
        to: Some(to.into()),
        source: name.into(),
        source_version: to.into(),
        class: ArchiveClass::Security,
        archives: Vec::new(),
        action: Action::Upgrade,
        size_bytes: 1,
        fetch: Fetch::Fetchable,
    }
}

pub(crate) fn archive(class: ArchiveClass) -> Archive {
    Archive {
        address: "https://archive.invalid".into(),
        suite: "suite".into(),
        codename: String::new(),
        origin: String::new(),
        label: String::new(),
        class,
        date: Some(Timestamp::UNIX_EPOCH),
        valid_until: None,
        trusted: true,
    }
}

pub(crate) fn gap(part: Part) -> Gap {
    Gap { part, object: "/proc".into(), reason: "permission denied".into(), remedy: String::new() }
}

pub(crate) fn kernel(booted: Option<&str>, installed: &[(&str, &str, &str)]) -> Kernel {
    Kernel {
        booted: booted.map(str::to_owned),
        installed: installed
            .iter()
            .map(|(release, package, version)| InstalledKernel {
                release: (*release).into(),
                package: Some((*package).into()),
                version: Some((*version).into()),
            })
            .collect(),
    }
}

pub(crate) fn maps_stale(pid: u32, unit: &str, package: &str, version: Option<&str>) -> Process {
    Process {
        pid,
        started: None,
        name: "process".into(),
        unit: Some(unit.into()),
        executable: None,
        packages: Vec::new(),
        stale: vec![StaleFile {
            path: "/usr/lib/file".into(),
            package: Some(package.into()),
            version: version.map(str::to_owned),
        }],
        sockets: Vec::new(),
        hidden: false,
    }
}

pub(crate) fn inventory(release: &Release, packages: Vec<Package>) -> Inventory {
    Inventory {
        host: "web-01".into(),
        observed: Timestamp::UNIX_EPOCH,
        root: "/".into(),
        system: System {
            release: release.clone(),
            version_id: release.version.clone(),
            codename: String::new(),
            pretty: release.to_string(),
            arch: "amd64".into(),
            manager: Manager::Dpkg,
        },
        packages,
        archives: vec![archive(ArchiveClass::Security)],
        candidates: Vec::new(),
        kernel: Kernel::default(),
        processes: Vec::new(),
        gaps: Vec::new(),
    }
}

/// The verdict of an advisory's only claim about the first package; `None` where it does not speak about it.
pub(crate) fn told(advisory: &Advisory, inventory: &Inventory) -> Option<(Verdict, Explanation)> {
    assert_eq!(advisory.claims.len(), 1);
    exposure::judge(advisory, &advisory.claims[0], &inventory.packages[0], &Host::new(inventory))
}

/// The verdict of one claim on a host with one package.
pub(crate) fn verdict(claim: Claim, package: Package) -> Option<Verdict> {
    let inventory = inventory(&claim.release.clone(), vec![package]);
    told(&advisory("ADV-1", vec![claim]), &inventory).map(|(verdict, _)| verdict)
}
