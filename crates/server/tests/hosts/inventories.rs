//! What hosts had, from when until when.

use crate::fleet::{Centre, inventory, report};
use crate::store_for_tests::on_each_store;
use exposure::Inventory;
use jiff::{SignedDuration, Timestamp};
use server::store::inventories::{Knowing, Replaced, alike, at, contents, current, history, prune, replace};
use server::store::{Store, commit};

#[tokio::test]
async fn what_a_host_had_while_it_was_cut_off_is_known_in_hindsight_only() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let (store, id) = (&centre.store, centre.enrol("web-1").await.id);
        let day = |number: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * number);
        // Seen on the days 1, 2 and 3; the last two are told on the day 4.
        for (seen, told, version) in [(1, 1, "1"), (2, 4, "2"), (3, 4, "3")] {
            let had = report(&inventory(&[("openssl", version)]));
            replace(store, day(told), &id, day(seen), &had).await.unwrap();
        }
        let version = async |moment: Timestamp, knowing: Knowing| {
            let stored = at(store, &id, moment, knowing).await.unwrap().unwrap();
            stored.inventory.packages[0].version.clone()
        };
        for (on, then, hindsight) in [(1, "1", "1"), (2, "1", "2"), (3, "1", "3"), (5, "3", "3")] {
            assert_eq!(version(day(on), Knowing::Then).await, then, "day {on}");
            assert_eq!(version(day(on), Knowing::Hindsight).await, hindsight, "day {on}");
        }
        assert_eq!(at(store, &id, day(0), Knowing::Hindsight).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn what_a_host_had_on_that_day_can_be_told_until_it_is_pruned() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let (store, id) = (&centre.store, centre.enrol("web-1").await.id);
        let day = |number: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * number);
        let versions = ["1", "2", "3"].map(|version| inventory(&[("openssl", version), ("zlib1g", "1")]));
        for (number, one) in (1..).zip(&versions) {
            let stored = replace(store, day(number), &id, day(number), &report(one)).await.unwrap();
            assert!(matches!(stored, Replaced::Stored(_)));
            let again = replace(store, day(number), &id, day(number), &report(one)).await.unwrap();
            assert!(matches!(again, Replaced::Unchanged(_)));
        }
        assert_eq!(at(store, &id, day(0), Knowing::Then).await.unwrap(), None);
        for (number, one) in (1..).zip(&versions) {
            for hours in [0, 23] {
                let moment = day(number) + SignedDuration::from_hours(hours);
                let then = at(store, &id, moment, Knowing::Then).await.unwrap().unwrap();
                assert_eq!((&then.inventory.packages, then.from), (&one.packages, day(number)));
            }
        }
        let told = history(store, &id, Timestamp::MAX, 10).await.unwrap();
        let told: Vec<_> = told.iter().map(|one| (one.from, one.until)).collect();
        assert_eq!(told, [(day(3), None), (day(2), Some(day(3))), (day(1), Some(day(2)))]);
        // Eight parts, and of the packages one more for each version.
        let pieces = count(store, "SELECT COUNT(*) FROM pieces").await;
        assert_eq!(count(store, "SELECT COUNT(*) FROM parts").await, 8 + 1 + 3);

        let pruned = prune(store, day(5), SignedDuration::from_hours(24 * 2)).await.unwrap();
        assert_eq!((pruned.intervals, pruned.pieces), (1, 1));
        assert_eq!(count(store, "SELECT COUNT(*) FROM pieces").await, pieces - 1);
        assert_eq!(at(store, &id, day(1), Knowing::Then).await.unwrap(), None);
        let left = at(store, &id, day(2), Knowing::Then).await.unwrap().unwrap();
        assert_eq!(left.inventory.packages, versions[1].packages);
    })
    .await;
}

#[tokio::test]
async fn only_pieces_of_its_own_last_inventory_may_be_left_out() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let (store, now) = (&centre.store, Timestamp::now());
        let (one, other) = (centre.enrol("one").await.id, centre.enrol("other").await.id);
        let whole = report(&inventory(&[("openssl", "1"), ("zlib1g", "1")]));
        replace(store, now, &one, now, &whole).await.unwrap();

        let mut bare = whole.clone();
        bare.bodies.clear();
        let mut hashes: Vec<String> = whole.parts.values().cloned().collect();
        hashes.sort();
        hashes.dedup();
        let refused = replace(store, now, &other, now, &bare).await.unwrap();
        assert_eq!(refused, Replaced::Missing(hashes));
        assert!(current(store, &other).await.unwrap().is_none());

        let mut changed = report(&inventory(&[("openssl", "2"), ("zlib1g", "1")]));
        changed.bodies.retain(|hash, _| !whole.parts.values().any(|known| known == hash));
        assert_eq!(changed.bodies.len(), 1);
        let stored = replace(store, now, &one, now, &changed).await.unwrap();
        assert!(matches!(stored, Replaced::Stored(_)), "{stored:?}");
        let now_has = current(store, &one).await.unwrap().unwrap();
        assert_eq!(now_has.inventory.packages[0].version, "2");
        assert_eq!(now_has.inventory.packages[1].version, "1");
    })
    .await;
}

#[tokio::test]
async fn a_starting_server_reads_what_alike_hosts_have_once() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let store = &centre.store;
        let mut expected: Vec<(String, u32, Inventory)> = Vec::new();
        for number in 1..=5_u32 {
            let mut agent = centre.enrol(&format!("web-{number}")).await;
            let version = (number / 2).to_string();
            let mut seen = inventory(&[("openssl", &version), ("zlib1g", "1")]);
            agent.report(&seen).await;
            seen.host = format!("web-{number}");
            expected.push((agent.id, number, seen));
        }
        centre.enrol("without").await;
        for (id, _, seen) in &expected {
            assert_eq!(current(store, id).await.unwrap().unwrap().inventory, *seen);
        }
        let groups = alike(store).await.unwrap();
        // The first alone, then two and two.
        assert_eq!(groups.len(), 3);
        let (read, again) = contents(store, groups).await.unwrap();
        assert!(again.is_empty());
        let mut hosts = 0;
        for alike in &read {
            assert_eq!(wire::v1::hash(&alike.parts), alike.hash);
            for (id, number) in &alike.hosts {
                let (_, of_host, seen) = expected.iter().find(|(host, _, _)| host == id).unwrap();
                assert_eq!((number, &report(seen).parts), (of_host, &alike.parts));
                hosts += 1;
            }
        }
        assert_eq!(hosts, expected.len());
    })
    .await;
}

#[tokio::test]
async fn one_damaged_host_does_not_take_its_likes_with_it() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh).await;
        let store = &centre.store;
        let (alone, openssl) = (inventory(&[("alone", "1")]), inventory(&[("openssl", "1")]));
        for seen in [&alone, &openssl, &openssl, &openssl] {
            centre.enrol("web").await.report(seen).await;
        }
        let groups = alike(store).await.unwrap();
        let of =
            |seen| groups.iter().find(|group| group.hash == wire::v1::hash(&report(seen).parts)).unwrap();
        let (alone, openssl) = (of(&alone).clone(), of(&openssl).clone());
        let mut writing = store.begin().await.unwrap();
        let text = "UPDATE parts SET part = 'packages.x' WHERE part LIKE 'packages.%' AND host IN ($1, $2)";
        let damage = sqlx::query(text).bind(alone.hosts[0].0.clone()).bind(openssl.hosts[0].0.clone());
        damage.execute(&mut *writing).await.unwrap();
        // Another has something else by now: its event comes after.
        let text = "UPDATE inventories SET hash = 'other' WHERE host = $1";
        sqlx::query(text).bind(openssl.hosts[1].0.clone()).execute(&mut *writing).await.unwrap();
        commit(writing, "damage").await.unwrap();

        let (read, again) = contents(store, vec![alone.clone(), openssl.clone()]).await.unwrap();
        assert_eq!(
            (read.len(), &read[0].hosts, read[0].parts.len()),
            (1, &alone.hosts, 0),
            "all are damaged"
        );
        let (read, again) = contents(store, again).await.unwrap();
        assert!(read.is_empty());
        let (read, again) = contents(store, again).await.unwrap();
        assert!(again.is_empty());
        assert_eq!(read[0].hosts, [openssl.hosts[0].clone(), openssl.hosts[2].clone()]);
        assert_eq!(wire::v1::hash(&read[0].parts), openssl.hash);
    })
    .await;
}

async fn count(store: &Store, text: &'static str) -> i64 {
    sqlx::query_scalar(text).fetch_one(store.reader()).await.unwrap()
}
