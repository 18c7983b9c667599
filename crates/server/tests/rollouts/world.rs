//! A centre without a door, with a clock of its own; and hosts that say what they are told to say.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use jiff::{SignedDuration, Timestamp};
use rollout::order::{CheckIn, Report, Stage};
use rollout::plan::{HostId, Plan, PlanId};
use rollout::rollout::Event;
use rollout::sim::fleet::{BEGIN, Shape, host_id};
use rollout::word::{Says, Word};
use serde_json::json;
use server::api::Clock;
use server::hosts::Roster;
use server::rollouts::{self, Acted, Checked, Rollouts, Status, Sweep};
use server::signing::{Change, Listed, Signing};
use server::store::audit::Actor;
use server::store::{Store, commit, events, words};
use server::{App, Config};
use sqlx::Row;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wire::v1::Told;

/// A clock that stands still until it is set.
#[derive(Clone)]
pub struct Hands {
    now: Arc<AtomicI64>,
    /// Where the key of the server's authority lies, for all servers of one store.
    keys: Arc<TempDir>,
}

impl Hands {
    pub fn begin() -> Self {
        let keys = Arc::new(tempfile::tempdir().unwrap());
        Self { now: Arc::new(AtomicI64::new(BEGIN.as_microsecond())), keys }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_microsecond(self.now.load(Ordering::Relaxed)).unwrap()
    }

    pub fn pass(&self, seconds: i64) {
        self.now.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }

    /// A server that approves alone.
    pub async fn signing(&self, app: &App) -> Arc<Signing> {
        let key_file = self.keys.path().join("authority.key");
        Signing::open(&app.store, Arc::clone(&app.told), &key_file, true, self.now()).await.unwrap()
    }

    pub fn clock(&self) -> Clock {
        let hands = self.clone();
        Clock::new(move || hands.now())
    }
}

pub struct World {
    pub app: Arc<App>,
    pub rollouts: Arc<Rollouts>,
    pub signing: Arc<Signing>,
    pub hands: Hands,
    pub sweep: Sweep,
    pub plan: PlanId,
    seen: i64,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn app(store: Store) -> Arc<App> {
    Arc::new(App { config: Config::default(), store, told: Arc::new(Notify::new()) })
}

impl World {
    /// A server on the store, which has listened for a while.
    pub async fn new(store: Store, hands: &Hands) -> Self {
        let app = app(store);
        let seen = events::last(&app.store).await.unwrap();
        let roster = Arc::new(Roster::load(&app.store, hands.now()).await.unwrap());
        let signing = hands.signing(&app).await;
        let (rollouts, asks) =
            Rollouts::load(&app, &roster, Arc::clone(&signing), hands.clock()).await.unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(rollouts::serve(Arc::clone(&rollouts), asks, stop.clone()));
        let since = hands.now() - SignedDuration::from_hours(1);
        let sweep = Sweep::new(Arc::clone(&rollouts), since);
        let plan = PlanId(Uuid::nil());
        Self { app, rollouts, signing, hands: hands.clone(), sweep, plan, seen, stop }
    }

    pub fn now(&self) -> Timestamp {
        self.hands.now()
    }

    /// Keeps a plan, signed by one approver of one.
    pub async fn armed(&mut self, plan: &Plan) {
        keep(&self.app.store, plan, self.now()).await;
        self.plan = plan.id;
        self.act(Event::Signed { signer: "ada".to_owned() }).await.unwrap();
    }

    /// And begins it.
    pub async fn begun(&mut self, plan: &Plan) {
        self.armed(plan).await;
        self.act(Event::Started).await.unwrap();
    }

    /// The approvers' word that hosts go back.
    pub async fn allow_back(&self, plan: &Plan) -> Uuid {
        let word = Word {
            format: rollout::word::FORMAT,
            id: Uuid::now_v7(),
            plan: plan.id,
            digest: plan.digest(),
            says: Says::Back,
            created: self.now(),
            reason: "it fails".to_owned(),
        };
        let mut writing = self.app.store.begin().await.unwrap();
        words::insert(&mut writing, &word).await.unwrap();
        commit(writing, "test").await.unwrap();
        // A word is about a plan that hosts believe.
        let listed = Listed::plan(plan.id, &plan.bytes()).unwrap();
        for change in [Change::Plan(listed), Change::Word(Listed::word(&word).unwrap())] {
            let proposed = self.signing.propose(&change, "back", &Actor::Server, self.now()).await.unwrap();
            assert!(self.signing.sign_alone(&proposed.id, &Actor::Server, self.now()).await.unwrap());
        }
        word.id
    }

    /// What a person does; this server hears of it.
    pub async fn act(&mut self, event: Event) -> Result<(), Acted> {
        let actor = Actor::Person("ada".to_owned());
        let done = rollouts::act(&self.app, self.plan, event, &actor, self.now()).await;
        self.follow().await;
        done
    }

    /// Hears of what happened anywhere.
    pub async fn follow(&mut self) {
        for event in events::after(&self.app.store, self.seen, 1_000).await.unwrap() {
            self.seen = event.seq;
            self.rollouts.follow(&event).await.unwrap();
        }
    }

    /// The sweep comes by, twice: what is due first, then whether it goes on.
    pub async fn swept(&mut self) {
        for _ in 0..2 {
            self.rollouts.flush().await.unwrap();
            assert!(self.sweep.step(self.hands.now()).await.unwrap(), "this server has the role");
            self.follow().await;
        }
    }

    pub async fn status(&self) -> Status {
        rollouts::status(&self.app, self.plan, self.now()).await.unwrap().unwrap()
    }

    pub async fn state(&self) -> String {
        self.status().await.state_text
    }

    pub async fn check_in(&self, agent: &mut Agent) -> Checked {
        let checked = self.rollouts.check_in(agent.host.0, &agent.says()).await.unwrap();
        agent.hears(checked.told.as_ref());
        checked
    }

    /// These hosts check in, so often.
    pub async fn round(&self, agents: &mut [Agent], times: u32) {
        for _ in 0..times {
            for agent in &mut *agents {
                self.check_in(agent).await;
            }
        }
    }

    /// One number from the store.
    pub async fn count(&self, text: &'static str) -> i64 {
        sqlx::query(text).fetch_one(self.app.store.reader()).await.unwrap().get(0)
    }

    /// What the books count is what the jobs are: nothing lost, nothing twice.
    pub async fn assert_books_hold(&self) {
        for (what, text) in [
            (
                "places of waves",
                "SELECT CAST((SELECT SUM(inflight) FROM rollout_waves) - (SELECT COUNT(*) FROM rollout_jobs WHERE charged = 1) \
                 AS BIGINT)",
            ),
            (
                "settled jobs",
                "SELECT CAST((SELECT SUM(proven + skipped + failed + lost) FROM rollout_waves) - (SELECT COUNT(*) \
                 FROM rollout_jobs WHERE counts NOT IN ('queued', 'preparing', 'under-change')) AS BIGINT)",
            ),
            (
                "places of services",
                "SELECT CAST((SELECT COALESCE(SUM(away), 0) FROM services) - (SELECT COUNT(*) FROM service_places) AS BIGINT)",
            ),
            ("services beyond their bound", "SELECT COUNT(*) FROM services WHERE away > away_max"),
        ] {
            assert_eq!(self.count(text).await, 0, "{what}");
        }
    }
}

/// Keeps a plan as planning does, with its books.
pub async fn keep(store: &Store, plan: &Plan, now: Timestamp) {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&plan.bytes()).unwrap();
    let mut writing = store.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO plans (id, title, environment, state, asked, blocks, left_out, hosts, digest, body, created_by, \
         created_at, revision) VALUES ($1, $2, $3, 'in-force', '{}', '[]', '[]', 0, $4, $5, 'server', 0, 1)",
    )
    .bind(plan.id.to_string())
    .bind(plan.title.clone())
    .bind(plan.environment.clone())
    .bind(plan.digest().to_string())
    .bind(packed.finish().unwrap())
    .execute(&mut *writing)
    .await
    .unwrap();
    rollouts::create(&mut writing, plan, 1, now).await.unwrap();
    commit(writing, "test").await.unwrap();
}

/// A host: asks, and when it is cleared ends as it was told to.
#[derive(Clone, Debug)]
pub struct Agent {
    pub host: HostId,
    pub machine: u64,
    pub boot: u64,
    pub healthy: bool,
    /// What it says after it was cleared.
    pub outcome: Stage,
    pub report: Option<Report>,
    /// Grants that it was cleared for.
    pub cleared: Vec<u64>,
    pub nonce: u64,
}

impl Agent {
    pub fn of(host: HostId) -> Self {
        let machine = u64::try_from(host.0.as_u128() & 0xffff).unwrap() + 1;
        Self {
            host,
            machine,
            boot: 1,
            healthy: true,
            outcome: Stage::Proven,
            report: None,
            cleared: Vec::new(),
            nonce: 0,
        }
    }

    /// The hosts of the simulation's plans.
    pub fn numbered(numbers: std::ops::Range<usize>) -> Vec<Self> {
        numbers.map(|number| Self::of(host_id(number))).collect()
    }

    pub fn says(&mut self) -> CheckIn {
        self.nonce += 1;
        CheckIn { nonce: self.nonce, machine: self.machine, report: self.report, healthy: Some(self.healthy) }
    }

    pub fn hears(&mut self, told: Option<&Told>) {
        let Some(told) = told else { return };
        let fence = self.report.map_or(0, |report| report.fence);
        if let Some((plan, withdrawn)) = told.withdraw
            && self.report.is_some_and(|report| {
                (report.plan, report.fence) == (plan, withdrawn) && !report.stage.is_past_return()
            })
        {
            self.reports(Stage::Withdrawn);
        }
        if let Some(order) = told.order
            && self.report.is_none_or(|report| report.plan != order.plan || order.fence > fence)
        {
            assert_eq!((order.host, order.nonce), (self.host, self.nonce), "an order for another");
            let (plan, fence) = (order.plan, order.fence);
            let (machine, boot) = (self.machine, self.boot);
            self.report = Some(Report { plan, fence, seq: 1, machine, boot, stage: Stage::Fetched });
        }
        if let Some(clearance) = &told.clearance {
            let said: serde_json::Value = serde_json::from_str(clearance).unwrap();
            let fence = self.report.unwrap().fence;
            let named = json!({ "host": self.host, "fence": fence, "nonce": self.nonce });
            for field in ["host", "fence", "nonce"] {
                assert_eq!(said["signed"][field], named[field]);
            }
            self.cleared.push(fence);
            self.reports(self.outcome);
        }
    }

    /// Says something else about its grant from now on.
    pub fn reports(&mut self, stage: Stage) {
        let last = self.report.unwrap();
        self.report = Some(Report { seq: last.seq + 1, stage, boot: self.boot, ..last });
    }
}

/// Two waves of these sizes, in which so many may fail.
pub fn plan(waves: &[usize], bad_max: u32) -> Plan {
    let shape = Shape { waves: waves.to_vec(), bad_max, proven_percent_min: 50, ..Shape::default() };
    shape.plan()
}
