//! apt and dpkg as root: fetching by digest, and transactions whose success nobody takes from an exit code.

mod command;
mod fetch;
mod progress;
mod staged;
mod transaction;

pub(super) use fetch::fetch;
pub(crate) use transaction::progress;
pub(super) use transaction::{Transaction, conffiles};
