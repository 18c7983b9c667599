//! When hosts under a plan were heard and whether they were well. Written in batches by every server; the newest counts.

use super::json;
use crate::store::{Doing, Error, Store, commit};
use jiff::Timestamp;
use rollout::plan::{HostId, PlanId};
use serde_json::{Value, json as object};
use sqlx::AssertSqlSafe;

/// Hosts in one statement.
const HOSTS_AT_ONCE: usize = 2_000;

/// What a host said about itself last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Witness {
    /// When.
    pub at: Timestamp,
    /// The machine that spoke.
    pub machine: u64,
    /// Whether the plan's probes pass; `None`: not looked at.
    pub healthy: Option<bool>,
}

/// Answers about health of one rollout's present wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sampled {
    /// The plan.
    pub plan: PlanId,
    /// When the wave settled; answers that come to be written after it has gone on are not counted.
    pub settled_at: Timestamp,
}

/// Writes who was heard, in one transaction. `heard` is in the order of hosts, so that servers wait for each other instead
/// of locking each other.
pub async fn write(
    store: &Store,
    heard: &[(HostId, Witness)],
    sampled: &[(Sampled, u32)],
) -> Result<(), Error> {
    let mut writing = store.begin().await?;
    let text = format!(
        "INSERT INTO rollout_health (host, heard_at, machine, healthy) \
         SELECT r.value->>'host', CAST(r.value->>'at' AS BIGINT), CAST(r.value->>'machine' AS BIGINT), \
         CAST(r.value->>'healthy' AS BIGINT) FROM {} r WHERE 1 = 1 \
         ON CONFLICT (host) DO UPDATE SET heard_at = excluded.heard_at, machine = excluded.machine, \
         healthy = excluded.healthy WHERE rollout_health.heard_at < excluded.heard_at",
        store.dialect().elements("$1")
    );
    for some in heard.chunks(HOSTS_AT_ONCE) {
        let row = |(host, witness): &(HostId, Witness)| {
            object!({
                "host": host,
                "at": witness.at.as_microsecond(),
                "machine": witness.machine.cast_signed(),
                "healthy": witness.healthy.map(i64::from),
            })
        };
        sqlx::query(AssertSqlSafe(text.clone()))
            .bind(json(&some.iter().map(row).collect::<Vec<Value>>()))
            .execute(&mut *writing)
            .await
            .doing("write who was heard")?;
    }
    for (of, samples) in sampled {
        sqlx::query("UPDATE rollouts SET samples = samples + $1 WHERE plan = $2 AND settled_at = $3")
            .bind(i64::from(*samples))
            .bind(of.plan.to_string())
            .bind(of.settled_at.as_microsecond())
            .execute(&mut *writing)
            .await
            .doing("count answers about health")?;
    }
    commit(writing, "write who was heard").await
}
