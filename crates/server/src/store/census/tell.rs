//! The fleet's census, as people ask for it.

use super::{DAY_HOURS, kept_sketch};
use crate::store::finding_list::words;
use crate::store::{Doing, Error, Store};
use serde_json::Value;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use std::collections::HashMap;
use traffic::census::{Count, Sketch};

/// The fleet's day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Days since 1970, UTC.
    pub day: i64,
    /// Requests of all kinds.
    pub requests: i64,
    /// Lines that could not be read.
    pub unread: i64,
    /// Hosts that had a log.
    pub hosts: i64,
}

/// A signature's day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Day {
    /// Days since 1970, UTC.
    pub day: i64,
    /// Attempts.
    pub attempts: i64,
    /// How many of them were answered with 2xx.
    pub answered: i64,
    /// Hosts that saw one.
    pub hosts: i64,
    /// Distinct sources, estimated.
    pub sources: u64,
}

/// A signature in the fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// The rule's id.
    pub signature: String,
    /// What hosts say it is about.
    pub cves: Vec<String>,
    /// The first hour that it was ever seen.
    pub first_hour: i64,
    /// The last one; `None`: the hosts that saw it are gone.
    pub last_hour: Option<i64>,
    /// Hosts that saw it within the days, and are still there.
    pub hosts: i64,
    /// Distinct sources of all days together.
    pub sources: Count,
    /// Those with attempts, in order.
    pub days: Vec<Day>,
}

/// A host's share of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostShare {
    /// The host's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The first hour that it saw it.
    pub first_hour: i64,
    /// The last one.
    pub last_hour: i64,
    /// Attempts and how many were answered with 2xx, of the last month, by day.
    pub days: Vec<(i64, i64, i64)>,
}

/// How a host counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teller {
    /// The host's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The last hour it told.
    pub last_hour: i64,
    /// How many logs it follows.
    pub logs: i64,
    /// What it cannot count.
    pub problems: Vec<String>,
}

/// Counts the changes of all counts.
pub async fn revision(store: &Store) -> Result<i64, Error> {
    sqlx::query_scalar("SELECT value FROM counters WHERE name = 'census'")
        .fetch_one(store.reader())
        .await
        .doing("read the census's revision")
}

/// The fleet's days from `first` to `last`, those that were told.
pub async fn requests(store: &Store, first: i64, last: i64) -> Result<Vec<Requests>, Error> {
    let rows = sqlx::query(
        "SELECT day, requests, unread, hosts FROM census_requests WHERE day >= $1 AND day <= $2 ORDER BY day",
    )
    .bind(first)
    .bind(last)
    .fetch_all(store.reader())
    .await
    .doing("read the fleet's days")?;
    let of = |row: &AnyRow| Requests {
        day: row.get(0),
        requests: row.get(1),
        unread: row.get(2),
        hosts: row.get(3),
    };
    Ok(rows.iter().map(of).collect())
}

/// Up to `most` signatures with attempts from the day `first` to `last`, by name, after `after`.
pub async fn signatures(
    store: &Store,
    (first, last): (i64, i64),
    after: &str,
    most: i64,
) -> Result<Vec<Signature>, Error> {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT s.signature FROM census_signatures s WHERE s.signature > $1 AND EXISTS \
         (SELECT 1 FROM census_days d WHERE d.signature = s.signature AND d.day >= $2 AND d.day <= $3 AND d.attempts > 0) \
         ORDER BY s.signature LIMIT $4",
    )
    .bind(after.to_owned())
    .bind(first)
    .bind(last)
    .bind(most)
    .fetch_all(store.reader())
    .await
    .doing("list signatures")?;
    among(store, (first, last), &names).await
}

/// One signature with its days, and its outlook, if one was made.
pub async fn signature(
    store: &Store,
    days: (i64, i64),
    name: &str,
) -> Result<Option<(Signature, Option<Value>)>, Error> {
    let found = among(store, days, &[name.to_owned()]).await?.into_iter().next();
    let Some(found) = found else { return Ok(None) };
    let outlook: Option<String> =
        sqlx::query_scalar("SELECT outlook FROM census_signatures WHERE signature = $1")
            .bind(name.to_owned())
            .fetch_one(store.reader())
            .await
            .doing("read a signature's outlook")?;
    let damaged = |problem: serde_json::Error| Error::Damaged {
        object: format!("the outlook of {name}"),
        reason: problem.to_string(),
    };
    let outlook = outlook.as_deref().map(serde_json::from_str).transpose().map_err(damaged)?;
    Ok(Some((found, outlook)))
}

async fn among(store: &Store, (first, last): (i64, i64), names: &[String]) -> Result<Vec<Signature>, Error> {
    let wanted = Value::from(names).to_string();
    let rows_of_names = store.dialect().scalars("$1");
    let text = format!(
        "SELECT s.signature, s.first_hour, MAX(h.last_hour), COUNT(h.host), MAX(h.cves) FROM census_signatures s \
         LEFT JOIN census_hosts h ON h.signature = s.signature AND h.last_hour >= $2 \
         WHERE s.signature IN (SELECT value FROM {rows_of_names}) GROUP BY s.signature, s.first_hour ORDER BY s.signature"
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(wanted.clone())
        .bind(first * DAY_HOURS)
        .fetch_all(store.reader())
        .await
        .doing("read signatures")?;
    let mut found: Vec<Signature> = rows
        .iter()
        .map(|row| Signature {
            signature: row.get(0),
            first_hour: row.get(1),
            last_hour: row.get(2),
            hosts: row.get(3),
            cves: words(&row.get::<Option<String>, _>(4).unwrap_or_default()),
            sources: Count::exact(0),
            days: Vec::new(),
        })
        .collect();
    let text = format!(
        "SELECT signature, day, attempts, answered, hosts, count, sources FROM census_days \
         WHERE day >= $2 AND day <= $3 AND attempts > 0 AND signature IN (SELECT value FROM {rows_of_names}) ORDER BY day"
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(wanted)
        .bind(first)
        .bind(last)
        .fetch_all(store.reader())
        .await
        .doing("read signatures' days")?;
    let places: HashMap<String, usize> =
        found.iter().enumerate().map(|(place, found)| (found.signature.clone(), place)).collect();
    let mut united = vec![Sketch::default(); found.len()];
    for row in rows {
        let name: &str = row.get(0);
        let sketch = kept_sketch(|| format!("the fleet's sources of {name}"), row.get(6))?;
        let Some(&place) = places.get(name) else { continue };
        united[place].unite(&sketch);
        found[place].days.push(Day {
            day: row.get(1),
            attempts: row.get(2),
            answered: row.get(3),
            hosts: row.get(4),
            sources: row.get::<i64, _>(5).unsigned_abs(),
        });
    }
    for (found, united) in found.iter_mut().zip(&united) {
        found.sources = united.count();
    }
    Ok(found)
}

/// Up to `most` hosts that saw a signature in or after an hour, the one that saw it last first.
pub async fn hosts_of(store: &Store, name: &str, since: i64, most: i64) -> Result<Vec<HostShare>, Error> {
    let rows = sqlx::query(
        "SELECT h.id, h.name, c.first_hour, c.last_hour, c.days FROM census_hosts c JOIN hosts h ON h.number = c.host \
         WHERE c.signature = $1 AND c.last_hour >= $2 ORDER BY c.last_hour DESC, h.name, h.id LIMIT $3",
    )
    .bind(name.to_owned())
    .bind(since)
    .bind(most)
    .fetch_all(store.reader())
    .await
    .doing("read a signature's hosts")?;
    rows.iter()
        .map(|row| {
            let damaged = |problem: serde_json::Error| Error::Damaged {
                object: format!("the sums of host {}", row.get::<String, _>(0)),
                reason: problem.to_string(),
            };
            Ok(HostShare {
                id: row.get(0),
                name: row.get(1),
                first_hour: row.get(2),
                last_hour: row.get(3),
                days: serde_json::from_str(row.get(4)).map_err(damaged)?,
            })
        })
        .collect()
}

/// Up to `most` hosts that count, by name and id, after that place.
pub async fn tellers(store: &Store, after: (&str, &str), most: i64) -> Result<Vec<Teller>, Error> {
    let rows = sqlx::query(
        "SELECT h.id, h.name, t.last_hour, t.logs, t.problems FROM hosts h JOIN census_tellers t ON t.host = h.number \
         WHERE (h.name, h.id) > ($1, $2) ORDER BY h.name, h.id LIMIT $3",
    )
    .bind(after.0.to_owned())
    .bind(after.1.to_owned())
    .bind(most)
    .fetch_all(store.reader())
    .await
    .doing("list hosts that count")?;
    rows.iter()
        .map(|row| {
            let damaged = |problem: serde_json::Error| Error::Damaged {
                object: format!("what host {} says of its counting", row.get::<String, _>(0)),
                reason: problem.to_string(),
            };
            Ok(Teller {
                id: row.get(0),
                name: row.get(1),
                last_hour: row.get(2),
                logs: row.get(3),
                problems: serde_json::from_str(row.get(4)).map_err(damaged)?,
            })
        })
        .collect()
}

/// Up to `most` signatures seen in or after the day `since` whose outlook is not yet that of `day`.
pub async fn outlooks_due(store: &Store, day: i64, since: i64, most: i64) -> Result<Vec<String>, Error> {
    sqlx::query_scalar(
        "SELECT s.signature FROM census_signatures s WHERE s.outlook_day < $1 AND EXISTS \
         (SELECT 1 FROM census_days d WHERE d.signature = s.signature AND d.day >= $2) ORDER BY s.signature LIMIT $3",
    )
    .bind(day)
    .bind(since)
    .bind(most)
    .fetch_all(store.reader())
    .await
    .doing("look for signatures without an outlook")
}

/// Keeps a signature's outlook, made on `day`.
pub async fn put_outlook(store: &Store, name: &str, day: i64, outlook: &Value) -> Result<(), Error> {
    sqlx::query("UPDATE census_signatures SET outlook = $1, outlook_day = $2 WHERE signature = $3")
        .bind(outlook.to_string())
        .bind(day)
        .bind(name.to_owned())
        .execute(&store.writers)
        .await
        .doing("store a signature's outlook")?;
    Ok(())
}
