//! What attackers send. Takes the bytes of logs, or one live request; gives attempts, counted, and how long they may last.
//!
//! No IO and no clock here: bytes, `now` and the seed of every random number are arguments.

pub mod forecast;
pub mod request;
pub mod rules;
pub mod format;
pub mod census;

pub use request::{Field, Request};
pub use rules::Rules;
