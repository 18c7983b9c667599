//! What a signer remembers at home, and what a server can not make of it.

use crate::world::World;
use trust::Remembered;
use trust::proposal::Document;
use trust::remembered::Error;
use trust::standing::{Change, Standing};

/// Everything signed anew by two of the people; the root of before is the one to follow.
fn renew(world: &mut World) -> (Standing, Vec<u8>) {
    let proposal = world.standing().propose(&[Change::Renew], world.now).unwrap();
    world.publish(proposal, &[0, 1]);
    (world.standing().clone(), world.publisher.root())
}

#[test]
fn a_standing_is_believed_that_follows_and_nothing_older() {
    let mut world = World::new(3, 2);
    let first = world.standing().clone();
    let mut remembered = Remembered::first(&first);
    assert!(remembered.is_in_force());
    world.plan(b"plan", &[0, 1]);
    remembered.see(world.standing()).unwrap();
    assert!(matches!(
        remembered.see(&first),
        Err(Error::Older { document: Document::Plans, seen: 2, shown: 1 })
    ));
    // A new root counts only after it was followed.
    let (second, second_root) = renew(&mut world);
    assert!(matches!(remembered.see(&second), Err(Error::NotNext { remembered: 1, shown: 2 })));
    let (third, third_root) = renew(&mut world);
    assert!(matches!(remembered.follow(&third_root), Err(Error::NotNext { remembered: 1, shown: 3 })));
    remembered.follow(&second_root).unwrap();
    remembered.follow(&third_root).unwrap();
    remembered.see(&third).unwrap();
    assert_eq!((remembered.root_version(), remembered.fingerprint()), (3, third.fingerprint()));
    // It is the same after it was written and read.
    let kept = serde_json::to_vec(&remembered).unwrap();
    assert_eq!(serde_json::from_slice::<Remembered>(&kept).unwrap(), remembered);
}

#[test]
fn a_root_that_its_owners_have_not_signed_is_not_followed() {
    let mut world = World::new(3, 2);
    let remembered = Remembered::first(world.standing());
    let mut thieves = World::new(3, 2);
    let (_, theirs) = renew(&mut thieves);
    assert!(matches!(remembered.clone().follow(&theirs), Err(Error::NotTheirs { remembered: 1, shown: 2 })));
    // One of two owners.
    let (_, root) = renew(&mut world);
    let mut one: serde_json::Value = serde_json::from_slice(&root).unwrap();
    one["signatures"].as_array_mut().unwrap().pop();
    let one = serde_json::to_vec(&one).unwrap();
    assert!(matches!(remembered.clone().follow(&one), Err(Error::NotTheirs { .. })));
    for junk in [&b"{}"[..], b"", &vec![b' '; 1 << 20]] {
        assert!(matches!(remembered.clone().follow(junk), Err(Error::NotARoot(_))));
    }
    // Another fleet of the same version.
    assert!(matches!(
        remembered.clone().see(World::new(3, 2).standing()),
        Err(Error::Another { version: 1, .. })
    ));
}

#[test]
fn a_founding_is_remembered_as_it_was_signed() {
    let world = World::new(2, 2);
    let founding = |world: &World| {
        let quorum = crate::world::quorum(&world.people, 2);
        let online = world.online.public().clone();
        let founding =
            trust::standing::Founding { owners: quorum.clone(), approvers: quorum, online, one_key: false };
        founding.propose(world.now).unwrap()
    };
    // Nobody has signed it yet, and nothing of it was seen in force.
    let mut remembered = Remembered::founding(&founding(&world)).unwrap();
    assert!(!remembered.is_in_force());
    assert!(matches!(remembered.see(World::new(2, 2).standing()), Err(Error::Another { version: 1, .. })));
    remembered.see(world.standing()).unwrap();
    assert!(remembered.is_in_force());
    let renewal = world.standing().propose(&[Change::Renew], world.now).unwrap();
    assert_eq!(Remembered::founding(&renewal), None);
}
