//! People: who gets in, and what each role may ask.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

#[path = "api_for_tests/mod.rs"]
mod api_for_tests;
mod store_for_tests;

use api_for_tests::Centre;
use axum::body::Body;
use http::Request;
use jiff::SignedDuration;
use serde_json::{Value, json};
use server::people::roles::{Permission, Role};
use server::people::{first_admin, sessions};
use std::collections::BTreeMap;
use store_for_tests::on_each_store;

const PASSWORD: &str = "correct horse battery";

/// Every endpoint and the least role that may ask it. An endpoint that is not here, or a row without its endpoint, fails.
const TABLE: &str = include_str!("endpoints.txt");

fn table() -> BTreeMap<(String, String), String> {
    let rows = TABLE.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| !row.is_empty())
        .map(|row| ((row[0].to_owned(), row[1].to_owned()), row[2].to_owned()))
        .collect()
}

#[tokio::test]
async fn each_role_gets_exactly_the_endpoints_of_its_row() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let mut tokens = Vec::new();
        for role in Role::ALL {
            tokens.push((role, centre.user(role).await.1));
        }
        let document: Value = serde_json::from_str(&server::api::openapi()).unwrap();
        let mut expected = table();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let method = method.to_uppercase();
                let row = expected.remove(&(method.clone(), path.clone()));
                let least = row.unwrap_or_else(|| panic!("{method} {path} has no row in the table"));
                assert_eq!(operation["x-least-role"], json!(least), "{method} {path} as documented");
                let address = ["{id}", "{name}", "{host}", "{signature}"]
                    .into_iter()
                    .fold(path.clone(), |address, place| address.replace(place, "none"));
                let body = json!({});
                let body = (method != "GET" && method != "DELETE").then_some(&body);
                let anonymous = ask(&centre, &method, &address, None, body).await;
                assert_eq!(
                    anonymous == 401,
                    least != "public",
                    "{method} {path} without credentials: {anonymous}"
                );
                for (role, token) in &tokens {
                    let status = ask(&centre, &method, &address, Some(token), body).await;
                    assert_ne!(status, 401, "{method} {path} as {role}");
                    assert!(status < 500 || least == "public", "{method} {path} as {role}: {status}");
                    let may = Role::of(&least).is_none_or(|least| *role >= least);
                    assert_eq!(status != 403, may, "{method} {path} as {role}: {status}");
                }
            }
        }
        assert!(expected.is_empty(), "rows without an endpoint: {expected:?}");
    })
    .await;
}

/// The status only: a stream of events does not end.
async fn ask(centre: &Centre, method: &str, path: &str, token: Option<&String>, body: Option<&Value>) -> u16 {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    centre.stream(request.body(body).unwrap()).await.status().as_u16()
}

#[test]
fn a_higher_role_may_do_all_that_a_lower_one_may() {
    for permission in Permission::ALL {
        let may: Vec<bool> = Role::ALL.iter().map(|role| role.may(permission)).collect();
        assert!(may.is_sorted(), "{permission}: {may:?}");
        assert!(Role::Admin.may(permission), "{permission}");
    }
}

/// A user with a password; gives the id.
async fn with_password(centre: &Centre, admin: &str, name: &str, role: &str) -> String {
    let body = json!({ "name": name, "role": role, "password": PASSWORD });
    let answer = centre.post(admin, "/api/v1/users", &body).await;
    assert_eq!(answer.status, 201);
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_before_a_log_in_is_worth_nothing_after_it() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, admin) = centre.user(Role::Admin).await;
        with_password(&centre, &admin, "eve", "viewer").await;
        with_password(&centre, &admin, "ada", "operator").await;
        let planted = centre.log_in("eve", PASSWORD).await.cookie(sessions::COOKIE).unwrap();
        // Ada's browser was given Eve's cookie, or one that nobody ever gave out.
        for planted in [planted.as_str(), "0".repeat(64).as_str()] {
            let body = json!({ "name": "ada", "password": PASSWORD });
            let cookie = format!("{}={planted}", sessions::COOKIE);
            let answer = centre.ask("POST", "/api/v1/session", &[("cookie", &cookie)], Some(&body)).await;
            assert_eq!(answer.status, 201);
            assert_ne!(answer.cookie(sessions::COOKIE).unwrap(), planted);
            assert_eq!(centre.ask("GET", "/api/v1/session", &[("cookie", &cookie)], None).await.status, 401);
        }
    })
    .await;
}

#[tokio::test]
async fn the_cookie_is_out_of_reach_of_scripts_other_sites_and_plain_http() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, admin) = centre.user(Role::Admin).await;
        with_password(&centre, &admin, "ada", "viewer").await;
        let answer = centre.log_in("ada", PASSWORD).await;
        let line = answer.header("set-cookie").to_owned();
        assert!(line.starts_with("__Host-palisade="), "{line}");
        for flag in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax"] {
            assert!(line.contains(flag), "{line} has {flag}");
        }
        assert!(!line.contains("Domain"));
        let secret = answer.cookie(sessions::COOKIE).unwrap();
        let stored: Vec<String> =
            sqlx::query_scalar("SELECT hash FROM sessions").fetch_all(centre.store.reader()).await.unwrap();
        assert!(!stored.contains(&secret), "the store keeps a hash only");
    })
    .await;
}

#[tokio::test]
async fn a_write_in_a_session_needs_its_token_and_our_own_page() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, admin) = centre.user(Role::Admin).await;
        with_password(&centre, &admin, "ada", "admin").await;
        let answer = centre.log_in("ada", PASSWORD).await;
        let cookie = format!("{}={}", sessions::COOKIE, answer.cookie(sessions::COOKIE).unwrap());
        let csrf = answer.json()["csrf_token"].as_str().unwrap().to_owned();
        let mut count = 0;
        let mut write = async |headers: &[(&str, &str)]| {
            count += 1;
            let body = json!({ "name": format!("user-{count}"), "role": "viewer" });
            let mut headers = headers.to_vec();
            headers.push(("cookie", &cookie));
            centre.ask("POST", "/api/v1/users", &headers, Some(&body)).await.status.as_u16()
        };
        assert_eq!(write(&[]).await, 403, "no token");
        assert_eq!(write(&[("x-csrf-token", "0")]).await, 403, "a wrong token");
        assert_eq!(write(&[("x-csrf-token", &csrf)]).await, 201);
        for foreign in
            ["https://evil.example", "http://localhost:8470", "null", "https://localhost.evil.example:8470"]
        {
            assert_eq!(write(&[("x-csrf-token", &csrf), ("origin", foreign)]).await, 403, "{foreign}");
        }
        assert_eq!(write(&[("x-csrf-token", &csrf), ("origin", "https://localhost:8470")]).await, 201);
        // Another site's page cannot log a browser in either.
        let body = json!({ "name": "ada", "password": PASSWORD });
        let origin = [("origin", "https://evil.example")];
        assert_eq!(centre.ask("POST", "/api/v1/session", &origin, Some(&body)).await.status, 403);
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_idle_after_an_hour_whole_after_twelve_and_at_log_out() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, admin) = centre.user(Role::Admin).await;
        with_password(&centre, &admin, "ada", "viewer").await;
        let begin = async || {
            let answer = centre.log_in("ada", PASSWORD).await;
            let csrf = answer.json()["csrf_token"].as_str().unwrap().to_owned();
            (format!("{}={}", sessions::COOKIE, answer.cookie(sessions::COOKIE).unwrap()), csrf)
        };
        let is_in = async |cookie: &str| {
            let answer = centre.ask("GET", "/api/v1/session", &[("cookie", cookie)], None).await;
            // The use is written beside the request.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            answer.status == 200
        };
        let (idle, _) = begin().await;
        centre.wait(3601);
        assert!(!is_in(&idle).await, "an hour unused");
        let (used, _) = begin().await;
        for half_hour in 1..24 {
            centre.wait(1800);
            assert!(is_in(&used).await, "{half_hour} half hours");
        }
        centre.wait(1801);
        assert!(!is_in(&used).await, "twelve hours");
        let (left, csrf) = begin().await;
        let headers = [("cookie", left.as_str()), ("x-csrf-token", csrf.as_str())];
        assert_eq!(centre.ask("DELETE", "/api/v1/session", &headers, None).await.status, 204);
        assert!(!is_in(&left).await, "after logging out");
    })
    .await;
}

#[tokio::test]
async fn wrong_passwords_make_wait_ever_longer_and_names_that_nobody_has_do_too() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, admin) = centre.user(Role::Admin).await;
        with_password(&centre, &admin, "ada", "viewer").await;
        for name in ["ada", "nobody"] {
            for guess in 1..=5 {
                let answer = centre.log_in(name, "wrong").await;
                assert_eq!(answer.status, 401, "{name} {guess}");
            }
            let locked = centre.log_in(name, PASSWORD).await;
            assert_eq!(locked.status, 429, "{name}: not even with the right one");
            let first: i64 = locked.header("retry-after").parse().unwrap();
            centre.wait(first);
            assert_eq!(centre.log_in(name, "wrong").await.status, 401, "{name}");
            let again = centre.log_in(name, "wrong").await;
            assert_eq!(again.status, 429, "{name}");
            assert!(again.header("retry-after").parse::<i64>().unwrap() > first, "{name}");
            assert_eq!(again.json()["type"], "urn:palisade:problem:too-many");
            centre.wait(300);
        }
        assert_eq!(centre.log_in("ada", PASSWORD).await.status, 201, "nobody is locked out for good");
        assert_eq!(centre.log_in("ada", "wrong").await.status, 401, "and the count starts anew");
        assert_eq!(centre.log_in("ada", PASSWORD).await.status, 201);
    })
    .await;
}

#[tokio::test]
async fn one_address_that_tries_many_names_is_slowed_down() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let mut refused = 0;
        for name in 0..25 {
            let answer = centre.log_in(&format!("name-{name}"), "wrong").await;
            refused += u32::from(answer.status == 429);
        }
        assert!(refused > 0);
    })
    .await;
}

#[tokio::test]
async fn who_does_not_exist_takes_as_long_as_who_does() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, admin) = centre.user(Role::Admin).await;
        with_password(&centre, &admin, "ada", "viewer").await;
        let time = async |name: &str| {
            let mut times = Vec::new();
            for _ in 0..3 {
                let begun = std::time::Instant::now();
                assert_eq!(centre.log_in(name, "wrong").await.status, 401);
                times.push(begun.elapsed());
            }
            times.into_iter().min().unwrap()
        };
        time("warm").await;
        let (known, unknown) = (time("ada").await, time("nobody").await);
        // Without the hash it would be over ten times quicker.
        assert!(unknown * 3 > known, "{unknown:?} {known:?}");
    })
    .await;
}

#[tokio::test]
async fn a_token_ends_when_it_expires_is_revoked_or_its_owner_is_disabled() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, admin) = centre.user(Role::Admin).await;
        let (ada, mut token) = centre.named("ada", Role::Operator).await;
        let ask_for = async |token: &str, role: &str, hours: i64| {
            let expires_at = centre.now() + SignedDuration::from_hours(hours);
            let body = json!({ "name": "ci", "role": role, "expires_at": expires_at.to_string() });
            centre.post(token, "/api/v1/api-tokens", &body).await
        };
        assert_eq!(ask_for(&token, "viewer", 24 * 367).await.status, 400, "more than a year");
        assert_eq!(ask_for(&token, "viewer", 25).await.status, 400, "longer than the token that asks");
        assert_eq!(ask_for(&token, "admin", 1).await.status, 403, "more than its owner may");
        let body = json!({ "name": "ci", "role": "viewer" });
        assert_eq!(centre.post(&token, "/api/v1/api-tokens", &body).await.status, 400, "no end");

        let made = ask_for(&token, "viewer", 1).await.json();
        let secret = made["secret"].as_str().unwrap().to_owned();
        assert!(secret.starts_with("pal_") && secret.len() == 68, "{secret}");
        assert_eq!(ask_for(&secret, "operator", 1).await.status, 403, "a viewer's token makes no operator's");
        assert_eq!(centre.get(&secret, "/api/v1/hosts").await.status, 200);
        centre.wait(3600);
        assert_eq!(centre.get(&secret, "/api/v1/hosts").await.status, 401, "expired");

        let made = ask_for(&token, "operator", 1).await.json();
        let (id, secret) = (made["token"]["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
        let stranger = centre.named("eve", Role::Operator).await.1;
        let path = format!("/api/v1/api-tokens/{id}");
        let bearer = |token: &str| format!("Bearer {token}");
        let revoke = async |token: &str| {
            centre.ask("DELETE", &path, &[("authorization", &bearer(token))], None).await.status.as_u16()
        };
        assert_eq!(revoke(&stranger).await, 404, "somebody else's");
        assert_eq!(revoke(&admin).await, 204);
        assert_eq!(centre.get(secret, "/api/v1/hosts").await.status, 401, "revoked");

        let user = format!("/api/v1/users/{}", ada.id);
        assert_eq!(centre.get(&token, "/api/v1/enrolment-tokens").await.status, 200);
        assert_eq!(centre.patch(&admin, &user, &json!({ "role": "viewer" })).await.status, 200);
        assert_eq!(centre.get(&token, "/api/v1/enrolment-tokens").await.status, 403, "owner's role taken");
        assert_eq!(centre.get(&token, "/api/v1/hosts").await.status, 200);
        assert_eq!(centre.patch(&admin, &user, &json!({ "disabled": true })).await.status, 200);
        assert_eq!(centre.get(&token, "/api/v1/hosts").await.status, 401, "owner disabled");
        token.replace_range(10..11, "x");
        assert_eq!(centre.get(&token, "/api/v1/hosts").await.status, 401);
    })
    .await;
}

#[tokio::test]
async fn that_a_token_was_used_is_written_once_a_minute() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, token) = centre.user(Role::Viewer).await;
        let used = async || {
            sqlx::query_scalar::<_, Option<i64>>("SELECT used_at FROM api_tokens")
                .fetch_one(centre.store.reader())
                .await
                .unwrap()
        };
        // It is written beside the request.
        let use_until = async |done: &dyn Fn(Option<i64>) -> bool| {
            centre.get(&token, "/api/v1/hosts").await;
            for _ in 0..100 {
                if done(used().await) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            panic!("not written: {:?}", used().await);
        };
        use_until(&|used| used.is_some()).await;
        let first = used().await;
        centre.wait(59);
        centre.get(&token, "/api/v1/hosts").await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert_eq!(used().await, first);
        centre.wait(1);
        use_until(&|used| used > first).await;
    })
    .await;
}

#[tokio::test]
async fn a_new_password_or_shutting_out_ends_sessions_and_the_last_admin_stays() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (root, admin) = centre.user(Role::Admin).await;
        let ada = with_password(&centre, &admin, "ada", "viewer").await;
        let user = format!("/api/v1/users/{ada}");
        let session = async |password: &str| {
            format!(
                "{}={}",
                sessions::COOKIE,
                centre.log_in("ada", password).await.cookie(sessions::COOKIE).unwrap()
            )
        };
        let is_in = async |cookie: &str| {
            centre.ask("GET", "/api/v1/session", &[("cookie", cookie)], None).await.status == 200
        };
        let cookie = session(PASSWORD).await;
        assert!(is_in(&cookie).await);
        let short = centre.patch(&admin, &user, &json!({ "password": "short" })).await;
        assert_eq!((short.status.as_u16(), short.json()["field"].clone()), (400, json!("password")));
        let change = json!({ "password": "another one, longer" });
        assert_eq!(centre.patch(&admin, &user, &change).await.status, 200);
        assert!(!is_in(&cookie).await);
        let cookie = session("another one, longer").await;
        let bearer = format!("Bearer {admin}");
        let delete = async |path: &str| {
            centre.ask("DELETE", path, &[("authorization", &bearer)], None).await.status.as_u16()
        };
        assert_eq!(delete(&user).await, 204);
        assert!(!is_in(&cookie).await);
        assert_eq!(centre.log_in("ada", "another one, longer").await.status, 401);
        let root = format!("/api/v1/users/{}", root.id);
        assert_eq!(delete(&root).await, 409);
        assert_eq!(centre.patch(&admin, &root, &json!({ "role": "operator" })).await.status, 409);
    })
    .await;
}

#[tokio::test]
async fn one_changes_ones_own_password_with_the_old_one() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store).await;
        let (_, admin) = centre.user(Role::Admin).await;
        with_password(&centre, &admin, "ada", "viewer").await;
        let answer = centre.log_in("ada", PASSWORD).await;
        let cookie = format!("{}={}", sessions::COOKIE, answer.cookie(sessions::COOKIE).unwrap());
        let csrf = answer.json()["csrf_token"].as_str().unwrap().to_owned();
        let headers = [("cookie", cookie.as_str()), ("x-csrf-token", csrf.as_str())];
        let path = "/api/v1/session/password";
        let wrong = json!({ "old": "wrong", "new": "a longer new one" });
        assert_eq!(centre.ask("POST", path, &headers, Some(&wrong)).await.status, 403);
        let right = json!({ "old": PASSWORD, "new": "a longer new one" });
        assert_eq!(centre.ask("POST", path, &headers, Some(&right)).await.status, 204);
        assert_eq!(centre.log_in("ada", PASSWORD).await.status, 401);
        assert_eq!(centre.log_in("ada", "a longer new one").await.status, 201);
    })
    .await;
}

#[tokio::test]
async fn the_first_admin_is_made_once() {
    on_each_store(async |fresh| {
        let centre = Centre::new(fresh.store.clone()).await;
        let (one, other) =
            tokio::join!(first_admin(&fresh.store, centre.now()), first_admin(&fresh.store, centre.now()));
        let made: Vec<_> = [one.unwrap(), other.unwrap()].into_iter().flatten().collect();
        assert_eq!(made.len(), 1);
        let who = centre.get(&made[0].token, "/api/v1/session").await.json();
        assert_eq!((&who["name"], &who["role"]), (&json!("admin"), &json!("admin")));
        assert!(first_admin(&fresh.store, centre.now()).await.unwrap().is_none());
    })
    .await;
}
