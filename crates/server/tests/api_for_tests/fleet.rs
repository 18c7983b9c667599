//! A small fleet, written straight into the tables.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

use super::Centre;
use exposure::index::Plight;
use server::store::findings::{self, Changes, Closed, Opened};
use server::store::{Store, commit, inventories};
use std::io::Write;

pub const WEB: &str = "01900000-0000-7000-8000-000000000001";
pub const DB: &str = "01900000-0000-7000-8000-000000000002";

async fn run(store: &Store, text: &'static str, values: &[&str], numbers: &[i64]) {
    let mut writing = store.begin().await.unwrap();
    let mut query = sqlx::query(text);
    for value in values {
        query = query.bind((*value).to_owned());
    }
    for number in numbers {
        query = query.bind(*number);
    }
    query.execute(&mut *writing).await.unwrap();
    commit(writing, "test").await.unwrap();
}

/// A host that is heard.
pub async fn host(centre: &Centre, id: &str, number: i64, name: &str) {
    let now = centre.now().as_microsecond();
    run(
        &centre.store,
        "INSERT INTO hosts (id, name, state, reason, host_group, labels, release, agent, address, machine,
             number, enrolled_at, seen_at, revision)
         VALUES ($1, $2, 'active', '', 'web', '{\"site\":\"a\"}', 'debian:12', '0.1.0', '192.0.2.9', 'm', $3, $4, $4, 1)",
        &[id, name],
        &[number, now],
    )
    .await;
}

pub async fn quarantine(centre: &Centre, id: &str) {
    run(&centre.store, "UPDATE hosts SET state = 'quarantined', reason = 'cloned' WHERE id = $1", &[id], &[])
        .await;
}

pub async fn finding(centre: &Centre, host: u32, advisory: &str, package: &str, plight: Plight) {
    let opened = Opened {
        advisory: advisory.to_owned(),
        package: package.to_owned(),
        plight,
        evidence: "installed 1 < fixed 2".to_owned(),
        hosts: [host].into(),
    };
    write(centre, &Changes { opened: vec![opened], closed: Vec::new() }).await;
}

pub async fn close_finding(centre: &Centre, host: u32, advisory: &str, package: &str, plight: Plight) {
    let closed =
        Closed { advisory: advisory.to_owned(), package: package.to_owned(), plight, hosts: [host].into() };
    write(centre, &Changes { opened: Vec::new(), closed: vec![closed] }).await;
}

async fn write(centre: &Centre, changes: &Changes) {
    let mut writing = centre.store.begin().await.unwrap();
    findings::write(&mut writing, centre.store.dialect(), centre.now(), changes).await.unwrap();
    commit(writing, "test").await.unwrap();
}

pub async fn advisory(centre: &Centre, feed: &str, id: &str, cves: &str) {
    let document =
        advisory::model::Document { feed: feed.to_owned(), entry: id.to_owned(), sha256: "0".repeat(64) };
    let mut body = advisory::Advisory::new(id, advisory::model::Kind::Security, document.into());
    body.summary = format!("{id} in short");
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&serde_json::to_vec(&body).unwrap()).unwrap();
    let mut writing = centre.store.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO advisories (feed, id, from_at, hash, kind, summary, cves, body)
         VALUES ($1, $2, $3, '', 'security', $4, $5, $6)",
    )
    .bind(feed.to_owned())
    .bind(id.to_owned())
    .bind(centre.now().as_microsecond())
    .bind(body.summary.clone())
    .bind(cves.to_owned())
    .bind(zlib.finish().unwrap())
    .execute(&mut *writing)
    .await
    .unwrap();
    for cve in cves.split_ascii_whitespace() {
        sqlx::query("INSERT INTO advisory_cves (cve, advisory) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(cve.to_owned())
            .bind(id.to_owned())
            .execute(&mut *writing)
            .await
            .unwrap();
    }
    commit(writing, "test").await.unwrap();
}

pub async fn feed(centre: &Centre, name: &str, alarm: &str) {
    run(
        &centre.store,
        "INSERT INTO feeds (name, location, alarm, etag, modified, sha256, records, problems, revision)
         VALUES ($1, '/feeds/x', $2, '', '', '', 3, '[]', 1)",
        &[name, alarm],
        &[],
    )
    .await;
}

/// Two hosts, two advisories, three findings.
pub async fn fleet(centre: &Centre) {
    host(centre, WEB, 1, "web-01").await;
    host(centre, DB, 2, "db-01").await;
    advisory(centre, "debian", "DSA-1-1", " CVE-2026-1001 ").await;
    advisory(centre, "debian", "DSA-2-1", " CVE-2026-1002 CVE-2026-1003 ").await;
    feed(centre, "debian", "").await;
    finding(centre, 1, "DSA-1-1", "source:openssl", Plight::Affected).await;
    finding(centre, 2, "DSA-1-1", "source:openssl", Plight::Undetermined).await;
    finding(centre, 1, "DSA-2-1", "binary:libxml2", Plight::Affected).await;
    // Each write is a microsecond after the one before.
    centre.wait(1);
}

/// An inventory from now on, which differs by its kernel; gives its hash.
pub async fn inventory(centre: &Centre, host: &str, kernel: &str) -> String {
    use exposure::inventory::{Inventory, Kernel, Manager, System};
    let inventory = Inventory {
        host: host.to_owned(),
        observed: centre.now(),
        root: "/".to_owned(),
        system: System {
            release: advisory::Release::from_os_release("debian", "12"),
            version_id: "12".to_owned(),
            codename: String::new(),
            pretty: String::new(),
            arch: "amd64".to_owned(),
            manager: Manager::Dpkg,
        },
        packages: Vec::new(),
        archives: Vec::new(),
        candidates: Vec::new(),
        kernel: Kernel { booted: Some(kernel.to_owned()), installed: Vec::new() },
        processes: Vec::new(),
        gaps: Vec::new(),
    };
    let pieces = wire::v1::split(&inventory, &[]);
    let hash = pieces.hash();
    let report = wire::v1::Report {
        observed_at: centre.now().as_microsecond(),
        parts: pieces.parts,
        bodies: pieces.bodies,
    };
    inventories::replace(&centre.store, centre.now(), host, centre.now(), &report).await.unwrap();
    hash
}
