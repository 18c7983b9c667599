//! Whether what is stored as findings, what is in memory, and what the inventories and advisories mean are the same.

use super::state::State;
use super::{Error, Fleet, cold};
use crate::store::{Store, findings};
use crate::task::off_thread;
use exposure::index::{Plight, Sets};
use rayon::prelude::*;
use roaring::RoaringBitmap;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    /// The advisory's id.
    pub advisory: String,
    /// `source:openssl` or `binary:libssl3`.
    pub package: String,
    /// `affected`, `fixed-still-running`, `undetermined`.
    pub verdict: &'static str,
    /// Where it is wrong: `store` or `memory`.
    pub place: &'static str,
    /// How many hosts have the finding, and it is not there.
    pub missing: u64,
    /// How many hosts do not have it, and it is there.
    pub excess: u64,
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { advisory, package, verdict, place, missing, excess } = self;
        write!(
            out,
            "{advisory} {package} {verdict}: in {place} missing on {missing} hosts, too much on {excess}"
        )
    }
}

type ByAdvisory = BTreeMap<String, BTreeMap<String, Sets>>;

/// Judges the fleet anew from the store, and compares with the open findings. Changes while it reads look like differences:
/// ask again, or while no server runs.
pub async fn doctor(store: &Store) -> Result<Vec<Difference>, Error> {
    let state = cold::read(store).await?;
    let mut stored = ByAdvisory::new();
    for open in findings::open(store).await? {
        let packages = stored.entry(open.advisory).or_default();
        *packages.entry(open.package).or_default().of_mut(open.plight) |= open.hosts;
    }
    Ok(off_thread(move || differences(&all(&state), &stored, "store")).await)
}

impl Fleet {
    /// Compares what is in memory with what the store means.
    pub async fn differences(&self) -> Result<Vec<Difference>, Error> {
        // No event is taken meanwhile.
        let role = self.role.lock().await;
        let rebuilt = cold::read(&self.store).await?;
        let found = self.with_state(move |state| differences(&all(&rebuilt), &all(state), "memory")).await;
        drop(role);
        Ok(found)
    }
}

fn all(state: &State) -> ByAdvisory {
    let ids: Vec<_> = state.keys.ids().collect();
    ids.into_par_iter()
        .map(|id| (id.to_string(), state.sets(id)))
        .filter(|(_, packages)| !packages.is_empty())
        .collect()
}

fn differences(right: &ByAdvisory, there: &ByAdvisory, place: &'static str) -> Vec<Difference> {
    let (nothing, none) = (BTreeMap::new(), Sets::default());
    let ids: BTreeSet<&String> = right.keys().chain(there.keys()).collect();
    let mut found = Vec::new();
    for id in ids {
        let (right, there) = (right.get(id).unwrap_or(&nothing), there.get(id).unwrap_or(&nothing));
        let packages: BTreeSet<&String> = right.keys().chain(there.keys()).collect();
        for package in packages {
            let (right, there) = (right.get(package).unwrap_or(&none), there.get(package).unwrap_or(&none));
            for plight in Plight::ALL {
                let lacks =
                    |one: &RoaringBitmap, other: &RoaringBitmap| one.len() - one.intersection_len(other);
                let (missing, excess) =
                    (lacks(right.of(plight), there.of(plight)), lacks(there.of(plight), right.of(plight)));
                if missing + excess > 0 {
                    let (advisory, package, verdict) = (id.clone(), package.clone(), plight.word());
                    found.push(Difference { advisory, package, verdict, place, missing, excess });
                }
            }
        }
    }
    found
}
