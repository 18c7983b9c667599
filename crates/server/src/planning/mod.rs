//! From what an operator asks for to a plan that approvers can sign.
//!
//! The walk: `asked` is the request with its defaults; `select` finds hosts that need it, and what they have; `classes` decides
//! what to ask which host, or that all is known; `replay` says what is sent to patched services; `build` makes the plan. A step reads everything, decides, and writes; it is
//! repeated whenever a host has answered, and by the clock, so that whatever breaks off is taken up again.

pub mod asked;
pub mod build;
pub mod classes;
pub mod replay;
mod propose;
mod select;
mod step;

pub use asked::Asked;
pub use build::LeftOut;
pub use step::{Kept, run};

use crate::App;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::hosts::clean;
use crate::signing::{self, Signing};
use crate::store::audit::{self, Actor};
use crate::store::events::{self, Event, Kind};
use crate::store::{self, commit, rehearsals};
use jiff::{SignedDuration, Timestamp};
use rollout::plan::{CHANGES_MAX, TEXT_MAX};
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use wire::v1::{Rehearse, Rehearsed};

/// A host that has not answered after so many check-ins is silent, and another one of its class is asked.
const SILENT_CHECK_INS: i64 = 10;
/// But not before so long: a dry run reads package lists, fetches files for their digests, and other programs may hold the lock.
const SILENT_LEAST: SignedDuration = SignedDuration::from_mins(10);
/// Lines of one kind in an answer that are kept.
const LINES_MAX: usize = 100;

/// Why a plan was not asked for, or proposed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The trust.
    #[error(transparent)]
    Signing(#[from] signing::Error),
    /// What was asked for has faults: all of them.
    #[error("{}", .0.join("; "))]
    Faulty(Vec<String>),
    /// It cannot be done as things are.
    #[error("{0}")]
    Conflict(String),
    /// No chance to be had.
    #[error(transparent)]
    Chance(#[from] crate::people::secrets::NoRandomness),
}

/// Makes plans. Shared; locks by itself.
#[derive(Debug)]
pub struct Planning {
    app: Arc<App>,
    fleet: Arc<Fleet>,
    signing: Arc<Signing>,
    /// What each host is to be asked, by its id.
    due: RwLock<HashMap<String, Rehearse>>,
}

/// After how long a host that was asked is silent.
pub fn silent_after(config: &Config) -> SignedDuration {
    SignedDuration::from_secs(i64::from(config.agents.check_in_seconds) * SILENT_CHECK_INS).max(SILENT_LEAST)
}

impl Planning {
    /// Reads which hosts are to be asked.
    pub async fn open(
        app: &Arc<App>,
        fleet: Arc<Fleet>,
        signing: Arc<Signing>,
    ) -> Result<Arc<Self>, store::Error> {
        let planning = Self { app: Arc::clone(app), fleet, signing, due: RwLock::default() };
        planning.reload().await?;
        Ok(Arc::new(planning))
    }

    /// The fleet that is planned for.
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// What approvers have signed.
    pub fn signing(&self) -> &Arc<Signing> {
        &self.signing
    }

    /// What a host that checks in is to be asked. Touches nothing but memory.
    pub fn due(&self, host: &str) -> Option<Rehearse> {
        self.due.read().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }

    /// Follows what this server or another one asked.
    pub async fn follow(&self, event: &Event) -> Result<(), store::Error> {
        if event.kind == Kind::Plan && event.detail["rehearsals"] == true {
            self.reload().await?;
        }
        Ok(())
    }

    /// A host says what a change would do to it; whether anybody still wanted to know. The plan goes on with it.
    pub async fn answered(&self, host: &str, found: &Rehearsed, now: Timestamp) -> Result<bool, Error> {
        let found = bounded(found);
        let mut writing = self.app.store.begin().await?;
        let Some(plan) = rehearsals::answer(&mut writing, now, host, &found).await? else { return Ok(false) };
        let detail = json!({
            "plan": plan, "rehearsal": found.id, "changes": found.changes.len(), "blocks": found.blocks,
        });
        audit::record(&mut writing, now, &Actor::Host(host.to_owned()), "plan.rehearse", &plan, detail)
            .await?;
        events::tell(&mut writing, now, Kind::Plan, &plan, &json!({ "rehearsals": true })).await?;
        commit(writing, "store a rehearsal's answer").await?;
        self.reload().await?;
        self.app.told.notify_waiters();
        // What goes wrong from here on is not the host's business: the clock takes the plan up again.
        if let Err(problem) = self.advance(&plan, now).await {
            tracing::warn!(plan, "{problem}");
        }
        Ok(true)
    }

    async fn reload(&self) -> Result<(), store::Error> {
        let mut due = HashMap::new();
        for one in rehearsals::open(&self.app.store).await? {
            // The oldest first; the next one when that is answered.
            due.entry(one.host).or_insert(Rehearse { id: one.id, sources: one.sources });
        }
        *self.due.write().unwrap_or_else(PoisonError::into_inner) = due;
        Ok(())
    }
}

/// An answer that fits into a plan and onto a page: a host may say anything.
fn bounded(found: &Rehearsed) -> Rehearsed {
    let lines = |lines: &[String]| -> Vec<String> {
        let mut kept: Vec<String> = lines.iter().take(LINES_MAX).map(|line| clean(line, TEXT_MAX)).collect();
        if lines.len() > LINES_MAX {
            kept.push(format!("… and {} more", lines.len() - LINES_MAX));
        }
        kept
    };
    let mut blocks = lines(&found.blocks);
    if found.changes.len() > CHANGES_MAX {
        blocks.push(format!(
            "{} packages would change; a plan changes at most {CHANGES_MAX}",
            found.changes.len()
        ));
    }
    Rehearsed {
        id: found.id,
        changes: found.changes.iter().take(CHANGES_MAX).cloned().collect(),
        blocks,
        restarts: lines(&found.restarts),
        reboot: found.reboot.as_deref().map(|reason| clean(reason, TEXT_MAX)),
        download_bytes: found.download_bytes,
    }
}
