//! Enrolment: tokens, and the hosts that come with them.

use super::audit::{self, Actor};
use super::events::{self, Kind};
use super::hosts::{self, Host, HostState};
use super::{Doing, Error, Store, certificates, commit, count};
use crate::identity::Signed;
use advisory::digest::{hex, sha256};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;
use sqlx::Row;
use std::collections::BTreeMap;
use std::fmt;
use uuid::Uuid;

/// How many tokens [`list`] gives at most.
const LIST_MAX: i64 = 1_000;
/// Before the digits of a secret, so that a secret in a wrong place is recognised.
const SECRET_PREFIX: &str = "enrol-";

/// What is remembered of an enrolment token; not the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its id, for revoking it.
    pub id: String,
    /// The group its hosts come into.
    pub group: String,
    /// The labels its hosts begin with.
    pub labels: BTreeMap<String, String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// How many hosts may enrol with it.
    pub hosts: u32,
    /// How many have.
    pub used: u32,
    /// When it was last used.
    pub used_at: Option<Timestamp>,
    /// The host that used it last.
    pub host: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// An enrolment token as it is shown, once.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text that a host enrols with.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// Makes a token for `hosts` hosts (at least one), good for `valid`.
pub async fn create(
    store: &Store,
    now: Timestamp,
    actor: &Actor,
    group: &str,
    labels: &BTreeMap<String, String>,
    valid: SignedDuration,
    hosts: u32,
) -> Result<(Token, Secret), Error> {
    let mut random = [0; 20];
    getrandom::fill(&mut random).map_err(|problem| Error::Damaged {
        object: "chance".to_owned(),
        reason: format!("the system gives no random bytes: {problem}"),
    })?;
    let secret = Secret(format!("{SECRET_PREFIX}{}", hex(&random)));
    let token = Token {
        id: Uuid::now_v7().to_string(),
        group: group.to_owned(),
        labels: labels.clone(),
        created_by: actor.to_string(),
        created_at: now,
        expires_at: now.saturating_add(valid).unwrap_or(Timestamp::MAX),
        hosts: hosts.max(1),
        used: 0,
        used_at: None,
        host: None,
        revoked_at: None,
    };
    let mut writing = store.begin().await?;
    sqlx::query(
        "INSERT INTO enrolment_tokens (id, hash, host_group, labels, created_by, created_at, expires_at, hosts, \
         used) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)",
    )
    .bind(token.id.clone())
    .bind(sha256(secret.0.as_bytes()))
    .bind(token.group.clone())
    .bind(serde_json::to_string(labels).expect("texts by name are JSON"))
    .bind(token.created_by.clone())
    .bind(token.created_at.as_microsecond())
    .bind(token.expires_at.as_microsecond())
    .bind(i64::from(token.hosts))
    .execute(&mut *writing)
    .await
    .doing("store an enrolment token")?;
    let detail = json!({
        "group": group, "labels": labels, "hosts": token.hosts, "expires_at": token.expires_at.to_string(),
    });
    audit::record(&mut writing, now, actor, "enrolment.create", &token.id, detail).await?;
    events::tell(&mut writing, now, Kind::Access, &token.id, &json!({ "action": "enrolment.create" }))
        .await?;
    commit(writing, "store an enrolment token").await?;
    Ok((token, secret))
}

/// The newest tokens, used and ended ones among them.
pub async fn list(store: &Store) -> Result<Vec<Token>, Error> {
    let rows = sqlx::query(
        "SELECT id, host_group, labels, created_by, created_at, expires_at, hosts, used, used_at, host, revoked_at \
         FROM enrolment_tokens ORDER BY id DESC LIMIT $1",
    )
    .bind(LIST_MAX)
    .fetch_all(store.reader())
    .await
    .doing("read enrolment tokens")?;
    rows.iter()
        .map(|row| {
            let id: String = row.get(0);
            let damaged = |reason: &str| Error::Damaged {
                object: format!("enrolment token {id}"),
                reason: reason.to_owned(),
            };
            let time =
                |at: i64| Timestamp::from_microsecond(at).map_err(|_| damaged("a time is out of range"));
            let number = |column: usize| {
                u32::try_from(row.get::<i64, _>(column)).map_err(|_| damaged("a number is out of range"))
            };
            Ok(Token {
                group: row.get(1),
                labels: serde_json::from_str(row.get(2))
                    .map_err(|_| damaged("its labels are not texts by name"))?,
                created_by: row.get(3),
                created_at: time(row.get(4))?,
                expires_at: time(row.get(5))?,
                hosts: number(6)?,
                used: number(7)?,
                used_at: row.get::<Option<i64>, _>(8).map(time).transpose()?,
                host: row.get(9),
                revoked_at: row.get::<Option<i64>, _>(10).map(time).transpose()?,
                id,
            })
        })
        .collect()
}

/// Revokes a token; gives whether there was one to revoke.
pub async fn revoke(store: &Store, now: Timestamp, actor: &Actor, id: &str) -> Result<bool, Error> {
    let mut writing = store.begin().await?;
    let done =
        sqlx::query("UPDATE enrolment_tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
            .bind(now.as_microsecond())
            .bind(id.to_owned())
            .execute(&mut *writing)
            .await
            .doing("revoke an enrolment token")?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    audit::record(&mut writing, now, actor, "enrolment.revoke", id, json!({})).await?;
    events::tell(&mut writing, now, Kind::Access, id, &json!({ "action": "enrolment.revoke" })).await?;
    commit(writing, "revoke an enrolment token").await?;
    Ok(true)
}

/// A host that wants to join.
#[derive(Clone, Debug)]
pub struct Newcomer<'a> {
    /// Its id, as in its certificate.
    pub id: Uuid,
    /// Its name, cleaned.
    pub name: &'a str,
    /// SHA-256 of its machine id, hex.
    pub machine: &'a str,
    /// Its agent's version, cleaned.
    pub agent: &'a str,
    /// Where it speaks from.
    pub address: &'a str,
    /// The certificate that it gets if it is let in.
    pub signed: &'a Signed,
}

/// What became of an enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "moved once, kept nowhere")]
pub enum Enrolment {
    /// The host is part of the fleet.
    Done(Host),
    /// No token that is good now; nothing was stored.
    Token,
    /// Another host has this key; nothing was stored.
    OthersKey,
}

/// Whether a token would be good now, so that nobody has a certificate signed for nothing. [`enrol`] decides.
pub async fn is_good(store: &Store, now: Timestamp, secret: &str) -> Result<bool, Error> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT used FROM enrolment_tokens WHERE hash = $1 AND used < hosts AND expires_at > $2 \
         AND revoked_at IS NULL",
    )
    .bind(sha256(secret.as_bytes()))
    .bind(now.as_microsecond())
    .fetch_optional(store.reader())
    .await
    .doing("look for an enrolment token")?;
    Ok(found.is_some())
}

/// Lets a host in, if its token is good now.
pub async fn enrol(
    store: &Store,
    now: Timestamp,
    secret: &str,
    newcomer: &Newcomer<'_>,
) -> Result<Enrolment, Error> {
    let id = newcomer.id.to_string();
    let mut writing = store.begin().await?;
    // One statement: of two who come with the same token at once, the second finds it used.
    let token = sqlx::query(
        "UPDATE enrolment_tokens SET used = used + 1, used_at = $1, host = $2 WHERE hash = $3 AND used < hosts \
         AND expires_at > $1 AND revoked_at IS NULL RETURNING id, host_group, labels",
    )
    .bind(now.as_microsecond())
    .bind(id.clone())
    .bind(sha256(secret.as_bytes()))
    .fetch_optional(&mut *writing)
    .await
    .doing("use an enrolment token")?;
    let Some(token) = token else { return Ok(Enrolment::Token) };
    let (token, group, labels): (String, String, String) = (token.get(0), token.get(1), token.get(2));
    let number = count(&mut writing, "host").await?;
    sqlx::query(
        "INSERT INTO hosts (id, number, name, state, reason, host_group, labels, release, agent, address, machine, \
         enrolled_at, seen_at, revision) VALUES ($1, $2, $3, $4, '', $5, $6, '', $7, $8, $9, $10, $10, 1)",
    )
    .bind(id.clone())
    .bind(number)
    .bind(newcomer.name.to_owned())
    .bind(HostState::Active.word())
    .bind(group.clone())
    .bind(labels.clone())
    .bind(newcomer.agent.to_owned())
    .bind(newcomer.address.to_owned())
    .bind(newcomer.machine.to_owned())
    .bind(now.as_microsecond())
    .execute(&mut *writing)
    .await
    .doing("store a new host")?;
    if !certificates::add(&mut writing, &id, newcomer.signed).await? {
        return Ok(Enrolment::OthersKey);
    }
    let damaged = |reason: &str| Error::Damaged {
        object: format!("enrolment token {token}"),
        reason: reason.to_owned(),
    };
    let host = Host {
        id: id.clone(),
        number: u32::try_from(number).map_err(|_| damaged("the fleet has no more numbers"))?,
        name: newcomer.name.to_owned(),
        state: HostState::Active,
        reason: String::new(),
        group,
        labels: serde_json::from_str(&labels).map_err(|_| damaged("its labels are not texts by name"))?,
        release: String::new(),
        agent: newcomer.agent.to_owned(),
        address: newcomer.address.to_owned(),
        machine: newcomer.machine.to_owned(),
        enrolled_at: now,
        seen_at: now,
        revision: 1,
    };
    let detail = json!({
        "name": host.name, "token": token, "address": host.address, "serial": newcomer.signed.serial,
    });
    audit::record(&mut writing, now, &Actor::Host(id.clone()), "host.enrol", &id, detail).await?;
    events::tell(&mut writing, now, Kind::Host, &id, &hosts::told("host.enrol", &host)).await?;
    commit(writing, "enrol a host").await?;
    Ok(Enrolment::Done(host))
}
