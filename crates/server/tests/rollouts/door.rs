//! The agents' door: the certificate decides whose job is spoken of; hints ring; signed files are handed out.

use crate::store_for_tests::{Fresh, on_each_store};
use crate::world::{Agent, Hands, app, keep};
use advisory::digest::sha256;
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair};
use rollout::order::Stage;
use rollout::plan::{HostId, Plan};
use rollout::rollout::{Event, Halt};
use rollout::sim::fleet::Shape;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use server::fleet::Fleet;
use server::hosts::{Duties, Roster, serve};
use server::identity::Authority;
use server::planning::Planning;
use server::rollouts::{self, Rollouts, Sweep};
use server::store::audit::Actor;
use server::store::evidence;
use server::store::{enrolment, events};
use server::{App, Config};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use wire::v1::{
    CHECK_IN_PATH, CheckIn, CheckedIn, ENROL_PATH, EVIDENCE_BYTES_MAX, EVIDENCE_PATH, Enrol, Enrolled,
    Evidence, HINT_PATH, Hint, Noted, REHEARSAL_PATH, Rehearsed, TRUST_PATH,
};

struct Centre {
    app: Arc<App>,
    authority: Arc<Authority>,
    rollouts: Arc<Rollouts>,
    hands: Hands,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Centre {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A host with its certificate.
struct Host {
    agent: Agent,
    config: Arc<ClientConfig>,
    name: String,
}

impl Centre {
    async fn start(fresh: &Fresh, hints_max: u32) -> Self {
        let mut config = Config::default();
        config.server.names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        config.agents.hints_max = hints_max;
        let app = Arc::new(App { config, ..Arc::into_inner(app(fresh.store.clone())).unwrap() });
        let (hands, now) = (Hands::begin(), Timestamp::now());
        let authority = Arc::new(Authority::open(&app.store, now).await.unwrap());
        let roster = Arc::new(Roster::load(&app.store, now).await.unwrap());
        let mut seen = events::last(&app.store).await.unwrap();
        let signing = hands.signing(&app).await;
        let (rollouts, asks) =
            Rollouts::load(&app, &roster, Arc::clone(&signing), hands.clock()).await.unwrap();
        let fleet = Fleet::start(&app).await.unwrap();
        let planning = Planning::open(&app, fleet, Arc::clone(&signing)).await.unwrap();
        let duties = Duties { rollouts: Arc::clone(&rollouts), planning };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(rollouts::serve(Arc::clone(&rollouts), asks, stop.clone()));
        tokio::spawn(serve(
            Arc::clone(&app),
            Arc::clone(&authority),
            Arc::clone(&roster),
            duties,
            listener,
            stop.clone(),
        ));
        let (store, follower, stopped) = (app.store.clone(), Arc::clone(&rollouts), stop.clone());
        tokio::spawn(async move {
            while !stopped.is_cancelled() {
                for event in events::after(&store, seen, 100).await.unwrap_or_default() {
                    seen = event.seq;
                    roster.follow(&store, &event).await.unwrap();
                    follower.follow(&event).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self { app, authority, rollouts, hands, address, stop }
    }

    fn config(&self, own: Option<(&KeyPair, &str)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
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

    async fn ask(&self, config: &Arc<ClientConfig>, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut bytes = Vec::new();
        // The end of TLS may be cut off with the connection.
        let _ = stream.read_to_end(&mut bytes).await;
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an answer") + 4;
        let status = std::str::from_utf8(&bytes[9..12]).unwrap().parse().unwrap();
        (status, bytes[end..].to_vec())
    }

    async fn get<T: DeserializeOwned>(&self, host: &Host, path: &str) -> T {
        let (status, body) = self.ask(&host.config, "GET", path, b"").await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    async fn enrol(&self, name: &str) -> Host {
        let labels = BTreeMap::new();
        let hour = SignedDuration::from_hours(1);
        let (_, secret) =
            enrolment::create(&self.app.store, Timestamp::now(), &Actor::Server, "web", &labels, hour, 1)
                .await
                .unwrap();
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap().pem().unwrap();
        let enrol = Enrol {
            token: secret.reveal().to_owned(),
            csr,
            name: name.to_owned(),
            machine: sha256(name.as_bytes()),
            agent: "0.1.0".to_owned(),
        };
        let body = serde_json::to_vec(&enrol).unwrap();
        let (status, body) = self.ask(&self.config(None), "POST", ENROL_PATH, &body).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let enrolled: Enrolled = serde_json::from_slice(&body).unwrap();
        assert!(enrolled.trust_root.is_some_and(|root| root.contains("x-palisade-one-key")));
        let agent = Agent::of(HostId(enrolled.host.parse().unwrap()));
        let config = self.config(Some((&key, &enrolled.certificate)));
        Host { agent, config, name: name.to_owned() }
    }

    async fn check_in(&self, host: &mut Host) -> CheckedIn {
        let said = CheckIn {
            agent: "0.1.0".to_owned(),
            machine: sha256(host.name.as_bytes()),
            stream: "first".to_owned(),
            seq: 1,
            inventory: String::new(),
            job: Some(host.agent.says()),
            vouch: host.name == "canary",
            clock_ahead_seconds: 0,
        };
        let body = serde_json::to_vec(&said).unwrap();
        assert!(body.len() < 1_024, "{} bytes", body.len());
        let (status, body) = self.ask(&host.config, "POST", CHECK_IN_PATH, &body).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let checked: CheckedIn = serde_json::from_slice(&body).unwrap();
        assert_eq!(checked.heard.is_some(), said.vouch, "only who asks for it is vouched for");
        if let Some(heard) = &checked.heard {
            let heard: serde_json::Value = serde_json::from_str(heard).unwrap();
            assert_eq!(heard["signed"]["host"], serde_json::json!(host.agent.host));
            assert_eq!(heard["signed"]["nonce"], said.job.unwrap().nonce);
        }
        host.agent.hears(checked.job.as_ref());
        checked
    }

    /// Signs and starts a plan; waits until the follower has it.
    async fn begin(&self, plan: &Plan) {
        self.arm(plan).await;
        self.act(plan, Event::Started).await;
    }

    async fn arm(&self, plan: &Plan) {
        keep(&self.app.store, plan, self.hands.now()).await;
        self.act(plan, Event::Signed { signer: "ada".to_owned() }).await;
    }

    /// Waits for a hint as this host does.
    async fn hinted(self: &Arc<Self>, host: &Host) -> JoinHandle<(u16, Vec<u8>)> {
        let (there, config) = (Arc::clone(self), Arc::clone(&host.config));
        let waits = tokio::spawn(async move { there.ask(&config, "GET", HINT_PATH, b"").await });
        while self.rollouts.hints.waiting() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        waits
    }

    async fn act(&self, plan: &Plan, event: Event) {
        rollouts::act(&self.app, plan.id, event, &Actor::Server, self.hands.now()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A plan for these hosts: the first in the first wave.
fn plan_for(hosts: &[Host]) -> Plan {
    let shape = Shape { waves: vec![1, hosts.len() - 1], bad_max: 1, ..Shape::default() };
    let mut plan = shape.plan();
    let mut ids: Vec<HostId> = hosts.iter().map(|host| host.agent.host).collect();
    plan.waves[0].cohorts[0].hosts = vec![ids.remove(0)];
    ids.sort_unstable();
    plan.waves[1].cohorts[0].hosts = ids;
    plan
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_is_rolled_out_through_the_door() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh, 10).await;
        let mut hosts = Vec::new();
        for name in ["canary", "one", "two", "three"] {
            hosts.push(centre.enrol(name).await);
        }
        let checked = centre.check_in(&mut hosts[0]).await;
        assert_eq!((checked.job, checked.hint), (None, false), "there is no plan");
        let plan = plan_for(&hosts);
        centre.begin(&plan).await;
        let since = centre.hands.now() - SignedDuration::from_hours(1);
        let mut sweep = Sweep::new(Arc::clone(&centre.rollouts), since);
        let mut state = String::new();
        for _ in 0..30 {
            centre.hands.pass(60);
            for host in &mut hosts {
                assert!(centre.check_in(host).await.hint || state == "complete");
            }
            centre.rollouts.flush().await.unwrap();
            sweep.step(centre.hands.now()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
            state = rollouts::status(&centre.app, plan.id, centre.hands.now()).await.unwrap().unwrap().state;
            if state == "complete" {
                break;
            }
            if hosts[0].agent.report.is_none_or(|report| report.stage != Stage::Proven) {
                assert!(hosts[1..].iter().all(|host| host.agent.report.is_none()), "before the canary");
            }
        }
        assert_eq!(state, "complete");
        assert!(hosts.iter().all(|host| host.agent.cleared == [1]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_speaks_of_another_s_grant_speaks_of_its_own() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh, 10).await;
        let mut hosts = vec![centre.enrol("victim").await, centre.enrol("liar").await];
        let plan = plan_for(&hosts);
        centre.begin(&plan).await;
        centre.check_in(&mut hosts[0]).await;
        let grant = hosts[0].agent.report.unwrap();
        // It copies the grant, the machine, everything but the key.
        hosts[1].agent.machine = hosts[0].agent.machine;
        hosts[1].agent.report = Some(grant);
        hosts[1].agent.reports(Stage::Proven);
        let told = centre.check_in(&mut hosts[1]).await.job;
        assert_eq!(told, None);
        let jobs = async |number: usize| {
            let job = rollouts::job(&centre.app, plan.id, hosts[number].agent.host).await.unwrap().unwrap();
            (
                job.job.state,
                job.job.fence,
                job.reports.iter().map(|kept| kept.outcome.clone()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(jobs(0).await, ("offered".to_owned(), 1, Vec::new()));
        assert_eq!(jobs(1).await, ("queued".to_owned(), 0, vec!["stale".to_owned()]));
    })
    .await;
}

async fn rings(waits: JoinHandle<(u16, Vec<u8>)>) {
    let (status, body) = tokio::time::timeout(Duration::from_secs(5), waits).await.unwrap().unwrap();
    assert_eq!((status, serde_json::from_slice::<Hint>(&body).unwrap()), (200, Hint { now: true }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_rings_the_first_wave() {
    on_each_store(async |fresh| {
        let centre = Arc::new(Centre::start(&fresh, 10).await);
        let mut hosts = vec![centre.enrol("canary").await, centre.enrol("other").await];
        let plan = plan_for(&hosts);
        centre.arm(&plan).await;
        assert!(!centre.check_in(&mut hosts[1]).await.hint, "its wave waits for another");
        assert!(centre.check_in(&mut hosts[0]).await.hint);
        let waits = centre.hinted(&hosts[0]).await;
        centre.act(&plan, Event::Started).await;
        rings(waits).await;
        assert!(centre.check_in(&mut hosts[0]).await.job.unwrap().order.is_some());
        assert!(centre.check_in(&mut hosts[1]).await.hint, "it may be stopped any moment");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_armed_plan_that_has_expired_keeps_nobody_waiting() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh, 10).await;
        let mut hosts = vec![centre.enrol("canary").await, centre.enrol("other").await];
        let plan = plan_for(&hosts);
        centre.arm(&plan).await;
        assert!(centre.check_in(&mut hosts[0]).await.hint);
        centre.hands.pass(plan.expires.duration_since(centre.hands.now()).as_secs() + 1);
        assert!(!centre.check_in(&mut hosts[0]).await.hint);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_halt_rings_those_who_wait_and_no_more_wait_than_may() {
    on_each_store(async |fresh| {
        let centre = Arc::new(Centre::start(&fresh, 1).await);
        let mut hosts = vec![centre.enrol("canary").await, centre.enrol("other").await];
        let plan = plan_for(&hosts);
        centre.begin(&plan).await;
        assert!(centre.check_in(&mut hosts[0]).await.hint);
        let waits = centre.hinted(&hosts[0]).await;
        let (status, body) = centre.ask(&hosts[1].config, "GET", HINT_PATH, b"").await;
        assert_eq!(status, 503, "{}", String::from_utf8_lossy(&body));
        let why = Halt::Ordered { by: "ada".to_owned(), why: "stop".to_owned() };
        centre.act(&plan, Event::Halted(why)).await;
        rings(waits).await;
        let told = centre.check_in(&mut hosts[0]).await.job.unwrap();
        assert_eq!(told.withdraw, Some((plan.id, 1)));

        // Beside them: what approvers signed, and what nobody asked for.
        let root: serde_json::Value =
            centre.get(&hosts[0], &format!("{TRUST_PATH}metadata/1.root.json")).await;
        assert_eq!(root["signed"]["_type"], "root");
        let (status, _) =
            centre.ask(&hosts[0].config, "GET", &format!("{TRUST_PATH}metadata/2.root.json"), b"").await;
        assert_eq!(status, 404);
        let (status, _) = centre.ask(&hosts[0].config, "POST", HINT_PATH, b"").await;
        assert_eq!(status, 405);
        let (status, _) = centre.ask(&centre.config(None), "GET", HINT_PATH, b"").await;
        assert_eq!(status, 401, "only hosts");
        let found = Rehearsed {
            id: uuid::Uuid::from_u128(1),
            changes: Vec::new(),
            blocks: Vec::new(),
            restarts: Vec::new(),
            reboot: None,
            download_bytes: 0,
        };
        let found = serde_json::to_vec(&found).unwrap();
        let (status, body) = centre.ask(&hosts[0].config, "POST", REHEARSAL_PATH, &found).await;
        let noted: Noted = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, noted.wanted), (200, false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_host_saw_of_its_job_is_kept_and_nobody_shows_another_s() {
    on_each_store(async |fresh| {
        let centre = Centre::start(&fresh, 10).await;
        let mut hosts = vec![centre.enrol("honest").await, centre.enrol("other").await];
        let plan = plan_for(&hosts);
        centre.begin(&plan).await;
        centre.check_in(&mut hosts[0]).await;
        let fence = hosts[0].agent.report.unwrap().fence;
        let shows = async |host: usize, fence: u64, seen: serde_json::Value| {
            let told = serde_json::to_vec(&Evidence { plan: plan.id, fence, seen }).unwrap();
            let (status, body) = centre.ask(&hosts[host].config, "POST", EVIDENCE_PATH, &told).await;
            (status, serde_json::from_slice::<Noted>(&body).ok().map(|noted| noted.wanted))
        };
        let seen = serde_json::json!({ "schema": "palisade.evidence/1", "stage": "proven" });
        assert_eq!(shows(0, fence, seen.clone()).await, (200, Some(true)));
        // Told again, also otherwise, the first stays.
        assert_eq!(shows(0, fence, serde_json::json!({ "stage": "failed" })).await, (200, Some(true)));
        assert_eq!(shows(0, fence + 1, seen.clone()).await, (200, Some(false)), "it had no such grant");
        assert_eq!(shows(0, u64::MAX, seen.clone()).await, (200, Some(false)));
        assert_eq!(shows(0, fence, serde_json::json!(["no object"])).await, (413, None));
        let large = serde_json::json!({ "told": "x".repeat(EVIDENCE_BYTES_MAX) });
        assert_eq!(shows(0, fence, large).await, (413, None), "heard why, though it was still sending");
        assert_eq!(shows(1, fence, seen.clone()).await, (200, Some(false)), "another's grant");
        let kept = async |host: usize| {
            let id = hosts[host].agent.host.0.to_string();
            evidence::of_host(&centre.app.store, &id, Timestamp::MAX, 10).await.unwrap()
        };
        let ours = kept(0).await;
        assert_eq!(ours.iter().map(|kept| &kept.seen).collect::<Vec<_>>(), [&seen]);
        assert_eq!(ours[0].plan, plan.id.to_string());
        assert!(kept(1).await.is_empty());
    })
    .await;
}
