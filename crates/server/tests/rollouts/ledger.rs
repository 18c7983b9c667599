//! The store's books against the engine's: the same random grants, outcomes, openings and shuttings on both.

use crate::store_for_tests::on_each_store;
use crate::world::{Hands, World, keep};
use rollout::capacity::Holder;
use rollout::grant::{Ask, Door, Ledger, Refusal, Row};
use rollout::job::{Job, State};
use rollout::plan::Plan;
use rollout::sim::fleet::Shape;
use rollout::sim::ledger::exercise;
use server::store::rollouts::waves::{self, Granted};
use server::store::rollouts::{lock, services};
use server::store::{Error, Store, Writing, commit};
use std::future::Future;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

/// Each call is one transaction that makes up its mind by the statements alone.
struct InStore<'a> {
    store: &'a Store,
    plan: &'a Plan,
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    block_in_place(|| Handle::current().block_on(work))
}

impl InStore<'_> {
    async fn begin(&self) -> Result<Writing, Error> {
        let mut writing = self.store.begin().await?;
        lock(&mut writing, self.plan.id).await?.unwrap();
        Ok(writing)
    }

    /// Takes or gives back a host's places; false: one has no room.
    async fn place(&self, writing: &mut Writing, ask: &Ask<'_>, takes: bool) -> Result<bool, Error> {
        let environment = &self.plan.environment;
        for name in ask.groups {
            let groups = services::read(writing, self.store.dialect(), environment, &[name]).await?;
            let before = groups[name].clone();
            let mut after = before.clone();
            if takes {
                after.holders.insert(ask.host, Holder { since: ask.now, state: State::Offered });
            } else {
                after.holders.remove(&ask.host);
            }
            if !services::write(writing, environment, name, &before, &after, |_| self.plan.id).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Ledger for InStore<'_> {
    type Error = Error;

    fn grant(&mut self, ask: &Ask<'_>) -> Result<Result<(), Refusal>, Error> {
        wait(async {
            let mut writing = self.begin().await?;
            // What the row holds is the statement's to know; it is told the epoch only.
            let blank = waves::read(&mut writing, self.plan.id).await?[ask.wave];
            let before = Row { epoch: ask.epoch, inflight: 0, ..blank };
            let after = Row {
                inflight: 1,
                door: if ask.epoch == blank.epoch { blank.door } else { Door::Open },
                ..before
            };
            let granted = Granted::one(ask.direction);
            if !waves::write(&mut writing, self.plan.id, ask.wave, &before, &after, granted).await?
                || !self.place(&mut writing, ask, true).await?
            {
                return Ok(Err(Refusal::Shut));
            }
            commit(writing, "grant").await?;
            Ok(Ok(()))
        })
    }

    fn settle(&mut self, ask: &Ask<'_>, before: &Job, after: &Job) -> Result<(), Error> {
        wait(async {
            let mut writing = self.begin().await?;
            let row = waves::read(&mut writing, self.plan.id).await?[ask.wave];
            let settled = row.settle(before, after);
            let none = Granted::default();
            assert!(waves::write(&mut writing, self.plan.id, ask.wave, &row, &settled, none).await?);
            if before.charged && !after.charged {
                assert!(self.place(&mut writing, ask, false).await?);
            }
            commit(writing, "settle").await
        })
    }

    fn turn(&mut self, wave: usize, door: Door) -> Result<(), Error> {
        wait(async {
            let mut writing = self.begin().await?;
            let row = waves::read(&mut writing, self.plan.id).await?[wave];
            let turned = row.turn(door);
            assert!(waves::write(&mut writing, self.plan.id, wave, &row, &turned, Granted::default()).await?);
            commit(writing, "turn").await
        })
    }

    fn row(&mut self, wave: usize) -> Result<Row, Error> {
        wait(async {
            let mut reading = self.store.begin().await?;
            Ok(waves::read(&mut reading, self.plan.id).await?[wave])
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_grants_exactly_what_the_model_grants() {
    on_each_store(async |fresh| {
        let hands = Hands::begin();
        for seed in 0..4_u32 {
            let shape = Shape {
                number: seed + 1,
                waves: vec![3, 9],
                bad_max: seed,
                hosts_at_once_max: 4,
                away_max: vec![1, 2],
                ..Shape::default()
            };
            // Service groups are the environment's: each plan has one of its own here.
            let plan = Plan { environment: format!("environment {seed}"), ..shape.plan() };
            keep(&fresh.store, &plan, hands.now()).await;
            let mut ledger = InStore { store: &fresh.store, plan: &plan };
            exercise(&mut ledger, &plan, seed.into(), 400).unwrap();
        }
        let world = World::new(fresh.store.clone(), &hands).await;
        let text =
            "SELECT CAST((SELECT SUM(away) FROM services) - (SELECT COUNT(*) FROM service_places) AS BIGINT)";
        assert_eq!(world.count(text).await, 0);
    })
    .await;
}
