//! zypper as root: fetching by digest, and transactions without a repository whose success nobody takes from an exit code. What
//! was interrupted rpm itself makes whole. Seen with zypper 1.14.

mod fetch;

use super::driver::{Driver, is_kept_by};
use super::fit::Fit;
use super::rpm;
use super::rpm::transaction::{Answer, Exact, Resolver, Would, installs, repair, revert};
use super::staged::Staged;
use super::task::{Said, Task, tail};
use crate::observe::is_zypps;
use crate::observe::root::Root;
use crate::program::{Program, find};
use crate::zypper::summary::{self, Step};
use advisory::Problem;
use exposure::inventory::{Manager, System};
use rollout::plan::HostClass;
use std::path::Path;
use std::time::Duration;

/// It loads rpm's database, and some files, when others have let go of its lock.
const LOOK_WITHIN: Duration = Duration::from_secs(180);
/// Seconds that zypper itself waits for another's lock when it is asked, five times: ten minutes, as everywhere.
const LOCK_SECONDS: &str = "120";

/// The driver.
#[derive(Debug)]
pub(super) struct Zypper;

impl Driver for Zypper {
    fn name(&self) -> &'static str {
        "zypper"
    }

    fn fits(&self, root: &Root, system: &System) -> Result<(), String> {
        is_kept_by(Manager::Rpm, system)?;
        if !is_zypps(root) {
            return Err("this host's repositories are not zypper's".to_owned());
        }
        find("zypper").map(|_| ()).ok_or_else(|| "zypper is not installed here".to_owned())
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
        const { &[rpm::transaction::RESTS_ON[0], rpm::transaction::RESTS_ON[1], "/etc/zypp"] }
    }

    fn apply(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        installs(self, task, said)
    }

    fn repair(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        repair(self, task, said)
    }

    fn revert(&self, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
        revert(self, task, said)
    }

    fn conffiles(&self, class: &HostClass) -> Vec<String> {
        rpm::conffiles(class)
    }

    fn last_words(&self, log: &Path) -> Vec<String> {
        rpm::last_words(log)
    }

    fn progress(&self, log: &Path) -> Option<String> {
        tail(log).iter().rev().find_map(|line| step(line))
    }
}

impl Resolver for Zypper {
    fn locked(&self) -> i32 {
        7
    }

    fn says(&self, staged: &Staged, is_back: bool) -> Result<Answer, String> {
        let output = zypper(staged, &["--xmlout"])
            .args(["install", "--dry-run"])
            .env("ZYPP_LOCK_TIMEOUT", LOCK_SECONDS)
            .args(options(is_back))
            .args(staged.files())
            .deadline(LOOK_WITHIN)
            .run()
            .map_err(|failure| failure.to_string())?;
        let summary = summary::parse(&output.stdout)?;
        if !summary.is_told {
            let said = if summary.said.is_empty() { output.told() } else { summary.said.join("; ") };
            // Whoever is locked out, or was killed, has not said that it would not.
            let is_said = output.code.is_some_and(|code| code != self.locked());
            return if is_said { Ok(Answer::Refuses(said)) } else { Err(said) };
        }
        let exact = |step: Step| Exact { name: step.name, arch: step.arch, version: step.version };
        Ok(Answer::Would(Would {
            installs: summary.installs.into_iter().map(exact).collect(),
            removes: summary.removes.into_iter().map(exact).collect(),
        }))
    }

    fn install(&self, staged: &Staged, is_back: bool) -> Program {
        zypper(staged, &[]).arg("install").args(options(is_back)).args(staged.files())
    }

    fn mark_new(&self, _names: &[String], said: &mut Said) {
        // It has no command for that: `zypper packages --unneeded` will not name them.
        said.told
            .push("zypper takes what came with others for wanted: it cannot be told otherwise".to_owned());
    }
}

/// zypper with no repository but the files that it is given, and with caches of its own: it removes those of repositories that
/// it does not see.
fn zypper(staged: &Staged, more: &[&str]) -> Program {
    let at = |name: &str| staged.directory().join(name);
    Program::new("zypper")
        .arg("--non-interactive")
        .args(more.iter().copied())
        .arg("--reposd-dir")
        .arg(at("repositories"))
        .arg("--cache-dir")
        .arg(at("cache"))
        .arg("--no-refresh")
}

/// What was signed for counts by its digest, whoever else signed it.
fn options(is_back: bool) -> Vec<&'static str> {
    let mut options = vec!["--no-recommends", "--oldpackage", "--allow-unsigned-rpm"];
    if is_back {
        // Without it a lower version is "already installed".
        options.push("--force");
    }
    options
}

/// `(1/3) Installing: bed-lamp-1.0-2.noarch [......done]`
fn step(line: &str) -> Option<String> {
    let (count, rest) = line.strip_prefix('(')?.split_once(") ")?;
    let (at, of) = count.split_once('/')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let what = rest.split(" [").next()?.trim();
    (is_number(at) && is_number(of)).then(|| format!("{at} of {of}: {what}"))
}

/// A package's file, as zypper's cache has it.
fn cached(name: &str, version: &str, arch: &str) -> String {
    format!("{arch}/{}.rpm", rpm::exact(name, version, arch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_one_that_was_seen_to_work_and_its_steps_are_told() {
        let packages = tempfile::tempdir().unwrap();
        let mut staged = Staged::new(packages.path()).unwrap();
        std::fs::write(packages.path().join("kept"), "").unwrap();
        staged.link(&packages.path().join("kept"), "a-1-1.noarch.rpm").unwrap();
        let line = Zypper.install(&staged, true).line();
        assert_eq!(
            line.replace(&staged.directory().display().to_string(), "/p"),
            "zypper --non-interactive --reposd-dir /p/repositories --cache-dir /p/cache --no-refresh install \
             --no-recommends --oldpackage --allow-unsigned-rpm --force /p/a-1-1.noarch.rpm"
        );
        let told = step("(1/3) Installing: bed-lamp-1.0-2.noarch [......done]");
        assert_eq!(told.as_deref(), Some("1 of 3: Installing: bed-lamp-1.0-2.noarch"));
        assert_eq!(step("(no) such thing"), None);
        assert_eq!(cached("web", "1:2.0-1", "noarch"), "noarch/web-2.0-1.noarch.rpm");
    }
}
