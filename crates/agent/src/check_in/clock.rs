//! This host's clock against the server's: told when it is wrong, since windows, and what has expired, are judged by it.

use super::Running;
use advisory::Problem;
use wire::v1::CLOCK_TOLD_SECONDS_MIN;

impl Running<'_> {
    /// Notes by how much the clocks differ, and tells it when that begins.
    pub(super) fn note_clock(&mut self) {
        let ahead = self.link.as_ref().map_or(0, crate::link::Link::clock_ahead_seconds);
        let ahead = if ahead.abs() < CLOCK_TOLD_SECONDS_MIN { 0 } else { ahead };
        let is_new = ahead != 0 && self.status.clock_ahead_seconds == 0;
        self.status.clock_ahead_seconds = ahead;
        if is_new {
            let problem = Problem::new("agree on the time with", self.identity.server.clone(), apart(ahead));
            self.trouble(
                problem.remedy("windows, and what has expired, are judged by this host's clock: set it"),
            );
        }
    }
}

/// How far apart two clocks are, in words.
pub fn apart(ahead_seconds: i64) -> String {
    let way = if ahead_seconds < 0 { "behind" } else { "ahead of" };
    format!("this host's clock is {} s {way} the server's", ahead_seconds.unsigned_abs())
}
