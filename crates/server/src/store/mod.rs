//! What the server remembers, in SQLite (one file, the default) or PostgreSQL (several servers): one SQL text for both.
//! What must differ is in `dialect`; each topic's queries are in its own file.
//!
//! Writing: [`Store::begin`], queries on the transaction, `commit`. Reading: [`Store::reader`]. Never hold a
//! transaction over a network answer: SQLite has one writer.

mod dialect;
mod filter;
mod packed;
pub mod advisories;
pub mod advisory_list;
pub mod alerts;
pub mod audit;
pub mod backup;
pub mod census;
pub mod certificates;
pub mod enrolment;
pub mod enrolment_list;
pub mod events;
pub mod evidence;
pub mod feed_list;
pub mod feeds;
pub mod finding_list;
pub mod findings;
pub mod host_list;
pub mod hosts;
pub mod idempotency;
pub mod inventories;
pub mod leases;
pub mod people;
pub mod plans;
pub mod proposals;
pub mod rehearsals;
pub mod rollouts;
pub mod sessions;
pub mod tokens;
pub mod trust_files;
pub mod words;

pub use dialect::Dialect;

use jiff::Timestamp;
use sqlx::any::AnyPoolOptions;
use sqlx::migrate::Migrator;
use sqlx::{Any, AnyPool, Transaction};
use std::time::Duration;

/// Connections that only read. Readers of SQLite are threads; more than cores give nothing.
const READERS_MAX: u32 = 4;
/// Connections that write to PostgreSQL; SQLite has one writer.
const WRITERS_MAX: u32 = 8;
/// How long a request waits for a connection before it is refused.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// A transaction that writes. Dropped without `commit`, it leaves nothing.
pub type Writing = Transaction<'static, Any>;

/// The store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL names no store that we know.
    #[error(
        "open the store: \"{0}\" is neither sqlite://PATH nor postgres://USER@HOST/DATABASE; correct server.store"
    )]
    Url(String),
    /// The database answered with an error.
    #[error("{doing}: {source}{}", remedy(source))]
    Database {
        /// What was being done, in words.
        doing: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The schema is newer than this program, or was changed by hand.
    #[error("bring the store's schema up to date: {0}; run the palisade that wrote it, or restore a backup")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// Something stored cannot be read back.
    #[error("read {object} from the store: {reason}; run \"palisade doctor\"")]
    Damaged {
        /// What.
        object: String,
        /// Why.
        reason: String,
    },
}

/// What a person can do about it.
fn remedy(problem: &sqlx::Error) -> &'static str {
    let code = problem.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        // SQLITE_FULL, and PostgreSQL's disk_full.
        Some("13" | "53100") => "; free space where the store lies, then try again",
        _ => "",
    }
}

/// Names what was being done when the database failed.
pub trait Doing<T> {
    /// `doing`: a verb and its object, as in "store the inventory".
    fn doing(self, doing: &'static str) -> Result<T, Error>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| Error::Database { doing, source })
    }
}

/// The store. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct Store {
    dialect: Dialect,
    writers: AnyPool,
    readers: AnyPool,
}

impl Store {
    /// Opens the store at `url` (`sqlite:///PATH` or `postgres://…`), makes it where there is none, and brings its schema
    /// up to date. Several servers may do so at once.
    pub async fn open(url: &str) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of(url)?;
        let pool = |connections| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                .after_connect(move |connection, _| Box::pin(dialect.prepare(connection)))
        };
        let url = dialect.url(url);
        let writers = pool(dialect.writers_max(WRITERS_MAX)).connect(&url).await.doing("open the store")?;
        let mut migrator = Migrator::with_migrations(dialect.migrations());
        // A table of ours that only a newer palisade knows means that this one must not write.
        migrator.set_ignore_missing(false);
        migrator.run(&writers).await?;
        let readers = pool(READERS_MAX).connect(&url).await.doing("open the store for reading")?;
        Ok(Self { dialect, writers, readers })
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Begins a transaction that writes; waits its turn.
    pub async fn begin(&self) -> Result<Writing, Error> {
        let doing = "begin to write";
        match begun(&self.writers, self.dialect.begin()).await {
            // SQLite ends a transaction by itself where the disk is full, and its driver goes on believing that there is
            // one. Such a connection is of no use any more; it is the only one that writes.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                let lost = self.writers.acquire().await.doing(doing)?;
                lost.close().await.doing(doing)?;
                begun(&self.writers, self.dialect.begin()).await.doing(doing)
            }
            begun => begun.doing(doing),
        }
    }

    /// For reading outside a transaction.
    pub fn reader(&self) -> &AnyPool {
        &self.readers
    }

    /// Closes all connections, after what is under way.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }
}

/// Begins a transaction, on a task of its own: whoever asked may be gone before the database has answered (its client hung
/// up), and the driver for PostgreSQL then gives the connection back with the transaction still open (sqlx 0.9). What the next
/// one wrote there by a single statement would never be committed, and its locks would never be released.
async fn begun(pool: &AnyPool, statement: &'static str) -> Result<Writing, sqlx::Error> {
    let pool = pool.clone();
    match tokio::spawn(async move { pool.begin_with(statement).await }).await {
        Ok(begun) => begun,
        Err(problem) if problem.is_panic() => std::panic::resume_unwind(problem.into_panic()),
        // The program ends.
        Err(_) => Err(sqlx::Error::PoolClosed),
    }
}

/// Commits a transaction; `doing` as in [`Doing`].
pub async fn commit(writing: Writing, doing: &'static str) -> Result<(), Error> {
    writing.commit().await.doing(doing)
}

/// Rows that [`delete_past`] deletes in one transaction.
const DELETED_AT_ONCE: i64 = 2_000;

/// Deletes what is past, in small transactions; gives how many rows. `text` deletes rows from before `$1`, at most `$2` of them;
/// `doing` as in [`Doing`].
async fn delete_past(
    store: &Store,
    text: &'static str,
    before: i64,
    doing: &'static str,
) -> Result<u64, Error> {
    let mut deleted = 0;
    loop {
        let mut writing = store.begin().await?;
        let deleting = sqlx::query(text).bind(before).bind(DELETED_AT_ONCE);
        let done = deleting.execute(&mut *writing).await.doing(doing)?.rows_affected();
        commit(writing, doing).await?;
        deleted += done;
        if done < DELETED_AT_ONCE.unsigned_abs() {
            return Ok(deleted);
        }
    }
}

/// The next number of a counter, in the order of commits: others wait until this transaction ends.
pub async fn count(writing: &mut Writing, counter: &str) -> Result<i64, Error> {
    sqlx::query_scalar("UPDATE counters SET value = value + 1 WHERE name = $1 RETURNING value")
        .bind(counter.to_owned())
        .fetch_one(&mut **writing)
        .await
        .doing("count")
}

/// The moment of a write, microseconds: `now`, or just after the counter's last moment where the clock says less, so that
/// intervals neither overlap nor end before they begin. Others that ask wait until this transaction ends.
pub async fn moment(writing: &mut Writing, counter: &str, now: Timestamp) -> Result<i64, Error> {
    sqlx::query_scalar(
        "UPDATE counters SET value = CASE WHEN value >= $1 THEN value + 1 ELSE $1 END WHERE name = $2 RETURNING value",
    )
    .bind(now.as_microsecond())
    .bind(counter.to_owned())
    .fetch_one(&mut **writing)
    .await
    .doing("take the time")
}
