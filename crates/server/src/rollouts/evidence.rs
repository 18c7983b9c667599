//! Who was heard and how well they are, kept in memory until it is written in batches: a check-in that changes nothing
//! touches no database. What a killed server had not written is missing, and what is missing holds a gate.

use crate::store::rollouts::evidence::{Sampled, Witness, write};
use crate::store::{Error, Store};
use rollout::plan::HostId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    heard: HashMap<HostId, Witness>,
    samples: BTreeMap<Sampled, u32>,
}

impl Evidence {
    /// A host was heard.
    pub(super) fn heard(&self, host: HostId, witness: Witness) {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).heard.insert(host, witness);
    }

    /// A proven host answered about its health.
    pub(super) fn sample(&self, of: Sampled) {
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner).samples.entry(of).or_default() += 1;
    }

    /// Writes what was noted. What cannot be written is lost: it comes again with the next check-ins.
    pub(super) async fn flush(&self, store: &Store) -> Result<(), Error> {
        let noted = std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner));
        if noted.heard.is_empty() && noted.samples.is_empty() {
            return Ok(());
        }
        let mut heard: Vec<_> = noted.heard.into_iter().collect();
        heard.sort_unstable_by_key(|(host, _)| *host);
        let samples: Vec<_> = noted.samples.into_iter().collect();
        write(store, &heard, &samples).await
    }
}
