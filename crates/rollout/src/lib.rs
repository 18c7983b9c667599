//! What we do about it. Takes approved versions and hosts; gives a plan, who may begin when, and what one host does next.
//!
//! No IO and no clock here: `now`, time zones, chance and what a host sees are arguments; what is to be done are values.
//!
//! - `plan` is what approvers sign, `word` what they sign while it is under way; `waves` cuts the fleet, `window` says
//!   when.
//! - `rollout`, `job` and `converge` are the three machines: the whole, one host as the centre knows it, one host as it is.
//! - `replay` judges how a service does under replayed attempts.
//! - `engine` is the centre's one step for a host's check-in and for the sweep; `grant`, `capacity`, `gate` and
//!   `denylist` are what it asks.
//! - `sim` runs all of it, unchanged, on a hostile network, disk and clock.

pub mod plan;
pub mod word;
pub mod window;
pub mod waves;
pub mod order;
pub mod job;
pub mod capacity;
pub mod grant;
pub mod gate;
pub mod rollout;
pub mod denylist;
pub mod engine;
pub mod replay;
pub mod converge;
#[cfg(feature = "sim")]
pub mod sim;
