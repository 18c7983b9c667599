//! Data without end, answers that never come, errors on the way: everything has a bound, in bytes and in time.

use crate::assert_refused;
use crate::world::{Files, World, document};
use serde_json::json;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use trust::trusted::Error;
use trust::{Fetch, Trusted};

/// What happens to one file on its way.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// It begins as it should and never ends.
    Endless,
    /// One byte at a time, with a pause before each.
    Drip(Duration),
    /// It is opened, and no byte ever comes.
    Silent,
    /// It is never even opened.
    Unopened,
    /// It breaks off after so many bytes, and says so.
    Broken(usize),
    /// It ends after so many bytes, and does not say so.
    Short(usize),
}

struct Hostile {
    files: Files,
    victim: String,
    way: Way,
    sent: Arc<AtomicU64>,
}

struct Body {
    bytes: Vec<u8>,
    at: usize,
    way: Way,
    sent: Arc<AtomicU64>,
}

/// Longer than any test waits; the reader that is left behind ends then.
const FOREVER: Duration = Duration::from_secs(20);

impl Fetch for Hostile {
    fn fetch(&self, name: &str, max: u64, within: Duration) -> io::Result<Box<dyn Read + Send>> {
        if name != self.victim {
            return self.files.fetch(name, max, within);
        }
        if matches!(self.way, Way::Unopened) {
            thread::sleep(FOREVER);
        }
        let bytes = self.files.all.lock().unwrap().get(name).cloned().unwrap_or_default();
        Ok(Box::new(Body { bytes, at: 0, way: self.way, sent: Arc::clone(&self.sent) }))
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.bytes.len() - self.at;
        let count = match self.way {
            Way::Silent | Way::Unopened => {
                thread::sleep(FOREVER);
                0
            }
            Way::Drip(pause) => {
                thread::sleep(pause);
                left.min(1)
            }
            Way::Broken(end) if self.at >= end => return Err(ErrorKind::ConnectionReset.into()),
            Way::Short(end) if self.at >= end => 0,
            Way::Broken(end) | Way::Short(end) => left.min(into.len()).min(end - self.at),
            Way::Endless => left.min(into.len()),
        };
        if count > 0 {
            into[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
            self.at += count;
        }
        let endless = matches!(self.way, Way::Endless) && left == 0;
        if endless {
            into.fill(b' ');
        }
        let count = if endless { into.len() } else { count };
        self.sent.fetch_add(u64::try_from(count).unwrap(), Ordering::Relaxed);
        Ok(count)
    }
}

fn host(world: &World, victim: &str, way: Way, within: Duration) -> (TempDir, Trusted, Arc<AtomicU64>) {
    let directory = tempfile::tempdir().unwrap();
    let sent = Arc::new(AtomicU64::new(0));
    let hostile =
        Hostile { files: world.files.clone(), victim: victim.to_owned(), way, sent: Arc::clone(&sent) };
    let trusted = Trusted::pin(directory.path(), &world.root, Arc::new(hostile)).unwrap().waiting(within);
    (directory, trusted, sent)
}

/// Every file that a host reads in one update.
const FILES: [&str; 5] =
    ["2.root.json", "timestamp.json", "2.snapshot.json", "1.targets.json", "2.plans.json"];

#[test]
fn endless_data_is_cut_off() {
    let mut world = World::new(1, 1);
    let plan = world.plan(b"plan", &[0]);
    for victim in FILES {
        let (_directory, mut host, sent) = host(&world, victim, Way::Endless, Duration::from_secs(30));
        let begun = Instant::now();
        assert_refused!(host.update(world.now), Error::Endless(..));
        // 8 MiB is the most that any document may have; a few chunks are on their way when it is cut.
        assert!(sent.load(Ordering::Relaxed) <= 9 << 20, "{victim}: {sent:?} bytes were read");
        assert!(begun.elapsed() < Duration::from_secs(20), "{victim}: it took {:?}", begun.elapsed());
    }
    let (_directory, mut host, sent) = host(&world, &plan.file(), Way::Endless, Duration::from_secs(30));
    host.update(world.now).unwrap();
    assert_refused!(host.plan(plan.name, world.now), Error::Endless(..) | Error::Mismatch(_));
    assert!(sent.load(Ordering::Relaxed) <= 1 << 20, "a plan of four bytes is not read for long: {sent:?}");
}

#[test]
fn a_length_that_a_captured_server_has_signed_is_no_permission() {
    let mut world = World::new(1, 1);
    world.plan(b"plan", &[0]);
    for victim in ["1.targets.json", "2.plans.json", "9.snapshot.json"] {
        // Whatever it signs for: a terabyte.
        world.capture([1, 2, 9], |_, signed| {
            for (name, meta) in signed["meta"].as_object_mut().unwrap() {
                if victim.ends_with(name.as_str()) {
                    meta["length"] = json!(1_u64 << 40);
                }
            }
        });
        let (_directory, mut host, sent) = host(&world, victim, Way::Endless, Duration::from_secs(30));
        assert_refused!(host.update(world.now), Error::Endless(..));
        assert!(sent.load(Ordering::Relaxed) <= 9 << 20, "{victim}: {sent:?} bytes were read");
    }
}

#[test]
fn slow_retrieval_is_given_up() {
    let mut world = World::new(1, 1);
    let plan = world.plan(b"a plan of some length", &[0]);
    let within = Duration::from_millis(400);
    let drip = Way::Drip(Duration::from_millis(50));
    for victim in FILES {
        for way in [drip, Way::Silent, Way::Unopened] {
            // There is no root 2: nothing drips there, and that is an answer too.
            if victim == "2.root.json" && matches!(way, Way::Drip(_)) {
                continue;
            }
            let (_directory, mut host, _) = host(&world, victim, way, within);
            let begun = Instant::now();
            assert_refused!(host.update(world.now), Error::Slow(_));
            assert!(begun.elapsed() < within * 4, "{victim} {way:?}: it took {:?}", begun.elapsed());
        }
    }
    for way in [drip, Way::Silent, Way::Unopened] {
        let (_directory, mut host, _) = host(&world, &plan.file(), way, within);
        host.update(world.now).unwrap();
        let begun = Instant::now();
        assert_refused!(host.plan(plan.name, world.now), Error::Slow(_));
        assert!(begun.elapsed() < within * 4, "{way:?}: it took {:?}", begun.elapsed());
    }
}

#[test]
fn a_file_that_is_missing_is_an_error_that_names_it() {
    let mut world = World::new(1, 1);
    world.plan(b"plan", &[0]);
    for victim in FILES.into_iter().skip(1) {
        let (_directory, mut host) = world.host();
        let file = world.files.get(victim);
        world.files.remove(victim);
        assert_refused!(host.update(world.now), Error::Fetch(said) if said.contains(victim));
        world.files.put(victim, file);
        host.update(world.now).unwrap();
    }
}

#[test]
fn a_root_that_cannot_be_fetched_is_not_taken_for_none() {
    let mut world = World::new(1, 1);
    world.plan(b"plan", &[0]);
    let (_directory, mut host, _) = host(&world, "2.root.json", Way::Broken(0), Duration::from_secs(9));
    assert_refused!(host.update(world.now), Error::Fetch(said) if said.contains("2.root.json"));
}

#[test]
fn a_file_that_breaks_off_is_refused_and_nothing_of_it_is_kept() {
    let mut world = World::new(1, 1);
    let plan = world.plan(b"a plan of some length", &[0]);
    for victim in FILES.into_iter().skip(1) {
        for way in [Way::Broken(100), Way::Short(100), Way::Short(0)] {
            let (directory, mut host, _) = host(&world, victim, way, Duration::from_secs(9));
            assert!(host.update(world.now).is_err(), "{victim} {way:?}");
            world.again(directory.path()).update(world.now).unwrap();
        }
    }
    for way in [Way::Broken(4), Way::Short(4), Way::Short(0)] {
        let (_directory, mut host, _) = host(&world, &plan.file(), way, Duration::from_secs(9));
        host.update(world.now).unwrap();
        assert_refused!(host.plan(plan.name, world.now), Error::Fetch(_) | Error::Mismatch(_));
    }
}

#[test]
fn more_roles_than_any_update_needs_are_not_followed() {
    let mut world = World::new(1, 1);
    world.plan(b"plan", &[0]);
    let owner = &world.people[0];
    let count = 400;
    world.forge(
        "1.targets.json",
        |targets| {
            let roles = targets["delegations"]["roles"].as_array_mut().unwrap();
            for i in 0..count {
                let mut role = roles[0].clone();
                role["name"] = json!(format!("role-{i}"));
                roles.push(role);
            }
        },
        &[owner],
    );
    let list = world.files.json("2.plans.json")["signed"].clone();
    let file = document(&list, &[owner]);
    for i in 0..count {
        world.files.put(&format!("2.role-{i}.json"), file.clone());
    }
    world.capture([1, 2, 9], |document, signed| {
        if document == "snapshot" {
            for i in 0..count {
                signed["meta"][format!("role-{i}.json")] = json!({"version": 2});
            }
        }
    });
    let (_directory, mut host) = world.host();
    assert_refused!(host.update(world.now), Error::TooMany);
}

#[test]
fn documents_that_are_not_json_or_too_deep_are_refused() {
    let mut world = World::new(1, 1);
    world.plan(b"plan", &[0]);
    let deep = [vec![b'['; 5_000], vec![b']'; 5_000]].concat();
    for bytes in [b"".to_vec(), b"{".to_vec(), b"\xff\xfe".to_vec(), b"null".to_vec(), deep] {
        let (_directory, mut host) = world.host();
        let good = world.files.get("timestamp.json");
        world.files.put("timestamp.json", bytes);
        assert_refused!(host.update(world.now), Error::Malformed(_));
        world.files.put("timestamp.json", good);
    }
}
