//! One host's hands. For now it only looks: what is installed, running, mapped and listening, and what the package
//! manager could change. Parsing is done by pure functions over bytes; the rest of this crate reads the host.

pub mod apt;
pub mod observe;
pub mod program;

pub use observe::{Observation, observe};
