//! What one transaction changes: the rollouts, waves, jobs and service places that it concerns, read, given to the engine, and
//! written as far as they changed.

use super::sealed::Sealed;
use crate::store::audit::{self, Actor};
use crate::store::events::{self, Kind};
use crate::store::rollouts::waves::Granted;
use crate::store::rollouts::{self, Stored, jobs, reports, services, waves};
use crate::store::{Dialect, Error, Writing};
use jiff::Timestamp;
use rollout::capacity::{Capacity, Group};
use rollout::denylist::Denylist;
use rollout::engine::Desk;
use rollout::grant::Row;
use rollout::job::{Job, Outcome, State};
use rollout::order::{Answer, CheckIn, Direction, Report};
use rollout::plan::{HostId, PlanId};
use rollout::rollout::Rollout;
use sqlx::AnyConnection;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How books are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// To be written: rollouts are locked, and only the service groups of the hosts asked for are read.
    Locked,
    /// To be looked at: nothing is locked, and all service groups are read.
    Whole,
}

/// Plans, and in each the hosts whose jobs are wanted.
pub(super) type Wanted = BTreeMap<PlanId, (Arc<Sealed>, Vec<HostId>)>;

/// What became of writing.
#[derive(Debug)]
pub(super) enum Written {
    /// All of it.
    Done {
        /// Whether anything had changed.
        changed: bool,
    },
    /// Somebody else took what was granted here. The transaction is to be dropped.
    Raced {
        /// What was lost, in words.
        what: String,
    },
}

/// One rollout's part.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) sealed: Arc<Sealed>,
    pub(super) before: Stored,
    pub(super) rollout: Rollout,
    pub(super) rows: Vec<Row>,
    pub(super) jobs: BTreeMap<HostId, Job>,
    rows_before: Vec<Row>,
    jobs_before: BTreeMap<HostId, Job>,
    granted: Vec<Granted>,
    reports: Vec<(HostId, Report, Outcome)>,
}

/// Service groups of one environment.
#[derive(Debug)]
struct Services {
    before: BTreeMap<String, Group>,
    now: Capacity,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Books {
    dialect: Dialect,
    now: Timestamp,
    each: BTreeMap<PlanId, Book>,
    services: BTreeMap<String, Services>,
    /// Plans that have a host under change, in these books or elsewhere.
    charged: BTreeSet<(HostId, PlanId)>,
    pub(super) grants: u64,
    /// Hosts that a person freed.
    freed: Vec<(PlanId, HostId, State)>,
}

/// The engine's desk on a book. A macro, because the borrow of the parts must end with the statement.
macro_rules! desk {
    ($book:expr, $services:expr) => {
        Desk {
            plan: &$book.sealed.plan,
            digest: $book.sealed.digest,
            calendar: &$book.sealed.calendar,
            rollout: &mut $book.rollout,
            rows: &mut $book.rows,
            capacity: &mut $services.now,
        }
    };
}

impl Books {
    /// Reads, and locks in the order of plans' ids. Plans without books are left out.
    pub(super) async fn open(
        connection: &mut Writing,
        dialect: Dialect,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut stored = BTreeMap::new();
        for &plan in wanted.keys() {
            if let Some(row) = rollouts::lock(connection, plan).await? {
                stored.insert(plan, row);
            }
        }
        Self::read(connection, dialect, wanted, stored, Scope::Locked, now).await
    }

    /// Reads without locks, with all service groups.
    pub(super) async fn look(
        connection: &mut AnyConnection,
        dialect: Dialect,
        wanted: Wanted,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut stored = BTreeMap::new();
        for &plan in wanted.keys() {
            if let Some(row) = rollouts::read(&mut *connection, plan).await? {
                stored.insert(plan, row);
            }
        }
        Self::read(connection, dialect, wanted, stored, Scope::Whole, now).await
    }

    async fn read(
        connection: &mut AnyConnection,
        dialect: Dialect,
        wanted: Wanted,
        mut stored: BTreeMap<PlanId, Stored>,
        scope: Scope,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut books = BTreeMap::new();
        let mut groups: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut all = BTreeSet::new();
        for (&plan, (sealed, hosts)) in &wanted {
            let Some(before) = stored.remove(&plan) else { continue };
            let rows = waves::read(&mut *connection, plan).await?;
            let jobs = match hosts.as_slice() {
                [] => BTreeMap::new(),
                hosts => jobs::of_hosts(&mut *connection, dialect, plan, hosts).await?,
            };
            let named = groups.entry(&sealed.plan.environment).or_default();
            match scope {
                Scope::Whole => named.extend(sealed.plan.groups.iter().map(|group| group.name.as_str())),
                Scope::Locked => {
                    let seats = hosts.iter().filter_map(|&host| sealed.seat(host));
                    named.extend(seats.flat_map(|seat| seat.groups).map(String::as_str));
                }
            }
            all.extend(hosts);
            let book = Book {
                rollout: before.rollout.clone(),
                before,
                granted: vec![Granted::default(); rows.len()],
                rows_before: rows.clone(),
                rows,
                jobs_before: jobs.clone(),
                jobs,
                reports: Vec::new(),
                sealed: Arc::clone(sealed),
            };
            books.insert(plan, book);
        }
        let mut services = BTreeMap::new();
        for (environment, names) in groups {
            let names: Vec<&str> = names.into_iter().collect();
            let before = match names.as_slice() {
                [] => BTreeMap::new(),
                names => services::read(&mut *connection, dialect, environment, names).await?,
            };
            let now = Capacity::new(before.clone());
            services.insert(environment.to_owned(), Services { before, now });
        }
        let all: Vec<HostId> = all.into_iter().copied().collect();
        let charged = match (scope, all.as_slice()) {
            (Scope::Whole, _) | (Scope::Locked, []) => BTreeSet::new(),
            (Scope::Locked, hosts) => {
                jobs::charged(&mut *connection, dialect, hosts).await?.into_iter().collect()
            }
        };
        Ok(Self { dialect, now, each: books, services, charged, grants: 0, freed: Vec::new() })
    }

    /// Each rollout's part.
    pub(super) fn each(&self) -> impl Iterator<Item = (PlanId, &Book)> {
        self.each.iter().map(|(plan, book)| (*plan, book))
    }

    /// One rollout's part.
    pub(super) fn book(&self, plan: PlanId) -> Option<&Book> {
        self.each.get(&plan)
    }

    /// The engine's desk of one rollout.
    pub(super) fn desk(&mut self, plan: PlanId) -> Option<Desk<'_>> {
        let book = self.each.get_mut(&plan)?;
        let services = self.services.get_mut(&book.sealed.plan.environment)?;
        Some(desk!(book, services))
    }

    /// A host checks in, at all rollouts here in which it has a seat, the oldest first. `group`: the one it was enrolled
    /// into.
    pub(super) fn check_in(&mut self, host: HostId, group: &str, said: &CheckIn) -> Answer {
        let mut answer = Answer::default();
        for (&plan, book) in &mut self.each {
            let sealed = Arc::clone(&book.sealed);
            let Some(seat) = sealed.seat(host) else { continue };
            let Some(services) = self.services.get_mut(&sealed.plan.environment) else { continue };
            let mut desk = desk!(book, services);
            let Some(mut job) = book.jobs.get(&host).copied().or_else(|| {
                // Whoever is named has a job from the start on.
                if sealed.names(host) { None } else { desk.join(group) }
            }) else {
                continue;
            };
            let of_host =
                self.charged.range((host, PlanId(uuid::Uuid::nil()))..=(host, PlanId(uuid::Uuid::max())));
            let busy = of_host.into_iter().any(|(_, other)| *other != plan);
            let before = job;
            let checked = desk.check_in(seat, &mut job, said, busy, self.now);
            if job.fence > before.fence {
                let granted = &mut book.granted[seat.wave];
                match job.direction {
                    Direction::Forward => granted.forward += 1,
                    Direction::Back => granted.back += 1,
                }
                self.grants += 1;
            }
            if let (Some(outcome), Some(report)) = (checked.report, said.report) {
                book.reports.push((host, report, outcome));
            }
            if job.charged {
                self.charged.insert((host, plan));
            } else {
                self.charged.remove(&(host, plan));
            }
            book.jobs.insert(host, job);
            answer.order = answer.order.or(checked.answer.order);
            answer.clearance = answer.clearance.or(checked.answer.clearance);
            answer.withdraw = answer.withdraw.or(checked.answer.withdraw);
        }
        answer
    }

    /// The sweep looks at a job. `heard`: when its host was last heard.
    pub(super) fn sweep(&mut self, plan: PlanId, host: HostId, heard: Option<Timestamp>) -> Option<Outcome> {
        self.step(plan, host, |desk, seat, job, now| desk.sweep(seat, job, heard, now))
    }

    /// A person has looked at a host. `None`: it has no job here.
    pub(super) fn free(&mut self, plan: PlanId, host: HostId) -> Option<Outcome> {
        let state = self.book(plan)?.jobs.get(&host)?.state;
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method itself is not general enough in the desk's lifetime"
        )]
        let outcome = self.step(plan, host, |desk, seat, job, now| desk.free(seat, job, now))?;
        if outcome == Outcome::Changed {
            self.freed.push((plan, host, state));
        }
        Some(outcome)
    }

    fn step(
        &mut self,
        plan: PlanId,
        host: HostId,
        step: impl FnOnce(&mut Desk<'_>, rollout::engine::Seat<'_>, &mut Job, Timestamp) -> Outcome,
    ) -> Option<Outcome> {
        let book = self.each.get_mut(&plan)?;
        let sealed = Arc::clone(&book.sealed);
        let seat = sealed.seat(host)?;
        let services = self.services.get_mut(&sealed.plan.environment)?;
        let mut job = *book.jobs.get(&host)?;
        let outcome = step(&mut desk!(book, services), seat, &mut job, self.now);
        book.jobs.insert(host, job);
        Some(outcome)
    }

    /// Writes what changed. Where a rollout's state changed, with its audit entry and event.
    pub(super) async fn write(&self, writing: &mut Writing, actor: &Actor) -> Result<Written, Error> {
        let mut changed = false;
        for (plan, book) in &self.each {
            let jobs = book.jobs_changed();
            if !jobs.is_empty() {
                changed = true;
                jobs::write(writing, self.dialect, *plan, &jobs, self.now).await?;
            }
            if !book.reports.is_empty() {
                changed = true;
                reports::keep(writing, self.dialect, &book.reports, self.now).await?;
            }
            let failed = book.denied(self.now);
            if !failed.entries().is_empty() {
                reports::deny(writing, &failed).await?;
            }
            for (wave, (before, after)) in book.rows_before.iter().zip(&book.rows).enumerate() {
                if before == after {
                    continue;
                }
                changed = true;
                if !waves::write(writing, *plan, wave, before, after, book.granted[wave]).await? {
                    return Ok(Written::Raced {
                        what: format!("the books of wave {wave} of rollout {plan}"),
                    });
                }
            }
        }
        for (environment, services) in &self.services {
            for (name, after) in services.now.groups() {
                let before = &services.before[name];
                if before == after {
                    continue;
                }
                changed = true;
                let taken_by = |host| self.taken_by(environment, host);
                if !services::write(writing, environment, name, before, after, taken_by).await? {
                    return Ok(Written::Raced { what: format!("a place of {name} in {environment}") });
                }
            }
        }
        // The audit log and the events last: others wait for them from here on.
        for (plan, host, state) in &self.freed {
            let detail = serde_json::json!({ "plan": plan, "state": state.to_string() });
            audit::record(writing, self.now, actor, "rollout.free", &host.to_string(), detail).await?;
        }
        let told = |plan: &PlanId, book: &Book| {
            book.is_turned() || book.is_let_go() || self.freed.iter().any(|(freed, ..)| freed == plan)
        };
        let told: Vec<_> = self.each.iter().filter(|(plan, book)| told(plan, book)).collect();
        for &(plan, book) in &told {
            changed = true;
            rollouts::write(writing, *plan, &book.rollout, &book.rows, book.is_turned(), self.now).await?;
            let detail = serde_json::json!({
                "from": book.before.rollout.state.to_string(),
                "to": book.rollout.state.to_string(),
            });
            if book.is_turned() {
                let action = format!("rollout.{}", rollouts::word(&book.rollout.state));
                audit::record(writing, self.now, actor, &action, &plan.to_string(), detail).await?;
            }
        }
        for (plan, book) in told {
            let detail = serde_json::json!({
                "state": rollouts::word(&book.rollout.state),
                "text": book.rollout.state.to_string(),
            });
            events::tell(writing, self.now, Kind::Rollout, &plan.to_string(), &detail).await?;
        }
        Ok(Written::Done { changed })
    }

    fn taken_by(&self, environment: &str, host: HostId) -> PlanId {
        let holds = |book: &&Book| {
            book.sealed.plan.environment == *environment
                && book.jobs.get(&host).is_some_and(|job| job.charged)
        };
        let book = self.each.values().find(holds).expect("a place is taken by a job that is charged");
        book.sealed.plan.id
    }
}

impl Book {
    /// Whether its state changed.
    pub(super) fn is_turned(&self) -> bool {
        self.before.rollout != self.rollout
    }

    /// Whether it is over and the last host has given its place back.
    fn is_let_go(&self) -> bool {
        self.before.active != rollouts::is_active(&self.rollout, &self.rows)
    }

    fn jobs_changed(&self) -> Vec<(HostId, usize, Job)> {
        let changed = self.jobs.iter().filter(|(host, job)| self.jobs_before.get(host) != Some(job));
        changed.filter_map(|(&host, &job)| Some((host, self.sealed.seat(host)?.wave, job))).collect()
    }

    /// Versions that failed here.
    fn denied(&self, now: Timestamp) -> Denylist {
        let mut failed = Denylist::default();
        for (host, job) in &self.jobs {
            let before = self.jobs_before.get(host).map(|job| job.state);
            if before == Some(job.state) || !is_to_be_denied(job.state) {
                continue;
            }
            if let Some(class) = self.sealed.class(*host) {
                failed.deny(&self.sealed.plan, class, now, &format!("{} on {host}", job.state));
            }
        }
        failed
    }
}

fn is_to_be_denied(state: State) -> bool {
    match state {
        State::RolledBack | State::Inconsistent => true,
        State::Failed(why) => why.is_past_return(),
        State::Queued
        | State::Offered
        | State::Preflight
        | State::Fetched
        | State::Committed
        | State::Applying
        | State::Restarting
        | State::AwaitingReboot
        | State::Verifying
        | State::Soaking
        | State::Reverting
        | State::Proven
        | State::Skipped(_)
        | State::Lost
        | State::Quarantined => false,
    }
}
