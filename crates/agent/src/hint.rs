//! Waits for the server to say that there is something to ask for, so that a host need not wait for its next check-in.
//!
//! One connection, kept for as long as the server says that it hints. Speaks plain HTTP/1.1 over its own TLS, since it
//! must hear within a second that it is to stop, and an answer takes minutes to begin.

use crate::identity::Identity;
use crate::pace::{Pace, chance};
use crate::pin;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wire::v1::{HINT_PATH, HINT_SECONDS_MAX, Hint};

/// How long an answer may take beyond what the server promises.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often we look whether we are to stop.
const TICK: Duration = Duration::from_millis(500);
/// Between two questions at least, whatever the server answers.
const BETWEEN: Duration = Duration::from_secs(1);
/// The longest wait after failures.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// Bytes of an answer; one has some 300.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// A thread that waits for hints. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Hints {
    stop: Arc<AtomicBool>,
    woken: Arc<AtomicBool>,
    /// For this certificate.
    certificate: String,
}

impl Hints {
    /// Begins to wait; when one comes, the thread that calls this is unparked. `None` if no thread can be had: then check-ins are
    /// all there is.
    pub(crate) fn start(identity: &Identity, pace: &Pace) -> Option<Self> {
        let stop = Arc::<AtomicBool>::default();
        let woken = Arc::<AtomicBool>::default();
        let line = Line {
            config: Arc::new(identity.tls().ok()?),
            server: identity.server.clone(),
            stop: stop.clone(),
        };
        let certificate = identity.certificate.clone();
        let (tell, pace) = (woken.clone(), *pace);
        let waits = std::thread::current();
        let thread = std::thread::Builder::new().name("hints".to_owned());
        let wake = move || {
            tell.store(true, Ordering::Relaxed);
            waits.unpark();
        };
        thread.spawn(move || line.wait(&wake, &pace)).ok()?;
        Some(Self { stop, woken, certificate })
    }

    /// Whether a hint came since this was last asked.
    pub(crate) fn take(&self) -> bool {
        self.woken.swap(false, Ordering::Relaxed)
    }

    /// Whether one has come.
    pub(crate) fn is_there(&self) -> bool {
        self.woken.load(Ordering::Relaxed)
    }

    /// Whether it speaks with this identity.
    pub(crate) fn is_for(&self, identity: &Identity) -> bool {
        self.certificate == identity.certificate
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Line {
    config: Arc<ClientConfig>,
    server: String,
    stop: Arc<AtomicBool>,
}

impl Line {
    fn wait(&self, wake: &dyn Fn(), pace: &Pace) {
        let mut failures: u32 = 0;
        while !self.is_stopped() {
            let began = Instant::now();
            let pause = if let Ok(hint) = self.ask() {
                failures = 0;
                if hint.now {
                    wake();
                }
                BETWEEN.saturating_sub(began.elapsed())
            } else {
                failures = failures.saturating_add(1);
                pace.back_off(failures, chance()).clamp(BETWEEN, BACK_OFF_MAX)
            };
            let until = Instant::now() + pause;
            while !self.is_stopped() && Instant::now() < until {
                std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// One question, and its answer.
    fn ask(&self) -> io::Result<Hint> {
        let broken = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
        let address = self.server.strip_prefix("https://").ok_or_else(|| broken("no server"))?;
        let (host, port) = address.rsplit_once(':').ok_or_else(|| broken("no port"))?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?;
        let stream = pin::connect(bare, port.parse().map_err(io::Error::other)?)?;
        stream.set_read_timeout(Some(TICK))?;
        let client = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(client, stream);
        let agent = concat!("palisade-agent/", env!("CARGO_PKG_VERSION"));
        let request = format!(
            "GET {HINT_PATH} HTTP/1.1\r\nhost: {address}\r\nuser-agent: {agent}\r\naccept: application/json\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
        let end = Instant::now() + Duration::from_secs(HINT_SECONDS_MAX.into()) + PATIENCE;
        let mut unsent = request.as_bytes();
        while !unsent.is_empty() {
            let sent = self.patiently(end, || stream.write(unsent))?;
            unsent = unsent.get(sent..).unwrap_or_default();
        }
        self.patiently(end, || stream.flush())?;
        let mut answer = Vec::new();
        let mut chunk = [0; 1024];
        loop {
            let count = match self.patiently(end, || stream.read(&mut chunk)) {
                Ok(count) => count,
                // The end, said by the connection instead of TLS; what came is judged by its length.
                Err(problem) if problem.kind() == ErrorKind::UnexpectedEof => 0,
                Err(problem) => return Err(problem),
            };
            answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
            if let Some(body) = body_of(&answer)? {
                return serde_json::from_slice(body).map_err(io::Error::other);
            }
            if count == 0 || answer.len() > ANSWER_BYTES_MAX {
                return Err(broken("its answer is cut, or too long"));
            }
        }
    }

    /// Tries again what only took longer than a tick, until the end, or until we are to stop.
    fn patiently<T>(&self, end: Instant, mut once: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match once() {
                Err(problem)
                    if matches!(
                        problem.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) =>
                {
                    if self.is_stopped() || Instant::now() >= end {
                        return Err(problem);
                    }
                }
                done => return done,
            }
        }
    }
}

/// The body of an answer, once it is whole. Errors unless its status is 200.
fn body_of(answer: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    if status != "200" {
        return Err(io::Error::other(format!("HTTP status {status}")));
    }
    let length = lines.find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let length = length.ok_or_else(|| io::Error::other("it does not tell its length"))?;
    Ok(answer[end + 4..].get(..length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_when_it_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Type: x\r\nContent-Length: 12\r\n\r\n{\"now\":true}";
        for cut in 0..whole.len() {
            assert_eq!(body_of(&whole[..cut]).unwrap(), None);
        }
        assert_eq!(body_of(whole).unwrap(), Some(&b"{\"now\":true}"[..]));
        assert!(body_of(b"HTTP/1.1 503 Busy\r\n\r\n").is_err());
        assert!(body_of(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
