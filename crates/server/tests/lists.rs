//! What people list: reasons in the audit log, pages that go on, filters that are exact.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_for_tests;
#[path = "api_for_tests/fleet.rs"]
mod fleet;
mod store_for_tests;

use api_for_tests::Centre;
use fleet::{DB, WEB};
use serde_json::{Value, json};
use server::people::roles::Role;
use server::store::audit;
use store_for_tests::{Fresh, on_each_store};

/// A server with two hosts and three findings, and the token of a user of that role.
async fn centre(fresh: Fresh, role: Role) -> (Centre, String) {
    let centre = Centre::new(fresh.store).await;
    fleet::fleet(&centre).await;
    let token = centre.user(role).await.1;
    (centre, token)
}

fn column(page: &Value, pointer: &str) -> Vec<Value> {
    page["items"].as_array().unwrap().iter().map(|item| item.pointer(pointer).unwrap().clone()).collect()
}

/// Every item of a list, asked for in pages of that size.
async fn paged(centre: &Centre, token: &str, path: &str, limit: u32) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let page = centre.get(token, &format!("{path}limit={limit}{after}")).await.json();
        let some = page["items"].as_array().unwrap();
        assert!(some.len() <= limit as usize);
        items.extend(some.iter().cloned());
        let Some(next) = page.get("next") else { return items };
        after = format!("&after={}", next.as_str().unwrap());
    }
}

#[tokio::test]
async fn nobody_is_released_revoked_or_removed_without_a_reason_in_the_audit_log() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Operator).await;
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        fleet::quarantine(&centre, DB).await;
        let (web, db) = (format!("/api/v1/hosts/{WEB}"), format!("/api/v1/hosts/{DB}"));
        for body in [json!({}), json!({ "reason": " " }), json!({ "reason": "a\nb" })] {
            assert_eq!(centre.post(&token, &format!("{db}/release"), &body).await.status, 400, "{body}");
            assert_eq!(centre.post(&token, &format!("{web}/revoke"), &body).await.status, 400, "{body}");
        }
        for query in ["", "?reason=", "?reason=%20", "?reason=a%0Ab"] {
            let answer = centre.ask("DELETE", &format!("{web}{query}"), &headers, None).await;
            assert_eq!(answer.status, 400, "{query}");
        }
        assert_eq!(centre.get(&token, &db).await.json()["state"], "quarantined");
        let why = json!({ "reason": "the copy is gone" });
        assert_eq!(centre.post(&token, &format!("{db}/release"), &why).await.status, 200);
        let removed = centre.ask("DELETE", &format!("{web}?reason=sold%20%26%20gone"), &headers, None).await;
        assert_eq!(removed.status, 204);
        let entries = audit::after(&centre.store, 0, 100).await.unwrap();
        let of = |action: &str| entries.iter().find(|entry| entry.action == action).unwrap().detail.clone();
        assert_eq!(of("host.release"), json!({ "reason": "the copy is gone", "was": "cloned" }));
        assert_eq!(of("host.remove"), json!({ "reason": "sold & gone", "name": "web-01" }));
    })
    .await;
}

#[tokio::test]
async fn a_hosts_history_goes_on_page_by_page() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Viewer).await;
        let mut hashes = Vec::new();
        for kernel in ["6.1.0-1", "6.1.0-2", "6.1.0-3", "6.1.0-4", "6.1.0-5"] {
            hashes.insert(0, json!(fleet::inventory(&centre, WEB, kernel).await));
            centre.wait(60);
        }
        let path = format!("/api/v1/hosts/{WEB}/inventory/history?");
        for limit in [1, 2, 5, 6] {
            let told = paged(&centre, &token, &path, limit).await;
            let told: Vec<Value> = told.into_iter().map(|interval| interval["hash"].clone()).collect();
            assert_eq!(told, hashes, "in pages of {limit}");
        }
        assert_eq!(centre.get(&token, &format!("{path}after=7a")).await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn a_summary_counts_the_selected_hosts_only() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Viewer).await;
        for (query, advisories, hosts) in [
            ("", json!(["DSA-1-1", "DSA-2-1"]), json!([2, 1])),
            ("selector=name%3Dweb-01", json!(["DSA-1-1", "DSA-2-1"]), json!([1, 1])),
            ("selector=name%3Ddb-01", json!(["DSA-1-1"]), json!([1])),
            ("selector=name%3Ddb-01&verdict=affected", json!([]), json!([])),
            ("selector=name%3Dnobody", json!([]), json!([])),
        ] {
            let page = centre.get(&token, &format!("/api/v1/findings/summary?{query}")).await.json();
            assert_eq!(json!(column(&page, "/advisory")), advisories, "{query}");
            assert_eq!(json!(column(&page, "/hosts")), hosts, "{query}");
        }
        let pages = paged(&centre, &token, "/api/v1/findings/summary?selector=site%3Da&", 1).await;
        assert_eq!(pages.len(), 2);
        let bad = centre.get(&token, "/api/v1/findings/summary?selector=%29").await;
        assert_eq!((bad.status.as_u16(), bad.json()["field"].clone()), (400, json!("selector")));
    })
    .await;
}

#[tokio::test]
async fn the_audit_log_is_read_from_either_end_page_by_page() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Approver).await;
        for name in ["ada", "bob", "cyd"] {
            centre.named(name, Role::Viewer).await;
        }
        let seqs = async |query: &str, limit| {
            let entries = paged(&centre, &token, &format!("/api/v1/audit?{query}"), limit).await;
            entries.iter().map(|entry| entry["seq"].as_i64().unwrap()).collect::<Vec<_>>()
        };
        let oldest = seqs("", 1000).await;
        assert!(oldest.len() >= 6 && oldest.is_sorted(), "{oldest:?}");
        let newest: Vec<i64> = oldest.iter().rev().copied().collect();
        for limit in [1, 2, 1000] {
            assert_eq!(seqs("newest_first=false&", limit).await, oldest);
            assert_eq!(seqs("newest_first=true&", limit).await, newest);
        }
    })
    .await;
}
