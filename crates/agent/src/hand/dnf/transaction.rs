//! Installing, repairing, going back: what dnf would do is held against the plan before, what the database says after. Seen
//! with dnf 4.14.

use super::Dnf;
use super::library::{self, Exact};
use crate::hand::named::lies_beside;
use crate::hand::rpm::{self, file_name};
use crate::hand::staged::Staged;
use crate::hand::task::{Said, Task, tail};
use crate::program::{Program, is_stopped};
use advisory::Problem;
use rollout::plan::Change;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// dnf's exit code where another program holds its lock, if it was told not to wait: it waits without end.
const LOCKED: i32 = 200;
/// How long others are waited for, as with apt.
const OTHERS_WITHIN: Duration = Duration::from_secs(600);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(3);
/// Seconds that a look at the whole database may take.
const CHECK_WITHIN: Duration = Duration::from_secs(120);
/// What installs beside us, by itself: they take the same lock, so they are waited for, and told.
const OTHERS: [&str; 4] =
    ["dnf-automatic.timer", "dnf-automatic-install.timer", "packagekit.service", "dnf-system-upgrade.service"];

pub(super) fn apply(dnf: &Dnf, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    tell_others(said);
    installs(dnf, task, said)
}

pub(super) fn repair(dnf: &Dnf, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    rpm::forget_new_if_back(task, said);
    let open = rpm::open(task, said)?;
    rpm::again(dnf, task, &open, said)
}

pub(super) fn revert(dnf: &Dnf, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    rpm::forget_new_if_back(task, said);
    let done = installs(dnf, task, said);
    // Whatever keeps dnf from it, the old files are here.
    let open = rpm::open(task, said)?;
    if open.is_empty() { done } else { rpm::again(dnf, task, &open, said) }
}

/// Installs what is not as wanted, if dnf would do this and nothing else.
fn installs(dnf: &Dnf, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    let changes = rpm::open(task, said)?;
    if changes.is_empty() {
        return Ok(());
    }
    if !rpm::is_clean(task, &changes, said)? {
        return rpm::again(dnf, task, &changes, said);
    }
    let staged = task.stage(&changes, file_name)?;
    let refused = |reason: String| {
        task.order.refused(reason).remedy("nothing was changed; see what stands in the way")
    };
    let would = library::would(&staged.files(), task.is_back).map_err(refused)?;
    if let Some(what) = not_meant(task, &changes, &would) {
        return Err(refused(format!("dnf would {what}, which the plan does not say")));
    }
    let problems = problems();
    let end = Instant::now() + OTHERS_WITHIN;
    let install = install(&staged, task.is_back);
    while rpm::through(dnf, task, &install, &changes, said)? == Some(LOCKED) && Instant::now() < end {
        // Told each time: the last one tells enough.
        said.told.pop();
        if is_stopped() {
            return Err(task.order.refused("the host is going down").remedy("it is begun after the boot"));
        }
        std::thread::sleep(AGAIN);
    }
    mark_new(&changes, said);
    said.told.extend(self::problems().difference(&problems).map(|problem| format!("dnf check: {problem}")));
    Ok(())
}

/// Installs these files, from here, with every repository out of reach.
fn install(staged: &Staged, is_back: bool) -> Program {
    Program::new("dnf")
        .args(["-y", "--disablerepo=*", "--setopt=exit_on_lock=True", "--setopt=install_weak_deps=False"])
        // Old kernels stay, and no package is let go for another.
        .args(["--setopt=installonly_limit=0", "--setopt=best=True"])
        .arg(if is_back { "downgrade" } else { "install" })
        .args(staged.files())
}

/// What of a transaction the plan does not say, in words.
fn not_meant(task: &Task<'_>, changes: &[&Change], would: &library::Would) -> Option<String> {
    let is_it = |change: &&&Change, it: &Exact| change.name == it.name && change.arch == it.arch;
    let meant = |it: &&Exact| {
        changes.iter().any(|change| is_it(&change, it) && task.version(change) == Some(&it.version))
    };
    if let Some(other) = would.installs.iter().find(|it| !meant(it)) {
        return Some(format!("install {} {}", other.name, other.version));
    }
    let replaced = |it: &&Exact| {
        would.installs.iter().any(|new| new.name == it.name && new.arch == it.arch) && !lies_beside(&it.name)
    };
    let removed = would.removes.iter().find(|it| !replaced(it))?;
    Some(format!("remove {}", removed.name))
}

/// Whoever names a package has dnf believe that a person wanted it: what is new here came with others.
fn mark_new(changes: &[&Change], said: &mut Said) {
    let new: Vec<String> = changes.iter().filter(|c| c.from.is_none()).map(|c| c.name.clone()).collect();
    if new.is_empty() {
        return;
    }
    if let Err(problem) = Program::new("dnf").args(["-q", "-y", "mark", "remove"]).args(new).run_ok() {
        said.told.push(format!("marks of automatic installation could not be set: {problem}"));
    }
}

/// What dnf finds wrong with what is installed.
fn problems() -> BTreeSet<String> {
    let checked = Program::new("dnf").args(["-q", "-C", "--disablerepo=*", "check"]).deadline(CHECK_WITHIN).run();
    let text = checked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// Tells what else installs on this host.
fn tell_others(said: &mut Said) {
    for unit in OTHERS {
        let asked = Program::new("systemctl").args(["is-active", "--quiet", unit]).run();
        if asked.is_ok_and(|output| output.code == Some(0)) {
            said.told.push(format!("{unit} is active: it changes packages without a plan"));
        }
    }
}

/// What dnf and rpm said last that a person may want to know.
pub(super) fn last_words(log: &Path) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in tail(log) {
        let line = line.trim();
        let is_told = ["Error", "error:", "warning:", "Failed", "RPMDB already locked"]
            .iter()
            .any(|mark| line.starts_with(mark))
            || line.contains("scriptlet failed");
        if is_told && lines.iter().all(|other| other != line) {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// How far dnf is, by the last of its steps in a log.
pub(super) fn progress(log: &Path) -> Option<String> {
    tail(log).iter().rev().find_map(|line| step(line))
}

/// `  Upgrading        : bed-lamp-1.0-2.noarch      1/2 `
fn step(line: &str) -> Option<String> {
    let (doing, rest) = line.split_once(" : ")?;
    let (package, count) = rest.trim().rsplit_once(' ')?;
    let (at, of) = count.split_once('/')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(at) && is_number(of)).then(|| format!("{at} of {of}: {} {}", doing.trim(), package.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_from_everything_else_that_dnf_says() {
        assert_eq!(
            step("  Upgrading        : bed-lamp-1.0-2.noarch                 1/2 ").as_deref(),
            Some("1 of 2: Upgrading bed-lamp-1.0-2.noarch")
        );
        for other in ["Total size: 6.0 k", " Package : x y", "", "Begin time     : Mon Nov 30 12:30:20 2026"] {
            assert_eq!(step(other), None, "{other}");
        }
    }

    #[test]
    fn the_command_is_the_one_that_was_seen_to_work() {
        let packages = tempfile::tempdir().unwrap();
        let mut staged = Staged::new(packages.path()).unwrap();
        std::fs::write(packages.path().join("kept"), "").unwrap();
        staged.link(&packages.path().join("kept"), "a-1-1.noarch.rpm").unwrap();
        let line = install(&staged, true).line().replace(&staged.directory().display().to_string(), "/p");
        assert_eq!(
            line,
            "dnf -y --disablerepo=* --setopt=exit_on_lock=True --setopt=install_weak_deps=False \
             --setopt=installonly_limit=0 --setopt=best=True downgrade /p/a-1-1.noarch.rpm"
        );
    }
}
