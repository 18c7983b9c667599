//! Answers check-ins that may change something: as many as wait, in one transaction. While it is committed the next ones
//! gather, so that the batch grows with the load and a lone host waits for nobody.

use super::Rollouts;
use super::books::{Books, Wanted, Written};
use crate::store::audit::Actor;
use crate::store::{Error, commit};
use rollout::order::{Answer, CheckIn};
use rollout::plan::HostId;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Check-ins in one transaction: some 20 ms of the database's time.
const BATCH_MAX: usize = 256;
/// Check-ins that may wait: as many as the agents' door has connections.
pub(super) const WAITING_MAX: usize = 4_096;

/// A check-in that waits for its answer.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) host: HostId,
    pub(super) group: String,
    pub(super) said: CheckIn,
    pub(super) reply: oneshot::Sender<Option<Answer>>,
}

/// Check-ins on their way to the desk.
#[derive(Debug)]
pub struct Asks(pub(super) mpsc::Receiver<Ask>);

/// Answers check-ins until `stop`.
pub(super) async fn run(rollouts: Arc<Rollouts>, mut asks: Asks, stop: CancellationToken) {
    loop {
        let first = tokio::select! {
            () = stop.cancelled() => return,
            ask = asks.0.recv() => ask,
        };
        let Some(first) = first else { return };
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = asks.0.try_recv()
        {
            batch.push(next);
        }
        rollouts.answer(batch).await;
    }
}

impl Rollouts {
    async fn answer(&self, batch: Vec<Ask>) {
        match self.answer_together(&batch).await {
            Ok(Some(answers)) => {
                for (ask, answer) in batch.into_iter().zip(answers) {
                    // Who does not wait any more asks again.
                    let _ = ask.reply.send(Some(answer));
                }
            }
            Ok(None) => {
                for ask in batch {
                    let answer = match self.answer_together(std::slice::from_ref(&ask)).await {
                        Ok(answers) => answers.and_then(|answers| answers.into_iter().next()),
                        Err(problem) => unanswered(&problem),
                    };
                    let _ = ask.reply.send(answer);
                }
            }
            Err(problem) => {
                unanswered(&problem);
                for ask in batch {
                    let _ = ask.reply.send(None);
                }
            }
        }
    }

    /// One transaction for these check-ins; `None`: another server took what was granted here, nothing was done.
    async fn answer_together(&self, batch: &[Ask]) -> Result<Option<Vec<Answer>>, Error> {
        let now = self.now();
        let store = &self.app.store;
        let mut wanted = Wanted::new();
        for ask in batch {
            self.view.want(ask.host, &ask.group, &mut wanted);
        }
        let mut writing = store.begin().await?;
        let mut books = Books::open(&mut writing, store.dialect(), wanted, now).await?;
        let answers: Vec<Answer> =
            batch.iter().map(|ask| books.check_in(ask.host, &ask.group, &ask.said)).collect();
        let changed = match books.write(&mut writing, &Actor::Server).await? {
            Written::Done { changed } => changed,
            Written::Raced { what } => {
                tracing::debug!("{what} was taken by another server");
                self.counters.raced.fetch_add(1, Ordering::Relaxed);
                return Ok(None);
            }
        };
        // Committed in the store before anybody is told. Where nothing changed there is nothing to wait for.
        if changed {
            commit(writing, "answer check-ins").await?;
        } else {
            drop(writing);
        }
        let mut turned = false;
        for (plan, book) in books.each() {
            turned |= book.is_turned();
            self.view.learn(plan, book, changed);
        }
        if turned {
            self.app.told.notify_waiters();
        }
        let add = |counter: &std::sync::atomic::AtomicU64, number: u64| {
            counter.fetch_add(number, Ordering::Relaxed)
        };
        add(&self.counters.batches, 1);
        add(&self.counters.asked, batch.len() as u64);
        add(&self.counters.grants, books.grants);
        add(
            &self.counters.clearances,
            answers.iter().filter(|answer| answer.clearance.is_some()).count() as u64,
        );
        add(
            &self.counters.withdrawals,
            answers.iter().filter(|answer| answer.withdraw.is_some()).count() as u64,
        );
        Ok(Some(answers))
    }
}

fn unanswered(problem: &Error) -> Option<Answer> {
    tracing::error!("answer check-ins: {problem}");
    None
}
