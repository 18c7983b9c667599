//! Listens to agents: takes enrolments, check-ins and reports; gives certificates, and events to whoever follows.
//!
//! The walk: [`serve`] accepts connections at the `door`; `requests` decides what each request may; [`Roster`] knows every
//! host in memory, so that the check-in of an unchanged host touches nothing else; what changes goes to the store.

mod body;
mod census;
mod door;
mod refusal;
mod requests;
mod rollouts;
mod roster;
mod turn;

pub use door::{Limits, serve, serve_within};
pub use roster::{Barred, Census, Heard, Roster};

use crate::planning::Planning;
use crate::rollouts::Rollouts;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use wire::v1::Refusal;

/// Who has something to ask of hosts that check in.
#[derive(Clone, Debug)]
pub struct Duties {
    /// Who is granted and cleared.
    pub rollouts: Arc<Rollouts>,
    /// Who rehearses.
    pub planning: Arc<Planning>,
}

/// What the agents' listener has done since it was started. For metrics.
#[derive(Debug, Default)]
pub struct Counters {
    /// Check-ins answered.
    pub check_ins: AtomicU64,
    /// Reports that were stored.
    pub reports: AtomicU64,
    /// Reports of what was stored already.
    pub reports_unchanged: AtomicU64,
    /// Counts of web logs that were stored.
    pub census: AtomicU64,
    /// Counts that were stored already.
    pub census_unchanged: AtomicU64,
    /// Hours of counts that came when their day was closed.
    pub census_late: AtomicU64,
    /// Hosts enrolled.
    pub enrolments: AtomicU64,
    /// Certificates renewed.
    pub renewals: AtomicU64,
    /// Hosts quarantined as copies.
    pub clones: AtomicU64,
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections turned away because there were too many.
    pub turned_away: AtomicU64,
    /// Handshakes that failed: expired, foreign and self-made certificates, and noise.
    pub handshakes_failed: AtomicU64,
    /// Refused: tokens.
    pub refused_token: AtomicU64,
    /// Refused: revoked hosts.
    pub refused_revoked: AtomicU64,
    /// Refused: quarantined hosts.
    pub refused_quarantined: AtomicU64,
    /// Refused: requests that cannot be read, or are too large.
    pub refused_malformed: AtomicU64,
    /// Refused: too much at once.
    pub refused_busy: AtomicU64,
    /// Refused: a host that asks too often.
    pub refused_hurried: AtomicU64,
}

impl Counters {
    /// All of them, for Prometheus: name, help, value.
    pub fn numbers(&self) -> Vec<(&'static str, &'static str, u64)> {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        vec![
            ("agent_check_ins", "Check-ins answered", of(&self.check_ins)),
            ("agent_reports", "Reports stored", of(&self.reports)),
            ("agent_reports_unchanged", "Reports of what was stored already", of(&self.reports_unchanged)),
            ("agent_census", "Counts of web logs stored", of(&self.census)),
            ("agent_census_unchanged", "Counts of what was stored already", of(&self.census_unchanged)),
            ("agent_census_late", "Hours counted too late to be added up", of(&self.census_late)),
            ("agent_enrolments", "Hosts enrolled", of(&self.enrolments)),
            ("agent_renewals", "Certificates renewed", of(&self.renewals)),
            ("agent_clones", "Hosts quarantined as copies", of(&self.clones)),
            ("agent_connections", "Agents' connections open now", of(&self.connections)),
            ("agent_turned_away", "Agents' connections turned away", of(&self.turned_away)),
            ("agent_handshakes_failed", "Agents' handshakes that failed", of(&self.handshakes_failed)),
            ("agent_refused_token", "Refused: enrolment tokens", of(&self.refused_token)),
            ("agent_refused_revoked", "Refused: revoked hosts", of(&self.refused_revoked)),
            ("agent_refused_quarantined", "Refused: quarantined hosts", of(&self.refused_quarantined)),
            ("agent_refused_malformed", "Refused: requests that cannot be read", of(&self.refused_malformed)),
            ("agent_refused_busy", "Refused: too much at once", of(&self.refused_busy)),
            ("agent_refused_hurried", "Refused: hosts that ask too often", of(&self.refused_hurried)),
        ]
    }

    fn refused(&self, refusal: Refusal) {
        add(match refusal {
            Refusal::Token => &self.refused_token,
            Refusal::Revoked => &self.refused_revoked,
            Refusal::Quarantined => &self.refused_quarantined,
            Refusal::Malformed => &self.refused_malformed,
            Refusal::Busy => &self.refused_busy,
        });
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A text that a host gave, fit for logs, terminals and pages: characters that are not printed, break lines or turn the
/// direction of writing are replaced; at most `bytes_max` bytes.
pub(crate) fn clean(text: &str, bytes_max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(bytes_max));
    for character in text.trim().chars() {
        let character = if is_plain(character) { character } else { char::REPLACEMENT_CHARACTER };
        if clean.len() + character.len_utf8() > bytes_max {
            break;
        }
        clean.push(character);
    }
    clean
}

fn is_plain(character: char) -> bool {
    // Controls; zero-width and directional marks; line and paragraph separators; directional isolates; the byte order mark.
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn what_a_host_says_cannot_break_a_line_or_turn_it() {
        assert_eq!(clean(" web\n2026 ERROR\0 \u{202e}gpj ", 64), "web\u{fffd}2026 ERROR\u{fffd} \u{fffd}gpj");
        assert_eq!(clean("ääää", 5), "ää");
    }
}
