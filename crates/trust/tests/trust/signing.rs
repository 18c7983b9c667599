//! Approvers sign one by one, each on the standing that they saw.

use crate::world::{World, alias, key, quorum, sign};
use serde_json::json;
use trust::keys::{PublicKey, Signer};
use trust::proposal::{Difference, Document, Error, Proposal};
use trust::standing::{self, Change, Custody, Founding, Quorum};
use trust::{PlanName, PlanTarget};
use uuid::Uuid;

fn proposed(world: &World, bytes: &[u8]) -> (PlanTarget, Proposal) {
    let plan = world.publisher.stage(PlanName(Uuid::now_v7()), bytes).unwrap();
    let proposal = world.standing().propose(&[Change::Plan(plan.clone())], world.now).unwrap();
    (plan, proposal)
}

#[test]
fn a_proposal_travels_and_gathers_signatures() {
    let mut world = World::new(3, 2);
    let (plan, proposal) = proposed(&world, b"plan");
    let standing = world.standing().clone();
    // At the server: nothing is signed, and it cannot be published.
    let mut at_server = Proposal::read(&proposal.to_bytes()).unwrap();
    assert_eq!(at_server, proposal);
    let missing = at_server.missing(Some(&standing)).unwrap();
    assert_eq!((missing.len(), missing[0].document, missing[0].count), (1, Document::Plans, 2));
    assert_eq!(
        missing[0].may_sign.iter().map(PublicKey::name).collect::<Vec<_>>(),
        ["person-0", "person-1", "person-2"]
    );
    assert!(matches!(
        world.publisher.publish(&at_server, world.now),
        Err(trust::publisher::Error::Proposal(Error::Incomplete { count: 2, .. }))
    ));
    // Each approver reads it, signs, and sends the signature back.
    for (person, done) in [(2, false), (2, false), (0, true)] {
        let at_approver = Proposal::read(&at_server.to_bytes()).unwrap();
        assert_eq!(at_approver.digest(), proposal.digest());
        for countersigned in at_approver.sign(Some(&standing), &world.people[person]).unwrap() {
            let sent = serde_json::to_vec(&countersigned).unwrap();
            at_server.add(Some(&standing), serde_json::from_slice(&sent).unwrap()).unwrap();
        }
        assert_eq!(at_server.is_complete(Some(&standing)), done);
    }
    assert_eq!(at_server.signers(Some(&standing), Document::Plans).unwrap().len(), 2);
    world.publisher.publish(&at_server, world.now).unwrap();
    assert_eq!(world.standing().plans(), [plan]);
}

#[test]
fn signatures_that_do_not_count_are_not_added() {
    let world = World::new(2, 2);
    let (_, mut proposal) = proposed(&world, b"plan");
    let (_, other) = proposed(&world, b"another");
    let standing = Some(world.standing());
    // Of a key that is not asked for: the server's, a stranger's.
    for stranger in [&world.online, &key("stranger")] {
        assert!(matches!(proposal.sign(standing, stranger), Err(Error::NotAsked(_))));
    }
    // Over another proposal.
    let elsewhere = other.sign(standing, &world.people[0]).unwrap().remove(0);
    assert!(matches!(proposal.add(standing, elsewhere), Err(Error::DoesNotCount { .. })));
    // Damaged, or for another document, or in another's name.
    let good = serde_json::to_value(&proposal.sign(standing, &world.people[0]).unwrap()[0]).unwrap();
    for (field, value) in [
        ("sig", json!("00".repeat(64))),
        ("sig", json!("")),
        ("document", json!("targets")),
        ("keyid", json!(world.people[1].public().id().as_str())),
        ("keyid", json!(key("stranger").public().id().as_str())),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let bad = serde_json::from_value(bad).unwrap();
        assert!(matches!(proposal.add(standing, bad), Err(Error::DoesNotCount { .. })));
    }
    assert!(proposal.signers(standing, Document::Plans).unwrap().is_empty());
    // Signatures that came inside the proposal are counted by the same rule.
    let mut stuffed: serde_json::Value = serde_json::from_slice(&proposal.to_bytes()).unwrap();
    let one = json!({"keyid": good["keyid"], "sig": good["sig"]});
    stuffed["plans"]["signatures"] = json!([one, one]);
    let stuffed = Proposal::read(&serde_json::to_vec(&stuffed).unwrap()).unwrap();
    assert_eq!(stuffed.missing(standing).unwrap()[0].count, 1);
    assert!(!stuffed.is_complete(standing));
}

#[test]
fn a_proposal_on_what_no_longer_stands_is_refused() {
    let mut world = World::new(2, 1);
    let (first, one) = proposed(&world, b"one");
    let (_, two) = proposed(&world, b"two");
    world.publish(one, &[0]);
    let standing = world.standing();
    let told = two.sign(Some(standing), &world.people[1]).unwrap_err();
    assert!(matches!(told, Error::Outdated { document: Document::Plans, proposed: 2, standing: 2 }));
    assert_eq!(
        told.to_string(),
        "use a proposal of plans version 2: version 2 is in force by now; propose the same again on what stands"
    );
    assert!(matches!(
        world.publisher.publish(&two, world.now),
        Err(trust::publisher::Error::Proposal(Error::Outdated { .. }))
    ));
    assert_eq!(world.standing().plans(), [first]);
}

#[test]
fn one_key_under_two_ids_is_refused_before_anybody_signs() {
    let world = World::new(2, 2);
    let proposal = world.standing().propose(&[Change::Renew], world.now).unwrap();
    let mut aliased: serde_json::Value = serde_json::from_slice(&proposal.to_bytes()).unwrap();
    let (id, twin) = alias(&world.people[0]);
    let delegations = &mut aliased["targets"]["signed"]["delegations"];
    delegations["keys"][&id] = twin;
    delegations["roles"][0]["keyids"].as_array_mut().unwrap().push(json!(id));
    let aliased = Proposal::read(&serde_json::to_vec(&aliased).unwrap()).unwrap();
    assert!(matches!(
        aliased.sign(Some(world.standing()), &world.people[0]),
        Err(Error::Standing(standing::Error::Keys(_)))
    ));
}

#[test]
fn what_is_signed_can_be_read_first() {
    let mut world = World::new(2, 1);
    let old = world.plan(b"old", &[0]);
    let new = PlanTarget::of(PlanName(Uuid::now_v7()), b"new").unwrap();
    let changes =
        [Change::Plan(new.clone()), Change::Withdraw(old.name), Change::Approvers(quorum(&world.people, 2))];
    let proposal = world.standing().propose(&changes, world.now).unwrap();
    let found = proposal.differences(Some(world.standing())).unwrap();
    for expected in [
        Difference::PlanAdded(new),
        Difference::PlanWithdrawn(old.name),
        Difference::Threshold(Document::Plans, 1, 2),
        Difference::Custody(
            Some(Custody::People { threshold: 1, keys: 2 }),
            Custody::People { threshold: 2, keys: 2 },
        ),
    ] {
        assert!(found.contains(&expected), "{expected:?} is not in {found:?}");
    }
    let key = world.people[0].public();
    let revoked = world.standing().revoke(&key.id(), world.now).unwrap();
    let found = revoked.differences(Some(world.standing())).unwrap();
    assert!(found.contains(&Difference::KeyRemoved(Document::Plans, key.clone())));
    assert!(found.contains(&Difference::KeyRemoved(Document::Root, key.clone())));
}

#[test]
fn rotating_and_revoking_keep_the_threshold() {
    let mut world = World::new(2, 2);
    let [first, second] = [0, 1].map(|i| world.people[i].public().id());
    // One of two cannot go: nobody could sign any more.
    assert!(matches!(
        world.standing().revoke(&first, world.now),
        Err(standing::Error::Quorum { threshold: 2, keys: 1 })
    ));
    assert!(matches!(
        world.standing().revoke(&key("stranger").public().id(), world.now),
        Err(standing::Error::NoSuchKey(_))
    ));
    // But another can take its place; the old key, lost, need not sign where a new one makes up for it.
    let new = key("new");
    let proposal = world.standing().rotate(&first, new.public(), world.now).unwrap();
    world.people.push(new);
    world.publish(proposal, &[0, 1, 2]);
    let ids: Vec<_> = world.standing().approvers().keys().iter().map(PublicKey::id).collect();
    assert_eq!(ids, [second, world.people[2].public().id()]);
    assert_eq!(world.standing().owners().threshold(), 2);
    assert_eq!(world.standing().approvers().keys()[1].name(), "new");
}

#[test]
fn one_key_mode_is_said_aloud_and_left_by_signing_with_others() {
    let (online, approver) = (key("online"), key("approver"));
    let alone = |signer: &Signer| quorum(std::slice::from_ref(signer), 1);
    let founding = Founding {
        owners: alone(&approver),
        approvers: alone(&approver),
        online: online.public().clone(),
        one_key: true,
    };
    let now = "2027-03-01T12:00:00Z".parse().unwrap();
    let mut proposal = founding.propose(now).unwrap();
    assert_eq!(
        proposal.differences(None).unwrap()[0],
        Difference::Custody(None, Custody::Server),
        "it is the first thing to be read"
    );
    sign(&mut proposal, None, &approver);
    let standing = proposal.accept(None).unwrap();
    assert_eq!(standing.custody(), Custody::Server);
    // A renewal does not make it forgotten.
    let mut renewed = standing.propose(&[Change::Renew], now).unwrap();
    sign(&mut renewed, Some(&standing), &approver);
    let standing = renewed.accept(Some(&standing)).unwrap();
    assert_eq!(standing.custody(), Custody::Server);
    // People take over: with the old key's signature, once, and the new ones'.
    let people: Vec<Signer> = (0..3).map(|i| key(&format!("person-{i}"))).collect();
    let changes = [Change::Owners(quorum(&people, 2)), Change::Approvers(quorum(&people, 2))];
    let mut taken = standing.propose(&changes, now).unwrap();
    for signer in [&approver, &people[0], &people[1]] {
        sign(&mut taken, Some(&standing), signer);
    }
    let standing = taken.accept(Some(&standing)).unwrap();
    assert_eq!(standing.custody(), Custody::People { threshold: 2, keys: 3 });
    // It is not to be had with several keys, nor by giving the server's key another name.
    let several = Founding { owners: quorum(&people, 1), one_key: true, ..founding.clone() };
    assert!(matches!(several.propose(now), Err(standing::Error::NotOneKey)));
    let disguised = Founding { approvers: alone(&online), one_key: false, ..founding };
    assert!(matches!(disguised.propose(now), Err(standing::Error::ServersKey(_))));
}

#[test]
fn a_quorum_is_possible_and_counts_a_key_once() {
    let (one, two) = (key("one"), key("two"));
    let keys = || [one.public(), two.public(), one.public()].map(Clone::clone);
    assert_eq!(Quorum::new(keys(), 2).unwrap().keys().len(), 2);
    for threshold in [0, 3] {
        assert!(matches!(Quorum::new(keys(), threshold), Err(standing::Error::Quorum { keys: 2, .. })));
    }
    assert!(Quorum::new([], 1).is_err());
}

#[test]
fn hostile_proposals_are_errors() {
    let world = World::new(1, 1);
    let (_, proposal) = proposed(&world, b"plan");
    let good: serde_json::Value = serde_json::from_slice(&proposal.to_bytes()).unwrap();
    let mut many = good.clone();
    many["plans"]["signatures"] = json!(vec![json!({"keyid": "00", "sig": "00"}); 1_000]);
    let mut unknown = good.clone();
    unknown["more"] = json!(1);
    let mut other = good.clone();
    other["plans"]["signed"]["_type"] = json!("root");
    for bad in [json!({}), json!([]), json!(null), json!({"plans": {}}), many, unknown] {
        assert!(matches!(Proposal::read(&serde_json::to_vec(&bad).unwrap()), Err(Error::NotAProposal(_))));
    }
    // A proposal that would found a repository is none where one stands, and the other way round.
    assert!(matches!(proposal.missing(None), Err(Error::Outdated { .. } | Error::NotAProposal(_))));
    let mut huge = good;
    huge["plans"]["signed"]["version"] = json!(u64::MAX);
    let huge = Proposal::read(&serde_json::to_vec(&huge).unwrap()).unwrap();
    assert!(matches!(huge.missing(Some(world.standing())), Err(Error::Outdated { .. })));
}
