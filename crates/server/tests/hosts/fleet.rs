//! A centre that listens on loopback, and agents that speak to it byte by byte.

use crate::store_for_tests::Fresh;
use advisory::digest::sha256;
use advisory::{Family, Release};
use exposure::Inventory;
use exposure::inventory::{Kernel, Manager, Origin, Package, PackageState, System};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use serde::Serialize;
use serde::de::DeserializeOwned;
use server::api::Clock;
use server::fleet::Fleet;
use server::hosts::{Duties, Limits, Roster, serve_within};
use server::identity::Authority;
use server::planning::Planning;
use server::rollouts::Rollouts;
use server::signing::Signing;
use server::store::audit::Actor;
use server::store::{Store, enrolment, events};
use server::{App, Config};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use wire::v1::{CHECK_IN_PATH, CheckIn, ENROL_PATH, Enrol, Enrolled, REPORT_PATH, Report, split};

/// What the door does beside listening: nobody asks anything of hosts.
async fn duties(app: &Arc<App>, roster: &Arc<Roster>, now: Timestamp) -> Duties {
    let keys = tempfile::tempdir().unwrap();
    let key_file = keys.path().join("authority.key");
    let signing = Signing::open(&app.store, Arc::clone(&app.told), &key_file, false, now).await.unwrap();
    let (rollouts, _) = Rollouts::load(app, roster, Arc::clone(&signing), Clock::default()).await.unwrap();
    let fleet = Fleet::start(app).await.unwrap();
    let planning = Planning::open(app, fleet, signing).await.unwrap();
    Duties { rollouts, planning }
}

pub struct Centre {
    pub store: Store,
    pub authority: Arc<Authority>,
    pub roster: Arc<Roster>,
    pub address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Centre {
    pub async fn start(fresh: &Fresh) -> Self {
        Self::start_within(fresh, Limits::default()).await
    }

    pub async fn start_within(fresh: &Fresh, limits: Limits) -> Self {
        let store = fresh.store.clone();
        let now = Timestamp::now();
        let authority = Arc::new(Authority::open(&store, now).await.unwrap());
        let mut after = events::last(&store).await.unwrap();
        let roster = Arc::new(Roster::load(&store, now).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let mut config = Config::default();
        config.server.names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let app = Arc::new(App { config, store: store.clone(), told: Arc::new(Notify::new()) });
        let duties = duties(&app, &roster, now).await;
        tokio::spawn(serve_within(
            limits,
            Arc::clone(&app),
            Arc::clone(&authority),
            Arc::clone(&roster),
            duties,
            listener,
            stop.clone(),
        ));
        let (source, follower, stopped) = (store.clone(), Arc::clone(&roster), stop.clone());
        let trusted = Arc::clone(&authority);
        tokio::spawn(async move {
            while !stopped.is_cancelled() {
                for event in events::after(&source, after, 100).await.unwrap_or_default() {
                    after = event.seq;
                    follower.follow(&source, &event).await.unwrap();
                    trusted.follow(&source, &event).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        Self { store, authority, roster, address, stop }
    }

    pub async fn token(&self) -> String {
        self.token_for(SignedDuration::from_hours(1), 1).await.1
    }

    /// Id and secret.
    pub async fn token_for(&self, valid: SignedDuration, hosts: u32) -> (String, String) {
        let labels = BTreeMap::from([("role".to_owned(), "web".to_owned())]);
        let now = Timestamp::now();
        let (token, secret) =
            enrolment::create(&self.store, now, &Actor::Server, "front", &labels, valid, hosts)
                .await
                .unwrap();
        (token.id, secret.reveal().to_owned())
    }

    pub async fn enrol(&self, name: &str) -> Agent {
        let key = KeyPair::generate().unwrap();
        let answer = self.try_enrol(&key, &self.token().await, name).await;
        let enrolled: Enrolled = answer.read();
        Agent::new(self, enrolled.host, key, &enrolled.certificate, name)
    }

    pub async fn try_enrol(&self, key: &KeyPair, token: &str, name: &str) -> Answer {
        let enrol = Enrol {
            token: token.to_owned(),
            csr: csr(key),
            name: name.to_owned(),
            machine: sha256(name.as_bytes()),
            agent: "0.1.0".to_owned(),
        };
        let mut stream = connect(self.address, &self.config(None), None).await.unwrap();
        post(&mut stream, ENROL_PATH, &[], &json(&enrol)).await.unwrap()
    }

    /// TLS for a client with the certificate, or none.
    pub fn config(&self, own: Option<(&KeyPair, &str)>) -> Arc<ClientConfig> {
        self.config_of(own, &rustls::version::TLS13)
    }

    pub fn config_of(
        &self,
        own: Option<(&KeyPair, &str)>,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        trusting(&self.authority.pem(), own, version)
    }
}

/// TLS for a client that believes in these authorities.
pub fn trusting(
    authorities: &str,
    own: Option<(&KeyPair, &str)>,
    version: &'static SupportedProtocolVersion,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some((key, pem)) => {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    })
}

pub fn csr(key: &KeyPair) -> String {
    // It asks for a name that it does not get.
    let params = CertificateParams::new(["not-mine.example".to_owned()]).unwrap();
    params.serialize_request(key).unwrap().pem().unwrap()
}

pub struct Agent {
    pub id: String,
    pub key: KeyPair,
    /// PEM.
    pub certificate: String,
    pub config: Arc<ClientConfig>,
    pub check_in: CheckIn,
    pub address: SocketAddr,
}

impl Agent {
    pub fn new(centre: &Centre, id: String, key: KeyPair, certificate: &str, name: &str) -> Self {
        let config = centre.config(Some((&key, certificate)));
        let check_in = CheckIn {
            agent: "0.1.0".to_owned(),
            machine: sha256(name.as_bytes()),
            stream: "first".to_owned(),
            seq: 1,
            inventory: String::new(),
            job: None,
            vouch: false,
            clock_ahead_seconds: 0,
        };
        let certificate = certificate.to_owned();
        Self { id, key, certificate, config, check_in, address: centre.address }
    }

    pub async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        connect(self.address, &self.config, None).await
    }

    pub async fn check_in(&self) -> Answer {
        self.post(CHECK_IN_PATH, &self.check_in).await
    }

    /// Checks in from another address of this machine, in another run of the agent.
    pub async fn check_in_as(&self, stream: &str, from: &str) -> Answer {
        let check_in = CheckIn { stream: stream.to_owned(), ..self.check_in.clone() };
        let mut connection = connect(self.address, &self.config, Some(from)).await.unwrap();
        post(&mut connection, CHECK_IN_PATH, &[], &json(&check_in)).await.unwrap()
    }

    pub async fn report(&mut self, inventory: &Inventory) -> Answer {
        let report = report(inventory);
        self.check_in.inventory = wire::v1::hash(&report.parts);
        self.post(REPORT_PATH, &report).await
    }

    pub async fn post(&self, path: &str, body: &impl Serialize) -> Answer {
        post(&mut self.connect().await.unwrap(), path, &[], &json(body)).await.unwrap()
    }
}

pub fn report(inventory: &Inventory) -> Report {
    let pieces = split(inventory, &[]);
    Report { observed_at: inventory.observed.as_microsecond(), parts: pieces.parts, bodies: pieces.bodies }
}

pub fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    pub resumed: bool,
}

impl Answer {
    pub fn read<T: DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and the refusal's word.
    pub fn refusal(&self) -> (u16, String) {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let refused: wire::v1::Refused = serde_json::from_slice(&self.body).unwrap();
        (self.status, refused.kind)
    }
}

pub async fn connect(
    to: SocketAddr,
    config: &Arc<ClientConfig>,
    from: Option<&str>,
) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
    }
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, socket.connect(to).await?).await
}

pub async fn post(
    stream: &mut TlsStream<TcpStream>,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> io::Result<Answer> {
    let length = format!("Content-Length: {}", body.len());
    send_head(stream, path, &[headers, &[&length]].concat()).await?;
    stream.write_all(body).await?;
    answer(stream).await
}

pub async fn send_head(stream: &mut TlsStream<TcpStream>, path: &str, headers: &[&str]) -> io::Result<()> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{}\r\n\r\n", headers.join("\r\n"));
    stream.write_all(head.as_bytes()).await
}

pub async fn answer(stream: &mut TlsStream<TcpStream>) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let length: usize = length.parse().unwrap();
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
    let status = head[9..12].parse().unwrap();
    Ok(Answer { status, body: bytes[end..end + length].to_vec(), head, resumed })
}

pub fn inventory(packages: &[(&str, &str)]) -> Inventory {
    let package = |(name, version): &(&str, &str)| Package {
        name: (*name).to_owned(),
        arch: "amd64".to_owned(),
        version: (*version).to_owned(),
        source: (*name).to_owned(),
        source_version: (*version).to_owned(),
        state: PackageState::Installed,
        held: false,
        essential: false,
        module: None,
        vendor: String::new(),
        origin: Origin::Vendor,
    };
    Inventory {
        host: "host".to_owned(),
        // As precise as the wire.
        observed: Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap(),
        root: "/".to_owned(),
        system: System {
            release: Release::new(Family::Debian, "12"),
            version_id: "12".to_owned(),
            codename: "bookworm".to_owned(),
            pretty: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            arch: "amd64".to_owned(),
            manager: Manager::Dpkg,
        },
        packages: packages.iter().map(package).collect(),
        archives: Vec::new(),
        candidates: Vec::new(),
        kernel: Kernel::default(),
        processes: Vec::new(),
        gaps: Vec::new(),
    }
}

/// Waits until something is so; the followers need a moment.
pub async fn until(mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be so");
}
