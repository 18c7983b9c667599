//! Installing, repairing, going back: what apt would do is held against the plan before, what the database says after.

use super::Apt;
use super::command::{Way, configure, install, marks, remove, simulate, simulate_removal};
use super::progress::Progress;
use crate::apt::{cached_name, fields, simulation};
use crate::hand::fit::{self, Fit};
use crate::hand::staged::Staged;
use crate::hand::task::{Said, Task, find, is_of, tail};
use crate::program::{Program, is_stopped};
use advisory::Problem;
use exposure::inventory::{Package, PackageState};
use rollout::plan::{Change, HostClass};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

/// Where apt marks what was installed automatically.
pub(super) const MARKS: &str = "/var/lib/apt/extended_states";
/// Lines of what stands in the way that are told.
const NAMED_MAX: usize = 4;

pub(super) fn apply(apt: &Apt, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    is_up(task)?;
    installs(apt, task, Way::Forward, &task.differing()?, said)
}

pub(super) fn repair(apt: &Apt, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    is_up(task)?;
    task.through(apt, &configure(), said)?;
    // dpkg passes over packages that it must unpack anew, and says that all is well.
    let packages = task.installed()?;
    let is_half = |change: &&Change| {
        find(&packages, change).is_some_and(|found| found.state == PackageState::HalfInstalled)
    };
    let half: Vec<&Change> = task.class.changes.iter().filter(is_half).collect();
    installs(apt, task, Way::Again, &half, said)
}

pub(super) fn revert(apt: &Apt, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    is_up(task)?;
    let held: Vec<String> = task
        .installed()?
        .iter()
        .filter(|package| package.held && task.class.changes.iter().any(|change| is_of(change, package)))
        .map(|package| format!("{}:{}", package.name, package.arch))
        .collect();
    let mut done = installs(apt, task, Way::Back, &task.differing()?, said);
    let left = task.differing()?;
    if !left.is_empty() {
        // Something that was interrupted before stands in the way.
        task.through(apt, &configure(), said)?;
        done = installs(apt, task, Way::Back, &left, said);
    }
    if !held.is_empty()
        && let Err(problem) = marks("hold", &held).run_ok()
    {
        said.told.push(format!("holds could not be set again on {}: {problem}", held.join(", ")));
    }
    done?;
    // While something of the new is there, it may need what came with it; that it is there, is told.
    if task.differing()?.is_empty() { take_away(apt, task, said) } else { Ok(()) }
}

/// Takes away what carrying out the plan has newly installed here, if apt would do this and nothing else.
fn take_away(apt: &Apt, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    let would = |there: &[Package], names: &[String]| {
        let looked =
            simulate_removal(names).run_ok().map_err(|problem| format!("apt would not: {problem}"))?;
        let would = simulation::parse(&String::from_utf8_lossy(&looked.stdout));
        if let Some(line) = would.unread.first() {
            return Err(format!("apt says what cannot be read here: {line}"));
        }
        let is_meant = |step: &simulation::Step| {
            let is_it = |package: &Package| {
                package.name == step.name && (step.arch.is_empty() || package.arch == step.arch)
            };
            step.to.is_none() && there.iter().any(is_it)
        };
        match would.steps.iter().find(|step| !is_meant(step)) {
            Some(step) => {
                let what = if step.to.is_none() { "remove" } else { "install" };
                Err(format!("apt would {what} {}, too", step.name))
            }
            None => Ok(()),
        }
    };
    task.take_away(apt, |package| apt_name(&package.name, &package.arch), would, remove, said)
}

/// What installing the new versions would do.
pub(super) fn would(task: &Task<'_>) -> Result<Fit, Problem> {
    let changes = task.differing()?;
    if changes.is_empty() || is_half(task, &changes)? {
        // What was interrupted is repaired, and apt is asked about that then.
        return Ok(Fit::Fits);
    }
    says(task, Way::Forward, &changes, &stage(task, &changes)?)
}

/// Whether something of these was interrupted.
fn is_half(task: &Task<'_>, changes: &[&Change]) -> Result<bool, Problem> {
    let packages = task.installed()?;
    let is_half = |change: &&Change| {
        find(&packages, change).is_some_and(|found| found.state != PackageState::Installed)
    };
    Ok(changes.iter().any(is_half))
}

/// The files of these changes, laid out as apt's cache.
fn stage(task: &Task<'_>, changes: &[&Change]) -> Result<Staged, Problem> {
    // A version that an archive has as well apt would fetch again, whatever path it is given: what it takes for its cache
    // has the files under apt's own names for them.
    let staged = task.stage(changes, |change, version| cached_name(&change.name, version, &change.arch))?;
    // apt wants it, also where nothing is downloaded.
    std::fs::create_dir(staged.directory().join("partial")).map_err(|problem| {
        task.order.refused(format!("no place for apt's cache: {problem}")).remedy("nothing was changed")
    })?;
    Ok(staged)
}

/// What apt says that it would do with them, held against the changes.
fn says(task: &Task<'_>, way: Way, changes: &[&Change], staged: &Staged) -> Result<Fit, Problem> {
    let looked = match fit::look(task.order, "apt", &simulate(staged, way), in_the_way)? {
        Ok(looked) => looked,
        Err(unfit) => return Ok(unfit),
    };
    let would = simulation::parse(&looked);
    let is_meant = |step: &simulation::Step| {
        let to = step.to.as_deref();
        to.is_some()
            && changes.iter().any(|change| {
                change.name == step.name && change.arch == step.arch && task.version(change) == to
            })
    };
    if let Some(line) = would.unread.first() {
        return Ok(Fit::Unfit(format!("apt says what cannot be read here: {line}")));
    }
    let Some(step) = would.steps.iter().find(|step| !is_meant(step)) else { return Ok(Fit::Fits) };
    let what = match &step.to {
        Some(version) => format!("install {} {version}", step.name),
        None => format!("remove {}", step.name),
    };
    Ok(Fit::Unfit(format!("apt would {what}, which the plan does not say")))
}

/// What apt names of what it lacks, or would have to remove; its last words are the same for all of these.
fn in_the_way(said: &str) -> Vec<String> {
    let (mut found, mut section) = (Vec::new(), None);
    for line in said.lines() {
        let words = line.trim();
        if !line.starts_with(' ') {
            section =
                ["have unmet dependencies:", "will be REMOVED:"].into_iter().find(|end| words.ends_with(end));
        } else if let Some(section) = section.filter(|_| found.len() < NAMED_MAX) {
            let is_removal = section.ends_with("REMOVED:");
            found.push(if is_removal { format!("it would remove {words}") } else { words.to_owned() });
        }
    }
    found
}

/// Installs the files of these changes; on any other way than forward, and where something was interrupted, only if apt would do
/// this and nothing else.
fn installs(
    apt: &Apt,
    task: &Task<'_>,
    way: Way,
    changes: &[&Change],
    said: &mut Said,
) -> Result<(), Problem> {
    if changes.is_empty() {
        return Ok(());
    }
    let staged = stage(task, changes)?;
    // Forward it was asked before, by `would`.
    if way != Way::Forward || is_half(task, changes)? {
        says(task, way, changes, &staged)?.or_refuse(task.order)?;
    }
    let automatic = automatic(changes, &marks_now(said));
    let done = task.through(apt, &install(&staged, way), said);
    // Whoever names a package has apt believe that a person wanted it.
    if !automatic.is_empty()
        && let Err(problem) = marks("auto", &automatic).run_ok()
    {
        said.told.push(format!("marks of automatic installation could not be set again: {problem}"));
    }
    done.map(|_| ())
}

/// What apt said last that a person may want to know.
pub(super) fn last_words(log: &Path) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in tail(log) {
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
    lines
}

/// Apt's file of what was installed automatically. Where nothing was ever marked there is none. One that cannot be read is told: then
/// packages count as wanted by a person.
fn marks_now(said: &mut Said) -> String {
    match std::fs::read_to_string(MARKS) {
        Err(problem) if problem.kind() != ErrorKind::NotFound => {
            said.told.push(format!("marks of automatic installation are lost: {MARKS}: {problem}"));
            String::new()
        }
        read => read.unwrap_or_default(),
    }
}

/// Of these, what is marked as installed automatically in `marks`, apt's file of them; what is new here will be.
fn automatic(changes: &[&Change], marks: &str) -> Vec<String> {
    let mut marked: BTreeSet<(&str, &str)> = BTreeSet::new();
    for stanza in marks.split("\n\n") {
        let (mut name, mut arch, mut is_automatic) = ("", "", false);
        for (field, value) in fields(stanza) {
            match field {
                "Package" => name = value,
                "Architecture" => arch = value,
                "Auto-Installed" => is_automatic = value == "1",
                _ => {}
            }
        }
        if is_automatic {
            // What is for all architectures is marked under the host's own.
            marked.extend([(name, arch), (name, "all")]);
        }
    }
    let is_automatic = |change: &&&Change| {
        change.from.is_none() || marked.contains(&(change.name.as_str(), change.arch.as_str()))
    };
    changes.iter().filter(is_automatic).map(|change| apt_name(&change.name, &change.arch)).collect()
}

/// As apt takes it: a package for all architectures is named without one.
fn apt_name(name: &str, arch: &str) -> String {
    if arch == "all" { name.to_owned() } else { format!("{name}:{arch}") }
}

/// How far apt is, by the last of its status lines in a log.
pub(super) fn progress(log: &Path) -> Option<String> {
    let lines = tail(log);
    let last = lines.iter().rev().find_map(|line| Progress::read(line));
    match last? {
        Progress::At { percent, text } => Some(format!("{percent} %: {text}")),
        Progress::Failed { package, text } => Some(format!("{package}: {text}")),
    }
}

/// Errors where the host goes down: then nothing is begun.
fn is_up(task: &Task<'_>) -> Result<(), Problem> {
    if is_stopped() {
        return Err(task.order.refused("the host is going down").remedy("it is begun after the boot"));
    }
    Ok(())
}

/// Configuration files of these packages beside which the package's own lies: the host's was kept.
pub(super) fn conffiles(class: &HostClass) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use rollout::plan::{Digest, File};

    #[test]
    fn what_was_installed_automatically_is_marked_so_again_and_what_a_person_wanted_is_not() {
        let marks = "Package: libssl3\nArchitecture: amd64\nAuto-Installed: 1\n\n\
                     Package: ucf\nArchitecture: amd64\nAuto-Installed: 1\n\n\
                     Package: openssl\nArchitecture: amd64\nAuto-Installed: 0\n";
        let change = |name: &str, arch: &str, from: Option<&str>| Change {
            name: name.to_owned(),
            arch: arch.to_owned(),
            source: name.to_owned(),
            from: from.map(str::to_owned),
            to: "2".to_owned(),
            archive: String::new(),
            file: File { sha256: Digest([0; 32]), size_bytes: 1 },
            back: None,
        };
        let changes = [
            change("libssl3", "amd64", Some("1")),
            change("libssl3", "i386", Some("1")),
            change("ucf", "all", Some("1")),
            change("openssl", "amd64", Some("1")),
            change("new", "amd64", None),
        ];
        let changes: Vec<&Change> = changes.iter().collect();
        assert_eq!(automatic(&changes, marks), ["libssl3:amd64", "ucf", "new:amd64"]);
        assert_eq!(automatic(&changes, ""), ["new:amd64"]);
    }

    #[test]
    fn what_stands_in_the_way_is_named_and_not_only_that_something_does() {
        let lacks = "Reading package lists...\nThe following packages have unmet dependencies:\n \
                     bed-vine : Depends: bed-trellis but it is not installable\nE: told elsewhere\n";
        assert_eq!(in_the_way(lacks), ["bed-vine : Depends: bed-trellis but it is not installable"]);
        let removes = "The following packages will be REMOVED:\n  bed-fence bed-gate\nThe following packages will be upgraded:\n  \
                       bed-lamp\n1 upgraded\n";
        assert_eq!(in_the_way(removes), ["it would remove bed-fence bed-gate"]);
    }
}
