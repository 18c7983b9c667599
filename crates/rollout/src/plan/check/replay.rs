//! Faults of what is replayed.

use super::Faults;
use crate::plan::probe::is_host;
use crate::plan::replay::{
    ATTEMPTS_BYTES_MAX, ATTEMPTS_MAX, Attempt, PAUSE_SECONDS_MAX, RATE_MAX, REPLAYS_MAX, ROUND_SECONDS_MAX,
    Replay, UNKNOWN_MAX,
};
use crate::plan::{Plan, TEXT_MAX};
use std::collections::BTreeSet;

impl Plan {
    pub(super) fn check_replays(&self, groups: &BTreeSet<&str>, faults: &mut Faults) {
        faults.count("replays", self.replays.len(), REPLAYS_MAX);
        for (number, replay) in self.replays.iter().enumerate() {
            let object = format!("replay {number}");
            if let Some(group) = replay.group.as_ref().filter(|group| !groups.contains(group.as_str())) {
                faults.add(&object, format!("group {group} is not in the plan"), "name a group of the plan");
            }
            replay.check(&object, faults);
            let rounds = 2 * replay.load.round_seconds + replay.load.pause_seconds;
            if !replay.attempts.is_empty() && self.timing.host_soak_seconds < rounds {
                let reason = format!(
                    "a round without attempts and one with them take {rounds} s, but a host watches itself for {} s",
                    self.timing.host_soak_seconds
                );
                faults.add(&object, reason, "make the host's soak longer, or rounds and pauses shorter");
            }
        }
    }
}

impl Replay {
    fn check(&self, object: &str, faults: &mut Faults) {
        if self.port == 0 {
            faults.add(object, "port 0", "name the port");
        }
        faults.text(object, &self.path);
        if !self.path.starts_with('/') || !self.path.bytes().all(|byte| byte.is_ascii_graphic()) {
            faults.add(object, format!("{:?} is no path", self.path), "begin with / and encode spaces");
        }
        if let Some(host) = self.host.as_ref().filter(|host| !is_host(host)) {
            faults.add(object, format!("{host:?} is no host"), "name it as its DNS does: shop.example");
        }
        if !is_unit(&self.unit) {
            faults.add(object, format!("{:?} is no unit", self.unit), "name it as systemctl does");
        }
        faults.count(object, self.attempts.len(), ATTEMPTS_MAX);
        faults.count(object, self.unknown.len(), UNKNOWN_MAX);
        for cve in &self.unknown {
            faults.text(object, cve);
        }
        for attempt in &self.attempts {
            faults.text(object, &attempt.signature);
            if let Some(fault) = attempt.fault() {
                let object = format!("{object}, {}", attempt.signature);
                faults.add(&object, fault, "leave it out");
            }
        }
        let bytes: usize = self.attempts.iter().map(Attempt::size_bytes).sum();
        if bytes > ATTEMPTS_BYTES_MAX {
            let reason = format!("its attempts have {bytes} bytes; at most {ATTEMPTS_BYTES_MAX}");
            faults.add(object, reason, "name fewer signatures");
        }
        self.check_terms(object, faults);
    }

    fn check_terms(&self, object: &str, faults: &mut Faults) {
        let (load, terms) = (&self.load, &self.terms);
        if !(1..=RATE_MAX).contains(&load.rate_per_second) {
            let reason = format!("{} attempts a second; between 1 and {RATE_MAX}", load.rate_per_second);
            faults.add(object, reason, "a proof is no load test");
        }
        faults.seconds(&format!("{object}, round"), load.round_seconds, 1, ROUND_SECONDS_MAX);
        faults.seconds(&format!("{object}, pause"), load.pause_seconds, 1, PAUSE_SECONDS_MAX);
        if terms.failed_percent_max >= 100 || terms.unanswered_percent_max > 100 {
            let reason = "as many may fail as are sent";
            faults.add(object, reason, "bear less than 100 %; of attempts, 100 % may go unanswered");
        }
        if terms.slower_times_max == 0 {
            faults.add(object, "0 times as slow", "bear at least 1: as slow as before");
        }
    }
}

/// A unit's full name, as `systemctl` takes it after `--`.
fn is_unit(unit: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.@_:\\".contains(&byte);
    unit.contains('.') && !unit.starts_with('-') && unit.len() <= TEXT_MAX && unit.bytes().all(plain)
}
