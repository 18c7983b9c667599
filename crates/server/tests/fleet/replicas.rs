//! Two servers on one store: one matches, and another takes over when it dies or is late.

use crate::store_for_tests::on_each_store;
use crate::world::{World, app, inventory, record};
use exposure::selector::{Facts, Selector};
use server::config::Config;
use server::fleet::Fleet;
use server::store::Store;
use std::collections::BTreeMap;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_matcher_that_comes_late_writes_nothing() {
    on_each_store(async |fresh| {
        let mut world = World::new(&fresh);
        world.host("h").await;
        world.report("h", &inventory(&[("lamp", "1.0-1"), ("oil", "1.0-1")]), &[]).await;
        let first = Fleet::start(&world.app).await.unwrap();
        let other = app(Store::open(&fresh.url).await.unwrap(), Config::default());
        let second = Fleet::start(&other).await.unwrap();
        first.step(world.now).await.unwrap();
        second.step(world.now).await.unwrap();
        assert!(first.matches().await && !second.matches().await);

        // Both know, one writes.
        world.publish("one", &[record("ADV-1", 1, "lamp", "1.0-2")]).await;
        for fleet in [&second, &first] {
            fleet.step(world.now).await.unwrap();
            assert_eq!(fleet.affected("ADV-1").len(), 1);
        }
        assert_eq!(world.open().await, world.judged().await);

        // The first sleeps through its lease; the second takes over and does what was left.
        let slept = world.now;
        world.later();
        world.publish("one", &[record("ADV-2", 2, "oil", "1.0-2")]).await;
        second.step(world.now).await.unwrap();
        assert!(second.matches().await);
        assert_eq!(world.open().await, world.judged().await);

        // The first wakes up and thinks it is still then.
        first.step(slept).await.unwrap();
        assert!(!first.matches().await);
        assert_eq!(world.open().await, world.judged().await);
        world.assert_intervals().await;

        // And an orderly hand-over needs no waiting.
        second.rest().await.unwrap();
        first.step(world.now).await.unwrap();
        assert!(first.matches().await);
        assert_eq!(world.open().await, world.judged().await);
        other.store.close().await;
    })
    .await;
}

#[tokio::test]
async fn selectors_ask_the_fleet_once() {
    on_each_store(async |fresh| {
        let world = World::new(&fresh);
        let mut numbers = Vec::new();
        for (id, version) in [("old", "1.0-1"), ("new", "1.0-2")] {
            numbers.push(world.host(id).await);
            world.report(id, &inventory(&[("lamp", version)]), &[]).await;
        }
        world.publish("one", &[record("ADV-1", 1, "lamp", "1.0-2")]).await;
        let fleet = Fleet::start(&world.app).await.unwrap();
        let cve = format!("CVE-2026-{:04}", "ADV-1".bytes().map(u32::from).sum::<u32>());
        for text in ["package=lamp<1.0-2", "affected=ADV-1", &format!("affected={cve}")] {
            let selector = Selector::parse(text).unwrap();
            let lookup = fleet.lookup(&selector);
            let meant = |&number: &u32| {
                selector.matches(&Facts {
                    name: "",
                    id: "",
                    group: "",
                    labels: &BTreeMap::new(),
                    release: "Debian 12",
                    state: "active",
                    has_package: &|package| lookup.has_package(number, package),
                    affected_by: &|id| lookup.affected_by(number, id),
                })
            };
            let meant: Vec<u32> = numbers.iter().copied().filter(meant).collect();
            assert_eq!(meant, [numbers[0]], "{text}");
        }
    })
    .await;
}
