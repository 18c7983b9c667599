//! A fleet in one process. Runs the same engine and the same convergence as the real one, on a network that loses,
//! doubles, delays and parts, disks that lose power at any point, clocks that jump, cloned machines, servers that are
//! killed, and a server in the hands of an attacker. Everything follows from one number: the same seed gives the same
//! bytes on any machine.
//!
//! `oath` is checked all the time; `schedule` draws random histories; `story` runs written ones; `scale` measures how
//! fast word spreads in a large fleet; `ledger` holds a store's grants against their model.

pub mod chance;
pub mod fleet;
pub mod host;
pub mod centre;
pub mod captured;
pub mod world;
mod life;
pub mod oath;
pub mod schedule;
pub mod story;
pub mod scale;
pub mod ledger;

pub use chance::Chance;
pub use world::World;
