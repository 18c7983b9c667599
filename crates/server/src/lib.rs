//! The centre: takes what hosts report and what vendors publish; keeps it, and tells people what it means for the fleet.
//!
//! The walk: [`run`] wires everything; [`hosts`] listens to agents, [`feeds`] to vendors; both write to the [`store`] and
//! tell of it as events; [`fleet`] follows the events and stores findings; [`planning`] makes plans of them, [`signing`] puts in
//! force what approvers sign, [`rollouts`] grants, watches and stops what is under way; [`census`] adds up what hosts
//! count in their web logs and tells what it means for findings; [`api`] is what people and programs
//! ask.

pub mod config;
pub mod log;
pub mod traces;
pub mod app;
pub mod run;
pub mod store;
pub mod identity;
pub mod hosts;
pub mod feeds;
pub mod fleet;
pub mod signing;
pub mod planning;
pub mod rollouts;
pub mod census;
pub mod people;
pub mod api;
pub mod metrics;
pub mod doctor;
mod seal;
mod task;

pub use app::App;
pub use config::Config;
