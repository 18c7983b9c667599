//! Random histories: whatever was reported and published, in whatever order, with servers dying in between, the open
//! findings are what the judge says of the present. A seed replays its history.

use crate::store_for_tests::{Fresh, on_each_store};
use crate::world::{Record, World, inventory, maps, record};
use advisory::Advisory;
use advisory::format::osv;
use exposure::Inventory;
use server::fleet::{Fleet, doctor};
use server::store::audit::Actor;
use server::store::{advisories, findings, hosts};
use std::sync::Arc;
use std::time::Duration;

const SEEDS: u64 = 12;
const STEPS: usize = 40;
const PACKAGES: [&str; 3] = ["lamp", "oil", "wick"];
const VERSIONS: [&str; 5] = ["1.0-1", "1.0-2", "1.0-3", "2.0-1", "not a version"];
const HOSTS: [&str; 4] = ["h0", "h1", "h2", "h3"];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }

    fn of<'a>(&mut self, some: &[&'a str]) -> &'a str {
        some[self.below(some.len())]
    }

    fn inventory(&mut self) -> Inventory {
        let packages: Vec<(&str, &str)> =
            PACKAGES.into_iter().filter(|_| self.below(4) > 0).map(|name| (name, "")).collect();
        let packages: Vec<(&str, &str)> =
            packages.into_iter().map(|(name, _)| (name, self.of(&VERSIONS))).collect();
        let mut inventory = inventory(&packages);
        if self.below(3) == 0 {
            inventory.processes.push(maps(self.of(&PACKAGES), "1.0-1"));
        }
        inventory
    }

    fn record(&mut self, id: &str) -> Record {
        let day = u32::try_from(self.below(28)).unwrap() + 1;
        record(id, day, self.of(&PACKAGES), self.of(&VERSIONS[1..4]))
    }

    /// Some of the same few ids, so that feeds and hosts contradict each other.
    fn records(&mut self) -> Vec<Record> {
        (0..6)
            .filter(|_| self.below(3) > 0)
            .collect::<Vec<_>>()
            .into_iter()
            .map(|n| self.record(&format!("ADV-{n}")))
            .collect()
    }

    fn closes(&mut self) -> Vec<Advisory> {
        let records = self.records();
        let read = |record: &Record| {
            let text = crate::world::osv_record(record);
            osv::record("apt", "closes", text.as_bytes()).unwrap().0
        };
        records.iter().take(2).map(read).collect()
    }
}

async fn history(fresh: &Fresh, seed: u64) {
    let random = &mut Random(seed);
    let mut world = World::new(fresh);
    for id in HOSTS {
        world.host(id).await;
    }
    let mut fleet: Option<Arc<Fleet>> = None;
    for step in 0..STEPS {
        world.later();
        match random.below(12) {
            0..=4 => {
                let host = random.of(&HOSTS);
                let known = hosts::get(world.store(), host).await.unwrap();
                if known.is_some() {
                    let (inventory, closes) = (random.inventory(), random.closes());
                    world.report(host, &inventory, &closes).await;
                }
            }
            5..=7 => {
                let feed = random.of(&["one", "two"]);
                let records = random.records();
                world.publish(feed, &records).await;
            }
            8 if step > STEPS / 2 => {
                let host = random.of(&HOSTS);
                if random.below(2) == 0 {
                    hosts::revoke(world.store(), world.now, &Actor::Server, host, "lost").await.unwrap();
                } else {
                    hosts::remove(world.store(), world.now, &Actor::Server, host, "scrapped").await.unwrap();
                }
            }
            // It dies, between two steps or in the middle of one.
            9 => {
                if let Some(fleet) = fleet.take() {
                    let instant = Duration::from_micros(random.below(3_000) as u64);
                    let _ = tokio::time::timeout(instant, fleet.step(world.now)).await;
                }
            }
            _ => {}
        }
        if random.below(3) > 0 {
            continue;
        }
        let running = if let Some(running) = &fleet {
            Arc::clone(running)
        } else {
            world.later();
            Arc::clone(fleet.insert(Fleet::start(&world.app).await.unwrap()))
        };
        running.step(world.now).await.unwrap();
        world.settle(&running).await;
        assert_eq!(world.open().await, world.judged().await, "seed {seed}, step {step}");
        world.assert_intervals().await;
    }
    let running = Fleet::start(&world.app).await.unwrap();
    world.later();
    running.step(world.now).await.unwrap();
    world.settle(&running).await;
    assert_eq!(world.open().await, world.judged().await, "seed {seed}, at the end");
    world.assert_intervals().await;
    assert_eq!(doctor(world.store()).await.unwrap(), []);
    assert_eq!(running.differences().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn findings_are_what_the_judge_says_whoever_dies_when() {
    for seed in 0..SEEDS {
        on_each_store(async |fresh| history(&fresh, seed).await).await;
    }
}

#[tokio::test]
async fn a_host_can_lie_about_itself_only() {
    on_each_store(async |fresh| {
        let world = World::new(&fresh);
        let (honest, liar) = (world.host("honest").await, world.host("liar").await);
        let text = crate::world::osv_record(&record("apt:lamp", 1, "lamp", "9.0-1"));
        let lie = osv::record("apt", "lamp", text.as_bytes()).unwrap().0;
        world.report("honest", &inventory(&[("lamp", "1.0-1")]), &[]).await;
        world.report("liar", &inventory(&[("lamp", "1.0-1")]), std::slice::from_ref(&lie)).await;
        let fleet = Fleet::start(&world.app).await.unwrap();
        fleet.step(world.now).await.unwrap();
        assert_eq!((fleet.findings_of(honest).len(), fleet.findings_of(liar).len()), (0, 1));
        let open = findings::open_of(world.store(), liar, ("", "", ""), 10).await.unwrap();
        assert_eq!(open, fleet.stored_findings_of(liar).await.unwrap());
        assert_eq!(open[0].package, "source:lamp");
        assert!(open[0].evidence.contains("installed 1.0-1 < fixed 9.0-1; document apt lamp"), "{open:?}");
        assert!(findings::open_of(world.store(), honest, ("", "", ""), 10).await.unwrap().is_empty());

        // What several say is stored once, as long as anybody says it.
        let known = async || {
            advisories::at(world.store(), "apt:lamp", world.now + jiff::SignedDuration::from_secs(1))
                .await
                .unwrap()
                .len()
        };
        assert_eq!(known().await, 1);
        world.report("honest", &inventory(&[("lamp", "1.0-1")]), std::slice::from_ref(&lie)).await;
        fleet.step(world.now).await.unwrap();
        assert_eq!((fleet.findings_of(honest).len(), known().await), (1, 1));
        for (host, left) in [("honest", 1), ("liar", 0)] {
            world.report(host, &inventory(&[("lamp", "1.0-2")]), &[]).await;
            fleet.step(world.now).await.unwrap();
            assert_eq!(known().await, left);
        }
        assert!(world.open().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_we_had_and_knew_on_a_day_can_be_told() {
    on_each_store(async |fresh| {
        let mut world = World::new(&fresh);
        let number = world.host("h").await;
        let fleet = Fleet::start(&world.app).await.unwrap();
        let mut days = Vec::new();
        for (version, fixed) in
            [("1.0-1", "1.0-2"), ("1.0-2", "1.0-2"), ("1.0-2", "1.0-3"), ("1.0-3", "1.0-3")]
        {
            world.later();
            world.report("h", &inventory(&[("lamp", version)]), &[]).await;
            world.publish("one", &[record("ADV-1", 1, "lamp", fixed)]).await;
            fleet.step(world.now).await.unwrap();
            days.push(world.later());
        }
        let mut known = Vec::new();
        for day in days {
            let found = findings::at(world.store(), number, day, ("", "", ""), 10).await.unwrap();
            known.push(found.first().map(|found| found.evidence.split(';').next().unwrap().to_owned()));
            assert_eq!(advisories::at(world.store(), "ADV-1", day).await.unwrap().len(), 1);
        }
        let expected = [
            Some("installed 1.0-1 < fixed 1.0-2".to_owned()),
            None,
            Some("installed 1.0-2 < fixed 1.0-3".to_owned()),
            None,
        ];
        assert_eq!(known, expected);
        let all = findings::of_advisory(world.store(), "ADV-1", 10).await.unwrap();
        assert_eq!(all.iter().map(|found| found.until.is_some()).collect::<Vec<_>>(), [true, true]);
    })
    .await;
}
