//! One host's hands. They look: what is installed, running, mapped and listening, and what the package manager could
//! change; and they tell the server. Parsing is done by pure functions over bytes; the rest of this crate reads the host,
//! and writes nothing but its own directory ([`state`]); except for [`hand`], which runs as root, beside the agent, and
//! installs what approvers have signed.
//!
//! A host is made part of a fleet once ([`enrol`]); from then on [`run`] looks at it, checks in, and sends what changed.
//! What an order asks, `job` verifies, decides (by `rollout::converge`) and has carried out, by a hand that the host's owner
//! names in its [`settings`]; `rehearse` says what a change would do.

pub mod apk;
pub mod apt;
pub mod census;
pub mod enrol;
pub mod follow;
pub mod hand;
pub mod identity;
pub mod observe;
pub mod pacman;
pub mod pin;
pub mod program;
pub mod settings;
pub mod state;
pub mod token;
pub mod unpack;
pub mod zypper;
mod check_in;
mod dnf;
mod hint;
mod job;
mod link;
mod look;
mod notify;
mod pace;
mod rehearse;
mod spool;
mod told;
mod user;
mod watch;

pub use check_in::{Config, Ended, apart, run, status};
pub use job::{JobStatus, Receipt, TrustStatus, newest_root};
pub use link::Error as LinkError;
pub use observe::{Observation, observe};
pub use pace::Pace;
pub use rehearse::rehearse;
pub use told::{Contact, Status, Told};
