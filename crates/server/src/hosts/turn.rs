//! Bodies that are packed. Large ones take turns: one at a time of each host, few at a time of all.

use super::body::{self, Encoding};
use super::refusal::Refuse;
use super::requests::{Desk, unpack};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::SemaphorePermit;
use uuid::Uuid;
use wire::v1::{INFLATED_BYTES_MAX, REQUEST_BYTES_MAX};

/// Bytes after unpacking up to which several are read at once: an inventory of 2,500 packages with all they map, or a week's
/// counts.
const ORDINARY_BYTES: usize = 8 << 20;

/// A host's turn: to be kept until what it said is stored.
pub(super) struct Turn<'a> {
    _reporting: Reporting<'a>,
    _place: SemaphorePermit<'a>,
    _large: Option<SemaphorePermit<'a>>,
}

impl Desk {
    /// Reads a body of at most `sent_max` bytes as sent; `None`: unpacked, it is over `unpacked_max`.
    pub(super) async fn small_body<T: DeserializeOwned + Send + 'static>(
        &self,
        request: Request<Incoming>,
        sent_max: usize,
        unpacked_max: usize,
    ) -> Result<Option<T>, Refuse> {
        let encoding = Encoding::of(request.headers())?;
        let (bytes, _room) =
            body::read(request.into_body(), sent_max, &self.limits, Some(&self.room)).await?;
        unpack(&Arc::new(bytes), encoding, unpacked_max).await
    }

    /// Reads a body that may be large; `what` it is, in a word.
    pub(super) async fn large_body<T: DeserializeOwned + Send + 'static>(
        &self,
        request: Request<Incoming>,
        host: Uuid,
        what: &str,
    ) -> Result<(T, Turn<'_>), Refuse> {
        let encoding = Encoding::of(request.headers())?;
        let reporting = Reporting::begin(&self.reporting, host, what)?;
        let (bytes, _room) =
            body::read(request.into_body(), REQUEST_BYTES_MAX, &self.limits, Some(&self.room)).await?;
        let closed =
            |_| Refuse::busy(StatusCode::SERVICE_UNAVAILABLE, format!("read the {what}: the server stops"));
        let place = self.reports.acquire().await.map_err(closed)?;
        let bytes = Arc::new(bytes);
        if let Some(ordinary) = unpack(&bytes, encoding, ORDINARY_BYTES).await? {
            return Ok((ordinary, Turn { _reporting: reporting, _place: place, _large: None }));
        }
        let large = self.large.acquire().await.map_err(closed)?;
        let read = unpack(&bytes, encoding, INFLATED_BYTES_MAX).await?.ok_or_else(|| {
            let detail = format!("read the {what}: unpacked, it is over {INFLATED_BYTES_MAX} bytes");
            Refuse::malformed(StatusCode::PAYLOAD_TOO_LARGE, detail)
        })?;
        Ok((read, Turn { _reporting: reporting, _place: place, _large: Some(large) }))
    }
}

/// What a host is telling just now.
struct Reporting<'a> {
    among: &'a Mutex<HashSet<Uuid>>,
    host: Uuid,
}

impl<'a> Reporting<'a> {
    fn begin(among: &'a Mutex<HashSet<Uuid>>, host: Uuid, what: &str) -> Result<Self, Refuse> {
        if among.lock().unwrap_or_else(PoisonError::into_inner).insert(host) {
            return Ok(Self { among, host });
        }
        let detail = format!("read the {what}: another one of this host is under way");
        Err(Refuse::busy(StatusCode::TOO_MANY_REQUESTS, detail))
    }
}

impl Drop for Reporting<'_> {
    fn drop(&mut self) {
        self.among.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.host);
    }
}
