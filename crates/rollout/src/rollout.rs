//! Where a rollout stands. `step` holds every transition; nothing else changes it.
//!
//! Draft → Signed → Armed → wave by wave {open → soak → gate} → Complete. It halts by itself and goes on only when its
//! approvers sign that. What is to be done comes out as values.

pub mod halt;
pub mod waiting;

pub use halt::Halt;
pub use waiting::Waiting;

use crate::gate::Says;
use crate::plan::PlanId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Made, signed by nobody.
    Draft,
    /// Signed by some, not by enough.
    Signed {
        /// Who has signed.
        signers: BTreeSet<String>,
    },
    /// Signed by enough; waits to be started.
    Armed,
    /// Under way.
    Wave(At),
    /// A person stopped it.
    Paused {
        /// Who.
        by: String,
        /// Where it was.
        at: At,
    },
    /// It stopped by itself.
    Halted {
        /// Why.
        why: Halt,
        /// Where it was.
        at: At,
    },
    /// Hosts go back to the old versions.
    RollingBack {
        /// Who ordered it.
        by: String,
    },
    /// They have.
    RolledBack,
    /// The last gate opened.
    Complete,
    /// Given up.
    Aborted {
        /// By whom.
        by: String,
    },
    /// Another plan took over.
    Superseded {
        /// Which.
        by: PlanId,
    },
    /// What it installs was withdrawn.
    Retracted {
        /// The bulletin or package, and why.
        why: String,
    },
}

/// A wave and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct At {
    /// Number of the wave, from 0.
    pub wave: usize,
    /// How far.
    pub phase: Phase,
    /// When the wave opened, or went on.
    pub opened: Timestamp,
}

/// How far a wave is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Hosts are granted.
    Open,
    /// All have settled; it is watched.
    Soak {
        /// Since when.
        since: Timestamp,
    },
    /// Watched for long enough; the gate is asked.
    Gate {
        /// Settled since.
        since: Timestamp,
    },
}

/// What happens to a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An approver's signed word, verified.
    Signed {
        /// Whose.
        signer: String,
    },
    /// A person starts it.
    Started,
    /// Every host of the open wave has settled.
    Settled,
    /// A host of a wave that had settled is open again: it was taken for lost, and lives.
    Unsettled,
    /// The soak is over.
    Soaked,
    /// The gate was read.
    GateRead(Says),
    /// A person stops it.
    Paused {
        /// Who.
        by: String,
    },
    /// It must stop.
    Halted(Halt),
    /// Enough approvers have signed that it goes on.
    Resumed {
        /// Counts such statements: each serves once.
        generation: u32,
        /// Its approvers.
        signers: BTreeSet<String>,
    },
    /// Enough approvers have signed that it goes back.
    BackOrdered {
        /// Who ordered it.
        by: String,
        /// Its approvers.
        signers: BTreeSet<String>,
    },
    /// No host is left to go back.
    BackDone,
    /// A person gives it up.
    Aborted {
        /// Who.
        by: String,
    },
    /// A plan that names this one was started.
    Superseded {
        /// Which.
        by: PlanId,
    },
    /// A bulletin or package of it was withdrawn.
    Retracted {
        /// Which, and why.
        why: String,
    },
    /// The plan's time is over.
    Expired,
}

/// What is to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Freeze the wave's number and grant its hosts.
    Open {
        /// Which.
        wave: usize,
    },
    /// Grant no more in any wave, clear nobody, and withdraw whoever has not begun.
    Shut,
    /// Grant the way back in every wave.
    OpenBack,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Where it stands.
    pub state: State,
    /// Approvers needed.
    pub threshold: usize,
    /// Waves of the plan.
    pub waves: usize,
    /// The last resumption that was used.
    pub generation: u32,
}

/// An event that its state does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} is refused while it is {state}: {reason}")]
pub struct Refused {
    /// Where it stands.
    pub state: String,
    /// What happened.
    pub event: &'static str,
    /// Why, and what would be taken.
    pub reason: &'static str,
}

impl Rollout {
    /// A new one.
    pub fn draft(threshold: usize, waves: usize) -> Self {
        Self { state: State::Draft, threshold: threshold.max(1), waves, generation: 0 }
    }

    /// The wave it is in, or was stopped in.
    pub fn at(&self) -> Option<At> {
        match &self.state {
            State::Wave(at) | State::Paused { at, .. } | State::Halted { at, .. } => Some(*at),
            State::Draft
            | State::Signed { .. }
            | State::Armed
            | State::RollingBack { .. }
            | State::RolledBack
            | State::Complete
            | State::Aborted { .. }
            | State::Superseded { .. }
            | State::Retracted { .. } => None,
        }
    }

    /// Whether nothing follows any more.
    pub fn is_over(&self) -> bool {
        match &self.state {
            State::RolledBack
            | State::Complete
            | State::Aborted { .. }
            | State::Superseded { .. }
            | State::Retracted { .. } => true,
            State::Draft
            | State::Signed { .. }
            | State::Armed
            | State::Wave(_)
            | State::Paused { .. }
            | State::Halted { .. }
            | State::RollingBack { .. } => false,
        }
    }

    /// The only way a rollout changes.
    pub fn step(&self, event: Event, now: Timestamp) -> Result<(Self, Vec<Action>), Refused> {
        let refuse = |event: &'static str, reason: &'static str| {
            Err(Refused { state: self.state.to_string(), event, reason })
        };
        let to = |state: State, actions: &[Action]| Ok((Self { state, ..self.clone() }, actions.to_vec()));
        // Ends that can come over every rollout that is not over.
        match &event {
            Event::Aborted { .. } | Event::Superseded { .. } | Event::Retracted { .. } if self.is_over() => {
                return refuse(event.name(), "it is over");
            }
            Event::Aborted { by } => return to(State::Aborted { by: by.clone() }, &[Action::Shut]),
            Event::Superseded { by } => return to(State::Superseded { by: *by }, &[Action::Shut]),
            Event::Retracted { why } => return to(State::Retracted { why: why.clone() }, &[Action::Shut]),
            Event::BackOrdered { by, signers } => return self.back(by, signers),
            Event::Signed { .. }
            | Event::Started
            | Event::Settled
            | Event::Unsettled
            | Event::Soaked
            | Event::GateRead(_)
            | Event::Paused { .. }
            | Event::Halted(_)
            | Event::Resumed { .. }
            | Event::BackDone
            | Event::Expired => {}
        }
        let name = event.name();
        match &self.state {
            State::Draft => match event {
                Event::Signed { signer } => Ok(self.signed(BTreeSet::new(), signer)),
                Event::Started
                | Event::Settled
                | Event::Unsettled
                | Event::Soaked
                | Event::GateRead(_)
                | Event::Paused { .. }
                | Event::Halted(_)
                | Event::Resumed { .. }
                | Event::BackOrdered { .. }
                | Event::BackDone
                | Event::Aborted { .. }
                | Event::Superseded { .. }
                | Event::Retracted { .. }
                | Event::Expired => refuse(name, "it is to be signed first"),
            },
            State::Signed { signers } => match event {
                Event::Signed { signer } => Ok(self.signed(signers.clone(), signer)),
                Event::Started
                | Event::Settled
                | Event::Unsettled
                | Event::Soaked
                | Event::GateRead(_)
                | Event::Paused { .. }
                | Event::Halted(_)
                | Event::Resumed { .. }
                | Event::BackOrdered { .. }
                | Event::BackDone
                | Event::Aborted { .. }
                | Event::Superseded { .. }
                | Event::Retracted { .. }
                | Event::Expired => refuse(name, "it is to be signed by more approvers first"),
            },
            State::Armed => match event {
                Event::Started => to(
                    State::Wave(At { wave: 0, phase: Phase::Open, opened: now }),
                    &[Action::Open { wave: 0 }],
                ),
                Event::Expired => to(State::Aborted { by: "expiry".to_owned() }, &[]),
                Event::Signed { .. }
                | Event::Settled
                | Event::Unsettled
                | Event::Soaked
                | Event::GateRead(_)
                | Event::Paused { .. }
                | Event::Halted(_)
                | Event::Resumed { .. }
                | Event::BackOrdered { .. }
                | Event::BackDone
                | Event::Aborted { .. }
                | Event::Superseded { .. }
                | Event::Retracted { .. } => refuse(name, "it is to be started first"),
            },
            State::Wave(at) => self.in_wave(*at, &event, now),
            State::Paused { at, .. } | State::Halted { at, .. } => match event {
                Event::Resumed { generation, signers } => self.resumed(*at, generation, &signers, now),
                // What made it stop may get worse; it stays stopped where it is.
                Event::Halted(why) => to(State::Halted { why, at: *at }, &[Action::Shut]),
                Event::Expired => to(State::Halted { why: Halt::Expired, at: *at }, &[]),
                Event::Signed { .. }
                | Event::Started
                | Event::Settled
                | Event::Unsettled
                | Event::Soaked
                | Event::GateRead(_)
                | Event::Paused { .. }
                | Event::BackOrdered { .. }
                | Event::BackDone
                | Event::Aborted { .. }
                | Event::Superseded { .. }
                | Event::Retracted { .. } => refuse(name, "it goes on only when its approvers sign that"),
            },
            State::RollingBack { .. } => match event {
                Event::BackDone => to(State::RolledBack, &[Action::Shut]),
                Event::Signed { .. }
                | Event::Started
                | Event::Settled
                | Event::Unsettled
                | Event::Soaked
                | Event::GateRead(_)
                | Event::Paused { .. }
                | Event::Halted(_)
                | Event::Resumed { .. }
                | Event::BackOrdered { .. }
                | Event::Aborted { .. }
                | Event::Superseded { .. }
                | Event::Retracted { .. }
                | Event::Expired => refuse(name, "it is being rolled back"),
            },
            State::RolledBack
            | State::Complete
            | State::Aborted { .. }
            | State::Superseded { .. }
            | State::Retracted { .. } => refuse(name, "it is over"),
        }
    }

    fn signed(&self, mut signers: BTreeSet<String>, signer: String) -> (Self, Vec<Action>) {
        // A key that signs twice is one signer.
        signers.insert(signer);
        let state = if signers.len() >= self.threshold { State::Armed } else { State::Signed { signers } };
        (Self { state, ..self.clone() }, Vec::new())
    }

    fn in_wave(&self, at: At, event: &Event, now: Timestamp) -> Result<(Self, Vec<Action>), Refused> {
        let to = |state: State, actions: &[Action]| Ok((Self { state, ..self.clone() }, actions.to_vec()));
        let phase = |phase: Phase| to(State::Wave(At { phase, ..at }), &[]);
        let refuse = |reason: &'static str| {
            Err(Refused { state: self.state.to_string(), event: event.name(), reason })
        };
        match (event, at.phase) {
            (Event::Settled, Phase::Open) => phase(Phase::Soak { since: now }),
            (Event::Unsettled, Phase::Soak { .. } | Phase::Gate { .. }) => phase(Phase::Open),
            (Event::Soaked, Phase::Soak { since }) => phase(Phase::Gate { since }),
            (Event::GateRead(Says::Open), Phase::Gate { .. }) if at.wave + 1 == self.waves => {
                to(State::Complete, &[Action::Shut])
            }
            (Event::GateRead(Says::Open), Phase::Gate { .. }) => {
                let wave = at.wave + 1;
                to(State::Wave(At { wave, phase: Phase::Open, opened: now }), &[Action::Open { wave }])
            }
            (Event::GateRead(Says::Hold), Phase::Gate { .. }) => phase(at.phase),
            (Event::GateRead(Says::Halt), Phase::Gate { .. }) => {
                to(State::Halted { why: Halt::Worse, at }, &[Action::Shut])
            }
            (Event::Settled | Event::Unsettled | Event::Soaked | Event::GateRead(_), _) => {
                refuse("the wave is not that far, or farther")
            }
            (Event::Paused { by }, _) => to(State::Paused { by: by.clone(), at }, &[Action::Shut]),
            (Event::Halted(why), _) => to(State::Halted { why: why.clone(), at }, &[Action::Shut]),
            (Event::Expired, _) => to(State::Halted { why: Halt::Expired, at }, &[Action::Shut]),
            (
                Event::Signed { .. }
                | Event::Started
                | Event::Resumed { .. }
                | Event::BackDone
                | Event::BackOrdered { .. }
                | Event::Aborted { .. }
                | Event::Superseded { .. }
                | Event::Retracted { .. },
                _,
            ) => refuse("it is under way"),
        }
    }

    fn resumed(
        &self,
        at: At,
        generation: u32,
        signers: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(Self, Vec<Action>), Refused> {
        let refuse = |reason| Err(Refused { state: self.state.to_string(), event: "resume", reason });
        if matches!(&self.state, State::Halted { why: Halt::Expired, .. }) {
            return refuse("the plan has expired: make a new one");
        }
        if generation <= self.generation {
            return refuse("that word of the approvers was used before");
        }
        if signers.len() < self.threshold {
            return refuse("it is signed by too few approvers");
        }
        // The wave goes on where it was; what it needs before its gate is counted anew.
        let at = At { phase: Phase::Open, opened: now, ..at };
        let next = Self { state: State::Wave(at), generation, ..self.clone() };
        Ok((next, vec![Action::Open { wave: at.wave }]))
    }

    fn back(&self, by: &str, signers: &BTreeSet<String>) -> Result<(Self, Vec<Action>), Refused> {
        let refuse = |reason| Err(Refused { state: self.state.to_string(), event: "rollback", reason });
        match &self.state {
            State::Draft | State::Signed { .. } | State::Armed => refuse("nothing was installed"),
            State::RollingBack { .. } | State::RolledBack => refuse("it is rolled back already"),
            State::Wave(_)
            | State::Paused { .. }
            | State::Halted { .. }
            | State::Complete
            | State::Aborted { .. }
            | State::Superseded { .. }
            | State::Retracted { .. } => {
                if signers.len() < self.threshold {
                    return refuse("it is signed by too few approvers");
                }
                let next = Self { state: State::RollingBack { by: by.to_owned() }, ..self.clone() };
                Ok((next, vec![Action::Shut, Action::OpenBack]))
            }
        }
    }
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Self::Signed { .. } => "signing",
            Self::Started => "start",
            Self::Settled | Self::Unsettled | Self::Soaked | Self::GateRead(_) => "going on",
            Self::Paused { .. } => "pause",
            Self::Halted(_) => "halt",
            Self::Resumed { .. } => "resume",
            Self::BackOrdered { .. } => "rollback",
            Self::BackDone => "the end of a rollback",
            Self::Aborted { .. } => "abort",
            Self::Superseded { .. } => "being superseded",
            Self::Retracted { .. } => "retraction",
            Self::Expired => "expiry",
        }
    }
}
