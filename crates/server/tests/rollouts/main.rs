//! Rollouts in the store and at the agents' door, on both databases. Time is an argument: a soak takes no waiting.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a program of tests has no outside")]

mod books;
mod door;
mod ledger;
mod replicas;
#[path = "../store_for_tests/mod.rs"]
mod store_for_tests;
mod story;
mod world;
