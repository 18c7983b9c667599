//! What was published, for rollouts: plans are armed, go on, go back or are retracted. A publishing and what follows from it
//! are two transactions; whatever broke off in between is found by its mark and done then.

use super::publish::SignedBy;
use super::{Change, Error, Signing};
use crate::App;
use crate::rollouts::{self, Acted};
use crate::store::audit::Actor;
use crate::store::proposals::{self, Proposal, ProposalFilter};
use crate::store::{self, commit, words};
use jiff::{SignedDuration, Timestamp};
use rollout::plan::PlanId;
use rollout::rollout::Event;
use rollout::word::{Says, Word};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use trust::proposal::Document;
use uuid::Uuid;

/// How often it is looked whether something must be signed anew: timestamps are, when three of their six hours are over.
const TICK: Duration = Duration::from_secs(600);
/// How often people are told in the log of what expires.
const WARN_EVERY: SignedDuration = SignedDuration::from_hours(24);
/// An open proposal is made again after so long: its list would expire early otherwise, 30 days after it was made.
const PROPOSAL_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Keeps the trust fresh, and finishes what broke off, until it is stopped.
pub async fn run(app: Arc<App>, signing: Arc<Signing>, stop: CancellationToken) {
    let mut warned = Timestamp::MIN;
    loop {
        let now = Timestamp::now();
        if let Err(problem) = signing.tick(&app, now).await {
            // The next tick is the retry.
            tracing::warn!("{problem}");
        }
        if now.duration_since(warned) >= WARN_EVERY {
            for alarm in signing.alarms(now) {
                warned = now;
                tracing::warn!("{alarm}");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

impl Signing {
    /// One round: sign anew what is due, publish what is complete, do what follows from what was published, make old
    /// proposals again.
    pub async fn tick(&self, app: &App, now: Timestamp) -> Result<(), Error> {
        self.refresh(now).await?;
        let filter = ProposalFilter { state: Some("open".to_owned()), ..ProposalFilter::default() };
        for listed in proposals::list(&self.store, &filter, super::propose::OPEN_MAX).await? {
            let Some(row) = proposals::get(&self.store, &listed.id).await? else { continue };
            let standing = self.standing();
            let proposal = trust::proposal::Proposal::read(&row.body)?;
            if proposal.is_complete(standing.as_ref()) {
                self.publish(&row.id, &Actor::Server, now).await?;
            } else if now.duration_since(row.made_at) > PROPOSAL_KEPT {
                let mut writing = self.store.begin().await?;
                let why = "it had waited for a week, and its list would expire early";
                self.remake(&mut writing, &row, standing.as_ref(), why, now).await?;
                commit(writing, "make a proposal again").await?;
                self.told.notify_waiters();
            }
        }
        self.settle(app, now).await
    }

    /// Does what follows from what was published. May be repeated, also by several servers at once.
    pub async fn settle(&self, app: &App, now: Timestamp) -> Result<(), Error> {
        let filter = ProposalFilter {
            state: Some("published".to_owned()),
            acted: Some(false),
            ..ProposalFilter::default()
        };
        let mut published = proposals::list(&self.store, &filter, super::propose::OPEN_MAX).await?;
        published.sort_by_key(|row| (row.ended_at, row.id.clone()));
        for row in published {
            for (plan, event) in self.events(&row).await? {
                match rollouts::act(app, plan, event, &Actor::Server, now).await {
                    Ok(()) => {}
                    // It was done before, or the rollout has gone where this means nothing any more.
                    Err(problem @ (Acted::Refused(_) | Acted::NotFound(_))) => {
                        tracing::info!(plan = %plan, proposal = row.id, "{problem}");
                    }
                    Err(Acted::Store(problem)) => return Err(problem.into()),
                }
            }
            let mut writing = self.store.begin().await?;
            proposals::acted(&mut writing, &row.id).await?;
            commit(writing, "note that a rollout knows of a proposal").await?;
        }
        Ok(())
    }

    /// What a published proposal means for a rollout.
    async fn events(&self, row: &Proposal) -> Result<Vec<(PlanId, Event)>, Error> {
        let damaged =
            |reason: String| store::Error::Damaged { object: format!("proposal {}", row.id), reason };
        let signed: Vec<SignedBy> =
            serde_json::from_str(&row.signed).map_err(|problem| damaged(problem.to_string()))?;
        let change: Change =
            serde_json::from_str(&row.asked).map_err(|problem| damaged(problem.to_string()))?;
        let signers: BTreeSet<String> = signed
            .into_iter()
            .filter(|by| by.document == Document::Plans)
            .flat_map(|by| by.keys.into_iter().map(|(id, _)| id))
            .collect();
        let id = || Uuid::parse_str(&row.object).map_err(|problem| damaged(problem.to_string()));
        Ok(match change {
            Change::Plan(_) => {
                let plan = PlanId(id()?);
                signers.into_iter().map(|signer| (plan, Event::Signed { signer })).collect()
            }
            Change::Word(_) => {
                let word = words::body(&self.store, &row.object).await?;
                let word = word.ok_or_else(|| damaged("its word is gone".to_owned()))?;
                let word = Word::read(&word).map_err(|problem| damaged(problem.to_string()))?;
                let event = match word.says {
                    Says::Resume { generation } => Event::Resumed { generation, signers },
                    Says::Back => Event::BackOrdered { by: row.created_by.clone(), signers },
                };
                vec![(word.plan, event)]
            }
            Change::Withdraw { plan, reason } => vec![(PlanId(plan), Event::Retracted { why: reason })],
            Change::Found { .. }
            | Change::Rotate { .. }
            | Change::Revoke(_)
            | Change::Approvers(_)
            | Change::Owners(_)
            | Change::People(_)
            | Change::Renew
            | Change::Online(_) => Vec::new(),
        })
    }
}
