//! A plan ready to be worked with: read once, its windows understood, every host's place at hand.

use crate::store::{Error, Store, rollouts};
use crate::task::off_thread;
use jiff::tz::TimeZoneDatabase;
use rollout::engine::Seat;
use rollout::plan::{Digest, HostId, Plan, PlanId};
use rollout::window::Calendar;
use std::collections::HashMap;

/// A plan that is not changed any more.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) plan: Plan,
    pub(crate) digest: Digest,
    pub(crate) calendar: Calendar,
    /// Numbers of each host's wave and, in it, of its cohort.
    places: HashMap<HostId, (usize, usize)>,
}

impl Sealed {
    /// Reads a plan from the store; `None`: there is none with this id that is made.
    pub(crate) async fn load(store: &Store, plan: PlanId) -> Result<Option<Self>, Error> {
        let Some(packed) = rollouts::packed_plan(store, plan).await? else { return Ok(None) };
        // A plan of 100,000 hosts takes some 60 ms.
        off_thread(move || {
            let damaged = |reason: String| Error::Damaged { object: format!("the plan {plan}"), reason };
            let bytes = rollouts::unpacked(&packed).map_err(damaged)?;
            let read = Plan::read(&bytes).map_err(|problem| damaged(problem.to_string()))?;
            Self::of(read, Digest::of(&bytes)).map(Some).map_err(damaged)
        })
        .await
    }

    fn of(plan: Plan, digest: Digest) -> Result<Self, String> {
        let zones = TimeZoneDatabase::bundled();
        let calendar =
            Calendar::read(&plan.windows, &plan.blackouts, &zones).map_err(|problem| problem.to_string())?;
        let mut places = HashMap::new();
        for (number, wave) in plan.waves.iter().enumerate() {
            for (cohort, named) in wave.cohorts.iter().enumerate() {
                places.extend(named.hosts.iter().map(|&host| (host, (number, cohort))));
            }
        }
        Ok(Self { plan, digest, calendar, places })
    }

    /// Whether the plan names the host.
    pub(crate) fn names(&self, host: HostId) -> bool {
        self.places.contains_key(&host)
    }

    /// A host's seat: its named one, or the late joiners'.
    pub(crate) fn seat(&self, host: HostId) -> Option<Seat<'_>> {
        match self.places.get(&host) {
            Some(&(wave, cohort)) => {
                Some(Seat { host, wave, groups: &self.plan.waves[wave].cohorts[cohort].groups })
            }
            None => self.plan.late().map(|late| Seat {
                host,
                wave: self.plan.waves.len() - 1,
                groups: &late.groups,
            }),
        }
    }

    /// The name of the class that a host with a seat is in.
    pub(crate) fn class(&self, host: HostId) -> Option<&str> {
        match self.places.get(&host) {
            Some(&(wave, cohort)) => Some(&self.plan.waves[wave].cohorts[cohort].class),
            None => self.plan.late().map(|late| late.class.as_str()),
        }
    }

    /// Hosts that it names in a wave.
    pub(crate) fn wave(&self, wave: usize) -> impl Iterator<Item = HostId> {
        self.plan.waves.get(wave).into_iter().flat_map(rollout::plan::Wave::hosts)
    }
}
