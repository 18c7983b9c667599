//! The store on both databases: the same suite runs on each.

use jiff::Timestamp;
use server::store::audit::{self, Actor};
use server::store::events::{self, Kind};
use server::store::{Store, commit};

#[tokio::test]
async fn what_is_told_and_recorded_is_read_back_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite://{}", directory.path().join("p.db").display())).await.unwrap();
    let now = Timestamp::from_second(1_000_000).unwrap();
    for host in ["a", "b"] {
        let mut writing = store.begin().await.unwrap();
        let detail = serde_json::json!({ "name": host });
        events::tell(&mut writing, now, Kind::Host, host, &detail).await.unwrap();
        audit::record(&mut writing, now, &Actor::Server, "host.enrol", host, detail).await.unwrap();
        commit(writing, "test").await.unwrap();
    }
    let told = events::after(&store, 0, 10).await.unwrap();
    assert_eq!(
        told.iter().map(|event| (event.seq, event.object.as_str())).collect::<Vec<_>>(),
        [(1, "a"), (2, "b")]
    );
    let entries = audit::after(&store, 0, 10).await.unwrap();
    assert_eq!(entries[1].hash, entries[1].expected_hash(&entries[0].hash));
}
