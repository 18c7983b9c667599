//! A host's findings in the API come from the fleet in memory; they are what plain SQL finds.

use crate::api_for_tests::Centre;
use crate::store_for_tests::on_each_store;
use crate::world::{World, inventory, maps, record};
use serde_json::Value;
use server::fleet::Fleet;
use server::people::roles::Role;
use server::store::finding_list::{self, FindingFilter};
use server::store::hosts;

const HOSTS: [&str; 3] = ["h0", "h1", "h2"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hosts_findings_are_those_of_plain_sql_page_by_page() {
    on_each_store(async |fresh| {
        let mut world = World::new(&fresh);
        for host in HOSTS {
            world.host(host).await;
        }
        let mut mapping = inventory(&[("lamp", "1.0-2"), ("oil", "1.0-1"), ("wick", "not a version")]);
        mapping.processes.push(maps("lamp", "1.0-1"));
        world.report("h0", &inventory(&[("lamp", "1.0-1"), ("oil", "1.0-1")]), &[]).await;
        world.report("h1", &mapping, &[]).await;
        let fleet = Fleet::start(&world.app).await.unwrap();
        let records: Vec<_> = ["lamp", "oil", "wick"]
            .into_iter()
            .flat_map(|package| {
                let id = package.to_uppercase();
                [("1", "1.0-2"), ("2", "2.0-1")]
                    .map(|(n, fixed)| record(&format!("{id}-{n}"), 1, package, fixed))
            })
            .collect();
        world.publish("one", &records).await;
        world.settle(&fleet).await;
        // Some end, and one of them begins anew.
        world.later();
        world.report("h0", &inventory(&[("lamp", "1.0-2"), ("oil", "2.0-1")]), &[]).await;
        world.settle(&fleet).await;
        world.later();
        world.report("h0", &inventory(&[("lamp", "1.0-2"), ("oil", "1.0-1")]), &[]).await;
        world.settle(&fleet).await;
        fleet.rest().await.unwrap();

        let centre = Centre::new(world.store().clone()).await;
        let token = centre.user(Role::Viewer).await.1;
        let mut all = 0;
        for host in HOSTS {
            let number = hosts::get(world.store(), host).await.unwrap().unwrap().number;
            let filter = FindingFilter { host: Some(number.into()), ..FindingFilter::default() };
            let listed = finding_list::list(world.store(), &filter, None, 100).await.unwrap();
            let plain: Vec<_> = listed
                .iter()
                .map(|row| {
                    let from = row.from.to_string();
                    [&row.advisory, &row.package, &row.verdict, &from, &row.evidence, &row.host.name]
                        .map(String::clone)
                })
                .collect();
            all += plain.len();
            for limit in [1, 2, 100] {
                let (mut told, mut after) = (Vec::new(), String::new());
                loop {
                    let path = format!("/api/v1/hosts/{host}/findings?limit={limit}{after}");
                    let page = centre.get(&token, &path).await.json();
                    for item in page["items"].as_array().unwrap() {
                        let text =
                            |pointer| item.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
                        told.push(
                            ["/advisory", "/package", "/verdict", "/from", "/evidence", "/host/name"]
                                .map(text),
                        );
                    }
                    let Some(next) = page.get("next") else { break };
                    after = format!("&after={}", next.as_str().unwrap());
                }
                assert_eq!(told, plain, "{host} in pages of {limit}");
            }
        }
        assert!(all >= 6, "{all}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cve_finds_what_closes_it_and_what_did_on_that_day() {
    on_each_store(async |fresh| {
        let mut world = World::new(&fresh);
        world.host("h").await;
        world.report("h", &inventory(&[("lamp", "1.0-1"), ("oil", "1.0-1")]), &[]).await;
        let fleet = Fleet::start(&world.app).await.unwrap();
        let (one, two) = (record("ADV-1", 1, "lamp", "1.0-2"), record("ADV-2", 1, "oil", "1.0-2"));
        world.publish("one", &[one, two.clone()]).await;
        world.settle(&fleet).await;
        let then = world.now;
        let centre = Centre::new(world.store().clone()).await;
        let token = centre.user(Role::Viewer).await.1;
        let found = async |path: &str, pointer: &str| {
            let page = centre.get(&token, &format!("/api/v1/{path}")).await.json();
            let items = page["items"].as_array().unwrap().iter();
            items.map(|item| item.pointer(pointer).unwrap().as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        // The sum of its letters.
        let cve = "cve=CVE-2026-0313";
        assert_eq!(found(&format!("advisories?{cve}"), "/id").await, ["ADV-1"]);
        for (path, expected) in [(format!("findings?{cve}"), 1), (format!("findings?{cve}0"), 0)] {
            assert_eq!(found(&path, "/advisory").await.len(), expected, "{path}");
        }
        world.later();
        world.publish("one", &[two]).await;
        world.settle(&fleet).await;
        assert!(found(&format!("advisories?{cve}"), "/id").await.is_empty());
        assert!(found(&format!("findings?{cve}"), "/advisory").await.is_empty());
        let at = format!("findings?{cve}&at={}", then + jiff::SignedDuration::from_secs(1));
        assert_eq!(found(&at, "/advisory").await, ["ADV-1"]);
    })
    .await;
}
