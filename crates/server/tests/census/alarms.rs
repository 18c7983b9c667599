//! A signature that starts to grow is told once, one that only scatters is not, and a new one is told as new.

use crate::api_for_tests::Centre;
use crate::fleet::{DB, WEB, host};
use crate::store_for_tests::on_each_store;
use crate::{HOUR, attempts, hour, told};
use serde_json::json;
use server::census::Watch;
use server::people::roles::Role;
use server::store::alerts;
use server::store::census::Counted;
use server::store::events::{self, Kind};
use std::sync::Arc;

/// A day before `end`, told by one host: so many sources of each signature, in one of its hours.
fn day(end: i64, ago: i64, seen: &[(&str, u32)]) -> Counted {
    let first = u32::try_from(ago).unwrap() * 1_000;
    hour(end - 1 - ago * 24, seen.iter().map(|(name, many)| attempts(name, &[], first..first + many)))
}

#[tokio::test]
async fn growth_is_told_once_and_so_is_a_signature_that_is_new() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, token) = centre.user(Role::Viewer).await;
        host(&centre, WEB, 1, "web-01").await;
        host(&centre, DB, 2, "db-01").await;
        for ago in 1..=15 {
            let scatter = 10 + u32::try_from(ago * 7 % 11).unwrap();
            let usual = [("grows", scatter), ("alone", scatter), ("steady", scatter)];
            for id in [WEB, DB] {
                told(&centre, id, &day(HOUR, ago, &usual)).await;
            }
        }
        let now = [("grows", 120), ("steady", 20)];
        told(&centre, WEB, &day(HOUR, 0, &[&now[..], &[("alone", 29), ("first-seen", 1)]].concat())).await;
        told(&centre, DB, &day(HOUR, 0, &now)).await;
        let mut watch = Watch::new(Arc::clone(&centre.app));
        // Hosts have ten minutes to tell of an hour that is over.
        watch.step(centre.now()).await.unwrap();
        centre.wait(601);
        watch.step(centre.now()).await.unwrap();
        let happened = async || {
            let all = events::after(&centre.store, 0, 1_000).await.unwrap();
            let told = all.into_iter().filter(|event| event.kind == Kind::Census);
            told.map(|event| format!("{} {}", event.object, event.detail["what"].as_str().unwrap()))
                .collect::<Vec<_>>()
        };
        assert_eq!(happened().await, ["first-seen new", "grows growing"]);
        let census = centre.get(&token, "/api/v1/census/grows").await.json();
        assert_eq!((&census["new"], &census["growing"]), (&json!(false), &json!("2026-01-01T00:10:01Z")));
        assert_eq!(centre.get(&token, "/api/v1/census/first-seen").await.json()["new"], true);

        // An hour later it still grows: that is no news. When it stops, the alarm ends; its alert with it.
        centre.wait(3_600);
        watch.step(centre.now()).await.unwrap();
        assert_eq!(happened().await.len(), 2);
        let names = async || {
            let alerts = alerts::list(&centre.store, "", 10).await.unwrap();
            alerts.into_iter().map(|alert| alert.name).collect::<Vec<_>>()
        };
        assert_eq!(names().await, ["census:growing:grows", "census:new:first-seen"]);
        centre.wait(24 * 3_600);
        watch.step(centre.now()).await.unwrap();
        assert_eq!(names().await, ["census:new:first-seen"]);
        centre.wait(7 * 24 * 3_600);
        watch.step(centre.now()).await.unwrap();
        assert_eq!(names().await, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_fleet_that_only_becomes_larger_and_one_that_only_begins_raise_no_alarm() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        for number in 1..=9 {
            let id = format!("01900000-0000-7000-8000-00000000000{number}");
            host(&centre, &id, number, &format!("host-{number}")).await;
            let first = u32::try_from(number).unwrap() * 100_000;
            // The first two have counted for a fortnight, the others since today.
            for ago in 0..if number < 3 { 16 } else { 1 } {
                let from = first + u32::try_from(ago).unwrap() * 1_000;
                let seen = attempts("everywhere", &[], from..from + 12);
                told(&centre, &id, &hour(HOUR - 1 - ago * 24, [seen])).await;
            }
        }
        let mut watch = Watch::new(Arc::clone(&centre.app));
        centre.wait(601);
        watch.step(centre.now()).await.unwrap();
        let all = events::after(&centre.store, 0, 1_000).await.unwrap();
        assert!(all.iter().all(|event| event.kind != Kind::Census), "{all:?}");
    })
    .await;
}

#[tokio::test]
async fn each_signature_gets_an_outlook_once_a_day() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, token) = centre.user(Role::Viewer).await;
        host(&centre, WEB, 1, "web-01").await;
        for ago in 0..20 {
            told(&centre, WEB, &day(HOUR, ago, &[("fades", u32::try_from(3 + ago * ago).unwrap())])).await;
        }
        centre.wait(2 * 3_600);
        let mut watch = Watch::new(Arc::clone(&centre.app));
        watch.step(centre.now()).await.unwrap();
        assert_eq!(centre.get(&token, "/api/v1/census/fades").await.json().get("outlook"), None);
        assert!(watch.outlook(centre.now()).await.unwrap());
        let outlook = centre.get(&token, "/api/v1/census/fades").await.json()["outlook"].take();
        let course = &outlook[if outlook["answer"] == "told" { "course" } else { "range" }];
        assert_eq!(
            (&course["phase"], &course["last_day"]),
            (&json!("dying"), &json!("2025-12-31")),
            "{outlook}"
        );
        assert!(!watch.outlook(centre.now()).await.unwrap(), "it is of today");
        centre.wait(24 * 3_600);
        assert!(watch.outlook(centre.now()).await.unwrap());
    })
    .await;
}
