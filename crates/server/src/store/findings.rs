//! Findings as intervals: one advisory applies to one package on one host, from when until when. The matcher writes them;
//! "what did we have, and know, on that day" is answered from here.

use super::{Dialect, Doing, Error, Store, Writing, moment};
use exposure::index::Plight;
use jiff::Timestamp;
use roaring::RoaringBitmap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use std::collections::BTreeMap;

/// Topics of which [`open`] reads the hosts at once: 500 × 100,000 hosts × 7 digits are 350 MB at the very worst.
const TOPICS_AT_ONCE: i64 = 500;

/// Findings that begin: the same for some hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// The advisory's id.
    pub advisory: String,
    /// `source:openssl` or `binary:libssl3`.
    pub package: String,
    /// What is the matter.
    pub plight: Plight,
    /// Why, in words.
    pub evidence: String,
    /// Numbers of the hosts.
    pub hosts: RoaringBitmap,
}

/// Findings that end.
#[derive(Clone, Debug, PartialEq)]
pub struct Closed {
    /// As in [`Opened`].
    pub advisory: String,
    /// As in [`Opened`].
    pub package: String,
    /// As in [`Opened`].
    pub plight: Plight,
    /// Numbers of the hosts.
    pub hosts: RoaringBitmap,
}

/// What begins and ends at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// None of which is open.
    pub opened: Vec<Opened>,
    /// All of which are open.
    pub closed: Vec<Closed>,
}

impl Changes {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.opened.is_empty() && self.closed.is_empty()
    }

    /// How many findings begin, and how many end.
    pub fn counts(&self) -> (u64, u64) {
        (
            self.opened.iter().map(|opened| opened.hosts.len()).sum(),
            self.closed.iter().map(|closed| closed.hosts.len()).sum(),
        )
    }
}

/// One finding, as stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The advisory's id.
    pub advisory: String,
    /// `source:openssl` or `binary:libssl3`.
    pub package: String,
    /// `affected`, `fixed-still-running`, `undetermined`.
    pub verdict: String,
    /// The host's number.
    pub host: u32,
    /// Since when.
    pub from: Timestamp,
    /// Until when; none: still.
    pub until: Option<Timestamp>,
    /// Why, in words, as it was when the finding began.
    pub evidence: String,
}

/// The open findings of one advisory, package and verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// The advisory's id.
    pub advisory: String,
    /// `source:openssl` or `binary:libssl3`.
    pub package: String,
    /// What is the matter.
    pub plight: Plight,
    /// Numbers of the hosts.
    pub hosts: RoaringBitmap,
}

/// Writes changes; gives their moment, microseconds. Few statements, however many hosts.
pub async fn write(
    writing: &mut Writing,
    dialect: Dialect,
    now: Timestamp,
    changes: &Changes,
) -> Result<i64, Error> {
    let at = moment(writing, "finding", now).await?;
    let closed: Vec<Value> = changes
        .closed
        .iter()
        .map(|closed| {
            json!([topic_id(&closed.advisory, &closed.package, closed.plight), numbers(&closed.hosts)])
        })
        .collect();
    if !closed.is_empty() {
        let text = format!(
            "WITH g AS MATERIALIZED (SELECT CAST(value ->> 0 AS BIGINT) AS topic, value ->> 1 AS hosts FROM {}) \
             UPDATE finding_hosts SET until_at = $2 FROM g, {} h \
             WHERE finding_hosts.topic = g.topic AND finding_hosts.host = CAST(h.value AS BIGINT) \
             AND finding_hosts.until_at IS NULL",
            dialect.elements("$1"),
            dialect.scalars("g.hosts"),
        );
        run(writing, text, &closed, Some(at), "end findings").await?;
    }
    if changes.opened.is_empty() {
        return Ok(at);
    }
    let (mut topics, mut evidence, mut opened) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for Opened { advisory, package, plight, evidence: words, hosts } in &changes.opened {
        let topic = topic_id(advisory, package, *plight);
        topics.insert(topic, json!([topic, storable(advisory), storable(package), plight.word()]));
        let words = storable(words);
        let reason = id(&[&words]);
        opened.push(json!([topic, reason, numbers(hosts)]));
        evidence.insert(reason, json!([reason, words]));
    }
    let text = format!(
        "INSERT INTO finding_topics (id, advisory, package, verdict) \
         SELECT CAST(value ->> 0 AS BIGINT), value ->> 1, value ->> 2, value ->> 3 FROM {} WHERE true \
         ON CONFLICT DO NOTHING",
        dialect.elements("$1")
    );
    run(writing, text, &topics.into_values().collect::<Vec<_>>(), None, "store what findings are about")
        .await?;
    let text = format!(
        "INSERT INTO finding_evidence (id, words) SELECT CAST(value ->> 0 AS BIGINT), value ->> 1 FROM {} WHERE true \
         ON CONFLICT DO NOTHING",
        dialect.elements("$1")
    );
    run(writing, text, &evidence.into_values().collect::<Vec<_>>(), None, "store findings' evidence").await?;
    let text = format!(
        "WITH g AS MATERIALIZED (SELECT CAST(value ->> 0 AS BIGINT) AS topic, CAST(value ->> 1 AS BIGINT) AS evidence, \
         value ->> 2 AS hosts FROM {}) \
         INSERT INTO finding_hosts (topic, host, from_at, evidence) \
         SELECT g.topic, CAST(h.value AS BIGINT), $2, g.evidence FROM g, {} h",
        dialect.elements("$1"),
        dialect.scalars("g.hosts"),
    );
    run(writing, text, &opened, Some(at), "store findings").await?;
    Ok(at)
}

async fn run(
    writing: &mut Writing,
    text: String,
    rows: &[Value],
    at: Option<i64>,
    doing: &'static str,
) -> Result<(), Error> {
    // Our own words; values are bound.
    let mut query = sqlx::query(AssertSqlSafe(text)).bind(Value::from(rows).to_string());
    if let Some(at) = at {
        query = query.bind(at);
    }
    query.execute(&mut **writing).await.doing(doing)?;
    Ok(())
}

fn numbers(hosts: &RoaringBitmap) -> Vec<u32> {
    hosts.iter().collect()
}

/// The same number for the same texts, so that it need not be looked up: 63 bits of SHA-256.
fn id(texts: &[&str]) -> i64 {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update((text.len() as u64).to_be_bytes());
        digest.update(text);
    }
    let bytes = digest.finalize();
    let first = bytes.first_chunk::<8>().expect("a SHA-256 has 32 bytes");
    i64::from_be_bytes(*first) & i64::MAX
}

fn topic_id(advisory: &str, package: &str, plight: Plight) -> i64 {
    id(&[&storable(advisory), &storable(package), plight.word()])
}

/// Without the one character that PostgreSQL's texts cannot hold.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// All that is open, by topic.
pub async fn open(store: &Store) -> Result<Vec<Open>, Error> {
    let mut found = Vec::new();
    let mut after = -1_i64;
    loop {
        let rows = sqlx::query(
            "SELECT t.id, t.advisory, t.package, t.verdict, (SELECT string_agg(CAST(f.host AS TEXT), ',') \
             FROM finding_hosts f WHERE f.topic = t.id AND f.until_at IS NULL) \
             FROM finding_topics t WHERE t.id > $1 ORDER BY t.id LIMIT $2",
        )
        .bind(after)
        .bind(TOPICS_AT_ONCE)
        .fetch_all(store.reader())
        .await
        .doing("read open findings")?;
        let Some(last) = rows.last() else { return Ok(found) };
        after = last.get(0);
        for row in &rows {
            let Some(hosts) = row.get::<Option<String>, _>(4) else { continue };
            let damaged = |reason: &str| Error::Damaged {
                object: format!("findings of {}", row.get::<String, _>(1)),
                reason: reason.to_owned(),
            };
            let hosts: Result<RoaringBitmap, _> = hosts.split(',').map(str::parse::<u32>).collect();
            found.push(Open {
                advisory: row.get(1),
                package: row.get(2),
                plight: Plight::of(row.get(3)).ok_or_else(|| damaged("an unknown verdict"))?,
                hosts: hosts.map_err(|_| damaged("a host's number is none"))?,
            });
        }
    }
}

const FINDING: &str = "SELECT t.advisory, t.package, t.verdict, f.host, f.from_at, f.until_at, e.words \
     FROM finding_topics t CROSS JOIN finding_hosts f CROSS JOIN finding_evidence e \
     WHERE f.topic = t.id AND e.id = f.evidence";

/// Up to `most` open findings of a host, in order of advisory, package and verdict, after that place.
pub async fn open_of(
    store: &Store,
    host: u32,
    after: (&str, &str, &str),
    most: i64,
) -> Result<Vec<Finding>, Error> {
    at(store, host, Timestamp::MAX, after, most).await
}

/// As [`open_of`]: what was open at a moment.
pub async fn at(
    store: &Store,
    host: u32,
    moment: Timestamp,
    after: (&str, &str, &str),
    most: i64,
) -> Result<Vec<Finding>, Error> {
    let text = format!(
        "{FINDING} AND f.host = $1 AND f.from_at <= $2 AND (f.until_at IS NULL OR f.until_at > $2) \
         AND (t.advisory, t.package, t.verdict) > ($3, $4, $5) ORDER BY t.advisory, t.package, t.verdict LIMIT $6"
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(i64::from(host))
        .bind(moment.as_microsecond())
        .bind(after.0.to_owned())
        .bind(after.1.to_owned())
        .bind(after.2.to_owned())
        .bind(most)
        .fetch_all(store.reader())
        .await
        .doing("read a host's findings")?;
    rows.iter().map(finding).collect()
}

/// The open findings of a host among these (advisory, package, plight), in their order of storing; for whoever knows from
/// the fleet in memory which they are. Others must look at every topic ([`open_of`]).
pub async fn open_among(
    store: &Store,
    host: u32,
    among: impl IntoIterator<Item = (&str, &str, Plight)>,
) -> Result<Vec<Finding>, Error> {
    let topics: Vec<i64> =
        among.into_iter().map(|(advisory, package, plight)| topic_id(advisory, package, plight)).collect();
    let text = format!(
        "SELECT t.advisory, t.package, t.verdict, f.host, f.from_at, f.until_at, e.words \
         FROM {} a CROSS JOIN finding_hosts f CROSS JOIN finding_topics t CROSS JOIN finding_evidence e \
         WHERE f.topic = CAST(a.value AS BIGINT) AND f.host = $2 AND f.until_at IS NULL AND t.id = f.topic \
         AND e.id = f.evidence",
        store.dialect().scalars("$1")
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(Value::from(topics).to_string())
        .bind(i64::from(host))
        .fetch_all(store.reader())
        .await
        .doing("read a host's findings")?;
    rows.iter().map(finding).collect()
}

/// Up to `most` intervals of one advisory's findings, open and ended, in order of package, verdict, host and time.
pub async fn of_advisory(store: &Store, advisory: &str, most: i64) -> Result<Vec<Finding>, Error> {
    let text =
        format!("{FINDING} AND t.advisory = $1 ORDER BY t.package, t.verdict, f.host, f.from_at LIMIT $2");
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(advisory.to_owned())
        .bind(most)
        .fetch_all(store.reader())
        .await
        .doing("read an advisory's findings")?;
    rows.iter().map(finding).collect()
}

/// How many findings are open, by verdict.
pub async fn counts(store: &Store) -> Result<BTreeMap<String, i64>, Error> {
    let rows = sqlx::query("SELECT verdict, COUNT(*) FROM findings WHERE until_at IS NULL GROUP BY verdict")
        .fetch_all(store.reader())
        .await
        .doing("count findings")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn finding(row: &AnyRow) -> Result<Finding, Error> {
    let damaged = |reason: &str| Error::Damaged {
        object: format!("a finding of {}", row.get::<String, _>(0)),
        reason: reason.to_owned(),
    };
    let time = |at| Timestamp::from_microsecond(at).map_err(|_| damaged("a time is out of range"));
    Ok(Finding {
        advisory: row.get(0),
        package: row.get(1),
        verdict: row.get(2),
        host: u32::try_from(row.get::<i64, _>(3)).map_err(|_| damaged("a host's number is none"))?,
        from: time(row.get(4))?,
        until: row.get::<Option<i64>, _>(5).map(time).transpose()?,
        evidence: row.get(6),
    })
}
