//! What becomes of a rollout: it goes from wave to wave, halts, turns back.

use crate::store_for_tests::on_each_store;
use crate::world::{Agent, Hands, World, plan};
use jiff::Timestamp;
use rollout::order::{Failure, Stage};
use rollout::rollout::{Event, Halt};
use rollout::sim::fleet::{GROUP, Shape, host_id};
use serde_json::json;
use server::rollouts;
use server::store::audit::Actor;
use server::store::{commit, events};
use std::collections::BTreeSet;

/// A minute passes, in which these hosts check in.
async fn minute(world: &mut World, agents: &mut [Agent]) {
    world.hands.pass(60);
    world.round(agents, 1).await;
    world.swept().await;
}

#[tokio::test]
async fn from_the_canary_to_the_last_wave_nothing_goes_on_before_its_gate() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        let plan = plan(&[1, 4], 0);
        let mut agents = Agent::numbered(0..5);
        world.armed(&plan).await;
        world.round(&mut agents, 2).await;
        assert_eq!(world.status().await.waits, ["signed; to be started"]);
        world.act(Event::Started).await.unwrap();
        world.round(&mut agents, 3).await;
        let granted: Vec<usize> = agents.iter().map(|agent| agent.cleared.len()).collect();
        assert_eq!(granted, [1, 0, 0, 0, 0], "only the canary");

        minute(&mut world, &mut agents).await;
        let status = world.status().await;
        assert_eq!(status.state_text, "wave 0, soak");
        assert_eq!(status.waves[0].soak_until, Some(world.now() + jiff::SignedDuration::from_secs(300)));
        for _ in 0..4 {
            minute(&mut world, &mut agents).await;
        }
        assert_eq!(world.state().await, "wave 0, soak");
        // An alert fires: the gate holds, and says so.
        let alert = "INSERT INTO alerts (name, since_at, detail) VALUES ('fire', 0, '')";
        sqlx::query(alert).execute(world.app.store.reader()).await.unwrap();
        minute(&mut world, &mut agents).await;
        minute(&mut world, &mut agents).await;
        let status = world.status().await;
        assert_eq!(status.state_text, "wave 0, gate");
        assert_eq!(status.waits, ["the gate holds: alerts firing 1, at most 0"]);
        sqlx::query("DELETE FROM alerts").execute(world.app.store.reader()).await.unwrap();
        minute(&mut world, &mut agents).await;
        assert_eq!(world.state().await, "wave 1, open");

        for _ in 0..10 {
            minute(&mut world, &mut agents).await;
        }
        let status = world.status().await;
        assert_eq!((status.state.as_str(), status.hosts, status.proven), ("complete", 5, 5));
        assert!(agents.iter().all(|agent| agent.cleared == [1]), "{agents:?}");
        world.assert_books_hold().await;
        let told = world.count("SELECT COUNT(*) FROM events WHERE kind = 'rollout'").await;
        let written = world.count("SELECT COUNT(*) FROM audit WHERE action LIKE 'rollout.%'").await;
        assert_eq!(
            (told, written),
            (8, 8),
            "armed, wave 0 open, soak, gate, wave 1 open, soak, gate, complete"
        );
        // What is over costs nothing any more.
        let quiet =
            || world.rollouts.numbers().iter().find(|(name, ..)| *name == "rollout_check_ins").unwrap().2;
        let before = quiet();
        world.round(&mut agents, 3).await;
        assert_eq!(quiet(), before);
    })
    .await;
}

#[tokio::test]
async fn one_failure_too_many_stops_everybody_who_has_not_begun() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        let shape = Shape {
            waves: vec![1, 8],
            bad_max: 1,
            proven_percent_min: 50,
            hosts_at_once_max: 4,
            away_max: vec![9],
            ..Shape::default()
        };
        world.begun(&shape.plan()).await;
        let mut agents = Agent::numbered(0..9);
        for _ in 0..8 {
            minute(&mut world, &mut agents[..1]).await;
        }
        assert_eq!(world.state().await, "wave 1, open");
        let (bad, rest) = agents[1..].split_at_mut(2);
        bad[0].outcome = Stage::RolledBack;
        bad[1].outcome = Stage::Failed(Failure::Unhealthy);
        // All four places are taken, by two that will fail and two that prepare.
        world.round(bad, 1).await;
        world.round(&mut rest[..2], 1).await;
        world.round(&mut rest[2..], 1).await;
        assert!(rest[2].report.is_none(), "no place is left");
        assert_eq!(world.status().await.services[0].away, 4);
        world.round(bad, 2).await;
        let status = world.status().await;
        assert_eq!(status.state_text, "halted in wave 1, open: 2 hosts failed or were lost; 1 are borne");
        world.round(rest, 3).await;
        assert!(rest.iter().all(|agent| agent.cleared.is_empty()), "{rest:?}");
        assert_eq!(rest[0].report.unwrap().stage, Stage::Withdrawn);
        // Who failed holds its place until a person has looked.
        let status = world.status().await;
        assert_eq!(status.services[0].holders.len(), 1);
        assert_eq!(status.services[0].holders[0].state, "failed: a service or probe is down");
        world.assert_books_hold().await;
        let ada = Actor::Person("ada".to_owned());
        let free = |host| rollouts::free(&world.app, world.plan, host, &ada, world.now());
        free(bad[1].host).await.unwrap();
        assert!(free(bad[1].host).await.is_err(), "there is nothing to free any more");
        assert_eq!(world.status().await.services[0].away, 0);
        // And the next plan is warned.
        let denied = world
            .count("SELECT COUNT(*) FROM denied WHERE package = 'openssl' AND class = 'debian:12/amd64'");
        assert_eq!(denied.await, 1);

        // The approvers' word lets it go on, once.
        let resumed = Event::Resumed { generation: 1, signers: BTreeSet::from(["ada".to_owned()]) };
        world.act(resumed.clone()).await.unwrap();
        let refused = world.act(resumed).await.unwrap_err();
        assert!(refused.to_string().starts_with("resume is refused"), "{refused}");
        world.round(rest, 3).await;
        assert!(rest.iter().any(|agent| agent.cleared == [2] || agent.cleared == [1]), "{rest:?}");
        world.assert_books_hold().await;
    })
    .await;
}

#[tokio::test]
async fn silence_is_failure_but_not_while_nobody_listened() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        world.begun(&plan(&[2, 2], 1)).await;
        let mut agents = Agent::numbered(0..2);
        world.round(&mut agents[..1], 3).await;
        // Heard within the silence that is borne, the second one waits.
        for _ in 0..14 {
            minute(&mut world, &mut agents[..1]).await;
        }
        assert_eq!(world.status().await.waves[0].lost, 0);
        minute(&mut world, &mut agents[..1]).await;
        minute(&mut world, &mut agents[..1]).await;
        let status = world.status().await;
        assert_eq!((status.waves[0].lost, status.state_text.as_str()), (1, "wave 0, soak"));
        // It lives after all: it is queued again, and the wave is open again.
        world.check_in(&mut agents[1]).await;
        world.swept().await;
        assert_eq!(world.state().await, "wave 0, open");
        assert!(agents[1].report.is_none(), "not granted while the wave had settled");

        // All servers are away for an hour; one that comes back has heard nobody yet.
        world.sweep.rest().await.unwrap();
        world.hands.pass(3_600);
        let mut back = World::new(fresh.store.clone(), &world.hands).await;
        back.plan = world.plan;
        back.sweep = rollouts::Sweep::new(std::sync::Arc::clone(&back.rollouts), back.now());
        back.swept().await;
        back.hands.pass(600);
        back.swept().await;
        assert_eq!(back.status().await.waves[0].lost, 0);
        back.hands.pass(301);
        back.swept().await;
        assert_eq!(back.status().await.waves[0].lost, 1);
    })
    .await;
}

#[tokio::test]
async fn a_host_that_was_cleared_is_never_granted_again() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        world.begun(&plan(&[2, 1], 1)).await;
        let [mut lost, mut other] = Agent::numbered(0..2).try_into().unwrap();
        lost.outcome = Stage::Applying;
        world.check_in(&mut lost).await;
        world.check_in(&mut lost).await;
        assert_eq!(lost.cleared, [1]);
        // Its clearance never arrived; the machine was restored, and asks with another boot.
        let mut restored = Agent { report: None, boot: 2, ..lost.clone() };
        for _ in 0..40 {
            minute(&mut world, std::slice::from_mut(&mut other)).await;
            let checked = world.check_in(&mut restored).await;
            assert_eq!(checked.told, None, "{restored:?}");
        }
        let status = world.status().await;
        assert_eq!((status.waves[0].lost, status.waves[0].inflight), (1, 1), "lost, and it keeps its place");
        // When it speaks at last, it is believed.
        world.check_in(&mut lost).await;
        lost.reports(Stage::Proven);
        world.check_in(&mut lost).await;
        let status = world.status().await;
        assert_eq!((status.waves[0].proven, status.waves[0].inflight), (2, 0));
        world.assert_books_hold().await;
    })
    .await;
}

#[tokio::test]
async fn a_rollback_reaches_everybody_who_went_forward() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        let shape = Shape { waves: vec![1, 3], late_max: 1, ..Shape::default() };
        let joins = host_id(9);
        sqlx::query(
            "INSERT INTO hosts (id, number, name, state, reason, host_group, labels, release, agent, address, machine, \
             enrolled_at, seen_at, revision) VALUES ($1, 1, 'late', 'active', '', $2, '{}', '', '', '', '', 0, 0, 1)",
        )
        .bind(joins.to_string())
        .bind(GROUP)
        .execute(world.app.store.reader())
        .await
        .unwrap();
        // A server that knows the newcomer.
        world = World::new(fresh.store.clone(), &world.hands).await;
        let plan = shape.plan();
        world.begun(&plan).await;
        let mut agents = Agent::numbered(0..3);
        agents.push(Agent::of(joins));
        for _ in 0..8 {
            minute(&mut world, &mut agents).await;
        }
        assert_eq!(world.state().await, "wave 1, open");
        world.round(&mut agents, 3).await;
        assert!(agents.iter().all(|agent| agent.cleared == [1]), "{agents:?}");
        assert_eq!(world.status().await.waves[1].late, 1);

        let listed = world.allow_back(&plan).await;
        let signers = BTreeSet::from(["ada".to_owned()]);
        world.act(Event::BackOrdered { by: "ada".to_owned(), signers }).await.unwrap();
        for agent in &mut agents {
            agent.outcome = Stage::RolledBack;
        }
        let checked = world.check_in(&mut agents[0]).await;
        assert_eq!(checked.told.unwrap().word, Some(listed));
        world.round(&mut agents, 4).await;
        assert!(agents.iter().all(|agent| agent.cleared == [1, 2]), "{agents:?}");
        world.swept().await;
        assert_eq!(world.state().await, "rolled back", "the fourth host had not begun");
        world.assert_books_hold().await;
    })
    .await;
}

#[tokio::test]
async fn what_a_person_stops_is_stopped_in_words() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        let first = plan(&[1, 1], 0);
        world.begun(&first).await;
        let why = Halt::Ordered { by: "ada".to_owned(), why: "it smells".to_owned() };
        world.act(Event::Halted(why)).await.unwrap();
        assert_eq!(world.state().await, "halted in wave 0, open: ada halted it: it smells");
        let refused = world.act(Event::Started).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "start is refused while it is halted in wave 0, open: ada halted it: it smells: it goes on only when its \
             approvers sign that"
        );
        // A plan that takes over ends it, in the transaction that starts it.
        let mut second = plan(&[1, 1], 0);
        second.id = rollout::sim::fleet::plan_id(2);
        second.supersedes = Some(first.id);
        world.begun(&second).await;
        let listed = rollouts::list(&world.app, None).await.unwrap();
        let words: Vec<&str> = listed.iter().map(|listed| listed.state.as_str()).collect();
        assert_eq!(words, ["wave", "superseded"]);
        let missing = rollout::sim::fleet::plan_id(3);
        let refused = rollouts::act(&world.app, missing, Event::Started, &Actor::Server, world.now()).await;
        assert!(matches!(refused, Err(rollouts::Acted::NotFound(_))), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_bulletin_that_is_withdrawn_ends_the_rollout_that_answers_it() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        let plan = Shape { waves: vec![1, 3], ..Shape::default() }.plan();
        world.begun(&plan).await;
        let withdraw = async |id: &str, at: Timestamp| {
            sqlx::query(
                "INSERT INTO advisories (feed, id, from_at, hash, kind, summary, withdrawn, cves, body) \
                 VALUES ('osv', $1, 0, '', 'advisory', 'not a hole', $2, '', $3)",
            )
            .bind(id.to_owned())
            .bind(at.as_microsecond())
            .bind(Vec::<u8>::new())
            .execute(fresh.store.reader())
            .await
            .unwrap();
            let mut writing = fresh.store.begin().await.unwrap();
            events::tell(&mut writing, at, events::Kind::Advisories, "osv", &json!({ "ids": [id] }))
                .await
                .unwrap();
            commit(writing, "tell of a bulletin").await.unwrap();
        };
        withdraw("DSA-9999-1", world.now()).await;
        world.swept().await;
        assert_eq!(world.state().await, "wave 0, open", "another bulletin is none of its");
        world.hands.pass(60);
        withdraw("DSA-0000-1", world.now()).await;
        world.swept().await;
        assert_eq!(world.state().await, "retracted: its vendor withdrew DSA-0000-1 (not a hole)");
        let checked = world.check_in(&mut Agent::numbered(0..1)[0]).await;
        assert_eq!(checked.told, None);
    })
    .await;
}

#[tokio::test]
async fn hosts_whose_turn_comes_later_watch_the_plan_that_others_are_compared_by() {
    on_each_store(async |fresh| {
        let mut world = World::new(fresh.store.clone(), &Hands::begin()).await;
        let mut plan = Shape { waves: vec![1, 3], control: true, ..Shape::default() }.plan();
        world.begun(&plan).await;
        let mut agents = Agent::numbered(0..4);
        for agent in &mut agents[1..] {
            let watch = world.check_in(agent).await.told.unwrap().watch.unwrap();
            assert_eq!((watch.plan, watch.digest), (plan.id, plan.digest()));
        }
        assert_eq!(world.check_in(&mut agents[0]).await.told.unwrap().watch, None, "it is its turn");
        world.act(Event::Aborted { by: "ada".to_owned() }).await.unwrap();
        assert_eq!(world.check_in(&mut agents[1]).await.told, None);
        // Nothing is compared: nobody watches.
        plan = Shape { number: 2, waves: vec![1, 3], ..Shape::default() }.plan();
        world.begun(&plan).await;
        assert_eq!(world.check_in(&mut agents[1]).await.told, None);
    })
    .await;
}
