//! A bulletin that hits 10,000 hosts, until its findings are stored; and the start of a server that has them. Everything is
//! made up, the same on every machine; the store is SQLite on this machine's disk.
//!
//! `cargo bench -p server --bench feed_event [-- HOSTS]`

use advisory::{Advisory, Channel, Claim, Document, Family, Kind, NameKind, Release, State};
use exposure::inventory::{
    InstalledKernel, Inventory, Kernel, Manager, Origin, Package, PackageState, Process, StaleFile, System,
};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use jiff::Timestamp;
use server::fleet::Fleet;
use server::store::advisories::{self, Revision};
use server::store::events::{self, Kind as Told};
use server::store::{self, Store, findings};
use server::{App, Config};
use sqlx::Row;
use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

const PACKAGES: u64 = 600;
/// Names each release has.
const NAMES: u64 = 2048;
const COMMON: u64 = 250;
const KERNEL: &str = "linux-image-6.1.0-50-amd64";
const ROLES: u64 = 60;
const CLAIMS: u64 = 100_000;
/// What is to be reached: 10,000 hosts.
const LIMIT: Duration = Duration::from_millis(100);
const COLD_LIMIT: Duration = Duration::from_secs(10);

/// The same number for the same parts (SplitMix64).
fn random(parts: &[u64]) -> u64 {
    parts.iter().fold(2001, |seed, part| {
        let mut z = (seed ^ part.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

fn release(number: u64) -> Release {
    Release::new(Family::Debian, if number == 0 { "12" } else { "13" })
}

fn name(number: u64) -> String {
    let letter = char::from(b'a' + u8::try_from(random(&[1, number]) % 26).expect("26 letters"));
    format!("{letter}-package-{number}")
}

fn published(number: u64) -> u64 {
    8 + random(&[2, number]) % 40
}

fn version(name: u64, nth: u64) -> String {
    format!("{}.{}-{}", 1 + random(&[3, name]) % 9, nth / 4, 1 + nth % 4)
}

/// Hosts of one role that were patched at the same time are alike; every third has a package or two of its own mind.
fn host(id: u64) -> Inventory {
    let role = random(&[4, id]) % ROLES;
    let lag = u64::from(random(&[5, id]).trailing_zeros()).min(11);
    let odd: HashSet<u64> = (0..random(&[6, id]) % 3).map(|nth| random(&[7, id, nth]) % PACKAGES).collect();
    let mut packages = Vec::new();
    for nth in 0..PACKAGES {
        let number = if nth < COMMON {
            nth
        } else {
            COMMON + (role * 131 + (nth - COMMON) * 5 + random(&[8, role, nth]) % 5) % (NAMES - COMMON)
        };
        let behind = lag.min(random(&[9, role, number]) % 4) + u64::from(odd.contains(&nth));
        let version = version(number, (published(number) - 1).saturating_sub(behind));
        packages.push(Package {
            name: name(number),
            arch: "amd64".into(),
            source: name(number),
            source_version: version.clone(),
            version,
            state: PackageState::Installed,
            held: false,
            essential: false,
            module: None,
            vendor: String::new(),
            origin: Origin::Vendor,
        });
    }
    for (name, source) in [(KERNEL, "linux-signed-amd64"), ("linux-libc-dev", "linux")] {
        packages.push(Package {
            name: name.into(),
            source: source.into(),
            version: "6.1.190-1".into(),
            source_version: "6.1.190-1".into(),
            ..packages[0].clone()
        });
    }
    packages.sort();
    packages.dedup_by(|one, other| one.name == other.name);
    // On every third a service still maps the library that it was started with.
    let stale = random(&[12, id]).is_multiple_of(3).then(|| Process {
        pid: 0,
        started: None,
        name: "service".into(),
        unit: Some("a.service".into()),
        executable: None,
        packages: Vec::new(),
        stale: vec![StaleFile { path: "/usr/lib/a".into(), package: Some(name(id % COMMON)), version: None }],
        sockets: Vec::new(),
        hidden: false,
    });
    let stale: Vec<Process> = stale.into_iter().collect();
    let release = release(role % 2);
    Inventory {
        host: String::new(),
        observed: Timestamp::UNIX_EPOCH,
        root: "/".into(),
        system: System {
            version_id: release.version.clone(),
            codename: String::new(),
            pretty: release.to_string(),
            arch: "amd64".into(),
            manager: Manager::Dpkg,
            release,
        },
        packages,
        archives: Vec::new(),
        candidates: Vec::new(),
        kernel: Kernel {
            booted: Some(KERNEL.trim_start_matches("linux-image-").into()),
            installed: vec![InstalledKernel {
                release: KERNEL.trim_start_matches("linux-image-").into(),
                package: Some(KERNEL.into()),
                version: Some("6.1.190-1".into()),
            }],
        },
        processes: stale,
        gaps: Vec::new(),
    }
}

fn claim(release: Release, name: String, fixed: String) -> Claim {
    Claim {
        release,
        channel: Channel::Security,
        name_kind: NameKind::Source,
        name,
        module: None,
        flavour: None,
        arch: None,
        introduced: None,
        fixed: Some(fixed),
        last_affected: None,
        versions: Vec::new(),
        state: State::Fixed,
        reason: String::new(),
    }
}

fn advisory(id: String, claims: Vec<Claim>) -> Advisory {
    let document = Document { feed: "bench".into(), entry: format!("{id}.json"), sha256: "ab".repeat(32) };
    let mut advisory = Advisory::new(id, Kind::Security, Arc::new(document));
    advisory.summary = "a hole that lets attackers do what they should not, as most bulletins say".into();
    advisory.claims = claims;
    advisory
}

/// A bulletin of the past: most hosts have its fix.
fn bulletin(nth: u64) -> Advisory {
    let number = random(&[10, nth]) % if nth.is_multiple_of(2) { NAMES } else { NAMES / 8 };
    let newest = published(number) - 1;
    let fixed = newest.saturating_sub(random(&[11, nth]) % 40);
    let claims = (0..2).map(|half| claim(release(half), name(number), version(number, fixed))).collect();
    advisory(format!("ADV-{nth}"), claims)
}

/// A bulletin that hits every host: it is about a package that all have, and its fix is newer than any.
fn everywhere(nth: u64) -> Advisory {
    let number = nth % COMMON;
    let claims = (0..2).map(|half| claim(release(half), name(number), version(number, 999))).collect();
    advisory(format!("NEW-{nth}"), claims)
}

async fn fill(store: &Store, hosts: u64) {
    let mut pieces = HashSet::new();
    for start in (0..hosts).step_by(500) {
        let mut writing = store.begin().await.expect("the store is ours");
        for id in start..(start + 500).min(hosts) {
            let split = wire::v1::split(&host(id), &[]);
            let text = format!("host-{id:06}");
            sqlx::query(
                "INSERT INTO hosts (id, number, name, state, reason, host_group, labels, release, agent, address, machine, \
                 enrolled_at, seen_at, revision) VALUES ($1, $2, $1, 'active', '', '', '{}', '', '', '', '', 0, 0, 1)",
            )
            .bind(text.clone())
            .bind(i64::try_from(id).expect("few") + 1)
            .execute(&mut *writing)
            .await
            .expect("hosts");
            sqlx::query("INSERT INTO inventories (host, from_at, observed_at, hash) VALUES ($1, 1, 1, $2)")
                .bind(text.clone())
                .bind(split.hash())
                .execute(&mut *writing)
                .await
                .expect("inventories");
            for (part, hash) in split.parts {
                if pieces.insert(hash.clone()) {
                    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
                    packed.write_all(split.bodies[&hash].as_bytes()).expect("memory");
                    sqlx::query("INSERT INTO pieces (hash, body, sent_at) VALUES ($1, $2, 1)")
                        .bind(hash.clone())
                        .bind(packed.finish().expect("memory"))
                        .execute(&mut *writing)
                        .await
                        .expect("pieces");
                }
                sqlx::query("INSERT INTO parts (host, part, from_at, hash) VALUES ($1, $2, 1, $3)")
                    .bind(text.clone())
                    .bind(part)
                    .bind(hash)
                    .execute(&mut *writing)
                    .await
                    .expect("parts");
            }
        }
        store::commit(writing, "fill").await.expect("commit");
    }
    for start in (0..CLAIMS / 2).step_by(500) {
        let some: Vec<Advisory> = (start..start + 500).map(bulletin).collect();
        publish(store, &some, false).await;
    }
    println!("  {} distinct pieces", pieces.len());
}

async fn publish(store: &Store, some: &[Advisory], tell: bool) {
    let revisions: Vec<Revision> =
        some.iter().map(|advisory| Revision::new(advisory, advisories::hash(advisory))).collect();
    let mut writing = store.begin().await.expect("the store is ours");
    let at = store::moment(&mut writing, "advisory", now()).await.expect("time");
    advisories::replace(&mut writing, store.dialect(), "bench", at, &[], &revisions)
        .await
        .expect("advisories");
    if tell {
        let ids: Vec<&str> = some.iter().map(|advisory| advisory.id.as_str()).collect();
        let detail = serde_json::json!({ "ids": ids });
        events::tell(&mut writing, now(), Told::Advisories, "bench", &detail).await.expect("event");
    }
    store::commit(writing, "publish").await.expect("commit");
}

fn now() -> Timestamp {
    Timestamp::now()
}

fn memory_mb(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// Time on processors so far, of all threads: on a machine that does other things too only this says what work costs.
fn processor() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = text.rsplit(") ").next().unwrap_or_default();
    // User and system time, in hundredths of a second.
    let ticks: u64 =
        after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn middle(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

/// The same rows into the same tables by the same driver, one by one in one transaction, and nothing else.
async fn bare(store: &Store, rows: &[(i64, i64, i64)], shift: i64) -> Duration {
    let start = Instant::now();
    let mut writing = store.begin().await.expect("the store is ours");
    for (topic, host, evidence) in rows {
        sqlx::query("INSERT INTO finding_hosts (topic, host, from_at, evidence) VALUES ($1, $2, $3, $4)")
            .bind(topic.wrapping_add(shift))
            .bind(*host)
            .bind(1_i64)
            .bind(*evidence)
            .execute(&mut *writing)
            .await
            .expect("rows");
    }
    store::commit(writing, "bare").await.expect("commit");
    start.elapsed()
}

fn main() {
    let hosts: u64 = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{hosts} hosts × {PACKAGES} packages, {CLAIMS} claims; SQLite; load before: {}", load.trim());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(measure(hosts));
}

async fn measure(hosts: u64) {
    // Not where temporary files are: that may be memory.
    let directory =
        tempfile::tempdir_in(std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "/var/tmp".into()));
    let directory = directory.expect("a directory");
    let url = format!("sqlite://{}", directory.path().join("bench.db").display());
    let store = Store::open(&url).await.expect("a store");
    fill(&store, hosts).await;
    let app = App { config: Config::default(), store: store.clone(), told: Arc::new(Notify::new()) };
    println!("  RSS {} MB, peak {} MB before the start", memory_mb("VmRSS:"), memory_mb("VmHWM:"));

    let (start, busy) = (Instant::now(), processor());
    let fleet = Fleet::start(&app).await.expect("a fleet");
    println!(
        "cold start                          {:>8.2} s, CPU {:.2} s  (goal {} s)",
        start.elapsed().as_secs_f64(),
        processor().saturating_sub(busy).as_secs_f64(),
        COLD_LIMIT.as_secs()
    );
    println!("  RSS {} MB, peak {} MB", memory_mb("VmRSS:"), memory_mb("VmHWM:"));
    let start = Instant::now();
    fleet.step(now()).await.expect("reconcile");
    let open: i64 = findings::counts(&store).await.expect("counts").values().sum();
    println!("all findings stored the first time  {:>8.2} s, {open} findings", start.elapsed().as_secs_f64());

    let mut times = Vec::new();
    let busy = processor();
    for nth in 0..20 {
        publish(&store, &[everywhere(nth)], true).await;
        let start = Instant::now();
        fleet.step(now()).await.expect("a step");
        times.push(start.elapsed());
    }
    let busy = processor().saturating_sub(busy);
    let found = fleet.affected("NEW-0").len();
    let (half, most) = middle(times);
    let rows: Vec<(i64, i64, i64)> = sqlx::query(
        "SELECT f.topic, f.host, f.evidence FROM finding_hosts f JOIN finding_topics t ON t.id = f.topic \
         WHERE t.advisory = 'NEW-0' ORDER BY f.host",
    )
    .fetch_all(store.reader())
    .await
    .expect("rows")
    .iter()
    .map(|row| (row.get(0), row.get(1), row.get(2)))
    .collect();
    assert_eq!(rows.len() as u64, found, "every finding is stored");
    let kinds: BTreeMap<i64, usize> = rows.iter().fold(BTreeMap::new(), |mut kinds, (_, _, evidence)| {
        *kinds.entry(*evidence).or_default() += 1;
        kinds
    });
    let mut bares = Vec::new();
    for shift in 1..=5 {
        bares.push(bare(&store, &rows, shift * 7919).await);
    }
    let (bare_half, _) = middle(bares);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "a bulletin that hits {found} hosts, {} builds: p50 {:.1} ms, max {:.1} ms, CPU {:.1} ms  (goal {} ms)",
        kinds.len(),
        ms(half),
        ms(most),
        ms(busy) / 20.0,
        LIMIT.as_millis()
    );
    println!(
        "peer: the same rows into the same tables, row by row, same driver: {:.1} ms; ratio {:.2}",
        ms(bare_half),
        ms(half) / ms(bare_half)
    );

    let start = Instant::now();
    let page = findings::open_of(&store, 7, ("", "", ""), 10_000).await.expect("findings");
    println!(
        "open findings of one host: {} in {:.1} ms from the store alone",
        page.len(),
        ms(start.elapsed())
    );
    let start = Instant::now();
    let page = fleet.stored_findings_of(7).await.expect("findings");
    println!("the same with the fleet's help: {} in {:.1} ms", page.len(), ms(start.elapsed()));
    let (start, busy) = (Instant::now(), processor());
    let again = Fleet::start(&app).await.expect("a fleet");
    let busy = (processor().saturating_sub(busy)).as_secs_f64();
    println!("cold start again                    {:>8.2} s, CPU {busy:.2} s", start.elapsed().as_secs_f64());
    drop(fleet);
    let start = Instant::now();
    again
        .step(now().checked_add(jiff::SignedDuration::from_mins(1)).expect("soon"))
        .await
        .expect("take over");
    println!("taking over, nothing to write       {:>8.2} s", start.elapsed().as_secs_f64());
    println!("  RSS {} MB, peak {} MB", memory_mb("VmRSS:"), memory_mb("VmHWM:"));
}
