//! One step of a plan: read everything, decide, write. Nobody is waited for in between; a step that finds that another one was
//! faster begins anew.

use super::asked::Asked;
use super::build::{self, Parts};
use super::classes::{self, Ask, Next};
use super::select::Selection;
use super::{Error, Planning, silent_after};
use crate::signing::{Change, Listed};
use crate::store::audit::{self, Actor};
use crate::store::events::{self, Kind};
use crate::store::plans::{self, Plan as Row, State, Text};
use crate::store::rehearsals::{self, Rehearsal};
use crate::store::{self, Writing, commit};
use crate::task::off_thread;
use advisory::digest::hex;
use jiff::{SignedDuration, Timestamp};
use rollout::plan::{Plan, PlanId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often it is looked whether a host has been silent for too long.
const TICK: Duration = Duration::from_secs(60);
/// After so long a plan that still rehearses is blocked: two hours are three silent hosts, twice over.
const REHEARSING_MAX: SignedDuration = SignedDuration::from_hours(2);
/// Steps that were overtaken by another one and begin anew.
const TRIES_MAX: usize = 5;
/// Plans that rehearse at once and are looked at.
const PLANS_MAX: i64 = 1_000;

/// What is kept of a request: the request, and the chance that cuts its waves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// What was asked for.
    pub asked: Asked,
    /// 32 bytes, hex.
    pub seed: String,
}

/// Takes up plans that rehearse, until it is stopped: hosts may be silent, or a server may have died.
pub async fn run(planning: Arc<Planning>, stop: CancellationToken) {
    loop {
        if let Err(problem) = planning.tick(Timestamp::now()).await {
            // The next tick is the retry.
            tracing::warn!("plan: {problem}");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

impl Planning {
    /// Begins a plan; gives its id. Every fault that can be told before hosts were asked is told at once.
    pub async fn ask(&self, asked: &Asked, actor: &Actor, now: Timestamp) -> Result<String, Error> {
        let seed = crate::people::secrets::secret("")?;
        let id = Uuid::now_v7();
        let selection = self.select(asked, &BTreeSet::new(), now).await?;
        if !selection.faults.is_empty() {
            return Err(Error::Faulty(selection.faults));
        }
        let denied = plans::denylist(&self.app.store).await?;
        let kept = Kept { asked: asked.clone(), seed };
        let (left_out, hosts) = (selection.left_out.clone(), selection.hosts.len());
        let faults = {
            let kept = kept.clone();
            off_thread(move || build::faults(&parts(&kept, id, now, &selection, &denied))).await
        };
        if !faults.is_empty() {
            return Err(Error::Faulty(faults));
        }
        let row = Row {
            id: id.to_string(),
            title: asked.title(),
            environment: asked.environment(),
            state: State::Rehearsing,
            asked: serde_json::to_string(&kept).map_err(|problem| Error::Conflict(problem.to_string()))?,
            blocks: Vec::new(),
            left_out: json!(left_out).to_string(),
            hosts: i64::try_from(hosts).unwrap_or(i64::MAX),
            digest: String::new(),
            created_by: actor.to_string(),
            created_at: now,
            revision: 1,
        };
        let mut writing = self.app.store.begin().await?;
        plans::insert(&mut writing, &row).await?;
        let detail =
            json!({ "title": row.title, "fix": asked.fix, "everything": asked.everything, "hosts": hosts });
        audit::record(&mut writing, now, actor, "plan.ask", &row.id, detail).await?;
        events::tell(&mut writing, now, Kind::Plan, &row.id, &json!({ "state": "rehearsing" })).await?;
        commit(writing, "store a plan").await?;
        self.advance(&row.id, now).await?;
        Ok(row.id)
    }

    /// Takes up every plan that rehearses and for which something may be due.
    pub async fn tick(&self, now: Timestamp) -> Result<(), Error> {
        for row in plans::list(&self.app.store, Some(State::Rehearsing), "", PLANS_MAX).await? {
            let rehearsals = rehearsals::of_plan(&self.app.store, &row.id).await?;
            let silent_after = silent_after(&self.app.config);
            let waits =
                |one: &Rehearsal| one.answer.is_none() && now.duration_since(one.asked_at) <= silent_after;
            let is_late = now.duration_since(row.created_at) > REHEARSING_MAX;
            if (is_late || !rehearsals.iter().any(waits))
                && let Err(problem) = self.advance(&row.id, now).await
            {
                tracing::warn!(plan = row.id, "{problem}");
            }
        }
        Ok(())
    }

    /// Goes on with a plan as far as what is known allows.
    pub(super) async fn advance(&self, id: &str, now: Timestamp) -> Result<(), Error> {
        for _ in 0..TRIES_MAX {
            let Some(row) = plans::get(&self.app.store, id).await? else { return Ok(()) };
            if row.state != State::Rehearsing || self.step(&row, now).await? {
                self.reload().await?;
                self.app.told.notify_waiters();
                return Ok(());
            }
        }
        // Others do it.
        Ok(())
    }

    /// One step; false: another one was faster.
    async fn step(&self, row: &Row, now: Timestamp) -> Result<bool, Error> {
        let rehearsals = rehearsals::of_plan(&self.app.store, &row.id).await?;
        let damaged = |reason: String| store::Error::Damaged { object: format!("plan {}", row.id), reason };
        let kept: Kept = serde_json::from_str(&row.asked).map_err(|problem| damaged(problem.to_string()))?;
        let id = Uuid::parse_str(&row.id).map_err(|problem| damaged(problem.to_string()))?;
        let further = rehearsals.iter().filter_map(|one| one.answer.as_ref());
        let further = further.flat_map(|(_, answer)| &answer.changes).map(|change| change.source.clone());
        let selection = self.select(&kept.asked, &further.collect(), now).await?;
        if !selection.faults.is_empty() {
            return self.block(row, &selection.faults, now).await;
        }
        let silent_after = silent_after(&self.app.config);
        let (selection, asked, next) = off_thread(move || {
            let next = classes::next(&selection.hosts, &selection.machines, &rehearsals, now, silent_after);
            (selection, rehearsals, next)
        })
        .await;
        let is_late = now.duration_since(row.created_at) > REHEARSING_MAX;
        match next {
            Next::Wait | Next::Ask(_) if is_late => {
                let unanswered = asked.iter().filter(|one| one.answer.is_none()).count();
                let reason = format!(
                    "{unanswered} of {} hosts that were asked have not answered within {} hours; see whether their agents \
                     run, and ask for the plan again",
                    asked.len(),
                    REHEARSING_MAX.as_hours()
                );
                self.block(row, &[reason], now).await
            }
            Next::Wait => Ok(true),
            Next::Ask(asks) => self.put(row, &asks, now).await,
            Next::Blocked(reasons) => self.block(row, &reasons, now).await,
            Next::Known(known, of_host) => {
                let denied = plans::denylist(&self.app.store).await?;
                let left_out = json!(selection.left_out).to_string();
                let (built, kept) = off_thread(move || {
                    let classes = (known.as_slice(), of_host.as_slice());
                    let built = build::plan(&Parts { classes, ..parts(&kept, id, now, &selection, &denied) });
                    (built, kept)
                })
                .await;
                match built {
                    Err(faults) => self.block(row, &faults, now).await,
                    Ok(plan) => self.ready(row, &kept.asked, &plan, &left_out, now).await,
                }
            }
        }
    }

    /// Puts questions to hosts.
    async fn put(&self, row: &Row, asks: &[Ask], now: Timestamp) -> Result<bool, Error> {
        let mut writing = self.app.store.begin().await?;
        if !plans::unchanged(&mut writing, &row.id, row.revision).await? {
            return Ok(false);
        }
        for ask in asks {
            let rehearsal = Rehearsal {
                id: Uuid::now_v7(),
                plan: row.id.clone(),
                class: ask.class.clone(),
                host: ask.host.to_string(),
                hosts: i64::try_from(ask.hosts).unwrap_or(i64::MAX),
                sources: ask.sources.clone(),
                asked_at: now,
                answer: None,
            };
            rehearsals::insert(&mut writing, &rehearsal).await?;
        }
        let told = json!({ "state": "rehearsing", "rehearsals": true });
        events::tell(&mut writing, now, Kind::Plan, &row.id, &told).await?;
        commit(writing, "ask hosts").await?;
        Ok(true)
    }

    async fn block(&self, row: &Row, reasons: &[String], now: Timestamp) -> Result<bool, Error> {
        let mut writing = self.app.store.begin().await?;
        if !plans::unchanged(&mut writing, &row.id, row.revision).await?
            || !plans::block(&mut writing, &row.id, reasons).await?
        {
            return Ok(false);
        }
        let detail = json!({ "title": row.title, "blocks": reasons });
        audit::record(&mut writing, now, &Actor::Server, "plan.block", &row.id, detail).await?;
        let told = json!({ "state": "blocked", "rehearsals": true });
        events::tell(&mut writing, now, Kind::Plan, &row.id, &told).await?;
        commit(writing, "block a plan").await?;
        Ok(true)
    }

    async fn ready(
        &self,
        row: &Row,
        asked: &Asked,
        plan: &Plan,
        left_out: &str,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let bytes = plan.bytes();
        let digest = rollout::plan::Digest::of(&bytes).to_string();
        let hosts: usize = plan.waves.iter().map(|wave| wave.hosts().count()).sum();
        let mut writing = self.app.store.begin().await?;
        let text =
            Text { body: &bytes, digest: &digest, hosts: i64::try_from(hosts).unwrap_or(i64::MAX), left_out };
        if !plans::unchanged(&mut writing, &row.id, row.revision).await?
            || !plans::ready(&mut writing, &row.id, text).await?
        {
            return Ok(false);
        }
        let detail = json!({ "title": row.title, "digest": digest, "hosts": hosts });
        audit::record(&mut writing, now, &Actor::Server, "plan.ready", &row.id, detail).await?;
        let told = json!({ "state": "ready", "rehearsals": true });
        events::tell(&mut writing, now, Kind::Plan, &row.id, &told).await?;
        if asked.propose != Some(false) && self.signing.is_founded() {
            self.proposed(&mut writing, row, plan.id, &bytes, now).await?;
        }
        commit(writing, "store a plan's text").await?;
        Ok(true)
    }

    async fn proposed(
        &self,
        writing: &mut Writing,
        row: &Row,
        id: PlanId,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(), Error> {
        let too_long = || Error::Conflict("propose the plan: it is too long for a host".to_owned());
        let change = Change::Plan(Listed::plan(id, bytes).ok_or_else(too_long)?);
        let actor = Actor::Policy("propose plans that are ready".to_owned());
        self.signing.propose_in(writing, &change, None, (&row.title, &actor), now).await?;
        Ok(())
    }
}

/// What a plan is made of; its classes are still to be named.
fn parts<'a>(
    kept: &'a Kept,
    id: Uuid,
    now: Timestamp,
    selection: &'a Selection,
    denied: &'a rollout::denylist::Denylist,
) -> Parts<'a> {
    Parts {
        id: PlanId(id),
        asked: &kept.asked,
        seed: seed(&kept.seed),
        now,
        hosts: &selection.hosts,
        machines: &selection.machines,
        classes: (&[], &[]),
        bulletins: &selection.bulletins,
        cves: &selection.cves,
        denied,
    }
}

/// The seed's bytes. It is hex as `secrets::secret` made it; anything else seeds as well.
fn seed(text: &str) -> [u8; 32] {
    crate::seal::unhex(text)
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or_else(|| rollout::plan::Digest::of(hex(text.as_bytes()).as_bytes()).0)
}
