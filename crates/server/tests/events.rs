//! Events: who follows misses nothing, and learns nothing that is not theirs.
#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

#[path = "api_for_tests/mod.rs"]
mod api_for_tests;
mod store_for_tests;

use api_for_tests::Centre;
use axum::body::Body;
use futures_util::StreamExt;
use http::Request;
use serde_json::json;
use server::people::roles::Role;
use server::store::commit;
use server::store::events::{self, Kind};
use std::time::Duration;
use store_for_tests::on_each_store;

async fn centre(fresh: store_for_tests::Fresh, role: Role) -> (Centre, String) {
    let centre = Centre::new(fresh.store).await;
    let (_, token) = centre.user(role).await;
    (centre, token)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Tells of an event; as a server does, also to those who follow it live.
async fn tell(centre: &Centre, kind: Kind, object: &str, live: bool) -> i64 {
    let mut writing = centre.store.begin().await.unwrap();
    let seq = events::tell(&mut writing, centre.now(), kind, object, &json!({})).await.unwrap();
    commit(writing, "test").await.unwrap();
    if live {
        let event = events::after(&centre.store, seq - 1, 1).await.unwrap().remove(0);
        let _ = centre.events.send(event);
    }
    seq
}

/// Reads a stream until `done`, at most five seconds.
async fn follow(centre: &Centre, token: &str, last: Option<i64>) -> axum::body::BodyDataStream {
    let mut request = Request::get("/api/v1/events").header("authorization", bearer(token));
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    let response = centre.stream(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

async fn read(stream: &mut axum::body::BodyDataStream, done: &str) -> String {
    let mut text = String::new();
    while !text.contains(done) {
        let chunk = tokio::time::timeout(Duration::from_secs(5), stream.next()).await;
        let chunk = chunk.unwrap_or_else(|_| panic!("no {done:?} in {text:?}"));
        text.push_str(std::str::from_utf8(&chunk.expect("the stream goes on").unwrap()).unwrap());
    }
    text
}

fn ids(text: &str) -> Vec<i64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_follower_that_comes_back_misses_nothing_and_gets_nothing_twice() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Viewer).await;
        let first = tell(&centre, Kind::Host, "one", false).await;
        let second = tell(&centre, Kind::Host, "two", false).await;
        let mut stream = follow(&centre, &token, Some(first)).await;
        assert_eq!(ids(&read(&mut stream, "two").await), [second]);
        // What comes live also if the follower was too slow for the channel: it holds 16.
        let mut expected = Vec::new();
        for number in 0..40 {
            expected.push(tell(&centre, Kind::Inventory, &format!("live-{number}."), true).await);
        }
        assert_eq!(ids(&read(&mut stream, "live-39.").await), expected);
        drop(stream);
        let mut stream = follow(&centre, &token, Some(expected[19])).await;
        assert_eq!(ids(&read(&mut stream, "live-39.").await), expected[20..]);
        let mut stream = follow(&centre, &token, None).await;
        let new = tell(&centre, Kind::Host, "newest", true).await;
        assert_eq!(ids(&read(&mut stream, "newest").await), [new], "from now on");
        centre.stopping.cancel();
        let end = tokio::time::timeout(Duration::from_secs(5), stream.next()).await;
        assert!(end.unwrap().is_none(), "a stopping server ends its streams");
        let bearer = bearer(&token);
        let bad = [("authorization", bearer.as_str()), ("last-event-id", "x")];
        assert_eq!(centre.ask("GET", "/api/v1/events", &bad, None).await.status, 400);
    })
    .await;
}

#[tokio::test]
async fn a_follower_learns_that_events_are_gone_and_nothing_of_users_unless_admin() {
    on_each_store(async |fresh| {
        let (centre, token) = centre(fresh, Role::Viewer).await;
        let admin = centre.user(Role::Admin).await.1;
        let first = tell(&centre, Kind::Host, "gone", false).await;
        tell(&centre, Kind::Access, "secret-user", false).await;
        tell(&centre, Kind::Host, "kept", false).await;
        let mut stream = follow(&centre, &token, Some(first)).await;
        assert!(!read(&mut stream, "kept").await.contains("secret-user"));
        let mut stream = follow(&centre, &admin, Some(first)).await;
        assert!(read(&mut stream, "kept").await.contains("secret-user"));
        let mut writing = centre.store.begin().await.unwrap();
        sqlx::query("DELETE FROM events WHERE seq <= $1").bind(first).execute(&mut *writing).await.unwrap();
        commit(writing, "test").await.unwrap();
        let mut stream = follow(&centre, &token, Some(0)).await;
        assert!(read(&mut stream, "kept").await.contains("event: reset"));
    })
    .await;
}
