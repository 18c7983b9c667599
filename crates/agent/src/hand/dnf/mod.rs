//! dnf 4 as root: fetching by digest, and transactions without a repository whose success nobody takes from an exit code,
//! because it is 0 where a script failed. What was interrupted rpm itself makes whole.

mod fetch;
mod library;
mod transaction;

use super::driver::{Driver, is_kept_by};
use super::fit::Fit;
use super::rpm;
use super::task::{Said, Task};
use crate::observe::is_zypps;
use crate::observe::root::Root;
use advisory::Problem;
use exposure::inventory::{Manager, System};
use rollout::plan::HostClass;
use std::path::Path;

/// The driver.
#[derive(Debug)]
pub(super) struct Dnf;

impl Driver for Dnf {
    fn name(&self) -> &'static str {
        "dnf"
    }

    fn fits(&self, root: &Root, system: &System) -> Result<(), String> {
        is_kept_by(Manager::Rpm, system)?;
        if is_zypps(root) {
            return Err("this host's repositories are kept by zypper".to_owned());
        }
        crate::dnf::interpreter().map(|_| ())
    }

    fn tells_halves(&self) -> bool {
        false
    }

    fn fetch(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        fetch::fetch(task, said)
    }

    fn would(&self, task: &Task<'_>, said: &Said) -> Result<Fit, Problem> {
        rpm::transaction::would(self, task, said)
    }

    fn rests_on(&self) -> &'static [&'static str] {
        const { &[rpm::transaction::RESTS_ON[0], rpm::transaction::RESTS_ON[1], "/etc/dnf"] }
    }

    fn apply(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        transaction::apply(self, task, said)
    }

    fn repair(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        rpm::transaction::repair(self, task, said)
    }

    fn revert(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        rpm::transaction::revert(self, task, said)
    }

    fn conffiles(&self, class: &HostClass) -> Vec<String> {
        rpm::conffiles(class)
    }

    fn last_words(&self, log: &Path) -> Vec<String> {
        rpm::last_words(log)
    }

    fn progress(&self, log: &Path) -> Option<String> {
        transaction::progress(log)
    }
}
