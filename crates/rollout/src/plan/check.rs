//! Every fault of a plan, each with its remedy: asked before it is signed, and again by whoever loads it.

pub mod agent;
mod replay;

use super::{
    CHANGES_MAX, CLASSES_MAX, COHORTS_MAX, HOSTS_MAX, HostClass, HostId, LIST_MAX, Plan, Reboot, Rollback,
    TEXT_MAX, Track, WAVES_MAX, Wave,
};
use crate::window::Calendar;
use advisory::Problem;
use jiff::tz::TimeZoneDatabase;
use std::collections::BTreeSet;

/// Shortest soak of a wave on the normal track: an hour.
pub const SOAK_MIN_NORMAL: u32 = 3_600;
/// Shortest soak on the emergency track: five minutes, five check-ins.
pub const SOAK_MIN_EMERGENCY: u32 = 300;
/// Longest lease, deadline, soak or timeout: 30 days.
pub const SECONDS_MAX: u32 = 30 * 24 * 3_600;
/// Reboots of one host for one plan. The most that OS Config allows a task, too.
pub const REBOOTS_MAX: u32 = 5;
/// A statement "not halted" older than this says little: 15 minutes.
pub const CLEARANCE_MAX: u32 = 900;

/// Collects faults of one plan.
struct Faults(Vec<Problem>);

impl Faults {
    fn add(&mut self, object: &str, reason: impl Into<String>, remedy: &str) {
        self.0.push(Problem::new("check plan", object, reason.into()).remedy(remedy));
    }

    /// A list that must not be longer than `most`.
    fn count(&mut self, object: &str, count: usize, most: usize) {
        if count > most {
            self.add(object, format!("{count} entries; at most {most}"), "split the plan");
        }
    }

    /// A text that people or machines read: neither empty nor endless, without control characters.
    fn text(&mut self, object: &str, text: &str) {
        if text.is_empty() {
            self.add(object, "empty", "name it");
        } else if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
            let reason = format!("longer than {TEXT_MAX} bytes, or with control characters");
            self.add(object, reason, "shorten it to one line");
        }
    }

    /// A name or version that reaches a package manager: no spaces, no leading dash, nothing a shell would read.
    fn word(&mut self, object: &str, word: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.:~^_".contains(&byte);
        if word.is_empty() || word.len() > TEXT_MAX || word.starts_with('-') || !word.bytes().all(plain) {
            self.add(object, format!("{word:?} is no package's name or version"), "take it from the archive");
        }
    }

    fn seconds(&mut self, object: &str, seconds: u32, least: u32, most: u32) {
        if !(least..=most).contains(&seconds) {
            let reason = format!("{seconds} s; between {least} and {most}");
            self.add(object, reason, "choose a time within");
        }
    }

    fn distinct<'a>(&mut self, object: &str, names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let mut seen = BTreeSet::new();
        for name in names {
            self.text(object, name);
            if !seen.insert(name) {
                self.add(object, format!("{name} twice"), "name it once");
            }
        }
        seen
    }
}

impl Plan {
    /// Every fault that keeps this plan from being signed; empty: it can be carried out as far as its text tells.
    pub fn check(&self, zones: &TimeZoneDatabase) -> Vec<Problem> {
        let mut faults = Faults(Vec::new());
        self.check_head(&mut faults);
        let classes = faults.distinct("classes", self.classes.iter().map(|class| class.name.as_str()));
        faults.count("classes", self.classes.len(), CLASSES_MAX);
        for class in &self.classes {
            self.check_class(class, &mut faults);
        }
        let groups = faults.distinct("groups", self.groups.iter().map(|group| group.name.as_str()));
        faults.count("groups", self.groups.len(), LIST_MAX);
        for group in self.groups.iter().filter(|group| group.away_max == 0) {
            let object = format!("group {}", group.name);
            faults.add(&object, "no host of it may be away, so none can be patched", "allow at least one");
        }
        self.check_waves(&classes, &groups, &mut faults);
        self.check_probes(&groups, &mut faults);
        self.check_replays(&groups, &mut faults);
        self.check_timing(&mut faults);
        agent::check(self, &mut faults);
        if let Err(problem) = Calendar::read(&self.windows, &self.blackouts, zones) {
            faults.0.push(problem);
        }
        faults.0
    }

    fn check_head(&self, faults: &mut Faults) {
        faults.text("title", &self.title);
        faults.text("environment", &self.environment);
        if self.format != super::FORMAT {
            faults.add("format", format!("{}", self.format), "make it again with this version");
        }
        if self.expires <= self.created || self.expires <= self.not_before {
            faults.add("expires", "before it may begin", "give it time: at least all soaks together");
        } else if !self.waves.is_empty() && self.earliest(self.waves.len() - 1) >= self.expires {
            faults.add("expires", "before the last wave may begin", "expire later, or soak shorter");
        }
        if self.supersedes == Some(self.id) {
            faults.add("supersedes", "itself", "name the older plan, or none");
        }
        for (name, count) in [
            ("bulletins", self.bulletins.len()),
            ("windows", self.windows.len()),
            ("blackouts", self.blackouts.len()),
            ("probes", self.probes.len()),
            ("overrides", self.overrides.len()),
        ] {
            faults.count(name, count, LIST_MAX);
        }
        for bulletin in self.bulletins.iter().chain(&self.decision) {
            faults.text("bulletins", bulletin);
        }
        for entry in &self.overrides {
            faults.text(&format!("override of {} {}", entry.package, entry.version), &entry.reason);
        }
    }

    fn check_class(&self, class: &HostClass, faults: &mut Faults) {
        let object = format!("class {}", class.name);
        faults.text(&object, &class.release);
        faults.word(&object, &class.arch);
        faults.count(&object, class.changes.len(), CHANGES_MAX);
        if class.changes.is_empty() {
            faults.add(&object, "changes nothing", "leave the class out");
        }
        let mut seen = BTreeSet::new();
        for change in &class.changes {
            let object = format!("{object}, {}", change.name);
            for word in
                [&change.name, &change.arch, &change.source, &change.to].into_iter().chain(&change.from)
            {
                faults.word(&object, word);
            }
            faults.text(&object, &change.archive);
            if !seen.insert((&change.name, &change.arch)) {
                faults.add(&object, "twice", "name one version");
            }
            if change.from.as_ref() == Some(&change.to) {
                faults.add(&object, format!("{} is what is installed", change.to), "leave it out");
            }
            if change.file.size_bytes == 0 || change.back.as_ref().is_some_and(|back| back.size_bytes == 0) {
                faults.add(&object, "its file is empty", "take digest and size from the archive");
            }
            if self.rollback == Rollback::OnFailure && change.from.is_some() && change.back.is_none() {
                let remedy = "add the file of the old version, or plan without rollback";
                faults.add(&object, "cannot be rolled back: the old file is not named", remedy);
            }
        }
    }

    fn check_waves(&self, classes: &BTreeSet<&str>, groups: &BTreeSet<&str>, faults: &mut Faults) {
        faults.count("waves", self.waves.len(), WAVES_MAX);
        let hosts: usize = self.waves.iter().flat_map(|wave| &wave.cohorts).map(|c| c.hosts.len()).sum();
        faults.count("hosts", hosts, HOSTS_MAX);
        if hosts == 0 {
            faults.add("waves", "no host", "select hosts");
        }
        let mut seen: BTreeSet<HostId> = BTreeSet::new();
        for (number, wave) in self.waves.iter().enumerate() {
            let object = format!("wave {number}");
            faults.text(&object, &wave.name);
            faults.count(&object, wave.cohorts.len(), COHORTS_MAX);
            if wave.hosts().next().is_none() {
                faults.add(&object, "no host: its gate could show nothing", "leave the wave out");
            }
            for cohort in &wave.cohorts {
                if !classes.contains(cohort.class.as_str()) {
                    faults.add(
                        &object,
                        format!("class {} is not in the plan", cohort.class),
                        "add the class",
                    );
                }
                for group in cohort.groups.iter().filter(|group| !groups.contains(group.as_str())) {
                    faults.add(
                        &object,
                        format!("group {group} is not in the plan"),
                        "say how many may be away",
                    );
                }
                if !cohort.hosts.is_sorted() {
                    faults.add(&object, "hosts are not sorted", "sort them by id");
                }
                if cohort.canary != (number == 0) {
                    let remedy = "the first wave is the canaries' and only theirs, whatever the haste";
                    faults.add(&object, "canaries outside the first wave, or others in it", remedy);
                }
                for &host in cohort.hosts.iter().filter(|&&host| !seen.insert(host)) {
                    faults.add(&object, format!("host {host} twice"), "one place for each host");
                }
            }
            self.check_gate(&object, wave, faults);
            if number + 1 == self.waves.len() && wave.gate.control.is_some() {
                let reason = "after the last wave nobody is left to compare with";
                faults.add(&object, reason, "compare in earlier waves only");
            }
            if let Some(late) = &wave.late {
                if number + 1 != self.waves.len() || number == 0 {
                    faults.add(
                        &object,
                        "late joiners",
                        "only the last wave takes them, and never the canaries'",
                    );
                }
                faults.text(&object, &late.group);
                faults.count(&object, usize::try_from(late.hosts_max).unwrap_or(usize::MAX), HOSTS_MAX);
                if !classes.contains(late.class.as_str())
                    || late.groups.iter().any(|group| !groups.contains(group.as_str()))
                {
                    faults.add(&object, "late joiners' class or group is not in the plan", "add it");
                }
            }
        }
        let canaries = self.waves.first().map_or(0, |wave| wave.hosts().count());
        // A handful, or a tenth: more is a wave, not a warning.
        if hosts > 1 && canaries == hosts || canaries > 10.max(hosts / 10) {
            let reason = format!("{canaries} of {hosts} hosts are canaries");
            faults.add("wave 0", reason, "at most ten or a tenth, and never all");
        }
    }

    fn check_gate(&self, object: &str, wave: &Wave, faults: &mut Faults) {
        let gate = &wave.gate;
        let least = match self.track {
            Track::Normal => SOAK_MIN_NORMAL,
            Track::Emergency => SOAK_MIN_EMERGENCY,
        };
        faults.seconds(&format!("{object}, soak"), gate.soak_seconds, least, SECONDS_MAX);
        if !(1..=100).contains(&gate.proven_percent_min) {
            let reason = format!("{} % proven", gate.proven_percent_min);
            faults.add(object, reason, "between 1 and 100: a gate that asks for nothing opens on silence");
        }
        let hosts = u32::try_from(wave.hosts().count()).unwrap_or(u32::MAX);
        if gate.bad_max >= hosts && hosts > 0 {
            let reason = format!("all {hosts} hosts may fail");
            faults.add(object, reason, "bear fewer failures than there are hosts");
        }
        if gate.samples_min == 0 {
            faults.add(object, "no answer about health is asked for", "ask for at least one");
        }
        if wave.hosts_at_once_max == 0 {
            faults.add(object, "no host may be under change", "allow at least one");
        }
        if let Some(control) = gate.control
            && (control.hosts_min == 0 || control.worse_percent_max > 100)
        {
            faults.add(
                object,
                "the comparison compares nothing",
                "at least one host on either side, at most 100 %",
            );
        }
    }

    fn check_probes(&self, groups: &BTreeSet<&str>, faults: &mut Faults) {
        for (number, probe) in self.probes.iter().enumerate() {
            let object = format!("probe {number}");
            faults.seconds(&object, probe.timeout_seconds, 1, 600);
            if let Some(group) = probe.group.as_ref().filter(|group| !groups.contains(group.as_str())) {
                faults.add(&object, format!("group {group} is not in the plan"), "name a group of the plan");
            }
            for (reason, remedy) in probe.faults() {
                faults.add(&object, reason, remedy);
            }
        }
    }

    fn check_timing(&self, faults: &mut Faults) {
        let timing = &self.timing;
        faults.seconds("lease", timing.lease_seconds, 60, SECONDS_MAX);
        faults.seconds("clearance", timing.clearance_seconds, 10, CLEARANCE_MAX);
        faults.seconds("deadline", timing.deadline_seconds, 60, SECONDS_MAX);
        faults.seconds("silence", timing.silence_seconds, 60, SECONDS_MAX);
        faults.seconds("expected time", timing.expected_seconds, 1, SECONDS_MAX);
        faults.seconds("time to verify", timing.verify_seconds, 1, SECONDS_MAX);
        faults.seconds("host's soak", timing.host_soak_seconds, 0, SECONDS_MAX);
        let needs = timing
            .expected_seconds
            .saturating_add(timing.verify_seconds)
            .saturating_add(timing.host_soak_seconds);
        if timing.deadline_seconds < needs {
            let reason = format!("{} s, but a host takes {needs} s", timing.deadline_seconds);
            faults.add(
                "deadline",
                reason,
                "make it longer than expected time, verification and soak together",
            );
        }
        if let Reboot::IfNeeded { reboots_max } = self.reboot
            && !(1..=REBOOTS_MAX).contains(&reboots_max)
        {
            faults.add("reboot", format!("{reboots_max} reboots"), "between 1 and 5, or never");
        }
        for window in &self.windows {
            if u64::from(window.minutes) * 60 < u64::from(timing.expected_seconds) {
                let reason = format!("{} minutes are shorter than one host takes", window.minutes);
                faults.add("window", reason, "open it longer");
            }
        }
    }
}
