//! The API: what it promises of every endpoint, and what it answers about a small fleet.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

#[path = "api_for_tests/fleet.rs"]
mod fleet;
#[path = "api_for_tests/mod.rs"]
mod api_for_tests;
mod store_for_tests;

use api_for_tests::Centre;
use axum::body::Body;
use exposure::index::Plight;
use fleet::{DB, WEB};
use http::Request;
use jiff::SignedDuration;
use serde_json::{Value, json};
use server::people::roles::Role;
use server::store::{audit, commit};
use store_for_tests::on_each_store;

/// A fleet, and the token of somebody with that role.
async fn centre(fresh: store_for_tests::Fresh, role: Role) -> (Centre, String) {
    let centre = Centre::new(fresh.store).await;
    fleet::fleet(&centre).await;
    let (_, token) = centre.user(role).await;
    (centre, token)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn column(page: &Value, path: &str) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items.iter().map(|item| item.pointer(path).unwrap().as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_tell_everything_once_also_while_things_come() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Viewer).await;
        for number in 3..10 {
            let id = format!("01900000-0000-7000-8000-00000000000{number}");
            // Two have the same name.
            fleet::host(&centre, &id, number, &format!("host-{}", number.min(8))).await;
        }
        let (mut seen, mut path) = (Vec::new(), "/api/v1/hosts?limit=2".to_owned());
        loop {
            let answer = centre.get(&token, &path).await;
            assert_eq!(answer.status, 200);
            let page = answer.json();
            seen.extend(column(&page, "/id"));
            if seen.len() == 4 {
                fleet::host(&centre, "01900000-0000-7000-8000-0000000000ff", 99, "a-first").await;
            }
            let Some(next) = page.get("next") else {
                assert_eq!(answer.header("link"), "");
                break;
            };
            let link = answer.header("link").to_owned();
            path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
            assert!(path.contains("limit=2") && path.contains(next.as_str().unwrap()), "{path}");
        }
        let mut once = seen.clone();
        once.sort();
        once.dedup();
        assert_eq!((seen.len(), once.len()), (9, 9));
        for bad in
            ["limit=0", "limit=1001", "limit=x", "after=zz", "after=00", "limit=1&limit=2", "colour=red"]
        {
            let answer = centre.get(&token, &format!("/api/v1/hosts?{bad}")).await;
            assert_eq!(answer.status, 400, "{bad}");
        }
    })
    .await;
}

#[tokio::test]
async fn hosts_are_found_by_selector_state_and_silence() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Operator).await;
        let names = async |query: &str| {
            let answer = centre.get(&token, &format!("/api/v1/hosts?{query}")).await;
            assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
            column(&answer.json(), "/name")
        };
        assert_eq!(names("").await, ["db-01", "web-01"]);
        assert_eq!(names("selector=name%3Dweb-01").await, ["web-01"]);
        let bad = centre.get(&token, "/api/v1/hosts?selector=%29").await;
        assert_eq!((bad.status.as_u16(), bad.json()["field"].clone()), (400, json!("selector")));
        fleet::quarantine(&centre, DB).await;
        assert_eq!(names("state=quarantined").await, ["db-01"]);
        assert_eq!(names("silent=true").await, [""; 0]);
        centre.wait(16 * 60);
        assert_eq!(names("silent=true").await, ["web-01"], "who is not heard is not silent");
        assert_eq!(names("silent=false").await, ["db-01"]);
        let status = centre.get(&token, "/api/v1/status").await.json();
        assert_eq!(status["hosts"], json!({ "active": 1, "quarantined": 1 }));
        assert_eq!(status["silent"], 1);
        assert_eq!(status["findings"], json!({ "affected": 2, "undetermined": 1 }));
        assert_eq!(names("selector=state%3Dsilent").await, ["web-01"]);
        let why = json!({ "reason": "looked at it" });
        let release = format!("/api/v1/hosts/{DB}/release");
        assert_eq!(centre.post(&token, &release, &why).await.json()["state"], "active");
        assert_eq!(centre.post(&token, &release, &why).await.status, 409);
        let revoked = centre.post(&token, &format!("/api/v1/hosts/{DB}/revoke"), &why).await.json();
        assert_eq!((&revoked["state"], &revoked["reason"]), (&json!("revoked"), &json!("looked at it")));
    })
    .await;
}

#[tokio::test]
async fn findings_are_told_as_they_are_and_as_they_were() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Viewer).await;
        let before = centre.now() - SignedDuration::from_secs(2);
        let then = centre.now();
        centre.wait(3600);
        fleet::close_finding(&centre, 1, "DSA-1-1", "source:openssl", Plight::Affected).await;
        fleet::close_finding(&centre, 2, "DSA-1-1", "source:openssl", Plight::Undetermined).await;
        let found = async |path: &str| {
            let answer = centre.get(&token, path).await;
            assert_eq!(answer.status, 200, "{path}: {}", String::from_utf8_lossy(&answer.body));
            let page = answer.json();
            let (advisories, hosts) = (column(&page, "/advisory"), column(&page, "/host/name"));
            advisories.into_iter().zip(hosts).map(|(id, host)| format!("{id} {host}")).collect::<Vec<_>>()
        };
        assert_eq!(found("/api/v1/findings").await, ["DSA-2-1 web-01"]);
        let all = ["DSA-1-1 web-01", "DSA-1-1 db-01", "DSA-2-1 web-01"]; // affected before undetermined
        assert_eq!(found(&format!("/api/v1/findings?at={then}")).await, all);
        assert_eq!(found(&format!("/api/v1/findings?at={before}")).await, [""; 0]);
        for (query, expected) in [
            ("advisory=DSA-1-1", &all[..2]),
            ("cve=cve-2026-1001", &all[..2]),
            ("cve=CVE-2026-1003", &all[2..]),
            ("cve=CVE-2026-9999", &[]),
            ("package=openssl", &all[..2]),
            ("package=binary:libxml2", &all[2..]),
            ("verdict=undetermined", &all[1..2]),
            ("selector=name%3Ddb-01", &all[1..2]),
        ] {
            assert_eq!(found(&format!("/api/v1/findings?at={then}&{query}")).await, expected, "{query}");
        }
        assert_eq!(found(&format!("/api/v1/hosts/{WEB}/findings?at={then}")).await, [all[0], all[2]]);
        let mut pages = Vec::new();
        let mut after = String::new();
        loop {
            let page = centre.get(&token, &format!("/api/v1/findings?at={then}&limit=1{after}")).await.json();
            pages.extend(column(&page, "/host/name"));
            let Some(next) = page.get("next") else { break };
            after = format!("&after={}", next.as_str().unwrap());
        }
        assert_eq!(pages, ["web-01", "db-01", "web-01"]);
        let summary = centre.get(&token, &format!("/api/v1/findings/summary?at={then}")).await.json();
        let first = &summary["items"][0];
        assert_eq!((&first["advisory"], &first["hosts"]), (&json!("DSA-1-1"), &json!(2)));
        assert_eq!((&first["affected"], &first["undetermined"]), (&json!(1), &json!(1)));
        assert_eq!(
            (&first["summary"], &first["cves"]),
            (&json!("DSA-1-1 in short"), &json!(["CVE-2026-1001"]))
        );
        assert_eq!(summary["items"].as_array().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn advisories_are_found_by_id_and_by_cve() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Viewer).await;
        fleet::advisory(&centre, "hosts:cafe", "DSA-2-1", " CVE-2026-1002 ").await;
        fleet::advisory(&centre, "debian", "D_A-3-1", " ").await;
        let found = async |query: &str| {
            column(&centre.get(&token, &format!("/api/v1/advisories?{query}")).await.json(), "/id")
        };
        assert_eq!(found("id=DSA").await, ["DSA-1-1", "DSA-2-1"]);
        assert_eq!(found("id=D_A").await, ["D_A-3-1"], "no wildcards");
        assert_eq!(found("id=%25").await, [""; 0]);
        assert_eq!(found("cve=CVE-2026-1002").await, ["DSA-2-1"]);
        assert_eq!(found("feed=hosts:cafe").await, ["DSA-2-1"]);
        assert_eq!(centre.get(&token, "/api/v1/advisories?cve=CVE-2026-1%25").await.status, 400);
        let one = centre.get(&token, "/api/v1/advisories/DSA-2-1").await.json();
        assert_eq!(one["documents"].as_array().unwrap().len(), 2);
        assert_eq!(one["documents"][0]["advisory"]["summary"], "DSA-2-1 in short");
        assert_eq!((&one["hosts_affected"], &one["hosts"][0]["name"]), (&json!(1), &json!("web-01")));
        assert_eq!(centre.get(&token, "/api/v1/advisories/none").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn an_unchanged_thing_is_not_sent_and_a_stale_write_is_refused() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Operator).await;
        let (path, bearer) = (format!("/api/v1/hosts/{WEB}"), bearer(&token));
        let tag = centre.get(&token, &path).await.header("etag").to_owned();
        let get = async |tag: &str| {
            centre.ask("GET", &path, &[("authorization", &bearer), ("if-none-match", tag)], None).await
        };
        let same = get(&tag).await;
        assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
        assert_eq!(get(&format!("\"x\", W/{tag}")).await.status, 304);
        let put_into = async |tag: &str, group: &str| {
            let headers = [("authorization", bearer.as_str()), ("if-match", tag)];
            centre.ask("PATCH", &path, &headers, Some(&json!({ "group": group }))).await
        };
        let changed = put_into(&tag, "db").await;
        assert_eq!((changed.status.as_u16(), &changed.json()["group"]), (200, &json!("db")));
        assert_eq!(get(&tag).await.status, 200, "it has changed");
        for stale in [tag.as_str(), "\"x\"", "W/\"1-0\""] {
            assert_eq!(put_into(stale, "stale").await.status, 412, "{stale}");
        }
        let now = centre.get(&token, &path).await;
        assert_eq!(now.json()["group"], "db");
        assert_eq!(put_into("*", "any").await.status, 200);
        let (remove, headers) = (format!("{path}?reason=old"), [("authorization", bearer.as_str())]);
        let stale = [headers[0], ("if-match", tag.as_str())];
        assert_eq!(centre.ask("DELETE", &remove, &stale, None).await.status, 412);
        assert_eq!(centre.ask("DELETE", &remove, &headers, None).await.status, 204);
        assert_eq!(centre.get(&token, &path).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn a_write_sent_twice_is_done_once_and_its_secret_is_not_in_the_store() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Operator).await;
        let stranger = centre.named("stranger", Role::Operator).await.1;
        let post = async |token: &str, key: &str, body: &Value| {
            let bearer = bearer(token);
            let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
            centre.ask("POST", "/api/v1/enrolment-tokens", &headers, Some(body)).await
        };
        let body = json!({ "group": "web" });
        let first = post(&token, "key-1", &body).await;
        assert_eq!(first.status, 201);
        let again = post(&token, "key-1", &body).await;
        assert_eq!((again.status.as_u16(), &again.body), (201, &first.body));
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(post(&token, "key-1", &json!({ "group": "db" })).await.status, 422);
        assert_ne!(post(&stranger, "key-1", &body).await.body, first.body, "a key is its owner's");
        assert_ne!(post(&token, "key-2", &body).await.body, first.body);
        for bad in ["", "with space", &"x".repeat(129)] {
            assert_eq!(post(&token, bad, &body).await.status, 400, "{bad}");
        }
        // A refused request leaves the key free for the request put right.
        assert_eq!(post(&token, "key-3", &json!({ "group": "" })).await.status, 400);
        assert_eq!(post(&token, "key-3", &body).await.status, 201);
        let secret = first.json()["secret"].as_str().unwrap().to_owned();
        let kept: Vec<String> = sqlx::query_scalar("SELECT body FROM idempotency")
            .fetch_all(centre.store.reader())
            .await
            .unwrap();
        assert!(kept.iter().all(|body| !body.is_empty() && !body.contains(&secret)));
        let mut writing = centre.store.begin().await.unwrap();
        sqlx::query("UPDATE idempotency SET status = 0").execute(&mut *writing).await.unwrap();
        commit(writing, "test").await.unwrap();
        assert_eq!(post(&token, "key-1", &body).await.status, 409, "under way");
        centre.wait(25 * 3600);
        let (_, token) = centre.named("later", Role::Operator).await;
        assert_eq!(post(&token, "key-1", &body).await.status, 201);
    })
    .await;
}

#[tokio::test]
async fn two_at_once_with_one_key_are_done_once() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Operator).await;
        let bearer = bearer(&token);
        let body = json!({});
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", "k")];
        let post = || centre.ask("POST", "/api/v1/enrolment-tokens", &headers, Some(&body));
        let (one, other, third) = tokio::join!(post(), post(), post());
        let made = [&one, &other, &third].iter().filter(|answer| answer.status == 201).count();
        assert!(made >= 1);
        let page = centre.get(&token, "/api/v1/enrolment-tokens").await.json();
        assert_eq!(page["items"].as_array().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn strange_ids_are_looked_up_and_not_run() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Admin).await;
        let ids = [
            "'%20OR%20'1'='1",
            "1;DROP%20TABLE%20hosts",
            "..%2f..%2f..%2fetc%2fpasswd",
            "%2e%2e%2fusers",
            "%22%20OR%201=1--",
            "%25",
            "_",
            "%F0%9F%92%A9",
            "%0d%0aset-cookie:%20a=b",
            &"9".repeat(2000),
        ];
        for id in ids {
            for kind in ["hosts", "advisories", "feeds", "users"] {
                let answer = centre.get(&token, &format!("/api/v1/{kind}/{id}")).await;
                assert_eq!(answer.status, 404, "{kind}/{id}");
                assert_eq!(answer.header("content-type"), "application/problem+json");
                assert!(answer.headers.get("set-cookie").is_none());
            }
            for query in [
                "hosts?selector",
                "findings?package",
                "findings?advisory",
                "advisories?id",
                "advisories?feed",
            ] {
                let answer = centre.get(&token, &format!("/api/v1/{query}={id}")).await;
                assert!([200, 400].contains(&answer.status.as_u16()), "{query}={id}: {}", answer.status);
            }
        }
        for id in ["%00", "a%00b"] {
            assert_eq!(centre.get(&token, &format!("/api/v1/hosts/{id}")).await.status, 400, "{id}");
        }
        assert_eq!(centre.get(&token, "/api/v1/hosts/%FF").await.status, 400);
        assert_eq!(column(&centre.get(&token, "/api/v1/hosts").await.json(), "/name").len(), 2);
    })
    .await;
}

#[tokio::test]
async fn bodies_are_read_strictly_and_never_too_much() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Admin).await;
        let post = async |kind: &str, body: Body| {
            let request = Request::post("/api/v1/users")
                .header("authorization", bearer(&token))
                .header("content-type", kind)
                .body(body);
            centre.send(request.unwrap()).await
        };
        let large = format!("{{\"name\":\"{}\"", "x".repeat(1 << 20));
        assert_eq!(post("application/json", Body::from(large)).await.status, 413);
        let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 65536]));
        assert_eq!(post("application/json", Body::from_stream(endless)).await.status, 413);
        assert_eq!(post("text/plain", Body::from("{}")).await.status, 415);
        for (body, field) in [
            (r#"{"name":"a","role":"viewer","colour":"red"}"#, "colour"),
            (r#"{"name":"a","role":"king"}"#, "role"),
            (r#"{"name":"a b","role":"viewer"}"#, "name"),
            (r#"{"name":"a\nb","role":"viewer"}"#, "name"),
        ] {
            let answer = post("application/json", Body::from(body)).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["field"]), (400, &json!(field)), "{body}");
        }
        let deep = "[".repeat(100_000);
        for body in [
            "",
            "{",
            "{} {}",
            "nonsense",
            r#"["a", "viewer"]"#,
            deep.as_str(),
            r#"{"name":"a","name":"b","role":"viewer"}"#,
        ] {
            assert_eq!(post("application/json", Body::from(body.to_owned())).await.status, 400);
        }
        let nul = json!({ "group": "a\0b" });
        assert_eq!(centre.patch(&token, &format!("/api/v1/hosts/{WEB}"), &nul).await.status, 400);
        let line = json!({ "labels": { "site": "a\nb" } });
        let answer = centre.patch(&token, &format!("/api/v1/hosts/{WEB}"), &line).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["field"]), (400, &json!("labels.site")));
    })
    .await;
}

#[tokio::test]
async fn a_problem_says_what_why_and_what_to_do() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Viewer).await;
        let bearer = bearer(&token);
        let ask = async |method: &str, path: &str, id: &str| {
            centre.ask(method, path, &[("authorization", &bearer), ("x-request-id", id)], None).await
        };
        let answer = ask("GET", "/api/v1/hosts/none", "my-id-1").await;
        let problem = answer.json();
        assert_eq!(problem["type"], "urn:palisade:problem:not-found");
        assert_eq!(
            (&problem["status"], &problem["instance"]),
            (&json!(404), &json!("urn:palisade:request:my-id-1"))
        );
        assert_eq!(
            problem["detail"],
            "find host none: there is none of that id; list them to see which there are"
        );
        assert_eq!(answer.header("x-request-id"), "my-id-1");
        let forged = ask("GET", "/api/v1/hosts", "x level=ERROR").await;
        assert!(uuid::Uuid::parse_str(forged.header("x-request-id")).is_ok(), "not in our log");
        for (method, path, status) in
            [("GET", "/nowhere", 404), ("PUT", "/api/v1/hosts", 405), ("TRACE", "/api/v1/hosts", 405)]
        {
            let answer = ask(method, path, "a").await;
            assert_eq!(answer.status, status, "{method} {path}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert!(answer.header("content-security-policy").contains("default-src 'none'"));
            assert_eq!(answer.header("cache-control"), "no-store");
        }
    })
    .await;
}

#[tokio::test]
async fn a_refresh_reaches_the_feeds_reader_and_says_when_it_is_busy() {
    on_each_store(async |fresh| {
        let mut config = server::Config::default();
        config.feeds.push(server::config::Feed {
            name: "debian".to_owned(),
            location: "/feeds/debian.zip".to_owned(),
            every_minutes: 60,
            stale_days: 14,
            release: String::new(),
        });
        let mut centre = Centre::with(fresh.store, config).await;
        let (_, token) = centre.user(Role::Watch).await;
        let path = "/api/v1/feeds/debian/refresh";
        assert_eq!(centre.post(&token, path, &json!({})).await.status, 202);
        let asked = centre.refresh.try_recv().unwrap();
        assert_eq!((asked.feed.as_str(), asked.accept), ("debian", None));
        let accept = "/api/v1/feeds/debian/refresh?accept=true";
        assert_eq!(centre.post(&token, accept, &json!({})).await.status, 403);
        let approver = centre.user(Role::Approver).await.1;
        assert_eq!(centre.post(&approver, accept, &json!({})).await.status, 202);
        assert!(centre.refresh.try_recv().unwrap().accept.is_some());
        for status in [202, 202, 503] {
            assert_eq!(centre.post(&token, path, &json!({})).await.status, status);
        }
        assert_eq!(centre.post(&token, "/api/v1/feeds/other/refresh", &json!({})).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn the_audit_log_names_who_did_it_and_its_export_is_chained() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Operator).await;
        assert_eq!(centre.post(&token, "/api/v1/enrolment-tokens", &json!({})).await.status, 201);
        let export = centre.get(&token, "/api/v1/audit/export").await;
        assert_eq!(export.header("content-type"), "application/jsonl");
        let text = String::from_utf8(export.body).unwrap();
        let entries: Vec<audit::Entry> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut previous = String::new();
        for entry in &entries {
            assert_eq!(entry.hash, entry.expected_hash(&previous));
            previous.clone_from(&entry.hash);
        }
        let last = entries.last().unwrap();
        assert!(last.actor.starts_with("token:operator/"), "{}", last.actor);
        let page = centre.get(&token, "/api/v1/audit?limit=1").await.json();
        assert_eq!(page["items"][0]["seq"], 1);
        let next = page["next"].as_str().unwrap();
        let page = centre.get(&token, &format!("/api/v1/audit?limit=1&after={next}")).await.json();
        assert_eq!(page["items"][0]["seq"], 2);
    })
    .await;
}

#[tokio::test]
async fn an_inventory_is_told_as_it_was_on_that_day() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Viewer).await;
        let path = format!("/api/v1/hosts/{WEB}/inventory");
        assert_eq!(centre.get(&token, &path).await.status, 404);
        let before = centre.now();
        let mut hashes = Vec::new();
        for kernel in ["6.1.0-1", "6.1.0-2"] {
            hashes.push(fleet::inventory(&centre, WEB, kernel).await);
            centre.wait(3600);
        }
        let at = async |query: &str| {
            let answer = centre.get(&token, &format!("{path}{query}")).await;
            assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
            answer.json()["inventory"]["kernel"]["booted"].clone()
        };
        assert_eq!(at("").await, "6.1.0-2");
        assert_eq!(at(&format!("?at={before}")).await, "6.1.0-1");
        let early = before - SignedDuration::from_secs(1);
        assert_eq!(centre.get(&token, &format!("{path}?at={early}")).await.status, 404);
        assert_eq!(centre.get(&token, &format!("{path}?at=yesterday")).await.status, 400);
        let history = centre.get(&token, &format!("{path}/history")).await.json();
        hashes.reverse();
        assert_eq!(column(&history, "/hash"), hashes);
    })
    .await;
}
