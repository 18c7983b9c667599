//! Rollback, mix-and-match, fast-forward, wrong thresholds, substituted plans: attacks from the way between server and host.

use crate::assert_refused;
use crate::world::{World, alias, document, key, twins};
use serde_json::json;
use trust::standing::Change;
use trust::trusted::Error;

#[test]
fn a_plan_that_enough_approvers_signed_reaches_a_host() {
    let mut world = World::new(3, 2);
    let (_directory, mut host) = world.host();
    assert_eq!(host.update(world.now).unwrap(), []);
    let plan = world.plan(b"{\"do\": \"this\"}", &[0, 2]);
    assert_eq!(host.update(world.now).unwrap(), std::slice::from_ref(&plan));
    assert_eq!(host.plan(plan.name, world.now).unwrap(), b"{\"do\": \"this\"}");
    host.verify(plan.name, b"{\"do\": \"this\"}", world.now).unwrap();
    assert_eq!(&host.standing().unwrap(), world.standing());
}

#[test]
fn rollback_of_the_timestamp_is_refused() {
    let mut world = World::new(1, 1);
    let (directory, mut host) = world.host();
    let old = world.files.get("timestamp.json");
    world.plan(b"new", &[0]);
    host.update(world.now).unwrap();
    world.files.put("timestamp.json", old);
    assert_refused!(host.update(world.now), Error::Rollback(_));
    // Nor after a restart: what was seen is remembered on the disk.
    assert_refused!(world.again(directory.path()).update(world.now), Error::Rollback(_));
    // Nor when both name the same snapshot, and only the timestamp itself is older.
    let mut world = World::new(1, 1);
    let (_directory, mut host) = world.host();
    let old = world.files.get("timestamp.json");
    world.passes(4);
    assert!(!world.publisher.refresh(world.now).unwrap().snapshot);
    host.update(world.now).unwrap();
    world.files.put("timestamp.json", old);
    assert_refused!(host.update(world.now), Error::Rollback(_));
}

#[test]
fn rollback_of_the_snapshot_is_refused() {
    let mut world = World::new(1, 1);
    let (_directory, mut host) = world.host();
    world.plan(b"new", &[0]);
    host.update(world.now).unwrap();
    // Captured: a new timestamp that names the snapshot of before.
    world.capture([1, 2, 1], |_, _| ());
    assert_refused!(host.update(world.now), Error::Rollback(_));
}

#[test]
fn rollback_of_the_targets_is_refused() {
    let mut world = World::new(1, 1);
    let (_directory, mut host) = world.host();
    let renewed = world.standing().propose(&[Change::Renew], world.now).unwrap();
    world.publish(renewed, &[0]);
    host.update(world.now).unwrap();
    world.capture([1, 2, 9], |_, _| ());
    assert_refused!(host.update(world.now), Error::Rollback(_));
}

#[test]
fn replay_of_an_old_list_of_plans_is_refused() {
    let mut world = World::new(2, 2);
    let (_directory, mut host) = world.host();
    let old = world.plan(b"yesterday's", &[0, 1]);
    let withdrawn = world.standing().propose(&[Change::Withdraw(old.name)], world.now).unwrap();
    world.publish(withdrawn, &[0, 1]);
    assert_eq!(host.update(world.now).unwrap(), []);
    // Captured: the list of yesterday, rightly signed, in a new snapshot.
    world.capture([1, 2, 9], |_, _| ());
    assert_refused!(host.update(world.now), Error::Rollback(_));
    assert_refused!(host.plan(old.name, world.now), Error::NotUpdated);
}

#[test]
fn mix_and_match_of_documents_is_refused() {
    let mut world = World::new(1, 1);
    world.plan(b"one", &[0]);
    let first = world.files.copy();
    world.plan(b"two", &[0]);
    // Without the server's key: today's timestamp and snapshot, yesterday's list under today's name.
    world.files.put("3.plans.json", first["2.plans.json"].clone());
    let (_directory, mut host) = world.host();
    assert_refused!(host.update(world.now), Error::Mismatch(_));
    // Yesterday's snapshot under today's name.
    world.files.put("3.snapshot.json", first["2.snapshot.json"].clone());
    assert_refused!(host.update(world.now), Error::Mismatch(_));
    // With it: a snapshot that names the list by another version than its own.
    world.capture([1, 3, 9], |document, signed| {
        if document == "snapshot" {
            signed["meta"]["plans.json"]["version"] = json!(3);
        }
    });
    assert_refused!(host.update(world.now), Error::Mismatch(_));
}

#[test]
fn fast_forward_is_recovered_from_by_rotating_the_servers_key() {
    let mut world = World::new(2, 2);
    let (directory, mut host) = world.host();
    let plan = world.plan(b"plan", &[0, 1]);
    host.update(world.now).unwrap();
    let good = world.files.copy();
    // The thief of the server's key counts up as far as numbers go.
    world.capture([1, 2, u64::MAX], |document, signed| {
        if document == "timestamp" {
            signed["version"] = json!(u64::MAX);
        }
    });
    host.update(world.now).unwrap();
    // The good documents of before are old now.
    let forwarded = world.files.copy();
    *world.files.all.lock().unwrap() = good;
    assert_refused!(host.update(world.now), Error::Rollback(_));
    *world.files.all.lock().unwrap() = forwarded;
    // Owners give the server another key; it counts anew, and hosts follow.
    let (new, servers) = twins("server again");
    let rotated = world.standing().rotate(&world.online.public().id(), new.public(), world.now).unwrap();
    let old_key = std::mem::replace(&mut world.online, new);
    let mut proposal = rotated;
    for person in &world.people {
        crate::world::sign(&mut proposal, Some(world.publisher.standing()), person);
    }
    world.publisher =
        trust::publisher::Publisher::open(world.files.clone(), vec![old_key, servers], world.now).unwrap();
    world.publisher.publish(&proposal, world.now).unwrap();
    assert_eq!(host.update(world.now).unwrap(), std::slice::from_ref(&plan));
    assert_eq!(world.files.json("timestamp.json")["signed"]["version"], 1);
    // From here on the new documents are the floor, also after a restart.
    let one = world.files.get("timestamp.json");
    world.plan(b"more", &[0, 1]);
    let mut host = world.again(directory.path());
    assert_eq!(host.update(world.now).unwrap().len(), 2);
    world.files.put("timestamp.json", one);
    assert_refused!(host.update(world.now), Error::Rollback(_));
}

#[test]
fn fewer_signers_than_the_threshold_are_not_enough() {
    let mut world = World::new(3, 2);
    world.plan(b"plan", &[0, 1]);
    let (_directory, mut host) = world.host();
    for signers in [vec![], vec![&world.people[0]], vec![&world.people[2], &world.online]] {
        world.forge("2.plans.json", |_| (), &signers);
        world.capture([1, 2, 9], |_, _| ());
        assert_refused!(host.update(world.now), Error::Unsigned(_));
    }
    world.forge("2.plans.json", |_| (), &[&world.people[2], &world.people[1]]);
    world.capture([1, 2, 10], |_, _| ());
    host.update(world.now).unwrap();
}

#[test]
fn one_key_that_signs_twice_counts_once() {
    let mut world = World::new(3, 2);
    world.plan(b"plan", &[0, 1]);
    let (_directory, mut host) = world.host();
    world.forge("2.plans.json", |_| (), &[&world.people[0], &world.people[0]]);
    world.capture([1, 2, 9], |_, _| ());
    assert_refused!(host.update(world.now), Error::Unsigned(_));
}

#[test]
fn one_key_under_two_ids_is_refused() {
    let mut world = World::new(2, 2);
    world.plan(b"plan", &[0, 1]);
    let (_directory, mut host) = world.host();
    let key = &world.people[0];
    let (twin_id, mut twin) = alias(key);
    let twins = vec![key.public().id().to_string(), twin_id.clone()];
    world.forge(
        "1.targets.json",
        |targets| {
            targets["delegations"]["keys"][&twin_id] = twin.take();
            targets["delegations"]["roles"][0]["keyids"] = json!(twins);
        },
        &[&world.people[0], &world.people[1]],
    );
    let signed = world.files.json("2.plans.json")["signed"].clone();
    let mut file: serde_json::Value = serde_json::from_slice(&document(&signed, &[key])).unwrap();
    let mut again = file["signatures"][0].clone();
    again["keyid"] = json!(twin_id);
    file["signatures"].as_array_mut().unwrap().push(again);
    world.files.put("2.plans.json", serde_json::to_vec(&file).unwrap());
    world.capture([1, 2, 9], |_, _| ());
    assert_refused!(host.update(world.now), Error::Keys(_));
}

#[test]
fn a_plan_with_other_bytes_is_refused() {
    let mut world = World::new(1, 1);
    let plan = world.plan(b"install the fix", &[0]);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    for other in [&b"install the worm"[..], b"install the fix!", b"install", b""] {
        world.files.put(&plan.file(), other);
        assert_refused!(host.plan(plan.name, world.now), Error::Mismatch(_) | Error::Endless(..));
        assert_refused!(host.verify(plan.name, other, world.now), Error::Mismatch(_));
    }
}

#[test]
fn a_list_without_the_role_that_was_there_is_refused() {
    let mut world = World::new(1, 1);
    world.plan(b"plan", &[0]);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    let drop = |document: &str, signed: &mut serde_json::Value| {
        if document == "snapshot" {
            signed["meta"].as_object_mut().unwrap().remove("plans.json");
        }
    };
    world.capture([1, 2, 9], drop);
    assert_refused!(host.update(world.now), Error::Rollback(_));
    // A new host has nothing to compare with; it sees no plans, and says so.
    let (_directory, mut fresh) = world.host();
    assert_refused!(fresh.update(world.now), Error::Mismatch(_));
}

#[test]
fn a_document_of_one_kind_is_not_one_of_another() {
    let mut world = World::new(1, 1);
    world.plan(b"plan", &[0]);
    let (_directory, mut host) = world.host();
    let files = world.files.copy();
    // One key signs both: only what is signed tells them apart.
    world.files.put("timestamp.json", files["2.snapshot.json"].clone());
    assert!(host.update(world.now).is_err());
    // The owners' signature over the targets is none over the list of plans.
    world.files.put("timestamp.json", files["timestamp.json"].clone());
    world.files.put("2.plans.json", files["1.targets.json"].clone());
    world.capture([1, 2, 9], |_, _| ());
    assert!(host.update(world.now).is_err());
    // A stranger's document is nobody's.
    let stranger = key("stranger");
    world.forge("timestamp.json", |_| (), &[&stranger]);
    assert_refused!(host.update(world.now), Error::Unsigned(_));
}

#[test]
fn what_a_later_version_adds_is_kept_and_verified() {
    let mut world = World::new(1, 1);
    let plan = world.plan(b"plan", &[0]);
    let (_directory, mut host) = world.host();
    world.forge(
        "2.plans.json",
        |plans| {
            plans["x-later"] = json!({"more": [1, 2]});
            plans["targets"][plan.name.to_string()]["custom"] = json!({"note": "later"});
        },
        &[&world.people[0]],
    );
    world.capture([1, 2, 9], |_, _| ());
    assert_eq!(host.update(world.now).unwrap(), [plan]);
    // And it cannot be taken away.
    let mut file = world.files.json("2.plans.json");
    file["signed"].as_object_mut().unwrap().remove("x-later");
    world.files.put("2.plans.json", serde_json::to_vec(&file).unwrap());
    world.capture([1, 2, 10], |_, _| ());
    assert_refused!(host.update(world.now), Error::Unsigned(_));
}

#[test]
fn a_rotation_that_is_seen_before_the_rest_of_the_recovery_still_drops_the_floors() {
    let world = World::new(1, 1);
    let (directory, mut host) = world.host();
    let good = world.files.copy();
    world.capture([1, 1, u64::MAX], |document, signed| {
        if document == "timestamp" {
            signed["version"] = json!(u64::MAX);
        }
    });
    host.update(world.now).unwrap();
    // The owners add a key for the server; the one that was stolen stays for a while.
    let new = key("new");
    world.files.put("2.root.json", world.files.get("1.root.json"));
    world.forge(
        "2.root.json",
        |root| {
            root["version"] = json!(2);
            let public = crate::world::hex(new.public().bytes());
            root["keys"][new.public().id().as_str()] =
                json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}});
            for role in ["timestamp", "snapshot"] {
                let ids = root["roles"][role]["keyids"].as_array_mut().unwrap();
                ids.push(json!(new.public().id().as_str()));
            }
        },
        &[&world.people[0]],
    );
    world.files.remove("timestamp.json");
    assert_refused!(host.update(world.now), Error::Fetch(_));
    assert_eq!(host.root_version(), 2);
    world.files.put("timestamp.json", good["timestamp.json"].clone());
    world.again(directory.path()).update(world.now).unwrap();
}
