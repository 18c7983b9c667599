//! What an agent may ask, and what becomes of it. Who asks is decided by the certificate alone: no request names a host.

use super::body::{self, Encoding, Room};
use super::door::{Limits, Place, network};
use super::refusal::{Answer, Refuse, json};
use super::roster::{Barred, Heard, Roster, digest};
use super::{Duties, add, clean};
use crate::App;
use crate::census::key::FleetKey;
use crate::identity::{self, Authority, Peer};
use crate::planning::Planning;
use crate::rollouts::{Checked, Rollouts};
use crate::store::certificates::{self, Given};
use crate::store::enrolment::{self, Enrolment, Newcomer};
use crate::store::inventories::{self, Replaced};
use crate::store::{self, hosts};
use crate::traces::TARGET;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};
use uuid::Uuid;
use wire::v1::census::CENSUS_PATH;
use wire::v1::{
    CHECK_IN_PATH, CheckIn, CheckedIn, ENROL_PATH, EVIDENCE_PATH, Enrol, Enrolled, HINT_PATH, REHEARSAL_PATH,
    RENEW_PATH, REPORT_PATH, Renew, Renewed, Report, Reported, TRUST_PATH,
};

/// Bytes of a check-in: ten times a real one.
const CHECK_IN_BYTES_MAX: usize = 4 << 10;
/// Bytes of an enrolment or a renewal: ten times a real one.
const SIGNING_BYTES_MAX: usize = 16 << 10;
/// Reports that are read and stored at once.
const REPORTS_AT_ONCE: usize = 4;
/// Bytes of a host's name, as in DNS.
const NAME_BYTES_MAX: usize = 253;
/// Bytes of an agent's version.
const AGENT_BYTES_MAX: usize = 64;
/// Enrolments that may fail from one address within [`FAILURES_WITHIN`].
const FAILURES_MAX: u32 = 10;
/// See [`FAILURES_MAX`].
const FAILURES_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// Addresses whose failures are remembered; the secret's 160 bits do not depend on it.
const FAILURES_ADDRESSES_MAX: usize = 10_000;

/// Where requests are answered.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) app: Arc<App>,
    authority: Arc<Authority>,
    pub(super) roster: Arc<Roster>,
    pub(super) rollouts: Arc<Rollouts>,
    pub(super) planning: Arc<Planning>,
    pub(super) limits: Limits,
    pub(super) stop: CancellationToken,
    failures: Mutex<HashMap<IpAddr, (u32, Timestamp)>>,
    /// Hosts whose report is being read: one at a time each.
    pub(super) reporting: Mutex<HashSet<Uuid>>,
    pub(super) room: Room,
    pub(super) reports: Semaphore,
    /// One report over [`ORDINARY_BYTES`](super::turn) at a time: unpacked, it takes up to half a gigabyte.
    pub(super) large: Semaphore,
    pub(super) census_key: OnceCell<FleetKey>,
}

impl Desk {
    pub(super) fn new(
        app: Arc<App>,
        authority: Arc<Authority>,
        roster: Arc<Roster>,
        Duties { rollouts, planning }: Duties,
        limits: Limits,
        stop: CancellationToken,
    ) -> Self {
        Self {
            app,
            authority,
            roster,
            rollouts,
            planning,
            limits,
            stop,
            failures: Mutex::default(),
            reporting: Mutex::default(),
            room: Room::default(),
            reports: Semaphore::new(REPORTS_AT_ONCE),
            large: Semaphore::new(1),
            census_key: OnceCell::new(),
        }
    }

    /// Answers one request from `peer`, at `address`.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        peer: Option<Peer>,
        address: IpAddr,
        place: &Place,
    ) -> Answer {
        let now = Timestamp::now();
        if let Some(seconds) = peer.and_then(|peer| self.roster.hurries(&peer.host, self.pace(), now)) {
            add(&self.roster.counters.refused_hurried);
            let detail = "answer the request: the host asks far more often than it was told to";
            return Refuse::busy(StatusCode::TOO_MANY_REQUESTS, detail).after(seconds).answer();
        }
        let only = |method: &str| {
            let detail = format!("answer the request: only {method} is known here");
            Err(Refuse::malformed(StatusCode::METHOD_NOT_ALLOWED, detail))
        };
        let asked = match request.uri().path() {
            ENROL_PATH | RENEW_PATH | CHECK_IN_PATH | REPORT_PATH | REHEARSAL_PATH | EVIDENCE_PATH
                if request.method() != Method::POST =>
            {
                only("POST")
            }
            path if (path == HINT_PATH || path.starts_with(TRUST_PATH))
                && request.method() != Method::GET =>
            {
                only("GET")
            }
            HINT_PATH => self.hint(peer, place, now).await,
            path if path.starts_with(TRUST_PATH) => self.trust(&path[TRUST_PATH.len()..], peer, now).await,
            REHEARSAL_PATH => self.rehearsal(request, peer, now).await,
            EVIDENCE_PATH => self.evidence(request, peer, now).await,
            ENROL_PATH => self.enrol(request.into_body(), address, now).await,
            RENEW_PATH => self.renew(request.into_body(), peer, now).await,
            CHECK_IN_PATH => self.check_in(request.into_body(), peer, address, now).await,
            CENSUS_PATH => self.census(request, peer, now).await,
            REPORT_PATH => {
                let host = peer.map_or_else(Uuid::nil, |peer| peer.host);
                let trace = info_span!(target: TARGET, "report", otel.kind = "server", host.id = %host);
                self.report(request, peer, now).instrument(trace).await
            }
            _ => Err(Refuse::malformed(StatusCode::NOT_FOUND, "answer the request: this path is not known")),
        };
        asked.unwrap_or_else(|refuse| {
            self.roster.counters.refused(refuse.kind);
            refuse.answer()
        })
    }

    /// A host may make one request for each: eight for each check-in, and at least one a second.
    fn pace(&self) -> SignedDuration {
        let check_in = SignedDuration::from_secs(i64::from(self.app.config.agents.check_in_seconds));
        (check_in / 8).min(SignedDuration::from_secs(1))
    }

    async fn enrol(&self, body: Incoming, address: IpAddr, now: Timestamp) -> Result<Answer, Refuse> {
        self.is_patient_with(address, now)?;
        let enrolled = self.let_in(body, address, now).await;
        if enrolled.as_ref().is_err_and(|refuse| refuse.kind != wire::v1::Refusal::Busy) {
            self.failed(address, now);
        }
        enrolled
    }

    async fn let_in(&self, body: Incoming, address: IpAddr, now: Timestamp) -> Result<Answer, Refuse> {
        let (bytes, _) = body::read(body, SIGNING_BYTES_MAX, &self.limits, None).await?;
        let enrol: Enrol = parse(&bytes)?;
        if digest(&enrol.machine).is_none() {
            return Err(not_a_hash("machine"));
        }
        if !enrolment::is_good(&self.app.store, now, &enrol.token).await.map_err(unstored)? {
            return Err(Refuse::token());
        }
        let id = Uuid::now_v7();
        let signed = self.sign(&enrol.csr, id, now)?;
        let name = match clean(&enrol.name, NAME_BYTES_MAX) {
            name if name.is_empty() => format!("host-{id}"),
            name => name,
        };
        let newcomer = Newcomer {
            id,
            name: &name,
            machine: &enrol.machine,
            agent: &clean(&enrol.agent, AGENT_BYTES_MAX),
            address: &address.to_string(),
            signed: &signed,
        };
        match enrolment::enrol(&self.app.store, now, &enrol.token, &newcomer).await.map_err(unstored)? {
            Enrolment::Done(host) => {
                self.roster.put(&host);
                self.app.told.notify_waiters();
                add(&self.roster.counters.enrolments);
                tracing::info!(host.id = %id, host.name = name, %address, "enrolled");
                let authority = self.authority.pem();
                let trust_root = self.rollouts.signing.root().and_then(|root| String::from_utf8(root).ok());
                Ok(json(
                    StatusCode::OK,
                    &Enrolled {
                        host: host.id,
                        certificate: signed.pem,
                        authority,
                        trust_root,
                        group: host.group,
                    },
                ))
            }
            Enrolment::Token => Err(Refuse::token()),
            Enrolment::OthersKey => Err(others_key()),
        }
    }

    async fn renew(&self, body: Incoming, peer: Option<Peer>, now: Timestamp) -> Result<Answer, Refuse> {
        let peer = self.active(peer, now)?;
        let (bytes, _) = body::read(body, SIGNING_BYTES_MAX, &self.limits, None).await?;
        let renew: Renew = parse(&bytes)?;
        let signed = self.sign(&renew.csr, peer.host, now)?;
        let id = peer.host.to_string();
        match certificates::renew(&self.app.store, now, &id, &signed).await.map_err(unstored)? {
            Given::Stored => {
                add(&self.roster.counters.renewals);
                let authority = self.authority.pem();
                Ok(json(StatusCode::OK, &Renewed { certificate: signed.pem, authority }))
            }
            Given::OthersKey => Err(others_key()),
            Given::TooOften => {
                let detail = "renew the certificate: the host was given several within the hour";
                Err(Refuse::busy(StatusCode::TOO_MANY_REQUESTS, detail).after(3_600))
            }
        }
    }

    async fn check_in(
        &self,
        body: Incoming,
        peer: Option<Peer>,
        address: IpAddr,
        now: Timestamp,
    ) -> Result<Answer, Refuse> {
        let peer = self.active(peer, now)?;
        let (bytes, _) = body::read(body, CHECK_IN_BYTES_MAX, &self.limits, None).await?;
        let check_in: CheckIn = parse(&bytes)?;
        let mut heard = self.roster.check_in(&peer, address, &check_in, now);
        if heard == Heard::Unbound {
            let id = peer.host.to_string();
            hosts::bind(&self.app.store, now, &id, &check_in.machine).await.map_err(unstored)?;
            self.take(&id).await.map_err(unstored)?;
            heard = self.roster.check_in(&peer, address, &check_in, now);
        }
        match heard {
            Heard::Here { report } => {
                let checked = match &check_in.job {
                    Some(said) => self.rollouts.check_in(peer.host, said).await.map_err(|problem| {
                        Refuse::busy(StatusCode::SERVICE_UNAVAILABLE, problem.to_string())
                    })?,
                    None => Checked::default(),
                };
                add(&self.roster.counters.check_ins);
                let next_seconds = self.app.config.agents.check_in_seconds;
                let rehearse = self.planning.due(&peer.host.to_string());
                let Checked { told, hint } = checked;
                let nonce = check_in.job.as_ref().filter(|_| check_in.vouch).map(|said| said.nonce);
                let heard = nonce.and_then(|nonce| self.rollouts.vouch(peer.host, nonce));
                Ok(json(
                    StatusCode::OK,
                    &CheckedIn { next_seconds, report, job: told, rehearse, hint, heard },
                ))
            }
            Heard::Refused(barred) => Err(refused(barred)),
            Heard::Malformed(field) => Err(not_a_hash(field)),
            Heard::Unbound => {
                Err(Refuse::busy(StatusCode::SERVICE_UNAVAILABLE, "take the host out of quarantine"))
            }
            Heard::Cloned(reason) => {
                self.hold_back(now, &peer.host.to_string(), &reason).await.map_err(unstored)?;
                Err(Refuse::quarantined())
            }
        }
    }

    async fn report(
        &self,
        request: Request<Incoming>,
        peer: Option<Peer>,
        now: Timestamp,
    ) -> Result<Answer, Refuse> {
        let peer = self.active(peer, now)?;
        let (report, _turn): (Report, _) = self.large_body(request, peer.host, "report").await?;
        let observed = Timestamp::from_microsecond(report.observed_at).map_err(|_| {
            Refuse::malformed(StatusCode::BAD_REQUEST, "read the report: observed_at is out of range")
        })?;
        // It may have taken a while to arrive.
        let now = Timestamp::now();
        self.active(Some(peer), now)?;
        let id = peer.host.to_string();
        // A host's clock may be early; nothing is seen in the future.
        let replaced = inventories::replace(&self.app.store, now, &id, observed.min(now), &report);
        let replaced = replaced.instrument(info_span!(target: TARGET, "store inventory"));
        let (hash, counter) = match replaced.await.map_err(unstored)? {
            Replaced::Stored(hash) => {
                self.app.told.notify_waiters();
                (hash, &self.roster.counters.reports)
            }
            Replaced::Unchanged(hash) => (hash, &self.roster.counters.reports_unchanged),
            Replaced::Missing(missing) => return Ok(json(StatusCode::OK, &Reported { missing })),
            Replaced::Broken(broken) => {
                let detail = clean(&format!("read the report: {broken}"), 512);
                return Err(Refuse::malformed(StatusCode::UNPROCESSABLE_ENTITY, detail));
            }
        };
        self.roster.has(&id, &hash);
        add(counter);
        Ok(json(StatusCode::OK, &Reported { missing: Vec::new() }))
    }

    /// The host on the other side, if it may speak now.
    pub(super) fn active(&self, peer: Option<Peer>, now: Timestamp) -> Result<Peer, Refuse> {
        let peer = peer.ok_or_else(|| {
            Refuse::stranger("answer the request: this path needs a host's certificate; enrol first")
        })?;
        self.roster.standing(&peer, now).map_err(refused)?;
        Ok(peer)
    }

    fn sign(&self, csr: &str, id: Uuid, now: Timestamp) -> Result<identity::Signed, Refuse> {
        let days = self.app.config.agents.certificate_days;
        self.authority.sign_host(csr, id, now, days).map_err(|problem| match problem {
            identity::Error::Request(_) => Refuse::malformed(StatusCode::BAD_REQUEST, problem.to_string()),
            identity::Error::Store(_)
            | identity::Error::Damaged(_)
            | identity::Error::KeyFile { .. }
            | identity::Error::Certificate { .. }
            | identity::Error::Rotating
            | identity::Error::NotRotating
            | identity::Error::Early { .. }
            | identity::Error::Tls(_) => {
                tracing::error!("{problem}");
                Refuse::busy(StatusCode::SERVICE_UNAVAILABLE, "sign a certificate: the server cannot now")
            }
        })
    }

    /// Writes who was heard; holds back whom only all servers together know to be two hosts.
    pub(super) async fn flush(&self, now: Timestamp, hurry: &CancellationToken) -> Result<(), store::Error> {
        self.roster.flush(&self.app.store, hurry).await?;
        for (id, one, other) in hosts::in_turns(&self.app.store).await? {
            let reason = format!(
                "its key is used by two hosts in turn, through different servers: one speaks from {one}, the other one from \
                 {other}"
            );
            self.hold_back(now, &id, &reason).await?;
        }
        Ok(())
    }

    async fn hold_back(&self, now: Timestamp, id: &str, reason: &str) -> Result<(), store::Error> {
        hosts::quarantine(&self.app.store, now, id, reason).await?;
        self.take(id).await?;
        add(&self.roster.counters.clones);
        tracing::warn!(host.id = %id, "quarantined: {reason}");
        Ok(())
    }

    /// Takes what the store says about a host, before its event comes round.
    async fn take(&self, id: &str) -> Result<(), store::Error> {
        match hosts::get(&self.app.store, id).await? {
            Some(host) => self.roster.put(&host),
            None => self.roster.remove(id),
        }
        self.app.told.notify_waiters();
        Ok(())
    }

    /// Refuses an address from which too many enrolments failed.
    fn is_patient_with(&self, address: IpAddr, now: Timestamp) -> Result<(), Refuse> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((count, since)) = failures.get(&network(address)) else { return Ok(()) };
        let left = FAILURES_WITHIN.saturating_sub(now.duration_since(*since)).as_secs();
        if *count < FAILURES_MAX || left <= 0 {
            return Ok(());
        }
        let detail = "enrol: too many tries from this address have failed";
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        Err(Refuse::busy(StatusCode::TOO_MANY_REQUESTS, detail).after(left))
    }

    fn failed(&self, address: IpAddr, now: Timestamp) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |since: Timestamp| now.duration_since(since) < FAILURES_WITHIN;
        if failures.len() >= FAILURES_ADDRESSES_MAX {
            failures.retain(|_, (_, since)| fresh(*since));
        }
        if failures.len() >= FAILURES_ADDRESSES_MAX {
            failures.clear();
        }
        let (count, since) = failures.entry(network(address)).or_insert((0, now));
        if !fresh(*since) {
            (*count, *since) = (0, now);
        }
        *count += 1;
    }
}

/// Unpacks and reads a body, off the threads that answer; `None` if it is over `bytes_max`.
pub(super) async fn unpack<T: DeserializeOwned + Send + 'static>(
    bytes: &Arc<Vec<u8>>,
    encoding: Encoding,
    bytes_max: usize,
) -> Result<Option<T>, Refuse> {
    let bytes = Arc::clone(bytes);
    let work = move || match body::inflate(&bytes, encoding, bytes_max)? {
        Some(text) => parse(&text).map(Some),
        None => Ok(None),
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Refuse::busy(StatusCode::SERVICE_UNAVAILABLE, "read the report: the work on it was cut off"))
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refuse> {
    serde_json::from_slice(bytes).map_err(|problem| {
        let detail = clean(&format!("read the request: {problem}"), 256);
        Refuse::malformed(StatusCode::BAD_REQUEST, detail)
    })
}

fn not_a_hash(field: &str) -> Refuse {
    let detail = format!("read the request: \"{field}\" is no SHA-256 in hex");
    Refuse::malformed(StatusCode::BAD_REQUEST, detail)
}

fn others_key() -> Refuse {
    let detail = "sign a certificate: another host has this key; make one on this host";
    Refuse::malformed(StatusCode::CONFLICT, detail)
}

/// The store did not do it: the agent comes again.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn unstored(problem: store::Error) -> Refuse {
    tracing::error!("{problem}");
    Refuse::busy(StatusCode::SERVICE_UNAVAILABLE, "answer the request: the store cannot now")
}

fn refused(barred: Barred) -> Refuse {
    match barred {
        Barred::Quarantined => Refuse::quarantined(),
        Barred::Revoked => Refuse::revoked("the host was revoked: it is no longer part of the fleet"),
        Barred::Unknown => Refuse::revoked("the host is not known: it was removed from the fleet"),
        Barred::CertificateRevoked => Refuse::revoked("the host's certificate was revoked; enrol it anew"),
        Barred::CertificateEnded => {
            Refuse::stranger("the host's certificate has ended; enrol it anew with another token")
        }
    }
}
