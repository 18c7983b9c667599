//! What people do with a plan once it is made: propose it, drop it, and have approvers say that it goes on or back.

use super::{Error, Planning};
use crate::signing::{Change, Listed};
use crate::store::audit::{self, Actor};
use crate::store::events::{self, Kind};
use crate::store::plans::{self, Plan as Row, State};
use crate::store::proposals::{self, Proposal};
use crate::store::{self, commit, words};
use jiff::Timestamp;
use rollout::plan::{Digest, Plan, PlanId, Rollback};
use rollout::word::{FORMAT, Says, Word};
use serde_json::json;
use uuid::Uuid;

impl Planning {
    /// Proposes a plan that is ready; gives the open proposal if there is one.
    pub async fn propose(&self, row: &Row, actor: &Actor, now: Timestamp) -> Result<Proposal, Error> {
        if let Some(open) = self.open_about(&row.id).await? {
            return Ok(open);
        }
        let refused =
            |reason: &str| Err(Error::Conflict(format!("propose plan {} ({}): {reason}", row.id, row.title)));
        match row.state {
            State::Ready => {}
            State::Rehearsing => {
                return refused("hosts are still asked what it would do; wait until it is ready");
            }
            State::Blocked => {
                return refused("something stands in its way; see its blocks, and ask for another");
            }
            State::InForce => return refused("it is in force; start its rollout"),
            State::Withdrawn => return refused("it is withdrawn; ask for another"),
        }
        let bytes = plans::body(&self.app.store, &row.id).await?.unwrap_or_default();
        let Some(listed) = Listed::plan(plan_id(row)?, &bytes) else {
            return refused("it is too long for a host; ask for several, by selector");
        };
        Ok(self.signing.propose(&Change::Plan(listed), &row.title, actor, now).await?)
    }

    /// Drops a plan that is not in force; for one that is, gives the proposal to withdraw it. `who`: for people.
    pub async fn drop_plan(
        &self,
        row: &Row,
        who: &str,
        reason: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Option<Proposal>, Error> {
        let open = self.open_about(&row.id).await?;
        if row.state == State::InForce {
            if open.is_some() {
                return Ok(open);
            }
            let reason = if reason.is_empty() { who.to_owned() } else { format!("{who}: {reason}") };
            let change = Change::Withdraw { plan: plan_id(row)?.0, reason };
            let title = format!("Withdraw: {}", row.title);
            return Ok(Some(self.signing.propose(&change, &title, actor, now).await?));
        }
        let mut writing = self.app.store.begin().await?;
        let before = [State::Rehearsing, State::Blocked, State::Ready];
        if !plans::advance(&mut writing, &row.id, &before, State::Withdrawn).await? {
            let reason = "it is withdrawn already, or came into force just now; look again";
            return Err(Error::Conflict(format!("drop plan {} ({}): {reason}", row.id, row.title)));
        }
        if let Some(open) = open {
            proposals::withdraw(&mut writing, now, &open.id, "its plan was dropped").await?;
        }
        let detail = json!({ "title": row.title, "reason": reason });
        audit::record(&mut writing, now, actor, "plan.drop", &row.id, detail).await?;
        let told = json!({ "state": "withdrawn", "rehearsals": true });
        events::tell(&mut writing, now, Kind::Plan, &row.id, &told).await?;
        commit(writing, "drop a plan").await?;
        Ok(None)
    }

    /// Proposes what approvers are to say about a plan that is in force; gives the open proposal of the same if there is one.
    pub async fn propose_word(
        &self,
        row: &Row,
        says: Says,
        reason: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Proposal, Error> {
        let plan = plan_id(row)?;
        let digest = Digest::try_from(row.digest.clone())
            .ok()
            .filter(|digest| self.signing.is_in_force(plan, *digest));
        let Some(digest) = digest else {
            let reason = "it is not in the list that hosts read, so they would not believe a word about it";
            return Err(Error::Conflict(format!("speak about plan {} ({}): {reason}", row.id, row.title)));
        };
        if says == Says::Back && self.has_no_way_back(&row.id).await? {
            let reason =
                "it was made without a way back: hosts kept no old versions; plan the old versions as a fix";
            return Err(Error::Conflict(format!("roll plan {} ({}) back: {reason}", row.id, row.title)));
        }
        for (proposal, word) in words::proposed(&self.app.store, plan).await? {
            if word.says == says
                && let Some(open) = proposals::get(&self.app.store, &proposal).await?
            {
                return Ok(open);
            }
        }
        let word = Word {
            format: FORMAT,
            id: Uuid::now_v7(),
            plan,
            digest,
            says,
            created: now,
            reason: reason.to_owned(),
        };
        let too_long = || Error::Conflict("propose a word: it is too long".to_owned());
        let change = Change::Word(Listed::word(&word).ok_or_else(too_long)?);
        let title = match says {
            Says::Resume { .. } => format!("Go on: {} ({reason})", row.title),
            Says::Back => format!("Go back: {} ({reason})", row.title),
        };
        let mut writing = self.app.store.begin().await?;
        words::insert(&mut writing, &word).await?;
        let proposal =
            self.signing.propose_in(&mut writing, &change, Some(&word), (&title, actor), now).await?;
        commit(writing, "propose a word").await?;
        Ok(proposal)
    }

    async fn has_no_way_back(&self, id: &str) -> Result<bool, Error> {
        let Some(body) = plans::body(&self.app.store, id).await? else { return Ok(false) };
        let read = Plan::read(&body);
        let damaged = |problem: advisory::Problem| store::Error::Damaged {
            object: format!("plan {id}"),
            reason: problem.to_string(),
        };
        Ok(read.map_err(damaged)?.rollback == Rollback::Never)
    }

    async fn open_about(&self, id: &str) -> Result<Option<Proposal>, Error> {
        let Some(open) = self.signing.open_about(id).await? else { return Ok(None) };
        Ok(proposals::get(&self.app.store, &open.id).await?)
    }
}

fn plan_id(row: &Row) -> Result<PlanId, store::Error> {
    let id = Uuid::parse_str(&row.id).map_err(|problem| store::Error::Damaged {
        object: format!("plan {}", row.id),
        reason: problem.to_string(),
    })?;
    Ok(PlanId(id))
}
