//! Several servers on one store: what one has not heard of yet it does not grant, and what one had in hand when it died is
//! neither lost nor granted twice.

use crate::store_for_tests::on_each_store;
use crate::world::{Agent, Hands, World, plan};
use rollout::order::Stage;
use rollout::rollout::{Event, Halt};
use rollout::sim::fleet::Shape;
use server::store::Store;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test]
async fn a_server_that_is_behind_waits_and_never_grants() {
    on_each_store(async |fresh| {
        let hands = Hands::begin();
        let mut first = World::new(fresh.store.clone(), &hands).await;
        let mut second = World::new(Store::open(&fresh.url).await.unwrap(), &hands).await;
        let [mut early, mut late] = Agent::numbered(0..2).try_into().unwrap();
        first.begun(&plan(&[2, 1], 1)).await;
        second.plan = first.plan;
        // It has not heard that there is a rollout.
        assert_eq!(second.check_in(&mut early).await.told, None);
        second.follow().await;
        second.check_in(&mut early).await;
        assert_eq!(early.report.unwrap().stage, Stage::Fetched);
        // It has not heard that it was halted: to its mind the wave is open, and a host asks to begin.
        let why = Halt::Ordered { by: "ada".to_owned(), why: "wait".to_owned() };
        first.act(Event::Halted(why)).await.unwrap();
        second.round(std::slice::from_mut(&mut late), 2).await;
        assert!(late.report.is_none() && late.cleared.is_empty());
        second.check_in(&mut early).await;
        assert_eq!((early.report.unwrap().stage, early.cleared.len()), (Stage::Withdrawn, 0));

        second.check_in(&mut early).await;

        // A host moves to a server that has not heard of its rollout: it is asked about, not taken away.
        let mut next = plan(&[2, 1], 1);
        next.id = rollout::sim::fleet::plan_id(2);
        let [mut moves, _] = Agent::numbered(0..2).try_into().unwrap();
        first.begun(&next).await;
        first.check_in(&mut moves).await;
        second.check_in(&mut moves).await;
        assert_eq!(moves.cleared, [1], "and it is cleared where it asks");
        // Whereas a plan that nobody knows is dead.
        let mut stray = Agent::numbered(5..6).remove(0);
        stray.report = moves.report;
        stray.reports(Stage::Preflight);
        stray.report.as_mut().unwrap().plan = rollout::sim::fleet::plan_id(9);
        second.check_in(&mut stray).await;
        assert_eq!(stray.report.unwrap().stage, Stage::Withdrawn);
        second.app.store.close().await;
    })
    .await;
}

/// Hosts check in at a server of its own threads, until that dies or they are done.
fn another(
    url: &str,
    hands: &Hands,
    agents: Vec<Agent>,
    answers: &Arc<AtomicUsize>,
) -> (tokio::runtime::Runtime, Arc<Mutex<Vec<Agent>>>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let kept = Arc::new(Mutex::new(agents.clone()));
    let (url, hands, answers, told) = (url.to_owned(), hands.clone(), Arc::clone(answers), Arc::clone(&kept));
    runtime.spawn(async move {
        let world = Arc::new(World::new(Store::open(&url).await.unwrap(), &hands).await);
        for (number, agent) in agents.into_iter().enumerate() {
            let (world, answers, told) = (Arc::clone(&world), Arc::clone(&answers), Arc::clone(&told));
            tokio::spawn(async move {
                let mut agent = agent;
                for _ in 0..6 {
                    let said = agent.says();
                    told.lock().unwrap()[number] = agent.clone();
                    let Ok(checked) = world.rollouts.check_in(agent.host.0, &said).await else { return };
                    agent.hears(checked.told.as_ref());
                    told.lock().unwrap()[number] = agent.clone();
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::future::pending::<()>().await;
    });
    (runtime, kept)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_in_the_middle_of_a_wave_loses_and_doubles_nothing() {
    on_each_store(async |fresh| {
        let hands = Hands::begin();
        for round in 0..3_u32 {
            let mut world = World::new(fresh.store.clone(), &hands).await;
            let shape = Shape {
                number: 10 + round,
                waves: vec![60, 2],
                bad_max: 5,
                hosts_at_once_max: 25,
                away_max: vec![9, 8, 7],
                ..Shape::default()
            };
            world.begun(&shape.plan()).await;
            let mut agents = Agent::numbered(0..60);
            let answers = Arc::new(AtomicUsize::new(0));
            let theirs = agents.split_off(20);
            let (dies, kept) = another(&fresh.url, &hands, theirs, &answers);
            // Both serve at once; the other one dies with check-ins, transactions and answers on their way.
            while answers.load(Ordering::Relaxed) < 40 + 20 * round as usize {
                world.round(&mut agents, 1).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            dies.shutdown_background();
            tokio::time::sleep(Duration::from_millis(200)).await;
            agents.append(&mut kept.lock().unwrap());
            let mut rounds = 0;
            while world.status().await.waves[0].proven < 60 {
                world.round(&mut agents, 1).await;
                world.assert_books_hold().await;
                rounds += 1;
                assert!(rounds < 60, "{:?}", world.status().await);
            }
            for agent in &agents {
                // A clearance that was committed and never arrived is given again, for the same grant.
                assert!(
                    !agent.cleared.is_empty() && agent.cleared.iter().all(|fence| *fence == 1),
                    "{agent:?}"
                );
            }
            let granted = world.count("SELECT MAX(fence) FROM rollout_jobs").await;
            assert_eq!(granted, 1, "nobody was granted twice");
            world.act(Event::Aborted { by: "ada".to_owned() }).await.unwrap();
        }
    })
    .await;
}
