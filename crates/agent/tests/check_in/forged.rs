//! What somebody could make a host believe, who has the centre.

use crate::fleet::Scene;
use crate::{pace, wait};
use agent::Pace;
use jiff::{SignedDuration, Timestamp};
use rollout::order::{Direction, Stage};
use rollout::plan::{Digest, HostId};
use serde_json::json;
use std::time::Duration;
use trust::keys::{FileKey, Signer};
use uuid::Uuid;

/// Says that the agent has checked in often enough to have acted, and how it explains that it did not.
fn rests(scene: &Scene, because: &str) {
    let told = || scene.status().and_then(|status| status.rests).unwrap_or_default();
    wait(&format!("it says {because:?}"), || told().contains(because));
    let before = scene.said().len();
    wait("it goes on asking", || scene.said().len() > before + 10);
    assert!(told().contains(because), "{}", told());
    assert!(!scene.stages().iter().any(|stage| stage.is_past_return()), "{:?}", scene.stages());
}

#[test]
fn a_plan_with_one_byte_changed_is_not_begun() {
    let scene = Scene::new();
    {
        let mut memory = scene.centre.memory.lock().unwrap();
        let (_, bytes) =
            memory.files.iter_mut().find(|(name, _)| name.starts_with("targets/plans/")).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    }
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    let agent = scene.start_dry(&json!({}));
    rests(&scene, "the plan is missing, or not signed as it must be: update:");
    agent.stop().unwrap();
    assert_eq!(scene.stages(), []);
}

#[test]
fn a_plan_that_nobody_signed_is_not_begun() {
    let scene = Scene::new();
    // The order's digest is that of another content, which the centre made up.
    let digest = Digest::of(b"other");
    scene.orders(1, Direction::Forward, None, move |_, told, _| {
        if let Some(order) = &mut told.order {
            order.digest = digest;
        }
    });
    let agent = scene.start_dry(&json!({}));
    rests(&scene, "names another content than approvers have signed");
    scene.people.withdraw(scene.plan.id.0);
    scene.centre.memory.lock().unwrap().files = scene.people.offered();
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    rests(&scene, "approvers have not signed it");
    agent.stop().unwrap();
}

#[test]
fn an_order_for_another_host_or_another_question_is_not_heard() {
    let scene = Scene::new();
    scene.orders(1, Direction::Forward, None, |said, told, _| {
        if let Some(order) = &mut told.order {
            match said.nonce % 2 {
                0 => order.host = HostId(Uuid::from_u128(1)),
                _ => order.nonce = order.nonce.wrapping_add(1),
            }
        }
    });
    let agent = scene.start_dry(&json!({}));
    wait("it asks", || scene.said().len() > 20);
    agent.stop().unwrap();
    assert_eq!(scene.stages(), []);
}

#[test]
fn nothing_is_begun_on_a_word_that_the_servers_key_has_not_given_for_this_very_question() {
    type Forge = Box<dyn FnMut(&mut wire::v1::Told, &mut trust::statement::NotHalted) + Send>;
    let stolen = Signer::File(FileKey::generate("thief").unwrap());
    let forgeries: Vec<(&str, Forge)> = vec![
        ("another nonce", Box::new(|_, said| said.nonce = said.nonce.wrapping_add(1))),
        ("another host", Box::new(|_, said| said.host = Uuid::from_u128(1))),
        ("another plan", Box::new(|_, said| said.plan = Uuid::from_u128(1))),
        ("another grant", Box::new(|_, said| said.fence = 9)),
        (
            "another key",
            Box::new(move |told, said| {
                told.clearance = Some(String::from_utf8(said.sign(&stolen).unwrap()).unwrap());
            }),
        ),
        ("no statement", Box::new(|told, _| told.clearance = Some("{}".to_owned()))),
    ];
    for (name, mut forge) in forgeries {
        let scene = Scene::new();
        scene.orders(1, Direction::Forward, None, move |_, told, said| {
            if told.clearance.is_some() {
                forge(told, said);
            }
        });
        let agent = scene.start_dry(&json!({ "act_ms": 10 }));
        scene.wait_for(Stage::Fetched);
        rests(&scene, "waits for the centre's word");
        assert_eq!(scene.stages().last(), Some(&Stage::Fetched), "{name}");
        // The real one is taken all the same.
        scene.orders(1, Direction::Forward, None, |_, _, _| {});
        scene.wait_for(Stage::Proven);
        agent.stop().unwrap();
    }
}

#[test]
fn a_server_that_holds_news_back_is_found_out() {
    let seven_hours_ago = Timestamp::now().saturating_sub(SignedDuration::from_hours(7)).unwrap();
    let scene = Scene::at(seven_hours_ago, |_| {});
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    let agent = scene.start_dry(&json!({}));
    rests(&scene, "rely on timestamp: it expired at");
    agent.stop().unwrap();
}

#[test]
fn an_older_list_of_plans_is_refused_also_after_a_restart() {
    let scene = Scene::new();
    let old = scene.people.offered();
    scene.people.approve(Uuid::now_v7(), b"another plan");
    scene.centre.memory.lock().unwrap().files = scene.people.offered();
    // It waits for its clearance, and verifies all the time.
    scene.orders(1, Direction::Forward, None, |_, told, _| told.clearance = None);
    scene.write_faults(&json!({ "act_ms": 10 }));
    let often = Pace { trust: Duration::from_millis(50), ..pace() };
    let agent = scene.host.start_with(&often, crate::fleet::dry());
    scene.wait_for(Stage::Fetched);
    scene.centre.memory.lock().unwrap().files = old;
    rests(&scene, "somebody offers old documents again");
    agent.stop().unwrap();
    let agent = scene.host.start_with(&often, crate::fleet::dry());
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    rests(&scene, "somebody offers old documents again");
    scene.centre.memory.lock().unwrap().files = scene.people.offered();
    scene.wait_for(Stage::Proven);
    agent.stop().unwrap();
}

#[test]
fn a_damaged_journal_or_memory_of_roots_is_loud_and_stops_the_hand() {
    let scene = Scene::new();
    scene.orders(1, Direction::Forward, None, |_, told, _| told.clearance = None);
    let agent = scene.start_dry(&json!({ "act_ms": 10 }));
    scene.wait_for(Stage::Fetched);
    agent.stop().unwrap();
    let trusted = scene.host.state().join("trust/trusted.json");
    let whole = std::fs::read(&trusted).unwrap();
    std::fs::write(&trusted, &whole[..100]).unwrap();
    let agent = scene.start_dry(&json!({}));
    rests(&scene, "read the trust in");
    agent.stop().unwrap();
    std::fs::write(&trusted, &whole).unwrap();
    let journal = scene.host.state().join("journal.json");
    std::fs::write(&journal, "{").unwrap();
    let agent = scene.start_dry(&json!({}));
    let before = scene.centre.heard(wire::v1::CHECK_IN_PATH).len();
    wait("it checks in", || scene.centre.heard(wire::v1::CHECK_IN_PATH).len() > before + 5);
    agent.stop().unwrap();
    let heard = scene.centre.heard(wire::v1::CHECK_IN_PATH).pop().unwrap();
    assert!(heard.body.get("job").is_none(), "it takes no part: {}", heard.body);
    let blocked = scene.status().unwrap().blocked.unwrap().to_string();
    assert!(blocked.contains("read the journal") && blocked.contains("nothing is begun"), "{blocked}");
    assert_eq!(std::fs::read(&journal).unwrap(), b"{", "it is not begun anew");
}

#[test]
fn a_host_that_was_given_no_root_pins_the_servers_first_one_and_no_other_after() {
    let scene = Scene::new();
    std::fs::remove_dir_all(scene.host.state().join("trust")).unwrap();
    scene.orders(1, Direction::Forward, None, |_, told, _| told.clearance = None);
    let agent = scene.start_dry(&json!({ "act_ms": 10 }));
    scene.wait_for(Stage::Fetched);
    agent.stop().unwrap();
    // Another repository altogether, with a plan of the same name.
    let other = crate::fleet::People::found(Timestamp::now());
    other.approve(scene.plan.id.0, &scene.plan.bytes());
    scene.centre.memory.lock().unwrap().files = other.offered();
    scene.orders(1, Direction::Forward, None, |_, _, _| {});
    let agent = scene.start_dry(&json!({ "act_ms": 10 }));
    rests(&scene, "the plan is missing, or not signed as it must be");
    agent.stop().unwrap();
}
