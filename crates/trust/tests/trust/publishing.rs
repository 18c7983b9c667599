//! The server publishes what is signed, keeps it fresh, and needs nobody's key but its own.

use crate::world::{Files, World, key, quorum, sign, twins};
use jiff::SignedDuration;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use trust::publisher::{Directory, Error, Publisher, Refreshed, Store};
use trust::standing::{Change, Founding};
use trust::{PlanName, PlanTarget, Trusted};
use uuid::Uuid;

#[test]
fn timestamp_and_snapshot_are_signed_anew_before_they_expire() {
    let mut world = World::new(2, 2);
    let (_directory, mut host) = world.host();
    // Asked every hour, it signs when half of a life is over, and no host ever sees anything expired.
    let (mut timestamps, mut snapshots) = (0, 0);
    for _ in 0..48 {
        world.passes(1);
        let refreshed = world.publisher.refresh(world.now).unwrap();
        timestamps += usize::from(refreshed.timestamp);
        snapshots += usize::from(refreshed.snapshot);
        host.update(world.now).unwrap();
    }
    assert_eq!((timestamps, snapshots), (16, 4));
    assert_eq!(world.publisher.refresh(world.now).unwrap(), Refreshed::default());
}

#[test]
fn what_people_must_sign_anew_is_told_in_time() {
    let mut world = World::new(1, 1);
    let week = SignedDuration::from_hours(7 * 24);
    assert_eq!(world.publisher.expiring(world.now, week), []);
    world.passes(24 * 24);
    let told = world.publisher.expiring(world.now, week);
    assert_eq!(told.iter().map(|(what, _)| *what).collect::<Vec<_>>(), ["plans"]);
    let renewed = world.standing().propose(&[Change::Renew], world.now).unwrap();
    world.publish(renewed, &[0]);
    assert_eq!(world.publisher.expiring(world.now, week), []);
}

#[test]
fn a_plan_whose_bytes_are_not_there_is_not_published() {
    let mut world = World::new(1, 1);
    let plan = PlanTarget::of(PlanName(Uuid::now_v7()), b"plan").unwrap();
    let mut proposal = world.standing().propose(&[Change::Plan(plan.clone())], world.now).unwrap();
    sign(&mut proposal, Some(world.standing()), &world.people[0]);
    assert!(
        matches!(world.publisher.publish(&proposal, world.now), Err(Error::NotStaged(name)) if name == plan.name)
    );
    world.files.put(&plan.file(), *b"palm");
    assert!(matches!(world.publisher.publish(&proposal, world.now), Err(Error::NotStaged(_))));
    world.publisher.stage(plan.name, b"plan").unwrap();
    world.publisher.publish(&proposal, world.now).unwrap();
    assert_eq!(world.publisher.staged(&plan).unwrap(), b"plan");
}

#[test]
fn a_server_without_the_key_that_the_root_names_publishes_nothing() {
    let mut world = World::new(1, 1);
    let other = key("other");
    let result = Publisher::open(world.files.clone(), vec![other], world.now);
    assert!(matches!(result, Err(Error::NoOnlineKey(_))));
    let before = world.files.copy();
    let new = key("new");
    let id = world.online.public().id();
    let mut rotated = world.standing().rotate(&id, new.public(), world.now).unwrap();
    sign(&mut rotated, Some(world.standing()), &world.people[0]);
    assert!(matches!(world.publisher.publish(&rotated, world.now), Err(Error::NoOnlineKey(_))));
    assert_eq!(world.files.copy(), before);
    assert!(matches!(Publisher::open(Files::default(), vec![key("other")], world.now), Err(Error::Empty)));
}

/// A store that breaks at the n-th write.
#[derive(Clone)]
struct Breaking {
    files: Files,
    left: Arc<AtomicUsize>,
}

impl Store for Breaking {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Store::get(&self.files, name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .map_err(|_| io::Error::other("the store is gone"))?;
        Store::put(&self.files, name, bytes)
    }
}

#[test]
fn a_publishing_that_is_interrupted_at_any_write_is_finished_later() {
    for writes in 0..=6 {
        for restarted in [true, false] {
            let mut world = World::new(3, 2);
            let plan = world.plan(b"plan", &[0, 1]);
            let (_directory, mut host) = world.host();
            host.update(world.now).unwrap();
            let revoked = world.people[0].public().id();
            let mut proposal = world.standing().revoke(&revoked, world.now).unwrap();
            for person in &world.people[1..] {
                sign(&mut proposal, Some(world.publisher.standing()), person);
            }
            let left = Arc::new(AtomicUsize::new(100));
            let store = Breaking { files: world.files.clone(), left: Arc::clone(&left) };
            let key = |signer: &trust::keys::Signer| {
                let trust::keys::Signer::File(key) = signer else { unreachable!() };
                let pem = key.to_pem(None).unwrap();
                trust::keys::Signer::File(trust::keys::FileKey::from_pem(&pem, None, "server").unwrap())
            };
            let mut publisher = Publisher::open(store.clone(), vec![key(&world.online)], world.now).unwrap();
            left.store(writes, Ordering::Relaxed);
            let failed = publisher.publish(&proposal, world.now).is_err();
            assert_eq!(failed, writes < 6, "{writes} writes");
            left.store(100, Ordering::Relaxed);
            let mut publisher = if restarted {
                Publisher::open(store, vec![key(&world.online)], world.now).unwrap()
            } else {
                publisher
            };
            publisher.refresh(world.now).unwrap();
            // Where not even the intent was written, it did not happen, and can be asked for again.
            if writes == 0 {
                publisher.publish(&proposal, world.now).unwrap();
            }
            assert_eq!(host.update(world.now).unwrap(), [plan]);
            assert_eq!(host.root_version(), 2);
            assert_eq!(host.standing().unwrap().approvers().keys().len(), 2);
        }
    }
}

/// What a web server does with the directory.
struct Web(Directory);

impl trust::Fetch for Web {
    fn fetch(&self, name: &str, _: u64, _: std::time::Duration) -> io::Result<Box<dyn io::Read + Send>> {
        let bytes = self.0.get(name)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(bytes)))
    }
}

#[test]
fn a_directory_is_a_store_that_any_web_server_can_offer() {
    let now = "2027-03-01T12:00:00Z".parse().unwrap();
    let people = [key("a"), key("b")];
    let (online, servers) = twins("server");
    let founding = Founding {
        owners: quorum(&people, 2),
        approvers: quorum(&people, 1),
        online: online.public().clone(),
        one_key: false,
    };
    let mut proposal = founding.propose(now).unwrap();
    for person in &people {
        sign(&mut proposal, None, person);
    }
    let directory = tempfile::tempdir().unwrap();
    let store = Directory(directory.path().to_owned());
    let mut publisher = Publisher::found(store.clone(), vec![servers], &proposal, now).unwrap();
    assert!(matches!(Publisher::found(store.clone(), vec![online], &proposal, now), Err(Error::NotEmpty)));
    let plan = publisher.stage(PlanName(Uuid::now_v7()), b"plan").unwrap();
    let mut signed = publisher.standing().propose(&[Change::Plan(plan.clone())], now).unwrap();
    sign(&mut signed, Some(publisher.standing()), &people[1]);
    publisher.publish(&signed, now).unwrap();

    let trust = tempfile::tempdir().unwrap();
    let mut host = Trusted::pin(trust.path(), &publisher.root(), Arc::new(Web(store))).unwrap();
    assert_eq!(host.update(now).unwrap(), std::slice::from_ref(&plan));
    assert_eq!(host.plan(plan.name, now).unwrap(), b"plan");
    let mut names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "1.plans.json",
            "1.root.json",
            "1.snapshot.json",
            "1.targets.json",
            "2.plans.json",
            "2.snapshot.json",
            "plans",
            "standing.json",
            "timestamp.json"
        ]
    );
}

#[test]
fn an_update_may_be_asked_for_inside_an_async_world() {
    let world = World::new(1, 1);
    let (_directory, mut host) = world.host();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { host.update(world.now).unwrap() });
}
