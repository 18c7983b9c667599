//! A fleet that is in the store already: hosts, certificates, inventories, bulletins.

use advisory::{Advisory, Channel, Claim, Document, Family, Kind, NameKind, Release, State};
use exposure::Inventory;
use exposure::inventory::{Kernel, Manager, Origin, Package, PackageState, System};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use jiff::Timestamp;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use server::identity::Authority;
use server::store::{Dialect, Store, Writing, commit};
use sqlx::{AssertSqlSafe, Executor};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use uuid::Uuid;
use wire::v1::{Pieces, split};

/// Packages of a host.
pub(crate) const PACKAGES: usize = 600;
/// Hosts of one build are alike.
const BUILDS: usize = 200;
/// Rows in one statement.
const ROWS: usize = 1_000;

/// What agents need to know of the fleet.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) authority: CertificateDer<'static>,
    /// PKCS #8, shared by all.
    pub(crate) key: Vec<u8>,
    pub(crate) hosts: Vec<Host>,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) certificate: Vec<u8>,
    pub(crate) machine: String,
    pub(crate) inventory: String,
}

/// Writes a fleet into the store at `url`.
pub(crate) async fn fleet(url: &str, hosts: u32, bulletins: u32) -> Fleet {
    let store = Store::open(url).await.expect("the store opens");
    let now = Timestamp::now();
    let authority = Authority::open(&store, now).await.expect("an authority");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let csr =
        CertificateParams::default().serialize_request(&key).expect("a request").pem().expect("as text");
    let builds: Vec<Pieces> = (0..BUILDS).map(|build| split(&inventory(build, now), &[])).collect();
    let hashes: Vec<String> = builds.iter().map(Pieces::hash).collect();
    assert_eq!(hashes.iter().collect::<HashSet<_>>().len(), BUILDS, "builds are alike");

    let mut writing = store.begin().await.expect("a turn");
    if store.dialect() == Dialect::Sqlite {
        // The fleet is thrown away afterwards.
        writing.execute("PRAGMA defer_foreign_keys = ON").await.expect("it is set");
    }
    let mut pieces: Vec<String> = Vec::new();
    for (hash, body) in builds.iter().flat_map(|build| &build.bodies) {
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
        packed.write_all(body.as_bytes()).expect("memory takes it");
        pieces.push(format!(
            "('{hash}', {}, 0)",
            literal(store.dialect(), &packed.finish().expect("memory takes it"))
        ));
    }
    pieces.sort();
    pieces.dedup();
    insert(&mut writing, "INSERT INTO pieces (hash, body, sent_at) VALUES ", &pieces).await;

    let at = now.as_microsecond();
    let mut fleet = Fleet {
        authority: CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate"),
        key: key.serialize_der(),
        hosts: Vec::with_capacity(hosts as usize),
    };
    let (mut rows, mut inventories, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..hosts as usize {
        let id = Uuid::now_v7();
        let build = number % BUILDS;
        let machine = advisory::digest::sha256(&number.to_be_bytes());
        let signed = authority.sign_host(&csr, id, now, 30).expect("a certificate");
        let certificate =
            CertificateDer::from_pem_slice(signed.pem.as_bytes()).expect("a certificate").to_vec();
        rows.push(format!(
            "('{id}', {number}, 'host-{number:06}', 'active', '', 'bench', '{{}}', 'debian:12', 'bench', '', '{machine}', \
             {at}, {at}, 1)"
        ));
        inventories.push(format!("('{id}', {at}, {at}, '{}')", hashes[build]));
        for (part, hash) in &builds[build].parts {
            parts.push(format!("('{id}', '{part}', {at}, '{hash}')"));
        }
        fleet.hosts.push(Host { certificate, machine, inventory: hashes[build].clone() });
    }
    let hosts_text = "INSERT INTO hosts (id, number, name, state, reason, host_group, labels, release, agent, address, \
                      machine, enrolled_at, seen_at, revision) VALUES ";
    insert(&mut writing, hosts_text, &rows).await;
    insert(&mut writing, "INSERT INTO inventories (host, from_at, observed_at, hash) VALUES ", &inventories)
        .await;
    insert(&mut writing, "INSERT INTO parts (host, part, from_at, hash) VALUES ", &parts).await;
    let next = format!("UPDATE counters SET value = {hosts} WHERE name = 'host'");
    writing.execute(AssertSqlSafe(next)).await.expect("it is set");
    let bulletins: Vec<String> =
        (0..bulletins as usize).map(|number| bulletin(store.dialect(), number, at)).collect();
    let text = "INSERT INTO advisories (feed, id, from_at, hash, kind, summary, published, modified, cves, body) VALUES ";
    insert(&mut writing, text, &bulletins).await;
    commit(writing, "seed").await.expect("it is written");
    store.close().await;
    fleet
}

async fn insert(writing: &mut Writing, statement: &str, rows: &[String]) {
    for rows in rows.chunks(ROWS) {
        let text = format!("{statement}{}", rows.join(", "));
        writing.execute(AssertSqlSafe(text)).await.expect("rows of ours are taken");
    }
}

/// Bytes as the database writes them.
fn literal(dialect: Dialect, bytes: &[u8]) -> String {
    let hex = advisory::digest::hex(bytes);
    match dialect {
        Dialect::Sqlite => format!("X'{hex}'"),
        Dialect::Postgres => format!("decode('{hex}', 'hex')"),
    }
}

/// Debian 12 with packages of one build: of each package one of three versions.
fn inventory(build: usize, now: Timestamp) -> Inventory {
    let letters = b"abcdefghijklmnopqrstuvwxyz";
    let package = |number: usize| {
        let letter = char::from(letters[number % letters.len()]);
        // Multiplied with what leaves no pattern (Knuth's, for hashing): every build is another one.
        let mixed = (number + 1) * (build + 7_919) * 2_654_435_761;
        let version = format!("1.{number}-{}", 1 + (mixed >> 16) % 3);
        let mut name = String::new();
        let _ = write!(name, "{letter}-package-{number}");
        Package {
            source: name.clone(),
            source_version: version.clone(),
            name,
            arch: "amd64".to_owned(),
            version,
            state: PackageState::Installed,
            held: false,
            essential: false,
            module: None,
            vendor: String::new(),
            origin: Origin::Vendor,
        }
    };
    let mut packages: Vec<Package> = (0..PACKAGES).map(package).collect();
    packages.sort();
    Inventory {
        host: String::new(),
        observed: now,
        root: "/".to_owned(),
        system: System {
            release: release(),
            version_id: "12".to_owned(),
            codename: "bookworm".to_owned(),
            pretty: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            arch: "amd64".to_owned(),
            manager: Manager::Dpkg,
        },
        packages,
        archives: Vec::new(),
        candidates: Vec::new(),
        kernel: Kernel::default(),
        processes: Vec::new(),
        gaps: Vec::new(),
    }
}

fn release() -> Release {
    Release { family: Family::Debian, version: "12".to_owned() }
}

/// A row of a bulletin about five packages; most are fixed everywhere.
fn bulletin(dialect: Dialect, number: usize, at: i64) -> String {
    let id = format!("DSA-{number}-1");
    let document = Document { feed: "bench".to_owned(), entry: id.clone(), sha256: String::new() };
    let mut said = Advisory::new(id.clone(), Kind::Security, Arc::new(document));
    said.claims = (0..5)
        .map(|claim| {
            let package = (number * 7 + claim * 113) % PACKAGES;
            let letter = char::from(b"abcdefghijklmnopqrstuvwxyz"[package % 26]);
            let fixed = if number.is_multiple_of(500) { 2 } else { 1 };
            Claim {
                release: release(),
                channel: Channel::Security,
                name_kind: NameKind::Source,
                name: format!("{letter}-package-{package}"),
                module: None,
                flavour: None,
                arch: None,
                introduced: None,
                fixed: Some(format!("1.{package}-{fixed}")),
                last_affected: None,
                versions: Vec::new(),
                state: State::Fixed,
                reason: String::new(),
            }
        })
        .collect();
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&serde_json::to_vec(&said).expect("it is JSON")).expect("memory takes it");
    let body = literal(dialect, &packed.finish().expect("memory takes it"));
    format!("('bench', '{id}', {at}, '{number:064x}', 'security', '', {at}, {at}, ' ', {body})")
}
