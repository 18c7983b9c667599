//! What must be true at every moment of every history, whatever network, disks, clocks and servers do. It looks at the
//! machines themselves, not at what they say.

use super::centre::Book;
use super::host::{Host, Version};
use super::world::World;
use crate::grant::{Door, Row};
use crate::job::{Count, Job};
use crate::order::{Direction, Stage};
use crate::plan::PlanId;
use crate::rollout::State;
use crate::window::Fit;
use jiff::SignedDuration;

/// A clock since boot may be so wrong that a lease is an eighth longer than it says; and a message was on its way.
const SLACK_SECONDS: i64 = 1;
/// How long a host that went down may still be taken for heard: since the soak ended, and a delayed message.
const DELAY_MS: u64 = 120_000;
/// So long after its point of no return, and after the last fault, every machine has come to an end: five transactions,
/// two reboots, verification and soak take less.
const LONG_MS: u64 = 30 * 60_000;

/// What was seen to be broken. The first is kept.
#[derive(Clone, Debug, Default)]
pub struct Oath {
    /// Which kind, and how.
    pub broken: Option<(Kind, String)>,
    /// Hosts that passed the point of no return forward: number, plan, which machine and what its firmware says.
    commits: Vec<(usize, PlanId, (usize, u64))>,
    /// Gates that opened.
    pub opened: u32,
}

/// The four zeros, that nothing else is installed, and that nobody begins what the package manager would not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// More hosts under change, away or failed than may be.
    Overshoot,
    /// A job lost, or run twice.
    Job,
    /// A host began after a halt, beyond its clearance; or before its wave's earliest time; or outside of a window.
    AfterHalt,
    /// A gate opened without the evidence.
    Silence,
    /// Something was installed that no signed plan names.
    Unsigned,
    /// A host began a plan that does not fit it.
    Unfit,
}

impl Oath {
    pub(super) fn breaks(&mut self, kind: Kind, how: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some((kind, how()));
        }
    }
}

impl World {
    /// A machine has written that it passes the point of no return.
    pub(super) fn swear_commit(&mut self, at: usize) {
        let host = &self.hosts[at];
        let work = host.journal.work.expect("only a job commits");
        let (number, machine, now) = (host.number, host.machine, self.now());
        self.hosts[at].committed_ms = self.now_ms;
        let host = &self.hosts[at];
        let plan =
            self.plans.iter().find(|sealed| sealed.digest == work.digest && sealed.plan.id == work.plan);
        let Some(sealed) = plan.filter(|sealed| sealed.is_verified()) else {
            self.oath.breaks(Kind::Unsigned, || format!("host {number} begins plan {}", work.plan));
            return;
        };
        if work.direction == Direction::Forward && host.nature.unfit {
            self.oath.breaks(Kind::Unfit, || format!("host {number} begins, and the plan does not fit it"));
        }
        let place = sealed.plan.place(host.id);
        let wave = place.map_or(sealed.plan.waves.len() - 1, |place| place.wave);
        if place.is_none() && sealed.plan.late().is_none() {
            self.oath.breaks(Kind::Unsigned, || format!("host {number} is not in plan {}", work.plan));
            return;
        }
        if work.direction == Direction::Forward && host.wall(self.now_ms) < sealed.plan.earliest(wave) {
            self.oath.breaks(Kind::AfterHalt, || format!("host {number} begins before its wave may"));
        }
        let expected = SignedDuration::from_secs(sealed.plan.timing.expected_seconds.into());
        let fits = sealed.calendar.fit(host.wall(self.now_ms), expected);
        if work.direction == Direction::Forward && !matches!(fits, Fit::Fits { .. }) {
            self.oath
                .breaks(Kind::AfterHalt, || format!("host {number} begins outside of the plan's window"));
        }
        let allowed = i64::from(sealed.plan.timing.clearance_seconds) + SLACK_SECONDS;
        let Some(book) = self.centre.books.iter().find(|book| book.sealed.plan.id == work.plan) else {
            return;
        };
        if work.direction == Direction::Back && !book.sealed.back {
            self.oath
                .breaks(Kind::Unsigned, || format!("host {number} goes back without the approvers' word"));
        }
        // An attacker may let a proven host prove itself again; that installs nothing.
        if self.captured_from_ms.is_some() {
            return;
        }
        if work.direction == Direction::Forward {
            // Two machines whose firmware says the same, one cut off while it begins, are one machine to anybody.
            let twice = |&(n, p, m): &(usize, PlanId, (usize, u64))| {
                (n, p) == (number, work.plan) && (m.0 == at || m.1 != machine)
            };
            if self.oath.commits.iter().any(twice) {
                self.oath.breaks(Kind::Job, || format!("host {number} runs plan {} twice", work.plan));
            }
            self.oath.commits.push((number, work.plan, (at, machine)));
        }
        if let Some(stopped) = book.stopped
            && !matches!(book.rollout.state, State::Wave(_) | State::RollingBack { .. })
            && now.duration_since(stopped).as_secs() > allowed
        {
            let late = now.duration_since(stopped).as_secs();
            self.oath.breaks(Kind::AfterHalt, || format!("host {number} begins {late} s after the halt"));
        }
        let charged = book.jobs[number]
            .is_some_and(|job| job.charged && job.begun.is_some() && job.fence == work.fence);
        if !charged && !self.has_double_of(&self.hosts[at]) {
            let job = book.jobs[number];
            self.oath.breaks(Kind::Overshoot, || format!("host {number} begins and holds no place: {job:?}"));
        }
    }

    /// Packages of a machine changed.
    pub(super) fn swear_installed(&mut self, at: usize) {
        let host = &self.hosts[at];
        let number = host.number;
        let Some(work) = host.journal.work else {
            self.oath.breaks(Kind::Unsigned, || format!("host {number} changes without a job"));
            return;
        };
        let genuine = self.plans.iter().any(|sealed| sealed.digest == work.digest && sealed.is_verified());
        if !genuine || !host.journal.stage.is_past_return() {
            let stage = host.journal.stage;
            self.oath.breaks(Kind::Unsigned, || format!("host {number} changes at {stage}"));
        }
    }

    /// The books against the jobs, and the jobs against the machines.
    pub(super) fn swear_books(&mut self) {
        if self.captured_from_ms.is_some() {
            return;
        }
        let mut broken: Option<(Kind, String)> = None;
        for book in &self.centre.books {
            for (number, row) in book.rows.iter().enumerate() {
                if let Some(how) = differs(book, number, row) {
                    broken.get_or_insert((Kind::Overshoot, how));
                }
            }
        }
        for (name, group) in self.centre.capacity.groups() {
            let takes = |book: &Book, number: usize| {
                let charged = book.jobs[number].is_some_and(|job| job.charged);
                charged && book.seat(self.ids[number], number).is_some_and(|seat| seat.groups.contains(name))
            };
            let charged = |book: &Book| (0..self.ids.len()).filter(|&number| takes(book, number)).count();
            let away: usize = self.centre.books.iter().map(charged).sum();
            if away > group.away_max as usize || away != group.holders.len() {
                let how =
                    format!("{away} of {name} away, {} held, {} may be", group.holders.len(), group.away_max);
                broken.get_or_insert((Kind::Overshoot, how));
            }
        }
        for host in &self.hosts {
            if let Some(how) = self.uncharged(host) {
                broken.get_or_insert((Kind::Overshoot, how));
            }
        }
        if let Some((kind, how)) = broken {
            self.oath.breaks(kind, || how);
        }
    }

    /// Whether there is another machine whose firmware and whose disk say the same: nobody can tell the two apart, and what one
    /// gives back the other may still begin with (docs/adr/0010).
    fn has_double_of(&self, host: &Host) -> bool {
        let same = |other: &&Host| (other.number, other.machine) == (host.number, host.machine);
        self.hosts.iter().filter(same).count() > 1
    }

    /// A machine that is under change must be charged in the books.
    fn uncharged(&self, host: &Host) -> Option<String> {
        let work = host.journal.work?;
        // A copy of a disk goes on with nothing: it is another machine.
        let copied = host.machine != host.journal.machine;
        if copied || host.journal.stage.is_final() || !host.journal.stage.is_past_return() {
            return None;
        }
        let book = self.centre.books.iter().find(|book| book.sealed.plan.id == work.plan)?;
        let job = book.jobs[host.number]?;
        if job.charged || self.freed.contains(&host.number) {
            return None;
        }
        if self.has_double_of(host) {
            return None;
        }
        Some(format!("host {} is {} and holds no place: {job:?}", host.number, host.journal.stage))
    }

    /// A wave's gate opened: its machines must show it.
    pub(super) fn swear_gate(&mut self, book: usize, wave: usize) {
        self.oath.opened += 1;
        let sealed = &self.centre.books[book].sealed;
        let (plan, gate) = (&sealed.plan, sealed.plan.waves[wave].gate);
        let ids: Vec<_> = plan.waves[wave].hosts().collect();
        let packages = plan.classes[0].changes.len();
        // The gate may have waited for hosts to be heard, as long as silence is borne.
        let waited = u64::from(plan.timing.silence_seconds).min(self.gate_waited_ms() / 1_000) * 1_000;
        let shown = |host: &&Host| {
            // A copy whose firmware says the same speaks for both.
            let speaks = |other: &Host| {
                let same = (other.number, other.machine) == (host.number, host.machine);
                same && (other.up || self.now_ms - other.turned_ms <= waited + DELAY_MS)
            };
            let alive = self.hosts.iter().any(speaks);
            host.is_new(packages) && alive && host.journal.stage == Stage::Proven
        };
        let proven = self.hosts.iter().filter(|host| ids.contains(&host.id)).filter(shown).count();
        let needed = (ids.len() * gate.proven_percent_min as usize).div_ceil(100);
        if proven < needed {
            let hosts = ids.len();
            self.oath.breaks(Kind::Silence, || {
                format!("the gate of wave {wave} opens on {proven} of {hosts} hosts")
            });
        }
    }

    /// When all faults are over and everyone had time: no job is lost.
    pub(super) fn swear_end(&mut self) {
        if self.captured_from_ms.is_some() {
            return;
        }
        let mut broken = None;
        for host in self.hosts.iter().take(self.ids.len()).filter(|host| host.up && !host.dead) {
            let Some(work) = host.journal.work else { continue };
            let Some(book) = self.centre.books.iter().find(|book| book.sealed.plan.id == work.plan) else {
                continue;
            };
            let Some(job) = book.jobs[host.number] else { continue };
            let stage = host.journal.stage;
            let waits_for_person =
                stage == Stage::AwaitingReboot && book.sealed.plan.reboot == crate::plan::Reboot::Never;
            let long = self.now_ms.saturating_sub(host.committed_ms.max(self.healed_ms)) > LONG_MS;
            if stage.is_past_return() && !stage.is_final() && !waits_for_person && long {
                broken.get_or_insert(format!("host {} never ends: {stage}", host.number));
            }
            // What one does is booked for both.
            if self.has_double_of(host) {
                continue;
            }
            let quarantined = job.state == crate::job::State::Quarantined;
            let heard = long && job.fence == work.fence && stage.is_final() && stage.is_past_return();
            if heard && !quarantined && job.state.to_string() != stage.to_string() {
                broken.get_or_insert(format!("host {} is {stage}, the books say {}", host.number, job.state));
            }
            // What the plan that was replaced had installed stays.
            let earlier = |&(n, p, _): &(usize, PlanId, (usize, u64))| n == host.number && p != work.plan;
            if !quarantined
                && work.direction == Direction::Forward
                && !self.oath.commits.iter().any(earlier)
                && host.packages.contains(&Version::New)
                && !stage.is_past_return()
                && job.fence == work.fence
            {
                broken.get_or_insert(format!("host {} has the new version and no job", host.number));
            }
        }
        if let Some(how) = broken {
            self.oath.breaks(Kind::Job, || how);
        }
    }
}

/// How a wave's row differs from its jobs, or goes beyond its bounds.
fn differs(book: &Book, wave: usize, row: &Row) -> Option<String> {
    let (mut inflight, mut proven, mut skipped, mut failed, mut lost, mut hurt) = (0, 0, 0, 0, 0, 0);
    for (number, job) in book.jobs.iter().enumerate() {
        let Some(job): &Option<Job> = job else { continue };
        let here = book.seat(super::fleet::host_id(number), number).is_some_and(|seat| seat.wave == wave);
        if !here {
            continue;
        }
        inflight += u32::from(job.charged);
        let forward = job.direction == Direction::Forward;
        hurt += u32::from(
            forward && job.begun.is_some() && matches!(job.state.count(), Count::Failed | Count::Lost),
        );
        match job.state.count() {
            Count::Open => {}
            Count::Proven => proven += u32::from(!job.late),
            Count::Skipped => skipped += 1,
            Count::Failed => failed += 1,
            Count::Lost => lost += 1,
        }
    }
    let counted = Row { inflight, proven, skipped, failed, lost, ..*row };
    if counted != *row {
        return Some(format!("wave {wave}: the books say {row:?}, the jobs {counted:?}"));
    }
    if row.inflight > row.inflight_max {
        return Some(format!(
            "wave {wave}: {} hosts under change, {} may be",
            row.inflight, row.inflight_max
        ));
    }
    if row.bad() > row.bad_max && row.door == Door::Open {
        return Some(format!("wave {wave}: grants with {} bad, {} borne", row.bad(), row.bad_max));
    }
    // Whoever was granted when the last failure that is borne came in may fail, too; nobody after. Hosts that fell silent
    // or failed before the point of no return were not exposed.
    let exposed = row.bad_max + row.inflight_max;
    (hurt > exposed && row.door != Door::Back && book.rollout.generation == 0)
        .then(|| format!("wave {wave}: {hurt} hurt, at most {exposed} could be exposed"))
}
