//! Looks after rollouts under way: leases and deadlines that end, hosts that fall silent, waves that settle, soak and pass
//! their gate. One server does it at a time; another one takes over when it dies.

use super::books::{Books, Wanted, Written};
use super::sealed::Sealed;
use super::{Acted, Rollouts};
use crate::store::audit::Actor;
use crate::store::leases::{self, Lease};
use crate::store::rollouts::jobs::{self, Due};
use crate::store::rollouts::{tally, withdrawn};
use crate::store::{Doing, Error, commit};
use jiff::{SignedDuration, Timestamp};
use rollout::engine::Tally;
use rollout::plan::PlanId;
use rollout::rollout::{Event, Phase, State};
use sqlx::AnyConnection;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// The role's name.
const LEASE: &str = "rollouts.sweep";
/// How long it is kept without being renewed.
const LEASED: SignedDuration = SignedDuration::from_secs(15);
/// Jobs that are looked at in one transaction: some 50 ms.
const JOBS_AT_ONCE: i64 = 500;

/// The sweep of one server.
#[derive(Debug)]
pub struct Sweep {
    rollouts: Arc<Rollouts>,
    holder: String,
    lease: Option<Lease>,
    /// At which change of bulletins a rollout's own were last looked at.
    looked_at: BTreeMap<PlanId, u64>,
    /// Since when this server listens: nobody was heard before, which is not the hosts' silence.
    since: Timestamp,
}

impl Sweep {
    /// Of a server that has begun to listen at `since`.
    pub fn new(rollouts: Arc<Rollouts>, since: Timestamp) -> Self {
        Self { rollouts, holder: Uuid::now_v7().to_string(), lease: None, looked_at: BTreeMap::new(), since }
    }

    /// Looks once; false: another server does it.
    pub async fn step(&mut self, now: Timestamp) -> Result<bool, Error> {
        let store = &self.rollouts.app.store;
        if let Some(lease) = self.lease.take()
            && leases::renew(store, now, &lease, LEASED).await?
        {
            self.lease = Some(lease);
        } else {
            self.lease = leases::acquire(store, now, LEASE, &self.holder, LEASED).await?;
        }
        let Some(lease) = self.lease.clone() else { return Ok(false) };
        let open = self.rollouts.view.sealed();
        self.looked_at.retain(|plan, _| open.iter().any(|sealed| sealed.plan.id == *plan));
        for sealed in open {
            // One that cannot be read must not stop the others.
            if let Err(problem) = self.look_after(&lease, &sealed, now).await {
                tracing::error!(plan = %sealed.plan.id, "sweep a rollout: {problem}");
            }
        }
        Ok(true)
    }

    /// Gives the role up, so that another server need not wait.
    pub async fn rest(&mut self) -> Result<(), Error> {
        match self.lease.take() {
            Some(lease) => leases::release(&self.rollouts.app.store, &lease).await,
            None => Ok(()),
        }
    }

    async fn look_after(&mut self, lease: &Lease, sealed: &Arc<Sealed>, now: Timestamp) -> Result<(), Error> {
        if self.is_retracted(sealed, now).await? {
            return Ok(());
        }
        loop {
            let most = self.jobs_due(lease, sealed, now).await?;
            if !most {
                break;
            }
        }
        self.go_on(lease, sealed, now).await
    }

    /// Retracts a rollout one of whose bulletins was withdrawn; asked only when bulletins have changed.
    async fn is_retracted(&mut self, sealed: &Sealed, now: Timestamp) -> Result<bool, Error> {
        let (app, id) = (&self.rollouts.app, sealed.plan.id);
        let change = self.rollouts.advised.load(Ordering::Relaxed);
        if self.looked_at.get(&id) == Some(&change) {
            return Ok(false);
        }
        if let Some(why) = withdrawn::bulletin(&app.store, &sealed.plan).await? {
            return match super::act(app, id, Event::Retracted { why }, &Actor::Server, now).await {
                Ok(()) => Ok(true),
                // It is over, or not signed yet: nothing is to be stopped so far.
                Err(Acted::Refused(_) | Acted::NotFound(_)) => Ok(false),
                Err(Acted::Store(problem)) => Err(problem),
            };
        }
        self.looked_at.insert(id, change);
        Ok(false)
    }

    /// Looks at jobs whose time is over; whether there may be more.
    async fn jobs_due(&self, lease: &Lease, sealed: &Arc<Sealed>, now: Timestamp) -> Result<bool, Error> {
        // Hosts get two check-ins to tell what happened while nobody listened.
        let check_in = i64::from(self.rollouts.app.config.agents.check_in_seconds);
        if now.duration_since(self.since) < SignedDuration::from_secs(2 * check_in) {
            return Ok(false);
        }
        let store = &self.rollouts.app.store;
        let plan = sealed.plan.id;
        let mut reading = store.reader().acquire().await.doing("sweep a rollout")?;
        let wanted = Wanted::from([(plan, (Arc::clone(sealed), Vec::new()))]);
        let books = Books::look(&mut reading, store.dialect(), wanted, now).await?;
        let Some(book) = books.book(plan) else { return Ok(false) };
        let silence = SignedDuration::from_secs(sealed.plan.timing.silence_seconds.into());
        let heard_since = now.saturating_sub(silence).unwrap_or(Timestamp::MIN);
        let silent = match book.rollout.state {
            State::Wave(at) if at.opened.max(self.since) < heard_since => Some((at.wave, heard_since)),
            State::Wave(_)
            | State::Draft
            | State::Signed { .. }
            | State::Armed
            | State::Paused { .. }
            | State::Halted { .. }
            | State::RollingBack { .. }
            | State::RolledBack
            | State::Complete
            | State::Aborted { .. }
            | State::Superseded { .. }
            | State::Retracted { .. } => None,
        };
        let due = jobs::due(&mut reading, plan, Due { now, silent }, JOBS_AT_ONCE).await?;
        drop(reading);
        if due.is_empty() {
            return Ok(false);
        }
        let mut writing = store.begin().await?;
        if !leases::hold(&mut writing, lease).await? {
            return Ok(false);
        }
        let hosts = due.iter().map(|(host, _)| *host).collect();
        let wanted = Wanted::from([(plan, (Arc::clone(sealed), hosts))]);
        let mut books = Books::open(&mut writing, store.dialect(), wanted, now).await?;
        for (host, heard) in &due {
            let heard = heard.map_or(self.since, |heard| heard.max(self.since));
            books.sweep(plan, *host, Some(heard));
        }
        let changed = self.write(books, writing).await?;
        // Nothing changed: they were heard meanwhile.
        Ok(changed && crate::store::rollouts::wide(due.len()) == JOBS_AT_ONCE)
    }

    /// Lets a rollout go on, if what is known allows it.
    async fn go_on(&self, lease: &Lease, sealed: &Arc<Sealed>, now: Timestamp) -> Result<(), Error> {
        let store = &self.rollouts.app.store;
        let plan = sealed.plan.id;
        let wanted = || Wanted::from([(plan, (Arc::clone(sealed), Vec::new()))]);
        // Looked at first: most of the time it waits, and nothing is to be written.
        let mut reading = store.reader().acquire().await.doing("sweep a rollout")?;
        let mut books = Books::look(&mut reading, store.dialect(), wanted(), now).await?;
        advance(&mut books, &mut reading, sealed, now).await?;
        drop(reading);
        if !books.book(plan).is_some_and(super::books::Book::is_turned) {
            return Ok(());
        }
        let mut writing = store.begin().await?;
        if !leases::hold(&mut writing, lease).await? {
            return Ok(());
        }
        let mut books = Books::open(&mut writing, store.dialect(), wanted(), now).await?;
        advance(&mut books, &mut writing, sealed, now).await?;
        self.write(books, writing).await?;
        Ok(())
    }

    async fn write(&self, books: Books, mut writing: crate::store::Writing) -> Result<bool, Error> {
        match books.write(&mut writing, &Actor::Server).await? {
            Written::Done { changed: false } => Ok(false),
            Written::Done { changed: true } => {
                commit(writing, "sweep a rollout").await?;
                for (plan, book) in books.each() {
                    self.rollouts.view.learn(plan, book, true);
                }
                self.rollouts.app.told.notify_waiters();
                Ok(true)
            }
            // The next time is the retry.
            Written::Raced { what } => {
                tracing::debug!("{what} was taken by another server");
                Ok(false)
            }
        }
    }
}

/// Counts what the rollout's state asks for, and lets it go on.
async fn advance(
    books: &mut Books,
    reading: &mut AnyConnection,
    sealed: &Sealed,
    now: Timestamp,
) -> Result<(), Error> {
    let plan = sealed.plan.id;
    let Some(samples) = books.book(plan).map(|book| book.before.samples) else { return Ok(()) };
    let Some(mut desk) = books.desk(plan) else { return Ok(()) };
    let tally = match &desk.rollout.state {
        State::Wave(at) => match at.phase {
            Phase::Open | Phase::Soak { .. } => {
                let (open, queued) = tally::open(reading, plan, at.wave).await?;
                Tally { open, queued, ..Tally::default() }
            }
            Phase::Gate { .. } => {
                tally::whole(reading, plan, at.wave, desk.evidence_from(now), samples).await?
            }
        },
        State::RollingBack { .. } => Tally { back: tally::back(reading, plan).await?, ..Tally::default() },
        State::Draft
        | State::Signed { .. }
        | State::Armed
        | State::Paused { .. }
        | State::Halted { .. }
        | State::RolledBack
        | State::Complete
        | State::Aborted { .. }
        | State::Superseded { .. }
        | State::Retracted { .. } => Tally::default(),
    };
    desk.advance(&tally, now);
    Ok(())
}
