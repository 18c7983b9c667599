//! "Not halted" and "heard": who may say so, and about what.

use crate::world::{World, key};
use jiff::Timestamp;
use serde_json::json;
use trust::statement::{Error, Heard, NotHalted};
use trust::trusted::SaidError;
use uuid::Uuid;

fn said(world: &World) -> NotHalted {
    NotHalted {
        fence: 3,
        host: Uuid::from_u128(7),
        issued_at: world.now,
        nonce: u64::MAX,
        plan: Uuid::from_u128(9),
    }
}

fn verified(host: &trust::Trusted, bytes: &[u8], now: Timestamp) -> Result<NotHalted, Error> {
    host.not_halted(bytes, now).map_err(|problem| match problem {
        SaidError::Statement(problem) => problem,
        SaidError::Trust(problem) => panic!("{problem}"),
    })
}

#[test]
fn the_server_alone_says_that_a_rollout_is_not_halted() {
    let world = World::new(1, 1);
    let (_directory, host) = world.host();
    let said = said(&world);
    let bytes = world.publisher.not_halted(&said).unwrap();
    assert_eq!(verified(&host, &bytes, world.now), Ok(said));
    for other in [&world.people[0], &key("stranger")] {
        let bytes = said.sign(other).unwrap();
        assert_eq!(verified(&host, &bytes, world.now), Err(Error::Unsigned));
    }
}

#[test]
fn a_statement_cannot_be_altered_or_taken_for_another() {
    let world = World::new(1, 1);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    let bytes = world.publisher.not_halted(&said(&world)).unwrap();
    let good: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    for (field, value) in [
        ("fence", json!(4)),
        ("host", json!(Uuid::from_u128(8))),
        ("plan", json!(Uuid::from_u128(8))),
        ("nonce", json!(1)),
        ("issued_at", json!(world.now.as_second() + 1)),
    ] {
        let mut bad = good.clone();
        bad["signed"][field] = value;
        assert_eq!(verified(&host, &serde_json::to_vec(&bad).unwrap(), world.now), Err(Error::Unsigned));
    }
    // A timestamp of the repository is signed by the same key, and is no statement; nor the other way round.
    let timestamp = world.files.get("timestamp.json");
    assert!(matches!(verified(&host, &timestamp, world.now), Err(Error::NotAStatement(_))));
    world.files.put("timestamp.json", bytes);
    assert!(host.update(world.now).is_err());
    // More than it may say, another kind, more bytes than it may have, or no JSON.
    let (mut more, mut other) = (good.clone(), good);
    more["signed"]["also"] = json!(true);
    other["signed"]["_type"] = json!("halted");
    let documents = [more, other].map(|document| serde_json::to_vec(&document).unwrap());
    for bad in documents.into_iter().chain([vec![b' '; 5_000], b"{".to_vec(), Vec::new()]) {
        assert!(matches!(verified(&host, &bad, world.now), Err(Error::NotAStatement(_))));
    }
}

#[test]
fn not_halted_needs_a_root_that_is_good() {
    let mut world = World::new(1, 1);
    let (_directory, host) = world.host();
    let bytes = world.publisher.not_halted(&said(&world)).unwrap();
    world.passes(24 * 365);
    assert!(matches!(host.not_halted(&bytes, world.now), Err(SaidError::Trust(_))));
}

#[test]
fn that_a_host_was_heard_says_the_server_alone_and_it_says_nothing_else() {
    let world = World::new(1, 1);
    let (_directory, host) = world.host();
    let said = Heard { host: Uuid::from_u128(7), issued_at: world.now, nonce: 5 };
    let bytes = world.publisher.heard(&said).unwrap();
    assert_eq!(host.heard(&bytes, world.now).unwrap(), said);
    let by_another = said.sign(&key("stranger")).unwrap();
    assert!(matches!(host.heard(&by_another, world.now), Err(SaidError::Statement(Error::Unsigned))));
    assert!(
        matches!(verified(&host, &bytes, world.now), Err(Error::NotAStatement(_))),
        "it lets nobody begin"
    );
    let other = world.publisher.not_halted(&self::said(&world)).unwrap();
    assert!(matches!(host.heard(&other, world.now), Err(SaidError::Statement(Error::NotAStatement(_)))));
}
