//! The store on both databases: the same suite runs on each.

mod store_for_tests;

use futures_util::poll;
use jiff::{SignedDuration, Timestamp};
use server::store::audit::{self, Actor};
use server::store::commit;
use server::store::events::{self, Kind};
use server::store::{Store, alerts, census, leases};
use sqlx::{AssertSqlSafe, Executor};
use store_for_tests::{Fresh, on_each_store};

#[tokio::test]
async fn what_is_told_and_recorded_is_read_back_in_order() {
    on_each_store(async |fresh| {
        let store = fresh.store;
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
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_the_database_ended_by_itself_stops_nothing_that_follows() {
    on_each_store(async |fresh| {
        let store = fresh.store;
        let mut writing = store.begin().await.unwrap();
        // As SQLite does by itself where the disk is full.
        writing.execute("ROLLBACK").await.unwrap();
        let _ = commit(writing, "test").await;

        for _ in 0..3 {
            let mut writing = store.begin().await.unwrap();
            let detail = serde_json::json!({});
            events::tell(&mut writing, Timestamp::UNIX_EPOCH, Kind::Host, "a", &detail).await.unwrap();
            commit(writing, "test").await.unwrap();
        }
        assert_eq!(events::after(&store, 0, 10).await.unwrap().len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_gives_up_while_beginning_to_write_holds_nobody_up_and_hides_nothing() {
    on_each_store(async |fresh| {
        let store = fresh.store;
        let now = Timestamp::from_second(1_000_000).unwrap();
        for turn in 0..300_i64 {
            // Looked at a few times and then dropped, as the request of a client that hung up.
            let mut beginning = Box::pin(store.begin());
            for _ in 0..turn % 4 {
                if poll!(&mut beginning).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(beginning);
            // A single statement, outside a transaction, is there for everybody at once.
            let holder = turn.to_string();
            let later = now + SignedDuration::from_secs(turn);
            let role = leases::acquire(&store, later, "test", &holder, SignedDuration::ZERO).await.unwrap();
            assert!(role.is_some(), "turn {turn}");
            let known: String = sqlx::query_scalar("SELECT holder FROM leases WHERE name = 'test'")
                .fetch_one(store.reader())
                .await
                .unwrap();
            assert_eq!(known, holder);
        }
    })
    .await;
}

#[tokio::test]
async fn a_store_of_the_schema_before_the_census_is_brought_up_to_date_and_keeps_what_it_has() {
    on_each_store(async |fresh| {
        let Fresh { store, url } = fresh;
        let mut writing = store.begin().await.unwrap();
        let tables = [
            "hours",
            "hosts",
            "tellers",
            "signatures",
            "requests",
            "days",
            "fleet_hours",
            "attacked",
            "alarms",
        ];
        for table in tables {
            writing.execute(AssertSqlSafe(format!("DROP TABLE census_{table}"))).await.unwrap();
        }
        for text in [
            "ALTER TABLE alerts DROP COLUMN holds",
            "DELETE FROM counters WHERE name = 'census'",
            "DELETE FROM _sqlx_migrations WHERE version = 3",
            "INSERT INTO alerts (name, since_at, detail) VALUES ('disk', 1, '{}')",
        ] {
            writing.execute(text).await.unwrap();
        }
        commit(writing, "go back").await.unwrap();
        store.close().await;
        let store = Store::open(&url).await.unwrap();
        let alerts = alerts::list(&store, "", 10).await.unwrap();
        assert_eq!((alerts[0].name.as_str(), alerts[0].holds), ("disk", true), "it holds gates still");
        assert_eq!(census::revision(&store).await.unwrap(), 0);
        assert!(census::signatures(&store, (0, i64::MAX), "", 10).await.unwrap().is_empty());
        store.close().await;
    })
    .await;
}
