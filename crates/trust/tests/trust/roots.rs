//! The chain of roots: who may give the fleet other owners.

use crate::assert_refused;
use crate::world::{World, alias, document, key, quorum};
use serde_json::{Value, json};
use std::sync::Arc;
use trust::Trusted;
use trust::keys::Signer;
use trust::standing::Change;
use trust::trusted::Error;

/// A root of `version`, owned by `owners` (`threshold` of them) and signed by `signers`.
fn put_root(world: &World, version: u64, owners: &[&Signer], threshold: u64, signers: &[&Signer]) {
    let mut root: Value = serde_json::from_slice(&world.root).unwrap();
    let mut root = root["signed"].take();
    root["version"] = json!(version);
    for owner in owners {
        let public = crate::world::hex(owner.public().bytes());
        root["keys"][owner.public().id().as_str()] =
            json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}});
    }
    let ids: Vec<String> = owners.iter().map(|owner| owner.public().id().to_string()).collect();
    root["roles"]["root"] = json!({"keyids": ids, "threshold": threshold});
    world.files.put(&format!("{version}.root.json"), document(&root, signers));
}

#[test]
fn a_root_that_skips_a_version_is_refused() {
    let world = World::new(1, 1);
    let owner = &world.people[0];
    for version in [1, 3] {
        let (_directory, mut host) = world.host();
        put_root(&world, version, &[owner], 1, &[owner]);
        world.files.put("2.root.json", world.files.get(&format!("{version}.root.json")));
        assert_refused!(host.update(world.now), Error::Rollback(_));
        assert_eq!(host.root_version(), 1);
        world.files.remove(&format!("{version}.root.json"));
    }
}

#[test]
fn roots_are_followed_one_by_one_and_never_without_end() {
    let world = World::new(1, 1);
    let owner = &world.people[0];
    for version in 2..=200 {
        put_root(&world, version, &[owner], 1, &[owner]);
    }
    let (directory, mut host) = world.host();
    host.update(world.now).unwrap();
    assert_eq!(host.root_version(), 200);
    for version in 201..=500 {
        put_root(&world, version, &[owner], 1, &[owner]);
    }
    assert_refused!(host.update(world.now), Error::TooMany);
    // What was verified is not fetched again: the next updates go on from there.
    let mut host = world.again(directory.path());
    host.update(world.now).unwrap();
    assert_eq!(host.root_version(), 500);
}

#[test]
fn an_intermediate_root_may_have_expired() {
    let world = World::new(1, 1);
    let owner = &world.people[0];
    put_root(&world, 2, &[owner], 1, &[owner]);
    world.forge("2.root.json", |root| root["expires"] = json!("2020-01-01T00:00:00Z"), &[owner]);
    put_root(&world, 3, &[owner], 1, &[owner]);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    assert_eq!(host.root_version(), 3);
}

#[test]
fn a_root_with_one_key_under_two_ids_is_refused_even_in_between() {
    let world = World::new(1, 1);
    let owner = &world.people[0];
    put_root(&world, 2, &[owner], 1, &[owner]);
    let (id, mut twin) = alias(owner);
    world.forge(
        "2.root.json",
        |root| {
            root["keys"][&id] = twin.take();
            root["roles"]["root"]["keyids"].as_array_mut().unwrap().push(json!(id));
        },
        &[owner],
    );
    put_root(&world, 3, &[owner], 1, &[owner]);
    let (_directory, mut host) = world.host();
    assert_refused!(host.update(world.now), Error::Keys(_));
    assert_eq!(host.root_version(), 1);
}

#[test]
fn a_key_whose_id_is_not_its_digest_is_refused() {
    let world = World::new(1, 1);
    let owner = &world.people[0];
    put_root(&world, 2, &[owner], 1, &[owner]);
    let false_id = "00".repeat(32);
    world.forge(
        "2.root.json",
        |root| {
            let key = root["keys"][owner.public().id().as_str()].clone();
            root["keys"][&false_id] = key;
            root["roles"]["root"]["keyids"].as_array_mut().unwrap().push(json!(false_id));
        },
        &[owner],
    );
    let (_directory, mut host) = world.host();
    assert_refused!(host.update(world.now), Error::Malformed(_));
}

#[test]
fn a_root_that_is_not_signed_by_itself_is_not_pinned() {
    let world = World::new(2, 2);
    let source = Arc::new(world.files.clone());
    let mut half: Value = serde_json::from_slice(&world.root).unwrap();
    half["signatures"].as_array_mut().unwrap().pop();
    let mut other: Value = serde_json::from_slice(&world.root).unwrap();
    other["signed"]["version"] = json!(7);
    let mut none: Value = serde_json::from_slice(&world.root).unwrap();
    none["signed"].as_object_mut().unwrap().remove("version");
    for bad in [half, other, none, json!({}), json!("root")] {
        let directory = tempfile::tempdir().unwrap();
        let bad = serde_json::to_vec(&bad).unwrap();
        assert_refused!(Trusted::pin(directory.path(), &bad, source.clone()), Error::BadRoot(_));
        // And nothing is remembered of it.
        assert_refused!(Trusted::open(directory.path(), source.clone()), Error::NoRoot(_));
    }
    assert!(world.files.asked.lock().unwrap().is_empty());
}

#[test]
fn damaged_memory_is_an_error_and_not_a_new_beginning() {
    let world = World::new(1, 1);
    let (directory, mut host) = world.host();
    host.update(world.now).unwrap();
    let file = directory.path().join("trusted.json");
    let whole = std::fs::read(&file).unwrap();
    let source = Arc::new(world.files.clone());
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        assert_refused!(Trusted::open(directory.path(), source.clone()), Error::Directory { .. });
        assert_refused!(Trusted::pin(directory.path(), &world.root, source.clone()), Error::Directory { .. });
    }
    std::fs::write(&file, &whole).unwrap();
    world.again(directory.path()).update(world.now).unwrap();
    // An update leaves nothing but its memory behind, and clears up after one that was killed.
    std::fs::create_dir(directory.path().join(".update-killed")).unwrap();
    std::fs::write(directory.path().join(".update-killed/timestamp.json"), b"{").unwrap();
    world.again(directory.path()).update(world.now).unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn owners_can_be_replaced_altogether() {
    let mut world = World::new(2, 2);
    let plan = world.plan(b"plan", &[0, 1]);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    let new: Vec<Signer> = (0..3).map(|i| key(&format!("new-{i}"))).collect();
    let changes = [Change::Owners(quorum(&new, 2)), Change::Approvers(quorum(&new, 3))];
    let proposal = world.standing().propose(&changes, world.now).unwrap();
    world.people.extend(new);
    world.publish(proposal, &[0, 1, 2, 3, 4]);
    assert_eq!(host.update(world.now).unwrap(), [plan]);
    world.plan(b"by the new", &[2, 3, 4]);
    assert_eq!(host.update(world.now).unwrap().len(), 2);
}
