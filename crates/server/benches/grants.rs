//! How many hosts a second are granted: one transaction each, in batches, and against the bare statement, on this machine's
//! disk and in the same run; then how soon all hosts in hand know of a halt.
//!
//! `cargo bench -p server --bench grants [-- HOSTS]`; with `PALISADE_TEST_POSTGRES` on PostgreSQL, too.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use rollout::order::{CheckIn, Report, Stage};
use rollout::plan::{Plan, PlanId};
use rollout::rollout::{Event, Halt};
use rollout::sim::fleet::{BEGIN, Shape, host_id};
use server::api::Clock;
use server::hosts::Roster;
use server::rollouts::{self, Rollouts};
use server::signing::Signing;
use server::store::audit::Actor;
use server::store::rollouts::waves::{self, Granted};
use server::store::{self, Store};
use server::{App, Config};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Hosts of which each is granted by a transaction of its own.
const ALONE: usize = 2_000;
/// Hosts that ask at once in batches: as many as one server's door lets in, at most.
const AT_ONCE: usize = 1_024;
/// How long the bare statement is measured.
const BARE: Duration = Duration::from_secs(2);
/// What is to be reached.
const ALONE_PER_SECOND: f64 = 3_000.0;
const BATCHED_PER_SECOND: f64 = 10_000.0;

fn main() {
    let hosts = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(40_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory on the disk");
        let url = format!("sqlite://{}", directory.path().join("palisade.db").display());
        measure("SQLite", &url, hosts).await;
        let Ok(server) = std::env::var("PALISADE_TEST_POSTGRES") else {
            println!("PostgreSQL: skipped, PALISADE_TEST_POSTGRES names no server");
            return;
        };
        let (root, _) = server.rsplit_once('/').expect("PALISADE_TEST_POSTGRES ends in /DATABASE");
        let name = format!("palisade_bench_{}", std::process::id());
        let mut connection = PgConnection::connect(&server).await.expect("the server answers");
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database");
        measure("PostgreSQL", &format!("{root}/{name}"), hosts).await;
        let _ = connection.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await;
    });
}

async fn measure(name: &str, url: &str, hosts: usize) {
    let store = Store::open(url).await.expect("the store opens");
    let app = Arc::new(App { config: Config::default(), store, told: Arc::new(Notify::new()) });
    let plan = Shape { waves: vec![ALONE, hosts], hosts_at_once_max: 1_000_000, ..Shape::default() }.plan();
    // Only the second wave's books: both are open to whoever has a job.
    let plan = Plan { waves: vec![merged(&plan)], ..plan };
    let began = Instant::now();
    begin(&app, &plan).await;
    println!("{name}: {} hosts, begun in {:.1} s", ALONE + hosts, began.elapsed().as_secs_f64());
    let roster = Arc::new(Roster::load(&app.store, BEGIN).await.expect("the roster"));
    let keys = tempfile::tempdir().expect("a directory");
    let key_file = keys.path().join("authority.key");
    let signing =
        Signing::open(&app.store, Arc::clone(&app.told), &key_file, true, BEGIN).await.expect("keys");
    let (rollouts, asks) =
        Rollouts::load(&app, &roster, signing, Clock::new(|| BEGIN)).await.expect("what is under way");
    let stop = CancellationToken::new();
    let desk = tokio::spawn(rollouts::serve(Arc::clone(&rollouts), asks, stop.clone()));

    let bare = bare(&app.store, plan.id).await;
    println!("  bare statement, one transaction each: {bare:.0}/s");
    let began = Instant::now();
    for number in 0..ALONE {
        assert!(granted(&rollouts, number).await, "there is room");
    }
    let alone = rate(ALONE, began.elapsed());
    told("granted, one transaction each", alone, ALONE_PER_SECOND, bare);
    let began = Instant::now();
    together(hosts, |number| {
        let rollouts = Arc::clone(&rollouts);
        async move { assert!(granted(&rollouts, ALONE + number).await, "there is room") }
    })
    .await;
    told("granted in batches", rate(hosts, began.elapsed()), BATCHED_PER_SECOND, bare);
    let numbers = rollouts.numbers();
    let number =
        |name: &str| numbers.iter().find(|(named, ..)| *named == name).map_or(0, |(_, _, number)| *number);
    println!("  {} grants in {} transactions", number("rollout_grants"), number("rollout_batches"));

    // All are preparing now: each of them must hear of a halt when it asks next.
    let began = Instant::now();
    let why = Halt::Ordered { by: "bench".to_owned(), why: "measured".to_owned() };
    rollouts::act(&app, plan.id, Event::Halted(why), &Actor::Server, BEGIN).await.expect("it halts");
    let (halted, heard) = (began.elapsed(), Arc::new(AtomicU64::new(0)));
    together(hosts, |number| {
        let (rollouts, heard) = (Arc::clone(&rollouts), Arc::clone(&heard));
        async move {
            let said = says(ALONE + number, Some((plan_id(), 1, Stage::Fetched)));
            let checked = rollouts.check_in(host_id(ALONE + number).0, &said).await.expect("an answer");
            let told = checked.told.expect("something is told");
            assert!(told.clearance.is_none() && told.withdraw.is_some());
            heard.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    println!(
        "  halted in {} ms; {} hosts that asked then were all stopped within {:.1} s",
        halted.as_millis(),
        heard.load(Ordering::Relaxed),
        began.elapsed().as_secs_f64()
    );
    stop.cancel();
    desk.await.expect("the desk ends");
    app.store.close().await;
}

fn plan_id() -> PlanId {
    rollout::sim::fleet::plan_id(1)
}

/// Both waves as one.
fn merged(plan: &Plan) -> rollout::plan::Wave {
    let mut wave = plan.waves[1].clone();
    let first = plan.waves[0].cohorts[0].hosts.clone();
    wave.cohorts[0].hosts = first.into_iter().chain(wave.cohorts[0].hosts.clone()).collect();
    wave
}

async fn begin(app: &App, plan: &Plan) {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&plan.bytes()).expect("memory");
    let mut writing = app.store.begin().await.expect("a transaction");
    sqlx::query(
        "INSERT INTO plans (id, title, environment, state, asked, blocks, left_out, hosts, digest, body, created_by, \
         created_at, revision) VALUES ($1, 'bench', $2, 'in-force', '{}', '[]', '[]', 0, '', $3, 'server', 0, 1)",
    )
    .bind(plan.id.to_string())
    .bind(plan.environment.clone())
    .bind(packed.finish().expect("memory"))
    .execute(&mut *writing)
    .await
    .expect("the plan is kept");
    rollouts::create(&mut writing, plan, 1, BEGIN).await.expect("its books are begun");
    store::commit(writing, "bench").await.expect("committed");
    for event in [Event::Signed { signer: "bench".to_owned() }, Event::Started] {
        rollouts::act(app, plan.id, event, &Actor::Server, BEGIN).await.expect("it begins");
    }
}

/// The guarded statement by itself, as many transactions as it takes, without the engine or its rows: 1/s.
async fn bare(store: &Store, plan: PlanId) -> f64 {
    let began = Instant::now();
    let mut count = 0;
    let mut reading = store.begin().await.expect("a transaction");
    let row = waves::read(&mut reading, plan).await.expect("the books")[0];
    drop(reading);
    while began.elapsed() < BARE {
        let mut writing = store.begin().await.expect("a transaction");
        let granted = Granted { forward: 1, back: 0 };
        let after = rollout::grant::Row { skipped: row.skipped + 1, ..row };
        let done = waves::write(&mut writing, plan, 0, &row, &after, granted).await.expect("the statement");
        assert!(done, "there is room");
        store::commit(writing, "bench").await.expect("committed");
        count += 1;
    }
    rate(count, began.elapsed())
}

async fn granted(rollouts: &Rollouts, number: usize) -> bool {
    let checked = rollouts.check_in(host_id(number).0, &says(number, None)).await.expect("an answer");
    checked.told.is_some_and(|told| told.order.is_some())
}

fn says(number: usize, at: Option<(PlanId, u64, Stage)>) -> CheckIn {
    let machine = number as u64 + 1;
    let report = at.map(|(plan, fence, stage)| Report { plan, fence, seq: 1, machine, boot: 1, stage });
    CheckIn { nonce: 1, machine, report, healthy: Some(true) }
}

/// Does it for all these hosts, [`AT_ONCE`] at a time.
async fn together<F: Future<Output = ()> + Send + 'static>(hosts: usize, work: impl Fn(usize) -> F) {
    let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..hosts {
        let place = Arc::clone(&places).acquire_owned().await.expect("open");
        let work = work(number);
        tasks.spawn(async move {
            work.await;
            drop(place);
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("every host is answered");
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn told(what: &str, rate: f64, wanted: f64, bare: f64) {
    let verdict = if rate >= wanted { "reached" } else { "MISSED" };
    println!("  {what}: {rate:.0}/s ({:.2} × bare), wanted {wanted:.0}/s: {verdict}", rate / bare);
}
