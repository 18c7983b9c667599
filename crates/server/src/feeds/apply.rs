//! A reading into the store: only what changed, in small transactions, so that others can write in between. A reading that
//! is broken off is finished by the next one: its marks are stored last.

use super::Error;
use super::alarm::Judged;
use crate::store::advisories::{self, Known, Revision, WRITTEN_AT_ONCE};
use crate::store::events::{self, Kind};
use crate::store::leases::{self, Lease};
use crate::store::{self, Store};
use crate::task::off_thread;
use advisory::Advisory;
use jiff::Timestamp;
use rayon::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tokio::sync::Notify;

/// What differs between a reading and what is stored.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// New or changed: the advisory and its hash.
    begun: Vec<(Advisory, String)>,
    /// Changed, but older than what is stored.
    older: Vec<(Advisory, String)>,
    /// Stored, and not there any more.
    gone: Vec<String>,
    /// Ids that are stored.
    known: BTreeSet<String>,
}

impl Changes {
    /// Compares; of several records with one id the newest counts, or the last.
    pub(super) fn new(read: Vec<Advisory>, known: &HashMap<String, Known>) -> Self {
        let mut by_id: BTreeMap<String, Advisory> = BTreeMap::new();
        for advisory in read {
            let is_older = |other: &Advisory| advisory.modified < other.modified;
            if !by_id.get(&advisory.id).is_some_and(is_older) {
                by_id.insert(advisory.id.clone(), advisory);
            }
        }
        let mut changes = Self {
            gone: known.keys().filter(|id| !by_id.contains_key(*id)).cloned().collect(),
            ..Self::default()
        };
        changes.gone.sort_unstable();
        let hashed: Vec<(Advisory, String)> = by_id
            .into_par_iter()
            .map(|(_, advisory)| {
                let hash = advisories::hash(&advisory);
                (advisory, hash)
            })
            .collect();
        for (advisory, hash) in hashed {
            match known.get(&advisory.id) {
                Some(known) if known.hash == hash => {}
                Some(known) => {
                    changes.known.insert(advisory.id.clone());
                    let is_older = advisory.modified.zip(known.modified).is_some_and(|(new, old)| new < old);
                    if is_older { &mut changes.older } else { &mut changes.begun }.push((advisory, hash));
                }
                None => changes.begun.push((advisory, hash)),
            }
        }
        changes
    }

    /// How many records say something else than before and are older.
    pub(super) fn older(&self) -> usize {
        self.older.len()
    }

    /// Only what may be used.
    pub(super) fn allowed(mut self, judged: &Judged) -> Self {
        if !judged.add {
            self.begun.clear();
        }
        if judged.age {
            self.begun.append(&mut self.older);
        }
        if !judged.remove {
            self.gone.clear();
        }
        self
    }

    /// Writes; gives how many records began and how many ended.
    pub(super) async fn write(
        self,
        store: &Store,
        told: &Notify,
        lease: &Lease,
        feed: &str,
        now: Timestamp,
    ) -> Result<(usize, usize), Error> {
        let counts = (self.begun.len(), self.gone.len());
        let mut begun = self.begun.into_iter().peekable();
        let mut gone = self.gone.into_iter().peekable();
        while begun.peek().is_some() || gone.peek().is_some() {
            let some: Vec<(Advisory, String)> = begun.by_ref().take(WRITTEN_AT_ONCE).collect();
            let revisions = off_thread(move || {
                let packed = some.into_par_iter().map(|(advisory, hash)| Revision::new(&advisory, hash));
                packed.collect::<Vec<_>>()
            })
            .await;
            let ended: Vec<String> = gone.by_ref().take(WRITTEN_AT_ONCE - revisions.len()).collect();
            let changed =
                revisions.iter().map(|revision| revision.id.as_str()).filter(|id| self.known.contains(*id));
            let ends: Vec<&str> = ended.iter().map(String::as_str).chain(changed).collect();
            let ids: Vec<&str> = revisions
                .iter()
                .map(|revision| revision.id.as_str())
                .chain(ended.iter().map(String::as_str))
                .collect();
            let mut writing = store.begin().await?;
            if !leases::hold(&mut writing, lease).await? {
                return Err(Error::Busy);
            }
            let at = store::moment(&mut writing, "advisory", now).await?;
            advisories::replace(&mut writing, store.dialect(), feed, at, &ends, &revisions).await?;
            events::tell(&mut writing, now, Kind::Advisories, feed, &json!({ "ids": ids })).await?;
            store::commit(writing, "store a feed's advisories").await?;
            told.notify_waiters();
        }
        Ok(counts)
    }
}
