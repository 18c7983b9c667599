//! Bodies of requests: how many bytes, how fast, and how many at once.

use super::door::Limits;
use super::refusal::Refuse;
use flate2::read::{GzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// Bytes of reports that may be in memory while they arrive, all hosts together, KiB: 128 MiB, eight of the largest.
const ARRIVING_KIB: usize = 128 << 10;

/// Bytes of a refused body that are read and thrown away: a host still sending when its connection is closed is reset,
/// and may never read why it was refused.
const PASSED_OVER: u64 = 1 << 20;

/// Room for bodies that are arriving.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(ARRIVING_KIB)))
    }
}

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    /// zlib, as RFC 9110 has it.
    Deflate,
}

impl Encoding {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refuse> {
        let Some(name) = headers.get(CONTENT_ENCODING) else { return Ok(Self::Plain) };
        match name.as_bytes() {
            b"identity" => Ok(Self::Plain),
            b"gzip" => Ok(Self::Gzip),
            b"deflate" => Ok(Self::Deflate),
            _ => Err(Refuse::malformed(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "read the request: its Content-Encoding is neither gzip nor deflate",
            )),
        }
    }
}

/// Reads a body of at most `bytes_max`, which has to keep up with [`Limits::body_rate`] once [`Limits::body_grace`] is
/// over. With `room`, what has arrived takes of it, until the second value is dropped.
pub(super) async fn read(
    mut body: Incoming,
    bytes_max: usize,
    limits: &Limits,
    room: Option<&Room>,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), Refuse> {
    let too_large = || {
        let detail = format!("read the request: its body is over {bytes_max} bytes");
        Refuse::malformed(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    // What is promised to be far too much need not be read.
    if body.size_hint().lower() > bytes_max as u64 + PASSED_OVER {
        return Err(too_large());
    }
    let start = Instant::now();
    let mut arrived = 0;
    let mut bytes = Vec::new();
    let mut taken: Option<OwnedSemaphorePermit> = None;
    loop {
        let earned = Duration::from_secs(arrived / limits.body_rate.max(1));
        let frame = timeout_at(start + limits.body_grace + earned, body.frame()).await.map_err(|_| {
            Refuse::malformed(StatusCode::REQUEST_TIMEOUT, "read the request: its body comes too slowly")
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| {
            Refuse::malformed(StatusCode::BAD_REQUEST, "read the request: its body breaks off")
        })?;
        let Ok(data) = frame.into_data() else { continue };
        arrived += data.len() as u64;
        if arrived > bytes_max as u64 {
            (bytes, taken) = (Vec::new(), None);
            if arrived > bytes_max as u64 + PASSED_OVER {
                break;
            }
            continue;
        }
        bytes.extend_from_slice(&data);
        if let Some(Room(room)) = room {
            let held = taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
            let more = u32::try_from(bytes.len().div_ceil(1 << 10) - held).unwrap_or(u32::MAX);
            let more = Arc::clone(room).try_acquire_many_owned(more).map_err(|_| {
                Refuse::busy(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "read the report: too many are arriving at once",
                )
            })?;
            match &mut taken {
                Some(taken) => taken.merge(more),
                None => taken = Some(more),
            }
        }
    }
    if arrived > bytes_max as u64 { Err(too_large()) } else { Ok((bytes, taken)) }
}

/// Unpacks a body to at most `bytes_max` bytes; `None` if there are more.
pub(super) fn inflate(body: &[u8], encoding: Encoding, bytes_max: usize) -> Result<Option<Vec<u8>>, Refuse> {
    let mut bytes = Vec::new();
    let most = bytes_max as u64 + 1;
    let read = match encoding {
        Encoding::Plain => body.take(most).read_to_end(&mut bytes),
        Encoding::Gzip => GzDecoder::new(body).take(most).read_to_end(&mut bytes),
        Encoding::Deflate => ZlibDecoder::new(body).take(most).read_to_end(&mut bytes),
    };
    read.map_err(|_| {
        Refuse::malformed(StatusCode::BAD_REQUEST, "read the request: its body cannot be unpacked")
    })?;
    Ok((bytes.len() <= bytes_max).then_some(bytes))
}
