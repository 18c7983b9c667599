//! Agents that check in, each at its own second of the minute.

use super::seed::Fleet;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use wire::v1::{CHECK_IN_PATH, CheckIn};

/// Longer than this a check-in has failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a round of check-ins gave.
#[derive(Debug, Default)]
pub(crate) struct Round {
    /// Milliseconds from the first packet to the whole answer; sorted.
    took: Vec<f32>,
    pub(crate) failed: usize,
    pub(crate) resumed: usize,
    pub(crate) problem: Option<String>,
    /// How late a check-in began at worst: the generator's own limit.
    pub(crate) behind: Duration,
    pub(crate) lasted: Duration,
}

impl Round {
    pub(crate) fn count(&self) -> usize {
        self.took.len()
    }

    /// Milliseconds.
    pub(crate) fn quantile(&self, part: f64) -> f32 {
        let last = self.took.len().saturating_sub(1);
        self.took.get((last as f64 * part).round() as usize).copied().unwrap_or(f32::NAN)
    }
}

/// All agents.
#[derive(Debug)]
pub(crate) struct Agents {
    agents: Vec<Arc<Agent>>,
    every: Duration,
}

#[derive(Debug)]
struct Agent {
    tls: Arc<ClientConfig>,
    server: SocketAddr,
    from: Ipv4Addr,
    stream: String,
    machine: String,
    inventory: String,
    seq: std::sync::atomic::AtomicU64,
}

impl Agents {
    /// Each agent speaks with one of `servers`.
    pub(crate) fn new(fleet: &Fleet, servers: &[SocketAddr], every: Duration) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(fleet.authority.clone()).expect("the authority's certificate is one");
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let agent = |(number, host): (usize, &super::seed::Host)| {
            let mut tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("TLS 1.3 is there")
                .with_root_certificates(Arc::clone(&roots))
                .with_client_auth_cert(
                    vec![CertificateDer::from(host.certificate.clone())],
                    PrivateKeyDer::try_from(fleet.key.clone()).expect("a key"),
                )
                .expect("the key fits");
            tls.resumption = Resumption::in_memory_sessions(2);
            // Addresses 127.1.0.0 to 127.2.134.159 for 100,000 agents.
            let [_, a, b, c] = (number as u32 + 0x1_0000).to_be_bytes();
            Arc::new(Agent {
                tls: Arc::new(tls),
                server: servers[number % servers.len()],
                from: Ipv4Addr::new(127, a, b, c),
                stream: format!("{number:032x}"),
                machine: host.machine.clone(),
                inventory: host.inventory.clone(),
                seq: std::sync::atomic::AtomicU64::new(0),
            })
        };
        Self { agents: fleet.hosts.iter().enumerate().map(agent).collect(), every }
    }

    /// Lets all agents check in, spread evenly over their interval, for so long.
    pub(crate) async fn run(&self, lasts: Duration) -> Round {
        // By then all of them stand ready.
        let start = Instant::now() + Duration::from_secs(3);
        let end = start + lasts;
        let mut tasks = JoinSet::new();
        for (number, agent) in self.agents.iter().enumerate() {
            let (agent, every) = (Arc::clone(agent), self.every);
            // 61 % of the interval apart: neighbours in number are not neighbours in time.
            let part = (number as f64 * 0.618_033_988_75).fract();
            let mut next = start + every.mul_f64(part);
            tasks.spawn(async move {
                let mut own = Round::default();
                while next < end {
                    sleep_until(next).await;
                    let began = Instant::now();
                    own.behind = own.behind.max(began - next);
                    match timeout(DEADLINE, agent.check_in()).await {
                        Ok(Ok(resumed)) => {
                            own.took.push(began.elapsed().as_secs_f32() * 1e3);
                            own.resumed += usize::from(resumed);
                        }
                        Ok(Err(problem)) => {
                            own.failed += 1;
                            own.problem = Some(problem.to_string());
                        }
                        Err(_) => {
                            own.failed += 1;
                            own.problem = Some(format!("no answer within {} s", DEADLINE.as_secs()));
                        }
                    }
                    next += every;
                }
                own
            });
        }
        let mut all = Round::default();
        while let Some(own) = tasks.join_next().await {
            let own = own.expect("agents do not panic");
            all.took.extend(own.took);
            all.failed += own.failed;
            all.resumed += own.resumed;
            all.problem = all.problem.or(own.problem);
            all.behind = all.behind.max(own.behind);
        }
        all.took.sort_by(f32::total_cmp);
        all.lasted = start.elapsed();
        all
    }
}

impl Agent {
    /// One check-in over a connection of its own; whether the session was resumed.
    async fn check_in(&self) -> std::io::Result<bool> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddrV4::new(self.from, 0).into())?;
        let socket = socket.connect(self.server).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await?;
        let check_in = CheckIn {
            agent: "bench".to_owned(),
            machine: self.machine.clone(),
            stream: self.stream.clone(),
            seq: self.seq.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1,
            inventory: self.inventory.clone(),
            job: None,
            vouch: false,
            clock_ahead_seconds: 0,
        };
        let body = serde_json::to_string(&check_in)?;
        let request = format!(
            "POST {CHECK_IN_PATH} HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        tls.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        match tls.read_to_end(&mut answer).await {
            Ok(_) => {}
            // A server that closes without saying so has still answered.
            Err(problem) if problem.kind() == ErrorKind::UnexpectedEof => {}
            Err(problem) => return Err(problem),
        }
        let text = String::from_utf8_lossy(&answer);
        if !text.starts_with("HTTP/1.1 200") || !text.contains("\"report\":false") {
            return Err(Error::other(format!("answered {:?}", text.lines().next().unwrap_or_default())));
        }
        Ok(tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed))
    }
}
