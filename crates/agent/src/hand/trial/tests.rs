//! A new agent says that it was heard, and so does one that was captured.

use super::*;
use crate::hand::guard::tests::{HOST, World, key};
use crate::hand::nonces;
use trust::statement;
use uuid::Uuid;

fn trial(world: &World, since: Option<(u64, u64)>) -> Trial {
    let order = world.order(Deed::Apply, None);
    let trial = Trial {
        plan: order.plan,
        digest: order.digest,
        fence: order.fence,
        began: world.now,
        boot: boot(),
        seconds: 120,
        new: "palisade 2".to_owned(),
        old: "palisade 1".to_owned(),
        program: "/nowhere/palisade".into(),
        since,
        restores: 0,
        ended: None,
    };
    trial.keep(&world.place).unwrap();
    trial
}

fn word(world: &World, host: Uuid, nonce: u64) -> String {
    let said = statement::Heard { host, issued_at: world.now, nonce };
    String::from_utf8(world.publisher.heard(&said).unwrap()).unwrap()
}

fn heard(world: &World, text: &str) -> Result<(), String> {
    world
        .giving(|source| super::heard(&world.place, text, source, world.now))
        .map_err(|problem| problem.to_string())
}

#[test]
fn the_centre_s_word_counts_if_it_answers_a_question_of_the_new_agent_s() {
    let world = World::new(true);
    let nonce = nonces::draw(&world.place).unwrap();
    assert!(heard(&world, &word(&world, HOST, nonce)).unwrap_err().contains("no agent is on trial"));
    let unchanged = trial(&world, None);
    let place = world.place.path("");
    assert!(is_open(&place));
    let early = heard(&world, &word(&world, HOST, nonce)).unwrap_err();
    assert!(early.contains("since the new agent runs"), "the old one still runs: {early}");
    let trial = trial(&world, Some((boot(), clock::uptime_ms() + 1)));
    std::thread::sleep(Duration::from_millis(5));
    let before = heard(&world, &word(&world, HOST, nonce)).unwrap_err();
    assert!(before.contains("since the new agent runs"), "{before}");
    let nonce = nonces::draw(&world.place).unwrap();
    let said = statement::Heard { host: HOST, issued_at: world.now, nonce };
    let by_another = String::from_utf8(said.sign(&key("stranger")).unwrap()).unwrap();
    assert!(heard(&world, &by_another).unwrap_err().contains("not signed"));
    assert!(heard(&world, &word(&world, Uuid::from_u128(2), nonce)).unwrap_err().contains("another host"));
    assert!(is_open(&place) && !trial.was_heard(&world.place) && !unchanged.was_heard(&world.place));
    heard(&world, &word(&world, HOST, nonce)).unwrap();
    assert!(!is_open(&place) && trial.was_heard(&world.place));
    let next = Trial { began: Timestamp::UNIX_EPOCH, ..trial };
    assert!(!next.was_heard(&world.place), "a word about one trial says nothing about the next");
}

#[test]
fn after_power_failed_any_question_of_the_new_boot_counts() {
    let world = World::new(true);
    let cut_short = Trial { boot: boot() + 1, ..trial(&world, None) };
    assert!(cut_short.counts(boot(), 0) && !cut_short.counts(boot() + 1, u64::MAX));
    let changed = Trial { since: Some((boot() + 1, 5)), ..cut_short };
    assert!(changed.counts(boot(), 0) && changed.counts(boot() + 1, 5) && !changed.counts(boot() + 1, 4));
}

#[test]
fn a_trial_that_an_older_agent_began_is_read_with_the_place_where_that_one_kept_its_program() {
    let world = World::new(true);
    let mut written = serde_json::to_value(trial(&world, None)).unwrap();
    written.as_object_mut().unwrap().remove("program");
    world.place.write(TRIAL, &written).unwrap();
    let read = Trial::open(&world.place).unwrap().unwrap();
    assert_eq!(read.program, Path::new("/var/lib/palisade-hand/previous/palisade"));
}
