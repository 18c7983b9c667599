//! One transaction that a plan asks for, whichever package manager does it: which versions, which files, and whether it is
//! done.

use super::deed::brought;
use super::driver::Driver;
use super::named::named;
use super::order::Order;
use super::place::Place;
use super::staged::Staged;
use crate::job::sight::sha256_of;
use crate::observe::root::Root;
use crate::observe::{kernels_now, packages_now};
use crate::program::Program;
use crate::state::kept_name;
use advisory::Problem;
use exposure::inventory::{Package, PackageState};
use rollout::plan::{Change, File, HostClass};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Of what one transaction says, the last 4 MiB are read for scripts that failed.
const SAID_BYTES_MAX: u64 = 4 << 20;
/// Lines of a package manager's that are told where it fails.
const LINES_MAX: usize = 4;

/// The release of the kernel that runs, if it is one of these packages'.
fn running_kernel(packages: &[Package]) -> Option<String> {
    let kernels = kernels_now(&Root::open(Path::new("/")).ok()?, Path::new("/proc"), packages);
    let booted = kernels.booted?;
    kernels
        .installed
        .iter()
        .any(|kernel| kernel.release == booted && kernel.package.is_some())
        .then_some(booted)
}

/// A transaction of one class.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub(crate) place: &'a Place,
    pub(crate) order: &'a Order,
    pub(crate) class: &'a HostClass,
    /// Whether it leads to the old versions.
    pub(crate) is_back: bool,
}

/// What a driver says of what it did, besides what the package database tells.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// What went otherwise than expected and did no harm; what was done besides.
    pub(crate) told: Vec<String>,
    /// Packages that are not whole, whatever the database says: their transaction was interrupted, or a script of theirs failed.
    pub(crate) unfinished: BTreeSet<String>,
}

impl Task<'_> {
    /// Every package that is installed now.
    pub(super) fn installed(&self) -> Result<Vec<Package>, Problem> {
        let unseen = |reason: String| self.order.refused(reason).remedy("repair the package database");
        let root = Root::open(Path::new("/")).map_err(|problem| unseen(problem.to_string()))?;
        let (_, packages, gaps) = packages_now(&root);
        match gaps.first() {
            Some(gap) if packages.is_empty() => Err(unseen(format!("{}: {}", gap.object, gap.reason))),
            Some(_) | None => Ok(packages),
        }
    }

    /// Whether every package of the class has the version that is wanted, whole.
    pub(super) fn check(
        &self,
        driver: &dyn Driver,
        packages: &[Package],
        said: &Said,
    ) -> Result<(), Problem> {
        let packages = named(self.class, packages.to_vec());
        let wrong = |change: &&Change| {
            let Some(version) = self.version(change) else { return false };
            let is_right = find(&packages, change).is_some_and(|found| is_whole(found, version));
            !is_right || said.unfinished.contains(&change.name)
        };
        let tell = |change: &Change| match find(&packages, change) {
            Some(found) if said.unfinished.contains(&change.name) => {
                format!("{} is {} and not finished", change.name, found.version)
            }
            Some(found) => format!("{} is {} ({:?})", change.name, found.version, found.state),
            None => format!("{} is not installed", change.name),
        };
        let wrong: Vec<String> = self.class.changes.iter().filter(wrong).map(tell).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let words = self.last_words(driver);
        Err(self.order.refused(format!("{}; {} said: {words}", wrong.join(", "), driver.name())))
    }

    /// Changes whose package is not as wanted.
    pub(super) fn differing(&self) -> Result<Vec<&Change>, Problem> {
        let packages = named(self.class, self.installed()?);
        let is_right = |change: &Change| {
            // What was newly installed may stay when it goes back: nothing of before needs it.
            let Some(version) = self.version(change) else { return true };
            find(&packages, change).is_some_and(|found| is_whole(found, version))
        };
        Ok(self.class.changes.iter().filter(|change| !is_right(change)).collect())
    }

    /// What carrying out the plan has newly installed here, and is there still.
    fn brought(&self) -> Result<Vec<Package>, Problem> {
        let history = self.place.history(self.order.digest);
        let brought = brought(&history);
        let is_brought = |package: &Package| {
            brought.contains(&(package.name.as_str(), package.arch.as_str()))
                && self.class.changes.iter().any(|change| change.from.is_none() && is_of(change, package))
        };
        let mut packages = named(self.class, self.installed()?);
        packages.retain(is_brought);
        Ok(packages)
    }

    /// Goes back: installs the old versions; where that leaves something, repairs it; then takes away what came new.
    pub(super) fn revert(
        &self,
        said: &mut Said,
        installs: impl FnOnce(&mut Said) -> Result<(), Problem>,
        repair: impl FnOnce(&mut Said) -> Result<(), Problem>,
        take_away: impl FnOnce(&mut Said) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.forget_new_if_back(said);
        let done = installs(said);
        // Whatever keeps it from that, the old files are here.
        if self.open(said)?.is_empty() {
            done?;
        } else {
            repair(said)?;
        }
        // While something of the new is there, it may need what came with it.
        if self.open(said)?.is_empty() { take_away(said) } else { Ok(()) }
    }

    /// Takes away what carrying out the plan has newly installed here, and nothing else. What something needs by now stays, and
    /// the host is then neither as it was nor as it was to be.
    ///
    /// `name`: as the package manager takes it. `would` errors, in words, where it would not, or would do more than that.
    pub(super) fn take_away(
        &self,
        driver: &dyn Driver,
        name: impl Fn(&Package) -> String,
        would: impl FnOnce(&[Package], &[String]) -> Result<(), String>,
        remove: impl FnOnce(&[String]) -> Program,
        said: &mut Said,
    ) -> Result<(), Problem> {
        let there = self.brought()?;
        let names: Vec<String> = there.iter().map(name).collect();
        if names.is_empty() {
            return Ok(());
        }
        let stays = |reason: String| {
            let names = names.join(", ");
            self.order.refused(format!("{names} was newly installed by the plan, and stays: {reason}"))
        };
        if let Some(release) = running_kernel(&there) {
            // Without its modules it runs on, and can load none.
            let remedy = "boot an older kernel, then remove it by hand";
            return Err(stays(format!("the kernel {release} is what runs here")).remedy(remedy));
        }
        would(&there, &names)
            .map_err(|reason| stays(reason).remedy("see what needs it, and remove it by hand"))?;
        if self.through(driver, &remove(&names), said)? == Some(0) {
            said.told.push(format!("removed, since the plan had newly installed it: {}", names.join(", ")));
        }
        Ok(())
    }

    /// Changes whose package is not as wanted, or not finished.
    pub(super) fn open(&self, said: &Said) -> Result<Vec<&Change>, Problem> {
        let differing = self.differing()?;
        let is_open = |change: &&Change| {
            differing.iter().any(|other| std::ptr::eq(*other, *change))
                || said.unfinished.contains(&change.name) && self.version(change).is_some()
        };
        Ok(self.class.changes.iter().filter(is_open).collect())
    }

    /// Whether something of these was interrupted.
    pub(super) fn is_half(&self, changes: &[&Change], said: &Said) -> Result<bool, Problem> {
        let packages = named(self.class, self.installed()?);
        let is_half = |change: &&Change| {
            said.unfinished.contains(&change.name)
                || find(&packages, change).is_some_and(|found| found.state != PackageState::Installed)
        };
        Ok(changes.iter().any(is_half))
    }

    /// The file of what is wanted of a change, where it was kept.
    pub(super) fn kept(&self, change: &Change) -> Option<PathBuf> {
        Some(self.place.packages().join(kept_name(self.file(change)?)))
    }

    /// On the way back what was newly installed is not to be finished: it is taken away.
    pub(super) fn forget_new_if_back(&self, said: &mut Said) {
        let is_wanted = |name: &String| {
            self.class.changes.iter().any(|change| change.name == *name && self.version(change).is_some())
        };
        said.unfinished.retain(is_wanted);
    }

    /// The version that is wanted; `None`: none in particular.
    pub(super) fn version<'c>(&self, change: &'c Change) -> Option<&'c str> {
        if self.is_back { change.from.as_deref() } else { Some(&change.to) }
    }

    fn file<'c>(&self, change: &'c Change) -> Option<&'c File> {
        if self.is_back { change.back.as_ref() } else { Some(&change.file) }
    }

    /// The files of these changes in a directory of their own, under the names that the package manager has for them:
    /// `name(change, version)`.
    pub(super) fn stage(
        &self,
        changes: &[&Change],
        name: impl Fn(&Change, &str) -> String,
    ) -> Result<Staged, Problem> {
        let packages = self.place.packages();
        let failed = |what: &str, problem: &dyn std::fmt::Display| {
            self.order.refused(format!("{what}: {problem}")).remedy("nothing was changed; it is tried again")
        };
        let mut staged =
            Staged::new(&packages).map_err(|problem| failed("no place for its files", &problem))?;
        for change in changes {
            let file = self.file(change);
            let file = file.ok_or_else(|| failed(&change.name, &"no old file was kept"))?;
            let kept = packages.join(kept_name(file));
            match sha256_of(&kept) {
                Ok(found) if found == (file.sha256, file.size_bytes) => {}
                Ok(_) => return Err(failed(&change.name, &"the kept file is damaged")),
                Err(problem) => return Err(failed(&change.name, &problem)),
            }
            let name = name(change, self.version(change).unwrap_or_default());
            staged.link(&kept, &name).map_err(|problem| failed(&change.name, &problem))?;
        }
        Ok(staged)
    }

    /// Runs a program that must not be ended half-way, and tells how it ended, as it says. Gives its exit code; `None` if a
    /// signal ended it.
    pub(super) fn through(
        &self,
        driver: &dyn Driver,
        program: &Program,
        said: &mut Said,
    ) -> Result<Option<i32>, Problem> {
        let log = self.place.log(self.order);
        let code = program.run_through(&log).map_err(|problem| self.order.refused(problem))?;
        if code != Some(0) {
            let ended = code.map_or("was killed".to_owned(), |code| format!("ended with {code}"));
            said.told.push(format!("{} {ended}: {}", program.line(), self.last_words(driver)));
        }
        Ok(code)
    }

    /// What the package manager said last that a person may want to know.
    fn last_words(&self, driver: &dyn Driver) -> String {
        let mut lines = driver.last_words(&self.place.log(self.order));
        let hidden = lines.len().saturating_sub(LINES_MAX);
        if lines.is_empty() { "nothing".to_owned() } else { lines.split_off(hidden).join("; ") }
    }
}

fn is_whole(package: &Package, version: &str) -> bool {
    package.version == version && package.state == PackageState::Installed
}

/// Whether a package is the one of a change.
pub(super) fn is_of(change: &Change, package: &Package) -> bool {
    package.name == change.name && package.arch == change.arch
}

/// The package of a change.
pub(super) fn find<'p>(packages: &'p [Package], change: &Change) -> Option<&'p Package> {
    packages.iter().find(|package| is_of(change, package))
}

/// The last lines of a log, up to 64 KiB of it.
pub(super) fn tail(path: &Path) -> Vec<String> {
    const BYTES: u64 = 64 << 10;
    let Ok(mut file) = std::fs::File::open(path) else { return Vec::new() };
    let length = file.metadata().map_or(0, |found| found.len());
    if file.seek(SeekFrom::Start(length.saturating_sub(BYTES))).is_err() {
        return Vec::new();
    }
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}

/// What was appended to a log.
pub(super) fn since(log: &Path, before: u64) -> String {
    let read = || {
        let mut file = std::fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(before.max(length.saturating_sub(SAID_BYTES_MAX))))?;
        let mut bytes = Vec::new();
        file.take(SAID_BYTES_MAX).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}
