//! The fleet's census: how many hosts' counts are added up a second, one by one; what a host's day takes on the disk; how long the
//! fleet's ninety days take to be told, and the look for growth.
//!
//! `cargo bench -p server --bench census [-- HOSTS]`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use server::store::census::{self, Attempts, Counted, DAY_HOURS, Hour, Taken};
use server::store::{Store, commit};
use std::collections::BTreeMap;
use std::time::Instant;
use traffic::census::{Hasher, Key, Sketch};
use traffic::format::Source;

/// Signatures of the fleet, and of one host in one hour.
const SIGNATURES: u32 = 60;
const OF_HOST: u32 = 15;
/// Hours that each host tells.
const HOURS: i64 = 24;
/// Days of the fleet, and sources of each signature and day.
const DAYS: i64 = 90;
const SOURCES: u32 = 2_000;
/// What is to be reached: the fleet's days told, milliseconds; hosts a second, for 10,000 hosts every five minutes.
const TOLD_MILLIS_MAX: f64 = 100.0;
const HOSTS_PER_SECOND_MIN: f64 = 10_000.0 / 300.0;

fn main() {
    let hosts = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(200_u32);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(measure(hosts));
}

async fn measure(hosts: u32) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on the disk");
    let url = format!("sqlite://{}", directory.path().join("palisade.db").display());
    let store = Store::open(&url).await.expect("the store opens");
    let mut writing = store.begin().await.expect("it can be written");
    for host in 0..=hosts {
        sqlx::query(
            "INSERT INTO hosts (id, name, state, reason, host_group, labels, release, agent, address, machine, number, \
             enrolled_at, seen_at, revision) VALUES ($1, $1, 'active', '', '', '{}', '', '', '', '', $2, 0, 0, 1)",
        )
        .bind(id(host))
        .bind(i64::from(host))
        .execute(&mut *writing)
        .await
        .expect("a host is stored");
    }
    commit(writing, "bench").await.expect("hosts are stored");

    let now = Timestamp::now();
    let today = now.as_second() / 3_600 / DAY_HOURS * DAY_HOURS;
    let started = Instant::now();
    for hour in 0..HOURS {
        for host in 0..hosts {
            let told =
                counted(today + hour, (0..OF_HOST).map(|nth| (host + nth * 7) % SIGNATURES), |signature| {
                    // Others in every hour: what repeats packs better than a real day.
                    let first = host * 97 + signature * 13 + u32::try_from(hour).unwrap_or(0) * 100_003;
                    first..first + 1 + (host + signature) % 5
                });
            assert_eq!(
                census::take(&store, now, &id(host), &told).await.expect("it is counted"),
                Taken::Stored
            );
        }
    }
    let per_second = f64::from(hosts) * 24.0 / started.elapsed().as_secs_f64();
    println!(
        "hosts' counts added up a second, one by one: {per_second:.0} (at least {HOSTS_PER_SECOND_MIN:.0})"
    );
    let bytes: i64 = sqlx::query_scalar("SELECT SUM(LENGTH(body)) FROM census_hours")
        .fetch_one(store.reader())
        .await
        .expect("it can be read");
    println!("one host's day, {OF_HOST} signatures in each hour: {} bytes", bytes / i64::from(hosts));

    for day in 0..DAYS {
        let told = counted(today - day * DAY_HOURS, 0..SIGNATURES, |_| {
            let first = u32::try_from(day).unwrap_or(0) * 700;
            first..first + SOURCES
        });
        census::take(&store, now, &id(hosts), &told).await.expect("it is counted");
    }
    let days = (today / DAY_HOURS - DAYS + 1, today / DAY_HOURS);
    let millis = millis(async || {
        let told = census::signatures(&store, days, "", 1_000).await.expect("it is told");
        assert_eq!(told.len(), SIGNATURES as usize);
    })
    .await;
    println!("{DAYS} days × {SIGNATURES} signatures told: {millis:.0} ms (at most {TOLD_MILLIS_MAX:.0})");
    let millis = self::millis(async || {
        census::windows(&store, today + HOURS, 14).await.expect("it is looked at");
    })
    .await;
    println!("the look for growth: {millis:.0} ms");
}

/// The middle of five times.
async fn millis(mut work: impl AsyncFnMut()) -> f64 {
    let mut times = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        work().await;
        times.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    times[2]
}

fn id(host: u32) -> String {
    format!("01900000-0000-7000-8000-{host:012}")
}

fn counted(
    hour: i64,
    signatures: impl Iterator<Item = u32>,
    sources: impl Fn(u32) -> std::ops::Range<u32>,
) -> Counted {
    let hasher = Hasher::new(&Key::new([7; 32]));
    let attempts = signatures.map(|signature| {
        let (mut sketch, mut count) = (Sketch::default(), 0);
        for number in sources(signature) {
            let address = std::net::Ipv4Addr::from(number).to_string();
            sketch.insert(&hasher, Source::address(address.as_bytes()).expect("it is an address"));
            count += 1;
        }
        let sources = BASE64.encode(sketch.to_bytes());
        let cves = [format!("CVE-2026-{signature:04}")].into();
        (format!("vpatch-{signature}"), Attempts { attempts: count, answered: 0, sources, cves })
    });
    let hour_said = Hour { requests: 1_000, unread: 0, attempts: attempts.collect() };
    Counted { logs: 1, problems: Vec::new(), hours: BTreeMap::from([(hour, hour_said)]) }
}
