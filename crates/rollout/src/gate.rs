//! The condition to go on from one wave to the next. It opens on evidence, never on silence: the denominator is the
//! wave's size when it opened, a proven host counts only while it is heard and healthy, and a missing number holds.

use crate::grant::Row;
use crate::plan::{Control, GateTerms};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Chance of calling equal groups different: one in twenty.
const SIGNIFICANT: f64 = 0.05;
/// Weights above this are scaled down; far from the largest f64.
const LARGE: f64 = 1e200;

/// What is known about a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readings {
    /// The wave's books.
    pub row: Row,
    /// Proven hosts, late joiners left out, that were heard within the silence allowed and are healthy.
    pub proven_heard: u32,
    /// Seconds since the last host settled; `None`: not all have.
    pub soaked_seconds: Option<i64>,
    /// Answers about health from the wave's hosts since then.
    pub samples: u32,
    /// Patched hosts that were heard, and of these unhealthy ones.
    pub patched: Health,
    /// Hosts not patched yet that were heard, and of these unhealthy ones.
    pub unpatched: Health,
    /// Alerts firing now; `None`: not known.
    pub alerts: Option<u32>,
}

/// Health of a group of hosts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Hosts heard.
    pub heard: u32,
    /// Of these, unhealthy.
    pub unhealthy: u32,
}

/// One number against its threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// What it is.
    pub what: What,
    /// Its value; `None`: missing, which holds.
    pub value: Option<i64>,
    /// What it is held against.
    pub threshold: i64,
    /// What it says.
    pub says: Says,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Hosts proven, heard and healthy, of the wave's frozen number; at least.
    Proven,
    /// Failed, lost, rolled back, inconsistent, quarantined; at most.
    Bad,
    /// Skipped; at most.
    Skipped,
    /// Seconds soaked; at least.
    Soaked,
    /// Answers about health; at least.
    Samples,
    /// Hosts to compare, the fewer of patched and not patched; at least.
    Compared,
    /// Points by which more patched hosts than others are unhealthy; at most.
    Worse,
    /// Alerts firing; at most.
    Alerts,
}

/// What a number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Says {
    /// Go on.
    Open,
    /// Not yet.
    Hold,
    /// Stop.
    Halt,
}

/// The gate with its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// All of them; the gate says what the worst of them says.
    pub numbers: Vec<Number>,
}

impl Gate {
    /// What it says.
    pub fn says(&self) -> Says {
        self.numbers.iter().map(|number| number.says).max().unwrap_or(Says::Hold)
    }
}

/// Reads a gate.
pub fn gate(terms: &GateTerms, readings: &Readings) -> Gate {
    let row = &readings.row;
    let (hosts, percent) = (u64::from(row.hosts), u64::from(terms.proven_percent_min));
    let proven_min = i64::try_from((hosts * percent).div_ceil(100).max(1)).unwrap_or(i64::MAX);
    let least = |what, value: Option<i64>, threshold: i64| {
        let says = if value.is_some_and(|value| value >= threshold) { Says::Open } else { Says::Hold };
        Number { what, value, threshold, says }
    };
    let most = |what, value: Option<i64>, threshold: i64, beyond: Says| {
        let says = match value {
            Some(value) if value <= threshold => Says::Open,
            Some(_) => beyond,
            None => Says::Hold,
        };
        Number { what, value, threshold, says }
    };
    let mut numbers = vec![
        least(What::Proven, Some(readings.proven_heard.into()), proven_min),
        most(What::Bad, Some(row.bad().into()), row.bad_max.into(), Says::Halt),
        most(What::Skipped, Some(row.skipped.into()), terms.skipped_max.into(), Says::Hold),
        least(What::Soaked, readings.soaked_seconds, terms.soak_seconds.into()),
        least(What::Samples, Some(readings.samples.into()), terms.samples_min.into()),
        most(What::Alerts, readings.alerts.map(i64::from), 0, Says::Hold),
    ];
    if let Some(control) = terms.control {
        numbers.extend(compare(control, readings.patched, readings.unpatched));
    }
    Gate { numbers }
}

/// Compares patched hosts with hosts not patched yet. Too few on either side hold. A difference beyond the terms holds;
/// one that chance makes in fewer than one case of twenty (Fisher's exact test, one-sided) halts.
///
/// On small samples the test is cautious, not blind: 3 of 5 against 0 of 5 holds (p = 0.08), 4 of 5 halts (p = 0.02).
fn compare(control: Control, patched: Health, unpatched: Health) -> [Number; 2] {
    let fewer = patched.heard.min(unpatched.heard);
    let enough = fewer >= control.hosts_min && fewer > 0;
    let points = |health: Health| 100 * i64::from(health.unhealthy) / i64::from(health.heard.max(1));
    let worse = points(patched) - points(unpatched);
    let threshold = i64::from(control.worse_percent_max);
    let says = if enough && worse <= threshold {
        Says::Open
    } else if enough && fisher(patched, unpatched) < SIGNIFICANT {
        Says::Halt
    } else {
        Says::Hold
    };
    [
        Number {
            what: What::Compared,
            value: Some(fewer.into()),
            threshold: control.hosts_min.into(),
            says: if enough { Says::Open } else { Says::Hold },
        },
        Number { what: What::Worse, value: enough.then_some(worse), threshold, says },
    ]
}

/// The chance that so many or more of the unhealthy hosts are patched ones, if patching made no difference.
///
/// Only sums, products and quotients: the same bits on every machine.
fn fisher(patched: Health, unpatched: Health) -> f64 {
    let (n, m) = (f64::from(patched.heard), f64::from(unpatched.heard));
    let unhealthy = patched.unhealthy.saturating_add(unpatched.unhealthy);
    let least = unhealthy.saturating_sub(unpatched.heard);
    let most = unhealthy.min(patched.heard);
    let (mut weight, mut all, mut tail) = (1.0_f64, 0.0_f64, 0.0_f64);
    for k in least..=most {
        all += weight;
        if k >= patched.unhealthy {
            tail += weight;
        }
        let (k, unhealthy) = (f64::from(k), f64::from(unhealthy));
        weight *= (n - k) * (unhealthy - k) / ((k + 1.0) * (m - unhealthy + k + 1.0));
        if all > LARGE {
            (weight, all, tail) = (weight / LARGE, all / LARGE, tail / LARGE);
        }
    }
    tail / all
}

impl fmt::Display for Number {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bound) = match self.what {
            What::Proven => ("proven, heard and healthy", "at least"),
            What::Bad => ("failed or lost", "at most"),
            What::Skipped => ("skipped", "at most"),
            What::Soaked => ("seconds soaked", "at least"),
            What::Samples => ("answers about health", "at least"),
            What::Compared => ("hosts to compare", "at least"),
            What::Worse => ("points worse than hosts not patched", "at most"),
            What::Alerts => ("alerts firing", "at most"),
        };
        match self.value {
            Some(value) => write!(out, "{name} {value}, {bound} {}", self.threshold),
            None => write!(out, "{name} not known, {bound} {}", self.threshold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_test_is_fisher_s() {
        // By hand: C(5,3)·C(5,0)/C(10,3) = 10/120; C(5,4)/C(10,4) = 5/210; all equal: 1.
        let health = |heard, unhealthy| Health { heard, unhealthy };
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(near(fisher(health(5, 3), health(5, 0)), 10.0 / 120.0));
        assert!(near(fisher(health(5, 4), health(5, 0)), 5.0 / 210.0));
        assert!(near(fisher(health(5, 0), health(5, 5)), 1.0));
        assert!(fisher(health(50_000, 5_000), health(50_000, 4_000)) < 1e-9);
    }
}
