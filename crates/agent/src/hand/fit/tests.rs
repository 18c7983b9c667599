//! When a package manager is asked, and when an answer still holds.

use super::*;
use crate::hand::order::{Deed, Order};
use crate::hand::place::Place;
use crate::observe::root::Root;
use exposure::inventory::System;
use rollout::order::Direction;
use rollout::plan::{HostClass, PlanId};
use std::cell::Cell;
use std::fs;

thread_local! {
    /// How often the package manager of this test was asked.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// A package manager whose whole database is one directory.
#[derive(Debug)]
struct Pretender {
    answer: Result<Fit, String>,
    database: &'static [&'static str],
    /// Somebody else installs something while it answers.
    is_disturbed: bool,
    /// Somebody else holds its lock.
    other: Option<&'static str>,
}

impl Pretender {
    fn new(database: &Path) -> Self {
        let path: &'static str = Box::leak(database.display().to_string().into_boxed_str());
        Self {
            answer: Ok(Fit::Fits),
            database: Box::leak(Box::new([path])),
            is_disturbed: false,
            other: None,
        }
    }
}

impl Driver for Pretender {
    fn name(&self) -> &'static str {
        "pretender"
    }

    fn fits(&self, _root: &Root, _system: &System) -> Result<(), String> {
        Ok(())
    }

    fn tells_halves(&self) -> bool {
        true
    }

    fn fetch(&self, _task: &Task<'_>, _said: &mut Said) -> Result<(), Problem> {
        Ok(())
    }

    fn would(&self, task: &Task<'_>, _said: &Said) -> Result<Fit, Problem> {
        ASKED.set(ASKED.get() + 1);
        if self.is_disturbed {
            fs::write(Path::new(self.database[0]).join("newcomer"), "").unwrap();
        }
        self.answer.clone().map_err(|reason| task.order.refused(reason))
    }

    fn rests_on(&self) -> &'static [&'static str] {
        self.database
    }

    fn apply(&self, _task: &Task<'_>, _said: &mut Said) -> Result<(), Problem> {
        Ok(())
    }

    fn repair(&self, _task: &Task<'_>, _said: &mut Said) -> Result<(), Problem> {
        Ok(())
    }

    fn revert(&self, _task: &Task<'_>, _said: &mut Said) -> Result<(), Problem> {
        Ok(())
    }

    fn conffiles(&self, _class: &HostClass) -> Vec<String> {
        Vec::new()
    }

    fn last_words(&self, _log: &Path) -> Vec<String> {
        Vec::new()
    }

    fn progress(&self, _log: &Path) -> Option<String> {
        None
    }
}

struct Scene {
    directory: tempfile::TempDir,
    place: Place,
    class: HostClass,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("database/updates")).unwrap();
        fs::write(directory.path().join("database/status"), "lamp 1").unwrap();
        let place = Place::at(&directory.path().join("hand")).unwrap();
        let class = HostClass {
            name: "c".into(),
            release: "debian:12".into(),
            arch: "amd64".into(),
            changes: Vec::new(),
        };
        ASKED.set(0);
        Self { directory, place, class }
    }

    fn database(&self) -> PathBuf {
        self.directory.path().join("database")
    }

    /// Asks as one order of one grant, and keeps what came of it, as a deed does.
    fn ask(&self, deed: Deed, fence: u64, driver: &Pretender) -> (Outcome, Result<(), String>) {
        let order = Order {
            deed,
            plan: PlanId(uuid::Uuid::from_u128(7)),
            digest: Digest::of(b"plan"),
            fence,
            direction: Direction::Forward,
            word: None,
            clearance: None,
        };
        let task = Task { place: &self.place, order: &order, class: &self.class, is_back: false };
        let mut outcome = Outcome::begun(&order);
        let others = || driver.other.map(str::to_owned);
        let asked = if deed == Deed::Fetch {
            ask(driver, &task, others, &mut outcome)
        } else {
            ask_anew(driver, &task, others, &mut outcome)
        };
        self.place.keep_outcome(&order, &outcome).unwrap();
        (outcome, asked.map_err(|problem| problem.to_string()))
    }
}

#[test]
fn what_was_answered_is_not_asked_again_before_anything_has_changed() {
    let scene = Scene::new();
    let driver = Pretender::new(&scene.database());
    let status = scene.database().join("status");
    let asks = |deed, fence| {
        let before = ASKED.get();
        scene.ask(deed, fence, &driver).1.unwrap();
        ASKED.get() - before
    };
    assert_eq!(asks(Deed::Fetch, 1), 1);
    assert_eq!((asks(Deed::Apply, 1), asks(Deed::Apply, 1)), (0, 0));
    assert_eq!(asks(Deed::Apply, 2), 1, "another grant is another question");
    // As dpkg writes it, with nothing changed in length: a hold set and taken back, say.
    fs::write(scene.database().join("status-new"), "lamp 1").unwrap();
    fs::rename(scene.database().join("status-new"), &status).unwrap();
    assert_eq!((asks(Deed::Apply, 1), asks(Deed::Apply, 1)), (1, 0));
    fs::write(scene.database().join("updates/0001"), "lamp 2").unwrap();
    assert_eq!(asks(Deed::Apply, 1), 1, "something is half done");
    fs::remove_file(scene.database().join("updates/0001")).unwrap();
    assert_eq!(asks(Deed::Apply, 1), 1);
    fs::write(scene.database().join("rpmdb.sqlite-shm"), "a reader").unwrap();
    fs::write(scene.database().join("rpmdb.sqlite-wal"), "").unwrap();
    assert_eq!(asks(Deed::Apply, 1), 0, "whoever reads changes nothing");
    fs::write(scene.database().join("rpmdb.sqlite-wal"), "written").unwrap();
    assert_eq!(asks(Deed::Apply, 1), 1);
}

#[test]
fn a_host_that_a_plan_does_not_fit_says_why_and_what_helps() {
    let scene = Scene::new();
    let unfit = "apt would install bed-trellis 1.0-2, which the plan does not say";
    let driver = Pretender { answer: Ok(Fit::Unfit(unfit.to_owned())), ..Pretender::new(&scene.database()) };
    let (outcome, refused) = scene.ask(Deed::Fetch, 1, &driver);
    assert_eq!(asked(&[outcome]).unwrap().unfit.as_deref(), Some(unfit));
    let refused = refused.unwrap_err();
    assert!(refused.contains(unfit) && refused.contains("one of them rehearses"), "{refused}");
    // It is no answer to rest on.
    assert!(scene.ask(Deed::Apply, 1, &driver).1.is_err());
    assert_eq!(ASKED.get(), 2);
}

#[test]
fn nobody_is_left_out_for_what_only_passed_by_or_was_not_answered() {
    let scene = Scene::new();
    let unfit = Ok(Fit::Unfit("apt would not: the database is being written".to_owned()));
    let disturbed =
        Pretender { answer: unfit.clone(), is_disturbed: true, ..Pretender::new(&scene.database()) };
    let locked = Pretender { answer: unfit, other: Some("dpkg (47)"), ..Pretender::new(&scene.database()) };
    for (driver, who) in [(disturbed, "something else was at work"), (locked, "dpkg (47) was at work")] {
        let (outcome, refused) = scene.ask(Deed::Fetch, 1, &driver);
        let refused = refused.unwrap_err();
        assert!(refused.contains(who), "{refused}");
        assert_eq!(asked(&[outcome]), None);
    }
    let silent = Pretender { answer: Err("180 s".to_owned()), ..Pretender::new(&scene.database()) };
    let (outcome, refused) = scene.ask(Deed::Fetch, 1, &silent);
    assert!(refused.is_err());
    assert_eq!(asked(&[outcome]), None);
}

#[test]
fn what_an_older_half_left_is_read_and_is_no_answer() {
    let scene = Scene::new();
    let (outcome, _) = scene.ask(Deed::Fetch, 1, &Pretender::new(&scene.database()));
    let mut older = serde_json::to_value(&outcome).unwrap();
    older.as_object_mut().unwrap().remove("asked").unwrap();
    let older: Outcome = serde_json::from_value(older).unwrap();
    assert_eq!(asked(&[older]), None);
}
