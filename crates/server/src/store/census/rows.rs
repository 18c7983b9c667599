//! What a host's change means for the rows of the fleet: worked out whole, then written by few statements.

use super::{
    Attempts, Counted, DAY_HOURS, FLEET_SIGNATURES_MAX, HOST_DAYS, HOST_SIGNATURES_MAX, HostDay, kept_sketch,
    text_of,
};
use crate::store::{Dialect, Doing, Error, Writing};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use std::collections::{BTreeMap, BTreeSet};
use traffic::census::Sketch;

/// Rows in one statement.
const ROWS_AT_ONCE: usize = 5_000;

/// How a signature's sum of a day or an hour changes.
#[derive(Default)]
struct Sum {
    attempts: i64,
    answered: i64,
    hosts: i64,
    /// Of the hours that changed.
    sources: Sketch,
}

/// How a host's own sum of a signature changes.
struct Own {
    cves: BTreeSet<String>,
    first_hour: i64,
    last_hour: i64,
    /// By day: attempts and answered, as they are now.
    days: BTreeMap<i64, (i64, i64)>,
}

impl Default for Own {
    fn default() -> Self {
        Self { cves: BTreeSet::new(), first_hour: i64::MAX, last_hour: i64::MIN, days: BTreeMap::new() }
    }
}

impl Own {
    /// Whether there was any attempt at all.
    fn is_seen(&self) -> bool {
        self.first_hour <= self.last_hour
    }
}

/// Everything that changes beside the host's own hours.
#[derive(Default)]
pub(super) struct Change {
    /// By day: requests, unread lines, hosts.
    requests: BTreeMap<i64, (i64, i64, i64)>,
    days: BTreeMap<(i64, String), Sum>,
    hours: BTreeMap<(i64, String), Sum>,
    own: BTreeMap<String, Own>,
}

impl Change {
    /// What `told` changes, with the days before and after.
    pub(super) fn between(
        before: &BTreeMap<i64, HostDay>,
        after: &BTreeMap<i64, HostDay>,
        told: &Counted,
    ) -> Self {
        let mut change = Self::default();
        let nothing = Attempts::default();
        for (hour, said) in &told.hours {
            let day = hour.div_euclid(DAY_HOURS);
            let known = before.get(&day).and_then(|hours| hours.get(&super::hour_of_day(*hour)));
            if known.is_some_and(|known| known.is(said)) {
                continue;
            }
            let requests = change.requests.entry(day).or_default();
            requests.0 += said.requests - known.map_or(0, |known| known.requests);
            requests.1 += said.unread - known.map_or(0, |known| known.unread);
            let names = said.attempts.keys().chain(known.into_iter().flat_map(|known| known.attempts.keys()));
            for name in names.collect::<BTreeSet<_>>() {
                let then = known.and_then(|known| known.attempts.get(name)).unwrap_or(&nothing);
                let now = said.attempts.get(name).unwrap_or(&nothing);
                let sources = super::sketch(&now.sources).unwrap_or_default();
                let sums = [
                    change.days.entry((day, name.clone())).or_default(),
                    change.hours.entry((*hour, name.clone())).or_default(),
                ];
                for sum in sums {
                    sum.attempts += now.attempts - then.attempts;
                    sum.answered += now.answered - then.answered;
                    sum.sources.unite(&sources);
                }
                let own = change.own.entry(name.clone()).or_default();
                if now.attempts > 0 {
                    own.cves.extend(now.cves.iter().cloned());
                    own.first_hour = own.first_hour.min(*hour);
                    own.last_hour = own.last_hour.max(*hour);
                }
            }
        }
        let sum = |hours: Option<&HostDay>, name: &String| {
            let of_name =
                hours.into_iter().flat_map(|hours| hours.values()).filter_map(|hour| hour.attempts.get(name));
            of_name.fold((0, 0), |sum, one| (sum.0 + one.attempts, sum.1 + one.answered))
        };
        for ((day, name), fleet) in &mut change.days {
            let (then, now) = (sum(before.get(day), name), sum(after.get(day), name));
            fleet.hosts = i64::from(now.0 > 0) - i64::from(then.0 > 0);
            if let Some(own) = change.own.get_mut(name) {
                own.days.insert(*day, now);
            }
        }
        for (day, requests) in &mut change.requests {
            requests.2 = i64::from(!before.contains_key(day));
        }
        change
    }

    /// Writes it, for a host's number; a reason if it is too much: then the transaction is to be dropped.
    pub(super) async fn write(
        self,
        writing: &mut Writing,
        dialect: Dialect,
        host: i64,
    ) -> Result<Option<String>, Error> {
        let Self { requests, days, hours, own } = self;
        let rows = requests
            .into_iter()
            .map(|(day, (requests, unread, hosts))| json!([day, requests, unread, hosts]));
        let text = format!(
            "INSERT INTO census_requests (day, requests, unread, hosts) \
             SELECT {}, {}, {}, {} FROM {} WHERE true \
             ON CONFLICT (day) DO UPDATE SET requests = census_requests.requests + excluded.requests, \
             unread = census_requests.unread + excluded.unread, hosts = census_requests.hosts + excluded.hosts",
            number(0),
            number(1),
            number(2),
            number(3),
            dialect.elements("$1")
        );
        run(writing, &text, rows.collect(), None).await?;
        write_days(writing, dialect, days).await?;
        write_hours(writing, dialect, hours).await?;
        if let Some(reason) = write_signatures(writing, dialect, &own).await? {
            return Ok(Some(reason));
        }
        write_own(writing, dialect, host, own).await
    }
}

async fn write_days(
    writing: &mut Writing,
    dialect: Dialect,
    mut days: BTreeMap<(i64, String), Sum>,
) -> Result<(), Error> {
    unite_known(writing, dialect, ("census_days", "day"), &mut days).await?;
    let rows = days.into_iter().map(|((day, name), sum)| {
        let sources = text_of(&sum.sources);
        json!([day, name, sum.attempts, sum.answered, sum.hosts, sources, sum.sources.count().count])
    });
    let text = format!(
        "INSERT INTO census_days (day, signature, attempts, answered, hosts, sources, count) \
         SELECT {}, value ->> 1, {}, {}, {}, value ->> 5, {} FROM {} WHERE true \
         ON CONFLICT (day, signature) DO UPDATE SET attempts = census_days.attempts + excluded.attempts, \
         answered = census_days.answered + excluded.answered, hosts = census_days.hosts + excluded.hosts, \
         sources = excluded.sources, count = excluded.count",
        number(0),
        number(2),
        number(3),
        number(4),
        number(6),
        dialect.elements("$1")
    );
    run(writing, &text, rows.collect(), None).await
}

async fn write_hours(
    writing: &mut Writing,
    dialect: Dialect,
    mut hours: BTreeMap<(i64, String), Sum>,
) -> Result<(), Error> {
    unite_known(writing, dialect, ("census_fleet_hours", "hour"), &mut hours).await?;
    let rows =
        hours.into_iter().map(|((hour, name), sum)| json!([hour, name, sum.attempts, text_of(&sum.sources)]));
    let text = format!(
        "INSERT INTO census_fleet_hours (hour, signature, attempts, sources) \
         SELECT {}, value ->> 1, {}, value ->> 3 FROM {} WHERE true \
         ON CONFLICT (hour, signature) DO UPDATE SET attempts = census_fleet_hours.attempts + excluded.attempts, \
         sources = excluded.sources",
        number(0),
        number(2),
        dialect.elements("$1")
    );
    run(writing, &text, rows.collect(), None).await
}

/// Unites sketches with those that are stored under the same keys.
async fn unite_known(
    writing: &mut Writing,
    dialect: Dialect,
    (table, column): (&str, &str),
    sums: &mut BTreeMap<(i64, String), Sum>,
) -> Result<(), Error> {
    let keys: Vec<Value> = sums.keys().map(|(place, name)| json!([place, name])).collect();
    for some in keys.chunks(ROWS_AT_ONCE) {
        let text = format!(
            "SELECT t.{column}, t.signature, t.sources FROM {} e JOIN {table} t \
             ON t.{column} = CAST(e.value ->> 0 AS BIGINT) AND t.signature = e.value ->> 1",
            dialect.elements("$1")
        );
        // Our own words; values are bound.
        let rows = sqlx::query(AssertSqlSafe(text))
            .bind(Value::from(some).to_string())
            .fetch_all(&mut **writing)
            .await
            .doing("read the fleet's sums")?;
        for row in rows {
            let key = (row.get::<i64, _>(0), row.get::<String, _>(1));
            let object = || format!("the fleet's sources of {} ({column} {})", key.1, key.0);
            let known = kept_sketch(object, row.get(2))?;
            if let Some(sum) = sums.get_mut(&key) {
                sum.sources.unite(&known);
            }
        }
    }
    Ok(())
}

async fn write_signatures(
    writing: &mut Writing,
    dialect: Dialect,
    own: &BTreeMap<String, Own>,
) -> Result<Option<String>, Error> {
    let seen = own.iter().filter(|(_, own)| own.is_seen());
    let rows = seen.map(|(name, own)| json!([name, own.first_hour]));
    let text = format!(
        "INSERT INTO census_signatures (signature, first_hour) SELECT value ->> 0, {} FROM {} WHERE true \
         ON CONFLICT (signature) DO UPDATE SET first_hour = excluded.first_hour \
         WHERE excluded.first_hour < census_signatures.first_hour",
        number(1),
        dialect.elements("$1")
    );
    run(writing, &text, rows.collect(), None).await?;
    too_many(writing, "SELECT COUNT(*) FROM census_signatures", None, FLEET_SIGNATURES_MAX, "the fleet").await
}

async fn write_own(
    writing: &mut Writing,
    dialect: Dialect,
    host: i64,
    mut own: BTreeMap<String, Own>,
) -> Result<Option<String>, Error> {
    let rows =
        sqlx::query("SELECT signature, cves, first_hour, last_hour, days FROM census_hosts WHERE host = $1")
            .bind(host)
            .fetch_all(&mut **writing)
            .await
            .doing("read a host's sums")?;
    let mut cves: BTreeMap<String, String> = BTreeMap::new();
    for row in rows {
        let Some(own) = own.get_mut(row.get::<&str, _>(0)) else { continue };
        let days: Vec<(i64, i64, i64)> = serde_json::from_str(row.get(4)).map_err(|problem| {
            Error::Damaged { object: format!("the sums of host {host}"), reason: problem.to_string() }
        })?;
        for (day, attempts, answered) in days {
            own.days.entry(day).or_insert((attempts, answered));
        }
        own.first_hour = own.first_hour.min(row.get(2));
        own.last_hour = own.last_hour.max(row.get(3));
        if own.cves.is_empty() {
            cves.insert(row.get(0), row.get(1));
        }
    }
    let rows = own.into_iter().filter(|(_, own)| own.is_seen()).map(|(name, own)| {
        let cves = cves
            .remove(&name)
            .unwrap_or_else(|| own.cves.iter().fold(" ".to_owned(), |text, cve| text + cve + " "));
        let last_day = own.last_hour.div_euclid(DAY_HOURS);
        let days: Vec<(i64, i64, i64)> = own
            .days
            .into_iter()
            .filter(|(day, (attempts, _))| *day > last_day - HOST_DAYS && *attempts > 0)
            .map(|(day, (attempts, answered))| (day, attempts, answered))
            .collect();
        json!([name, cves, own.first_hour, own.last_hour, json!(days).to_string()])
    });
    let text = format!(
        "INSERT INTO census_hosts (host, signature, cves, first_hour, last_hour, days) \
         SELECT $2, value ->> 0, value ->> 1, {}, {}, value ->> 4 FROM {} WHERE true \
         ON CONFLICT (host, signature) DO UPDATE SET cves = excluded.cves, first_hour = excluded.first_hour, \
         last_hour = excluded.last_hour, days = excluded.days",
        number(2),
        number(3),
        dialect.elements("$1")
    );
    run(writing, &text, rows.collect(), Some(host)).await?;
    let text = "SELECT COUNT(*) FROM census_hosts WHERE host = $1";
    too_many(writing, text, Some(host), HOST_SIGNATURES_MAX, "the host").await
}

async fn too_many(
    writing: &mut Writing,
    text: &'static str,
    host: Option<i64>,
    most: i64,
    whose: &str,
) -> Result<Option<String>, Error> {
    let query = sqlx::query_scalar(text);
    let query = match host {
        Some(host) => query.bind(host),
        None => query,
    };
    let count: i64 = query.fetch_one(&mut **writing).await.doing("count signatures")?;
    Ok((count > most).then(|| format!("{whose} would have {count} signatures; {most} are allowed")))
}

/// A number of a JSON array in the column `value`.
fn number(place: usize) -> String {
    format!("CAST(value ->> {place} AS BIGINT)")
}

async fn run(writing: &mut Writing, text: &str, rows: Vec<Value>, host: Option<i64>) -> Result<(), Error> {
    for some in rows.chunks(ROWS_AT_ONCE) {
        // Our own words; values are bound.
        let mut query = sqlx::query(AssertSqlSafe(text.to_owned())).bind(Value::from(some).to_string());
        if let Some(host) = host {
            query = query.bind(host);
        }
        query.execute(&mut **writing).await.doing("add up what a host counted")?;
    }
    Ok(())
}
