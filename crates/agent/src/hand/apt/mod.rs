//! apt and dpkg as root: fetching by digest, and transactions whose success nobody takes from an exit code.

mod command;
mod fetch;
mod progress;
mod transaction;

use super::driver::{Driver, is_kept_by};
use super::fit::Fit;
use super::task::{Said, Task};
use crate::observe::root::Root;
use advisory::Problem;
use exposure::inventory::{Manager, System};
use rollout::plan::HostClass;
use std::path::Path;

/// The driver.
#[derive(Debug)]
pub(super) struct Apt;

impl Driver for Apt {
    fn name(&self) -> &'static str {
        "apt"
    }

    fn fits(&self, _root: &Root, system: &System) -> Result<(), String> {
        is_kept_by(Manager::Dpkg, system)
    }

    fn tells_halves(&self) -> bool {
        true
    }

    fn fetch(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        fetch::fetch(task, said)
    }

    fn would(&self, task: &Task<'_>, _said: &Said) -> Result<Fit, Problem> {
        transaction::would(task)
    }

    fn rests_on(&self) -> &'static [&'static str] {
        // What is installed, held and half done; what archives have; pins and every other setting.
        &[
            "/var/lib/dpkg/status",
            "/var/lib/dpkg/updates",
            "/var/lib/dpkg/arch",
            transaction::MARKS,
            "/var/lib/apt/lists",
            "/etc/apt",
        ]
    }

    fn apply(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        transaction::apply(self, task, said)
    }

    fn repair(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        transaction::repair(self, task, said)
    }

    fn revert(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        transaction::revert(self, task, said)
    }

    fn conffiles(&self, class: &HostClass) -> Vec<String> {
        transaction::conffiles(class)
    }

    fn last_words(&self, log: &Path) -> Vec<String> {
        transaction::last_words(log)
    }

    fn progress(&self, log: &Path) -> Option<String> {
        transaction::progress(log)
    }
}
