//! Requests sent to a service of this host at a steady rate, whatever it makes of them: a service that stalls is sent the next
//! one all the same, and whoever had to wait is counted with the wait.

use crate::job::probes::http::{AGENT, connect, request, status};
use crate::job::probes::tls;
use crate::program;
use rollout::plan::replay::{Attempt, Replay};
use rollout::replay::Heard;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long one request may take. A person has left by then.
const WITHIN: Duration = Duration::from_secs(5);
/// Requests of one kind under way at once: with all of them stalled, eight connections are what the service bears for us.
const AT_ONCE: usize = 8;
/// Bytes of an answer that are read; whoever sends more has answered.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes read at once.
const CHUNK_BYTES: usize = 4 << 10;
/// How often it is looked, while waiting, whether to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What is sent.
pub(super) struct Volley<'a> {
    /// To which service, and how much.
    pub(super) replay: &'a Replay,
    /// Requests as they go over the line, in turn.
    pub(super) requests: &'a [Vec<u8>],
    /// Whether an answer of this status is none.
    pub(super) is_failure: fn(u16) -> bool,
}

impl Volley<'_> {
    /// Sends all of it. `None`: told to stop before the end.
    pub(super) fn fire(&self, stop: &AtomicBool) -> Option<Heard> {
        if self.requests.is_empty() {
            return Some(Heard::default());
        }
        let load = &self.replay.load;
        let wanted = load.rate_per_second.saturating_mul(load.round_seconds);
        let between = Duration::from_secs(1) / load.rate_per_second.max(1);
        let began = Instant::now();
        let end = began + Duration::from_secs(load.round_seconds.into()) + WITHIN;
        let is_stopped = || stop.load(Ordering::Relaxed) || program::is_stopped();
        let (next, answered) = (AtomicU32::new(0), Mutex::new(Vec::new()));
        let send = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let due = began + between.saturating_mul(number);
                while Instant::now() < due && number < wanted && !is_stopped() {
                    std::thread::sleep(LOOK_EVERY.min(due.saturating_duration_since(Instant::now())));
                }
                if number >= wanted || is_stopped() || Instant::now() >= end {
                    return;
                }
                let request = &self.requests[number as usize % self.requests.len()];
                if ask(self.replay, request).is_ok_and(|status| !(self.is_failure)(status)) {
                    let took = u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX);
                    answered.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(wanted as usize) {
                scope.spawn(send);
            }
        });
        let mut answered = answered.into_inner().unwrap_or_else(PoisonError::into_inner);
        (!is_stopped()).then(|| Heard::of(wanted, &mut answered))
    }
}

/// The status of what is answered to a request, once the answer has come as far as it is read.
fn ask(replay: &Replay, request: &[u8]) -> io::Result<u16> {
    let stream = connect(replay.port, WITHIN)?;
    if replay.tls { heard(tls::open(stream, host(replay))?, request) } else { heard(stream, request) }
}

fn heard(mut stream: impl Read + io::Write, request: &[u8]) -> io::Result<u16> {
    // One that refuses before it has read everything has answered all the same.
    let sent = stream.write_all(request).and_then(|()| stream.flush());
    let (mut head, mut read, mut chunk) = (Vec::new(), 0, [0; CHUNK_BYTES]);
    while read < ANSWER_BYTES_MAX {
        let count = match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(_) if status(&head).is_some() => break,
            Err(problem) => return Err(sent.err().unwrap_or(problem)),
        };
        read += count;
        head.extend_from_slice(&chunk[..count.min(CHUNK_BYTES.saturating_sub(head.len()))]);
    }
    status(&head).ok_or_else(|| io::Error::other("that is no HTTP"))
}

/// The host that is asked for.
fn host(replay: &Replay) -> &str {
    replay.host.as_deref().unwrap_or("localhost")
}

/// What a harmless request is: what a monitor would ask for.
pub(super) fn harmless(replay: &Replay) -> Vec<u8> {
    request(&replay.path, host(replay), replay.port).into_bytes()
}

/// An attempt as it goes over the line, in one piece.
pub(super) fn attempt(attempt: &Attempt, replay: &Replay) -> Vec<u8> {
    let Attempt { method, target, headers, body, .. } = attempt;
    let has = |name: &str| headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if !has("host") {
        let _ = write!(text, "Host: {}:{}\r\n", host(replay), replay.port);
    }
    if !has("user-agent") {
        let _ = write!(text, "User-Agent: {AGENT}\r\n");
    }
    for header in headers {
        let _ = write!(text, "{}: {}\r\n", header.name, header.value);
    }
    if let Some(body) = body {
        if !has("content-type") {
            text.push_str("Content-Type: application/x-www-form-urlencoded\r\n");
        }
        let _ = write!(text, "Content-Length: {}\r\n", body.len());
    }
    text.push_str("Connection: close\r\n\r\n");
    text.push_str(body.as_deref().unwrap_or_default());
    text.into_bytes()
}
