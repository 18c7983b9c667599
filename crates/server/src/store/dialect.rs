//! Where SQLite and PostgreSQL must differ.

use super::Error;
use sqlx::migrate::{Migration, MigrationType};
use sqlx::{AnyConnection, AssertSqlSafe, Executor, SqlSafeStr};
use std::borrow::Cow;

/// Migrations, in order. Never changed once released; the schema only goes forward.
const MIGRATIONS: [(i64, &str, &str); 5] = [
    (1, "fleet", include_str!("../../migrations/0001_fleet.sql")),
    (2, "rollouts", include_str!("../../migrations/0002_rollouts.sql")),
    (3, "census", include_str!("../../migrations/0003_census.sql")),
    (4, "evidence", include_str!("../../migrations/0004_evidence.sql")),
    (5, "clocks", include_str!("../../migrations/0005_clocks.sql")),
];

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite: one file, one server.
    Sqlite,
    /// PostgreSQL: several servers.
    Postgres,
}

impl Dialect {
    pub(super) fn of(url: &str) -> Result<Self, Error> {
        match url.split_once(':') {
            Some(("sqlite", _)) => Ok(Self::Sqlite),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres),
            // Whatever it is, it may hold a password.
            Some((scheme, _)) => Err(Error::Url(format!("{scheme}:…"))),
            None => Err(Error::Url(url.to_owned())),
        }
    }

    /// The URL as the driver wants it.
    pub(super) fn url(self, url: &str) -> Cow<'_, str> {
        match self {
            // Made where there is none.
            Self::Sqlite if !url.contains("mode=") => {
                Cow::Owned(format!("{url}{}mode=rwc", if url.contains('?') { '&' } else { '?' }))
            }
            Self::Sqlite | Self::Postgres => Cow::Borrowed(url),
        }
    }

    pub(super) fn writers_max(self, most: u32) -> u32 {
        match self {
            Self::Sqlite => 1,
            Self::Postgres => most,
        }
    }

    /// Starts a transaction that writes. SQLite's plain `BEGIN` would take the lock later, when it can no longer wait.
    pub(super) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    /// The elements of a JSON array as rows, each in the column `value`; `->>` takes them apart.
    pub(super) fn elements(self, json: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({json})"),
            Self::Postgres => format!("json_array_elements(({json})::json)"),
        }
    }

    /// The numbers or texts of a JSON array as rows, each in the column `value`; PostgreSQL has texts.
    pub(super) fn scalars(self, json: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({json})"),
            Self::Postgres => format!("json_array_elements_text(({json})::json)"),
        }
    }

    /// What tells the planner of rows that were just written by the thousand. PostgreSQL takes them for few until it has
    /// looked, and reads all of a plan's jobs where it was asked for one; SQLite needs no telling.
    pub(super) fn look_at_jobs(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some("ANALYZE rollout_jobs"),
        }
    }

    pub(super) async fn prepare(self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        match self {
            // FULL: a commit that was answered survives a power failure.
            Self::Sqlite => {
                let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000; \
                                PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 67108864";
                connection.execute(settings).await?;
            }
            Self::Postgres => {
                connection.execute("SET statement_timeout = '60s'; SET lock_timeout = '10s'").await?;
            }
        }
        Ok(())
    }

    pub(super) fn migrations(self) -> Vec<Migration> {
        let migration = |(version, name, text): (i64, &'static str, &'static str)| {
            let text = match self {
                Self::Sqlite => Cow::Borrowed(text),
                Self::Postgres => Cow::Owned(text.replace(" BLOB", " BYTEA").replace(" WITHOUT ROWID", "")),
            };
            let kind = MigrationType::Simple;
            Migration::new(version, name.into(), kind, AssertSqlSafe(text.into_owned()).into_sql_str(), false)
        };
        MIGRATIONS.into_iter().map(migration).collect()
    }
}
