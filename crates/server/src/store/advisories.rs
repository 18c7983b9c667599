//! What feeds said, from when until when we knew it. Only what changed is written.

use super::{Dialect, Doing, Error, Store, Writing};
use advisory::{Advisory, Kind, material};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write as _};

/// Rows read at once.
const PAGE: i64 = 5_000;
/// Bytes of an advisory, inflated: 64 MiB, eight times the largest record that is read.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// A change of advisories at once: some milliseconds of the writer.
pub const WRITTEN_AT_ONCE: usize = 500;

/// What is known of a current revision without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// [`material::content_hash`].
    pub hash: String,
    /// When the vendor changed it.
    pub modified: Option<Timestamp>,
}

/// A revision, ready to be written.
#[derive(Clone, Debug)]
pub struct Revision {
    /// The advisory's id.
    pub id: String,
    hash: String,
    kind: &'static str,
    summary: String,
    times: [Option<Timestamp>; 3],
    cves: String,
    body: Vec<u8>,
}

impl Revision {
    /// Packs an advisory; `hash` is its [`material::content_hash`].
    pub fn new(advisory: &Advisory, hash: String) -> Self {
        let body = serde_json::to_vec(advisory).expect("advisories have text keys only");
        let mut cves = String::from(" ");
        for cve in advisory.cves() {
            cves.push_str(cve);
            cves.push(' ');
        }
        Self {
            id: advisory.id.clone(),
            hash,
            kind: word(advisory.kind),
            summary: advisory.summary.replace('\0', "\u{fffd}"),
            times: [advisory.published, advisory.modified, advisory.withdrawn],
            cves,
            body: deflate(&body),
        }
    }
}

/// A current revision.
#[derive(Clone, Debug, PartialEq)]
pub struct Current {
    /// Who says it.
    pub feed: String,
    /// [`material::content_hash`].
    pub hash: String,
    /// What it says.
    pub advisory: Advisory,
}

/// Current revisions of all feeds, or of one, in pages.
#[derive(Debug)]
pub struct Pages {
    store: Store,
    feed: Option<String>,
    after: (String, String),
}

/// A row as stored; opening it is work for many cores.
#[derive(Debug)]
pub struct Packed {
    feed: String,
    id: String,
    hash: String,
    body: Vec<u8>,
}

impl Packed {
    /// Who says it.
    pub fn feed(&self) -> &str {
        &self.feed
    }

    /// What it says.
    pub fn open(&self) -> Result<Current, Error> {
        let damaged =
            |reason: String| Error::Damaged { object: format!("{} of {}", self.id, self.feed), reason };
        let mut text = Vec::new();
        let mut inflated = ZlibDecoder::new(&*self.body).take(BODY_BYTES_MAX);
        inflated.read_to_end(&mut text).map_err(|problem| damaged(problem.to_string()))?;
        let advisory = serde_json::from_slice(&text).map_err(|problem| damaged(problem.to_string()))?;
        Ok(Current { feed: self.feed.clone(), hash: self.hash.clone(), advisory })
    }

    fn of(row: &AnyRow) -> Self {
        Self { feed: row.get(0), id: row.get(1), hash: row.get(2), body: row.get(3) }
    }
}

/// CVEs that these advisories are about.
pub async fn cves_of(store: &Store, advisories: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
    let text = format!(
        "SELECT DISTINCT cve FROM advisory_cves WHERE advisory IN (SELECT value FROM {})",
        store.dialect().scalars("$1")
    );
    let cves: Vec<String> = sqlx::query_scalar(AssertSqlSafe(text))
        .bind(serde_json::json!(advisories).to_string())
        .fetch_all(store.reader())
        .await
        .doing("read what advisories are about")?;
    Ok(cves.into_iter().collect())
}

/// All current revisions, of one feed or of all.
pub fn all_current(store: &Store, feed: Option<&str>) -> Pages {
    Pages { store: store.clone(), feed: feed.map(str::to_owned), after: Default::default() }
}

impl Pages {
    /// The next ones; none: these were all.
    pub async fn next(&mut self) -> Result<Vec<Packed>, Error> {
        let rows = sqlx::query(
            "SELECT feed, id, hash, body FROM advisories WHERE until_at IS NULL AND (feed, id) > ($1, $2) \
             AND ($3 = '' OR feed = $3) ORDER BY feed, id LIMIT $4",
        )
        .bind(self.after.0.clone())
        .bind(self.after.1.clone())
        .bind(self.feed.clone().unwrap_or_default())
        .bind(PAGE)
        .fetch_all(self.store.reader())
        .await
        .doing("read advisories")?;
        let page: Vec<Packed> = rows.iter().map(Packed::of).collect();
        if let Some(last) = page.last() {
            self.after = (last.feed.clone(), last.id.clone());
        }
        Ok(page)
    }
}

/// Current revisions of some ids of a feed; ids that it does not have are left out.
pub async fn of_feed(store: &Store, feed: &str, ids: &[String]) -> Result<Vec<Packed>, Error> {
    let text = format!(
        "SELECT feed, id, hash, body FROM advisories WHERE until_at IS NULL AND feed = $1 \
         AND id IN (SELECT value FROM {})",
        store.dialect().scalars("$2")
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(feed.to_owned())
        .bind(serde_json::Value::from(ids).to_string())
        .fetch_all(store.reader())
        .await
        .doing("read advisories")?;
    Ok(rows.iter().map(Packed::of).collect())
}

/// What was known under an id at a moment: of every feed that had it.
pub async fn at(store: &Store, id: &str, moment: Timestamp) -> Result<Vec<Current>, Error> {
    let rows = sqlx::query(
        "SELECT feed, id, hash, body FROM advisories WHERE id = $1 AND from_at <= $2 \
         AND (until_at IS NULL OR until_at > $2) ORDER BY feed LIMIT $3",
    )
    .bind(id.to_owned())
    .bind(moment.as_microsecond())
    .bind(PAGE)
    .fetch_all(store.reader())
    .await
    .doing("read an advisory")?;
    rows.iter().map(|row| Packed::of(row).open()).collect()
}

/// What a feed says now, without bodies, by id.
pub async fn known(store: &Store, feed: &str) -> Result<HashMap<String, Known>, Error> {
    let mut known = HashMap::new();
    let mut after = String::new();
    loop {
        let rows = sqlx::query(
            "SELECT id, hash, modified FROM advisories WHERE feed = $1 AND until_at IS NULL AND id > $2 \
             ORDER BY id LIMIT $3",
        )
        .bind(feed.to_owned())
        .bind(after)
        .bind(PAGE)
        .fetch_all(store.reader())
        .await
        .doing("read what a feed said")?;
        let Some(last) = rows.last() else { return Ok(known) };
        after = last.get(0);
        known.extend(rows.iter().map(|row| {
            let modified = row.get::<Option<i64>, _>(2).and_then(|at| Timestamp::from_microsecond(at).ok());
            (row.get(0), Known { hash: row.get(1), modified })
        }));
    }
}

/// Writes what a feed says from the moment `at` on: `ended` are ids whose current revision is over, `begun` new revisions;
/// a changed one is in both. At most [`WRITTEN_AT_ONCE`] at once.
pub async fn replace(
    writing: &mut Writing,
    dialect: Dialect,
    feed: &str,
    at: i64,
    ended: &[&str],
    begun: &[Revision],
) -> Result<(), Error> {
    for id in ended {
        sqlx::query("UPDATE advisories SET until_at = $1 WHERE feed = $2 AND id = $3 AND until_at IS NULL")
            .bind(at)
            .bind(feed.to_owned())
            .bind((*id).to_owned())
            .execute(&mut **writing)
            .await
            .doing("end a revision of an advisory")?;
    }
    let cves: Vec<[&str; 2]> = begun
        .iter()
        .flat_map(|revision| revision.cves.split_ascii_whitespace().map(|cve| [cve, revision.id.as_str()]))
        .collect();
    if !cves.is_empty() {
        // Never taken away: what was closed on a day can be asked for afterwards.
        let text = format!(
            "INSERT INTO advisory_cves (cve, advisory) SELECT value ->> 0, value ->> 1 FROM {} WHERE true \
             ON CONFLICT DO NOTHING",
            dialect.elements("$1")
        );
        sqlx::query(AssertSqlSafe(text))
            .bind(serde_json::json!(cves).to_string())
            .execute(&mut **writing)
            .await
            .doing("store which CVEs an advisory closes")?;
    }
    for revision in begun {
        let [published, modified, withdrawn] = revision.times.map(|time| time.map(Timestamp::as_microsecond));
        sqlx::query(
            "INSERT INTO advisories (feed, id, from_at, hash, kind, summary, published, modified, withdrawn, cves, body) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(feed.to_owned())
        .bind(revision.id.clone())
        .bind(at)
        .bind(revision.hash.clone())
        .bind(revision.kind)
        .bind(revision.summary.clone())
        .bind(published)
        .bind(modified)
        .bind(withdrawn)
        .bind(revision.cves.clone())
        .bind(revision.body.clone())
        .execute(&mut **writing)
        .await
        .doing("store an advisory")?;
    }
    Ok(())
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Security => "security",
        Kind::Regression => "regression",
        Kind::PointRelease => "point-release",
        Kind::EndOfLife => "end-of-life",
        Kind::Maintenance => "maintenance",
    }
}

/// Packs bytes as bodies are stored.
pub(super) fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("writing to memory cannot fail")
}

/// The hash by which revisions are the same; see [`material::content_hash`].
pub fn hash(advisory: &Advisory) -> String {
    material::content_hash(advisory)
}

/// What hosts' own package managers say and is stored: provenance and id, in pages.
#[derive(Debug)]
pub struct SaidByHosts {
    store: Store,
    after: (String, String),
}

/// See [`SaidByHosts`].
pub fn said_by_hosts(store: &Store) -> SaidByHosts {
    SaidByHosts { store: store.clone(), after: Default::default() }
}

impl SaidByHosts {
    /// The next ones; none: these were all.
    pub async fn next(&mut self) -> Result<Vec<(String, String)>, Error> {
        let rows = sqlx::query(
            "SELECT feed, id FROM advisories WHERE until_at IS NULL AND (feed, id) > ($1, $2) AND feed LIKE 'hosts:%' \
             ORDER BY feed, id LIMIT $3",
        )
        .bind(self.after.0.clone())
        .bind(self.after.1.clone())
        .bind(PAGE)
        .fetch_all(self.store.reader())
        .await
        .doing("read what hosts say")?;
        let page: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        if let Some(last) = page.last() {
            self.after.clone_from(last);
        }
        Ok(page)
    }
}
