//! What this half has once verified of a job: whoever has begun finishes, also without a server.

use serde::{Deserialize, Serialize};

/// Of one plan's content and one grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    /// The new versions may be installed: all that must hold at the point of no return held.
    pub(super) forward: bool,
    /// Approvers have signed that it goes back.
    pub(super) back: bool,
    /// Boots in which a reboot was asked for.
    pub(super) rebooted_from: Vec<u64>,
}

impl Grant {
    /// Whether the point of no return is passed.
    pub(super) fn has_begun(&self) -> bool {
        self.forward || self.back
    }

    /// Whether one more reboot is within `reboots_max`; the same one may be asked for again.
    pub(super) fn takes_reboot(&mut self, boot: u64, reboots_max: u32) -> bool {
        if self.rebooted_from.contains(&boot) {
            return true;
        }
        let has_room = u32::try_from(self.rebooted_from.len()).is_ok_and(|count| count < reboots_max);
        if has_room {
            self.rebooted_from.push(boot);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_not_rebooted_more_often_than_the_plan_says_however_often_it_is_asked() {
        let mut grant = Grant::default();
        assert!(!grant.clone().takes_reboot(1, 0));
        assert!(grant.takes_reboot(1, 1) && grant.takes_reboot(1, 1), "the same one");
        assert!(!grant.takes_reboot(2, 1), "it has booted since");
    }
}
