//! What vendors' words mean for us. Takes advisories and inventories; gives findings, explained and ranked.
//!
//! No IO and no clock here: the inventory and `now` are arguments.

pub mod inventory;
pub mod verdict;
pub mod judge;
pub mod index;
pub mod ssvc;
pub mod report;
pub mod selector;

pub use inventory::Inventory;
pub use judge::judge;
pub use verdict::Verdict;
