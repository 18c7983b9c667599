//! What hosts tell adds up, however often and in whatever order they tell it.

use crate::api_for_tests::Centre;
use crate::fleet::{DB, WEB, host};
use crate::store_for_tests::on_each_store;
use crate::{HOUR, attempts, hour, sketch, told};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;
use server::people::roles::Role;
use server::store::audit::Actor;
use server::store::census::{self, Counted, DAY_HOURS, Kept, Taken};
use server::store::{backup, commit, hosts};
use std::collections::{BTreeMap, BTreeSet};

#[tokio::test]
async fn what_a_removed_host_told_stays_in_the_fleets_sums_and_nowhere_else() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, token) = centre.user(Role::Viewer).await;
        host(&centre, WEB, 1, "web-01").await;
        host(&centre, DB, 2, "db-01").await;
        let code_red = |addresses| attempts("codered1", &["CVE-2001-0500"], addresses);
        assert_eq!(told(&centre, WEB, &hour(HOUR, [code_red(0..10)])).await, Taken::Stored);
        let mut more = hour(HOUR, [code_red(5..20), attempts("team/odd id", &[], 0..1)]);
        more.hours.get_mut(&HOUR).unwrap().attempts.get_mut("codered1").unwrap().answered = 2;
        assert_eq!(told(&centre, DB, &more).await, Taken::Stored);

        let page = centre.get(&token, "/api/v1/census?limit=1").await.json();
        let first = &page["items"][0];
        assert_eq!(first["signature"], "codered1");
        assert_eq!(
            (&first["attempts"], &first["answered"], &first["hosts"]),
            (&json!(25), &json!(2), &json!(2))
        );
        assert_eq!(first["sources"]["count"], 20, "five of them came to both");
        assert_eq!(first["sources"]["error_percent"], 1.6);
        assert_eq!(first["days"].as_array().unwrap().len(), 1);
        assert_eq!((&first["days"][0]["day"], &first["days"][0]["hosts"]), (&json!("2026-01-01"), &json!(2)));
        let after = page["next"].as_str().unwrap();
        let next = centre.get(&token, &format!("/api/v1/census?limit=1&after={after}")).await.json();
        assert_eq!((next["items"][0]["signature"].as_str(), next.get("next")), (Some("team/odd id"), None));
        assert_eq!(centre.get(&token, "/api/v1/census/team%2Fodd%20id").await.status, 200);
        let whole = centre.get(&token, "/api/v1/census/codered1").await;
        let names = |whole: &serde_json::Value| {
            let hosts = whole["by_host"].as_array().unwrap();
            hosts.iter().map(|host| host["host"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&whole.json()), ["db-01", "web-01"]);
        assert_eq!(whole.json()["by_host"][0]["days"][0]["answered"], 2);
        assert_eq!(centre.get(&token, "/api/v1/census/none").await.status, 404);
        assert_eq!(centre.get(&token, "/api/v1/census?days=401").await.status, 400);

        hosts::remove(&centre.store, centre.now(), &Actor::Server, DB, "scrapped").await.unwrap();
        let left = centre.get(&token, "/api/v1/census/codered1").await.json();
        assert_eq!((&left["attempts"], &left["sources"]["count"]), (&json!(25), &json!(20)));
        assert_eq!(names(&left), ["web-01"]);
        let days = centre.get(&token, "/api/v1/census-days").await.json();
        assert_eq!(days["days"], json!([{ "day": "2026-01-01", "requests": 200, "unread": 0, "hosts": 2 }]));
        assert_eq!(told(&centre, DB, &more).await, Taken::Missing);
    })
    .await;
}

#[tokio::test]
async fn hosts_say_what_they_cannot_count() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, token) = centre.user(Role::Viewer).await;
        host(&centre, WEB, 1, "web-01").await;
        let mut counted = hour(HOUR, []);
        counted.problems = vec!["/var/log/nginx/x.log: permission denied".to_owned()];
        assert_eq!(told(&centre, WEB, &counted).await, Taken::Stored);
        assert_eq!(told(&centre, WEB, &counted).await, Taken::Unchanged);
        let hosts = centre.get(&token, "/api/v1/census-hosts").await.json();
        assert_eq!(hosts["items"][0]["problems"], json!(counted.problems));
        counted.problems.clear();
        assert_eq!(told(&centre, WEB, &counted).await, Taken::Stored);
        let hosts = centre.get(&token, "/api/v1/census-hosts").await.json();
        assert_eq!(hosts["items"][0]["problems"], json!([]));
    })
    .await;
}

/// Who tells which hour, with how many sources of which signature from which on.
type Telling = (usize, i64, usize, u32, u32);

/// The sums that one count of everything told last gives; a source once seen stays.
fn recount(tellings: &[Telling], until: usize) -> BTreeMap<(i64, String), (i64, i64, u64)> {
    let mut last: BTreeMap<(usize, i64), Telling> = BTreeMap::new();
    let mut sources: BTreeMap<(i64, String), Vec<(u32, u32)>> = BTreeMap::new();
    for telling @ (host, hour, signature, from, many) in &tellings[..until] {
        last.insert((*host, *hour), *telling);
        let day = hour.div_euclid(DAY_HOURS);
        if *many > 0 {
            sources.entry((day, format!("rule-{signature}"))).or_default().push((*from, from + many));
        }
    }
    let mut sums: BTreeMap<(i64, String), (i64, BTreeSet<usize>)> = BTreeMap::new();
    for (host, hour, signature, _, many) in last.into_values().filter(|telling| telling.4 > 0) {
        let sum = sums.entry((hour.div_euclid(DAY_HOURS), format!("rule-{signature}"))).or_default();
        sum.0 += i64::from(many);
        sum.1.insert(host);
    }
    sums.into_iter()
        .map(|(key, (attempts, hosts))| {
            let mut united = sketch(0..0);
            sources[&key].iter().for_each(|(from, until)| united.unite(&sketch(*from..*until)));
            (key, (attempts, i64::try_from(hosts.len()).unwrap(), united.count().count))
        })
        .collect()
}

#[tokio::test]
async fn sums_are_what_a_count_of_everything_told_last_gives() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store.clone()).await;
        let ids: Vec<String> =
            (1..=3).map(|host| format!("01900000-0000-7000-8000-00000000000{host}")).collect();
        for (number, id) in (1..).zip(&ids) {
            host(&centre, id, number, &format!("host-{number}")).await;
        }
        let one = (0..3_usize, HOUR - 30..HOUR, 0..3_usize, 0..50_u32, 0..20_u32);
        let mut runner = TestRunner::deterministic();
        let tellings = proptest::collection::vec(one, 120).new_tree(&mut runner).unwrap().current();
        for (place, (host, number, signature, from, many)) in tellings.iter().enumerate() {
            let counted = match many {
                0 => hour(*number, []),
                _ => hour(*number, [attempts(&format!("rule-{signature}"), &[], *from..from + many)]),
            };
            told(&centre, &ids[*host], &counted).await;
            if place % 40 == 39 {
                let days = ((HOUR - 30).div_euclid(DAY_HOURS), HOUR.div_euclid(DAY_HOURS));
                let found = census::signatures(&centre.store, days, "", 10).await.unwrap();
                let found: BTreeMap<_, _> = found
                    .iter()
                    .flat_map(|of| of.days.iter().map(|day| ((day.day, of.signature.clone()), day)))
                    .map(|(key, day)| (key, (day.attempts, day.hosts, day.sources)))
                    .collect();
                assert_eq!(found, recount(&tellings, place + 1));
                let requests = census::requests(&centre.store, days.0, days.1).await.unwrap();
                let hours: BTreeSet<_> =
                    tellings[..=place].iter().map(|telling| (telling.0, telling.1)).collect();
                let sum: i64 = requests.iter().map(|day| day.requests).sum();
                assert_eq!(sum, 100 * i64::try_from(hours.len()).unwrap());
            }
        }
        assert_eq!(census::examine(&fresh.store).await.unwrap().1, [""; 0]);
        let mut writing = fresh.store.begin().await.unwrap();
        let text = "UPDATE census_days SET attempts = 0 WHERE signature = 'rule-1'";
        sqlx::query(text).execute(&mut *writing).await.unwrap();
        assert_eq!(commit(writing, "damage").await.map_err(|problem| problem.to_string()), Ok(()));
        let wrong = census::examine(&fresh.store).await.unwrap().1;
        assert!(
            !wrong.is_empty() && wrong.iter().all(|wrong| wrong.starts_with("rule-1 on day")),
            "{wrong:?}"
        );
        // A backup has all of it.
        let mut bytes = Vec::new();
        backup::write(&fresh.store, centre.now(), &mut bytes, &mut |_, _| {}).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("again.db").display());
        let again = server::store::Store::open(&url).await.unwrap();
        backup::restore(&again, bytes.as_slice(), &mut |_, _| {}).await.unwrap();
        let days = (0, i64::MAX);
        assert_eq!(
            census::signatures(&again, days, "", 10).await.unwrap(),
            census::signatures(&fresh.store, days, "", 10).await.unwrap()
        );
        let known = told(&centre, &ids[tellings[119].0], &Counted::default()).await;
        assert_eq!(known, Taken::Stored, "it follows no log any more");
    })
    .await;
}

#[tokio::test]
async fn days_outlive_hours_and_what_is_past_is_deleted() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        host(&centre, WEB, 1, "web-01").await;
        let days = [0, 16, 17, 410];
        for ago in days {
            told(&centre, WEB, &hour(HOUR - ago * DAY_HOURS, [attempts("codered1", &[], 0..3)])).await;
        }
        census::prune(&centre.store, centre.now(), Kept { hours_days: 16, days: 400 }).await.unwrap();
        let count =
            async |text| -> i64 { sqlx::query_scalar(text).fetch_one(centre.store.reader()).await.unwrap() };
        assert_eq!(count("SELECT COUNT(*) FROM census_hours").await, 2);
        assert_eq!(count("SELECT COUNT(*) FROM census_fleet_hours").await, 3);
        let found = census::signatures(&centre.store, (0, i64::MAX), "", 10).await.unwrap();
        assert_eq!(found[0].days.len(), 3, "the fleet's days are kept for longer");
        assert_eq!(count("SELECT COUNT(*) FROM census_requests").await, 3);
    })
    .await;
}
