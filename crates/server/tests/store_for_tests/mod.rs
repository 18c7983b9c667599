//! A fresh store for each test, on each database that we can run on: SQLite always; PostgreSQL where
//! `PALISADE_TEST_POSTGRES` names a server (`postgres://USER:PASSWORD@HOST/DATABASE`) on which databases may be made.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "each test program uses a part")]

use futures_util::FutureExt;
use server::store::Store;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};

/// Databases made by this program.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A store that nobody else has.
pub struct Fresh {
    /// Open, with its schema.
    pub store: Store,
    /// Where it is, for opening it once more as another server would.
    pub url: String,
}

/// Runs a test once on SQLite and once on PostgreSQL; what it made is removed, also when it fails.
pub async fn on_each_store(test: impl AsyncFn(Fresh)) {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("palisade.db").display());
    test(Fresh { store: Store::open(&url).await.unwrap(), url }).await;

    let Ok(server) = std::env::var("PALISADE_TEST_POSTGRES") else {
        eprintln!("SKIPPED on PostgreSQL: PALISADE_TEST_POSTGRES names no server");
        return;
    };
    let name = format!("palisade_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let (root, _) = server.rsplit_once('/').expect("PALISADE_TEST_POSTGRES ends in /DATABASE");
    let url = format!("{root}/{name}");
    // The name is made of numbers of ours.
    let on_server = async |text: String| {
        let mut connection = PgConnection::connect(&server).await.unwrap();
        connection.execute(AssertSqlSafe(text)).await.unwrap();
    };
    on_server(format!("CREATE DATABASE {name}")).await;
    let store = Store::open(&url).await.unwrap();
    let outcome = AssertUnwindSafe(test(Fresh { store, url })).catch_unwind().await;
    on_server(format!("DROP DATABASE {name} WITH (FORCE)")).await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}
