//! The centre's steps: a host checks in, the sweep comes by, a wave goes on. Each takes the rows it needs and changes
//! them; a store reads them, calls one of these, and writes them, in one transaction.

use crate::capacity::Capacity;
use crate::gate::{Gate, Health, Readings, Says, gate};
use crate::grant::{Door, Refusal, Row};
use crate::job::{Count, Event, Job, Outcome, State};
use crate::order::{Answer, CheckIn, Clearance, Direction, Order, Report, Stage};
use crate::plan::{Digest, HostId, Plan, PlanId, Rollback, after};
use crate::rollout::{self, Action, Halt, Phase, Rollout, Waiting};
use crate::window::{Calendar, Fit};
use jiff::{SignedDuration, Timestamp};

/// What a step needs of one rollout.
#[derive(Debug)]
pub struct Desk<'a> {
    /// Its plan.
    pub plan: &'a Plan,
    /// The plan's digest.
    pub digest: Digest,
    /// The plan's windows.
    pub calendar: &'a Calendar,
    /// Where it stands.
    pub rollout: &'a mut Rollout,
    /// One row for each wave.
    pub rows: &'a mut [Row],
    /// The environment's service groups.
    pub capacity: &'a mut Capacity,
}

/// A host's place.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    /// The host.
    pub host: HostId,
    /// Its wave.
    pub wave: usize,
    /// Its service groups.
    pub groups: &'a [String],
}

/// What is known of the hosts, counted by the caller at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Jobs of the present wave that are not settled.
    pub open: u32,
    /// Of these, not granted.
    pub queued: u32,
    /// The job that has been under change for longest.
    pub longest: Option<(HostId, State)>,
    /// Proven hosts of the present wave, late joiners left out, that were heard since [`Desk::evidence_from`] and were
    /// healthy then. Here and below, only what [`Job::is_of`] the machine that was granted counts.
    pub proven_heard: u32,
    /// Answers about health from the present wave's hosts since it settled.
    pub samples: u32,
    /// Proven hosts of all waves.
    pub patched: Health,
    /// Hosts that were not granted.
    pub unpatched: Health,
    /// Alerts firing; `None`: not known.
    pub alerts: Option<u32>,
    /// While it is rolled back: hosts that are still to go back, or under change.
    pub back: u32,
}

/// What came of a check-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What the host is told.
    pub answer: Answer,
    /// What became of its report, if it brought one about this plan: to be recorded with it.
    pub report: Option<Outcome>,
}

impl Desk<'_> {
    /// A host checks in. `busy`: another plan has it under change.
    pub fn check_in(
        &mut self,
        seat: Seat<'_>,
        job: &mut Job,
        said: &CheckIn,
        busy: bool,
        now: Timestamp,
    ) -> Checked {
        if job.charged && said.machine != job.machine {
            self.book(seat, job, Event::Doubled, now);
        }
        let report = said.report.filter(|report| report.plan == self.plan.id);
        let outcome = report.map(|report| self.book(seat, job, Event::Reported(report), now));
        self.book(seat, job, Event::Heard, now);
        Checked { answer: self.answer(seat, job, said, report, busy, now), report: outcome }
    }

    fn answer(
        &mut self,
        seat: Seat<'_>,
        job: &mut Job,
        said: &CheckIn,
        report: Option<Report>,
        busy: bool,
        now: Timestamp,
    ) -> Answer {
        let mut answer = Answer::default();
        // Only the newest report asks: an old one that comes late is from before the host began.
        let asks = report.filter(|report| job.last == Some(*report) && report.stage == Stage::Fetched);
        let unbegun = asks.is_some();
        if job.state.is_preparing() || job.state == State::Committed && unbegun {
            if let Err(refusal) = self.may_go(seat, job.direction, now) {
                // Not open now is not the same as not any more: a lease may wait for its window.
                if refusal == Refused::Stopped {
                    answer.withdraw = Some((self.plan.id, job.fence));
                } else if job.state.is_preparing() {
                    answer.order = Some(self.renew(seat, job, said, now));
                }
                return answer;
            }
            answer.order = Some(self.renew(seat, job, said, now));
            if let Some(boot) = asks.map(|report| report.boot)
                && self.may_clear(job, boot, now)
            {
                let until = after(now, self.plan.timing.deadline_seconds.into());
                self.book(seat, job, Event::Cleared { until, boot }, now);
                let (host, plan, fence) = (seat.host, self.plan.id, job.fence);
                answer.clearance = Some(Clearance { host, plan, fence, nonce: said.nonce });
            }
        } else if let Ok(()) = self.grant(seat, job, said.machine, busy, now) {
            answer.order = Some(self.order(seat, job, said));
        } else if let Some(report) =
            report.filter(|report| !report.stage.is_final() && report.fence <= job.fence)
            && !job.state.is_under_change()
        {
            // Its grant is dead: it may forget it, unless it is past the point of no return.
            answer.withdraw = Some((self.plan.id, report.fence));
        }
        answer
    }

    /// Grants, if the job, the time and the books allow it.
    pub fn grant(
        &mut self,
        seat: Seat<'_>,
        job: &mut Job,
        machine: u64,
        busy: bool,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let back = matches!(self.rollout.state, rollout::State::RollingBack { .. });
        let direction = if back { Direction::Back } else { Direction::Forward };
        if busy || !job.can_be_granted(direction) || self.may_go(seat, direction, now).is_err() {
            return Err(Refusal::Job);
        }
        // Who failed on the way forward still holds its places, and goes back with them.
        if !job.charged {
            let row = &mut self.rows[seat.wave];
            let granted = row.grant(row.epoch, direction)?;
            self.capacity.take(seat.host, seat.groups, now).map_err(Refusal::Group)?;
            *row = granted;
        }
        let until = after(now, self.plan.timing.lease_seconds.into());
        self.book(seat, job, Event::Granted { direction, machine, until }, now);
        Ok(())
    }

    /// The sweep looks at one job. `heard`: when its host was last heard.
    pub fn sweep(
        &mut self,
        seat: Seat<'_>,
        job: &mut Job,
        heard: Option<Timestamp>,
        now: Timestamp,
    ) -> Outcome {
        if let rollout::State::Wave(at) = self.rollout.state
            && at.wave == seat.wave
            && job.state == State::Queued
        {
            let silence = SignedDuration::from_secs(self.plan.timing.silence_seconds.into());
            let since = heard.map_or(at.opened, |heard| heard.max(at.opened));
            if now.duration_since(since) > silence {
                return self.book(seat, job, Event::Silent, now);
            }
        }
        self.book(seat, job, Event::Swept, now)
    }

    /// A person has looked at a host that holds its places.
    pub fn free(&mut self, seat: Seat<'_>, job: &mut Job, now: Timestamp) -> Outcome {
        self.book(seat, job, Event::Freed, now)
    }

    /// A host that the plan does not name asks to join. Its job, if the last wave is open and takes it.
    pub fn join(&mut self, group: &str) -> Option<Job> {
        let late = self.plan.late().filter(|late| late.group == group)?;
        let last = self.plan.waves.len() - 1;
        let row = &mut self.rows[last];
        if row.door != Door::Open || row.late >= late.hosts_max {
            return None;
        }
        row.late += 1;
        Some(Job::queued(true))
    }

    /// Does what a person or an approver asked.
    pub fn order_of(&mut self, event: rollout::Event, now: Timestamp) -> Result<(), rollout::Refused> {
        // Hosts kept no old files: none could go back, and the way back would never end.
        if matches!(event, rollout::Event::BackOrdered { .. }) && self.plan.rollback == Rollback::Never {
            let reason = "its plan has no way back: hosts kept no old versions";
            return Err(rollout::Refused {
                state: self.rollout.state.to_string(),
                event: "rollback",
                reason,
            });
        }
        let (next, actions) = self.rollout.step(event, now)?;
        *self.rollout = next;
        for action in actions {
            match action {
                Action::Open { wave } => {
                    self.rows[wave] = self.rows[wave].turn(Door::Open);
                    // What failed before a resumption stays counted: one more than is borne halts again at once.
                    if self.rows[wave].is_over() {
                        self.rows[wave].bad_max = self.rows[wave].bad();
                    }
                }
                Action::Shut => self.rows.iter_mut().for_each(|row| *row = row.turn(Door::Shut)),
                Action::OpenBack => self.rows.iter_mut().for_each(|row| *row = row.turn(Door::Back)),
            }
        }
        Ok(())
    }

    /// Goes on, if what is known allows it. Gives the gate if it was read.
    pub fn advance(&mut self, tally: &Tally, now: Timestamp) -> Option<Gate> {
        if now >= self.plan.expires && !self.rollout.is_over() {
            // Refused where it has no meaning: before it is signed, and on the way back.
            let _ = self.order_of(rollout::Event::Expired, now);
        }
        let (event, read) = match &self.rollout.state {
            rollout::State::Wave(at) => match at.phase {
                Phase::Open if tally.open == 0 => (rollout::Event::Settled, None),
                Phase::Soak { .. } | Phase::Gate { .. } if tally.open > 0 => {
                    (rollout::Event::Unsettled, None)
                }
                Phase::Soak { since } if self.soaked(at.wave, since, now) => (rollout::Event::Soaked, None),
                Phase::Open | Phase::Soak { .. } => return None,
                Phase::Gate { since } => {
                    let gate = self.gate(at.wave, since, tally, now);
                    (rollout::Event::GateRead(gate.says()), Some(gate))
                }
            },
            rollout::State::RollingBack { .. } if tally.back == 0 => (rollout::Event::BackDone, None),
            rollout::State::RollingBack { .. }
            | rollout::State::Draft
            | rollout::State::Signed { .. }
            | rollout::State::Armed
            | rollout::State::Paused { .. }
            | rollout::State::Halted { .. }
            | rollout::State::RolledBack
            | rollout::State::Complete
            | rollout::State::Aborted { .. }
            | rollout::State::Superseded { .. }
            | rollout::State::Retracted { .. } => return None,
        };
        self.order_of(event, now).expect("chosen by the state it is in");
        read
    }

    /// From when on a check-in counts as evidence: within the silence borne, and at the gate only after the whole soak,
    /// so that a host that fell silent during it is not taken for well.
    pub fn evidence_from(&self, now: Timestamp) -> Timestamp {
        let silence = SignedDuration::from_secs(self.plan.timing.silence_seconds.into());
        let fresh = now.saturating_sub(silence).unwrap_or(Timestamp::MIN);
        match &self.rollout.state {
            rollout::State::Wave(rollout::At { wave, phase: Phase::Gate { since }, .. }) => {
                fresh.max(after(*since, self.plan.waves[*wave].gate.soak_seconds.into()))
            }
            rollout::State::Wave(_)
            | rollout::State::Draft
            | rollout::State::Signed { .. }
            | rollout::State::Armed
            | rollout::State::Paused { .. }
            | rollout::State::Halted { .. }
            | rollout::State::RollingBack { .. }
            | rollout::State::RolledBack
            | rollout::State::Complete
            | rollout::State::Aborted { .. }
            | rollout::State::Superseded { .. }
            | rollout::State::Retracted { .. } => fresh,
        }
    }

    fn soaked(&self, wave: usize, since: Timestamp, now: Timestamp) -> bool {
        now >= after(since, self.plan.waves[wave].gate.soak_seconds.into())
    }

    /// The gate of a wave that settled at `since`.
    pub fn gate(&self, wave: usize, since: Timestamp, tally: &Tally, now: Timestamp) -> Gate {
        let readings = Readings {
            row: self.rows[wave],
            proven_heard: tally.proven_heard,
            soaked_seconds: (tally.open == 0).then(|| now.duration_since(since).as_secs()),
            samples: tally.samples,
            patched: tally.patched,
            unpatched: tally.unpatched,
            alerts: tally.alerts,
        };
        gate(&self.plan.waves[wave].gate, &readings)
    }

    /// Everything it waits for, for the operator.
    pub fn waits(&self, tally: &Tally, now: Timestamp) -> Vec<Waiting> {
        let resumption = |why: String| vec![Waiting::Resumption { why }];
        match &self.rollout.state {
            rollout::State::Draft => vec![Waiting::Signers { have: 0, need: self.rollout.threshold }],
            rollout::State::Signed { signers } => {
                vec![Waiting::Signers { have: signers.len(), need: self.rollout.threshold }]
            }
            rollout::State::Armed => vec![Waiting::Start],
            rollout::State::Paused { by, .. } => resumption(format!("paused by {by}")),
            rollout::State::Halted { why, .. } => resumption(format!("halted: {why}")),
            rollout::State::RollingBack { .. } => vec![Waiting::Back { hosts: tally.back }],
            rollout::State::Wave(at) => match at.phase {
                Phase::Open => self.waits_open(at.wave, tally, now),
                Phase::Soak { since } => {
                    vec![Waiting::soak(since, self.plan.waves[at.wave].gate.soak_seconds)]
                }
                Phase::Gate { since } => {
                    let numbers = self.gate(at.wave, since, tally, now).numbers;
                    vec![Waiting::Gate(
                        numbers.into_iter().filter(|number| number.says != Says::Open).collect(),
                    )]
                }
            },
            rollout::State::RolledBack
            | rollout::State::Complete
            | rollout::State::Aborted { .. }
            | rollout::State::Superseded { .. }
            | rollout::State::Retracted { .. } => Vec::new(),
        }
    }

    fn waits_open(&self, wave: usize, tally: &Tally, now: Timestamp) -> Vec<Waiting> {
        let row = &self.rows[wave];
        let mut waits = Vec::new();
        let earliest = self.plan.earliest(wave);
        if now < earliest {
            waits.push(Waiting::NotBefore(earliest));
        }
        match self.calendar.fit(now, self.expected()) {
            Fit::TooShort { opens, .. } | Fit::Closed { opens } if tally.queued > 0 => {
                waits.push(Waiting::Window { opens });
            }
            Fit::Fits { .. } | Fit::TooShort { .. } | Fit::Closed { .. } => {}
        }
        if tally.queued > 0 && row.inflight >= row.inflight_max {
            waits.push(Waiting::Slots { inflight: row.inflight, inflight_max: row.inflight_max });
        }
        if tally.queued > 0 {
            let full = |name: &String| self.capacity.full(name);
            let groups = self.plan.waves[wave].cohorts.iter().flat_map(|cohort| &cohort.groups);
            let mut named: Vec<&String> = groups.collect();
            named.sort_unstable();
            named.dedup();
            waits.extend(named.into_iter().filter_map(full).map(Waiting::Group));
        }
        if tally.open > tally.queued {
            waits.push(Waiting::UnderChange { hosts: tally.open - tally.queued, longest: tally.longest });
        }
        if waits.is_empty() {
            waits.push(Waiting::Asking { hosts: tally.queued });
        }
        waits
    }

    fn expected(&self) -> SignedDuration {
        SignedDuration::from_secs(self.plan.timing.expected_seconds.into())
    }

    /// Changes a job, its wave's row and its groups together; halts where more failed than is borne.
    fn book(&mut self, seat: Seat<'_>, job: &mut Job, event: Event, now: Timestamp) -> Outcome {
        let (next, outcome) = job.step(event, now);
        if outcome != Outcome::Changed {
            return outcome;
        }
        let row = &mut self.rows[seat.wave];
        *row = row.settle(job, &next);
        if job.charged && !next.charged {
            self.capacity.release(seat.host, seat.groups);
        } else if next.charged && job.state != next.state {
            self.capacity.note(seat.host, seat.groups, next.state);
        }
        *job = next;
        let (bad, bad_max) = (row.bad(), row.bad_max);
        let under_way = matches!(self.rollout.state, rollout::State::Wave(_));
        if bad > bad_max && under_way && next.state.count() != Count::Open {
            let halt = rollout::Event::Halted(Halt::Budget { bad, bad_max });
            self.order_of(halt, now).expect("a rollout under way can halt");
        }
        outcome
    }

    /// Whether a host of this seat may be granted or cleared now, as far as the rollout and the clock go.
    fn may_go(&self, seat: Seat<'_>, direction: Direction, now: Timestamp) -> Result<(), Refused> {
        let open = match direction {
            Direction::Forward => {
                let here = matches!(&self.rollout.state,
                    rollout::State::Wave(at) if at.wave == seat.wave && at.phase == Phase::Open);
                here && self.rows[seat.wave].door == Door::Open
            }
            Direction::Back => matches!(self.rollout.state, rollout::State::RollingBack { .. }),
        };
        if !open || direction == Direction::Forward && now >= self.plan.expires {
            return Err(Refused::Stopped);
        }
        let early = now < self.plan.earliest(seat.wave);
        let fits = matches!(self.calendar.fit(now, self.expected()), Fit::Fits { .. });
        // The way back does not wait for a window: it is there to end harm.
        if direction == Direction::Forward && (early || !fits) { Err(Refused::NotNow) } else { Ok(()) }
    }

    /// A clearance given to one boot of a host goes to another boot of it only when the first can be used no more: what
    /// checks in may be a copy of a host that is beginning right now.
    fn may_clear(&self, job: &Job, boot: u64, now: Timestamp) -> bool {
        let clearance = i64::from(self.plan.timing.clearance_seconds);
        job.begun.is_none_or(|begun| begun.boot == boot || now >= after(begun.at, clearance))
    }

    fn renew(&mut self, seat: Seat<'_>, job: &mut Job, said: &CheckIn, now: Timestamp) -> Order {
        let until = after(now, self.plan.timing.lease_seconds.into());
        self.book(seat, job, Event::Renewed { until }, now);
        self.order(seat, job, said)
    }

    fn order(&self, seat: Seat<'_>, job: &Job, said: &CheckIn) -> Order {
        let (plan, digest): (PlanId, Digest) = (self.plan.id, self.digest);
        Order { host: seat.host, plan, digest, direction: job.direction, fence: job.fence, nonce: said.nonce }
    }
}

/// Why a host may not go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// The rollout does not want it.
    Stopped,
    /// The clock or the calendar does not.
    NotNow,
}
