//! Whether the fleet's sums are what hosts' hours add up to.

use super::{DAY_BYTES_MAX, HostDay, kept_sketch, sketch};
use crate::store::packed::unpack;
use crate::store::{Doing, Error, Store};
use futures_util::TryStreamExt;
use sqlx::Row;
use std::collections::BTreeMap;
use traffic::census::Sketch;

/// Looks at everything that is kept by the hour: what was seen, and what is wrong. The fleet may have more than its hosts: what
/// removed hosts told, and what hosts took back.
pub async fn examine(store: &Store) -> Result<(String, Vec<String>), Error> {
    let mut problems = Vec::new();
    let mut sums: BTreeMap<(i64, String), (i64, Sketch)> = BTreeMap::new();
    let mut days = 0;
    let mut rows = sqlx::query("SELECT host, day, body FROM census_hours").fetch(store.reader());
    while let Some(row) = rows.try_next().await.doing("read what hosts counted")? {
        let (host, day): (i64, i64) = (row.get(0), row.get(1));
        let object = format!("the counts of host {host} on day {day}");
        days += 1;
        let read = unpack(&object, &row.get::<Vec<u8>, _>(2), DAY_BYTES_MAX).ok();
        let Some(hours) = read.and_then(|body| serde_json::from_slice::<HostDay>(&body).ok()) else {
            problems.push(format!("{object} cannot be read"));
            continue;
        };
        for (name, attempts) in hours.into_values().flat_map(|hour| hour.attempts) {
            let sum = sums.entry((day, name)).or_default();
            sum.0 += attempts.attempts;
            match sketch(&attempts.sources) {
                Some(sources) => sum.1.unite(&sources),
                None => problems.push(format!("{object} has sources that are no sketch")),
            }
        }
    }
    drop(rows);
    for ((day, name), (attempts, sources)) in &sums {
        let row = sqlx::query("SELECT attempts, sources FROM census_days WHERE day = $1 AND signature = $2")
            .bind(*day)
            .bind(name.clone())
            .fetch_optional(store.reader())
            .await
            .doing("read the fleet's sums")?;
        let fleet = row.map(|row| (row.get::<i64, _>(0), row.get::<String, _>(1)));
        let (count, text) = fleet.unwrap_or_default();
        if count < *attempts {
            problems.push(format!(
                "{name} on day {day}: hosts counted {attempts} attempts, the fleet has {count}"
            ));
        }
        let mut both = kept_sketch(String::new, &text).unwrap_or_default();
        let known = both.clone();
        both.unite(sources);
        if both != known {
            problems.push(format!("{name} on day {day}: the fleet lacks sources that hosts counted"));
        }
    }
    Ok((format!("{days} days of hosts, {} sums of the fleet", sums.len()), problems))
}
