//! One host's hands. For now it only looks.
//!
//! A shell: it reads everything, hands bytes to pure parsers, and gives an [`exposure::inventory::Inventory`].

pub mod observe;
