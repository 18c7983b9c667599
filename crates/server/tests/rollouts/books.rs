//! What is kept: reports once each, whatever order they come in; and what a backup brings back.

use crate::store_for_tests::on_each_store;
use crate::world::{Agent, Hands, World, plan};
use jiff::{SignedDuration, Timestamp};
use rollout::order::{CheckIn, Report, Stage};
use rollout::rollout::Event;
use rollout::sim::fleet::plan_id;
use server::rollouts;
use server::store::rollouts::job_list::JobFilter;
use server::store::rollouts::reports;
use server::store::{Store, backup, evidence};
use wire::v1::Evidence;

#[tokio::test]
async fn a_report_counts_once_and_an_older_one_never() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        world.begun(&plan(&[1, 1], 0)).await;
        let mut agent = Agent::numbered(0..1).remove(0);
        agent.outcome = Stage::Applying;
        world.check_in(&mut agent).await;
        world.check_in(&mut agent).await;
        assert_eq!(agent.cleared, [1]);
        let first = agent.report.unwrap();
        let says = async |report: Report| {
            let said = CheckIn { nonce: 99, machine: agent.machine, report: Some(report), healthy: None };
            world.rollouts.check_in(agent.host.0, &said).await.unwrap().told
        };
        let proven = Report { seq: first.seq + 2, stage: Stage::Proven, ..first };
        assert_eq!(says(first).await, None);
        assert_eq!(says(first).await, None);
        assert_eq!(says(proven).await, None);
        let late = Report { seq: first.seq + 1, stage: Stage::Verifying, ..first };
        let told = says(late).await.unwrap_or_default();
        assert_eq!((told.order, told.clearance), (None, None), "it was overtaken");
        assert_eq!(says(proven).await, None);
        let job = rollouts::job(&world.app, world.plan, agent.host).await.unwrap().unwrap();
        assert_eq!((job.job.state.as_str(), job.job.charged), ("proven", false));
        let kept: Vec<_> =
            job.reports.iter().map(|kept| (kept.seq, kept.report.as_str(), kept.outcome.as_str())).collect();
        assert_eq!(
            kept,
            [
                (1, "fetched", "changed"),
                (2, "applying", "changed"),
                (3, "verifying", "stale"),
                (4, "proven", "changed"),
            ]
        );
        // The same number with another content is another history: two machines, one key.
        says(Report { stage: Stage::RolledBack, ..proven }).await;
        let filter = JobFilter { state: Some("quarantined".to_owned()), ..JobFilter::default() };
        let listed = rollouts::jobs(&world.app, world.plan, &filter, 10).await.unwrap();
        assert_eq!(listed.len(), 1);
        let status = world.status().await;
        assert_eq!(status.state_text, "halted in wave 0, open: 1 hosts failed or were lost; 0 are borne");
        world.assert_books_hold().await;
    })
    .await;
}

/// A world of one host that has failed; the host.
async fn failed(world: &mut World) -> Agent {
    world.begun(&plan(&[1, 1], 0)).await;
    let mut agent = Agent::numbered(0..1).remove(0);
    agent.outcome = Stage::RolledBack;
    world.round(std::slice::from_mut(&mut agent), 6).await;
    world.swept().await;
    assert!(world.state().await.starts_with("halted"));
    agent
}

/// What a host saw of the world's plan, on its last grant.
async fn shows(world: &World, agent: &Agent, seen: serde_json::Value) {
    let told = Evidence { plan: world.plan, fence: agent.report.unwrap().fence, seen };
    let (store, host) = (&world.app.store, agent.host.to_string());
    let is_kept = evidence::put(store, world.now(), &host, &told, &told.seen.to_string()).await.unwrap();
    assert!(is_kept);
}

#[tokio::test]
async fn a_status_says_why_hosts_failed_and_of_how_many_it_is_not_known() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        let agent = failed(&mut world).await;
        let status = world.status().await;
        assert_eq!((status.failures.len(), status.failures_unheard), (0, 1));
        shows(&world, &agent, serde_json::json!({ "why": ["it stands\u{1b} still", 7, "it leaks"] })).await;
        let status = world.status().await;
        assert_eq!((status.failures.len(), status.failures_unheard), (1, 0));
        let why = &status.failures[0].why;
        assert!(why.len() == 2 && !why[0].contains('\u{1b}') && why[1] == "it leaks", "{why:?}");
    })
    .await;
}

#[tokio::test]
async fn reports_of_rollouts_that_are_over_age_and_what_is_under_way_and_evidence_stay() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        let agent = failed(&mut world).await;
        shows(&world, &agent, serde_json::json!({ "why": ["it leaks"] })).await;
        let count = "SELECT COUNT(*) FROM rollout_reports";
        let all = world.count(count).await;
        assert!(all >= 2, "{all}");
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        let prune = async |world: &World, now: Timestamp| {
            reports::prune(&world.app.store, now, days(396)).await.unwrap()
        };
        let halted = world.now();
        assert_eq!(prune(&world, halted + days(4_000)).await, 0, "a halted one can go on");
        world.hands.pass(3_600 * 24 * 10);
        world.act(Event::Aborted { by: "ada".to_owned() }).await.unwrap();
        assert_eq!(prune(&world, halted + days(400)).await, 0, "it has been over for 390 days");
        assert_eq!(prune(&world, halted + days(407)).await, u64::try_from(all).unwrap());
        assert_eq!(world.count(count).await, 0);
        let job = rollouts::job(&world.app, world.plan, agent.host).await.unwrap().unwrap();
        assert_eq!((job.job.state.as_str(), job.reports.len()), ("rolled-back", 0));
        assert_eq!(job.why, ["it leaks"], "evidence has its own time");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_was_lost_is_given_again_and_asking_keeps_a_lease() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        world.begun(&plan(&[1, 1], 0)).await;
        let mut agent = Agent::numbered(0..1).remove(0);
        for _ in 0..3 {
            // It hears nothing, and asks as before.
            let said = agent.says();
            let told = world.rollouts.check_in(agent.host.0, &said).await.unwrap().told.unwrap();
            assert_eq!(told.order.unwrap().fence, 1);
        }
        world.check_in(&mut agent).await;
        // Twice as long as a lease lasts: it fetches, and says so every minute.
        agent.report.as_mut().unwrap().stage = Stage::Preflight;
        for _ in 0..10 {
            world.hands.pass(60);
            let told = world.check_in(&mut agent).await.told.unwrap();
            assert_eq!(told.order.unwrap().fence, 1);
            world.swept().await;
        }
        agent.reports(Stage::Fetched);
        for _ in 0..3 {
            let said = agent.says();
            let told = world.rollouts.check_in(agent.host.0, &said).await.unwrap().told.unwrap();
            assert!(told.clearance.unwrap().contains(&format!("\"nonce\":{}", said.nonce)));
        }
        // Not heard for longer, it would have lost its place; past the point of no return it keeps it.
        world.hands.pass(600);
        world.swept().await;
        let status = world.status().await;
        assert_eq!((status.waves[0].under_change, status.waves[0].inflight), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_machine_that_was_not_granted_neither_ends_a_job_nor_vouches_for_it() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        world.begun(&plan(&[2, 1], 1)).await;
        let mut agents = Agent::numbered(0..2);
        world.round(&mut agents, 3).await;
        // A copy of the disk speaks under the first one's key; the host itself is dead.
        let mut copy = Agent { machine: 4_711, report: None, ..agents[0].clone() };
        for _ in 0..15 {
            world.hands.pass(60);
            world.check_in(&mut copy).await;
            world.check_in(&mut agents[1]).await;
            world.swept().await;
        }
        let status = world.status().await;
        assert_eq!(status.state_text, "wave 1, open", "half of them is enough here");
        let gate = "SELECT COUNT(*) FROM rollout_health h JOIN rollout_jobs j ON j.host = h.host AND j.machine <> h.machine";
        assert_eq!(world.count(gate).await, 0, "the copy was not written down for it");
    })
    .await;
}

#[tokio::test]
async fn what_was_under_way_comes_back_halted() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("first.db").display());
    let mut world = World::new(Store::open(&url).await.unwrap(), &Hands::begin()).await;
    world.begun(&plan(&[1, 1], 0)).await;
    let mut agents = Agent::numbered(0..1);
    world.round(&mut agents, 1).await;
    let mut armed = plan(&[1, 1], 0);
    armed.id = plan_id(2);
    world.armed(&armed).await;
    let mut bytes = Vec::new();
    backup::write(&world.app.store, world.now(), &mut bytes, &mut |_, _| {}).await.unwrap();
    // The host goes on meanwhile: the backup does not know that it was cleared.
    world.plan = plan_id(1);
    world.round(&mut agents, 1).await;
    assert_eq!(agents[0].cleared, [1]);
    on_each_store(async |there| {
        backup::restore(&there.store, bytes.as_slice(), &mut |_, _| {}).await.unwrap();
        let mut restored = World::new(there.store.clone(), &world.hands).await;
        restored.plan = plan_id(1);
        let state = restored.state().await;
        assert_eq!(
            state,
            "halted in wave 0, open: restore halted it: the store was restored from a backup, which is older than the \
             hosts"
        );
        let mut others = Agent::numbered(1..2);
        restored.round(&mut others, 2).await;
        assert!(others[0].report.is_none());
        // A host that says more than the books know is not believed: a person has to look.
        let mut ahead = agents[0].clone();
        restored.check_in(&mut ahead).await;
        restored.check_in(&mut ahead).await;
        assert_eq!(ahead.cleared, [1]);
        assert_eq!(restored.status().await.waves[0].failed, 1);
        restored.plan = plan_id(2);
        assert_eq!(restored.state().await, "armed");
        restored.act(Event::Aborted { by: "ada".to_owned() }).await.unwrap();
    })
    .await;
}
