//! TLS for both listeners. Server certificates live for days, are made in memory and made again in time.

use super::{Authority, Error, Trusted};
use jiff::{SignedDuration, Timestamp};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

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
    /// new host has none, and must be refused everything but enrolment. Whose is ours stays as it is now: see
    /// [`AgentsTls`].
    pub fn agents_config(
        self: &Arc<Self>,
        names: &[String],
        now: Timestamp,
    ) -> Result<Arc<ServerConfig>, Error> {
        let certificate = Renewing::start(self, names, now)?;
        let mut roots = RootCertStore::empty();
        for root in self.roots() {
            roots.add(root).map_err(|problem| Error::Tls(problem.to_string()))?;
        }
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

/// [`Authority::agents_config`] for a listener that outlives an authority.
pub struct AgentsTls {
    authority: Arc<Authority>,
    names: Vec<String>,
    made: Mutex<(Arc<Trusted>, Arc<ServerConfig>)>,
}

impl AgentsTls {
    /// For a server reached by `names`.
    pub fn start(authority: &Arc<Authority>, names: &[String], now: Timestamp) -> Result<Self, Error> {
        let made = (authority.trusted(), authority.agents_config(names, now)?);
        Ok(Self { authority: Arc::clone(authority), names: names.to_vec(), made: Mutex::new(made) })
    }

    /// What the next connection is to be spoken to with. After a change of authority no session is resumed: each host
    /// shows its certificate anew.
    pub fn config(&self, now: Timestamp) -> Arc<ServerConfig> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let trusted = self.authority.trusted();
        if !Arc::ptr_eq(&made.0, &trusted) {
            match self.authority.agents_config(&self.names, now) {
                Ok(config) => *made = (trusted, config),
                // The next connection is the retry.
                Err(problem) => tracing::error!("follow the fleet's authority: {problem}"),
            }
        }
        Arc::clone(&made.1)
    }
}

impl fmt::Debug for AgentsTls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AgentsTls").field("names", &self.names).finish_non_exhaustive()
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

/// A server's certificate that is replaced before it ends, or its authority does.
struct Renewing {
    authority: Arc<Authority>,
    names: Vec<String>,
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Current {
    key: Arc<CertifiedKey>,
    made: Timestamp,
    by: Arc<Trusted>,
}

impl Renewing {
    fn start(authority: &Arc<Authority>, names: &[String], now: Timestamp) -> Result<Self, Error> {
        let current = RwLock::new(issue(authority.trusted(), names, now)?);
        Ok(Self { authority: Arc::clone(authority), names: names.to_vec(), current })
    }

    fn at(&self, now: Timestamp) -> Arc<CertifiedKey> {
        let trusted = self.authority.trusted();
        let due = |current: &Current| {
            !Arc::ptr_eq(&current.by, &trusted) || now.duration_since(current.made).abs() >= SERVER_RENEWED
        };
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !due(&current) {
            return current.key;
        }
        let mut writing = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if due(&writing) {
            match issue(Arc::clone(&trusted), &self.names, now) {
                Ok(current) => *writing = current,
                // The present one is good for as long again; the next handshake is the retry.
                Err(problem) => tracing::error!("renew the server's certificate: {problem}"),
            }
        }
        Arc::clone(&writing.key)
    }
}

fn issue(by: Arc<Trusted>, names: &[String], now: Timestamp) -> Result<Current, Error> {
    let (certificate, key) = by.present.sign_server(names, now, SERVER_DAYS)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key =
        provider().key_provider.load_private_key(key).map_err(|problem| Error::Tls(problem.to_string()))?;
    let key = Arc::new(CertifiedKey::new(vec![certificate, by.present.certificate.clone()], key));
    Ok(Current { key, made: now, by })
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
