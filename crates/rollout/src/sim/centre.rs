//! The centre of the simulation: the store's rows, and the engine's steps on them, each one transaction.

use super::fleet::{GROUP, Sealed};
use crate::capacity::Capacity;
use crate::engine::{Desk, Seat, Tally};
use crate::gate::{Gate, Health};
use crate::grant::Row;
use crate::job::{Count, Job, State};
use crate::order::{Answer, CheckIn, Direction};
use crate::plan::{HostId, Plan};
use crate::rollout::{self, Phase, Rollout};
use jiff::Timestamp;
use std::rc::Rc;

/// What the store holds of one rollout.
#[derive(Clone, Debug)]
pub struct Book {
    /// Its plan.
    pub sealed: Rc<Sealed>,
    /// Where it stands.
    pub rollout: Rollout,
    /// Its waves' rows.
    pub rows: Vec<Row>,
    /// Its jobs, by host's number; `None`: not in it.
    pub jobs: Vec<Option<Job>>,
    /// Answers about health since the present wave settled.
    pub samples: u32,
    /// When it stopped last.
    pub stopped: Option<Timestamp>,
    places: Vec<Option<(usize, usize)>>,
}

/// The store.
#[derive(Clone, Debug)]
pub struct Centre {
    /// Rollouts, in the order of their making.
    pub books: Vec<Book>,
    /// Service groups.
    pub capacity: Capacity,
    /// When each host was heard last, and whether it was healthy.
    pub heard: Vec<Option<(Timestamp, Option<bool>)>>,
    /// Alerts firing; `None`: not known.
    pub alerts: Option<u32>,
}

impl Book {
    /// A rollout that is signed and armed.
    pub fn armed(sealed: Rc<Sealed>, hosts: &[HostId], now: Timestamp) -> Self {
        let plan = &sealed.plan;
        let mut rollout = Rollout::draft(super::fleet::THRESHOLD, plan.waves.len());
        for key in &super::fleet::APPROVERS[..super::fleet::THRESHOLD] {
            let signed = rollout::Event::Signed { signer: key.to_string() };
            rollout = rollout.step(signed, now).expect("a draft takes signers").0;
        }
        let place = |host: &HostId| {
            let wave = plan.place(*host)?.wave;
            let cohorts = &plan.waves[wave].cohorts;
            let cohort = cohorts.iter().position(|cohort| cohort.hosts.binary_search(host).is_ok())?;
            Some((wave, cohort))
        };
        let places: Vec<_> = hosts.iter().map(place).collect();
        Self {
            rollout,
            rows: plan.waves.iter().map(Row::new).collect(),
            jobs: places.iter().map(|place| place.map(|_| Job::queued(false))).collect(),
            samples: 0,
            stopped: None,
            places,
            sealed,
        }
    }

    /// A host's seat: its named one, or the late joiners'.
    pub fn seat(&self, host: HostId, number: usize) -> Option<Seat<'_>> {
        seat(&self.sealed.plan, self.places[number], host)
    }
}

/// A host's seat: its named one, or the late joiners'.
fn seat(plan: &Plan, place: Option<(usize, usize)>, host: HostId) -> Option<Seat<'_>> {
    match place {
        Some((wave, cohort)) => Some(Seat { host, wave, groups: &plan.waves[wave].cohorts[cohort].groups }),
        None => plan.late().map(|late| Seat { host, wave: plan.waves.len() - 1, groups: &late.groups }),
    }
}

/// Where a rollout grants to, if it grants.
fn direction_of(rollout: &Rollout) -> Option<Direction> {
    if matches!(rollout.state, rollout::State::RollingBack { .. }) {
        return Some(Direction::Back);
    }
    matches!(rollout.state, rollout::State::Wave(_)).then_some(Direction::Forward)
}

/// The desk of a book. A macro, because the borrow of its parts must end with the statement.
macro_rules! desk {
    ($book:expr, $capacity:expr) => {
        Desk {
            plan: &$book.sealed.plan,
            digest: $book.sealed.digest,
            calendar: &$book.sealed.calendar,
            rollout: &mut $book.rollout,
            rows: &mut $book.rows,
            capacity: &mut $capacity,
        }
    };
}

impl Centre {
    /// An empty store.
    pub fn new(hosts: usize, capacity: Capacity) -> Self {
        Self { books: Vec::new(), capacity, heard: vec![None; hosts], alerts: Some(0) }
    }

    /// A host checks in.
    pub fn check_in(&mut self, host: HostId, number: usize, said: &CheckIn, now: Timestamp) -> Answer {
        let speaks = |book: &Book| book.jobs[number].is_none_or(|job| job.is_of(said.machine));
        let speaks = self.books.iter().all(speaks);
        if speaks {
            self.heard[number] = Some((now, said.healthy));
        }
        let mut answer = Answer::default();
        for at in 0..self.books.len() {
            let under_change = |book: &Book| book.jobs[number].is_some_and(|job| job.charged);
            let busy = self.books.iter().enumerate().any(|(other, book)| other != at && under_change(book));
            let sealed = Rc::clone(&self.books[at].sealed);
            let book = &mut self.books[at];
            let running = direction_of(&book.rollout);
            let Some(seat) = seat(&sealed.plan, book.places[number], host) else { continue };
            let wave = seat.wave;
            if book.jobs[number].is_none() {
                let mut desk = desk!(book, self.capacity);
                let job = desk.join(GROUP);
                book.jobs[number] = job;
            }
            let Some(mut job) = book.jobs[number] else { continue };
            let here = desk!(book, self.capacity).check_in(seat, &mut job, said, busy, now).answer;
            book.jobs[number] = Some(job);
            if speaks
                && job.state == State::Proven
                && said.healthy.is_some()
                && book.rollout.at().is_some_and(|at| at.wave == wave)
            {
                book.samples += 1;
            }
            if running.is_some() && running != direction_of(&book.rollout) {
                book.stopped = Some(now);
            }
            answer.order = answer.order.or(here.order);
            answer.clearance = answer.clearance.or(here.clearance);
            answer.withdraw = answer.withdraw.or(here.withdraw);
        }
        answer
    }

    /// The sweep: leases, deadlines, silence; then every rollout goes on if it may. Gives the gates that were read.
    pub fn sweep(&mut self, hosts: &[HostId], now: Timestamp) -> Vec<(usize, usize, Gate)> {
        let mut gates = Vec::new();
        for at in 0..self.books.len() {
            let sealed = Rc::clone(&self.books[at].sealed);
            let book = &mut self.books[at];
            let running = direction_of(&book.rollout);
            for (number, &host) in hosts.iter().enumerate() {
                let Some(mut job) = book.jobs[number] else { continue };
                let Some(seat) = seat(&sealed.plan, book.places[number], host) else { continue };
                let heard = self.heard[number].map(|(at, _)| at);
                desk!(book, self.capacity).sweep(seat, &mut job, heard, now);
                book.jobs[number] = Some(job);
            }
            let tally = self.tally(at, hosts, now);
            let book = &mut self.books[at];
            let before = book.rollout.at();
            let gate = desk!(book, self.capacity).advance(&tally, now);
            let after = book.rollout.at();
            if before != after
                && matches!(after, Some(at) if matches!(at.phase, Phase::Soak { .. } | Phase::Open))
            {
                book.samples = 0;
            }
            if running.is_some() && running != direction_of(&book.rollout) {
                book.stopped = Some(now);
            }
            if let (Some(gate), Some(before)) = (gate, before) {
                gates.push((at, before.wave, gate));
            }
        }
        gates
    }

    /// Counts what the engine asks about one rollout.
    pub fn tally(&mut self, at: usize, hosts: &[HostId], now: Timestamp) -> Tally {
        let evidence = {
            let book = &mut self.books[at];
            desk!(book, self.capacity).evidence_from(now)
        };
        let book = &self.books[at];
        let present = book.rollout.at().map(|at| at.wave);
        let last = book.sealed.plan.waves.len() - 1;
        let mut tally = Tally { samples: book.samples, alerts: self.alerts, ..Tally::default() };
        let mut longest: Option<(Timestamp, HostId, State)> = None;
        for (number, job) in book.jobs.iter().enumerate() {
            let Some(job) = job else { continue };
            let wave = book.places[number].map_or(last, |(wave, _)| wave);
            let heard =
                self.heard[number].filter(|(heard, _)| *heard >= evidence).and_then(|(_, healthy)| healthy);
            let group: Option<&mut Health> = if job.state == State::Proven {
                Some(&mut tally.patched)
            } else if job.state == State::Queued && job.direction == Direction::Forward {
                Some(&mut tally.unpatched)
            } else {
                None
            };
            if let (Some(group), Some(healthy)) = (group, heard) {
                group.heard += 1;
                group.unhealthy += u32::from(!healthy);
            }
            if job.can_be_granted(Direction::Back) || job.charged && job.state.count() == Count::Open {
                tally.back += 1;
            }
            if present != Some(wave) {
                continue;
            }
            if job.state.count() == Count::Open {
                tally.open += 1;
                tally.queued += u32::from(job.state == State::Queued);
                if job.charged && longest.is_none_or(|(until, _, _)| job.until < until) {
                    longest = Some((job.until, hosts[number], job.state));
                }
            }
            if job.state == State::Proven && !job.late && heard == Some(true) {
                tally.proven_heard += 1;
            }
        }
        tally.longest = longest.map(|(_, host, state)| (host, state));
        tally
    }

    /// What a person or an approver asks.
    pub fn order_of(
        &mut self,
        at: usize,
        event: rollout::Event,
        now: Timestamp,
    ) -> Result<(), rollout::Refused> {
        let book = &mut self.books[at];
        let running = direction_of(&book.rollout);
        let back = matches!(event, rollout::Event::BackOrdered { .. });
        desk!(book, self.capacity).order_of(event, now)?;
        if running.is_some() && running != direction_of(&book.rollout) {
            book.stopped = Some(now);
        }
        if back {
            Rc::make_mut(&mut book.sealed).back = true;
        }
        Ok(())
    }

    /// A person frees the places of a host.
    pub fn free(&mut self, at: usize, host: HostId, number: usize, now: Timestamp) {
        let sealed = Rc::clone(&self.books[at].sealed);
        let book = &mut self.books[at];
        let Some(seat) = seat(&sealed.plan, book.places[number], host) else { return };
        if let Some(mut job) = book.jobs[number] {
            desk!(book, self.capacity).free(seat, &mut job, now);
            book.jobs[number] = Some(job);
        }
    }

    /// What a rollout waits for, in words.
    pub fn waits(&mut self, at: usize, hosts: &[HostId], now: Timestamp) -> Vec<String> {
        let tally = self.tally(at, hosts, now);
        let book = &mut self.books[at];
        desk!(book, self.capacity).waits(&tally, now).iter().map(ToString::to_string).collect()
    }
}
