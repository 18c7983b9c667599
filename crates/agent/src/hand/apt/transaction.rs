//! Installing, repairing, going back: what apt would do is held against the plan before, what the database says after.

use super::command::{Way, configure, install, marks, simulate};
use super::progress::Progress;
use super::staged::Staged;
use crate::apt::{cached_name, simulation};
use crate::hand::deed::installed;
use crate::hand::order::{Deed, Order};
use crate::hand::place::Place;
use crate::job::sight::sha256_of;
use crate::program::{Program, is_stopped};
use crate::state::kept_name;
use advisory::Problem;
use exposure::inventory::{Package, PackageState};
use rollout::plan::{Change, File, HostClass};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

/// apt's own timers take this lock while they work (unattended-upgrades runs under it), and wait for it.
const DAILY_LOCK: &str = "/var/lib/apt/daily_lock";
/// How long they are waited for. Then dpkg's own lock decides.
const DAILY_WITHIN: Duration = Duration::from_secs(600);
/// Lines of apt's that are told where it fails.
const LINES_MAX: usize = 4;

/// A transaction of one class.
#[derive(Debug)]
pub(in crate::hand) struct Transaction<'a> {
    pub(in crate::hand) place: &'a Place,
    pub(in crate::hand) order: &'a Order,
    pub(in crate::hand) class: &'a HostClass,
    /// Whether it leads to the old versions.
    pub(in crate::hand) is_back: bool,
}

impl Transaction<'_> {
    /// Has apt and dpkg do it. What they say is told; whether it is done, [`Transaction::check`] looks up.
    pub(in crate::hand) fn run(&self, told: &mut Vec<String>) -> Result<(), Problem> {
        let _daily = daily_lock(told);
        if is_stopped() {
            return Err(self.order.refused("the host is going down").remedy("it is begun after the boot"));
        }
        match self.order.deed {
            Deed::Repair => self.repair(told),
            Deed::Apply => self.install(Way::Forward, &self.differing()?, told),
            Deed::Revert => self.revert(told),
            Deed::Fetch | Deed::Restart | Deed::Reboot => Ok(()),
        }
    }

    /// Whether every package of the class has the version that is wanted, whole.
    pub(in crate::hand) fn check(&self, packages: &[Package]) -> Result<(), Problem> {
        let wrong = |change: &&Change| {
            let Some(version) = self.version(change) else { return false };
            let found = find(packages, change);
            !found.is_some_and(|found| found.version == version && found.state == PackageState::Installed)
        };
        let wrong: Vec<String> = self
            .class
            .changes
            .iter()
            .filter(wrong)
            .map(|change| match find(packages, change) {
                Some(found) => format!("{} is {} ({:?})", change.name, found.version, found.state),
                None => format!("{} is not installed", change.name),
            })
            .collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let said = self.last_lines();
        Err(self.order.refused(format!("{}; apt said: {said}", wrong.join(", "))))
    }

    fn repair(&self, told: &mut Vec<String>) -> Result<(), Problem> {
        self.through(&configure(), told)?;
        // dpkg passes over packages that it must unpack anew, and says that all is well.
        let packages = installed(self.order)?;
        let is_half = |change: &&Change| {
            find(&packages, change).is_some_and(|found| found.state == PackageState::HalfInstalled)
        };
        let half: Vec<&Change> = self.class.changes.iter().filter(is_half).collect();
        if half.is_empty() { Ok(()) } else { self.install(Way::Again, &half, told) }
    }

    fn revert(&self, told: &mut Vec<String>) -> Result<(), Problem> {
        let held: Vec<String> = installed(self.order)?
            .iter()
            .filter(|package| package.held && self.class.changes.iter().any(|change| is_of(change, package)))
            .map(|package| format!("{}:{}", package.name, package.arch))
            .collect();
        let mut done = self.install(Way::Back, &self.differing()?, told);
        let left = self.differing()?;
        if !left.is_empty() {
            // Something that was interrupted before stands in the way.
            self.through(&configure(), told)?;
            done = self.install(Way::Back, &left, told);
        }
        if !held.is_empty()
            && let Err(problem) = marks("hold", &held).run_ok()
        {
            told.push(format!("holds could not be set again on {}: {problem}", held.join(", ")));
        }
        done
    }

    /// Changes whose package is not as wanted.
    fn differing(&self) -> Result<Vec<&Change>, Problem> {
        let packages = installed(self.order)?;
        let is_right = |change: &Change| {
            // What was newly installed may stay when it goes back: nothing of before needs it.
            let Some(version) = self.version(change) else { return true };
            find(&packages, change)
                .is_some_and(|found| found.version == version && found.state == PackageState::Installed)
        };
        Ok(self.class.changes.iter().filter(|change| !is_right(change)).collect())
    }

    fn version<'c>(&self, change: &'c Change) -> Option<&'c str> {
        if self.is_back { change.from.as_deref() } else { Some(&change.to) }
    }

    fn file<'c>(&self, change: &'c Change) -> Option<&'c File> {
        if self.is_back { change.back.as_ref() } else { Some(&change.file) }
    }

    /// Installs the files of these changes, if apt would do this and nothing else.
    fn install(&self, way: Way, changes: &[&Change], told: &mut Vec<String>) -> Result<(), Problem> {
        if changes.is_empty() {
            return Ok(());
        }
        let staged = self.stage(changes)?;
        let looked = simulate(&staged, way).run_ok().map_err(|problem| {
            self.order
                .refused(format!("apt would not: {problem}"))
                .remedy("nothing was changed; see what stands in the way")
        })?;
        let would = simulation::parse(&String::from_utf8_lossy(&looked.stdout));
        let is_meant = |step: &simulation::Step| {
            let to = step.to.as_deref();
            to.is_some()
                && changes.iter().any(|change| {
                    change.name == step.name && change.arch == step.arch && self.version(change) == to
                })
        };
        if let Some(line) = would.unread.first() {
            return Err(self.order.refused(format!("apt says what cannot be read here: {line}")));
        }
        if let Some(step) = would.steps.iter().find(|step| !is_meant(step)) {
            let what = match &step.to {
                Some(version) => format!("install {} {version}", step.name),
                None => format!("remove {}", step.name),
            };
            return Err(self.order.refused(format!("apt would {what}, which the plan does not say")));
        }
        let automatic = automatic(changes);
        let done = self.through(&install(&staged, way), told);
        // Whoever names a package has apt believe that a person wanted it.
        if !automatic.is_empty()
            && let Err(problem) = marks("auto", &automatic).run_ok()
        {
            told.push(format!("marks of automatic installation could not be set again: {problem}"));
        }
        done
    }

    /// The files of these changes, under apt's own names for them in a directory that apt takes for its cache: a version
    /// that an archive has as well it would fetch again, whatever path it is given.
    fn stage(&self, changes: &[&Change]) -> Result<Staged, Problem> {
        let packages = self.place.packages();
        let failed = |what: &str, problem: &dyn std::fmt::Display| {
            self.order.refused(format!("{what}: {problem}")).remedy("nothing was changed; it is tried again")
        };
        let staged =
            Staged::new(&packages).map_err(|problem| failed("no place for apt's cache", &problem))?;
        for change in changes {
            let file = self.file(change);
            let file = file.ok_or_else(|| failed(&change.name, &"no old file was kept"))?;
            let kept = packages.join(kept_name(file));
            match sha256_of(&kept) {
                Ok(found) if found == (file.sha256, file.size_bytes) => {}
                Ok(_) => return Err(failed(&change.name, &"the kept file is damaged")),
                Err(problem) => return Err(failed(&change.name, &problem)),
            }
            let version = self.version(change).unwrap_or_default();
            let name = cached_name(&change.name, version, &change.arch);
            let linked = std::fs::hard_link(&kept, staged.directory().join(name));
            linked.map_err(|problem| failed(&change.name, &problem))?;
        }
        Ok(staged)
    }

    /// Runs a program that must not be ended half-way, and tells how it ended, as it says.
    fn through(&self, program: &Program, told: &mut Vec<String>) -> Result<(), Problem> {
        let log = self.place.log(self.order);
        let code = program.run_through(&log).map_err(|problem| self.order.refused(problem))?;
        if code != Some(0) {
            let ended = code.map_or("was killed".to_owned(), |code| format!("ended with {code}"));
            told.push(format!("{} {ended}: {}", program.line(), self.last_lines()));
        }
        Ok(())
    }

    /// What was said last that a person may want to know.
    fn last_lines(&self) -> String {
        let log = self.place.log(self.order);
        let mut lines: Vec<String> = Vec::new();
        for line in tail(&log) {
            let failed = match Progress::read(&line) {
                Some(Progress::Failed { package, text }) => Some(format!("{package}: {text}")),
                Some(Progress::At { .. }) => None,
                None => ["E: ", "dpkg: error", "dpkg: warning", "W: "]
                    .iter()
                    .any(|mark| line.starts_with(mark))
                    .then(|| line.trim().to_owned()),
            };
            if let Some(failed) = failed.filter(|failed| !lines.contains(failed)) {
                lines.push(failed);
            }
        }
        let hidden = lines.len().saturating_sub(LINES_MAX);
        if lines.is_empty() { "nothing".to_owned() } else { lines.split_off(hidden).join("; ") }
    }
}

/// Of these, what is marked as installed automatically; what is new here will be.
fn automatic(changes: &[&Change]) -> Vec<String> {
    let names: Vec<String> = changes.iter().map(|change| apt_name(&change.name, &change.arch)).collect();
    let shown = marks("showauto", &names).run_ok();
    let text = shown.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let marked: BTreeSet<&str> = text.lines().map(str::trim).collect();
    let is_automatic = |change: &&&Change| {
        let names = [change.name.clone(), format!("{}:{}", change.name, change.arch)];
        change.from.is_none() || names.iter().any(|name| marked.contains(name.as_str()))
    };
    changes.iter().filter(is_automatic).map(|change| apt_name(&change.name, &change.arch)).collect()
}

/// As apt takes it: a package for all architectures is named without one.
fn apt_name(name: &str, arch: &str) -> String {
    if arch == "all" { name.to_owned() } else { format!("{name}:{arch}") }
}

/// How far apt is, by the last of its status lines in a log.
pub(crate) fn progress(log: &Path) -> Option<String> {
    let lines = tail(log);
    let last = lines.iter().rev().find_map(|line| Progress::read(line));
    match last? {
        Progress::At { percent, text } => Some(format!("{percent} %: {text}")),
        Progress::Failed { package, text } => Some(format!("{package}: {text}")),
    }
}

/// The last lines of a log, up to 64 KiB of it.
fn tail(path: &Path) -> Vec<String> {
    const BYTES: u64 = 64 << 10;
    let Ok(mut file) = std::fs::File::open(path) else { return Vec::new() };
    let length = file.metadata().map_or(0, |found| found.len());
    if file.seek(SeekFrom::Start(length.saturating_sub(BYTES))).is_err() {
        return Vec::new();
    }
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}

fn is_of(change: &Change, package: &Package) -> bool {
    package.name == change.name && package.arch == change.arch
}

fn find<'p>(packages: &'p [Package], change: &Change) -> Option<&'p Package> {
    packages.iter().find(|package| is_of(change, package))
}

/// Keeps apt's own timers out until it is dropped, and unattended-upgrades with them. They wait for as long as we hold it;
/// if they are at work, we wait for them.
fn daily_lock(told: &mut Vec<String>) -> Option<std::fs::File> {
    let file = std::fs::OpenOptions::new().create(true).write(true).truncate(false).open(DAILY_LOCK).ok()?;
    let end = Instant::now() + DAILY_WITHIN;
    while file.try_lock().is_err() && !is_stopped() {
        if Instant::now() >= end {
            told.push("apt's daily work did not end; dpkg's own lock decides".to_owned());
            return None;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    Some(file)
}

/// Configuration files of these packages beside which the package's own lies: the host's was kept.
pub(in crate::hand) fn conffiles(class: &HostClass) -> Vec<String> {
    let names = class.changes.iter().map(|change| apt_name(&change.name, &change.arch));
    let shown = Program::new("dpkg-query").args(["-W", "-f", "${Conffiles}\n", "--"]).args(names).run();
    let text = shown.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let paths = text.lines().filter_map(|line| line.split_whitespace().next());
    let beside = |path: &str| {
        ["dpkg-dist", "dpkg-new", "ucf-dist"]
            .iter()
            .map(|ending| format!("{path}.{ending}"))
            .find(|beside| Path::new(beside).exists())
    };
    paths.filter_map(beside).collect()
}
