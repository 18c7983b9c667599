//! A rollout as people see it: where it stands, what it waits for, what each wave and service has. Read without locks.

use super::books::Books;
use super::sealed::Sealed;
use crate::App;
use crate::store::evidence::{self, Failure};
use crate::store::rollouts::{tally, waves, word};
use crate::store::{Doing, Error};
use jiff::Timestamp;
use rollout::engine::{Desk, Tally};
use rollout::gate::{Number, Says, What};
use rollout::grant::Row;
use rollout::plan::{PlanId, Track};
use rollout::rollout::{At, Phase, Rollout, State};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// Hosts that failed and are named in a rollout's status.
const FAILURES_MAX: i64 = 5;

/// A rollout.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Rollout)]
pub struct Status {
    /// Its plan's id.
    pub plan: String,
    /// The plan's title.
    pub title: String,
    /// The plan's environment.
    pub environment: String,
    /// `draft`, `signed`, `armed`, `wave`, `paused`, `halted`, `rolling-back`, `rolled-back`, `complete`, `aborted`,
    /// `superseded`, `retracted`.
    pub state: String,
    /// The same with its particulars, in words.
    pub state_text: String,
    /// When its state changed last.
    #[schema(value_type = String, format = DateTime)]
    pub changed_at: Timestamp,
    /// The last resumption that was used.
    pub generation: u32,
    /// Approvers needed.
    pub threshold: u32,
    /// `normal` or `emergency`.
    pub track: String,
    /// No host begins after this.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Timestamp,
    /// Why it does not go on right now.
    pub waits: Vec<String>,
    /// Its waves, in order.
    pub waves: Vec<WaveStatus>,
    /// Service groups that it counts in.
    pub services: Vec<ServiceStatus>,
    /// Why hosts failed or skipped it, as far as they said; the first five.
    pub failures: Vec<Failure>,
    /// Hosts that failed and of which nothing is known besides, or not yet.
    pub failures_unheard: u32,
    /// Hosts in it.
    pub hosts: u32,
    /// Of these, proven.
    pub proven: u32,
}

/// A wave.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = RolloutWave)]
pub struct WaveStatus {
    /// Its number, from 0.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Whether it grants: `shut`, `open`, `back`.
    pub door: String,
    /// `-` (not begun), `open`, `soak`, `gate`, `done`.
    pub phase: String,
    /// Hosts that it names: every gate's denominator.
    pub hosts: u32,
    /// Not granted.
    pub queued: u32,
    /// Granted, before the point of no return.
    pub preparing: u32,
    /// Perhaps past it, and not settled.
    pub under_change: u32,
    /// Proven.
    pub proven: u32,
    /// Skipped.
    pub skipped: u32,
    /// Failed, rolled back, inconsistent or quarantined.
    pub failed: u32,
    /// Lost.
    pub lost: u32,
    /// Of all these, late joiners.
    pub late: u32,
    /// Hosts that take a place.
    pub inflight: u32,
    /// Hosts that may.
    pub inflight_max: u32,
    /// Failed and lost hosts that are borne.
    pub bad_max: u32,
    /// Until when it soaks, while it does.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub soak_until: Option<Timestamp>,
    /// The gate's numbers, once the wave has settled.
    pub gate: Vec<NumberStatus>,
}

/// One number of a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RolloutNumber)]
pub struct NumberStatus {
    /// `proven`, `bad`, `skipped`, `soaked`, `samples`, `compared`, `worse`, `alerts`.
    pub what: String,
    /// Its value; missing: not known, which holds.
    pub have: Option<i64>,
    /// What it is held against.
    pub want: i64,
    /// `hosts`, `seconds`, `answers`, `points`, `alerts`.
    pub unit: String,
    /// `open`, `hold`, `halt`.
    pub says: String,
    /// All of it in words.
    pub text: String,
}

/// A service group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RolloutService)]
pub struct ServiceStatus {
    /// Its name.
    pub name: String,
    /// Hosts that may be away at once.
    pub away_max: u32,
    /// Hosts that are, for other reasons too.
    pub away: u32,
    /// Hosts that a plan has taken away.
    pub holders: Vec<HolderStatus>,
}

/// A host that takes a place of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RolloutHolder)]
pub struct HolderStatus {
    /// Its id.
    pub host: String,
    /// Where its job stands.
    pub state: String,
    /// Since when it takes the place.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// Where a rollout stands; `None`: there is none of this plan.
pub async fn status(app: &App, plan: PlanId, now: Timestamp) -> Result<Option<Status>, Error> {
    let Some(sealed) = Sealed::load(&app.store, plan).await? else { return Ok(None) };
    let sealed = Arc::new(sealed);
    let mut reading = app.store.reader().acquire().await.doing("read a rollout")?;
    let wanted = BTreeMap::from([(plan, (Arc::clone(&sealed), Vec::new()))]);
    let mut books = Books::look(&mut reading, app.store.dialect(), wanted, now).await?;
    let Some(before) = books.book(plan).map(|book| book.before.clone()) else { return Ok(None) };
    let wave = before.rollout.at().map_or(0, |at| at.wave);
    let Some(desk) = books.desk(plan) else { return Ok(None) };
    let evidence = desk.evidence_from(now);
    let tally = tally::whole(&mut reading, plan, wave, evidence, before.samples).await?;
    let counts = tally::by_wave(&mut reading, plan).await?;
    let named = sealed.plan.waves.iter().zip(desk.rows.iter()).enumerate();
    let waves: Vec<WaveStatus> = named
        .map(|(number, (wave, row))| {
            let of = |counted: &str| counts.get(&number).and_then(|counts| counts.get(counted)).copied();
            wave_status(number, wave.name.clone(), row, &of, &desk, &tally, now)
        })
        .collect();
    Ok(Some(Status {
        plan: plan.to_string(),
        title: sealed.plan.title.clone(),
        environment: sealed.plan.environment.clone(),
        state: word(&before.rollout.state).to_owned(),
        state_text: before.rollout.state.to_string(),
        changed_at: before.changed_at,
        generation: before.rollout.generation,
        threshold: u32::try_from(before.rollout.threshold).unwrap_or(u32::MAX),
        track: match sealed.plan.track {
            Track::Normal => "normal".to_owned(),
            Track::Emergency => "emergency".to_owned(),
        },
        expires: sealed.plan.expires,
        waits: desk.waits(&tally, now).iter().map(ToString::to_string).collect(),
        failures: evidence::failures(&app.store, &plan.to_string(), None, FAILURES_MAX).await?,
        failures_unheard: evidence::unheard(&app.store, &plan.to_string()).await?,
        hosts: waves.iter().map(|wave| wave.hosts + wave.late).sum(),
        proven: waves.iter().map(|wave| wave.proven).sum(),
        waves,
        services: services(&desk),
    }))
}

fn wave_status(
    number: usize,
    name: String,
    row: &Row,
    of: &dyn Fn(&str) -> Option<u32>,
    desk: &Desk<'_>,
    tally: &Tally,
    now: Timestamp,
) -> WaveStatus {
    let at = desk.rollout.at().filter(|at| at.wave == number);
    let soaks = |at: At| match at.phase {
        Phase::Soak { since } => {
            let soak = jiff::SignedDuration::from_secs(desk.plan.waves[number].gate.soak_seconds.into());
            since.saturating_add(soak).ok()
        }
        Phase::Open | Phase::Gate { .. } => None,
    };
    let gate = match at.map(|at| at.phase) {
        Some(Phase::Soak { since } | Phase::Gate { since }) => desk.gate(number, since, tally, now).numbers,
        Some(Phase::Open) | None => Vec::new(),
    };
    let of = |counted| of(counted).unwrap_or(0);
    WaveStatus {
        number: u32::try_from(number).unwrap_or(u32::MAX),
        name,
        door: waves::word(row.door).to_owned(),
        phase: phase(desk.rollout, number, row).to_owned(),
        hosts: row.hosts,
        queued: of("queued"),
        preparing: of("preparing"),
        under_change: of("under-change"),
        proven: of("proven"),
        skipped: of("skipped"),
        failed: of("failed"),
        lost: of("lost"),
        late: row.late,
        inflight: row.inflight,
        inflight_max: row.inflight_max,
        bad_max: row.bad_max,
        soak_until: at.and_then(soaks),
        gate: gate.iter().map(number_status).collect(),
    }
}

fn phase(rollout: &Rollout, number: usize, row: &Row) -> &'static str {
    match rollout.at() {
        Some(at) if number == at.wave => match at.phase {
            Phase::Open => "open",
            Phase::Soak { .. } => "soak",
            Phase::Gate { .. } => "gate",
        },
        Some(at) if number < at.wave => "done",
        Some(_) => "-",
        // A door that was never turned: the wave was not begun.
        None if rollout.state == State::Complete => "done",
        None if row.epoch == 0 => "-",
        None => "done",
    }
}

fn number_status(number: &Number) -> NumberStatus {
    let (what, unit) = match number.what {
        What::Proven => ("proven", "hosts"),
        What::Bad => ("bad", "hosts"),
        What::Skipped => ("skipped", "hosts"),
        What::Soaked => ("soaked", "seconds"),
        What::Samples => ("samples", "answers"),
        What::Compared => ("compared", "hosts"),
        What::Worse => ("worse", "points"),
        What::Alerts => ("alerts", "alerts"),
    };
    NumberStatus {
        what: what.to_owned(),
        have: number.value,
        want: number.threshold,
        unit: unit.to_owned(),
        says: match number.says {
            Says::Open => "open",
            Says::Hold => "hold",
            Says::Halt => "halt",
        }
        .to_owned(),
        text: number.to_string(),
    }
}

fn services(desk: &Desk<'_>) -> Vec<ServiceStatus> {
    let of = |(name, group): (&String, &rollout::capacity::Group)| ServiceStatus {
        name: name.clone(),
        away_max: group.away_max,
        away: group.away_already.saturating_add(u32::try_from(group.holders.len()).unwrap_or(u32::MAX)),
        holders: group
            .holders
            .iter()
            .map(|(host, holder)| HolderStatus {
                host: host.to_string(),
                state: holder.state.to_string(),
                since: holder.since,
            })
            .collect(),
    };
    desk.capacity.groups().iter().map(of).collect()
}
