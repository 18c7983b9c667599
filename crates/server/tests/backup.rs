//! A backup holds everything lasting, fits either database, and one that is not whole is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod store_for_tests;

use jiff::Timestamp;
use server::store::audit::{self, Actor};
use server::store::backup::{self, Failed};
use server::store::events::{self, Kind};
use server::store::{Store, commit, enrolment};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use store_for_tests::on_each_store;

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

/// A store with something of every kind of column in it: numbers, texts, bytes, nothing.
async fn fill(store: &Store) {
    let labels = BTreeMap::from([("role".to_owned(), "wéb 'quoted'".to_owned())]);
    let valid = jiff::SignedDuration::from_hours(1);
    enrolment::create(store, now(), &Actor::Person("ada".to_owned()), "web", &labels, valid, 1)
        .await
        .unwrap();
    for number in 0..50 {
        let mut writing = store.begin().await.unwrap();
        sqlx::query("INSERT INTO pieces (hash, body, sent_at) VALUES ($1, $2, $3)")
            .bind(format!("hash-{number}"))
            .bind(vec![0_u8, 255, number])
            .bind(i64::MAX)
            .execute(&mut *writing)
            .await
            .unwrap();
        let detail = serde_json::json!({ "n": number, "text": "line\nbreak" });
        audit::record(&mut writing, now(), &Actor::Server, "test", "it", detail.clone()).await.unwrap();
        events::tell(&mut writing, now(), Kind::Access, "it", &detail).await.unwrap();
        commit(writing, "fill").await.unwrap();
    }
}

async fn backed_up(store: &Store) -> Vec<u8> {
    let mut bytes = Vec::new();
    backup::write(store, now(), &mut bytes, &mut |_, _| {}).await.unwrap();
    bytes
}

fn unpacked(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

fn packed(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

async fn fresh(directory: &tempfile::TempDir, name: &str) -> Store {
    Store::open(&format!("sqlite://{}", directory.path().join(name).display())).await.unwrap()
}

#[tokio::test]
async fn what_was_backed_up_is_restored_into_either_database() {
    let directory = tempfile::tempdir().unwrap();
    let first = fresh(&directory, "first.db").await;
    fill(&first).await;
    let bytes = backed_up(&first).await;
    on_each_store(async |there| {
        backup::restore(&there.store, bytes.as_slice(), &mut |_, _| {}).await.unwrap();
        assert_eq!(audit::verify_store(&there.store).await.unwrap(), None);
        // And back again: the same lines, whatever the database.
        assert_eq!(unpacked(&backed_up(&there.store).await), unpacked(&bytes));
    })
    .await;
}

#[tokio::test]
async fn a_backup_of_the_schema_before_the_census_is_restored_and_counts_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let first = fresh(&directory, "first.db").await;
    fill(&first).await;
    let mut writing = first.begin().await.unwrap();
    sqlx::query("INSERT INTO alerts (name, since_at, detail) VALUES ('disk', 1, '{}')")
        .execute(&mut *writing)
        .await
        .unwrap();
    commit(writing, "fill").await.unwrap();
    let text = unpacked(&backed_up(&first).await);
    let (mut before, mut rows) = (String::new(), 0);
    for line in text.lines() {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let table = line["table"].as_str().unwrap_or_default();
        if table.starts_with("census") || table == "counters" && line["row"]["name"] == "census" {
            continue;
        }
        if table == "alerts" {
            line["row"].as_object_mut().unwrap().remove("holds");
        }
        if line.get("rows").is_some() {
            line["rows"] = rows.into();
        }
        rows += i32::from(line.get("table").is_some());
        before.push_str(&line.to_string());
        before.push('\n');
    }
    let there = fresh(&directory, "there.db").await;
    backup::restore(&there, packed(&before).as_slice(), &mut |_, _| {}).await.unwrap();
    assert!(server::store::alerts::list(&there, "", 10).await.unwrap()[0].holds);
    let mut writing = there.begin().await.unwrap();
    assert_eq!(server::store::count(&mut writing, "census").await.unwrap(), 1);
}

#[tokio::test]
async fn a_store_with_something_in_it_is_not_restored_into() {
    let directory = tempfile::tempdir().unwrap();
    let store = fresh(&directory, "full.db").await;
    fill(&store).await;
    let bytes = backed_up(&store).await;
    let refused = backup::restore(&store, bytes.as_slice(), &mut |_, _| {}).await;
    assert!(matches!(refused, Err(Failed::NotEmpty { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_backup_cut_short_changed_or_made_up_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = fresh(&directory, "whole.db").await;
    fill(&store).await;
    let bytes = backed_up(&store).await;
    let text = unpacked(&bytes);
    let without_end: String = text
        .lines()
        .rev()
        .skip(1)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .fold(String::new(), |text, line| text + line + "\n");
    let row_less = text
        .replacen(text.lines().find(|line| line.contains("hash-7\"")).unwrap(), "", 1)
        .replace("\n\n", "\n");
    let bad = [
        ("cut in the middle", bytes[..bytes.len() / 2].to_vec()),
        ("without its last line", packed(&without_end)),
        ("one row less", packed(&row_less)),
        ("an entry of the audit log changed", packed(&text.replacen("\"n\\\":3,", "\"n\\\":4,", 1))),
        (
            "a table of somebody's own",
            packed(&text.replacen("\"table\":\"pieces\"", "\"table\":\"sqlite_master\"", 1)),
        ),
        (
            "a column that is a statement",
            packed(&text.replacen("\"sent_at\":", "\"sent_at) VALUES (1); --\":", 1)),
        ),
        ("no backup at all", b"GIF89a".to_vec()),
        ("nothing", packed("")),
    ];
    for (number, (what, bytes)) in bad.into_iter().enumerate() {
        let there = fresh(&directory, &format!("there-{number}.db")).await;
        let refused = backup::restore(&there, bytes.as_slice(), &mut |_, _| {}).await;
        assert!(matches!(refused, Err(Failed::Damaged { .. })), "{what}: {refused:?}");
    }
}

#[tokio::test]
async fn an_entry_changed_in_the_store_is_found() {
    on_each_store(async |there| {
        fill(&there.store).await;
        let mut writing = there.store.begin().await.unwrap();
        sqlx::query("UPDATE audit SET actor = 'person:mallory' WHERE seq = 20")
            .execute(&mut *writing)
            .await
            .unwrap();
        commit(writing, "tamper").await.unwrap();
        assert_eq!(audit::verify_store(&there.store).await.unwrap().map(|broken| broken.seq), Some(20));

        let mut writing = there.store.begin().await.unwrap();
        sqlx::query("DELETE FROM audit WHERE seq >= 20").execute(&mut *writing).await.unwrap();
        commit(writing, "cut").await.unwrap();
        let cut = audit::verify_store(&there.store).await.unwrap().expect("the end is missing");
        assert!(cut.reason.contains("cut off"), "{cut}");
    })
    .await;
}
