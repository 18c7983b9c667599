//! `palisade plan sign` and `palisade key sign` against a server that is honest, and against one that lies. The proposals,
//! keys and publisher are real; nothing may be sent to a server that lies.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fleet;
mod server;

use fleet::{Fleet, plan};
use rollout::plan::PlanId;
use rollout::word::{FORMAT, Says, Word};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use trust::keys::FileKey;
use trust::standing::Change;
use uuid::Uuid;

/// It was refused for this reason, and nothing was sent.
#[track_caller]
fn assert_refused(fleet: &Fleet, (code, shown, told): (i32, String, String), reason: &str) {
    assert!(code == 70 && told.contains(reason), "{code}\n{shown}\n{told}");
    assert_eq!(fleet.centre.lock().unwrap().sent, 0, "something was signed");
}

/// A fleet with the plan proposed.
fn proposed() -> (Fleet, Uuid) {
    let fleet = Fleet::founded();
    let staged = fleet.stage(&plan());
    let id = fleet.propose("plan", &plan().id.to_string(), &[staged]);
    (fleet, id)
}

#[test]
fn a_plan_is_in_force_once_enough_have_looked_at_it_and_signed() {
    let (fleet, proposal) = proposed();
    // By its id's end, as people copy it.
    let (code, shown, told) = fleet.sign(0, "3b1a5c7d9e21");
    assert_eq!(code, 1, "{shown}\n{told}");
    for expected in [
        "new to this machine",
        "Fix openssl on the web hosts",
        "3.0.14-1~deb12u2 → 3.0.15-1~deb12u1",
        "to be signed",
        "1 signer for plans, of bob",
        &format!("palisade plan sign {proposal}"),
    ] {
        assert!(shown.contains(expected), "{expected:?} is not shown:\n{shown}");
    }
    // The same person again adds nothing.
    let (code, _, told) = fleet.sign(0, "3b1a5c7d9e21");
    assert!(code == 70 && told.contains("has signed already"), "{code} {told}");
    let (code, shown, told) = fleet.sign(1, &proposal.to_string());
    assert_eq!(code, 0, "{told}");
    assert!(shown.contains("In force") && shown.contains("palisade rollout start"), "{shown}");
    assert_eq!(fleet.centre.lock().unwrap().standing().plans().len(), 1);
    // From now on the fleet is known.
    let (code, shown, told) = fleet.palisade(0, &["key", "list"]);
    assert!(code == 0 && shown.contains("as remembered"), "{shown} {told}");
}

#[test]
fn swapped_bytes_are_refused() {
    let (fleet, _) = proposed();
    let mut other = plan();
    other.classes[0].changes[0].to = "3.0.14-1~evil".to_owned();
    fleet.centre.lock().unwrap().bytes.insert(other.id.0, other.bytes());
    assert_refused(&fleet, fleet.sign(0, &plan().id.to_string()), "other bytes for plan");
}

#[test]
fn a_second_plan_in_the_list_is_refused() {
    let fleet = Fleet::founded();
    let mut second = plan();
    second.id = PlanId(Uuid::now_v7());
    let changes = [fleet.stage(&plan()), fleet.stage(&second)];
    let proposal = fleet.propose("plan", &plan().id.to_string(), &changes);
    let reason = "it puts several things in force at once";
    assert_refused(&fleet, fleet.sign(0, &plan().id.to_string()), reason);
    assert_refused(&fleet, fleet.sign(0, &proposal.to_string()), &second.id.to_string());
}

#[test]
fn a_plan_with_a_new_approver_is_refused() {
    let fleet = Fleet::founded();
    let thief = FileKey::generate("thief").unwrap();
    let with = trust::standing::Quorum::new(fleet.people.iter().chain([thief.public()]).cloned(), 2).unwrap();
    let changes = [fleet.stage(&plan()), Change::Approvers(with)];
    fleet.propose("plan", &plan().id.to_string(), &changes);
    assert_refused(&fleet, fleet.sign(0, &plan().id.to_string()), "lets key thief");
}

#[test]
fn a_word_is_not_signed_in_a_plans_name() {
    let (fleet, _) = proposed();
    let people = [0, 1].map(|person| fleet.signer(person));
    fleet.centre.lock().unwrap().publish(&people);
    let word = Word {
        format: FORMAT,
        id: Uuid::now_v7(),
        plan: plan().id,
        digest: plan().digest(),
        says: Says::Back,
        created: "2027-03-01T12:00:00Z".parse().unwrap(),
        reason: "it broke the shop".to_owned(),
    };
    let staged = fleet.stage_word(&word);
    let plans_id = plan().id.to_string();
    // Called a plan, it is refused; called what it is, nobody signs it without looking who asked for the plan.
    fleet.propose("plan", &plans_id, std::slice::from_ref(&staged));
    assert_refused(
        &fleet,
        fleet.sign(0, &plans_id),
        "the server calls this a proposal of kind \"plan\", but it takes",
    );
    let proposal = fleet.propose("word", &word.id.to_string(), &[staged]);
    assert_refused(&fleet, fleet.sign(0, &plans_id), "you asked for something that puts plan");
    let (code, shown, told) = fleet.sign(0, &proposal.to_string());
    assert_eq!(code, 1, "{told}");
    assert!(shown.contains("goes back: its hosts take the old versions again"), "{shown}");
    assert!(shown.contains("it broke the shop"), "{shown}");
}

#[test]
fn what_is_over_leaves_the_list_and_what_is_not_is_refused() {
    let (fleet, _) = proposed();
    let people = [0, 1].map(|person| fleet.signer(person));
    fleet.centre.lock().unwrap().publish(&people);
    let word = |says| Word {
        format: FORMAT,
        id: Uuid::now_v7(),
        plan: plan().id,
        digest: plan().digest(),
        says,
        created: "2027-03-01T12:00:00Z".parse().unwrap(),
        reason: "it was a cable".to_owned(),
    };
    let (resume, back) = (word(Says::Resume { generation: 1 }), word(Says::Back));
    let words = [fleet.stage_word(&resume), fleet.stage_word(&back)];
    fleet.propose("word", "", &words);
    fleet.centre.lock().unwrap().publish(&people);
    let mut next = plan();
    next.id = PlanId(Uuid::now_v7());
    let id = next.id.to_string();
    let withdraw = |id: Uuid| Change::Withdraw(trust::PlanName(id));
    let with = |others: &[Uuid]| {
        let mut changes = vec![fleet.stage(&next)];
        changes.extend(others.iter().map(|other| withdraw(*other)));
        fleet.propose("plan", &id, &changes);
        fleet.sign(0, &id)
    };
    // A plan that is under way, and the word that its hosts go back.
    fleet.centre.lock().unwrap().rollout = "wave";
    assert_refused(&fleet, with(&[plan().id.0]), "whose rollout is not over (\"wave\")");
    assert_refused(&fleet, with(&[back.id]), "also withdraws the word that plan");
    // A word that was used; a plan that is over, with what was said about it.
    let (code, shown, told) = with(&[resume.id]);
    assert!(code == 1 && shown.contains("goes on)"), "{code} {shown} {told}");
    fleet.centre.lock().unwrap().rollout = "complete";
    let (code, shown, told) = with(&[plan().id.0, resume.id, back.id]);
    assert!(code == 1 && shown.contains("its rollout is complete, says the server"), "{code} {shown} {told}");
    // To withdraw the one and lose another is two things.
    fleet.centre.lock().unwrap().rollout = "wave";
    let sent = fleet.centre.lock().unwrap().sent;
    let plans_id = plan().id.to_string();
    let proposal = fleet.propose("withdraw", &plans_id, &[withdraw(plan().id.0), withdraw(back.id)]);
    let (code, shown, told) = fleet.sign(0, &proposal.to_string());
    assert!(code == 1 && shown.contains(&format!("- plan {plans_id}")), "{code} {shown} {told}");
    assert_eq!(fleet.centre.lock().unwrap().sent, sent + 1);
}

#[test]
fn another_root_is_refused_by_who_knows_the_fleet() {
    let (fleet, _) = proposed();
    let (code, ..) = fleet.palisade(0, &["key", "list"]);
    assert_eq!(code, 0);
    // The same people, another server's key: somebody founded the fleet anew.
    let other = fleet.founding();
    let people = [0, 1].map(|person| fleet.signer(person));
    fleet.centre.lock().unwrap().found(other, &people);
    let staged = fleet.stage(&plan());
    fleet.propose("plan", &plan().id.to_string(), &[staged]);
    let reason = "this is another fleet, or somebody else's work";
    assert_refused(&fleet, fleet.sign(0, &plan().id.to_string()), reason);
    // Who has never seen it cannot know; the fingerprint is what to compare.
    let (code, shown, _) = fleet.sign(1, &plan().id.to_string());
    assert!(code == 1 && shown.contains("Compare the fingerprint"), "{code} {shown}");
}

#[test]
fn what_is_older_than_what_was_seen_is_refused() {
    let (fleet, _) = proposed();
    let old = serde_json::to_vec(fleet.centre.lock().unwrap().standing()).unwrap();
    let people = [0, 1].map(|person| fleet.signer(person));
    fleet.centre.lock().unwrap().publish(&people);
    assert_eq!(fleet.palisade(0, &["key", "list"]).0, 0);
    fleet.centre.lock().unwrap().shows = Some(old);
    let mut next = plan();
    next.id = PlanId(Uuid::now_v7());
    let staged = fleet.stage(&next);
    fleet.propose("plan", &next.id.to_string(), &[staged]);
    assert_refused(&fleet, fleet.sign(0, &next.id.to_string()), "plans version 1 is older than version 2");
}

#[test]
fn a_rotated_root_must_follow_the_chain() {
    let (fleet, _) = proposed();
    assert_eq!(fleet.palisade(0, &["key", "list"]).0, 0);
    // Twice, so that one root in between has to be asked for.
    let people = [0, 1].map(|person| fleet.signer(person));
    for _ in 0..2 {
        fleet.propose("keys", "", &[Change::Renew]);
        fleet.centre.lock().unwrap().publish(&people);
    }
    // The root in between is somebody else's.
    let strangers = Fleet::founded();
    strangers.propose("keys", "", &[Change::Renew]);
    let they = [0, 1].map(|person| strangers.signer(person));
    strangers.centre.lock().unwrap().publish(&they);
    let theirs = strangers.centre.lock().unwrap().publisher.as_ref().unwrap().root();
    fleet.centre.lock().unwrap().roots.insert(2, theirs);
    let staged = fleet.stage(&plan());
    fleet.propose("plan", &plan().id.to_string(), &[staged]);
    let reason = "the owners of version 1 have not signed version 2";
    assert_refused(&fleet, fleet.sign(0, &plan().id.to_string()), reason);
    fleet.centre.lock().unwrap().roots.clear();
    let (code, shown, told) = fleet.sign(0, &plan().id.to_string());
    assert!(
        code == 1 && shown.contains("signed by the owners of before (2 in a row)"),
        "{code} {shown} {told}"
    );
}

#[test]
fn a_founding_is_remembered_by_who_signed_it() {
    let fleet = Fleet::new();
    let proposal = fleet.founding();
    let id = Uuid::now_v7();
    fleet.centre.lock().unwrap().open = Some((id, "founding", String::new(), proposal.clone()));
    let key = fleet.path("ada.key");
    let (code, shown, told) = fleet.palisade(0, &["key", "sign", "--yes", "--key", key.to_str().unwrap()]);
    assert_eq!(code, 1, "{told}");
    assert!(shown.contains("+ owner ada") && shown.contains(&proposal.digest()), "{shown}");
    // The server comes into force with something else than was signed.
    let people = [0, 1].map(|person| fleet.signer(person));
    let other = fleet.founding();
    fleet.centre.lock().unwrap().found(other, &people);
    fleet.centre.lock().unwrap().open = None;
    let (code, _, told) = fleet.palisade(0, &["key", "list"]);
    assert!(code == 70 && told.contains("this is another fleet"), "{code} {told}");
}

/// A real ssh-agent, ended with the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_key_that_an_ssh_agent_holds_signs_when_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, key) = (directory.path().join("socket"), directory.path().join("dan"));
    let started = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::piped()).spawn();
    let Ok(mut started) = started else { return eprintln!("SKIPPED: ssh-agent is not installed") };
    // It prints where it listens once it does.
    let mut line = String::new();
    BufReader::new(started.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let _agent = Agent(started);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "dan", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    let added = Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket).status();
    assert!(added.unwrap().success());
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let fleet = Fleet::with(Some(public.parse().unwrap())).found();
    let staged = fleet.stage(&plan());
    fleet.propose("plan", &plan().id.to_string(), &[staged]);
    let socket = socket.to_str().unwrap();
    let plans_id = plan().id.to_string();
    let sign = |named: &str| fleet.with_agent(3, &["plan", "sign", &plans_id, "--yes", named], socket);
    assert_refused(&fleet, sign("--agent=ada"), "it holds no ed25519 key \"ada\"");
    let (code, shown, told) = sign("--agent=dan");
    assert!(code == 1 && shown.contains("1 signer for plans, of ada"), "{code} {shown} {told}");
    let (code, _, told) = sign("--agent");
    assert!(code == 70 && told.contains("it holds none of the keys that are asked for"), "{code} {told}");
}

#[test]
fn keys_are_made_and_used_with_their_passphrase_and_never_shown() {
    let (fleet, _) = proposed();
    let (key, phrase) = (fleet.path("safe.key"), fleet.path("phrase"));
    std::fs::write(&phrase, "correct horse\n").unwrap();
    let (key, phrase) = (key.to_str().unwrap(), phrase.to_str().unwrap());
    let (code, shown, told) =
        fleet.palisade(0, &["key", "new", key, "--name", "safe", "--passphrase-file", phrase]);
    assert!(
        code == 0 && shown.starts_with("ssh-ed25519 ") && shown.contains("compare the key's id"),
        "{shown} {told}"
    );
    let text = std::fs::read_to_string(key).unwrap();
    assert!(text.contains("ENCRYPTED PRIVATE KEY"), "{text}");
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, _, told) = fleet.palisade(0, &["key", "new", key, "--no-passphrase"]);
    assert!(code == 70 && told.contains("is there already"), "{told}");
    let sign = |more: &[&str]| {
        let plans_id = plan().id.to_string();
        fleet.palisade(0, &[&["plan", "sign", plans_id.as_str(), "--yes", "--key", key], more].concat())
    };
    // Nobody is there to type it.
    assert_refused(&fleet, sign(&[]), "give it with --passphrase-file");
    std::fs::write(phrase, "wrong").unwrap();
    assert_refused(&fleet, sign(&["--passphrase-file", phrase]), "the passphrase does not open it");
    std::fs::write(phrase, "correct horse").unwrap();
    // A good key that nobody asks.
    assert_refused(
        &fleet,
        sign(&["--passphrase-file", phrase]),
        "is not asked for, or has signed already; asked are ada",
    );
    let (code, _, told) = fleet.palisade(0, &["plan", "sign", &plan().id.to_string(), "--yes"]);
    assert!(code == 70 && told.contains("no key that is asked for is at hand"), "{told}");
    let key = fleet.path("ada.key");
    let (code, _, told) =
        fleet.palisade(0, &["plan", "sign", &plan().id.to_string(), "--key", key.to_str().unwrap()]);
    assert!(code == 70 && told.contains("say --yes"), "{told}");
    assert_eq!(fleet.centre.lock().unwrap().sent, 0);
}
