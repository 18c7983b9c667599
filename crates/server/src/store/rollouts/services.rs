//! Service groups of an environment, and which hosts a plan has taken away. A place is taken by one statement whose `WHERE`
//! holds the bound.

use super::{id, json, parsed, small, time};
use crate::store::{Dialect, Doing, Error, Writing};
use rollout::capacity::{Group, Holder};
use rollout::plan::{HostId, Plan, PlanId};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};
use std::collections::BTreeMap;

/// Takes a plan's service groups into its environment. The newest plan says how many may be away.
pub(super) async fn define(writing: &mut Writing, plan: &Plan) -> Result<(), Error> {
    let mut groups: Vec<_> = plan.groups.iter().collect();
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    for group in groups {
        sqlx::query(
            "INSERT INTO services (environment, name, away_max, away_already, away) VALUES ($1, $2, $3, 0, 0) \
             ON CONFLICT (environment, name) DO UPDATE SET away_max = excluded.away_max",
        )
        .bind(plan.environment.clone())
        .bind(group.name.clone())
        .bind(i64::from(group.away_max))
        .execute(&mut **writing)
        .await
        .doing("define a service group")?;
    }
    Ok(())
}

/// Service groups by name, with who is away.
pub async fn read(
    reading: &mut AnyConnection,
    dialect: Dialect,
    environment: &str,
    names: &[&str],
) -> Result<BTreeMap<String, Group>, Error> {
    let names = serde_json::json!(names).to_string();
    let text = format!(
        "SELECT s.name, s.away_max, s.away_already FROM {} asked CROSS JOIN services s WHERE s.environment = $2 \
         AND s.name = asked.value",
        dialect.scalars("$1")
    );
    let rows = sqlx::query(AssertSqlSafe(text)).bind(names.clone()).bind(environment.to_owned());
    let rows = rows.fetch_all(&mut *reading).await.doing("read service groups")?;
    let group = |row: &sqlx::any::AnyRow| -> Result<_, Error> {
        let group =
            Group { away_max: small(row, 1)?, away_already: small(row, 2)?, holders: BTreeMap::new() };
        Ok((row.get::<String, _>(0), group))
    };
    let mut groups: BTreeMap<_, _> = rows.iter().map(group).collect::<Result<_, Error>>()?;
    let text = format!(
        "SELECT p.service, p.host, p.since_at, p.state FROM {} asked CROSS JOIN service_places p WHERE p.environment = $2 \
         AND p.service = asked.value",
        dialect.scalars("$1")
    );
    let rows = sqlx::query(AssertSqlSafe(text)).bind(names).bind(environment.to_owned());
    for row in rows.fetch_all(reading).await.doing("read who is away from a service")? {
        let holder = Holder { since: time(&row, 2)?, state: parsed(&row, 3, "a service's place")? };
        if let Some(group) = groups.get_mut(row.get::<&str, _>(0)) {
            group.holders.insert(HostId(id(&row, 1)?), holder);
        }
    }
    Ok(groups)
}

/// Writes what lies between `before` and `after` of one group. False: meanwhile somebody else took the place; the
/// transaction is to be dropped then.
pub async fn write(
    writing: &mut Writing,
    environment: &str,
    name: &str,
    before: &Group,
    after: &Group,
    taken_by: impl Fn(HostId) -> PlanId,
) -> Result<bool, Error> {
    let taken: Vec<_> = after.holders.iter().filter(|(host, _)| !before.holders.contains_key(host)).collect();
    let given: Vec<_> = before.holders.keys().filter(|host| !after.holders.contains_key(host)).collect();
    if !taken.is_empty() || !given.is_empty() {
        let done = sqlx::query(
            "UPDATE services SET away = away + $1 WHERE environment = $2 AND name = $3 \
             AND away + $1 >= 0 AND ($4 = 0 OR away + $1 + away_already <= away_max)",
        )
        .bind(super::wide(taken.len()) - super::wide(given.len()))
        .bind(environment.to_owned())
        .bind(name.to_owned())
        .bind(super::wide(taken.len()))
        .execute(&mut **writing)
        .await
        .doing("take a service's place")?;
        if done.rows_affected() != 1 {
            return Ok(false);
        }
    }
    for host in given {
        sqlx::query("DELETE FROM service_places WHERE environment = $1 AND service = $2 AND host = $3")
            .bind(environment.to_owned())
            .bind(name.to_owned())
            .bind(host.to_string())
            .execute(&mut **writing)
            .await
            .doing("give a service's place back")?;
    }
    for (host, holder) in taken {
        let done = sqlx::query(
            "INSERT INTO service_places (environment, service, host, plan, since_at, state) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        )
        .bind(environment.to_owned())
        .bind(name.to_owned())
        .bind(host.to_string())
        .bind(taken_by(*host).to_string())
        .bind(holder.since.as_microsecond())
        .bind(json(&holder.state))
        .execute(&mut **writing)
        .await
        .doing("note who is away from a service")?;
        if done.rows_affected() != 1 {
            return Ok(false);
        }
    }
    for (host, holder) in &after.holders {
        if before.holders.get(host).is_some_and(|was| was.state != holder.state) {
            sqlx::query(
                "UPDATE service_places SET state = $1 WHERE environment = $2 AND service = $3 AND host = $4",
            )
            .bind(json(&holder.state))
            .bind(environment.to_owned())
            .bind(name.to_owned())
            .bind(host.to_string())
            .execute(&mut **writing)
            .await
            .doing("note why a host is away")?;
        }
    }
    Ok(true)
}
