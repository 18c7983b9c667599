//! How one authority follows another, while its hosts stay enrolled.
//!
//! From [`Authority::rotate`] on hosts get certificates of the next authority, and are told to trust both. Servers go on
//! showing certificates of the present one: a host that has not renewed knows no other. When the last certificate that
//! the present one signed has ended, every host that is still in the fleet has renewed; then [`Authority::retire_if_due`]
//! lets the next one take its place, for hosts and servers alike.

use super::ca::CLOCKS_DIFFER;
use super::kept::{self, Kept, NEXT, PRESENT, Takeover, Texts};
use super::{Authority, Error, key_file};
use crate::store::audit::{self, Actor};
use crate::store::events::{self, Event, Kind};
use crate::store::hosts::HostState;
use crate::store::{Doing, Store, Writing, commit};
use advisory::digest::sha256;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Where the fleet's authority stands, as anybody may know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// SHA-256 of its certificate, hex: of the one that servers show.
    pub fingerprint: String,
    /// When it ends.
    pub ends_at: Timestamp,
    /// The one that is to take its place.
    pub next: Option<Successor>,
    /// All certificates that are to be trusted now, PEM.
    pub certificates: String,
}

/// An authority that is to take another one's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Successor {
    /// SHA-256 of its certificate, hex.
    pub fingerprint: String,
    /// When.
    #[serde(flatten)]
    pub takeover: Takeover,
    /// Hosts that have no certificate of it yet.
    pub hosts_left: i64,
}

impl Authority {
    /// Makes the next authority, which is sealed as the present one is, and begins to hand it out. It takes over when the
    /// last certificate that a host has now, or is given for `certificate_days` just now, has ended.
    pub async fn rotate(
        store: &Store,
        now: Timestamp,
        key_file: Option<&Path>,
        certificate_days: u32,
    ) -> Result<Standing, Error> {
        let mut next = Kept::make(now)?;
        if let Some(path) = key_file {
            // The file that opens the present one; a new one here would lock the other servers out.
            Self::verify(store, path).await?;
            next = next.sealed(&key_file::read_or_make(path)?)?;
        }
        let mut writing = store.begin().await?;
        let last: Option<i64> =
            sqlx::query_scalar("SELECT MAX(not_after) FROM certificates WHERE revoked_at IS NULL")
                .fetch_one(&mut *writing)
                .await
                .doing("read when the last certificate ends")?;
        let given = now + SignedDuration::from_hours(24 * i64::from(certificate_days));
        let last = last.and_then(|last| Timestamp::from_microsecond(last).ok()).unwrap_or(given).max(given);
        // Another server may sign with the present one until it has heard of this.
        let takeover = Takeover { since: now, until: last.saturating_add(CLOCKS_DIFFER).unwrap_or(last) };
        next.takeover = Some(takeover);
        if !kept::add(&mut writing, NEXT, &next).await? {
            return Err(Error::Rotating);
        }
        let detail = json!({ "next": fingerprint(&next.certificate)?, "until": takeover.until });
        tell(writing, now, "authority.rotate", detail).await?;
        Self::standing(store).await?.ok_or_else(gone)
    }

    /// Lets the next authority take over now: whatever the present one has signed is refused from here on. `early`: also
    /// before its time. Gives what it did.
    pub async fn retire(store: &Store, now: Timestamp, early: bool) -> Result<Standing, Error> {
        let mut writing = store.begin().await?;
        let text = kept::take(&mut writing, NEXT).await?.ok_or(Error::NotRotating)?;
        let mut next = Kept::read(&text)?;
        let takeover = next.takeover.take().ok_or_else(gone)?;
        if now < takeover.until && !early {
            // Dropped, the transaction leaves everything as it was.
            return Err(Error::Early { until: takeover.until });
        }
        let present = kept::take(&mut writing, PRESENT).await?.ok_or_else(gone)?;
        kept::add(&mut writing, PRESENT, &next).await?;
        let retired = fingerprint(&Kept::read(&present)?.certificate)?;
        let detail = json!({
            "retired": retired, "authority": fingerprint(&next.certificate)?, "early": now < takeover.until,
        });
        tell(writing, now, "authority.retire", detail).await?;
        Self::standing(store).await?.ok_or_else(gone)
    }

    /// Lets the next authority take over if it is time; gives whether it did. For servers, now and then.
    pub async fn retire_if_due(store: &Store, now: Timestamp) -> Result<bool, Error> {
        let next = Self::standing(store).await?.and_then(|standing| standing.next);
        if next.is_none_or(|next| now < next.takeover.until) {
            return Ok(false);
        }
        match Self::retire(store, now, false).await {
            Ok(_) => Ok(true),
            // Another server was quicker.
            Err(Error::NotRotating) => Ok(false),
            Err(problem) => Err(problem),
        }
    }

    /// Where the authority of a store stands; no key is needed to know. `None`: it has none.
    pub async fn standing(store: &Store) -> Result<Option<Standing>, Error> {
        let Some(Texts { present, next }) = Texts::read(store).await? else { return Ok(None) };
        let present = Kept::read(&present)?;
        let mut standing = Standing {
            fingerprint: fingerprint(&present.certificate)?,
            ends_at: ends_at(&present.certificate)?,
            next: None,
            certificates: present.certificate,
        };
        if let Some(next) = next {
            let next = Kept::read(&next)?;
            let takeover = next.takeover.ok_or_else(gone)?;
            standing.next = Some(Successor {
                fingerprint: fingerprint(&next.certificate)?,
                takeover,
                hosts_left: hosts_left(store, takeover.since).await?,
            });
            standing.certificates += &next.certificate;
        }
        Ok(Some(standing))
    }

    /// Follows what this server or another one changed about the authority.
    pub async fn follow(&self, store: &Store, event: &Event) -> Result<(), Error> {
        if event.kind == Kind::Access && event.object == PRESENT {
            self.reload(store).await?;
        }
        Ok(())
    }
}

/// Hosts of the fleet that were given no certificate since `since`.
async fn hosts_left(store: &Store, since: Timestamp) -> Result<i64, Error> {
    // A certificate begins an hour before it is signed, in whole seconds: one of the very second counts as none.
    let begins = since.saturating_sub(CLOCKS_DIFFER).unwrap_or(Timestamp::MIN);
    Ok(sqlx::query_scalar(
        "SELECT COUNT(*) FROM hosts h WHERE h.state <> $1 AND NOT EXISTS \
         (SELECT 1 FROM certificates c WHERE c.host = h.id AND c.not_before >= $2)",
    )
    .bind(HostState::Revoked.word())
    .bind(begins.as_microsecond())
    .fetch_one(store.reader())
    .await
    .doing("count hosts with the authority's last certificates")?)
}

async fn tell(mut writing: Writing, now: Timestamp, action: &str, detail: Value) -> Result<(), Error> {
    audit::record(&mut writing, now, &Actor::Server, action, PRESENT, detail).await?;
    events::tell(&mut writing, now, Kind::Access, PRESENT, &json!({ "action": action })).await?;
    Ok(commit(writing, "change the fleet's authority").await?)
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|problem| Error::Damaged(problem.to_string()))
}

fn fingerprint(pem: &str) -> Result<String, Error> {
    Ok(sha256(&certificate(pem)?))
}

fn ends_at(pem: &str) -> Result<Timestamp, Error> {
    let der = certificate(pem)?;
    let damaged = |problem: String| Error::Damaged(problem);
    let (_, read) = X509Certificate::from_der(&der).map_err(|problem| damaged(problem.to_string()))?;
    Timestamp::from_second(read.validity().not_after.timestamp())
        .map_err(|problem| damaged(problem.to_string()))
}

fn gone() -> Error {
    Error::Damaged("it is there by half".to_owned())
}
