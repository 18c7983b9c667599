//! Trust and plans through the API, on both databases: who may sign, what hosts read then, and how a plan is made.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a program of tests has no outside")]

#[path = "../api_for_tests/mod.rs"]
mod api_for_tests;
mod golden;
mod people;
mod planning;
mod servers;
mod signing;
#[path = "../store_for_tests/mod.rs"]
mod store_for_tests;
mod world;
