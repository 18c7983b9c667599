//! One file per command.

pub(crate) mod ask;
pub(crate) mod audit;
pub(crate) mod authority;
pub(crate) mod agent;
pub(crate) mod check;
pub(crate) mod serve;
pub(crate) mod shell;
pub(crate) mod up;
