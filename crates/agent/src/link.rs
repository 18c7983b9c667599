//! The line to the server: HTTPS with the host's certificate, one request at a time.
//!
//! One client is kept for as long as the identity holds, so that a new connection resumes the last TLS session; the
//! connection itself is not kept: a server of 100,000 hosts need not hold 100,000 of them. Proxies are not used, and
//! redirections not followed: the line ends at the server that was named, or there is none.

use crate::identity::{self, Identity, certificates_of_authority};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use wire::v1::{Refusal, Refused};

/// Time for finding the server's address, and for a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Time for sending: 16 MiB at half a megabit a second take 270 s.
const SEND_DEADLINE: Duration = Duration::from_secs(300);
/// Time for an answer to begin, and to end.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Time for a file to end: as long as whoever verifies it waits.
const FILE_DEADLINE: Duration = trust::trusted::WITHIN;
/// How long a connection for files is kept: an update asks for its next file at once.
const KEPT: Duration = Duration::from_secs(2);
/// Bodies from this size on are packed; below it packing saves less than its header costs.
const PACKED_BYTES_MIN: usize = 1024;
/// Bytes of an answer: 1 MiB, a hundred times a chain of certificates.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// The line.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    agent: Agent,
    /// The same for files, which take longer and come several at once: their connection is kept for a moment.
    files: Agent,
    server: String,
    /// By how many seconds this host's clock was ahead of the server's when it last answered.
    clock_ahead: Arc<AtomicI64>,
}

/// A request's body, ready to be sent.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    is_packed: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The server refused.
    #[error("{detail}")]
    Refused {
        /// Its HTTP status.
        status: u16,
        /// What that means for an agent; `None` for a word this version does not know.
        refusal: Option<Refusal>,
        /// What it said.
        detail: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The server is not the one that this host enrolled with, or does not know this host.
    #[error("{0}")]
    Untrusted(String),
    /// It could not be reached, or fell silent.
    #[error("{0}")]
    Unreachable(String),
    /// It answered something else than it should.
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
}

impl Body {
    pub(crate) fn new<T: Serialize>(value: &T) -> Self {
        let bytes = serde_json::to_vec(value).expect("what is sent has text keys only");
        if bytes.len() < PACKED_BYTES_MIN {
            return Self { bytes, is_packed: false };
        }
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        let packed =
            packed.write_all(&bytes).and_then(|()| packed.finish()).expect("memory takes every byte");
        Self { bytes: packed, is_packed: true }
    }
}

impl Link {
    /// A line for an enrolled host.
    pub(crate) fn new(identity: &Identity) -> Result<Self, Error> {
        let unusable = |problem: ureq::Error| Error::Untrusted(problem.to_string());
        let broken = |problem: identity::Error| Error::Untrusted(problem.to_string());
        let key = identity.key().map_err(broken)?.pem();
        let key = PrivateKey::from_pem(key.as_bytes()).map_err(unusable)?;
        let chain = identity.chain().map_err(broken)?;
        let chain: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let client = ClientCert::new_with_certs(&chain, key);
        let authority = certificates_of_authority(&identity.authority).map_err(broken)?;
        Ok(Self::open(&identity.server, &authority, Some(client)))
    }

    /// A line for a host that has no certificate yet.
    pub(crate) fn unknown(server: &str, authority: &[CertificateDer<'_>]) -> Self {
        Self::open(server, authority, None)
    }

    fn open(server: &str, authority: &[CertificateDer<'_>], client: Option<ClientCert>) -> Self {
        let roots: Vec<_> = authority.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots)).client_cert(client);
        // The whole process may have another provider: we name ours.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = tls.unversioned_rustls_crypto_provider(provider).build();
        let agent = |idle: usize, answer: Duration| {
            Agent::config_builder()
                .tls_config(tls.clone())
                .https_only(true)
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .proxy(None)
                .user_agent(concat!("palisade-agent/", env!("CARGO_PKG_VERSION")))
                .max_idle_connections(idle)
                .max_idle_age(KEPT)
                .timeout_resolve(Some(CONNECT_DEADLINE))
                .timeout_connect(Some(CONNECT_DEADLINE))
                .timeout_send_request(Some(ANSWER_DEADLINE))
                .timeout_send_body(Some(SEND_DEADLINE))
                .timeout_recv_response(Some(ANSWER_DEADLINE))
                .timeout_recv_body(Some(answer))
                .build()
                .new_agent()
        };
        let (agent, files) = (agent(0, ANSWER_DEADLINE), agent(1, FILE_DEADLINE));
        Self { agent, files, server: server.to_owned(), clock_ahead: Arc::default() }
    }

    /// By how many seconds this host's clock was ahead of the server's when it last answered; negative: behind. 0: it has not
    /// answered.
    pub(crate) fn clock_ahead_seconds(&self) -> i64 {
        self.clock_ahead.load(Ordering::Relaxed)
    }

    /// Sends `body`; gives the server's answer.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &Body) -> Result<T, Error> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.server))
            .header("content-type", "application/json")
            .header("connection", "close");
        if body.is_packed {
            request = request.header("content-encoding", "gzip");
        }
        // No settings of this request's own: with them ureq would not resume sessions.
        self.answered(request.send(body.bytes.as_slice()))
    }

    fn answered<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, Error> {
        let mut answer = answer.map_err(|problem| self.failed(&problem))?;
        let status = answer.status().as_u16();
        let now = Timestamp::now();
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(theirs) = header("date").and_then(date) {
            self.clock_ahead.store(now.duration_since(theirs).as_secs(), Ordering::Relaxed);
        }
        let retry_after = header("retry-after").and_then(|value| retry_after(value, now));
        let read = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let bytes = read.map_err(|problem| self.failed(&problem))?;
        if status == 200 {
            return serde_json::from_slice(&bytes).map_err(|problem| Error::Unreadable(problem.to_string()));
        }
        Err(refused(status, &bytes, retry_after))
    }

    /// Asks; gives the server's answer.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let request = self.agent.get(format!("{}{path}", self.server)).header("connection", "close");
        self.answered(request.call())
    }

    /// Opens a file. [`ErrorKind::NotFound`] when the server has none of that name.
    pub(crate) fn file(&self, path: &str) -> io::Result<Box<dyn Read + Send>> {
        let request = self.files.get(format!("{}{path}", self.server));
        let answer = request.call().map_err(|problem| io::Error::other(self.failed(&problem)))?;
        match answer.status().as_u16() {
            200 => Ok(Box::new(answer.into_body().into_reader())),
            404 => Err(ErrorKind::NotFound.into()),
            status => Err(io::Error::other(format!("HTTP status {status}"))),
        }
    }

    fn failed(&self, problem: &ureq::Error) -> Error {
        // A certificate's trouble comes as an error of TLS, or wrapped into one of the connection.
        let tls = if let ureq::Error::Rustls(problem) = problem {
            Some(problem)
        } else if let ureq::Error::Io(problem) = problem {
            problem.get_ref().and_then(|inner| inner.downcast_ref())
        } else {
            None
        };
        match tls {
            Some(problem) => Error::Untrusted(self.distrust(problem)),
            None => Error::Unreachable(problem.to_string()),
        }
    }

    fn distrust(&self, problem: &rustls::Error) -> String {
        use rustls::{AlertDescription as Alert, CertificateError as Bad, Error as Tls};
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others speak for themselves")]
        match problem {
            Tls::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
                "its certificate is not of the authority that this host enrolled with".to_owned()
            }
            Tls::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
                format!("its certificate does not name {}; add that to the server's names", self.server)
            }
            Tls::InvalidCertificate(
                Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. },
            ) => format!("{problem}; check this host's clock"),
            Tls::AlertReceived(Alert::CertificateExpired) => {
                "it says that this host's certificate has expired; check this host's clock, or enrol it again"
                    .to_owned()
            }
            Tls::AlertReceived(Alert::CertificateRevoked) => {
                "it says that this host's certificate was revoked; enrol the host again".to_owned()
            }
            Tls::AlertReceived(
                Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::CertificateUnknown
                | Alert::CertificateRequired
                | Alert::AccessDenied
                | Alert::DecryptError,
            ) => format!("it does not accept this host's certificate ({problem}); enrol the host again"),
            other => other.to_string(),
        }
    }
}

fn refused(status: u16, bytes: &[u8], retry_after: Option<Duration>) -> Error {
    match serde_json::from_slice::<Refused>(bytes) {
        Ok(Refused { kind, detail }) => {
            let word = serde_json::Value::String(kind);
            Error::Refused { status, refusal: serde_json::from_value(word).ok(), detail, retry_after }
        }
        Err(_) => {
            Error::Refused { status, refusal: None, detail: format!("HTTP status {status}"), retry_after }
        }
    }
}

/// `Retry-After` is a number of seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(Duration::try_from(date(value)?.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// A date as HTTP has it (RFC 9110, 5.6.7).
fn date(value: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value.trim()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-23T18:00:00Z".parse().unwrap();
        let read = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(read(" 120 "), Some(120));
        assert_eq!(read("Mon, 23 Nov 2026 18:05:00 GMT"), Some(300));
        assert_eq!(read("Mon, 23 Nov 2026 17:05:00 GMT"), Some(0));
        assert_eq!(read("soon"), None);
        assert_eq!(read("-5"), None);
    }
}
