//! What a package manager's driver does, and which one this host has: one trait, one driver for each kind of hand.

use super::apk::Apk;
use super::apt::Apt;
use super::dnf::Dnf;
use super::fit::Fit;
use super::pacman::Pacman;
use super::task::{Said, Task};
use super::zypper::Zypper;
use crate::observe::root::Root;
use crate::observe::system_now;
use crate::settings::HandKind;
use advisory::Problem;
use exposure::inventory::{Manager, System};
use rollout::plan::HostClass;
use std::fmt;
use std::path::Path;

/// Carries out, with one package manager, what a plan asks of a host. Each of `fetch`, `apply`, `repair` and `revert` ends
/// when the package manager has; whether it is done, the package database says, never a driver. What the package manager would do
/// is held against the plan before: by `would` for `apply`, by `repair` and `revert` themselves.
pub(crate) trait Driver: fmt::Debug + Sync {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// Errors, in words, where this host is not kept by it.
    fn fits(&self, root: &Root, system: &System) -> Result<(), String>;

    /// Whether its database tells packages whose installation was interrupted, or whose scripts failed. Otherwise
    /// [`Said::unfinished`] does.
    fn tells_halves(&self) -> bool;

    /// Fetches what is missing of the new and the old files.
    fn fetch(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem>;

    /// What installing the new versions from the files that were kept would do, held against the plan. Errors where it cannot be
    /// asked.
    fn would(&self, task: &Task<'_>, said: &Said) -> Result<Fit, Problem>;

    /// What the answer of `would` rests on besides the kept files: files, and directories with what is below them.
    fn rests_on(&self) -> &'static [&'static str];

    /// Installs the new versions, from files that were kept.
    fn apply(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem>;

    /// Ends what was interrupted, whichever way it led.
    fn repair(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem>;

    /// Installs the old versions of all packages, from files that were kept.
    fn revert(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem>;

    /// Configuration files of a class's packages beside which another version lies: the package's, where the host's stayed,
    /// or the host's, where the package's took its place.
    fn conffiles(&self, class: &HostClass) -> Vec<String>;

    /// What was said last, in a log of it, that a person may want to know; empty: nothing.
    fn last_words(&self, log: &Path) -> Vec<String>;

    /// How far it is, by the last of what it says in a log.
    fn progress(&self, log: &Path) -> Option<String>;
}

/// The driver of a hand; `None` for one that installs nothing.
pub(crate) fn driver(kind: HandKind) -> Option<&'static dyn Driver> {
    match kind {
        HandKind::Apt => Some(&Apt),
        HandKind::Dnf => Some(&Dnf),
        HandKind::Zypper => Some(&Zypper),
        HandKind::Pacman => Some(&Pacman),
        HandKind::Apk => Some(&Apk),
        HandKind::Eyes | HandKind::Dry => None,
    }
}

/// Errors where the host in `root` is not kept by this driver's package manager.
pub(crate) fn is_for_this_host(driver: &dyn Driver, root: &Path) -> Result<(), Problem> {
    let refused = |reason: String| {
        let name = driver.name();
        Problem::new("install packages with", name, reason)
            .remedy("name what fits this host: [agent] hand in /etc/palisade/agent.toml")
    };
    let opened = Root::open(root).map_err(|problem| refused(problem.to_string()))?;
    driver.fits(&opened, &system_now(&opened)).map_err(refused)
}

/// Errors where a host is kept by another package manager.
pub(super) fn is_kept_by(wanted: Manager, system: &System) -> Result<(), String> {
    if system.manager == wanted {
        return Ok(());
    }
    Err(format!("this host's packages are kept by {}", system.manager))
}
