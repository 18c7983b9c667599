//! Somebody has the server, its store and its key. They can withhold. They can neither alter nor invent.

use crate::assert_refused;
use crate::world::{World, key, quorum, sign};
use serde_json::json;
use std::slice;
use trust::PlanName;
use trust::publisher::Publisher;
use trust::standing::Founding;
use trust::trusted::Error;
use uuid::Uuid;

#[test]
fn a_captured_server_cannot_invent_a_plan() {
    let mut world = World::new(3, 2);
    world.plan(b"plan", &[0, 1]);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    let evil = PlanName(Uuid::now_v7());
    let target = world.publisher.stage(evil, b"install the worm").unwrap();
    let listed = json!({"length": 16, "hashes": {"sha256": crate::world::hex(&target.sha256)}});
    let invent = |signed: &mut serde_json::Value| {
        signed["version"] = json!(3);
        signed["targets"][evil.to_string()] = listed.clone();
    };
    // In the list of plans, with the key that it has.
    world.files.put("3.plans.json", world.files.get("2.plans.json"));
    world.forge("3.plans.json", invent, &[&world.online]);
    world.capture([1, 3, 9], |_, _| ());
    assert_refused!(host.update(world.now), Error::Unsigned(_));
    assert_refused!(host.plan(evil, world.now), Error::NotUpdated);
    // In the targets, above the approvers. (Another host: this one has seen version 3 of the list named.)
    let (_directory, mut host) = world.host();
    world.files.put("3.targets.json", world.files.get("1.targets.json"));
    world.forge("3.targets.json", invent, &[&world.online]);
    world.capture([3, 2, 10], |_, _| ());
    assert_refused!(host.update(world.now), Error::Unsigned(_));
    // With a root of its own that names nobody else.
    let alone = slice::from_ref(&world.online);
    world.files.put("2.root.json", world.files.get("1.root.json"));
    world.forge(
        "2.root.json",
        |root| {
            root["version"] = json!(2);
            let keys = json!({"keyids": [alone[0].public().id().as_str()], "threshold": 1});
            for role in ["root", "targets"] {
                root["roles"][role] = keys.clone();
            }
        },
        &[&world.online],
    );
    assert_refused!(host.update(world.now), Error::Unsigned(_));
    assert_eq!(host.root_version(), 1);
}

#[test]
fn a_captured_server_cannot_alter_a_plan() {
    let mut world = World::new(3, 2);
    let plan = world.plan(b"wave one: one host", &[0, 1]);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    // The bytes under the name of before.
    world.files.put(&plan.file(), *b"wave one: all of t");
    assert_refused!(host.plan(plan.name, world.now), Error::Mismatch(_));
    // The bytes and what is said about them, with the signatures of before.
    let mut list = world.files.json("2.plans.json");
    list["signed"]["targets"][plan.name.to_string()]["length"] = json!(3);
    world.files.put("2.plans.json", serde_json::to_vec(&list).unwrap());
    world.capture([1, 2, 9], |_, _| ());
    assert_refused!(host.update(world.now), Error::Unsigned(_));
}

#[test]
fn a_captured_server_that_takes_plans_away_only_withholds() {
    let mut world = World::new(1, 1);
    let plan = world.plan(b"plan", &[0]);
    let (_directory, mut host) = world.host();
    world.files.remove(&plan.file());
    assert_eq!(host.update(world.now).unwrap(), slice::from_ref(&plan));
    assert_refused!(host.plan(plan.name, world.now), Error::Fetch(_));
}

#[test]
fn another_repository_is_not_believed() {
    let world = World::new(2, 2);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    // The thief founds a repository of its own, rightly signed by its own people, in the place of ours.
    let thieves = [key("thief")];
    let founding = Founding {
        owners: quorum(&thieves, 1),
        approvers: quorum(&thieves, 1),
        online: world.online.public().clone(),
        one_key: false,
    };
    let mut proposal = founding.propose(world.now).unwrap();
    sign(&mut proposal, None, &thieves[0]);
    world.files.all.lock().unwrap().clear();
    let (_, servers) = crate::world::twins("nobody");
    assert!(Publisher::found(world.files.clone(), vec![servers], &proposal, world.now).is_err());
    world.files.all.lock().unwrap().clear();
    let directory = tempfile::tempdir().unwrap();
    let their = World::new(1, 1);
    *world.files.all.lock().unwrap() = their.files.copy();
    assert_refused!(host.update(world.now), Error::Unsigned(_));
    // Nor does a host change sides because it is told to.
    drop(directory);
    let (mine, _host) = world.host();
    let source = std::sync::Arc::new(world.files.clone());
    assert_refused!(trust::Trusted::pin(mine.path(), &their.root, source), Error::AlreadyTrusting(_));
}

#[test]
fn a_list_signed_by_a_revoked_approver_is_refused() {
    let mut world = World::new(3, 2);
    world.plan(b"plan", &[0, 1]);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    let revoked = world.people[0].public().id();
    let proposal = world.standing().revoke(&revoked, world.now).unwrap();
    world.publish(proposal, &[1, 2]);
    host.update(world.now).unwrap();
    assert_eq!(host.root_version(), 2);
    // The thief of the key finds a second signer, or was one; and has the server.
    let (thief, other) = (&world.people[0], &world.people[1]);
    world.files.put("4.plans.json", world.files.get("3.plans.json"));
    world.forge("4.plans.json", |plans| plans["version"] = json!(4), &[thief, other]);
    world.capture([2, 4, 9], |_, _| ());
    assert_refused!(host.update(world.now), Error::Unsigned(_));
    // Those who are left can.
    world.forge("4.plans.json", |_| (), &[other, &world.people[2]]);
    world.capture([2, 4, 10], |_, _| ());
    host.update(world.now).unwrap();
}

#[test]
fn a_cached_list_is_verified_against_the_approvers_of_today() {
    let mut world = World::new(2, 1);
    world.plan(b"plan", &[0]);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    let old = world.files.get("2.plans.json");
    let revoked = world.people[0].public().id();
    let proposal = world.standing().revoke(&revoked, world.now).unwrap();
    world.publish(proposal, &[0, 1]);
    // New targets that no longer know the key, and the list of before, which the host has seen and believed.
    world.files.put("2.plans.json", old);
    world.capture([2, 2, 9], |_, _| ());
    assert_refused!(host.update(world.now), Error::Unsigned(_));
}
