//! The fleet's census: what hosts counted adds up, meets findings, raises alarms, and is told; on both databases.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a program of tests has no outside")]

#[path = "../api_for_tests/mod.rs"]
mod api_for_tests;
#[path = "../api_for_tests/fleet.rs"]
mod fleet;
mod alarms;
mod findings;
#[path = "../store_for_tests/mod.rs"]
mod store_for_tests;
mod sums;

use api_for_tests::Centre;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use server::store::census::{self, Attempts, Counted, Hour, Taken};
use std::collections::BTreeMap;
use std::ops::Range;
use traffic::census::{Hasher, Key, Sketch};
use traffic::format::Source;

/// The hour it is in tests, at their beginning.
const HOUR: i64 = api_for_tests::BEGIN / 3_600;

fn sketch(addresses: Range<u32>) -> Sketch {
    let (hasher, mut sketch) = (Hasher::new(&Key::new([7; 32])), Sketch::default());
    for number in addresses {
        let address = std::net::Ipv4Addr::from(number).to_string();
        sketch.insert(&hasher, Source::address(address.as_bytes()).unwrap());
    }
    sketch
}

/// Attempts of these sources, one each.
fn attempts(signature: &str, cves: &[&str], addresses: Range<u32>) -> (String, Attempts) {
    let attempts = Attempts {
        attempts: i64::from(addresses.end - addresses.start),
        answered: 0,
        sources: BASE64.encode(sketch(addresses).to_bytes()),
        cves: cves.iter().map(|cve| (*cve).to_owned()).collect(),
    };
    (signature.to_owned(), attempts)
}

/// One hour with 100 requests.
fn hour(number: i64, attempts: impl IntoIterator<Item = (String, Attempts)>) -> Counted {
    let hour = Hour { requests: 100, unread: 0, attempts: attempts.into_iter().collect() };
    Counted { logs: 1, problems: Vec::new(), hours: BTreeMap::from([(number, hour)]) }
}

async fn told(centre: &Centre, host: &str, counted: &Counted) -> Taken {
    census::take(&centre.store, centre.now(), host, counted).await.unwrap()
}
