//! What hosts had, from when until when.

use crate::fleet::{Centre, inventory, report};
use crate::store_for_tests::on_each_store;
use exposure::Inventory;
use jiff::{SignedDuration, Timestamp};
use server::store::Store;
use server::store::inventories::{Replaced, all_current, at, current, history, prune, replace};

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
        assert_eq!(at(store, &id, day(0)).await.unwrap(), None);
        for (number, one) in (1..).zip(&versions) {
            for hours in [0, 23] {
                let then =
                    at(store, &id, day(number) + SignedDuration::from_hours(hours)).await.unwrap().unwrap();
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
        assert_eq!(at(store, &id, day(1)).await.unwrap(), None);
        let left = at(store, &id, day(2)).await.unwrap().unwrap();
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
async fn a_starting_server_reads_what_every_host_has() {
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
        expected.sort_by(|one, other| one.0.cmp(&other.0));
        let mut all = all_current(store, 2);
        let mut read = Vec::new();
        loop {
            let page = all.next().await.unwrap();
            if page.is_empty() {
                break;
            }
            read.extend(page.into_iter().map(|one| (one.host, one.number, one.stored.unwrap().inventory)));
        }
        assert_eq!(read, expected);
        for (id, _, seen) in &expected {
            assert_eq!(current(store, id).await.unwrap().unwrap().inventory, *seen);
        }
    })
    .await;
}

async fn count(store: &Store, text: &'static str) -> i64 {
    sqlx::query_scalar(text).fetch_one(store.reader()).await.unwrap()
}
