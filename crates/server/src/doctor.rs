//! Looks at a server's store from outside and says what is not well. Changes nothing; may run beside the server.

use crate::config::Config;
use crate::fleet;
use crate::identity::{Authority, Successor, Takeover};
use crate::signing;
use crate::store::{Dialect, Doing, Error, Store, audit, census};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::Path;

/// Free space below which the store's disk is called nearly full: 1 GiB, a day's feeds and inventories of 10,000 hosts.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// An authority that ends within so long has to be replaced: hosts need up to a month to learn of the next one.
const ENDS_SOON: SignedDuration = SignedDuration::from_hours(90 * 24);
/// A server looks every ten minutes whether the next authority is to take over.
const LATE: SignedDuration = SignedDuration::from_hours(1);
/// Differences that are told one by one.
const TOLD_MAX: usize = 20;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// What was seen, in a few words.
    pub seen: String,
    /// What is wrong; empty: well.
    pub problems: Vec<String>,
}

/// Looks at everything.
pub async fn examine(config: &Config, now: Timestamp) -> Result<Vec<Check>, super::run::Failed> {
    let store = Store::open(&config.store_url()?).await?;
    let mut checks = vec![
        database(&store).await?,
        audit_log(&store).await?,
        intervals(&store).await?,
        findings(&store).await?,
        feeds(&store).await?,
        counts(&store).await?,
    ];
    if store.dialect() == Dialect::Sqlite {
        checks.push(disk(&config.server.data));
    }
    checks.push(authority(config, &store, now).await?);
    let (seen, problems) = signing::doctor(&store, &config.authority_key(), now).await?;
    checks.push(Check { name: "trust", seen, problems });
    checks.push(clock(&store, now).await?);
    store.close().await;
    Ok(checks)
}

async fn database(store: &Store) -> Result<Check, Error> {
    let name = "database";
    let mut problems = Vec::new();
    if store.dialect() == Dialect::Sqlite {
        let lines: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_all(store.reader())
            .await
            .doing("check the database's integrity")?;
        problems.extend(lines.into_iter().filter(|line| line != "ok"));
    }
    let hosts = number(store, "SELECT COUNT(*) FROM hosts").await?;
    let open = number(store, "SELECT COUNT(*) FROM findings WHERE until_at IS NULL").await?;
    Ok(Check { name, seen: format!("{hosts} hosts, {open} open findings"), problems })
}

/// The authority can be opened, and not by whoever has the store alone; it lasts, and one that follows it takes over.
async fn authority(config: &Config, store: &Store, now: Timestamp) -> Result<Check, super::run::Failed> {
    let key_file = config.authority_key();
    let mut problems = Vec::new();
    if Authority::is_clear(store).await? {
        let remedy = "back the store up and restore it into an empty one, which seals it";
        problems.push(format!("its key lies in the store in clear; {remedy}"));
    }
    problems.extend(Authority::verify(store, &key_file).await.err().map(|problem| problem.to_string()));
    let mut seen = format!("sealed with {}", key_file.display());
    if let Some(standing) = Authority::standing(store).await? {
        let _ = write!(seen, "; ends {:.0}", standing.ends_at);
        match standing.next {
            Some(Successor { fingerprint, takeover, hosts_left }) => {
                let Takeover { since, until } = takeover;
                let _ = write!(
                    seen,
                    "; since {since:.0} hosts get certificates of {fingerprint}, which takes over {until:.0}; {hosts_left} \
                     hosts have none of it yet"
                );
                if now > until + LATE {
                    problems.push(format!(
                        "the next one should have taken over {until:.0}: a server that runs does it; or \
                         \"palisade authority retire\""
                    ));
                }
            }
            None if standing.ends_at - ENDS_SOON < now => {
                problems.push(format!(
                    "it ends {:.0}, and no other is there to follow; \"palisade authority rotate\" makes one",
                    standing.ends_at
                ));
            }
            None => {}
        }
    }
    Ok(Check { name: "authority", seen, problems })
}

async fn audit_log(store: &Store) -> Result<Check, Error> {
    let broken = audit::verify_store(store).await?;
    let entries = number(store, "SELECT seq FROM audit_head").await?;
    let problems = broken.map(|broken| format!("{broken}; compare with an export")).into_iter().collect();
    Ok(Check { name: "audit log", seen: format!("{entries} entries"), problems })
}

/// No host had two inventories, and no finding stood twice, at one time.
async fn intervals(store: &Store) -> Result<Check, Error> {
    let overlapping = [
        (
            "inventories",
            "SELECT COUNT(*) FROM inventories one JOIN inventories other ON one.host = other.host AND \
             one.from_at < other.from_at AND (one.until_at IS NULL OR one.until_at > other.from_at)",
        ),
        (
            "findings",
            "SELECT COUNT(*) FROM finding_hosts one JOIN finding_hosts other ON one.topic = other.topic AND \
             one.host = other.host AND one.from_at < other.from_at AND \
             (one.until_at IS NULL OR one.until_at > other.from_at)",
        ),
    ];
    let mut problems = Vec::new();
    for (what, statement) in overlapping {
        let count = number(store, statement).await?;
        if count > 0 {
            problems.push(format!("{count} pairs of {what} overlap in time"));
        }
    }
    let missing =
        number(store, "SELECT COUNT(*) FROM inventories WHERE host NOT IN (SELECT id FROM hosts)").await?;
    if missing > 0 {
        problems.push(format!("{missing} inventories are of hosts that are not there"));
    }
    let all = number(store, "SELECT COUNT(*) FROM inventories").await?;
    Ok(Check { name: "history", seen: format!("{all} inventories"), problems })
}

/// What is stored as open is what a rebuild from the store finds.
async fn findings(store: &Store) -> Result<Check, Error> {
    let differences = fleet::doctor(store).await?;
    let mut problems: Vec<String> = differences.iter().take(TOLD_MAX).map(ToString::to_string).collect();
    if differences.len() > TOLD_MAX {
        problems.push(format!("… and {} more", differences.len() - TOLD_MAX));
    }
    let seen = "compared with a rebuild from inventories and advisories".to_owned();
    Ok(Check { name: "findings", seen, problems })
}

/// The fleet's census is what its hosts counted.
async fn counts(store: &Store) -> Result<Check, Error> {
    let (seen, mut problems) = census::examine(store).await?;
    if problems.len() > TOLD_MAX {
        let more = problems.len() - TOLD_MAX;
        problems.truncate(TOLD_MAX);
        problems.push(format!("… and {more} more"));
    }
    Ok(Check { name: "census", seen, problems })
}

async fn feeds(store: &Store) -> Result<Check, Error> {
    use sqlx::Row;
    let rows = sqlx::query("SELECT name, alarm FROM feeds ORDER BY name")
        .fetch_all(store.reader())
        .await
        .doing("read the feeds")?;
    let alarms = rows.iter().filter(|row| !row.get::<String, _>(1).is_empty());
    let problems =
        alarms.map(|row| format!("{}: {}", row.get::<String, _>(0), row.get::<String, _>(1))).collect();
    Ok(Check { name: "feeds", seen: format!("{} feeds", rows.len()), problems })
}

fn disk(data: &Path) -> Check {
    let name = "disk";
    match rustix::fs::statvfs(data) {
        Ok(space) => {
            let free = space.f_bavail * space.f_frsize;
            let problems = (free < FREE_BYTES_MIN)
                .then(|| format!("{} MiB are free in {}: make room", free >> 20, data.display()))
                .into_iter()
                .collect();
            Check { name, seen: format!("{} MiB free", free >> 20), problems }
        }
        Err(problem) => Check {
            name,
            seen: "unknown".to_owned(),
            problems: vec![format!("{}: {problem}", data.display())],
        },
    }
}

/// A clock that went back would close intervals before they began.
async fn clock(store: &Store, now: Timestamp) -> Result<Check, Error> {
    let last = number(store, "SELECT COALESCE(MAX(at), 0) FROM events").await?;
    let ahead_seconds = (last - now.as_microsecond()) / 1_000_000;
    let problems = (ahead_seconds > 1)
        .then(|| format!("the last event is {ahead_seconds} s ahead of this machine's clock: set the clock"))
        .into_iter()
        .collect();
    Ok(Check { name: "clock", seen: format!("{now:.0}"), problems })
}

async fn number(store: &Store, statement: &'static str) -> Result<i64, Error> {
    sqlx::query_scalar(statement).fetch_one(store.reader()).await.doing("look into the store")
}
