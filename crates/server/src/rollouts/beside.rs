//! What rollouts need of signing and planning: the server's own word, the files that approvers signed, rehearsals.

use crate::store::{self, Store};
use jiff::Timestamp;
use rollout::plan::{Digest, PlanId};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use uuid::Uuid;
use wire::v1::{Rehearse, Rehearsed};

/// When this host asked, the rollout of this plan was not halted, and the host's grant was alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NotHalted {
    /// The grant.
    pub fence: u64,
    /// Who.
    pub host: Uuid,
    /// When it was said.
    pub issued_at: Timestamp,
    /// The check-in that it answers.
    pub nonce: u64,
    /// The plan.
    pub plan: Uuid,
}

/// Who signs for the server, and what approvers have signed.
#[derive(Debug, Default)]
pub struct Signing {
    files: RwLock<BTreeMap<String, Arc<[u8]>>>,
    words: RwLock<BTreeMap<PlanId, Uuid>>,
}

impl Signing {
    /// Publishes a file.
    pub fn put(&self, name: &str, body: &[u8]) {
        self.files.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), body.into());
    }

    /// Publishes a word that lets hosts go back.
    pub fn allow_back(&self, plan: PlanId, word: Uuid) {
        self.words.write().unwrap_or_else(PoisonError::into_inner).insert(plan, word);
    }

    /// Says a clearance.
    pub fn not_halted(&self, said: &NotHalted) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(said)
    }

    /// A published file by its path below the trust's.
    pub fn file(&self, name: &str) -> Option<Arc<[u8]>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The root that a new host pins.
    pub fn root(&self) -> Option<Vec<u8>> {
        self.file("metadata/1.root.json").map(|body| body.to_vec())
    }

    /// The approvers' word that lets hosts of a plan go back.
    pub fn word_in_force(&self, plan: PlanId, _digest: Digest) -> Option<Uuid> {
        self.words.read().unwrap_or_else(PoisonError::into_inner).get(&plan).copied()
    }
}

/// What somebody wants to know of a host.
pub fn due(_host: &str) -> Option<Rehearse> {
    None
}

/// Takes what a rehearsal found; false: nobody wants it any more.
#[expect(clippy::unused_async, reason = "what takes its place asks the store")]
pub async fn answered(
    _store: &Store,
    _host: &str,
    _found: Rehearsed,
    _now: Timestamp,
) -> Result<bool, store::Error> {
    Ok(false)
}
