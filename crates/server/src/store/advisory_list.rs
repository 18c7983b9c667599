//! Advisories as people look them up.

use super::filter::Select;
use super::finding_list::words;
use super::{Error, Store};
use advisory::Advisory;
use flate2::read::ZlibDecoder;
use jiff::Timestamp;
use sqlx::Row;
use std::io::Read;

/// The largest advisory, inflated: 64 MiB; the largest known are a few.
const BODY_BYTES_MAX: u64 = 64 << 20;
/// Documents of one id that are shown; several feeds may say something about it.
const DOCUMENTS_MAX: i64 = 20;

/// One advisory in a list: what all current documents of its id say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The vendor's id.
    pub id: String,
    /// `security`, `regression`, ….
    pub kind: String,
    /// One line.
    pub summary: String,
    /// First published.
    pub published: Option<Timestamp>,
    /// Last changed.
    pub modified: Option<Timestamp>,
    /// Taken back.
    pub withdrawn: Option<Timestamp>,
    /// CVE ids.
    pub cves: Vec<String>,
    /// How many feeds and hosts say it.
    pub documents: i64,
}

/// Which advisories to list.
#[derive(Clone, Debug, Default)]
pub struct AdvisoryFilter {
    /// Whose id starts so.
    pub id: Option<String>,
    /// That close this CVE; a whole CVE id.
    pub cve: Option<String>,
    /// Of this feed only.
    pub feed: Option<String>,
}

/// Up to `most` advisories after that id, in order of ids.
pub async fn list(
    store: &Store,
    filter: &AdvisoryFilter,
    after: &str,
    most: i64,
) -> Result<Vec<Line>, Error> {
    let mut select = Select::new(
        "SELECT id, MIN(kind), MAX(summary), MIN(published), MAX(modified), MIN(withdrawn), MAX(cves), COUNT(*)
         FROM advisories",
    );
    select.only("until_at IS NULL", []);
    select.only("id > ?", [after.into()]);
    if let Some(id) = &filter.id {
        let pattern = format!("{}%", id.replace('!', "!!").replace('%', "!%").replace('_', "!_"));
        select.only("id LIKE ? ESCAPE '!'", [pattern.as_str().into()]);
    }
    if let Some(cve) = &filter.cve {
        select.only("id IN (SELECT c.advisory FROM advisory_cves c WHERE c.cve = ?)", [cve.as_str().into()]);
        // Of those that ever closed it, those that do now. An id of a CVE holds no character that LIKE heeds.
        let pattern = format!("% {cve} %");
        select.only("cves LIKE ?", [pattern.as_str().into()]);
    }
    if let Some(feed) = &filter.feed {
        select.only("feed = ?", [feed.as_str().into()]);
    }
    select.push("GROUP BY id ORDER BY id LIMIT ?", [most.into()]);
    let rows = select.fetch(store, "list advisories").await?;
    let time = |microseconds: Option<i64>| microseconds.and_then(|at| Timestamp::from_microsecond(at).ok());
    Ok(rows
        .iter()
        .map(|row| Line {
            id: row.get(0),
            kind: row.get(1),
            summary: row.get(2),
            published: time(row.get(3)),
            modified: time(row.get(4)),
            withdrawn: time(row.get(5)),
            cves: words(row.get(6)),
            documents: row.get(7),
        })
        .collect())
}

/// What one feed says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The feed's name; `host:ID` for a host's own package manager.
    pub feed: String,
    /// Since when it says so, by our knowledge.
    pub from: Timestamp,
    /// What it says.
    pub advisory: Advisory,
}

/// What feeds say now under that id, at most the first few.
pub async fn documents(store: &Store, id: &str) -> Result<Vec<Document>, Error> {
    let mut select = Select::new("SELECT feed, from_at, body FROM advisories");
    select.only("id = ?", [id.into()]);
    select.only("until_at IS NULL", []);
    select.push("ORDER BY feed LIMIT ?", [DOCUMENTS_MAX.into()]);
    select
        .fetch(store, "read an advisory")
        .await?
        .iter()
        .map(|row| {
            let feed: String = row.get(0);
            let damaged = |reason: String| Error::Damaged { object: format!("{id} of {feed}"), reason };
            let mut text = Vec::new();
            let body: Vec<u8> = row.get(2);
            ZlibDecoder::new(&*body)
                .take(BODY_BYTES_MAX)
                .read_to_end(&mut text)
                .map_err(|problem| damaged(problem.to_string()))?;
            Ok(Document {
                from: Timestamp::from_microsecond(row.get(1))
                    .map_err(|problem| damaged(problem.to_string()))?,
                advisory: serde_json::from_slice(&text).map_err(|problem| damaged(problem.to_string()))?,
                feed,
            })
        })
        .collect()
}
