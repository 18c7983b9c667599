//! Freezing: old news for as long as possible. And clocks, by which it would be noticed.

use crate::assert_refused;
use crate::world::World;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use trust::standing::Change;
use trust::trusted::Error;

#[test]
fn every_role_that_has_expired_is_refused_by_name() {
    let long = "2027-02-28T00:00:00Z";
    for (what, version) in [("root", "2.root"), ("targets", "1.targets"), ("plans", "2.plans")] {
        let mut world = World::new(1, 1);
        world.plan(b"plan", &[0]);
        let (_directory, mut host) = world.host();
        host.update(world.now).unwrap();
        let name = format!("{version}.json");
        if what == "root" {
            world.files.put(&name, world.files.get("1.root.json"));
        }
        let people: Vec<_> = world.people.iter().collect();
        world.forge(
            &name,
            |signed| {
                signed["expires"] = json!(long);
                if what == "root" {
                    signed["version"] = json!(2);
                }
            },
            &people,
        );
        world.capture([1, 2, 9], |_, _| ());
        assert_refused!(host.update(world.now), Error::Expired { what: said, .. } if *said == what);
    }
    for what in ["snapshot", "timestamp"] {
        let mut world = World::new(1, 1);
        world.plan(b"plan", &[0]);
        let (_directory, mut host) = world.host();
        host.update(world.now).unwrap();
        world.capture([1, 2, 9], |document, signed| {
            if document == what {
                signed["expires"] = json!(long);
            }
        });
        assert_refused!(host.update(world.now), Error::Expired { what: said, .. } if *said == what);
    }
}

#[test]
fn a_server_that_withholds_is_noticed_within_hours() {
    let mut world = World::new(1, 1);
    let plan = world.plan(b"plan", &[0]);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    world.passes(5);
    host.update(world.now).unwrap();
    world.passes(1);
    assert_refused!(host.plan(plan.name, world.now), Error::Expired { what: "timestamp", .. });
    assert_refused!(host.update(world.now), Error::Expired { what: "timestamp", .. });
    world.publisher.refresh(world.now).unwrap();
    host.update(world.now).unwrap();
}

#[test]
fn a_captured_server_cannot_freeze_beyond_what_people_have_signed() {
    let mut world = World::new(1, 1);
    world.plan(b"plan", &[0]);
    let (_directory, mut host) = world.host();
    let frozen = world.files.copy();
    let removed = world.standing().propose(&[Change::Renew], world.now).unwrap();
    world.publish(removed, &[0]);
    *world.files.all.lock().unwrap() = frozen;
    // It signs the same list again and again, fresh as ever.
    for day in 0..29 {
        world.passes(24);
        let expires = world.now + SignedDuration::from_hours(6);
        world.capture([1, 2, 10 + day], |_, signed| signed["expires"] = json!(expires.to_string()));
        host.update(world.now).unwrap();
    }
    world.passes(24);
    let expires = world.now + SignedDuration::from_hours(6);
    world.capture([1, 2, 99], |_, signed| signed["expires"] = json!(expires.to_string()));
    assert_refused!(host.update(world.now), Error::Expired { what: "plans", .. });
}

#[test]
fn an_expired_timestamp_is_not_remembered_but_a_new_root_is() {
    let mut world = World::new(1, 1);
    let (directory, mut host) = world.host();
    host.update(world.now).unwrap();
    let good = world.files.copy();
    let renewed = world.standing().propose(&[Change::Renew], world.now).unwrap();
    world.publish(renewed, &[0]);
    world.capture([2, 2, 9], |document, signed| {
        if document == "timestamp" {
            signed["expires"] = json!("2027-01-01T00:00:00Z");
            signed["version"] = json!(50);
        }
    });
    assert_refused!(host.update(world.now), Error::Expired { what: "timestamp", .. });
    assert_eq!(host.root_version(), 2);
    let mut host = world.again(directory.path());
    assert_eq!(host.root_version(), 2);
    // Version 50 left no floor behind: version 1 is still good.
    world.files.put("timestamp.json", good["timestamp.json"].clone());
    host.update(world.now).unwrap();
}

#[test]
fn expired_memory_does_not_keep_a_host_from_updating() {
    let mut world = World::new(1, 1);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    world.passes(20 * 24);
    world.publisher.refresh(world.now).unwrap();
    host.update(world.now).unwrap();
}

#[test]
fn a_clock_that_went_back_is_told_apart() {
    let world = World::new(1, 1);
    let (directory, mut host) = world.host();
    host.update(world.now).unwrap();
    let back = |minutes| world.now - SignedDuration::from_mins(minutes);
    host.update(back(5)).unwrap();
    assert_refused!(host.update(back(6)), Error::ClockBack { latest, .. } if *latest == world.now);
    let mut host = world.again(directory.path());
    assert_refused!(host.update(Timestamp::UNIX_EPOCH), Error::ClockBack { .. });
    host.update(world.now).unwrap();
}

#[test]
fn a_clock_that_was_far_ahead_once_locks_nobody_out() {
    let world = World::new(1, 1);
    let (_directory, mut host) = world.host();
    assert_refused!(host.update(Timestamp::MAX), Error::Expired { .. });
    assert_refused!(host.update(world.now + SignedDuration::from_hours(24 * 400)), Error::Expired { .. });
    host.update(world.now).unwrap();
}
