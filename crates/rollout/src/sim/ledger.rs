//! Grants of a store against their model: random grants, outcomes, openings and shuttings, on both, step by step.

use super::chance::Chance;
use super::fleet::{BEGIN, host_id};
use crate::capacity::Capacity;
use crate::grant::{Ask, Door, Ledger, Refusal, Row};
use crate::job::{Event, Job, State};
use crate::order::{Direction, Failure, Report, Stage};
use crate::plan::{Plan, PlanId, after};
use std::convert::Infallible;

/// The model: rows and groups in memory.
#[derive(Clone, Debug)]
pub struct Books {
    rows: Vec<Row>,
    capacity: Capacity,
}

impl Books {
    /// The books of a plan that was not started.
    pub fn of(plan: &Plan) -> Self {
        Self { rows: plan.waves.iter().map(Row::new).collect(), capacity: Capacity::of(plan) }
    }
}

impl Ledger for Books {
    type Error = Infallible;

    fn grant(&mut self, ask: &Ask<'_>) -> Result<Result<(), Refusal>, Infallible> {
        let granted = match self.rows[ask.wave].grant(ask.epoch, ask.direction) {
            Ok(granted) => granted,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(full) = self.capacity.take(ask.host, ask.groups, ask.now) {
            return Ok(Err(Refusal::Group(full)));
        }
        self.rows[ask.wave] = granted;
        Ok(Ok(()))
    }

    fn settle(&mut self, ask: &Ask<'_>, before: &Job, after: &Job) -> Result<(), Infallible> {
        self.rows[ask.wave] = self.rows[ask.wave].settle(before, after);
        if before.charged && !after.charged {
            self.capacity.release(ask.host, ask.groups);
        }
        Ok(())
    }

    fn turn(&mut self, wave: usize, door: Door) -> Result<(), Infallible> {
        self.rows[wave] = self.rows[wave].turn(door);
        Ok(())
    }

    fn row(&mut self, wave: usize) -> Result<Row, Infallible> {
        Ok(self.rows[wave])
    }
}

/// Does `steps` random things to a store and to the model. The first difference, if there is one.
pub fn exercise<L: Ledger>(ledger: &mut L, plan: &Plan, seed: u64, steps: u32) -> Result<(), String> {
    let mut chance = Chance::of(seed);
    let mut model = Books::of(plan);
    let hosts: usize = plan.waves.iter().map(|wave| wave.hosts().count()).sum();
    let mut jobs = vec![Job::queued(false); hosts];
    let failed = |error: L::Error| format!("the store fails: {error:?}");
    for step in 0..steps {
        let number = chance.index(hosts);
        let host = host_id(number);
        let place = plan.place(host).ok_or("a host without a place")?;
        let wave = place.wave;
        let current = model.rows[wave].epoch;
        let epoch = if chance.permille(100) { current.wrapping_sub(1) } else { current };
        let now = after(BEGIN, i64::from(step));
        let ask = Ask { host, wave, groups: &place.cohort.groups, epoch, direction: Direction::Forward, now };
        if chance.permille(150) {
            let door = if chance.permille(800) { Door::Open } else { Door::Shut };
            ledger.turn(wave, door).map_err(failed)?;
            let Ok(()) = model.turn(wave, door);
        } else if jobs[number].state == State::Queued {
            let theirs = ledger.grant(&ask).map_err(failed)?;
            let Ok(ours) = model.grant(&ask);
            if theirs.is_ok() != ours.is_ok() {
                return Err(format!("step {step}: the store says {theirs:?}, the model {ours:?}"));
            }
            if ours.is_ok() {
                let granted = Event::Granted { direction: Direction::Forward, machine: 1, until: now };
                jobs[number] = jobs[number].step(granted, now).0;
            }
        } else {
            let before = jobs[number];
            let event = outcome(&mut chance, &before, plan.id, now);
            let next = before.step(event, now).0;
            ledger.settle(&ask, &before, &next).map_err(failed)?;
            let Ok(()) = model.settle(&ask, &before, &next);
            jobs[number] = next;
        }
        for wave in 0..plan.waves.len() {
            let theirs = ledger.row(wave).map_err(failed)?;
            if theirs != model.rows[wave] {
                return Err(format!(
                    "step {step}, wave {wave}: the store has {theirs:?}, the model {:?}",
                    model.rows[wave]
                ));
            }
        }
    }
    Ok(())
}

/// Something that may become of a job.
fn outcome(chance: &mut Chance, job: &Job, plan: PlanId, now: jiff::Timestamp) -> Event {
    let seq = job.last.map_or(0, |report| report.seq) + 1;
    let report = |stage| Event::Reported(Report { plan, fence: job.fence, seq, machine: 1, boot: 1, stage });
    match job.state {
        State::Offered | State::Preflight => match chance.below(3) {
            0 => Event::Swept,
            _ => report(Stage::Fetched),
        },
        State::Fetched => Event::Cleared { until: now, boot: 1 },
        State::Committed => match chance.below(8) {
            0 => Event::Swept,
            1 => report(Stage::Failed(Failure::Unhealthy)),
            2 => report(Stage::RolledBack),
            3 => report(Stage::Inconsistent),
            _ => report(Stage::Proven),
        },
        State::Queued
        | State::Applying
        | State::Restarting
        | State::AwaitingReboot
        | State::Verifying
        | State::Soaking
        | State::Reverting
        | State::Proven
        | State::Skipped(_)
        | State::Failed(_)
        | State::Lost
        | State::RolledBack
        | State::Inconsistent
        | State::Quarantined => match chance.below(2) {
            0 => Event::Freed,
            _ => report(Stage::Proven),
        },
    }
}
