//! Installing, repairing, going back: what pacman would do is held against the plan before, what its database says after; that
//! a script failed, only what pacman says tells.

use super::{Pacman, tryout};
use crate::hand::fit::{self, Fit};
use crate::hand::staged::Staged;
use crate::hand::task::{Said, Task, since};
use crate::observe::pacman::{CONFIG, LOCAL, settings};
use crate::observe::root::Root;
use crate::pacman::{FORMAT, printed};
use crate::program::{Program, is_stopped};
use advisory::Problem;
use exposure::inventory::Package;
use rollout::plan::Change;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// pacman's lock: a file that is there while it works. It tells nobody who made it.
const LOCK: &str = "/var/lib/pacman/db.lck";
/// How long others are waited for, as with apt.
const OTHERS_WITHIN: Duration = Duration::from_secs(600);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(3);
const LOOK_WITHIN: Duration = Duration::from_secs(120);
/// Lines of what would be broken that are told.
const NAMED_MAX: usize = 4;
/// What it says of each package as its turn comes.
const STEPS: [&str; 4] = ["installing ", "upgrading ", "downgrading ", "reinstalling "];
/// What it says where a script failed, be it a package's or a hook.
const SCRIPT_FAILED: &str = "error: command failed to execute correctly";

/// How files that are there already are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Files {
    /// A file that no package owns stands in the way.
    Respected,
    /// What was interrupted has left files that its database does not know of.
    Overwritten,
}

pub(super) fn repair(pacman: &Pacman, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    task.forget_new_if_back(said);
    unlock(said);
    let open = task.open(said)?;
    mend(&open, task, said);
    install(pacman, task, &open, Files::Overwritten, said)
}

pub(super) fn revert(pacman: &Pacman, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    task.revert(
        said,
        |said| installs(pacman, task, said),
        |said| repair(pacman, task, said),
        |said| take_away(pacman, task, said),
    )
}

/// Takes away what carrying out the plan has newly installed here: pacman removes what it is told, and only if nothing needs it.
/// Configuration files that were edited it saves as .pacsave.
fn take_away(pacman: &Pacman, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    let remove = |more: &str, names: &[String]| {
        let program = Program::new("pacman").args(["-R", "--noconfirm", "--noprogressbar", more]);
        program.arg("--").args(names.iter().cloned())
    };
    let would = |_: &[Package], names: &[String]| {
        let looked = remove("--print", names).run_ok();
        looked.map(|_| ()).map_err(|problem| format!("pacman would not: {problem}"))
    };
    task.take_away(pacman, |package| package.name.clone(), would, |names| remove("--quiet", names), said)
}

/// What installing the new versions would do.
pub(super) fn would(task: &Task<'_>, said: &Said) -> Result<Fit, Problem> {
    let changes = task.open(said)?;
    if changes.is_empty() || task.is_half(&changes, said)? {
        // What was interrupted is repaired, and pacman is asked about that then.
        return Ok(Fit::Fits);
    }
    let staged = stage(task, &changes)?;
    match says(task, &changes, &staged, Files::Respected)? {
        // What they lack or would break it has told.
        Fit::Fits => tryout::in_the_way(task, &staged, &config(&staged)),
        unfit @ Fit::Unfit(_) => Ok(unfit),
    }
}

/// Installs what is not as wanted; on the way back, and where something was interrupted, only if pacman would do this and nothing
/// else.
pub(super) fn installs(pacman: &Pacman, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    let changes = task.open(said)?;
    if changes.is_empty() {
        return Ok(());
    }
    if task.is_half(&changes, said)? {
        return repair(pacman, task, said);
    }
    install(pacman, task, &changes, Files::Respected, said)
}

fn install(
    pacman: &Pacman,
    task: &Task<'_>,
    changes: &[&Change],
    files: Files,
    said: &mut Said,
) -> Result<(), Problem> {
    if changes.is_empty() {
        return Ok(());
    }
    let staged = stage(task, changes)?;
    // Forward it was asked before, by `would`.
    if task.is_back || files == Files::Overwritten {
        says(task, changes, &staged, files)?.or_refuse(task.order)?;
    }
    await_others(task)?;
    let log = task.place.log(task.order);
    let before = std::fs::metadata(&log).map_or(0, |found| found.len());
    let code = task.through(pacman, &command(&staged, files), said)?;
    let names = changes.iter().map(|change| change.name.clone());
    if code.is_none() {
        // Killed in the middle: what the database has of them may be half of it.
        said.unfinished.extend(names);
        return Ok(());
    }
    for name in names {
        said.unfinished.remove(&name);
    }
    for failed in failed_scripts(&since(&log, before)) {
        match failed {
            Some(name) if changes.iter().any(|change| change.name == name) => {
                said.unfinished.insert(name);
            }
            Some(name) => said.told.push(format!("a script of {name} failed")),
            None => said.told.push("a hook of pacman's failed".to_owned()),
        }
    }
    // Whoever names a package has pacman believe that a person wanted it: what is new here came with others.
    let new: Vec<String> = changes.iter().filter(|c| c.from.is_none()).map(|c| c.name.clone()).collect();
    if !new.is_empty()
        && let Err(problem) = Program::new("pacman").args(["-D", "--asdeps", "--"]).args(new).run_ok()
    {
        said.told.push(format!("marks of automatic installation could not be set: {problem}"));
    }
    Ok(())
}

/// The files of these changes, and settings for pacman beside them.
fn stage(task: &Task<'_>, changes: &[&Change]) -> Result<Staged, Problem> {
    // How it is packed pacman reads from its content.
    let name =
        |change: &Change, version: &str| format!("{}-{version}-{}.pkg.tar.zst", change.name, change.arch);
    let staged = task.stage(changes, name)?;
    let refused = |problem: String| {
        task.order.refused(format!("no settings for pacman: {problem}")).remedy("nothing was changed")
    };
    let root = Root::open(Path::new("/")).map_err(|problem| refused(problem.to_string()))?;
    let settings = settings::read(&root);
    if !settings.unread.is_empty() {
        return Err(refused(format!("{CONFIG}: {}", settings.unread.join("; "))));
    }
    std::fs::write(config(&staged), without_repositories(&settings.text))
        .map_err(|problem| refused(problem.to_string()))?;
    Ok(staged)
}

/// Where pacman's settings for this transaction lie.
fn config(staged: &Staged) -> PathBuf {
    staged.directory().join("pacman.conf")
}

/// What pacman says that it would do with them, held against the changes. What they lack or would break it tells.
fn says(task: &Task<'_>, changes: &[&Change], staged: &Staged, files: Files) -> Result<Fit, Problem> {
    let program = command(staged, files).args(["--print", "--print-format", FORMAT]).deadline(LOOK_WITHIN);
    let looked = match fit::look(task.order, "pacman", &program, broken)? {
        Ok(looked) => looked,
        Err(unfit) => return Ok(unfit),
    };
    let is_meant = |name: &String, version: &String| {
        changes.iter().any(|change| change.name == *name && task.version(change) == Some(version))
    };
    let would = printed(looked.as_bytes()).map_err(|reason| fit::unasked(task.order, reason))?;
    Ok(match would.iter().find(|(name, version)| !is_meant(name, version)) {
        Some((name, version)) => {
            Fit::Unfit(format!("pacman would install {name} {version}, which the plan does not say"))
        }
        None => Fit::Fits,
    })
}

/// What pacman names of what would be broken: `:: installing bed-lamp (1.0-2) breaks dependency ...`.
fn broken(said: &str) -> Vec<String> {
    said.lines().filter_map(|line| line.strip_prefix(":: ")).take(NAMED_MAX).map(str::to_owned).collect()
}

fn command(staged: &Staged, files: Files) -> Program {
    let overwrite: &[&str] = match files {
        Files::Respected => &[],
        Files::Overwritten => &["--overwrite=*"],
    };
    Program::new("pacman")
        .args(["-U", "--noconfirm", "--noprogressbar", "--config"])
        .arg(config(staged))
        .args(overwrite.iter().copied())
        .args(staged.files())
}

/// The owner's settings without a repository: nothing comes but the files that are given.
fn without_repositories(settings: &[u8]) -> String {
    let text = String::from_utf8_lossy(settings);
    let (mut kept, mut is_options) = (String::new(), true);
    for line in text.lines() {
        if line.trim_start().starts_with('[') {
            is_options = line.trim() == "[options]";
        }
        if is_options {
            let _ = writeln!(kept, "{line}");
        }
    }
    kept
}

/// Waits until pacman's lock is gone. One that a power failure left nobody holds: then pacman itself says so, and nothing is
/// begun.
fn await_others(task: &Task<'_>) -> Result<(), Problem> {
    let end = Instant::now() + OTHERS_WITHIN;
    while Path::new(LOCK).exists() && works() && Instant::now() < end {
        if is_stopped() {
            return Err(task.order.refused("the host is going down").remedy("it is begun after the boot"));
        }
        std::thread::sleep(AGAIN);
    }
    Ok(())
}

/// Removes the lock that an interrupted transaction of ours left.
fn unlock(said: &mut Said) {
    if !said.unfinished.is_empty() && Path::new(LOCK).exists() && !works() {
        match std::fs::remove_file(LOCK) {
            Ok(()) => said.told.push("removed the lock of the transaction that was interrupted".to_owned()),
            Err(problem) => said.told.push(format!("the lock of what was interrupted stays: {problem}")),
        }
    }
}

/// Whether a pacman runs.
fn works() -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok())
        .any(|name| crate::job::PACMANS.contains(&name.trim()))
}

/// Removes from the database what an interrupted transaction left of it: entries without a description, and of two versions
/// the one that is not wanted. What was of them is installed anew.
fn mend(changes: &[&Change], task: &Task<'_>, said: &mut Said) {
    for change in changes {
        let versions: BTreeSet<&String> =
            [Some(&change.to), change.from.as_ref()].into_iter().flatten().collect();
        let entry = |version: &str| Path::new(LOCAL).join(format!("{}-{version}", change.name));
        let is_there = |version: &str| entry(version).is_dir();
        let is_empty = |version: &str| {
            std::fs::metadata(entry(version).join("desc")).map_or(true, |found| found.len() == 0)
        };
        let is_double = versions.iter().filter(|version| is_there(version)).count() > 1;
        for version in versions.into_iter().filter(|version| is_there(version)) {
            let is_other = is_double && task.version(change) != Some(version);
            if (is_other || is_empty(version)) && std::fs::remove_dir_all(entry(version)).is_ok() {
                said.told
                    .push(format!("removed what was left of {} {version} in pacman's database", change.name));
            }
        }
    }
}

/// `upgrading bed-wick...`: what is done, and to which package.
pub(super) fn step(line: &str) -> Option<(&'static str, String)> {
    STEPS.into_iter().find_map(|step| {
        let name = line.trim().strip_prefix(step)?.trim_end_matches('.');
        (!name.is_empty() && !name.contains(' ')).then(|| (step.trim(), name.to_owned()))
    })
}

/// Packages whose script failed, as pacman said it after their names; `None`: a hook.
fn failed_scripts(text: &str) -> BTreeSet<Option<String>> {
    let (mut package, mut failed) = (None, BTreeSet::new());
    for line in text.lines() {
        if let Some((_, name)) = step(line) {
            package = Some(name);
        } else if line.starts_with(":: ") {
            package = None;
        } else if line.trim() == SCRIPT_FAILED {
            failed.insert(package.clone());
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_that_failed_is_told_of_the_package_whose_turn_it_was() {
        let said = ":: Processing package changes...\nupgrading bed-lamp...\nupgrading bed-wick...\nthe wick is wet\n\
                    error: command failed to execute correctly\n:: Running post-transaction hooks...\n(1/1) Reloading...\n";
        assert_eq!(failed_scripts(said), [Some("bed-wick".to_owned())].into());
        let hook = format!("{said}{SCRIPT_FAILED}\n");
        assert_eq!(failed_scripts(&hook), [None, Some("bed-wick".to_owned())].into());
        assert_eq!(step("reinstalling bed-oil..."), Some(("reinstalling", "bed-oil".to_owned())));
        assert_eq!(step("installing from a shop is dear..."), None);
    }

    #[test]
    fn the_owners_settings_stay_and_repositories_go() {
        let settings = b"[options]\nNoUpgrade = etc/x\n[core]\nServer = x\n[options]\nCheckSpace\n";
        assert_eq!(without_repositories(settings), "[options]\nNoUpgrade = etc/x\n[options]\nCheckSpace\n");
    }
}
