//! How fast a feed becomes advisories, beside the limits that the same machine sets in the same run.
//!
//! `cargo bench -p advisory --bench feeds` reads the AlmaLinux archive of the reference data, or the archive named as
//! argument. One core; megabytes are 10⁶ bytes of JSON, whatever the packing.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use advisory::format::osv;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};
use std::hint::black_box;
use std::io::{Cursor, Read};
use std::time::Instant;

/// Passes of which the fastest counts: the others tell about the neighbours.
const PASSES: usize = 7;

fn main() {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/no reference data");
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let path = named.unwrap_or_else(|| match option_env!("PALISADE_REFERENCE") {
        Some(data) => format!("{data}/bulletins/almalinux-osv/all.zip"),
        None => default.to_owned(),
    });
    let Ok(packed) = std::fs::read(&path) else {
        println!("feeds: {path} cannot be read; name an OSV zip");
        return;
    };
    let records = unpack(&packed);
    let bytes: usize = records.iter().map(Vec::len).sum();
    println!(
        "{path}: {} records, {:.1} MB of JSON, {:.1} MB packed",
        records.len(),
        mega(bytes),
        mega(packed.len())
    );
    let report = |what: &str, seconds: f64| {
        println!("{what:<44} {:>7.1} ms {:>8.0} MB/s", seconds * 1e3, mega(bytes) / seconds);
    };
    report("limit: inflate", fastest(|| drop(black_box(unpack(&packed)))));
    report(
        "limit: SHA-256",
        fastest(|| records.iter().for_each(|json| drop(black_box(Sha256::digest(json))))),
    );
    report(
        "limit: serde_json, nothing kept",
        fastest(|| {
            for json in &records {
                serde_json::from_slice::<IgnoredAny>(black_box(json)).expect("the archive was read before");
            }
        }),
    );
    report(
        "limit: serde_json::Value",
        fastest(|| {
            for json in &records {
                let value: serde_json::Value =
                    serde_json::from_slice(json).expect("the archive was read before");
                drop(black_box(value));
            }
        }),
    );
    report(
        "advisories, inflate excluded",
        fastest(|| {
            for json in &records {
                drop(black_box(osv::record("feed", "entry", json)));
            }
        }),
    );
    report(
        "advisories, inflate included",
        fastest(|| {
            let mut claims = 0;
            let problems = osv::archive("feed", Cursor::new(&packed), &mut |one| claims += one.claims.len());
            black_box((claims, problems));
        }),
    );
}

/// Every record, unpacked.
fn unpack(packed: &[u8]) -> Vec<Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(packed)).expect("an OSV zip");
    let mut records = Vec::with_capacity(archive.len());
    for number in 0..archive.len() {
        let mut file = archive.by_index(number).expect("an entry of the directory");
        if file.is_file() {
            let mut json = Vec::with_capacity(usize::try_from(file.size()).unwrap_or(0));
            file.read_to_end(&mut json).expect("an intact entry");
            records.push(json);
        }
    }
    records
}

/// Seconds of the fastest pass.
fn fastest(mut pass: impl FnMut()) -> f64 {
    let times = (0..PASSES).map(|_| {
        let start = Instant::now();
        pass();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mega(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
