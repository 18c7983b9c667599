//! What hosts counted in their web logs: each host's hours, and the fleet's sums, which are kept up with every change. A sketch
//! of the fleet only grows: a source that a host takes back stays in it.

mod attacked;
mod alarms;
mod examine;
mod prune;
mod rows;
mod sums;
mod tell;

pub use alarms::{Alarm, Kind, list as alarms, settle as settle_alarms};
pub use attacked::{
    Attacked, AttackedNow, by_signature as attacked_by_signature, count as count_attacked,
    now as attacked_now, of_host as attacked_of_host, settle as settle_attacked,
};
pub use examine::examine;
pub use prune::{Kept, prune};
pub use sums::{Seen, Windows, first_day, since, windows};
pub use tell::{
    Day, HostShare, Requests, Signature, Teller, hosts_of, outlooks_due, put_outlook, requests, revision,
    signature, signatures, tellers,
};

use super::packed::{pack, unpack};
use super::{Doing, Error, Store, Writing, commit, count};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use rows::Change;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Row};
use std::collections::{BTreeMap, BTreeSet};
use traffic::census::Sketch;

/// Hours in a day.
pub const DAY_HOURS: i64 = 24;
/// Bytes of one host's day before packing: twice what a host writes whose sixty signatures have thousands of sources each in
/// every hour.
pub const DAY_BYTES_MAX: usize = 16 << 20;
/// Signatures of one host: more than any set of rules has.
pub const HOST_SIGNATURES_MAX: i64 = 4_000;
/// Signatures of the fleet. One hostile host cannot fill it by itself.
pub const FLEET_SIGNATURES_MAX: i64 = 40_000;
/// Days of a host's own history of a signature.
pub const HOST_DAYS: i64 = 31;

/// What a host told, looked through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// How many logs it follows.
    pub logs: u32,
    /// What of them it cannot count.
    pub problems: Vec<String>,
    /// By hour.
    pub hours: BTreeMap<i64, Hour>,
}

/// One hour of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hour {
    /// Requests of all kinds.
    pub requests: i64,
    /// Lines that could not be read.
    pub unread: i64,
    /// By signature.
    pub attempts: BTreeMap<String, Attempts>,
}

/// Attempts of an hour with one signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// How many.
    #[serde(rename = "n")]
    pub attempts: i64,
    /// How many were answered with 2xx.
    #[serde(rename = "ok")]
    pub answered: i64,
    /// Their sources: a sketch in base64.
    #[serde(rename = "s")]
    pub sources: String,
    /// What the host's rule is about; kept elsewhere.
    #[serde(skip)]
    pub cves: BTreeSet<String>,
}

/// What became of what a host told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is counted.
    Stored,
    /// It was told before. Nothing was written.
    Unchanged,
    /// It is too much. Nothing was written.
    TooMuch(String),
    /// There is no such host. Nothing was written.
    Missing,
}

/// A host's day, by the hour of the day.
type HostDay = BTreeMap<u8, Hour>;

/// Takes what a host told: each hour replaces what the host told of it before.
pub async fn take(store: &Store, now: Timestamp, host: &str, told: &Counted) -> Result<Taken, Error> {
    let mut reading = store.reader().acquire().await.doing("read what hosts counted")?;
    let Some(number) = host_number(&mut reading, host).await? else { return Ok(Taken::Missing) };
    let days: Vec<i64> = told
        .hours
        .keys()
        .map(|hour| hour.div_euclid(DAY_HOURS))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    // Most hosts tell again what has not changed: that takes no turn among those that write.
    let before = host_days(&mut reading, store, number, &days).await?;
    let teller = teller(&mut reading, number).await?;
    drop(reading);
    if teller.as_ref().is_some_and(|teller| teller.says(told))
        && changed_hours(&before, told).next().is_none()
    {
        return Ok(Taken::Unchanged);
    }
    let mut writing = store.begin().await?;
    count(&mut writing, "census").await?;
    // Once more, now that nobody else writes; the host may have been removed.
    if host_number(&mut writing, host).await? != Some(number) {
        return Ok(Taken::Missing);
    }
    let before = host_days(&mut writing, store, number, &days).await?;
    let after = with(&before, told);
    let mut bodies = Vec::new();
    for (day, hours) in &after {
        if before.get(day) == Some(hours) {
            continue;
        }
        let body = serde_json::to_vec(hours).expect("counts have text keys only");
        if body.len() > DAY_BYTES_MAX {
            return Ok(Taken::TooMuch(format!(
                "one day takes {} bytes; {DAY_BYTES_MAX} are allowed",
                body.len()
            )));
        }
        bodies.push((*day, pack(&body)));
    }
    let change = Change::between(&before, &after, told);
    if let Some(reason) = change.write(&mut writing, store.dialect(), number).await? {
        return Ok(Taken::TooMuch(reason));
    }
    for (day, body) in bodies {
        sqlx::query(
            "INSERT INTO census_hours (host, day, body) VALUES ($1, $2, $3) \
             ON CONFLICT (host, day) DO UPDATE SET body = excluded.body",
        )
        .bind(number)
        .bind(day)
        .bind(body)
        .execute(&mut *writing)
        .await
        .doing("store what a host counted")?;
    }
    let last =
        told.hours.keys().next_back().copied().into_iter().chain(teller.map(|teller| teller.last_hour)).max();
    sqlx::query(
        "INSERT INTO census_tellers (host, told_at, last_hour, logs, problems) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (host) DO UPDATE SET told_at = excluded.told_at, last_hour = excluded.last_hour, \
         logs = excluded.logs, problems = excluded.problems",
    )
    .bind(number)
    .bind(now.as_microsecond())
    .bind(last.unwrap_or(0))
    .bind(i64::from(told.logs))
    .bind(serde_json::json!(told.problems).to_string())
    .execute(&mut *writing)
    .await
    .doing("store how a host counts")?;
    commit(writing, "store what a host counted").await?;
    Ok(Taken::Stored)
}

/// Forgets a host's own counts; what it told stays in the fleet's sums.
pub(super) async fn forget(writing: &mut Writing, host: u32) -> Result<(), Error> {
    for text in [
        "DELETE FROM census_hours WHERE host = $1",
        "DELETE FROM census_hosts WHERE host = $1",
        "DELETE FROM census_tellers WHERE host = $1",
        "DELETE FROM census_attacked WHERE host = $1",
    ] {
        sqlx::query(text)
            .bind(i64::from(host))
            .execute(&mut **writing)
            .await
            .doing("forget a host's counts")?;
    }
    Ok(())
}

/// A sketch as it is kept; `None`: it is none.
pub fn sketch(text: &str) -> Option<Sketch> {
    BASE64.decode(text).ok().and_then(|bytes| Sketch::from_bytes(&bytes))
}

fn kept_sketch(object: impl FnOnce() -> String, text: &str) -> Result<Sketch, Error> {
    sketch(text)
        .ok_or_else(|| Error::Damaged { object: object(), reason: "its sources are no sketch".to_owned() })
}

fn text_of(sketch: &Sketch) -> String {
    BASE64.encode(sketch.to_bytes())
}

async fn host_number(reading: &mut sqlx::AnyConnection, host: &str) -> Result<Option<i64>, Error> {
    sqlx::query_scalar("SELECT number FROM hosts WHERE id = $1")
        .bind(host.to_owned())
        .fetch_optional(reading)
        .await
        .doing("look for a host")
}

/// What a host said of its counting before.
struct Said {
    last_hour: i64,
    logs: i64,
    problems: String,
}

impl Said {
    fn says(&self, told: &Counted) -> bool {
        let problems = serde_json::json!(told.problems).to_string();
        self.logs == i64::from(told.logs) && self.problems == problems
    }
}

async fn teller(reading: &mut sqlx::AnyConnection, host: i64) -> Result<Option<Said>, Error> {
    let row = sqlx::query("SELECT last_hour, logs, problems FROM census_tellers WHERE host = $1")
        .bind(host)
        .fetch_optional(reading)
        .await
        .doing("read how a host counts")?;
    Ok(row.map(|row| Said { last_hour: row.get(0), logs: row.get(1), problems: row.get(2) }))
}

async fn host_days(
    reading: &mut sqlx::AnyConnection,
    store: &Store,
    host: i64,
    days: &[i64],
) -> Result<BTreeMap<i64, HostDay>, Error> {
    let text = format!(
        "SELECT day, body FROM census_hours WHERE host = $1 AND day IN (SELECT CAST(value AS BIGINT) FROM {})",
        store.dialect().scalars("$2")
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(host)
        .bind(serde_json::json!(days).to_string())
        .fetch_all(reading)
        .await
        .doing("read what a host counted")?;
    rows.iter()
        .map(|row| {
            let day: i64 = row.get(0);
            let object = format!("the counts of host {host} on day {day}");
            let body = unpack(&object, &row.get::<Vec<u8>, _>(1), DAY_BYTES_MAX)?;
            let damaged = |problem: serde_json::Error| Error::Damaged { object, reason: problem.to_string() };
            Ok((day, serde_json::from_slice(&body).map_err(damaged)?))
        })
        .collect()
}

/// Hours that are not as they were told before.
fn changed_hours<'a>(
    before: &'a BTreeMap<i64, HostDay>,
    told: &'a Counted,
) -> impl Iterator<Item = i64> + 'a {
    let known = |hour: i64| before.get(&hour.div_euclid(DAY_HOURS))?.get(&hour_of_day(hour));
    told.hours
        .iter()
        .filter(move |(hour, said)| !known(**hour).is_some_and(|known| known.is(said)))
        .map(|(hour, _)| *hour)
}

/// The days as they are with what was told.
fn with(before: &BTreeMap<i64, HostDay>, told: &Counted) -> BTreeMap<i64, HostDay> {
    let mut after = before.clone();
    for (hour, said) in &told.hours {
        after.entry(hour.div_euclid(DAY_HOURS)).or_default().insert(hour_of_day(*hour), said.clone());
    }
    after
}

fn hour_of_day(hour: i64) -> u8 {
    u8::try_from(hour.rem_euclid(DAY_HOURS)).expect("a day has 24 hours")
}

impl Hour {
    /// Whether it is the same, as far as it is kept.
    fn is(&self, other: &Self) -> bool {
        let plain = |hour: &Self| (hour.requests, hour.unread, hour.attempts.len());
        let alike = |(one, other): ((&String, &Attempts), (&String, &Attempts))| {
            one.0 == other.0
                && (one.1.attempts, one.1.answered, &one.1.sources)
                    == (other.1.attempts, other.1.answered, &other.1.sources)
        };
        plain(self) == plain(other) && self.attempts.iter().zip(&other.attempts).all(alike)
    }
}
