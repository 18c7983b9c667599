//! Attempts meet findings: a host with an open finding of a CVE is sent attempts for that very CVE.

use super::{DAY_HOURS, HOST_DAYS};
use crate::store::alerts::{self, Alert, OF_CENSUS};
use crate::store::audit::Actor;
use crate::store::events::{self, Kind};
use crate::store::finding_list::words;
use crate::store::{Doing, Error, Store, Writing, moment};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use std::collections::{BTreeMap, BTreeSet};

/// Hosts that an event or an alert names.
const HOSTS_TOLD: usize = 100;

/// A finding under attack: its topic and the host's number.
pub type AttackedNow = BTreeMap<(i64, i64), Attacked>;

/// What comes for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attacked {
    /// CVEs that attempts are about.
    pub cves: BTreeSet<String>,
    /// Attempts on the host within the last month.
    pub attempts: i64,
    /// The last hour of them.
    pub last_hour: i64,
}

impl Attacked {
    fn text(&self) -> String {
        self.cves.iter().fold(" ".to_owned(), |text, cve| text + cve + " ")
    }
}

/// The findings that are under attack now: attempts of the last month count.
pub async fn now(store: &Store, now: Timestamp) -> Result<AttackedNow, Error> {
    let since_day = now.as_second().div_euclid(3_600 * DAY_HOURS) - HOST_DAYS + 1;
    let since = since_day * DAY_HOURS;
    let texts: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT cves FROM census_hosts WHERE last_hour >= $1")
            .bind(since)
            .fetch_all(store.reader())
            .await
            .doing("read what attempts are about")?;
    let cves: BTreeSet<String> = texts.iter().flat_map(|text| words(text)).collect();
    if cves.is_empty() {
        return Ok(AttackedNow::new());
    }
    // CROSS JOIN: in this order, for SQLite; what a host says of its rules counts for that host alone.
    let text = format!(
        "SELECT t.id, f.host, c.cve, h.signature, h.days, h.last_hour \
         FROM advisory_cves c CROSS JOIN finding_topics t CROSS JOIN finding_hosts f CROSS JOIN census_hosts h \
         WHERE c.cve IN (SELECT value FROM {}) AND t.advisory = c.advisory AND f.topic = t.id AND f.until_at IS NULL \
         AND h.host = f.host AND h.last_hour >= $2 AND h.cves LIKE '% ' || c.cve || ' %'",
        store.dialect().scalars("$1")
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(json!(cves).to_string())
        .bind(since)
        .fetch_all(store.reader())
        .await
        .doing("look for findings under attack")?;
    let mut found = AttackedNow::new();
    let mut counted: BTreeSet<(i64, i64, String)> = BTreeSet::new();
    for row in rows {
        let (topic, host): (i64, i64) = (row.get(0), row.get(1));
        let attacked = found.entry((topic, host)).or_default();
        attacked.cves.insert(row.get(2));
        attacked.last_hour = attacked.last_hour.max(row.get(5));
        // A signature about two CVEs of one advisory is met twice.
        if counted.insert((topic, host, row.get(3))) {
            let days: Vec<(i64, i64, i64)> = serde_json::from_str(row.get(4)).map_err(|problem| {
                Error::Damaged { object: format!("the sums of host {host}"), reason: problem.to_string() }
            })?;
            let lately = days.into_iter().filter(|(day, ..)| *day >= since_day);
            attacked.attempts += lately.map(|(_, attempts, _)| attempts).sum::<i64>();
        }
    }
    Ok(found)
}

/// What the store holds as open.
async fn open(writing: &mut Writing) -> Result<AttackedNow, Error> {
    let rows = sqlx::query(
        "SELECT topic, host, cves, attempts, last_hour FROM census_attacked WHERE until_at IS NULL",
    )
    .fetch_all(&mut **writing)
    .await
    .doing("read findings under attack")?;
    Ok(rows
        .iter()
        .map(|row| {
            let cves = words(row.get(2)).into_iter().collect();
            ((row.get(0), row.get(1)), Attacked { cves, attempts: row.get(3), last_hour: row.get(4) })
        })
        .collect())
}

/// Stores what is under attack now: tells of findings that were not, and raises an alert for each CVE; ends those that are not
/// any more. Gives whether anything changed.
pub async fn settle(writing: &mut Writing, at: Timestamp, now: &AttackedNow) -> Result<bool, Error> {
    let before = open(writing).await?;
    if before == *now {
        return Ok(false);
    }
    let moment = moment(writing, "finding", at).await?;
    let mut begun: BTreeMap<&String, BTreeSet<i64>> = BTreeMap::new();
    for (key, attacked) in now {
        let text = match before.get(key) {
            Some(known) if known == attacked => continue,
            Some(known) => {
                let more = attacked.cves.difference(&known.cves);
                more.for_each(|cve| _ = begun.entry(cve).or_default().insert(key.1));
                "UPDATE census_attacked SET cves = $3, attempts = $4, last_hour = $5 \
                 WHERE topic = $1 AND host = $2 AND until_at IS NULL AND $6 > 0"
            }
            None => {
                attacked.cves.iter().for_each(|cve| _ = begun.entry(cve).or_default().insert(key.1));
                "INSERT INTO census_attacked (topic, host, cves, attempts, last_hour, since_at) \
                 VALUES ($1, $2, $3, $4, $5, $6)"
            }
        };
        let query = sqlx::query(text).bind(key.0).bind(key.1).bind(attacked.text()).bind(attacked.attempts);
        let query = query.bind(attacked.last_hour).bind(moment);
        query.execute(&mut **writing).await.doing("store a finding under attack")?;
    }
    for (topic, host) in before.keys().filter(|key| !now.contains_key(key)) {
        sqlx::query(
            "UPDATE census_attacked SET until_at = $3 WHERE topic = $1 AND host = $2 AND until_at IS NULL",
        )
        .bind(*topic)
        .bind(*host)
        .bind(moment)
        .execute(&mut **writing)
        .await
        .doing("end a finding under attack")?;
    }
    for (cve, hosts) in begun {
        let detail =
            json!({ "what": "attacked", "hosts": names(writing, &hosts).await?, "hosts_count": hosts.len() });
        events::tell(writing, at, Kind::Census, cve, &detail).await?;
    }
    settle_alerts(writing, at, &before, now).await?;
    Ok(true)
}

async fn settle_alerts(
    writing: &mut Writing,
    at: Timestamp,
    before: &AttackedNow,
    now: &AttackedNow,
) -> Result<(), Error> {
    let then: BTreeSet<&String> = before.values().flat_map(|attacked| &attacked.cves).collect();
    let mut still: BTreeMap<&String, BTreeSet<i64>> = BTreeMap::new();
    for ((_, host), attacked) in now {
        attacked.cves.iter().for_each(|cve| _ = still.entry(cve).or_default().insert(*host));
    }
    for (cve, hosts) in still.iter().filter(|(cve, _)| !then.contains(*cve)) {
        let summary = format!(
            "Attempts for {cve} reach hosts that are vulnerable to it; patch or shield them first (palisade finding list \
             --advisory {cve})"
        );
        let detail = json!({
            "labels": { "alertname": "attacked-and-vulnerable", "cve": cve },
            "annotations": { "summary": summary, "hosts": names(writing, hosts).await?.join(", ") },
        });
        alerts::fire(writing, at, &Actor::Server, &Alert::of_census(&format!("attacked:{cve}"), at, detail))
            .await?;
    }
    for cve in then.into_iter().filter(|cve| !still.contains_key(cve)) {
        alerts::end(writing, at, &Actor::Server, &format!("{OF_CENSUS}attacked:{cve}")).await?;
    }
    Ok(())
}

/// Names of the first of these hosts.
async fn names(writing: &mut Writing, hosts: &BTreeSet<i64>) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for host in hosts.iter().take(HOSTS_TOLD) {
        let name: Option<String> = sqlx::query_scalar("SELECT name FROM hosts WHERE number = $1")
            .bind(*host)
            .fetch_optional(&mut **writing)
            .await
            .doing("read a host's name")?;
        names.extend(name);
    }
    Ok(names)
}

/// How many findings are under attack, on how many hosts.
pub async fn count(store: &Store) -> Result<(i64, i64), Error> {
    let row =
        sqlx::query("SELECT COUNT(*), COUNT(DISTINCT host) FROM census_attacked WHERE until_at IS NULL")
            .fetch_one(store.reader())
            .await
            .doing("count findings under attack")?;
    Ok((row.get(0), row.get(1)))
}

/// What comes for a host's findings, as it was at a moment: by advisory, package and verdict.
pub async fn of_host(
    store: &Store,
    host: i64,
    moment: i64,
) -> Result<BTreeMap<(String, String, String), Attacked>, Error> {
    let rows = sqlx::query(
        "SELECT t.advisory, t.package, t.verdict, a.cves, a.attempts, a.last_hour FROM census_attacked a \
         JOIN finding_topics t ON t.id = a.topic \
         WHERE a.host = $1 AND a.since_at <= $2 AND (a.until_at IS NULL OR a.until_at > $2)",
    )
    .bind(host)
    .bind(moment)
    .fetch_all(store.reader())
    .await
    .doing("read a host's findings under attack")?;
    Ok(rows
        .iter()
        .map(|row| {
            let cves = words(row.get(3)).into_iter().collect();
            let attacked = Attacked { cves, attempts: row.get(4), last_hour: row.get(5) };
            ((row.get(0), row.get(1), row.get(2)), attacked)
        })
        .collect())
}

/// Hosts whose open findings attempts with a signature are about: how many, by signature.
pub async fn by_signature(store: &Store, names: &[String]) -> Result<BTreeMap<String, i64>, Error> {
    let text = format!(
        "SELECT h.signature, COUNT(DISTINCT h.host) FROM census_attacked a JOIN census_hosts h ON h.host = a.host \
         JOIN finding_topics t ON t.id = a.topic JOIN advisory_cves c ON c.advisory = t.advisory \
         WHERE a.until_at IS NULL AND h.cves LIKE '% ' || c.cve || ' %' AND a.cves LIKE '% ' || c.cve || ' %' \
         AND h.signature IN (SELECT value FROM {}) GROUP BY h.signature",
        store.dialect().scalars("$1")
    );
    let rows = sqlx::query(AssertSqlSafe(text))
        .bind(Value::from(names).to_string())
        .fetch_all(store.reader())
        .await
        .doing("count hosts under attack")?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
