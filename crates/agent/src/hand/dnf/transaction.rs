//! dnf above rpm: its command line, and what it says. Seen with dnf 4.14.

use super::{Dnf, library};
use crate::hand::rpm::transaction::{Answer, Resolver, installs};
use crate::hand::staged::Staged;
use crate::hand::task::{Said, Task, tail};
use crate::hand::units::is_up;
use crate::program::Program;
use advisory::Problem;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// A look at the whole database.
const CHECK_WITHIN: Duration = Duration::from_secs(120);
/// What installs beside us, by itself: they take the same lock, so they are waited for, and told.
const OTHERS: [&str; 4] = [
    "dnf-automatic.timer",
    "dnf-automatic-install.timer",
    "packagekit.service",
    "dnf-system-upgrade.service",
];

impl Resolver for Dnf {
    fn locked(&self) -> i32 {
        200
    }

    fn says(&self, staged: &Staged, is_back: bool) -> Result<Answer, String> {
        library::says(&staged.files(), is_back)
    }

    fn install(&self, staged: &Staged, is_back: bool) -> Program {
        Program::new("dnf")
            // It would wait for another's lock without end.
            .args(["-y", "--disablerepo=*", "--setopt=exit_on_lock=True", "--setopt=install_weak_deps=False"])
            // Old kernels stay, and no package is let go for another.
            .args(["--setopt=installonly_limit=0", "--setopt=best=True"])
            .arg(if is_back { "downgrade" } else { "install" })
            .args(staged.files())
    }

    fn mark_new(&self, names: &[String], said: &mut Said) {
        let marked = Program::new("dnf").args(["-q", "-y", "mark", "remove"]).args(names.iter().cloned());
        if let Err(problem) = marked.run_ok() {
            said.told.push(format!("marks of automatic installation could not be set: {problem}"));
        }
    }
}

pub(super) fn apply(dnf: &Dnf, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    tell_others(said);
    let before = problems();
    let done = installs(dnf, task, said);
    said.told.extend(problems().difference(&before).map(|problem| format!("dnf check: {problem}")));
    done
}

/// What dnf finds wrong with what is installed.
fn problems() -> BTreeSet<String> {
    let checked =
        Program::new("dnf").args(["-q", "-C", "--disablerepo=*", "check"]).deadline(CHECK_WITHIN).run();
    let text = checked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
}

/// Tells what else installs on this host.
fn tell_others(said: &mut Said) {
    for unit in OTHERS.into_iter().filter(|unit| is_up(unit)) {
        said.told.push(format!("{unit} is active: it changes packages without a plan"));
    }
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
        for other in ["Total size: 6.0 k", " Package : x y", "", "Begin time     : Mon Nov 30 12:30:20 2026"]
        {
            assert_eq!(step(other), None, "{other}");
        }
    }

    #[test]
    fn the_command_is_the_one_that_was_seen_to_work() {
        let packages = tempfile::tempdir().unwrap();
        let mut staged = Staged::new(packages.path()).unwrap();
        std::fs::write(packages.path().join("kept"), "").unwrap();
        staged.link(&packages.path().join("kept"), "a-1-1.noarch.rpm").unwrap();
        let line = Dnf.install(&staged, true).line();
        assert_eq!(
            line.replace(&staged.directory().display().to_string(), "/p"),
            "dnf -y --disablerepo=* --setopt=exit_on_lock=True --setopt=install_weak_deps=False \
             --setopt=installonly_limit=0 --setopt=best=True downgrade /p/a-1-1.noarch.rpm"
        );
    }
}
