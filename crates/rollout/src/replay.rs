//! How a service did before the change, and does after it: numbers in, what is unstable out, in the operator's words.

use crate::plan::replay::{Replay, Terms};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A service that left more than so many percent of harmless requests unanswered before the change cannot be held against
/// itself.
const FAILED_BEFORE_MAX: u32 = 50;
/// Requests of which the slowest twentieth does not count.
const TWENTIETH: usize = 20;

/// How requests of one kind were answered in one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// That were to be sent.
    pub sent: u32,
    /// Of these: no answer in time; of harmless requests also one of 500 or above.
    pub failed: u32,
    /// Half of those answered took no longer, microseconds from when each was due.
    pub median_us: u32,
    /// Nineteen of twenty took no longer.
    pub p95_us: u32,
    /// The slowest.
    pub slowest_us: u32,
}

/// What one round showed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Harmless requests.
    pub harmless: Heard,
    /// Attempts; none sent: a round without.
    pub attempts: Heard,
    /// The unit's own memory at its end, without files that are only cached.
    pub memory_bytes: u64,
    /// How often systemd had restarted the unit by then.
    pub restarts: u64,
}

/// What is not borne.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unstable {
    /// Harmless requests fail.
    Failed {
        /// So many.
        failed: u32,
        /// Of so many.
        sent: u32,
        /// Percent that are borne.
        percent_max: u32,
        /// Whether attempts were sent with them.
        attempts: bool,
    },
    /// Harmless requests take long.
    Slow {
        /// Nineteen of twenty took no longer than this.
        p95_us: u32,
        /// The same before the change; `None`: not known any more.
        before_us: Option<u32>,
        /// Borne.
        p95_us_max: u32,
        /// Whether attempts were sent with them.
        attempts: bool,
    },
    /// Attempts get no answer.
    Unanswered {
        /// So many.
        failed: u32,
        /// Of so many.
        sent: u32,
        /// Percent that are borne.
        percent_max: u32,
    },
    /// The unit takes more and more memory.
    Grows {
        /// The unit.
        unit: String,
        /// At the end of this round.
        bytes: u64,
        /// What it is held against: what it took before the change, or at first after it, whichever is more.
        before_bytes: u64,
        /// Borne.
        bytes_max: u64,
    },
    /// systemd restarted the unit.
    Restarted {
        /// The unit.
        unit: String,
        /// So often since the first look after the change.
        times: u64,
    },
}

impl Heard {
    /// Of so many that were to be sent; `answered_us`: how long each that was answered took. The rest failed.
    pub fn of(sent: u32, answered_us: &mut [u32]) -> Self {
        answered_us.sort_unstable();
        let answered = answered_us.len();
        let at = |place: usize| answered_us.get(place).copied().unwrap_or(0);
        Self {
            sent,
            failed: sent.saturating_sub(u32::try_from(answered).unwrap_or(u32::MAX)),
            median_us: at(answered / 2),
            p95_us: at(answered.saturating_sub(1 + answered / TWENTIETH)),
            slowest_us: at(answered.saturating_sub(1)),
        }
    }

    /// Percent that failed, rounded down.
    fn failed_percent(&self) -> u32 {
        u32::try_from(u64::from(self.failed) * 100 / u64::from(self.sent.max(1))).unwrap_or(u32::MAX)
    }

    /// Whether more failed than so many percent.
    fn fails_beyond(&self, percent_max: u32) -> bool {
        u64::from(self.failed) * 100 > u64::from(self.sent) * u64::from(percent_max)
    }

    /// The worse of either number. Failures are worse by their share.
    fn worst(self, other: Self) -> Self {
        let share = |one: &Self| (one.failed_percent(), one.failed, one.sent);
        let more = if share(&other) > share(&self) { other } else { self };
        Self {
            sent: more.sent,
            failed: more.failed,
            median_us: self.median_us.max(other.median_us),
            p95_us: self.p95_us.max(other.p95_us),
            slowest_us: self.slowest_us.max(other.slowest_us),
        }
    }
}

impl Round {
    /// Whether a service that did so can be held against itself later.
    pub fn is_sound(&self) -> bool {
        self.harmless.sent > 0 && !self.harmless.fails_beyond(FAILED_BEFORE_MAX)
    }

    /// The worse of either number.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        Self {
            harmless: self.harmless.worst(other.harmless),
            attempts: self.attempts.worst(other.attempts),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            restarts: self.restarts.max(other.restarts),
        }
    }
}

impl Terms {
    /// What is not borne of a round. `before`: the service before the change, if that is still known; `first`: the first round
    /// after it.
    pub fn judge(&self, unit: &str, before: Option<&Round>, first: &Round, now: &Round) -> Vec<Unstable> {
        let mut unstable = Vec::new();
        let before = before.filter(|round| round.is_sound());
        let attempts = now.attempts.sent > 0;
        let restarts = now.restarts.saturating_sub(first.restarts);
        if restarts > 0 {
            unstable.push(Unstable::Restarted { unit: unit.to_owned(), times: restarts });
        }
        let failed_before = before.map_or(0, |round| round.harmless.failed_percent());
        let percent_max = self.failed_percent_max.saturating_add(failed_before);
        let Heard { sent, failed, p95_us, .. } = now.harmless;
        if now.harmless.fails_beyond(percent_max) {
            unstable.push(Unstable::Failed { failed, sent, percent_max, attempts });
        }
        let before_us = before.map(|round| round.harmless.p95_us);
        let floor = self.latency_floor_ms.saturating_mul(1_000);
        let p95_us_max = before_us.unwrap_or(0).saturating_mul(self.slower_times_max).max(floor);
        if p95_us > p95_us_max {
            unstable.push(Unstable::Slow { p95_us, before_us, p95_us_max, attempts });
        }
        if now.attempts.fails_beyond(self.unanswered_percent_max) {
            let Heard { sent, failed, .. } = now.attempts;
            let percent_max = self.unanswered_percent_max;
            unstable.push(Unstable::Unanswered { failed, sent, percent_max });
        }
        // A service just started is small, and one that ran for weeks is as large as it gets.
        let before_bytes = before.map_or(0, |round| round.memory_bytes).max(first.memory_bytes);
        let more = before_bytes / 100 * u64::from(self.memory_percent_max);
        let bytes_max = before_bytes.saturating_add(more.max(self.memory_floor_bytes));
        if now.memory_bytes > bytes_max {
            let (unit, bytes) = (unit.to_owned(), now.memory_bytes);
            unstable.push(Unstable::Grows { unit, bytes, before_bytes, bytes_max });
        }
        unstable
    }
}

impl Replay {
    /// Its place, for people: `http:80/ of nginx.service`.
    pub fn place(&self) -> String {
        let named = self.host.as_ref().map(|host| format!(" named {host}")).unwrap_or_default();
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}:{}{} of {}{named}", self.port, self.path, self.unit)
    }
}

impl fmt::Display for Unstable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when =
            |attempts: &bool| if *attempts { "under replayed attempts" } else { "without any attempt" };
        match self {
            Self::Failed { failed, sent, percent_max, attempts } => write!(
                out,
                "{}, {failed} of {sent} harmless requests failed; {percent_max} % are borne",
                when(attempts)
            ),
            Self::Slow { p95_us, before_us, p95_us_max, attempts } => {
                write!(
                    out,
                    "{}, one harmless request of twenty took over {}",
                    when(attempts),
                    Millis(*p95_us)
                )?;
                match before_us {
                    Some(before) => write!(out, "; before the change {}", Millis(*before))?,
                    None => out.write_str("; before the change not known any more")?,
                }
                write!(out, "; {} are borne", Millis(*p95_us_max))
            }
            Self::Unanswered { failed, sent, percent_max } => {
                write!(out, "{failed} of {sent} replayed attempts got no answer; {percent_max} % are borne")
            }
            Self::Grows { unit, bytes, before_bytes, bytes_max } => write!(
                out,
                "{unit} has grown to {} under replayed attempts; {} at first, {} are borne",
                Mebibytes(*bytes),
                Mebibytes(*before_bytes),
                Mebibytes(*bytes_max)
            ),
            Self::Restarted { unit, times } => {
                write!(out, "{unit} was restarted {times} times under replayed attempts")
            }
        }
    }
}

struct Millis(u32);

impl fmt::Display for Millis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{} ms", self.0 / 1_000, self.0 % 1_000 / 100)
    }
}

struct Mebibytes(u64);

impl fmt::Display for Mebibytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} MiB", self.0 >> 20)
    }
}
