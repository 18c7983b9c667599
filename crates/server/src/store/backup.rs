//! Backup and restore: every lasting table as lines of JSON, gzipped. One format for both databases, so that a backup of
//! one restores into the other.

use super::{Dialect, Doing, Error, Store, audit, begun, commit, rollouts};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures_util::TryStreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::any::AnyTypeInfoKind;
use sqlx::{AssertSqlSafe, Column, Row, TypeInfo};
use std::io::{BufRead, BufReader, Read, Write};

/// What a backup of this shape begins with.
const FORMAT: &str = "palisade.backup/1";
/// Tables in an order in which references are met. Not kept: who holds leases, sessions and logins under way, stored
/// answers to writes: a restored server begins those anew.
const TABLES: [&str; 43] = [
    "counters",
    "settings",
    "audit_head",
    "audit",
    "events",
    "users",
    "api_tokens",
    "hosts",
    "certificates",
    "enrolment_tokens",
    "pieces",
    "inventories",
    "parts",
    "feeds",
    "advisories",
    "advisory_cves",
    "signals",
    "finding_topics",
    "finding_evidence",
    "plans",
    "rehearsals",
    "trust_files",
    "proposals",
    "words",
    "rollouts",
    "rollout_waves",
    "rollout_jobs",
    "rollout_reports",
    "services",
    "service_places",
    "denied",
    "evidence",
    "alerts",
    "census_signatures",
    "census_requests",
    "census_days",
    "census_fleet_hours",
    "census_tellers",
    "census_hosts",
    "census_attacked",
    "census_alarms",
    "census_hours",
    // Most of the lines.
    "finding_hosts",
];
/// Bytes of one line: 256 MiB, the largest signals (all of EPSS) ten times over.
const LINE_BYTES_MAX: u64 = 256 << 20;
/// Rows that are written in one transaction while restoring.
const ROWS_MAX: usize = 10_000;

/// A backup or a restore that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
    /// The file.
    #[error("{doing} the backup: {source}")]
    File {
        /// "read" or "write".
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no backup, or not whole.
    #[error("read the backup: line {line}: {reason}; nothing is to be trusted of it, take another")]
    Damaged {
        /// Where, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// The store to restore into has something in it.
    #[error(
        "restore: the store has {what} already; restore into an empty one (name another with server.store), or move \
         the old one away"
    )]
    NotEmpty {
        /// What it has.
        what: String,
    },
}

/// First line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    palisade: String,
    at: Timestamp,
}

/// Last line.
#[derive(Debug, Serialize, Deserialize)]
struct Trailer {
    rows: u64,
}

/// Rows written or read, by table, in the order of the file.
pub type Counts = Vec<(&'static str, u64)>;

/// Writes a backup of `store`, as of one moment, to `into`. `progress` is told of each table as it is done.
pub async fn write(
    store: &Store,
    now: Timestamp,
    into: impl Write,
    progress: &mut dyn FnMut(&str, u64),
) -> Result<Counts, Failed> {
    let file = |source| Failed::File { doing: "write", source };
    let mut out = GzEncoder::new(into, Compression::fast());
    let line = |out: &mut GzEncoder<_>, value: &Value| -> Result<(), Failed> {
        writeln!(out, "{value}").map_err(file)
    };
    let header =
        Header { format: FORMAT.to_owned(), palisade: env!("CARGO_PKG_VERSION").to_owned(), at: now };
    line(&mut out, &serde_json::json!(header))?;
    // One moment for all tables, and writers go on.
    let begin = match store.dialect() {
        Dialect::Sqlite => "BEGIN",
        Dialect::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    };
    let mut reading = begun(store.reader(), begin).await.doing("begin to read")?;
    let mut counts = Counts::new();
    for table in TABLES {
        let mut rows = sqlx::query(AssertSqlSafe(format!("SELECT * FROM {table}"))).fetch(&mut *reading);
        let mut count = 0;
        while let Some(row) = rows.try_next().await.doing("read a table")? {
            let mut values = Map::new();
            for column in row.columns() {
                values.insert(column.name().to_owned(), value_of(&row, column.ordinal(), column.name())?);
            }
            line(&mut out, &serde_json::json!({ "table": table, "row": values }))?;
            count += 1;
        }
        progress(table, count);
        counts.push((table, count));
    }
    let rows = counts.iter().map(|(_, count)| count).sum();
    line(&mut out, &serde_json::json!(Trailer { rows }))?;
    out.finish().map_err(file)?.flush().map_err(file)?;
    Ok(counts)
}

fn value_of(row: &sqlx::any::AnyRow, at: usize, name: &str) -> Result<Value, Failed> {
    use sqlx::ValueRef;
    let raw = row.try_get_raw(at).doing("read a column")?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().kind();
    Ok(match kind {
        AnyTypeInfoKind::BigInt | AnyTypeInfoKind::Integer | AnyTypeInfoKind::SmallInt => {
            row.try_get::<i64, _>(at).doing("read a column")?.into()
        }
        AnyTypeInfoKind::Text => row.try_get::<String, _>(at).doing("read a column")?.into(),
        AnyTypeInfoKind::Blob => {
            let bytes: Vec<u8> = row.try_get(at).doing("read a column")?;
            serde_json::json!({ "base64": BASE64.encode(bytes) })
        }
        AnyTypeInfoKind::Null | AnyTypeInfoKind::Bool | AnyTypeInfoKind::Real | AnyTypeInfoKind::Double => {
            let reason = format!("it is a {}, which our schema does not use", raw.type_info().name());
            return Err(Error::Damaged { object: format!("column {name}"), reason }.into());
        }
    })
}

/// Restores a backup into `store`, which must be empty. All of it, or the store is left to be thrown away: the last line
/// is checked, and the audit log's chain. Rollouts that were under way are halted: their books are older than the hosts.
pub async fn restore(
    store: &Store,
    from: impl Read,
    progress: &mut dyn FnMut(&str, u64),
) -> Result<Counts, Failed> {
    empty(store).await?;
    let mut lines = Lines { from: BufReader::new(GzDecoder::new(from)), at: 0 };
    let header: Header = lines.next()?.ok_or_else(|| lines.damaged("it is empty"))?;
    if header.format != FORMAT {
        return Err(lines.damaged(format!("its format is \"{}\", not {FORMAT}", header.format)));
    }
    let mut writing = store.begin().await?;
    // What the schema began with is in the backup too.
    for statement in ["DELETE FROM counters", "DELETE FROM audit_head", "DELETE FROM settings"] {
        sqlx::query(statement).execute(&mut *writing).await.doing("clear the new store")?;
    }
    let mut counts: Counts = TABLES.map(|table| (table, 0)).into();
    let mut rows = 0_u64;
    let mut table_before = "";
    loop {
        let value: Value =
            lines.next()?.ok_or_else(|| lines.damaged("it ends early: the last line is missing"))?;
        let (Some(table), Some(row)) = (value["table"].as_str(), value["row"].as_object()) else {
            let trailer: Trailer = serde_json::from_value(value)
                .map_err(|_| lines.damaged("neither a row nor the last line"))?;
            if trailer.rows != rows {
                return Err(lines.damaged(format!("{} rows were written, {rows} are here", trailer.rows)));
            }
            break;
        };
        let count = counts
            .iter_mut()
            .find(|(known, _)| *known == table)
            .ok_or_else(|| lines.damaged(format!("a table \"{table}\" is not known")))?;
        if table_before != count.0 {
            progress(count.0, rows);
            table_before = count.0;
        }
        count.1 += 1;
        rows += 1;
        insert(&mut writing, &lines, table, row).await?;
        if rows.is_multiple_of(ROWS_MAX as u64) {
            commit(writing, "restore rows").await?;
            writing = store.begin().await?;
        }
    }
    // A backup of an earlier schema has not all of them.
    sqlx::query("INSERT INTO counters (name, value) VALUES ('census', 0) ON CONFLICT (name) DO NOTHING")
        .execute(&mut *writing)
        .await
        .doing("restore counters")?;
    commit(writing, "restore rows").await?;
    if let Some(broken) = audit::verify_store(store).await? {
        return Err(lines.damaged(format!("its audit log is broken: {broken}")));
    }
    rollouts::halt_restored(store, Timestamp::now()).await?;
    Ok(counts)
}

async fn empty(store: &Store) -> Result<(), Failed> {
    for (table, count) in [
        ("hosts", "SELECT COUNT(*) FROM hosts"),
        ("users", "SELECT COUNT(*) FROM users"),
        ("entries in the audit log", "SELECT COUNT(*) FROM audit"),
    ] {
        let count: i64 =
            sqlx::query_scalar(count).fetch_one(store.reader()).await.doing("look into the store")?;
        if count > 0 {
            return Err(Failed::NotEmpty { what: format!("{count} {table}") });
        }
    }
    Ok(())
}

async fn insert(
    writing: &mut super::Writing,
    lines: &Lines<impl Read>,
    table: &str,
    row: &Map<String, Value>,
) -> Result<(), Failed> {
    // Names go into the statement, and the file may be anybody's.
    let plain = |name: &String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    if let Some(name) = row.keys().find(|name| !plain(name)) {
        return Err(lines.damaged(format!("a column is named {name:?}")));
    }
    let mut place = 0;
    let places: Vec<String> = row
        .values()
        .map(|value| {
            if value.is_null() {
                return "NULL".to_owned();
            }
            place += 1;
            format!("${place}")
        })
        .collect();
    let names: Vec<&str> = row.keys().map(String::as_str).collect();
    let statement = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
    let mut query = sqlx::query(AssertSqlSafe(statement));
    for (name, value) in row {
        query = match value {
            Value::Null => query,
            Value::Number(number) => {
                let number = number.as_i64();
                query.bind(number.ok_or_else(|| lines.damaged(format!("{table}.{name} is no whole number")))?)
            }
            Value::String(text) => query.bind(text.clone()),
            Value::Object(_) => {
                let bytes = value["base64"].as_str().and_then(|text| BASE64.decode(text).ok());
                query.bind(bytes.ok_or_else(|| lines.damaged(format!("{table}.{name} is not base64")))?)
            }
            Value::Bool(_) | Value::Array(_) => {
                return Err(lines.damaged(format!("{table}.{name} is of no kind that our schema has")));
            }
        };
    }
    query.execute(&mut **writing).await.doing("restore a row")?;
    Ok(())
}

/// The lines of a backup, and where we are.
struct Lines<R> {
    from: BufReader<GzDecoder<R>>,
    at: usize,
}

impl<R: Read> Lines<R> {
    fn next<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>, Failed> {
        self.at += 1;
        let mut line = String::new();
        let read = self.from.by_ref().take(LINE_BYTES_MAX).read_line(&mut line);
        match read {
            Ok(0) => Ok(None),
            Ok(_) if !line.ends_with('\n') => Err(self.damaged("the line has no end")),
            Ok(_) => {
                serde_json::from_str(&line).map(Some).map_err(|problem| self.damaged(problem.to_string()))
            }
            Err(problem) => Err(self.damaged(problem.to_string())),
        }
    }

    fn damaged(&self, reason: impl Into<String>) -> Failed {
        Failed::Damaged { line: self.at, reason: reason.into() }
    }
}
