//! Plans under way, as far as their state: a stand-in until the rollouts' own module takes its place.

use crate::App;
use crate::store::audit::{self, Actor};
use crate::store::events::{self, Kind};
use crate::store::rollouts::{job_list, list};
use crate::store::{Doing, Error, Store, Writing, commit};
use jiff::Timestamp;
use rollout::plan::{HostId, Plan, PlanId};
use rollout::rollout::{Event, Refused, Rollout, State};
use serde::Serialize;
use serde_json::json;
use sqlx::Row;
use utoipa::ToSchema;

/// An event that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Acted {
    /// No such rollout.
    #[error("{0}")]
    NotFound(String),
    /// Its state does not take it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

/// How a rollout stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Rollout)]
pub struct Status {
    /// The plan's id.
    pub plan: String,
    /// The plan's title.
    pub title: String,
    /// Its environment.
    pub environment: String,
    /// `draft`, `signed`, `armed`, `wave`, `paused`, `halted`, `rolling-back`, `rolled-back`, `complete`, `aborted`,
    /// `superseded`, `retracted`.
    pub state: String,
    /// The same in words.
    pub state_text: String,
    /// When it changed last.
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: Timestamp,
    /// The last resumption that was used.
    pub generation: u32,
    /// Approvers needed.
    pub threshold: u32,
    /// `normal` or `emergency`.
    pub track: String,
    /// When the plan expires.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// Why it does not go on right now.
    pub waits: Vec<String>,
    /// Its waves.
    pub waves: Vec<WaveStatus>,
    /// Service groups, and who is away.
    pub services: Vec<ServiceStatus>,
    /// Hosts in it.
    pub hosts: u32,
    /// Of these, proven.
    pub proven: u32,
}

/// A wave.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RolloutWave)]
pub struct WaveStatus {
    /// From 0.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// `shut`, `open`, `back`.
    pub door: String,
    /// `-`, `open`, `soak`, `gate`, `done`.
    pub phase: String,
    /// Hosts in it.
    pub hosts: u32,
}

/// A service group.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RolloutService)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Hosts that may be away at once.
    pub away_max: u32,
    /// Hosts that are.
    pub away: u32,
}

/// Makes a plan's rollout, in the transaction that puts the plan in force.
pub async fn create(
    writing: &mut Writing,
    plan: &Plan,
    threshold: usize,
    now: Timestamp,
) -> Result<(), Error> {
    let draft = Rollout::draft(threshold, plan.waves.len());
    sqlx::query(
        "INSERT INTO rollouts (plan, state, word, active, threshold, waves, generation, samples, changed_at, revision) \
         VALUES ($1, $2, 'draft', 0, $3, $4, 0, 0, $5, 1)",
    )
    .bind(plan.id.to_string())
    .bind(serde_json::to_string(&draft.state).expect("a state is JSON"))
    .bind(i64::try_from(threshold).unwrap_or(i64::MAX))
    .bind(i64::try_from(plan.waves.len()).unwrap_or(i64::MAX))
    .bind(now.as_microsecond())
    .execute(&mut **writing)
    .await
    .doing("make a rollout")?;
    Ok(())
}

/// Lets something happen to a rollout.
pub async fn act(app: &App, plan: PlanId, event: Event, actor: &Actor, now: Timestamp) -> Result<(), Acted> {
    let mut writing = app.store.begin().await?;
    let row = sqlx::query(
        "UPDATE rollouts SET revision = revision + 1 WHERE plan = $1 RETURNING state, threshold, waves, generation",
    )
    .bind(plan.to_string())
    .fetch_optional(&mut *writing)
    .await
    .doing("lock a rollout")?;
    let before =
        rollout_of(&row.ok_or_else(|| Acted::NotFound(format!("find rollout {plan}: there is none")))?);
    let (after, _) = before.step(event, now)?;
    sqlx::query(
        "UPDATE rollouts SET state = $1, word = $2, generation = $3, changed_at = $4 WHERE plan = $5",
    )
    .bind(serde_json::to_string(&after.state).expect("a state is JSON"))
    .bind(word(&after.state))
    .bind(i64::from(after.generation))
    .bind(now.as_microsecond())
    .bind(plan.to_string())
    .execute(&mut *writing)
    .await
    .doing("change a rollout")?;
    let id = plan.to_string();
    let detail = json!({ "state": word(&after.state) });
    audit::record(&mut writing, now, actor, "rollout.change", &id, detail.clone()).await?;
    events::tell(&mut writing, now, Kind::Rollout, &id, &detail).await?;
    commit(writing, "change a rollout").await?;
    Ok(())
}

/// Frees a host's places.
pub async fn free(
    app: &App,
    plan: PlanId,
    _host: HostId,
    _actor: &Actor,
    now: Timestamp,
) -> Result<(), Acted> {
    let none = || Acted::NotFound(format!("find rollout {plan}: there is none"));
    status(app, plan, now).await?.map(|_| ()).ok_or_else(none)
}

/// How a rollout stands.
pub async fn status(app: &App, plan: PlanId, _now: Timestamp) -> Result<Option<Status>, Error> {
    Ok(rows(&app.store, None, &plan.to_string(), true, 1).await?.pop())
}

/// Rollouts, the newest first; of one state's word, if it is given.
pub async fn list(app: &App, word: Option<&str>) -> Result<Vec<list::Listed>, Error> {
    let rows = rows(&app.store, word, "", false, 1_000).await?;
    let listed = |row: Status| list::Listed {
        plan: row.plan,
        title: row.title,
        environment: row.environment,
        state: row.state,
        state_text: row.state_text,
        changed_at: row.changed_at,
        hosts: row.hosts,
        proven: row.proven,
    };
    Ok(rows.into_iter().rev().map(listed).collect())
}

/// Up to `most` jobs of a rollout.
pub async fn jobs(
    _app: &App,
    _plan: PlanId,
    _filter: &job_list::JobFilter,
    _most: i64,
) -> Result<Vec<job_list::Listed>, Error> {
    Ok(Vec::new())
}

/// One host's job with its reports; `None`: it has none.
pub async fn job(_app: &App, _plan: PlanId, _host: HostId) -> Result<Option<job_list::Detailed>, Error> {
    Ok(None)
}

async fn rows(
    store: &Store,
    state: Option<&str>,
    plan: &str,
    exactly: bool,
    most: i64,
) -> Result<Vec<Status>, Error> {
    let rows = sqlx::query(
        "SELECT r.state, r.threshold, r.waves, r.generation, r.plan, r.word, r.changed_at, p.title, p.environment \
         FROM rollouts r JOIN plans p ON p.id = r.plan \
         WHERE ($1 = '' OR r.word = $1) AND ((r.plan = $2) OR ($3 = 0 AND r.plan > $2)) ORDER BY r.plan LIMIT $4",
    )
    .bind(state.unwrap_or_default().to_owned())
    .bind(plan.to_owned())
    .bind(i64::from(exactly))
    .bind(most)
    .fetch_all(store.reader())
    .await
    .doing("read rollouts")?;
    let moment = |at| Timestamp::from_microsecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(rows
        .iter()
        .map(|row| {
            let rollout = rollout_of(row);
            Status {
                plan: row.get(4),
                title: row.get(7),
                environment: row.get(8),
                state: row.get(5),
                state_text: rollout.state.to_string(),
                changed_at: moment(row.get(6)),
                generation: rollout.generation,
                threshold: u32::try_from(rollout.threshold).unwrap_or(u32::MAX),
                track: "normal".to_owned(),
                expires: Timestamp::MAX,
                waits: Vec::new(),
                waves: Vec::new(),
                services: Vec::new(),
                hosts: 0,
                proven: 0,
            }
        })
        .collect())
}

fn rollout_of(row: &sqlx::any::AnyRow) -> Rollout {
    Rollout {
        state: serde_json::from_str(row.get(0)).unwrap_or(State::Draft),
        threshold: usize::try_from(row.get::<i64, _>(1)).unwrap_or(1),
        waves: usize::try_from(row.get::<i64, _>(2)).unwrap_or(1),
        generation: u32::try_from(row.get::<i64, _>(3)).unwrap_or(0),
    }
}

fn word(state: &State) -> &'static str {
    match state {
        State::Draft => "draft",
        State::Signed { .. } => "signed",
        State::Armed => "armed",
        State::Wave(_) => "wave",
        State::Paused { .. } => "paused",
        State::Halted { .. } => "halted",
        State::RollingBack { .. } => "rolling-back",
        State::RolledBack => "rolled-back",
        State::Complete => "complete",
        State::Aborted { .. } => "aborted",
        State::Superseded { .. } => "superseded",
        State::Retracted { .. } => "retracted",
    }
}
