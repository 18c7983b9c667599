//! Signatures that start to grow in the fleet, and those that are new in it: from when until when.

use crate::store::alerts::{self, Alert, OF_CENSUS};
use crate::store::audit::Actor;
use crate::store::events;
use crate::store::{Doing, Error, Store, Writing};
use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// What is remarkable about a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Its sources grow.
    Growing,
    /// The fleet had never seen it.
    New,
}

impl Kind {
    /// Its word in the store and in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Growing => "growing",
            Self::New => "new",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Growing, Self::New].into_iter().find(|kind| kind.word() == word)
    }
}

/// An alarm that stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Alarm {
    /// What.
    pub kind: Kind,
    /// Which signature.
    pub signature: String,
    /// Since when.
    pub since: Timestamp,
    /// Figures, as they were when it began.
    pub detail: Value,
}

/// All that stand, by kind and signature.
pub async fn list(store: &Store) -> Result<Vec<Alarm>, Error> {
    let rows = sqlx::query(
        "SELECT kind, signature, since_at, detail FROM census_alarms WHERE until_at IS NULL ORDER BY kind, signature",
    )
    .fetch_all(store.reader())
    .await
    .doing("read the census's alarms")?;
    rows.iter().map(alarm).collect()
}

fn alarm(row: &AnyRow) -> Result<Alarm, Error> {
    let signature: String = row.get(1);
    let damaged = |reason: &str| Error::Damaged {
        object: format!("the alarm of {signature}"),
        reason: reason.to_owned(),
    };
    Ok(Alarm {
        kind: Kind::of(row.get(0)).ok_or_else(|| damaged("its kind is not known"))?,
        since: Timestamp::from_microsecond(row.get(2)).map_err(|_| damaged("its time is out of range"))?,
        detail: serde_json::from_str(row.get(3)).map_err(|_| damaged("its detail is not JSON"))?,
        signature,
    })
}

/// Begins the alarms that do not stand yet and ends those of this kind that are not wanted any more; tells of each that begins,
/// and raises an alert. Gives whether anything changed.
pub async fn settle(
    writing: &mut Writing,
    now: Timestamp,
    kind: Kind,
    wanted: &BTreeMap<String, Value>,
) -> Result<bool, Error> {
    let standing: Vec<String> =
        sqlx::query_scalar("SELECT signature FROM census_alarms WHERE kind = $1 AND until_at IS NULL")
            .bind(kind.word())
            .fetch_all(&mut **writing)
            .await
            .doing("read the census's alarms")?;
    let mut changed = false;
    for (signature, detail) in wanted.iter().filter(|(signature, _)| !standing.contains(signature)) {
        changed = true;
        sqlx::query(
            "INSERT INTO census_alarms (kind, signature, since_at, detail) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (kind, signature, since_at) DO UPDATE SET until_at = NULL",
        )
        .bind(kind.word())
        .bind(signature.clone())
        .bind(now.as_microsecond())
        .bind(detail.to_string())
        .execute(&mut **writing)
        .await
        .doing("store an alarm of the census")?;
        let mut told = detail.clone();
        told["what"] = kind.word().into();
        events::tell(writing, now, events::Kind::Census, signature, &told).await?;
        let summary = match kind {
            Kind::Growing => format!("Attempts with {signature} start to grow in the fleet"),
            Kind::New => format!("Attempts with {signature} came to the fleet for the first time"),
        };
        let detail = json!({
            "labels": { "alertname": format!("signature-{}", kind.word()), "signature": signature },
            "annotations": { "summary": summary, "figures": detail.to_string() },
        });
        alerts::fire(writing, now, &Actor::Server, &Alert::of_census(&name(kind, signature), now, detail))
            .await?;
    }
    for signature in standing.iter().filter(|signature| !wanted.contains_key(*signature)) {
        changed = true;
        sqlx::query(
            "UPDATE census_alarms SET until_at = $3 WHERE kind = $1 AND signature = $2 AND until_at IS NULL",
        )
        .bind(kind.word())
        .bind(signature.clone())
        .bind(now.as_microsecond())
        .execute(&mut **writing)
        .await
        .doing("end an alarm of the census")?;
        let name = format!("{OF_CENSUS}{}", name(kind, signature));
        alerts::end(writing, now, &Actor::Server, &name).await?;
    }
    Ok(changed)
}

/// What its alert is known by, behind what all of the census begin with.
fn name(kind: Kind, signature: &str) -> String {
    format!("{}:{signature}", kind.word())
}
