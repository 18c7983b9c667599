//! What must hold before a deed is begun. Nothing of it is taken from the half that asks: the plan verifies by the root that
//! this half remembers, and the owner's settings are read anew.

use super::driver::driver;
use super::grant::Grant;
use super::order::{Deed, Line, Order};
use super::{boot, place::Place};
use crate::job::clock;
use crate::settings::{Settings, zones};
use advisory::Problem;
use jiff::{SignedDuration, Timestamp};
use rollout::order::Direction;
use rollout::plan::{Digest, HostClass, HostId, Plan, Reboot, Rollback};
use rollout::window::{Calendar, Fit};
use rollout::word::Word;
use std::sync::Arc;
use std::time::Duration;
use trust::{Fetch, PlanName, Trusted};

/// How long one update, or one plan, may take.
const WITHIN: Duration = Duration::from_secs(60);

/// What is asked, and by whose word.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    pub(super) place: &'a Place,
    /// What the host's owner allows.
    pub(super) settings: &'a Settings,
    /// Where documents come from that are verified here.
    pub(super) source: Arc<Line>,
    pub(super) now: Timestamp,
}

impl Guard<'_> {
    /// Whether this deed may be begun; what was verified is remembered. Errors say why not.
    pub(super) fn admit(&self, order: &Order) -> Result<(), Problem> {
        if driver(self.settings.agent.hand).is_none() {
            return Err(order
                .refused(format!("this host's hand is \"{}\"", self.settings.agent.hand))
                .remedy("name this host's package manager as [agent] hand if its owner wants that"));
        }
        let mut grant = self.place.grant(order)?;
        match order.deed {
            Deed::Fetch => {
                let plan = self.verified(order)?.1;
                self.owner_allows(order, self.class(order, &plan)?)
            }
            // Whoever has begun may be drained once more; before, it wants what beginning wants.
            Deed::Drain if grant.has_begun() => Ok(()),
            Deed::Drain if order.direction == Direction::Back => self.is_ordered_back(order),
            Deed::Drain => self.may_apply(order),
            // What is owed is given back whenever it is asked for, by another road.
            Deed::GiveBack => Err(order.refused("what is owed is given back without an order")),
            // Back it goes by "revert", which wants another word; and what went back stays there in this grant.
            Deed::Apply if order.direction == Direction::Back || grant.back => {
                Err(order.refused("this job leads back").remedy("a new grant of the plan leads forward"))
            }
            Deed::Apply if grant.forward => Ok(()),
            Deed::Apply => {
                self.may_apply(order)?;
                grant.forward = true;
                self.place.keep_grant(order, &grant)
            }
            Deed::Revert => self.may_revert(order, grant),
            Deed::Repair | Deed::Restart => self.has_begun(order, &grant).map(|_| ()),
            Deed::Reboot => {
                let reboots_max = match self.has_begun(order, &grant)?.reboot {
                    Reboot::Never => 0,
                    Reboot::IfNeeded { reboots_max } => reboots_max,
                };
                if !grant.takes_reboot(boot(), reboots_max) {
                    return Err(order.refused(format!("the plan allows {reboots_max} reboots of a host")));
                }
                self.place.keep_grant(order, &grant)
            }
        }
    }

    /// The plan of a job that is past the point of no return, as it was verified.
    fn has_begun(&self, order: &Order, grant: &Grant) -> Result<Plan, Problem> {
        if !grant.has_begun() {
            return Err(order.refused("this half has not begun it").remedy("it is begun by \"apply\""));
        }
        self.place.plan(order.digest)
    }

    /// Whether the new versions may be begun: all that must hold at the point of no return.
    fn may_apply(&self, order: &Order) -> Result<(), Problem> {
        let (trusted, plan) = self.verified(order)?;
        self.owner_allows(order, self.class(order, &plan)?)?;
        self.is_open(order, &plan)?;
        self.is_not_halted(order, &plan, &trusted)
    }

    /// A host turns back by itself where the plan says so, and on the approvers' word.
    fn may_revert(&self, order: &Order, grant: Grant) -> Result<(), Problem> {
        if grant.back {
            return Ok(());
        }
        if grant.forward && self.place.plan(order.digest)?.rollback == Rollback::OnFailure {
            return self.turn(order, grant);
        }
        self.is_ordered_back(order)?;
        self.turn(order, grant)
    }

    /// Whether approvers have signed that it goes back, and the server says that it is not halted.
    fn is_ordered_back(&self, order: &Order) -> Result<(), Problem> {
        if order.direction != Direction::Back {
            return Err(order.refused("the plan was not begun here, or lets no host turn back by itself"));
        }
        let word = order.word.ok_or_else(|| order.refused("no approvers' word was named for it"))?;
        let (mut trusted, plan) = self.verified(order)?;
        let bytes = trusted.plan(PlanName(word), self.now).map_err(|problem| order.refused(problem))?;
        let said = Word::read(&bytes).map_err(|problem| order.refused(problem))?;
        if said.id != word || !said.allows_back(order.plan, order.digest) {
            return Err(order.refused(format!("the approvers' word {word} does not say so")));
        }
        self.is_not_halted(order, &plan, &trusted)
    }

    /// From here on it goes back, and not forward again by what was granted before.
    fn turn(&self, order: &Order, grant: Grant) -> Result<(), Problem> {
        self.place.forget_grants(order)?;
        self.place.keep_grant(order, &Grant { forward: false, back: true, ..grant })
    }

    /// The plan, in force by the newest list that approvers have signed.
    fn verified(&self, order: &Order) -> Result<(Trusted, Plan), Problem> {
        let refused = |problem: &dyn std::fmt::Display| {
            order
                .refused(problem.to_string())
                .remedy("it is tried again; if the root is another now, enrol the host anew as root")
        };
        let source: Arc<dyn Fetch> = self.source.clone();
        let trusted = match Trusted::open(&self.place.trust(), source) {
            // The half that asks must not be the one to say whose signatures count.
            Err(trust::trusted::Error::NoRoot(_)) => Err(order
                .refused("the fleet had no root when this host was enrolled, so nobody's signature counts here")
                .remedy("say whose does, as root: palisade agent trust FINGERPRINT (\"palisade key list\" shows it)")),
            opened => opened.map_err(|problem| refused(&problem)),
        };
        let mut trusted = trusted?.waiting(WITHIN);
        trusted.update(self.now).map_err(|problem| refused(&problem))?;
        let name = PlanName(order.plan.0);
        if let Ok(plan) = self.place.plan(order.digest)
            && trusted.is_in_force(name, &order.digest.0, self.now).is_ok()
        {
            return Ok((trusted, plan));
        }
        let bytes = trusted.plan(name, self.now).map_err(|problem| refused(&problem))?;
        if Digest::of(&bytes) != order.digest {
            return Err(refused(&"approvers have signed another content"));
        }
        let plan = Plan::read(&bytes).map_err(|problem| refused(&problem))?;
        if let Some(fault) = plan.check(&zones()).first() {
            return Err(refused(&format!("the plan has a fault: {fault}")));
        }
        self.place.keep_plan(order.digest, &bytes)?;
        Ok((trusted, plan))
    }

    fn class<'p>(&self, order: &Order, plan: &'p Plan) -> Result<&'p HostClass, Problem> {
        let known = self.place.host()?;
        let class = plan.class_of(HostId(known.host), &known.group);
        class.ok_or_else(|| order.refused(format!("it names no class for host {}", known.host)))
    }

    fn owner_allows(&self, order: &Order, class: &HostClass) -> Result<(), Problem> {
        if order.direction == Direction::Back {
            return Ok(());
        }
        let plans = &self.settings.plans;
        if plans.never {
            return Err(order.refused("this host's owner wrote \"never\""));
        }
        let is_excluded = |name: &String| plans.excluded.contains(name);
        match class.changes.iter().find(|change| is_excluded(&change.name) || is_excluded(&change.source)) {
            Some(change) => Err(order.refused(format!("this host's owner excludes {}", change.name))),
            None => Ok(()),
        }
    }

    /// Whether the plan, and its windows and the owner's, let a host begin now.
    fn is_open(&self, order: &Order, plan: &Plan) -> Result<(), Problem> {
        if self.now < plan.not_before || self.now >= plan.expires {
            return Err(order.refused("by this host's clock the plan has not begun, or has expired"));
        }
        let local = self.settings.local().map_err(|problem| order.refused(problem))?;
        let theirs = Calendar::read(&plan.windows, &plan.blackouts, &zones());
        let theirs = theirs.map_err(|problem| order.refused(problem))?;
        let length = SignedDuration::from_secs(plan.timing.expected_seconds.into());
        for calendar in [&theirs, &local.calendar] {
            match calendar.fit(self.now, length) {
                Fit::Fits { .. } => {}
                Fit::TooShort { .. } | Fit::Closed { .. } => return Err(order.refused("no window is open")),
            }
        }
        Ok(())
    }

    /// Whether the server said, not long ago, that this host may pass the point of no return.
    fn is_not_halted(&self, order: &Order, plan: &Plan, trusted: &Trusted) -> Result<(), Problem> {
        let refused = |reason: &dyn std::fmt::Display| {
            order.refused(reason.to_string()).remedy("nothing is begun; the server is asked again")
        };
        let text = order.clearance.as_ref().ok_or_else(|| refused(&"no word that it is not halted"))?;
        let said = trusted.not_halted(text.as_bytes(), self.now).map_err(|problem| refused(&problem))?;
        if (said.host, said.plan, said.fence) != (self.place.host()?.host, order.plan.0, order.fence) {
            return Err(refused(&"the word that it is not halted is about something else"));
        }
        let seconds = plan.timing.clearance_seconds;
        if !self.place.nonces()?.is_fresh(said.nonce, seconds, boot(), clock::uptime_ms()) {
            return Err(refused(
                &"the word that it is not halted is old, or answers no question of this half's",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
