//! Numbers that were drawn for check-ins, and when: by this half's own clock since boot, so that neither a wrong clock nor a
//! stored word of the server's makes an old answer look fresh.

use super::{boot, place::Place};
use crate::job::clock;
use advisory::Problem;
use serde::{Deserialize, Serialize};

/// Numbers remembered: as many check-ins as may be unanswered, and some.
const NONCES_MAX: usize = 16;
/// Clearances end an eighth early: a clock since boot is not that wrong.
const MARGIN: u64 = 8;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nonces {
    boot: u64,
    drawn: Vec<(u64, u64)>,
}

/// Draws a number for the next check-in.
pub(super) fn draw(place: &Place) -> Result<u64, Problem> {
    let nonce =
        getrandom::u64().map_err(|problem| Problem::new("draw a number from", "the system", problem))?;
    let mut nonces = place.nonces()?;
    if nonces.boot != boot() {
        nonces = Nonces { boot: boot(), drawn: Vec::new() };
    }
    if nonces.drawn.len() == NONCES_MAX {
        nonces.drawn.remove(0);
    }
    nonces.drawn.push((nonce, clock::uptime_ms()));
    place.keep_nonces(&nonces)?;
    Ok(nonce)
}

impl Nonces {
    /// When this number was drawn in this boot: time since boot, milliseconds.
    pub(super) fn drawn_ms(&self, nonce: u64, boot: u64) -> Option<u64> {
        let found = self.drawn.iter().find(|(drawn, _)| *drawn == nonce && self.boot == boot);
        found.map(|(_, at)| *at)
    }

    /// Whether the answer to this number is younger than `seconds`.
    pub(super) fn is_fresh(&self, nonce: u64, seconds: u32, boot: u64, uptime_ms: u64) -> bool {
        let lasts_ms = u64::from(seconds) * 1_000;
        let ends = |drawn_ms: u64| drawn_ms.saturating_add(lasts_ms - lasts_ms / MARGIN);
        self.boot == boot && self.drawn.iter().any(|(drawn, at)| *drawn == nonce && uptime_ms < ends(*at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_fresh_only_to_a_number_of_ours_in_this_boot_and_not_for_long() {
        let nonces = Nonces { boot: 7, drawn: vec![(11, 1_000)] };
        assert!(nonces.is_fresh(11, 8, 7, 7_999));
        assert!(!nonces.is_fresh(11, 8, 7, 8_000), "an eighth early");
        assert!(!nonces.is_fresh(12, 8, 7, 1_000), "never asked");
        assert!(!nonces.is_fresh(11, 8, 8, 1_000), "another boot");
    }
}
