//! What a server answers about trust, plans and rollouts, as far as it is read here. Fields that a newer server adds are
//! passed over; what is signed is never taken from here, but verified from its bytes.

use jiff::Timestamp;
use rollout::plan::Plan;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// Reads an answer into what it should be.
pub(crate) fn read<T: DeserializeOwned>(what: &str, answer: Value) -> anyhow::Result<T> {
    use anyhow::Context as _;
    serde_json::from_value(answer).with_context(|| {
        format!("read {what}: the server's answer is not as expected; is it of another version?")
    })
}

/// Whether anybody owns the fleet's trust. Who does is read from the documents themselves.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Trust {
    pub(crate) founded: bool,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Key {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
}

/// Something that people are asked to sign.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Proposal {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    /// The plan that it is about, if it is about one.
    #[serde(default)]
    pub(crate) object: Option<String>,
    #[serde(default)]
    pub(crate) title: String,
    pub(crate) state: String,
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) missing: Vec<Missing>,
    /// The documents; only where one proposal is asked for.
    #[serde(default)]
    pub(crate) body: Value,
}

/// Signers that a document still lacks.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Missing {
    pub(crate) document: String,
    pub(crate) count: usize,
    #[serde(default)]
    pub(crate) may_sign: Vec<Key>,
}

/// A plan, made or being made.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Made {
    pub(crate) id: Uuid,
    #[serde(default)]
    pub(crate) title: String,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) blocks: Vec<String>,
    #[serde(default)]
    pub(crate) left_out: Vec<LeftOut>,
    #[serde(default)]
    pub(crate) proposal: Option<Uuid>,
    #[serde(default)]
    pub(crate) rehearsals: Vec<Rehearsal>,
    #[serde(default)]
    pub(crate) plan: Option<Plan>,
    #[serde(default)]
    pub(crate) hosts: u64,
}

/// One kind of host's rehearsal.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Rehearsal {
    pub(crate) class: String,
    pub(crate) host: Named,
    #[serde(default)]
    pub(crate) hosts: u64,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) blocks: Vec<String>,
    #[serde(default)]
    pub(crate) restarts: Vec<String>,
    /// Why it would have to be rebooted.
    #[serde(default)]
    pub(crate) reboot: Option<String>,
    #[serde(default)]
    pub(crate) download_bytes: u64,
    #[serde(default)]
    pub(crate) changes: u64,
}

/// Hosts that were selected and are not in a plan, by reason.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) why: String,
    pub(crate) hosts: u64,
}

/// A host by id and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Named {
    pub(crate) id: Uuid,
    #[serde(default)]
    pub(crate) name: String,
}

/// A rollout, as it stands.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Rollout {
    pub(crate) plan: Uuid,
    #[serde(default)]
    pub(crate) title: String,
    /// A word: draft, signed, armed, wave, paused, halted, rolling-back, …
    pub(crate) state: String,
    pub(crate) state_text: String,
    pub(crate) changed_at: Timestamp,
    #[serde(default)]
    pub(crate) track: String,
    #[serde(default)]
    pub(crate) expires: Option<Timestamp>,
    #[serde(default)]
    pub(crate) waits: Vec<String>,
    #[serde(default)]
    pub(crate) waves: Vec<Wave>,
    #[serde(default)]
    pub(crate) services: Vec<Service>,
    #[serde(default)]
    pub(crate) failures: Vec<Failure>,
    #[serde(default)]
    pub(crate) failures_unheard: u32,
    pub(crate) hosts: u32,
    pub(crate) proven: u32,
}

/// Why a host failed, or skipped the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Failure {
    pub(crate) host: String,
    pub(crate) name: String,
    pub(crate) why: Vec<String>,
}

/// A wave's books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Wave {
    pub(crate) number: u32,
    pub(crate) name: String,
    /// `-`, open, soak, gate, done.
    pub(crate) phase: String,
    pub(crate) hosts: u32,
    pub(crate) queued: u32,
    pub(crate) preparing: u32,
    pub(crate) under_change: u32,
    pub(crate) proven: u32,
    pub(crate) skipped: u32,
    pub(crate) failed: u32,
    pub(crate) lost: u32,
    pub(crate) late: u32,
    pub(crate) inflight_max: u32,
    pub(crate) soak_until: Option<Timestamp>,
    pub(crate) gate: Vec<Number>,
}

/// One number of a gate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Number {
    pub(crate) what: String,
    #[serde(default)]
    pub(crate) have: Option<i64>,
    pub(crate) want: i64,
    /// open, hold, halt.
    pub(crate) says: String,
    #[serde(default)]
    pub(crate) text: String,
}

/// A service, and who of it is away.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) away_max: u32,
    pub(crate) away: u32,
    #[serde(default)]
    pub(crate) holders: Vec<Holder>,
}

/// A host that takes a place of a service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Holder {
    /// Its id; its name once that was looked up.
    pub(crate) host: String,
    pub(crate) state: String,
    pub(crate) since: Timestamp,
}

/// One host of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Job {
    pub(crate) host: Named,
    #[serde(default)]
    pub(crate) wave: u32,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) counts: String,
    #[serde(default)]
    pub(crate) reported_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) text: String,
}
