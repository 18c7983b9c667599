//! What is kept only for a while is thrown away: events, sessions, stored answers, old inventories and reports, and an
//! authority that another one follows.

use super::Failed;
use crate::app::App;
use crate::census;
use crate::identity::{self, Authority};
use crate::store::rollouts::reports;
use crate::store::{Doing, Error, Store, commit, inventories};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How often.
const EVERY: Duration = Duration::from_secs(600);
/// How long events are kept: as long as a replica or a watcher may be away.
const EVENTS_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long inventories that are past are kept, and reports about rollouts that are over: a year, and a month for whoever looks
/// back a year.
const HISTORY_KEPT: SignedDuration = SignedDuration::from_hours((365 + 31) * 24);

pub(super) async fn run(
    app: Arc<App>,
    authority: Arc<Authority>,
    stop: CancellationToken,
) -> Result<(), Failed> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(EVERY) => {}
        }
        // The next time is the retry.
        let now = Timestamp::now();
        if let Err(problem) = sweep(&app.store, now).await {
            tracing::warn!("{problem}");
        }
        if let Err(problem) = census::prune(&app, now).await {
            tracing::warn!("{problem}");
        }
        if let Err(problem) = retire(&app, &authority, now).await {
            tracing::error!("{problem}");
        }
    }
}

/// Lets the next authority take over when it is time. Whatever is to be followed and could not be is followed now.
async fn retire(app: &App, authority: &Authority, now: Timestamp) -> Result<(), identity::Error> {
    if Authority::retire_if_due(&app.store, now).await? {
        tracing::info!("the fleet's authority is retired; the next one has taken over");
        app.told.notify_waiters();
    }
    authority.reload(&app.store).await
}

async fn sweep(store: &Store, now: Timestamp) -> Result<(), Error> {
    let before = |kept: SignedDuration| now.saturating_sub(kept).unwrap_or(Timestamp::MIN).as_microsecond();
    let mut writing = store.begin().await?;
    for (statement, limit) in [
        ("DELETE FROM events WHERE at < $1", before(EVENTS_KEPT)),
        ("DELETE FROM sessions WHERE expires_at < $1", now.as_microsecond()),
        ("DELETE FROM logins WHERE expires_at < $1", now.as_microsecond()),
        ("DELETE FROM idempotency WHERE expires_at < $1", now.as_microsecond()),
    ] {
        sqlx::query(statement).bind(limit).execute(&mut *writing).await.doing("sweep what is past")?;
    }
    commit(writing, "sweep what is past").await?;
    inventories::prune(store, now, HISTORY_KEPT).await?;
    reports::prune(store, now, HISTORY_KEPT).await?;
    Ok(())
}
