//! How long the agent waits. Pure: chance is an argument, a number from 0 up to 1.
//!
//! Waits are told to a monotonic clock, so that a clock that is set does not make a fleet rush or fall silent.

use std::time::Duration;

/// All of the agent's intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The first check-in comes at random within this time, so that a fleet that starts together does not call together.
    pub first_within: Duration,
    /// Between two check-ins at least, whatever the server asks for.
    pub interval_min: Duration,
    /// Between two check-ins at most.
    pub interval_max: Duration,
    /// The first error's back-off.
    pub back_off_base: Duration,
    /// The longest back-off, and how often a host that is held back asks again.
    pub back_off_max: Duration,
    /// The longest `Retry-After` that is heeded.
    pub retry_after_max: Duration,
    /// How often triggers are looked at while the server is out of reach.
    pub triggers: Duration,
    /// After a trigger, how long the host must be quiet before it is looked at: an upgrade takes its time.
    pub settling: Duration,
    /// The longest that a host that does not become quiet is waited for.
    pub settling_max: Duration,
    /// How often processes are looked at.
    pub processes: Duration,
    /// How often everything is looked at without a trigger.
    pub full: Duration,
    /// Between two tries to renew the certificate.
    pub renew: Duration,
    /// Until a job under way is looked at again.
    pub step: Duration,
    /// Until it is looked at again whether what is carried out is done.
    pub step_working: Duration,
    /// Until a job that waits for hours, or none, is looked at again.
    pub step_slow: Duration,
    /// While a job is under way, after a check-in that was not answered: a halt must reach hosts soon.
    pub unanswered: Duration,
    /// After a check-in that was not answered, while the end of a job is still to be told: people wait for it, and may take the host
    /// for lost. 10,000 hosts that end while the server is away are 500 check-ins a second, a third of what one bears.
    pub untold: Duration,
    /// Between two check-ins that tell of a new stage.
    pub news_min: Duration,
    /// How often it is verified, while a job is under way, that the list of plans is the newest.
    pub trust: Duration,
    /// How often a plan's probes are asked.
    pub probes: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            first_within: seconds(60),
            interval_min: seconds(1),
            interval_max: seconds(24 * 3600),
            back_off_base: seconds(1),
            back_off_max: seconds(15 * 60),
            retry_after_max: seconds(3600),
            triggers: seconds(60),
            settling: seconds(5),
            settling_max: seconds(120),
            processes: seconds(5 * 60),
            full: seconds(6 * 3600),
            renew: seconds(15 * 60),
            step: seconds(1),
            step_working: Duration::from_millis(100),
            step_slow: seconds(30),
            unanswered: seconds(10),
            untold: seconds(20),
            news_min: seconds(1),
            trust: seconds(3600),
            probes: seconds(15),
        }
    }
}

impl Pace {
    /// Before the first check-in.
    pub(crate) fn first(&self, chance: f64) -> Duration {
        self.first_within.mul_f64(chance)
    }

    /// Until the next check-in, when the server asked for one in `seconds`: from half of it to one and a half, so that the
    /// mean is what was asked for and hosts drift apart.
    pub(crate) fn next(&self, seconds: u32, chance: f64) -> Duration {
        let asked = Duration::from_secs(seconds.into()).clamp(self.interval_min, self.interval_max);
        asked.mul_f64(0.5 + chance)
    }

    /// After `failures` in a row, 1 or more: full jitter below a bound that doubles each time.
    pub(crate) fn back_off(&self, failures: u32, chance: f64) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        self.back_off_base.saturating_mul(doubled).min(self.back_off_max).mul_f64(chance)
    }

    /// When the server said when to come back: never earlier, and up to half as late again, so that those who were sent away
    /// together do not return together.
    pub(crate) fn retry_after(&self, asked: Duration, chance: f64) -> Duration {
        asked.min(self.retry_after_max).mul_f64(1.0 + chance / 2.0)
    }

    /// While a job is under way: no later than this, and not all hosts at once.
    pub(crate) fn unanswered(&self, chance: f64) -> Duration {
        self.unanswered.mul_f64(0.75 + chance / 2.0)
    }

    /// While the end of a job is to be told: no later than this, and not all hosts at once.
    pub(crate) fn untold(&self, chance: f64) -> Duration {
        self.untold.mul_f64(0.75 + chance / 2.0)
    }

    /// When only a person can help: rarely.
    pub(crate) fn rarely(&self, chance: f64) -> Duration {
        self.back_off_max.mul_f64(0.5 + chance)
    }
}

/// A number from 0 up to 1, drawn from the system.
pub(crate) fn chance() -> f64 {
    // Without randomness nothing of the agent works (TLS needs it too); the middle is as good as any other.
    let drawn = getrandom::u64().unwrap_or(1 << 63);
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    let fraction = (drawn >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_within_their_bounds() {
        let pace = Pace::default();
        let seconds = |wait: Duration| wait.as_millis() / 1000;
        assert_eq!((seconds(pace.next(60, 0.0)), seconds(pace.next(60, 0.5))), (30, 60));
        assert_eq!(seconds(pace.next(0, 0.5)), 1);
        assert_eq!(seconds(pace.next(u32::MAX, 0.5)), 86_400);
        assert_eq!(
            (1..6).map(|failures| seconds(pace.back_off(failures, 1.0))).collect::<Vec<_>>(),
            [1, 2, 4, 8, 16]
        );
        assert_eq!(seconds(pace.back_off(3, 0.0)), 0);
        assert_eq!(seconds(pace.back_off(u32::MAX, 1.0)), 900);
        assert_eq!((seconds(pace.untold(0.0)), seconds(pace.untold(1.0))), (15, 25));
        let asked = Duration::from_secs(100);
        assert_eq!(
            (seconds(pace.retry_after(asked, 0.0)), seconds(pace.retry_after(asked, 1.0))),
            (100, 150)
        );
        assert_eq!(seconds(pace.retry_after(Duration::MAX, 0.0)), 3600);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&chance())));
    }
}
