//! Who may tell a host what to install, and how a host knows it.
//!
//! A TUF repository (The Update Framework, specification 1.0; client and types from the crate `tough`), used by three sides:
//!
//! - **Approvers** are people with [`keys`]. They sign [`proposal`]s, one by one, on the [`standing`] that they saw; a
//!   plan is theirs once `k` of `n` keys have signed the list that names it. What each of them has [`remembered`] of the
//!   fleet's root is what shows them a server that lies.
//! - **The server** has a [`publisher`]: it publishes what is signed and keeps it fresh. It holds the snapshot and timestamp
//!   keys, so it can withhold; no approver's key, so it can neither alter nor invent.
//! - **Hosts** have [`Trusted`]: from a root given at enrolment, over any [`Fetch`], to plans that are verified.
//!
//! A plan is opaque here: at most 10 MiB of bytes with a [`PlanName`]. What stands in it is its reader's business.
//!
//! A [`statement`] is the one thing that the server says with its own key: this host's rollout is not halted.

pub mod keys;
pub mod plan;
pub mod proposal;
pub mod publisher;
pub mod remembered;
pub mod standing;
pub mod statement;
pub mod trusted;

mod kept;
mod metadata;
mod transport;

pub use plan::{PlanName, PlanTarget};
pub use remembered::{Remembered, fingerprint_of};
pub use transport::Fetch;
pub use trusted::Trusted;
