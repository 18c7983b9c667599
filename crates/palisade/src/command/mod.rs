//! One file per command.

pub(crate) mod agent;
pub(crate) mod check;
pub(crate) mod shell;
