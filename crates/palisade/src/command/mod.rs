//! One file per command.

pub(crate) mod agent;
pub(crate) mod alert;
pub(crate) mod ask;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod census;
pub(crate) mod check;
pub(crate) mod key;
pub(crate) mod plan;
pub(crate) mod rollout;
pub(crate) mod rules;
#[cfg(feature = "server")]
pub(crate) mod serve;
pub(crate) mod shell;
pub(crate) mod signing;
#[cfg(feature = "server")]
pub(crate) mod up;
pub(crate) mod watch;

mod rule_files;
mod session;
