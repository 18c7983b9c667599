//! One path's answer, over TCP or TLS, on this host's own loopback address: no more of it is read than what is asked for,
//! and never longer than allowed.

use super::tls;
use rollout::plan::Http;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of a head, and of a body, that are read.
const HEAD_BYTES_MAX: usize = 16 << 10;
const BODY_BYTES_MAX: usize = 64 << 10;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 4 << 10;
/// Bytes of a status line that are looked at.
const LINE_BYTES_MAX: usize = 256;
/// As whom we ask.
pub(in crate::job) const AGENT: &str = concat!("palisade-agent/", env!("CARGO_PKG_VERSION"));

/// A connection whose every wait ends when all of it must.
#[derive(Debug)]
pub(in crate::job) struct Timed {
    stream: TcpStream,
    end: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(into)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Connects to a port of the loopback address, whichever of the two something listens on.
pub(in crate::job) fn connect(port: u16, within: Duration) -> io::Result<Timed> {
    let end = Instant::now() + within;
    let to = |address: IpAddr| TcpStream::connect_timeout(&SocketAddr::new(address, port), within);
    let stream = to(Ipv4Addr::LOCALHOST.into()).or_else(|_| to(Ipv6Addr::LOCALHOST.into()))?;
    stream.set_nodelay(true)?;
    Ok(Timed { stream, end })
}

/// Whether a path answers as it is wanted. Errors say how it does not, in words.
pub(super) fn ask(wanted: &Http, within: Duration) -> Result<(), String> {
    let within = wanted.latency_ms_max.map_or(within, |ms| within.min(Duration::from_millis(ms.into())));
    let is_late =
        |problem: &io::Error| matches!(problem.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
    let broken = |problem: io::Error| {
        if is_late(&problem) { late(within) } else { format!("no answer: {problem}") }
    };
    let began = Instant::now();
    let host = wanted.host.as_deref().unwrap_or("localhost");
    let stream = connect(wanted.port, within).map_err(broken)?;
    let answer = if wanted.tls {
        read(tls::open(stream, host).map_err(broken)?, wanted, host)
    } else {
        read(stream, wanted, host)
    };
    let answer = answer.map_err(broken)?;
    judge(wanted, &answer)?;
    // A clock that is looked at only while waiting misses what comes late, and in one piece.
    if began.elapsed() > within { Err(late(within)) } else { Ok(()) }
}

fn late(within: Duration) -> String {
    format!("no answer within {} ms", within.as_millis())
}

/// What came of an answer: its first line, and as much of the rest as was asked for.
fn read(mut stream: impl Read + Write, wanted: &Http, host: &str) -> io::Result<Vec<u8>> {
    let Http { port, path, contains, .. } = wanted;
    let request = request(path, host, *port);
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    let mut chunk = [0; CHUNK_BYTES];
    while answer.len() < HEAD_BYTES_MAX + BODY_BYTES_MAX {
        let is_enough = match contains {
            Some(text) => body(&answer).is_some_and(|body| has(&body, text)),
            None => answer.contains(&b'\n'),
        };
        if is_enough {
            break;
        }
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            // Many servers end a connection without saying so within TLS; what came, came.
            Err(problem) if problem.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(problem) => return Err(problem),
        }
    }
    Ok(answer)
}

/// What a monitor would ask for, in one piece: written part by part, it would leave in as many packets.
pub(in crate::job) fn request(path: &str, host: &str, port: u16) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
}

/// The status of a status line: `HTTP/1.1 404 Not Found`.
pub(in crate::job) fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line.get(..line.len().min(LINE_BYTES_MAX)).unwrap_or_default());
    let mut words = line.split_whitespace();
    words.next().filter(|word| word.starts_with("HTTP/"))?;
    words.next()?.parse().ok()
}

fn judge(wanted: &Http, answer: &[u8]) -> Result<(), String> {
    let status = status(answer).ok_or("what answers does not speak HTTP")?;
    match wanted.status {
        Some(one) if status != one => return Err(format!("answers {status}, not {one}")),
        None if !(100..400).contains(&status) => return Err(format!("answers {status}")),
        Some(_) | None => {}
    }
    match &wanted.contains {
        Some(text) if !body(answer).is_some_and(|body| has(&body, text)) => {
            Err(format!("the first {} KiB of its answer do not have {text:?}", BODY_BYTES_MAX >> 10))
        }
        Some(_) | None => Ok(()),
    }
}

/// The body, as far as it came; `None`: its head has not ended.
fn body(answer: &[u8]) -> Option<Vec<u8>> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, rest) = (answer.get(..end)?, answer.get(end + 4..)?);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let is_chunked =
        head.lines().any(|line| line.starts_with("transfer-encoding:") && line.contains("chunked"));
    Some(if is_chunked { unchunked(rest) } else { rest.to_vec() })
}

/// What chunks hold, up to the first that is cut short or makes no sense.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(rest.get(..end).unwrap_or_default());
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        let data = rest.get(end + 2..).unwrap_or_default();
        let size = size.min(data.len());
        whole.extend_from_slice(data.get(..size).unwrap_or_default());
        rest = data.get(size + 2..).unwrap_or_default();
    }
    whole
}

fn has(body: &[u8], text: &str) -> bool {
    memchr::memmem::find(body, text.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::super::tests::service;
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    fn asked(answer: &'static str, change: impl FnOnce(&mut Http)) -> Result<(), String> {
        let mut wanted = Http::path(service(answer), "/health");
        change(&mut wanted);
        ask(&wanted, SHORT)
    }

    #[test]
    fn an_answer_passes_only_with_the_status_and_the_words_that_are_wanted() {
        const WELL: &str = "HTTP/1.1 200 OK\r\n\r\nall is well";
        const CHUNKED: &str =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nall i\r\n6\r\ns well\r\n0\r\n\r\n";
        assert_eq!(asked("HTTP/1.1 204 No Content\r\n\r\n", |_| {}), Ok(()));
        assert_eq!(asked("HTTP/1.0 302 Found\r\n\r\n", |_| {}), Ok(()));
        assert_eq!(asked("HTTP/1.1 404 Not Found\r\n\r\n", |_| {}), Err("answers 404".into()));
        assert_eq!(asked("HTTP/1.1 404 Not Found\r\n\r\n", |wanted| wanted.status = Some(404)), Ok(()));
        assert_eq!(asked(WELL, |wanted| wanted.status = Some(204)), Err("answers 200, not 204".into()));
        assert_eq!(asked("SSH-2.0-x\r\n", |_| {}), Err("what answers does not speak HTTP".into()));
        for answer in [WELL, CHUNKED] {
            assert_eq!(asked(answer, |wanted| wanted.contains = Some("is well".into())), Ok(()), "{answer}");
            let other = asked(answer, |wanted| wanted.contains = Some("HTTP".into()));
            assert!(
                other.is_err_and(|why| why.contains("do not have \"HTTP\"")),
                "a head is no body: {answer}"
            );
        }
    }

    #[test]
    fn an_answer_that_comes_late_or_drop_by_drop_is_none() {
        let wanted = |port, ms| Http { latency_ms_max: Some(ms), ..Http::path(port, "/") };
        let silent = service("");
        let began = Instant::now();
        assert_eq!(ask(&wanted(silent, 200), SHORT), Err("no answer within 200 ms".into()));
        assert!(began.elapsed() < Duration::from_secs(1), "the stricter of the two times counts");
        // Something comes before each wait is over, and an end never.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                while stream.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        let began = Instant::now();
        assert!(ask(&wanted(port, 300), SHORT).is_err() && began.elapsed() < Duration::from_secs(2));
    }
}
