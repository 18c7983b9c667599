//! Proposals are made, made again on what stands by then, and withdrawn.

use super::{Change, Error, Signing, differences};
use crate::store::audit::{self, Actor};
use crate::store::events::{self, Kind};
use crate::store::proposals::{self, Made, Proposal, ProposalFilter};
use crate::store::{self, Doing, Store, Writing, commit, words};
use jiff::{SignedDuration, Timestamp};
use rollout::word::{Says, Word};
use serde_json::json;
use sqlx::Row;
use trust::PlanName;
use trust::standing::Standing;
use uuid::Uuid;

/// Open proposals that are looked at; more than a person could read.
pub(super) const OPEN_MAX: i64 = 1_000;
/// A plan that is over stays in the list so long: until then its approvers can order it back, and late hosts can tell that it
/// was good. Then it leaves the list with whatever is proposed next.
const OVER_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Signing {
    /// Proposes a change on what stands. `title`: one line for people.
    pub async fn propose(
        &self,
        change: &Change,
        title: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Proposal, Error> {
        let mut writing = self.store.begin().await?;
        let proposal = self.propose_in(&mut writing, change, None, (title, actor), now).await?;
        commit(writing, "make a proposal").await?;
        self.told.notify_waiters();
        Ok(proposal)
    }

    /// As [`Signing::propose`], in a transaction that does more; `new`: a word that it stores.
    pub async fn propose_in(
        &self,
        writing: &mut Writing,
        change: &Change,
        new: Option<&Word>,
        (title, actor): (&str, &Actor),
        now: Timestamp,
    ) -> Result<Proposal, Error> {
        let standing = self.standing();
        let made = self.made(change, standing.as_ref(), new, now).await?;
        let proposal = Proposal {
            id: Uuid::now_v7().to_string(),
            kind: change.kind().to_owned(),
            object: change.object(),
            title: title.to_owned(),
            body: made.body,
            digest: made.digest,
            differences: made.differences,
            asked: serde_json::to_string(change).map_err(|problem| Error::Refused(problem.to_string()))?,
            state: "open".to_owned(),
            why: String::new(),
            signed: "[]".to_owned(),
            acted: false,
            created_by: actor.to_string(),
            created_at: now,
            made_at: now,
            ended_at: None,
            revision: 1,
        };
        proposals::insert(writing, &proposal).await?;
        let detail = json!({ "kind": proposal.kind, "title": title, "digest": proposal.digest });
        audit::record(writing, now, actor, "proposal.create", &proposal.id, detail).await?;
        events::tell(writing, now, Kind::Plan, &proposal.id, &json!({ "proposal": "open" })).await?;
        Ok(proposal)
    }

    /// The open proposal about a plan or a word, if there is one.
    pub async fn open_about(&self, object: &str) -> Result<Option<Proposal>, Error> {
        let filter = ProposalFilter {
            state: Some("open".to_owned()),
            object: Some(object.to_owned()),
            ..ProposalFilter::default()
        };
        Ok(proposals::list(&self.store, &filter, 1).await?.pop())
    }

    /// Withdraws an open proposal.
    pub async fn withdraw(&self, id: &str, why: &str, actor: &Actor, now: Timestamp) -> Result<(), Error> {
        let row = proposals::get(&self.store, id).await?.ok_or_else(|| Error::NotFound(id.to_owned()))?;
        let mut writing = self.store.begin().await?;
        if !proposals::withdraw(&mut writing, now, id, why).await? {
            return Err(Error::Ended { id: id.to_owned(), state: row.state });
        }
        let detail = json!({ "title": row.title, "why": why });
        audit::record(&mut writing, now, actor, "proposal.withdraw", id, detail).await?;
        events::tell(&mut writing, now, Kind::Plan, id, &json!({ "proposal": "withdrawn" })).await?;
        commit(writing, "withdraw a proposal").await?;
        self.told.notify_waiters();
        Ok(())
    }

    /// The documents that a change makes of what stands.
    pub(super) async fn made(
        &self,
        change: &Change,
        standing: Option<&Standing>,
        new: Option<&Word>,
        now: Timestamp,
    ) -> Result<Made, Error> {
        let mut over = over(&self.store, now).await?;
        if let Change::Withdraw { plan, .. } = change {
            let known = self.known();
            let words = known.words.iter().filter(|word| word.plan.0 == *plan);
            over.extend(words.map(|word| PlanName(word.id)));
        }
        if let Change::Word(listed) = change {
            let stored = words::among(&self.store, &[listed.id().to_string()]).await?;
            let word = new.or(stored.first());
            let is_listed = |word: &Word| {
                standing
                    .is_some_and(|standing| standing.plans().iter().any(|plan| plan.name.0 == word.plan.0))
            };
            if !word.is_some_and(is_listed) {
                return Err(Error::Refused(
                    "speak about a plan: the plan is not in force any more".to_owned(),
                ));
            }
        }
        over.extend(self.used_words().await?);
        over.sort();
        over.dedup();
        let proposal = change.make(standing, &over, now)?;
        let differences = differences::told(&self.store, &proposal, standing, new).await?;
        Ok(Made { body: proposal.to_bytes(), digest: proposal.digest(), differences })
    }

    /// Makes open proposals again that do not follow what stands by now, or withdraws those that cannot be. In the
    /// transaction that changes what stands; `but` is the one that does.
    pub(super) async fn remake_others(
        &self,
        writing: &mut Writing,
        next: &Standing,
        but: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let filter = ProposalFilter { state: Some("open".to_owned()), ..ProposalFilter::default() };
        for listed in proposals::list(&self.store, &filter, OPEN_MAX).await? {
            if listed.id == but {
                continue;
            }
            let Some(row) = proposals::get(&self.store, &listed.id).await? else { continue };
            let proposal = trust::proposal::Proposal::read(&row.body)?;
            if proposal.missing(Some(next)).is_ok() {
                continue;
            }
            self.remake(writing, &row, Some(next), "another proposal was published first", now).await?;
        }
        Ok(())
    }

    /// Makes an open proposal again: whoever has signed it must sign anew. One that cannot be made any more is withdrawn.
    pub(super) async fn remake(
        &self,
        writing: &mut Writing,
        row: &Proposal,
        standing: Option<&Standing>,
        why: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let change: Change = serde_json::from_str(&row.asked).map_err(|problem| store::Error::Damaged {
            object: format!("proposal {}", row.id),
            reason: problem.to_string(),
        })?;
        let state = match self.made(&change, standing, None, now).await {
            Ok(made) => {
                let why = format!("{why}: made again on what stands now, to be signed anew");
                if !proposals::remake(writing, now, &row.id, row.revision, &made, &why).await? {
                    return Ok(());
                }
                "open"
            }
            // Ours or the store's fault: not the proposal's.
            Err(problem @ (Error::Store(_) | Error::KeyFile(_) | Error::Seal(_) | Error::Busy)) => {
                return Err(problem);
            }
            Err(problem) => {
                let why = format!("{why}, and the same cannot be proposed again: {problem}");
                if !proposals::withdraw(writing, now, &row.id, &why).await? {
                    return Ok(());
                }
                "withdrawn"
            }
        };
        let detail = json!({ "state": state, "why": why });
        audit::record(writing, now, &Actor::Server, "proposal.remake", &row.id, detail).await?;
        events::tell(writing, now, Kind::Plan, &row.id, &json!({ "proposal": state })).await?;
        Ok(())
    }

    /// Words that a stopped rollout goes on and that were used: a rollout takes each once.
    async fn used_words(&self) -> Result<Vec<PlanName>, Error> {
        let known = self.known();
        let mut used = Vec::new();
        for word in &known.words {
            let Says::Resume { generation } = word.says else { continue };
            let last: Option<i64> = sqlx::query_scalar("SELECT generation FROM rollouts WHERE plan = $1")
                .bind(word.plan.to_string())
                .fetch_optional(self.store.reader())
                .await
                .doing("read a rollout's generation")?;
            if last.is_some_and(|last| last >= i64::from(generation)) {
                used.push(PlanName(word.id));
            }
        }
        Ok(used)
    }
}

/// Plans that are over for so long that they leave the list, and all words about them.
async fn over(store: &Store, now: Timestamp) -> Result<Vec<PlanName>, store::Error> {
    let rows = sqlx::query(
        "SELECT r.plan FROM rollouts r WHERE r.changed_at < $1 \
         AND r.word IN ('complete', 'rolled-back', 'aborted', 'superseded', 'retracted') \
         UNION SELECT w.id FROM words w JOIN rollouts r ON r.plan = w.plan WHERE r.changed_at < $1 \
         AND r.word IN ('complete', 'rolled-back', 'aborted', 'superseded', 'retracted')",
    )
    .bind(now.saturating_sub(OVER_KEPT).unwrap_or(Timestamp::MIN).as_microsecond())
    .fetch_all(store.reader())
    .await
    .doing("read which plans are over")?;
    Ok(rows.iter().filter_map(|row| Uuid::parse_str(row.get(0)).ok()).map(PlanName).collect())
}
