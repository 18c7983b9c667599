//! Names: of plans, of files, of roles.

use crate::world::World;
use serde_json::json;
use trust::{PlanName, PlanTarget};
use uuid::Uuid;

const ODD: [&str; 16] = [
    "",
    "plans",
    "plans/",
    "plans/.json",
    "plans/../plans/0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21.json",
    "../plans/0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21.json",
    "/plans/0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21.json",
    "plans//0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21.json",
    "plans/./0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21.json",
    "plans/0192C4F8-7D1E-7C3A-9F60-3B1A5C7D9E21.json",
    "plans/0192c4f87d1e7c3a9f603b1a5c7d9e21.json",
    "plans/{0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21}.json",
    "plans/urn:uuid:0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21.json",
    "plans/0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21.json\n",
    "plans/0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21.json.json",
    "plans/../../../../etc/cron.d/0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21.json",
];

#[test]
fn a_plan_has_one_spelling() {
    let name = "plans/0192c4f8-7d1e-7c3a-9f60-3b1a5c7d9e21.json";
    assert_eq!(name.parse::<PlanName>().unwrap().to_string(), name);
    for odd in ODD {
        assert!(odd.parse::<PlanName>().is_err(), "{odd:?}");
    }
}

#[test]
fn odd_names_in_a_signed_list_are_no_plans_and_lead_nowhere() {
    let mut world = World::new(1, 1);
    let plan = world.plan(b"plan", &[0]);
    let target = json!({"length": 4, "hashes": {"sha256": crate::world::hex(&plan.sha256)}});
    let files_before = world.files.copy().len();
    for odd in ODD.iter().chain(&["elsewhere/x.json", "plans/ü.json", "plans/a%2fb.json", "..", ".", "/"]) {
        world.forge(
            "2.plans.json",
            |plans| {
                let targets = plans["targets"].as_object_mut().unwrap();
                targets.retain(|name, _| *name == plan.name.to_string());
                targets.insert((*odd).to_owned(), target.clone());
            },
            &[&world.people[0]],
        );
        world.capture([1, 2, 9], |_, _| ());
        world.files.asked.lock().unwrap().clear();
        let (directory, mut host) = world.host();
        // Refused as a whole, or as if it were not there.
        if let Ok(plans) = host.update(world.now) {
            assert_eq!(plans, std::slice::from_ref(&plan), "{odd:?}");
            host.plan(plan.name, world.now).unwrap();
        }
        for asked in world.files.asked.lock().unwrap().iter() {
            assert!(!asked.contains("..") && !asked.starts_with('/'), "{odd:?} asked for {asked:?}");
            assert!(asked.matches('/').count() <= 1, "{odd:?} asked for {asked:?}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "{odd:?}");
    }
    assert_eq!(world.files.copy().len(), files_before + 1);
}

#[test]
fn odd_names_of_roles_stay_inside_the_repository() {
    let mut world = World::new(1, 1);
    world.plan(b"plan", &[0]);
    let list = world.files.get("2.plans.json");
    for odd in ["?", "#", "/role", "../role", "../../etc/passwd", "a/b", "%2e%2e/x", "timestamp", "."] {
        world.forge(
            "1.targets.json",
            |targets| {
                let roles = targets["delegations"]["roles"].as_array_mut().unwrap();
                roles.truncate(1);
                let mut role = roles[0].clone();
                role["name"] = json!(odd);
                roles.push(role);
            },
            &[&world.people[0]],
        );
        world.capture([1, 2, 9], |document, signed| {
            if document == "snapshot" {
                signed["meta"][format!("{odd}.json")] = json!({"version": 2});
            }
        });
        world.files.asked.lock().unwrap().clear();
        let (directory, mut host) = world.host();
        let _ = host.update(world.now);
        for asked in world.files.asked.lock().unwrap().iter() {
            assert!(!asked.contains('/') && !asked.starts_with('.'), "{odd:?} asked for {asked:?}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "{odd:?}");
    }
    assert_eq!(world.files.get("2.plans.json"), list);
}

#[test]
fn a_plan_has_at_most_ten_mebibytes() {
    let name = PlanName(Uuid::nil());
    assert!(PlanTarget::of(name, &vec![0; 10 << 20]).is_some());
    assert!(PlanTarget::of(name, &vec![0; (10 << 20) + 1]).is_none());
    // Nor does a host take what approvers have signed for beyond that.
    let mut world = World::new(1, 1);
    let plan = world.plan(b"plan", &[0]);
    world.forge(
        "2.plans.json",
        |plans| plans["targets"][plan.name.to_string()]["length"] = json!((10 << 20) + 1),
        &[&world.people[0]],
    );
    world.capture([1, 2, 9], |_, _| ());
    let (_directory, mut host) = world.host();
    crate::assert_refused!(host.update(world.now), trust::trusted::Error::Endless(..));
}

#[test]
fn a_plan_of_ten_mebibytes_arrives() {
    let mut world = World::new(1, 1);
    let bytes: Vec<u8> = (0..10_u32 << 20).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let plan = world.plan(&bytes, &[0]);
    let (_directory, mut host) = world.host();
    host.update(world.now).unwrap();
    assert!(host.plan(plan.name, world.now).unwrap() == bytes);
}
