//! How many hosts of a service may be away at once, and who is.

use crate::job::State;
use crate::plan::{HostId, Plan};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The service groups of one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    groups: BTreeMap<String, Group>,
}

/// One service group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Hosts that may be away at once.
    pub away_max: u32,
    /// Hosts that are away for other reasons.
    pub away_already: u32,
    /// Hosts that a plan has taken away.
    pub holders: BTreeMap<HostId, Holder>,
}

/// Why a host takes a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Since when.
    pub since: Timestamp,
    /// Where its job stands.
    pub state: State,
}

/// No place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Full {
    /// The group.
    pub group: String,
    /// How many may be away.
    pub away_max: u32,
    /// Hosts away for other reasons.
    pub away_already: u32,
    /// The host that has been away for longest, since when, and why.
    pub longest: Option<(HostId, Holder)>,
}

impl Capacity {
    /// The groups of a plan, all there.
    pub fn of(plan: &Plan) -> Self {
        let group = |away_max| Group { away_max, ..Group::default() };
        Self { groups: plan.groups.iter().map(|named| (named.name.clone(), group(named.away_max))).collect() }
    }

    /// The groups as a store has them.
    pub fn new(groups: BTreeMap<String, Group>) -> Self {
        Self { groups }
    }

    /// Groups by name.
    pub fn groups(&self) -> &BTreeMap<String, Group> {
        &self.groups
    }

    /// Says how many hosts of a group are away for other reasons.
    pub fn observe(&mut self, group: &str, away_already: u32) {
        if let Some(group) = self.groups.get_mut(group) {
            group.away_already = away_already;
        }
    }

    /// Takes a place in each of these groups, or in none. A group that is not known has no place.
    pub fn take(&mut self, host: HostId, groups: &[String], now: Timestamp) -> Result<(), Full> {
        if let Some(full) = groups.iter().find_map(|name| self.full(name)) {
            return Err(full);
        }
        for name in groups {
            let holder = Holder { since: now, state: State::Offered };
            self.groups.get_mut(name).expect("looked up above").holders.insert(host, holder);
        }
        Ok(())
    }

    /// Why a group has no place, if it has none.
    pub fn full(&self, name: &str) -> Option<Full> {
        let group = self.groups.get(name);
        if group.is_some_and(Group::has_room) {
            return None;
        }
        let holders = group.into_iter().flat_map(|group| &group.holders);
        let longest = holders.min_by_key(|(_, holder)| holder.since).map(|(&host, &holder)| (host, holder));
        Some(Full {
            group: name.to_owned(),
            away_max: group.map_or(0, |group| group.away_max),
            away_already: group.map_or(0, |group| group.away_already),
            longest,
        })
    }

    /// Gives the host's places back.
    pub fn release(&mut self, host: HostId, groups: &[String]) {
        for name in groups {
            if let Some(group) = self.groups.get_mut(name) {
                group.holders.remove(&host);
            }
        }
    }

    /// Says where the host's job stands now.
    pub fn note(&mut self, host: HostId, groups: &[String], state: State) {
        for name in groups {
            if let Some(holder) = self.groups.get_mut(name).and_then(|group| group.holders.get_mut(&host)) {
                holder.state = state;
            }
        }
    }
}

impl Group {
    fn has_room(&self) -> bool {
        let away = u32::try_from(self.holders.len()).unwrap_or(u32::MAX).saturating_add(self.away_already);
        away < self.away_max
    }
}

impl fmt::Display for Full {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "of {} at most {} may be away", self.group, self.away_max)?;
        if self.away_already > 0 {
            write!(out, "; {} are for other reasons", self.away_already)?;
        }
        if let Some((host, holder)) = &self.longest {
            write!(out, "; {host} is since {} ({})", holder.since, holder.state)?;
        }
        Ok(())
    }
}
