//! "Not halted", "halted": who may say so, about what, and for how long it counts.

use crate::world::{World, key};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use trust::keys::Signer;
use trust::statement::{Error, Halted, NotHalted};
use trust::trusted::SaidError;
use uuid::Uuid;

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

fn said(world: &World) -> NotHalted {
    NotHalted { rollout: Uuid::from_u128(7), epoch: 3, issued_at: world.now, valid_seconds: 300 }
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
fn a_statement_covers_one_rollout_one_epoch_and_a_short_time() {
    let world = World::new(1, 1);
    let said = said(&world);
    let covers = |after: i64, age_max: i64| {
        let now = world.now + SignedDuration::from_secs(after);
        said.covers(said.rollout, said.epoch, now, SignedDuration::from_secs(age_max))
    };
    assert_eq!(covers(0, 900), Ok(()));
    assert_eq!(covers(300, 900), Ok(()));
    assert!(matches!(covers(301, 900), Err(Error::Stale { .. })));
    assert!(matches!(covers(61, 60), Err(Error::Stale { .. })));
    assert_eq!(covers(-60, 900), Ok(()));
    assert!(matches!(covers(-61, 900), Err(Error::Clock { .. })));
    let about = |rollout: u128, epoch| said.covers(Uuid::from_u128(rollout), epoch, world.now, MINUTE);
    assert!(matches!(about(8, 3), Err(Error::About(..))));
    assert!(matches!(about(7, 4), Err(Error::About(..))));
    assert!(matches!(about(7, 2), Err(Error::About(..))));
    // Nobody is relied on for a day, whatever is signed.
    let long = NotHalted { valid_seconds: u32::MAX, ..said };
    let late = world.now + SignedDuration::from_secs(3_601);
    let day = SignedDuration::from_hours(24);
    assert!(matches!(long.covers(said.rollout, 3, late, day), Err(Error::Stale { .. })));
}

#[test]
fn a_statement_cannot_be_altered_or_taken_for_another() {
    let world = World::new(1, 1);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    let said = said(&world);
    let bytes = world.publisher.not_halted(&said).unwrap();
    let good: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    for (field, value) in [
        ("epoch", json!(4)),
        ("rollout", json!(Uuid::from_u128(8))),
        ("valid_seconds", json!(301)),
        ("issued_at", json!(world.now.as_second() + 1)),
    ] {
        let mut bad = good.clone();
        bad["signed"][field] = value;
        assert_eq!(verified(&host, &serde_json::to_vec(&bad).unwrap(), world.now), Err(Error::Unsigned));
    }
    // A timestamp of the repository is signed by the same key, and is no statement; nor the other way round.
    let timestamp = world.files.get("timestamp.json");
    assert!(matches!(verified(&host, &timestamp, world.now), Err(Error::NotAStatement(_))));
    world.files.put("timestamp.json", bytes.clone());
    assert!(host.update(world.now).is_err());
    let halted = Halted { rollout: said.rollout, epoch: 3, issued_at: world.now };
    let halted = world.publisher.halted(&halted).unwrap();
    assert_eq!(verified(&host, &halted, world.now), Err(Error::Kind));
    assert_eq!(host.halted(&bytes), Err(Error::Kind));
    // More than it may say, more bytes than it may have, or no JSON.
    let mut more = good;
    more["signed"]["also"] = json!(true);
    for bad in [serde_json::to_vec(&more).unwrap(), vec![b' '; 5_000], b"{".to_vec(), Vec::new()] {
        assert!(matches!(verified(&host, &bad, world.now), Err(Error::NotAStatement(_))));
    }
}

#[test]
fn any_approver_may_halt_alone() {
    let mut world = World::new(3, 3);
    let (directory, mut host) = world.host();
    let halted = Halted { rollout: Uuid::from_u128(7), epoch: 3, issued_at: world.now };
    // Before the first update only the server is known.
    assert_eq!(host.halted(&world.publisher.halted(&halted).unwrap()), Ok(halted));
    host.update(world.now).unwrap();
    let everybody: Vec<&Signer> = world.people.iter().chain([&world.online]).collect();
    for signer in everybody {
        assert_eq!(host.halted(&halted.sign(signer).unwrap()), Ok(halted));
    }
    assert_eq!(host.halted(&halted.sign(&key("stranger")).unwrap()), Err(Error::Unsigned));
    // Also after a restart, with no server to be reached.
    let host = world.again(directory.path());
    assert_eq!(host.halted(&halted.sign(&world.people[2]).unwrap()), Ok(halted));
    // Not with a key that was rotated.
    let new = key("new");
    let old = world.people[0].public().id();
    let proposal = world.standing().rotate(&old, new.public(), world.now).unwrap();
    world.people.push(new);
    world.publish(proposal, &[0, 1, 2, 3]);
    let mut host = world.again(directory.path());
    host.update(world.now).unwrap();
    assert_eq!(host.halted(&halted.sign(&world.people[0]).unwrap()), Err(Error::Unsigned));
    assert_eq!(host.halted(&halted.sign(&world.people[3]).unwrap()), Ok(halted));
}

#[test]
fn not_halted_needs_a_root_that_is_good() {
    let mut world = World::new(1, 1);
    let (_directory, host) = world.host();
    let bytes = world.publisher.not_halted(&said(&world)).unwrap();
    world.passes(24 * 365);
    assert!(matches!(host.not_halted(&bytes, world.now), Err(SaidError::Trust(_))));
}
