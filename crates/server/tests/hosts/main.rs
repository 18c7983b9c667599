//! Hosts: over real sockets with real TLS, on both databases.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a program of tests has no outside")]

mod attacks;
mod census;
mod clones;
mod fleet;
mod inventories;
mod life;
mod rotation;
#[path = "../store_for_tests/mod.rs"]
mod store_for_tests;
