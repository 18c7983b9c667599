//! An agent that was captured asks for this and that; a server that was captured answers what it likes.

use super::*;
use crate::hand::nonces;
use crate::hand::order::{Given, Reply};
use crate::hand::place::Host;
use crate::settings::HandKind;
use crate::settings::{Agent, Plans};
use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use trust::keys::{FileKey, Signer};
use trust::proposal::Proposal;
use trust::publisher::{Publisher, Store};
use trust::standing::{Change, Founding, Quorum, Standing};
use trust::statement::NotHalted;
use uuid::Uuid;

pub(in crate::hand) const HOST: Uuid = Uuid::from_u128(1);

#[derive(Clone, Debug, Default)]
pub(in crate::hand) struct Files(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Store for Files {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

pub(in crate::hand) fn key(name: &str) -> Signer {
    Signer::File(FileKey::generate(name).unwrap())
}

fn sign(proposal: &mut Proposal, standing: Option<&Standing>, signers: &[Signer]) {
    for signer in signers {
        for countersigned in proposal.sign(standing, signer).unwrap() {
            proposal.add(standing, countersigned).unwrap();
        }
    }
}

/// One plan for one host; two approvers have signed it, if they have.
pub(in crate::hand) struct World {
    _directory: tempfile::TempDir,
    pub(in crate::hand) place: Place,
    settings: Settings,
    pub(in crate::hand) publisher: Publisher<Files>,
    files: Files,
    plan: Plan,
    pub(in crate::hand) now: Timestamp,
}

impl World {
    pub(in crate::hand) fn new(is_signed: bool) -> Self {
        let now = Timestamp::now();
        let (signers, online) = (vec![key("ada"), key("bob")], key("server"));
        let keys: Vec<_> = signers.iter().map(|signer| signer.public().clone()).collect();
        let quorum = Quorum::new(keys, 2).unwrap();
        let (owners, approvers) = (quorum.clone(), quorum);
        let founding = Founding { owners, approvers, online: online.public().clone(), one_key: false };
        let mut proposal = founding.propose(now).unwrap();
        sign(&mut proposal, None, &signers);
        let files = Files::default();
        let mut publisher = Publisher::found(files.clone(), vec![online], &proposal, now).unwrap();
        let plan = plan(now);
        if is_signed {
            let target = publisher.stage(PlanName(plan.id.0), &plan.bytes()).unwrap();
            let mut proposal = publisher.standing().propose(&[Change::Plan(target)], now).unwrap();
            sign(&mut proposal, Some(publisher.standing()), &signers);
            publisher.publish(&proposal, now).unwrap();
        }
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(&directory.path().join("hand")).unwrap();
        place.remember(&Host { host: HOST, group: String::new() }, None).unwrap();
        let root = publisher.standing().root_bytes();
        place.believe(&root, &publisher.standing().fingerprint()).unwrap();
        let settings = Settings { agent: Agent { hand: HandKind::Apt }, ..Settings::default() };
        Self { _directory: directory, place, settings, publisher, files, plan, now }
    }

    pub(in crate::hand) fn order(&self, deed: Deed, clearance: impl Into<Option<String>>) -> Order {
        let (plan, digest) = (self.plan.id, self.plan.digest());
        Order {
            deed,
            plan,
            digest,
            fence: 3,
            direction: Direction::Forward,
            word: None,
            clearance: clearance.into(),
        }
    }

    /// The server's word, signed, for this host and grant.
    fn not_halted(&self, nonce: u64) -> String {
        let said = NotHalted { fence: 3, host: HOST, issued_at: self.now, nonce, plan: self.plan.id.0 };
        String::from_utf8(self.publisher.not_halted(&said).unwrap()).unwrap()
    }

    fn admit(&self, order: &Order) -> Result<(), String> {
        self.giving(|source| {
            let guard = Guard { place: &self.place, settings: &self.settings, source, now: self.now };
            guard.admit(order).map_err(|problem| problem.to_string())
        })
    }

    /// Asks; the other end gives every document that is wanted, as the agent does.
    pub(in crate::hand) fn giving<T>(&self, ask: impl FnOnce(Arc<Line>) -> T) -> T {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (source, agent) = (Arc::new(Line::new(ours).unwrap()), Line::new(theirs).unwrap());
        let files = self.files.clone();
        let giving = std::thread::spawn(move || {
            while let Ok(Reply::Need { name, .. }) = agent.hear() {
                match files.get(&name).unwrap() {
                    Some(bytes) => agent.give(&bytes).unwrap(),
                    None => agent.say(&Given::Absent).unwrap(),
                }
            }
        });
        let asked = ask(source);
        giving.join().unwrap();
        asked
    }
}

fn plan(now: Timestamp) -> Plan {
    let at = |hours| now.saturating_add(SignedDuration::from_hours(hours)).unwrap();
    let file = |text: &str| serde_json::json!({ "sha256": Digest::of(text.as_bytes()), "size_bytes": 1000 });
    serde_json::from_value(serde_json::json!({
        "format": rollout::plan::FORMAT, "id": Uuid::from_u128(7), "title": "oil the lamp", "created": at(-1),
        "not_before": at(-1), "expires": at(24), "decision": null, "bulletins": [], "environment": "default",
        "track": "emergency", "supersedes": null,
        "classes": [{ "name": "c", "release": "debian:12", "arch": "amd64", "changes": [{
            "name": "oil", "arch": "amd64", "source": "oil", "from": "1-1", "to": "1-2", "archive": "Debian:12/x",
            "file": file("new"), "back": file("old") }] }],
        "waves": [{ "name": "canaries", "hosts_at_once_max": 1, "late": null,
            "cohorts": [{ "class": "c", "groups": [], "canary": true, "hosts": [HOST] }],
            "gate": { "proven_percent_min": 100, "bad_max": 0, "skipped_max": 0, "soak_seconds": 300, "samples_min": 1,
                "control": null } }],
        "windows": [], "blackouts": [], "groups": [], "probes": [], "reboot": { "if-needed": { "reboots_max": 1 } },
        "rollback": "on-failure", "overrides": [],
        "timing": { "lease_seconds": 60, "clearance_seconds": 60, "deadline_seconds": 3600, "silence_seconds": 60,
            "expected_seconds": 1, "verify_seconds": 1, "host_soak_seconds": 0 },
    }))
    .unwrap()
}

#[test]
fn a_captured_agent_cannot_have_installed_what_nobody_has_signed() {
    let world = World::new(false);
    let nonce = nonces::draw(&world.place).unwrap();
    for deed in [Deed::Fetch, Deed::Drain, Deed::Apply] {
        let refused = world.admit(&world.order(deed, world.not_halted(nonce))).unwrap_err();
        assert!(refused.contains("no such plan is in force"), "{refused}");
    }
    for deed in [Deed::Repair, Deed::Revert, Deed::Restart, Deed::Reboot] {
        assert!(world.admit(&world.order(deed, None)).is_err(), "{deed:?}");
    }
}

#[test]
fn whose_signatures_count_is_never_said_by_the_agent() {
    let world = World::new(true);
    // The host was enrolled before its fleet had a root.
    let host = Host { host: HOST, group: String::new() };
    world.place.remember(&host, None).unwrap();
    let refused = world.admit(&world.order(Deed::Fetch, None)).unwrap_err();
    assert!(refused.contains("nobody's signature counts here"), "{refused}");
    // A captured server gives a root of its own; the fingerprint comes from the approvers.
    let (root, fingerprint) =
        (world.publisher.standing().root_bytes(), world.publisher.standing().fingerprint());
    let forged = World::new(true).publisher.standing().root_bytes();
    assert!(world.place.believe(&forged, &fingerprint).unwrap_err().to_string().contains("another one"));
    assert!(world.admit(&world.order(Deed::Fetch, None)).is_err());
    assert_eq!(world.place.believe(&root, &fingerprint.to_uppercase()).unwrap(), 1);
    assert_eq!(world.admit(&world.order(Deed::Fetch, None)), Ok(()));
    assert!(world.place.believe(&root, &fingerprint).unwrap_err().to_string().contains("already"));
}

#[test]
fn what_cannot_be_undone_begins_only_on_a_fresh_word_of_the_servers_for_this_host() {
    let world = World::new(true);
    assert_eq!(world.admit(&world.order(Deed::Fetch, None)), Ok(()));
    let refused = |clearance: Option<String>| world.admit(&world.order(Deed::Apply, clearance)).unwrap_err();
    assert!(refused(None).contains("no word"));
    // One that was kept, or that answers the agent's own number.
    assert!(refused(Some(world.not_halted(4711))).contains("answers no question of this half's"));
    let nonce = nonces::draw(&world.place).unwrap();
    let other = Order { fence: 4, ..world.order(Deed::Apply, world.not_halted(nonce)) };
    assert!(world.admit(&other).unwrap_err().contains("something else"), "another grant");
    let tampered = Some(world.not_halted(nonce).replace("\"fence\":3", "\"fence\":4"));
    assert!(world.admit(&Order { clearance: tampered, ..other }).is_err(), "not as it was signed");
    assert_eq!(world.admit(&world.order(Deed::Apply, world.not_halted(nonce))), Ok(()));
    // Whoever has begun finishes, also when the server is silent.
    for deed in [Deed::Apply, Deed::Repair, Deed::Restart, Deed::Reboot] {
        assert_eq!(world.admit(&world.order(deed, None)), Ok(()), "{deed:?}");
    }
    // Having gone back, it does not go forward by the same grant.
    assert_eq!(world.admit(&world.order(Deed::Revert, None)), Ok(()));
    assert!(world.admit(&world.order(Deed::Apply, None)).is_err());
}

#[test]
fn nobody_is_taken_out_of_service_but_for_what_may_begin_now() {
    let world = World::new(true);
    let refused = |clearance| world.admit(&world.order(Deed::Drain, clearance)).unwrap_err();
    assert!(refused(None).contains("no word"));
    assert!(refused(Some(world.not_halted(4711))).contains("answers no question of this half's"));
    let nonce = nonces::draw(&world.place).unwrap();
    assert_eq!(world.admit(&world.order(Deed::Drain, world.not_halted(nonce))), Ok(()));
    assert!(world.admit(&world.order(Deed::Apply, None)).is_err(), "being drained is not having begun");
    let back = Order { direction: Direction::Back, ..world.order(Deed::Drain, world.not_halted(nonce)) };
    assert!(world.admit(&back).unwrap_err().contains("no approvers' word"));
    assert!(world.admit(&world.order(Deed::GiveBack, None)).unwrap_err().contains("without an order"));
}

#[test]
fn the_owners_veto_holds_against_a_plan_that_is_signed_and_an_agent_that_was_captured() {
    let mut world = World::new(true);
    world.settings.plans.excluded = vec!["oil".to_owned()];
    assert!(world.admit(&world.order(Deed::Fetch, None)).unwrap_err().contains("excludes oil"));
    world.settings.plans = Plans { never: true, ..Plans::default() };
    assert!(world.admit(&world.order(Deed::Fetch, None)).unwrap_err().contains("never"));
    world.settings = Settings::default();
    assert!(world.admit(&world.order(Deed::Fetch, None)).unwrap_err().contains("eyes"));
}

#[test]
fn an_installation_that_calls_itself_a_way_back_is_refused_and_what_went_back_stays_there() {
    let world = World::new(true);
    let forward = world.order(Deed::Apply, None);
    let back = Order { direction: Direction::Back, ..forward.clone() };
    world.place.keep_grant(&forward, &Grant { forward: true, ..Grant::default() }).unwrap();
    assert_eq!(world.admit(&forward), Ok(()), "whoever has begun finishes");
    assert!(world.admit(&back).unwrap_err().contains("leads back"));
    world.place.keep_grant(&forward, &Grant { back: true, ..Grant::default() }).unwrap();
    assert!(world.admit(&forward).unwrap_err().contains("leads back"));
}
