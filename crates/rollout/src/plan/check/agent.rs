//! The agent's own package in a plan. What installs is itself changed by it, and a host whose agent does not come up again can
//! tell nobody: so it goes alone, its canaries bear nothing, and every host has a way back.

use super::Faults;
use crate::plan::{HostClass, Plan, Rollback};

/// The agent's package, binary and source, on every distribution.
pub const PACKAGE: &str = "palisade";
/// How long a new agent has at least until the centre has heard it: it calls within a minute of its start, and once more.
pub const HEARD_SECONDS_MIN: u32 = 120;

impl HostClass {
    /// Whether it changes the agent itself.
    pub fn changes_agent(&self) -> bool {
        self.changes.iter().any(|change| change.name == PACKAGE)
    }
}

impl Plan {
    /// Whether hosts change their own agents by it.
    pub fn changes_agent(&self) -> bool {
        self.classes.iter().any(HostClass::changes_agent)
    }
}

/// What else must hold of a plan that changes the agent.
pub(super) fn check(plan: &Plan, faults: &mut Faults) {
    if !plan.changes_agent() {
        return;
    }
    let by_itself = "plan the agent by itself when everything else is done: an agent that fails is taken back, and nothing with it";
    for class in &plan.classes {
        let object = format!("class {}", class.name);
        let others = class.changes.iter().find(|change| change.name != PACKAGE);
        if let Some(other) = others {
            faults.add(
                &object,
                format!("changes {} in a plan that changes the agent", other.name),
                by_itself,
            );
        }
        if class.changes.iter().any(|change| change.name == PACKAGE && change.from.is_none()) {
            faults.add(&object, "brings the agent to hosts that have none", "install and enrol them");
        }
    }
    if plan.rollback != Rollback::OnFailure {
        faults.add("rollback", "an agent that is not heard could not be taken back", "plan with a way back");
    }
    if let Some(canaries) = plan.waves.first().filter(|wave| wave.gate.bad_max > 0) {
        let reason =
            format!("{} canaries may fail, and a host whose agent fails is deaf", canaries.gate.bad_max);
        faults.add("wave 0", reason, "bear none: bad_max 0");
    }
    if plan.timing.verify_seconds < HEARD_SECONDS_MIN {
        let reason = format!("{} s are too short for a new agent to be heard", plan.timing.verify_seconds);
        faults.add("time to verify", reason, "give it two minutes or more");
    }
}
