//! TLS for both listeners. Server certificates live for days, are made in memory and made again in time.

use super::{Authority, Error};
use jiff::{SignedDuration, Timestamp};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// How long a server's certificate is good.
const SERVER_DAYS: i64 = 7;
/// A server's certificate is replaced after so long: at half its life.
const SERVER_RENEWED: SignedDuration = SignedDuration::from_hours(SERVER_DAYS * 24 / 2);

impl Authority {
    /// TLS for the listener of people and programs: no certificates of clients. `names`: the DNS names and addresses by
    /// which this server is reached.
    pub fn people_config(
        self: &Arc<Self>,
        names: &[String],
        now: Timestamp,
    ) -> Result<Arc<ServerConfig>, Error> {
        let certificate = Renewing::start(self, names, now)?;
        let mut config = builder()?.with_no_client_auth().with_cert_resolver(Arc::new(certificate));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        resumable(config)
    }

    /// TLS for the agents' listener: a certificate of a client must be ours and good; none at all is let in, because a
    /// new host has none, and must be refused everything but enrolment.
    pub fn agents_config(
        self: &Arc<Self>,
        names: &[String],
        now: Timestamp,
    ) -> Result<Arc<ServerConfig>, Error> {
        let certificate = Renewing::start(self, names, now)?;
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(|problem| Error::Tls(problem.to_string()))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .allow_unauthenticated()
            .build()
            .map_err(|problem| Error::Tls(problem.to_string()))?;
        let mut config =
            builder()?.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(certificate));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        resumable(config)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, Error> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|problem| Error::Tls(problem.to_string()))
}

/// Sessions are kept by the clients, in tickets that only this process can read (the client's certificate is inside):
/// 100,000 agents resume without a byte of ours. Each listener has tickets of its own.
fn resumable(mut config: ServerConfig) -> Result<Arc<ServerConfig>, Error> {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer =
        rustls::crypto::ring::Ticketer::new().map_err(|problem| Error::Tls(problem.to_string()))?;
    // An agent has one connection at a time.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// A server's certificate that is replaced before it ends.
struct Renewing {
    authority: Arc<Authority>,
    names: Vec<String>,
    current: RwLock<(Arc<CertifiedKey>, Timestamp)>,
}

impl Renewing {
    fn start(authority: &Arc<Authority>, names: &[String], now: Timestamp) -> Result<Self, Error> {
        let current = RwLock::new((issue(authority, names, now)?, now));
        Ok(Self { authority: Arc::clone(authority), names: names.to_vec(), current })
    }

    fn at(&self, now: Timestamp) -> Arc<CertifiedKey> {
        let due = |made: Timestamp| now.duration_since(made).abs() >= SERVER_RENEWED;
        let (current, made) = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !due(made) {
            return current;
        }
        let mut writing = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if due(writing.1) {
            match issue(&self.authority, &self.names, now) {
                Ok(key) => *writing = (key, now),
                // The present one is good for as long again; the next handshake is the retry.
                Err(problem) => tracing::error!("renew the server's certificate: {problem}"),
            }
        }
        Arc::clone(&writing.0)
    }
}

fn issue(authority: &Authority, names: &[String], now: Timestamp) -> Result<Arc<CertifiedKey>, Error> {
    let (certificate, key) = authority.sign_server(names, now, SERVER_DAYS)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key =
        provider().key_provider.load_private_key(key).map_err(|problem| Error::Tls(problem.to_string()))?;
    Ok(Arc::new(CertifiedKey::new(vec![certificate, authority.certificate.clone()], key)))
}

impl fmt::Debug for Renewing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Renewing").field("names", &self.names).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Renewing {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.at(Timestamp::now()))
    }
}
