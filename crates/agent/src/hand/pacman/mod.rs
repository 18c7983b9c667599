//! pacman as root: fetching by digest, and transactions without a repository whose success nobody takes from an exit code, which
//! is 0 where a script failed. Seen with pacman 6.0.

mod fetch;
mod transaction;
mod tryout;

use super::driver::{Driver, is_kept_by};
use super::fit::Fit;
use super::task::{Said, Task, tail};
use crate::observe::pacman::{CONFIG, LOCAL, fields};
use crate::observe::root::Root;
use crate::program::find;
use advisory::Problem;
use exposure::inventory::{Manager, System};
use rollout::plan::HostClass;
use std::path::Path;

/// What lies beside a configuration file: the package's, where the host's stayed; the host's, where it was removed.
const BESIDE: [&str; 2] = ["pacnew", "pacsave"];

/// The driver.
#[derive(Debug)]
pub(super) struct Pacman;

impl Driver for Pacman {
    fn name(&self) -> &'static str {
        "pacman"
    }

    fn fits(&self, _root: &Root, system: &System) -> Result<(), String> {
        is_kept_by(Manager::Pacman, system)?;
        find("pacman").map(|_| ()).ok_or_else(|| "pacman is not installed here".to_owned())
    }

    fn tells_halves(&self) -> bool {
        false
    }

    fn fetch(&self, task: &Task<'_>, _said: &mut Said) -> Result<(), Problem> {
        fetch::fetch(task)
    }

    fn would(&self, task: &Task<'_>, said: &Said) -> Result<Fit, Problem> {
        transaction::would(task, said)
    }

    fn rests_on(&self) -> &'static [&'static str] {
        const { &[LOCAL, CONFIG, "/etc/pacman.d"] }
    }

    fn apply(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        transaction::installs(self, task, said)
    }

    fn repair(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        transaction::repair(self, task, said)
    }

    fn revert(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        transaction::revert(self, task, said)
    }

    fn conffiles(&self, class: &HostClass) -> Vec<String> {
        let versions = class.changes.iter().flat_map(|change| {
            [Some(&change.to), change.from.as_ref()]
                .into_iter()
                .flatten()
                .map(|version| (&change.name, version))
        });
        let files = versions.flat_map(|(name, version)| {
            let read = std::fs::read(format!("{LOCAL}/{name}-{version}/files")).unwrap_or_default();
            fields(&read).remove("BACKUP").unwrap_or_default()
        });
        // Its path, a tab, a digest.
        let paths = files.filter_map(|line| line.split('\t').next().map(|path| format!("/{path}")));
        let beside = paths.flat_map(|path| BESIDE.map(|ending| format!("{path}.{ending}")));
        beside.filter(|other| Path::new(other).exists()).collect()
    }

    fn last_words(&self, log: &Path) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in tail(log) {
            let line = line.trim();
            let is_told = ["error:", "warning:"].iter().any(|mark| line.starts_with(mark));
            if is_told && lines.iter().all(|other| other != line) {
                lines.push(line.to_owned());
            }
        }
        lines
    }

    fn progress(&self, log: &Path) -> Option<String> {
        tail(log)
            .iter()
            .rev()
            .find_map(|line| transaction::step(line))
            .map(|(doing, name)| format!("{doing} {name}"))
    }
}
