//! The fleet's census: takes what hosts counted in their web logs; gives the fleet's sums, and what they mean.
//!
//! The walk: `intake` looks through what a host says, the store adds it up; [`Watch`], on one server at a time, tells which
//! attempts reach a host that is vulnerable to them, which signatures start to grow or are new, and what comes of each.

pub(crate) mod intake;
pub(crate) mod key;
mod watch;

pub use watch::{Watch, run};
pub(crate) use watch::{date_of, prune};

use jiff::Timestamp;

/// Seconds in an hour.
const HOUR_SECONDS: i64 = 3_600;

/// The hour of a moment, since 1970, UTC.
pub(crate) fn hour_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(HOUR_SECONDS)
}

/// The moment when an hour begins.
pub(crate) fn moment_of(hour: i64) -> Timestamp {
    Timestamp::from_second(hour.saturating_mul(HOUR_SECONDS)).unwrap_or(Timestamp::UNIX_EPOCH)
}
