//! What people and approvers do to a rollout. Each act is one transaction: the lock, the engine's step, the audit entry, the
//! event.

use super::books::{Books, Written};
use super::sealed::Sealed;
use crate::App;
use crate::store::audit::Actor;
use crate::store::rollouts::{self, jobs};
use crate::store::{Error, Writing, commit};
use jiff::Timestamp;
use rollout::job::{Count, Outcome};
use rollout::plan::{HostId, Plan, PlanId};
use rollout::rollout::{Event, Refused, Rollout, State};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why an act was not done.
#[derive(Debug, thiserror::Error)]
pub enum Acted {
    /// There is no such rollout, or the host has no job in it.
    #[error("{0}")]
    NotFound(String),
    /// It does not fit where things stand, in the engine's words.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Begins the books of a plan, in the transaction that makes the plan: a draft that needs `threshold` approvers.
pub async fn create(
    writing: &mut Writing,
    plan: &Plan,
    threshold: usize,
    now: Timestamp,
) -> Result<(), Error> {
    rollouts::insert(writing, plan, &Rollout::draft(threshold, plan.waves.len()), now).await
}

/// Does what a person or approvers ask of a rollout.
pub async fn act(app: &App, plan: PlanId, event: Event, actor: &Actor, now: Timestamp) -> Result<(), Acted> {
    let sealed = load(app, plan).await?;
    let replaced = match (&event, sealed.plan.supersedes) {
        (Event::Started, Some(other)) => Sealed::load(&app.store, other).await?.map(Arc::new),
        _ => None,
    };
    let mut writing = app.store.begin().await?;
    let wanted = [Some(&sealed), replaced.as_ref()].into_iter().flatten();
    let wanted: BTreeMap<_, _> =
        wanted.map(|sealed| (sealed.plan.id, (Arc::clone(sealed), Vec::new()))).collect();
    let mut books = Books::open(&mut writing, app.store.dialect(), wanted, now).await?;
    let begins = books.desk(plan).is_some_and(|desk| desk.rollout.state == State::Armed);
    let mut desk = books.desk(plan).ok_or_else(|| unknown(plan))?;
    desk.order_of(event, now)?;
    if begins && matches!(desk.rollout.state, State::Wave(_)) {
        jobs::queue(&mut writing, app.store.dialect(), &sealed.plan, now).await?;
        if let Some(mut old) = sealed.plan.supersedes.and_then(|other| books.desk(other))
            && !old.rollout.is_over()
        {
            old.order_of(Event::Superseded { by: plan }, now)?;
        }
    }
    written(app, books, writing, actor).await
}

/// A person has looked at a host and frees the places that it holds.
pub async fn free(app: &App, plan: PlanId, host: HostId, actor: &Actor, now: Timestamp) -> Result<(), Acted> {
    let sealed = load(app, plan).await?;
    let mut writing = app.store.begin().await?;
    let wanted = BTreeMap::from([(plan, (sealed, vec![host]))]);
    let mut books = Books::open(&mut writing, app.store.dialect(), wanted, now).await?;
    let missing = || Acted::NotFound(format!("free host {host}: it has no job in rollout {plan}"));
    let job = *books.book(plan).and_then(|book| book.jobs.get(&host)).ok_or_else(missing)?;
    if books.free(plan, host).ok_or_else(missing)? != Outcome::Changed {
        let reason = if job.state.count() == Count::Open {
            "it is still under change; it is free when it reports, or lost at its deadline"
        } else {
            "it holds no place"
        };
        return Err(Refused { state: job.state.to_string(), event: "freeing a host", reason }.into());
    }
    written(app, books, writing, actor).await
}

async fn load(app: &App, plan: PlanId) -> Result<Arc<Sealed>, Acted> {
    Ok(Arc::new(Sealed::load(&app.store, plan).await?.ok_or_else(|| unknown(plan))?))
}

fn unknown(plan: PlanId) -> Acted {
    Acted::NotFound(format!("find rollout {plan}: there is none"))
}

async fn written(app: &App, books: Books, mut writing: Writing, actor: &Actor) -> Result<(), Acted> {
    match books.write(&mut writing, actor).await? {
        Written::Done { .. } => {
            commit(writing, "change a rollout").await?;
            app.told.notify_waiters();
            Ok(())
        }
        // Cannot be: an act takes no places.
        Written::Raced { what } => {
            Err(Error::Damaged { object: "the books of a rollout".to_owned(), reason: what }.into())
        }
    }
}
