//! Hosts that have packages, and what their package managers would do with them.

use crate::api_for_tests::Centre;
use advisory::{Advisory, Channel, Claim, Document, Family, Kind, NameKind, Release, State};
use exposure::inventory::{
    Action, ArchiveClass, Candidate, Fetch, Inventory, Kernel, Manager, Origin, Package, PackageState, System,
};
use rollout::plan::{Change, Digest, File};
use serde_json::json;
use server::store::inventories::{self, Replaced};
use server::store::{commit, count, events};
use std::collections::BTreeMap;
use wire::v1::{Rehearsed, Report, split};

/// Source packages and their binary packages.
const BINARIES: [(&str, &[&str]); 3] =
    [("openssl", &["libssl3", "openssl"]), ("zlib", &["zlib1g"]), ("nginx", &["nginx"])];

fn source(binary: &str) -> &'static str {
    BINARIES.iter().find(|(_, binaries)| binaries.contains(&binary)).map_or("other", |(source, _)| source)
}

/// A host's package: name, version, held.
pub type Has = (&'static str, &'static str, bool);

/// A host that is heard, with labels, and its inventory.
pub async fn host(
    centre: &Centre,
    name: &str,
    labels: &[(&str, &str)],
    release: &str,
    has: &[Has],
) -> String {
    let mut writing = centre.store.begin().await.unwrap();
    let number = count(&mut writing, "host").await.unwrap();
    let id = format!("01900000-0000-7000-8000-{number:012x}");
    let labels: BTreeMap<_, _> = labels.iter().copied().collect();
    sqlx::query(
        "INSERT INTO hosts (id, number, name, state, reason, host_group, labels, release, agent, address, machine, \
         enrolled_at, seen_at, revision) VALUES ($1, $2, $3, 'active', '', 'web', $4, '', '', '', 'm', $5, $5, 1)",
    )
    .bind(id.clone())
    .bind(number)
    .bind(name.to_owned())
    .bind(json!(labels).to_string())
    .bind(centre.now().as_microsecond())
    .execute(&mut *writing)
    .await
    .unwrap();
    commit(writing, "test").await.unwrap();
    report(centre, &id, release, has).await;
    id
}

/// The host is heard of now.
pub async fn heard(centre: &Centre, id: &str) {
    let mut writing = centre.store.begin().await.unwrap();
    sqlx::query("UPDATE hosts SET seen_at = $1 WHERE id = $2")
        .bind(centre.now().as_microsecond())
        .bind(id.to_owned())
        .execute(&mut *writing)
        .await
        .unwrap();
    commit(writing, "test").await.unwrap();
}

/// The host reports this. Its package manager has openssl 3.0.15, which closes a CVE.
pub async fn report(centre: &Centre, id: &str, release: &str, has: &[Has]) {
    let inventory = inventory(release, has);
    let pieces = split(&inventory, &[closes(release)]);
    let report = Report { observed_at: 0, parts: pieces.parts, bodies: pieces.bodies };
    let now = centre.now();
    let replaced = inventories::replace(&centre.store, now, id, now, &report).await.unwrap();
    assert!(matches!(replaced, Replaced::Stored(_) | Replaced::Unchanged(_)), "{replaced:?}");
    while centre.fleet.seq() < events::last(&centre.store).await.unwrap() {
        centre.fleet.step(now).await.unwrap();
    }
}

fn release_of(release: &str) -> Release {
    Release::new(Family::Debian, release)
}

fn closes(release: &str) -> Advisory {
    let document = Document { feed: "host".into(), entry: "openssl".into(), sha256: "ab".repeat(32) };
    let claim = Claim {
        release: release_of(release),
        channel: Channel::Security,
        name_kind: NameKind::Source,
        name: "openssl".into(),
        module: None,
        flavour: None,
        arch: None,
        introduced: None,
        fixed: Some("3.0.15".into()),
        last_affected: None,
        versions: Vec::new(),
        state: State::Fixed,
        reason: String::new(),
    };
    Advisory { claims: vec![claim], ..Advisory::new("CVE-2026-1001", Kind::Security, document.into()) }
}

fn inventory(release: &str, has: &[Has]) -> Inventory {
    let package = |(name, version, held): &Has| Package {
        name: (*name).into(),
        arch: "amd64".into(),
        version: (*version).into(),
        source: source(name).into(),
        source_version: (*version).into(),
        state: PackageState::Installed,
        held: *held,
        essential: false,
        module: None,
        vendor: String::new(),
        origin: Origin::Vendor,
    };
    let candidate = |name: &str, version: &str| Candidate {
        name: name.into(),
        arch: "amd64".into(),
        from: Some(version.into()),
        to: Some("3.0.15".into()),
        source: "openssl".into(),
        source_version: "3.0.15".into(),
        class: ArchiveClass::Security,
        archives: vec!["Debian-Security:12/stable-security".into()],
        action: Action::Upgrade,
        size_bytes: 1,
        fetch: Fetch::Fetchable,
    };
    let mut packages: Vec<Package> = has.iter().map(package).collect();
    packages.sort();
    let old = has.iter().filter(|(name, version, _)| source(name) == "openssl" && *version < "3.0.15");
    let release = release_of(release);
    Inventory {
        host: String::new(),
        observed: jiff::Timestamp::UNIX_EPOCH,
        root: "/".into(),
        system: System {
            version_id: release.version.clone(),
            codename: String::new(),
            pretty: release.to_string(),
            arch: "amd64".into(),
            manager: Manager::Dpkg,
            release,
        },
        candidates: old.map(|(name, version, _)| candidate(name, version)).collect(),
        packages,
        archives: Vec::new(),
        kernel: Kernel::default(),
        processes: Vec::new(),
        gaps: Vec::new(),
    }
}

/// A file whose digest says what it is.
pub fn file(what: &str) -> File {
    File { sha256: Digest::of(what.as_bytes()), size_bytes: 1_000 }
}

/// What a host says that would change: name, from, to.
pub fn changes(of: &[(&str, Option<&str>, &str)]) -> Vec<Change> {
    of.iter()
        .map(|(name, from, to)| Change {
            name: (*name).into(),
            arch: "amd64".into(),
            source: source(name).into(),
            from: from.map(str::to_owned),
            to: (*to).into(),
            archive: "Debian-Security:12/stable-security".into(),
            file: file(&format!("{name} {to}")),
            back: from.map(|from| file(&format!("{name} {from}"))),
        })
        .collect()
}

/// A host answers what it is asked.
pub async fn answers(centre: &Centre, host: &str, changes: Vec<Change>, blocks: &[&str]) -> bool {
    let due = centre.planning.due(host).unwrap_or_else(|| panic!("{host} is not asked"));
    let found = Rehearsed {
        id: due.id,
        changes,
        blocks: blocks.iter().map(|&block| block.to_owned()).collect(),
        restarts: vec!["nginx.service".to_owned()],
        reboot: None,
        download_bytes: 2_000,
    };
    centre.planning.answered(host, &found, centre.now()).await.unwrap()
}
