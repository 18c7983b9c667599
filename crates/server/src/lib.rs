//! The centre: takes what hosts report and what vendors publish; keeps it, and tells people what it means for the fleet.
//!
//! The walk: [`run`] wires everything; [`hosts`] listens to agents, [`feeds`] to vendors; both write to the [`store`] and
//! tell of it as events; [`fleet`] follows the events and stores findings; [`api`] is what people and programs ask.

pub mod config;
pub mod api;
pub mod app;
pub mod people;
pub mod identity;
pub mod hosts;
pub mod store;
pub mod feeds;
pub mod fleet;
mod task;

pub use app::App;
pub use config::Config;
