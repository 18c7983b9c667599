//! What those who watch see: where the rollout stands now, and what changed last, in words.

use crate::answers::{Job, Number, Rollout, Wave};
use crate::output::lines::some;
use crate::output::rollout::{against, is_over, reasons};
use crate::output::table::clean;
use jiff::SignedDuration;
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use uuid::Uuid;

/// Hosts that are named in one line.
const HOSTS_NAMED: usize = 4;
/// Changes that are kept.
const CHANGES_MAX: usize = 200;
/// A host says why it failed with the check-in after the one that halts the rollout: so long it is waited for after the end.
const WHY_WITHIN: SignedDuration = SignedDuration::from_secs(90);

/// What is seen.
#[derive(Debug)]
pub(super) struct Scene {
    /// Where it stands.
    pub(super) rollout: Rollout,
    /// Hosts under change and in trouble.
    pub(super) jobs: Vec<Job>,
    /// Since when each of them is where it is, as far as it was seen from here.
    pub(super) since: BTreeMap<Uuid, Timestamp>,
    /// What changed, the latest last.
    pub(super) changes: VecDeque<(Timestamp, String)>,
    /// Since when the server does not answer, and why.
    pub(super) silent: Option<(Timestamp, String)>,
    /// When it was seen to be over, where it was not from the start.
    over: Option<Timestamp>,
}

impl Scene {
    pub(super) fn new(rollout: Rollout, jobs: Vec<Job>) -> Self {
        Self { rollout, jobs, since: BTreeMap::new(), changes: VecDeque::new(), silent: None, over: None }
    }

    /// Whether nothing more comes: it is over, and hosts that failed have said why, or had the time to.
    pub(super) fn is_told(&self, now: Timestamp) -> bool {
        let waits = |over: Timestamp| now.duration_since(over) < WHY_WITHIN;
        is_over(&self.rollout) && !(self.rollout.failures_unheard > 0 && self.over.is_some_and(waits))
    }

    /// Takes what was seen; gives what changed, in words.
    pub(super) fn seen(&mut self, rollout: Rollout, jobs: Vec<Job>, now: Timestamp) -> Vec<String> {
        let mut changed = Vec::new();
        if self.silent.take().is_some() {
            changed.push("the server answers again".to_owned());
        }
        changed.extend(differences(&self.rollout, &rollout));
        match (is_over(&self.rollout), is_over(&rollout)) {
            (false, true) => {
                self.over = Some(now);
                if rollout.failures_unheard > 0 {
                    changed.push(format!("hosts that failed are given {WHY_WITHIN:#} to say why"));
                }
            }
            (true, true) => {}
            (_, false) => self.over = None,
        }
        // Hosts that come to the same place together are told in a line.
        let mut moved: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for job in &jobs {
            let before = self.jobs.iter().find(|before| before.host.id == job.host.id);
            if before.is_none_or(|before| before.state != job.state) {
                self.since.insert(job.host.id, job.reported_at.unwrap_or(now));
                let stands = if job.text.is_empty() { &job.state } else { &job.text };
                moved.entry(stands).or_default().push(&job.host.name);
            }
        }
        changed.extend(
            moved.iter().map(|(stands, hosts)| format!("{}: {}", some(hosts, HOSTS_NAMED), clean(stands))),
        );
        self.since.retain(|host, _| jobs.iter().any(|job| job.host.id == *host));
        (self.rollout, self.jobs) = (rollout, jobs);
        self.note(&changed, now);
        changed
    }

    /// The server does not answer; gives what is new about that.
    pub(super) fn silent(&mut self, why: &str, now: Timestamp) -> Vec<String> {
        if self.silent.is_some() {
            return Vec::new();
        }
        self.silent = Some((now, clean(why)));
        let changed = vec![format!("the server does not answer ({}); it is asked again", clean(why))];
        self.note(&changed, now);
        changed
    }

    /// Notes what changed.
    pub(super) fn note(&mut self, changed: &[String], now: Timestamp) {
        self.changes.extend(changed.iter().map(|text| (now, text.clone())));
        while self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }
}

/// What is different about the rollout itself.
fn differences(before: &Rollout, after: &Rollout) -> Vec<String> {
    let mut changed = Vec::new();
    if before.state_text != after.state_text {
        changed.push(clean(&after.state_text));
    }
    for wave in &after.waves {
        let old = before.waves.iter().find(|old| old.number == wave.number);
        if old.is_none_or(|old| counts(old) != counts(wave)) {
            changed.push(format!("wave {}: {}", wave.number, books(wave)));
        }
        for number in &wave.gate {
            let old = old.and_then(|old| old.gate.iter().find(|old| old.what == number.what));
            if old.is_none_or(|old| old.says != number.says) {
                changed.push(format!("gate of wave {}: {}", wave.number, read(number)));
            }
        }
    }
    let known = reasons(before);
    let new = reasons(after).into_iter().filter(|line| !known.contains(line));
    changed.extend(new.map(|line| format!("why it failed: {line}")));
    // A number that counts up is no new wait.
    let shape = |wait: &str| wait.replace(|letter: char| letter.is_ascii_digit(), "");
    for wait in &after.waits {
        if !before.waits.iter().any(|old| shape(old) == shape(wait)) {
            changed.push(format!("waits: {}", clean(wait)));
        }
    }
    changed
}

fn counts(wave: &Wave) -> [u32; 7] {
    [wave.hosts, wave.late, wave.under_change, wave.proven, wave.skipped, wave.failed, wave.lost]
}

/// A wave's counts, those that are not nought.
pub(super) fn books(wave: &Wave) -> String {
    let mut text = format!("{} of {} proven", wave.proven, wave.hosts);
    for (many, what) in [
        (wave.under_change, "changing"),
        (wave.preparing, "preparing"),
        (wave.skipped, "skipped"),
        (wave.failed, "failed"),
        (wave.lost, "lost"),
        (wave.late, "late"),
    ] {
        if many > 0 {
            text = format!("{text}, {many} {what}");
        }
    }
    text
}

/// A number of the gate: what it says, it, and its threshold.
pub(super) fn read(number: &Number) -> String {
    let (value, bound) = against(number);
    format!("{}: {value}, {bound}", clean(&number.says))
}
