//! A repository, its people, its server and its hosts, in memory; and somebody in between who wishes them ill. The client is
//! the real one.

#![allow(clippy::unwrap_used, reason = "a test that panics fails")]

mod attacks;
mod captured;
mod conformance;
mod endless;
mod freeze;
mod interop;
mod keys;
mod names;
mod publishing;
mod remembered;
mod repository;
mod roots;
mod rotations;
mod signing;
mod statements;
mod world;
