//! Attempts meet findings: what is attacked and vulnerable comes first, is told aloud, and ends with the finding.

use crate::api_for_tests::Centre;
use crate::fleet::{DB, WEB, close_finding, finding, fleet, host};
use crate::store_for_tests::on_each_store;
use crate::{HOUR, attempts, hour, told};
use exposure::index::Plight;
use serde_json::{Value, json};
use server::census::Watch;
use server::people::roles::Role;
use server::store::events::{self, Kind};
use server::store::rollouts::tally;
use std::sync::Arc;

fn listed(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    let line = |item: &Value| {
        let mark = if item.get("attacked").is_some() { "!" } else { "" };
        format!("{mark}{} {}", item["advisory"].as_str().unwrap(), item["host"]["name"].as_str().unwrap())
    };
    items.iter().map(line).collect()
}

#[tokio::test]
async fn an_attempt_on_a_vulnerable_host_puts_its_finding_first_until_it_is_closed() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        fleet(&centre).await;
        let (_, token) = centre.user(Role::Operator).await;
        let mut watch = Watch::new(Arc::clone(&centre.app));
        let findings = async |query: &str| {
            let answer = centre.get(&token, &format!("/api/v1/findings{query}")).await;
            assert_eq!(answer.status, 200, "{query}");
            answer.json()
        };
        // The attack is on db-01 too, which is not vulnerable to it; and web-01 is sent what it is not vulnerable to.
        let spring = |addresses| attempts("spring", &["CVE-2026-1003"], addresses);
        told(&centre, WEB, &hour(HOUR, [spring(0..7), attempts("codered1", &["CVE-2001-0500"], 0..9)])).await;
        told(&centre, DB, &hour(HOUR, [spring(0..7)])).await;
        assert!(watch.step(centre.now()).await.unwrap());
        let page = findings("").await;
        assert_eq!(listed(&page), ["!DSA-2-1 web-01", "DSA-1-1 web-01", "DSA-1-1 db-01"]);
        let last = "2026-01-01T00:00:00Z";
        let attacked = json!({ "cves": ["CVE-2026-1003"], "attempts": 7, "last": last });
        assert_eq!(page["items"][0]["attacked"], attacked);
        assert_eq!(listed(&findings("?attacked=true").await), ["!DSA-2-1 web-01"]);
        let of_host = centre.get(&token, &format!("/api/v1/hosts/{WEB}/findings?limit=1")).await;
        assert_eq!(of_host.status, 200);
        let told_events = async || {
            let all = events::after(&centre.store, 0, 1_000).await.unwrap();
            all.into_iter().filter(|event| event.kind == Kind::Census).collect::<Vec<_>>()
        };
        let happened = told_events().await;
        assert_eq!((happened.len(), happened[0].object.as_str()), (1, "CVE-2026-1003"));
        assert_eq!(happened[0].detail["hosts"], json!(["web-01"]));
        let status = centre.get(&token, "/api/v1/status").await.json();
        assert_eq!((&status["findings_attacked"], &status["hosts_attacked"]), (&json!(1), &json!(1)));
        let census = centre.get(&token, "/api/v1/census/spring").await.json();
        assert_eq!((&census["hosts"], &census["hosts_attacked"]), (&json!(2), &json!(1)));

        // It is an alert, and no gate waits for it.
        let alerts = centre.get(&token, "/api/v1/alerts").await.json();
        assert_eq!(alerts["items"][0]["name"], "census:attacked:CVE-2026-1003");
        assert_eq!(alerts["items"][0]["holds"], false);
        let mut reading = centre.store.reader().acquire().await.unwrap();
        assert_eq!(tally::alerts(&mut reading).await.unwrap(), 0);
        drop(reading);
        let own =
            json!({ "alerts": [{ "status": "resolved", "fingerprint": "census:attacked:CVE-2026-1003" }] });
        assert_eq!(centre.post(&token, "/api/v1/alerts", &own).await.status, 400);

        // More of the same is no news; then the finding is closed.
        told(&centre, WEB, &hour(HOUR, [spring(0..8)])).await;
        assert!(watch.step(centre.now()).await.unwrap());
        assert_eq!(findings("").await["items"][0]["attacked"]["attempts"], 8);
        assert_eq!(told_events().await.len(), 1);
        close_finding(&centre, 1, "DSA-2-1", "binary:libxml2", Plight::Affected).await;
        told(&centre, WEB, &hour(HOUR, [spring(0..9)])).await;
        assert!(watch.step(centre.now()).await.unwrap());
        assert_eq!(listed(&findings("").await), ["DSA-1-1 web-01", "DSA-1-1 db-01"]);
        assert_eq!(centre.get(&token, "/api/v1/alerts").await.json()["items"], json!([]));
        assert_eq!(centre.get(&token, "/api/v1/status").await.json()["findings_attacked"], 0);
    })
    .await;
}

#[tokio::test]
async fn an_attack_that_begins_between_two_pages_hides_no_finding() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        fleet(&centre).await;
        for number in 3..8 {
            let id = format!("01900000-0000-7000-8000-00000000000{number}");
            host(&centre, &id, number, &format!("host-{number}")).await;
            finding(&centre, u32::try_from(number).unwrap(), "DSA-2-1", "binary:libxml2", Plight::Affected)
                .await;
        }
        let (_, token) = centre.user(Role::Viewer).await;
        let mut watch = Watch::new(Arc::clone(&centre.app));
        let attack = async |host: &str| {
            let told_now = hour(HOUR, [attempts("spring", &["CVE-2026-1003"], 0..7)]);
            told(&centre, host, &told_now).await;
        };
        attack("01900000-0000-7000-8000-000000000005").await;
        watch.step(centre.now()).await.unwrap();
        centre.wait(60);
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = centre.get(&token, &format!("/api/v1/findings?limit=1{after}")).await.json();
            seen.extend(listed(&page));
            let Some(next) = page.get("next") else { break };
            after = format!("&after={}", next.as_str().unwrap());
            centre.wait(60);
            if seen.len() == 2 {
                attack(WEB).await;
                attack("01900000-0000-7000-8000-000000000007").await;
                watch.step(centre.now()).await.unwrap();
            }
        }
        let mut once: Vec<&str> = seen.iter().map(|line| line.trim_start_matches('!')).collect();
        assert_eq!(seen[0], "!DSA-2-1 host-5");
        assert_eq!(seen.len(), 8);
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), 8, "{seen:?}");
    })
    .await;
}
