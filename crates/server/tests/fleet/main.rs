//! The fleet and its feeds over a real store, on each database.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../api_for_tests/mod.rs"]
mod api_for_tests;
mod feeds;
mod listed;
mod replicas;
mod story;
#[path = "../store_for_tests/mod.rs"]
mod store_for_tests;
mod vendor;
mod world;
