//! What rollouts add to the agents' door: files that approvers signed, answers of rehearsals, hints.

use super::door::Place;
use super::refusal::{Answer, Refuse, json};
use super::requests::{Desk, unstored};
use crate::identity::Peer;
use crate::store::evidence;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use jiff::Timestamp;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;
use wire::v1::{EVIDENCE_BYTES_MAX, Evidence, HINT_SECONDS_MAX, Hint, Noted, Rehearsed};

/// Bytes of a rehearsal's answer as sent: 1,000 packages at 700 bytes.
const REHEARSAL_BYTES_MAX: usize = 1 << 20;
/// After unpacking.
const REHEARSAL_INFLATED_MAX: usize = 4 << 20;
/// Until a host that finds no room to wait may try again, seconds.
const HINT_AGAIN_SECONDS: u32 = 300;

impl Desk {
    /// A file that approvers or the server signed, by its path below the trust's.
    pub(super) async fn trust(
        &self,
        name: &str,
        peer: Option<Peer>,
        now: Timestamp,
    ) -> Result<Answer, Refuse> {
        self.active(peer, now)?;
        let body = self.rollouts.signing.file(name).await.map_err(unstored)?.ok_or_else(|| {
            // A client asks for the next root until there is none: no fault of anybody's.
            Refuse::malformed(StatusCode::NOT_FOUND, "read a signed file: there is none of this name")
        })?;
        let mut answer = Response::new(Full::new(Bytes::from_owner(body)));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(answer)
    }

    /// What a rehearsal found.
    pub(super) async fn rehearsal(
        &self,
        request: Request<Incoming>,
        peer: Option<Peer>,
        now: Timestamp,
    ) -> Result<Answer, Refuse> {
        let peer = self.active(peer, now)?;
        let found: Option<Rehearsed> =
            self.small_body(request, REHEARSAL_BYTES_MAX, REHEARSAL_INFLATED_MAX).await?;
        let found = found.ok_or_else(|| {
            let detail = format!("read the rehearsal: unpacked, it is over {REHEARSAL_INFLATED_MAX} bytes");
            Refuse::malformed(StatusCode::PAYLOAD_TOO_LARGE, detail)
        })?;
        let host = peer.host.to_string();
        let wanted = self.planning.answered(&host, &found, now).await.map_err(|problem| {
            tracing::error!(host.id = host, "{problem}");
            Refuse::busy(StatusCode::SERVICE_UNAVAILABLE, "store what the rehearsal found")
        })?;
        self.app.told.notify_waiters();
        Ok(json(StatusCode::OK, &Noted { wanted }))
    }

    /// What a host saw of a job that is over.
    pub(super) async fn evidence(
        &self,
        request: Request<Incoming>,
        peer: Option<Peer>,
        now: Timestamp,
    ) -> Result<Answer, Refuse> {
        let peer = self.active(peer, now)?;
        let told: Option<Evidence> =
            self.small_body(request, EVIDENCE_BYTES_MAX, 2 * EVIDENCE_BYTES_MAX).await?;
        let told = told.filter(|told| told.seen.is_object()).map(|told| (told.seen.to_string(), told));
        let (seen, told) = told.filter(|(seen, _)| seen.len() <= EVIDENCE_BYTES_MAX).ok_or_else(|| {
            let detail = format!("read the evidence: it is no object of at most {EVIDENCE_BYTES_MAX} bytes");
            Refuse::malformed(StatusCode::PAYLOAD_TOO_LARGE, detail)
        })?;
        let host = peer.host.to_string();
        let wanted = evidence::put(&self.app.store, now, &host, &told, &seen).await.map_err(unstored)?;
        Ok(json(StatusCode::OK, &Noted { wanted }))
    }

    /// Waits until the host is rung. It keeps its connection, but no place among those that ask: these are for hosts that
    /// have something to say. Hints have places of their own.
    pub(super) async fn hint(
        &self,
        peer: Option<Peer>,
        place: &Place,
        now: Timestamp,
    ) -> Result<Answer, Refuse> {
        let peer = self.active(peer, now)?;
        let Some(mut wait) = self.rollouts.hints.wait(peer.host) else {
            self.rollouts.counters.hints_refused.fetch_add(1, Ordering::Relaxed);
            let detail =
                "wait for a hint: as many hosts wait as may (agents.hints_max); check-ins go on as ever";
            return Err(Refuse::busy(StatusCode::SERVICE_UNAVAILABLE, detail).after(HINT_AGAIN_SECONDS));
        };
        place.leave();
        let longest = Duration::from_secs(HINT_SECONDS_MAX.into());
        let rung = tokio::select! {
            () = self.stop.cancelled() => false,
            rung = timeout(longest, wait.rung()) => rung.unwrap_or(false),
        };
        let mut answer = json(StatusCode::OK, &Hint { now: rung });
        // Without a place there is no further request on this connection.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(answer)
    }
}
