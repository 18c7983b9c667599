//! apk as root: fetching by digest, and transactions from an index of the kept files alone, which leave what the owner wants
//! installed (`world`) as it is. Success nobody takes from an exit code, which counts what was broken before, too. Seen with apk-tools 3.0.

mod fetch;
mod transaction;

use super::driver::{Driver, is_kept_by};
use super::fit::Fit;
use super::task::{Said, Task, tail};
use crate::apk::{has_systemd, progress, refused, usable};
use crate::observe::apk::{INSTALLED, WORLD, database, paths_of};
use crate::observe::root::Root;
use advisory::Problem;
use exposure::inventory::{Manager, System};
use rollout::plan::HostClass;
use std::path::{Path, PathBuf};

/// What lies beside a configuration file: the package's, where the host's stayed.
const BESIDE: &str = ".apk-new";

/// The driver.
#[derive(Debug)]
pub(super) struct Apk;

impl Driver for Apk {
    fn name(&self) -> &'static str {
        "apk"
    }

    fn fits(&self, root: &Root, system: &System) -> Result<(), String> {
        is_kept_by(Manager::Apk, system)?;
        has_systemd(root)?;
        usable()
    }

    // It tells of scripts that failed, but its database is written last: of what was cut short it says that nothing was begun.
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
        const { &[INSTALLED[0], INSTALLED[1], WORLD, "/etc/apk/arch", "/etc/apk/keys", "/lib/apk/keys"] }
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
        let names = class.changes.iter().map(|change| change.name.as_str()).collect();
        let files = paths_of(&installed(), &names, false).into_iter();
        let beside = files.map(|path| {
            let mut beside = path.into_os_string();
            beside.push(BESIDE);
            PathBuf::from(beside)
        });
        beside.filter(|path| path.exists()).map(|path| path.display().to_string()).collect()
    }

    fn last_words(&self, log: &Path) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for line in refused(&tail(log).join("\n")) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    }

    fn progress(&self, log: &Path) -> Option<String> {
        progress(&tail(log))
    }
}

/// The bytes of this host's database; none where it cannot be read, which [`Task::installed`] tells.
fn installed() -> Vec<u8> {
    Root::open(Path::new("/")).ok().and_then(|root| database(&root)).and_then(Result::ok).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::system_now;

    #[test]
    fn a_host_that_systemd_has_not_booted_has_no_hand_for_apk() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        for path in ["etc", "lib/apk/db", "run/systemd"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        std::fs::write(at("etc/os-release"), "ID=alpine\nVERSION_ID=3.23.6\n").unwrap();
        std::fs::write(at("lib/apk/db/installed"), "P:a\nV:1-r0\nA:x86_64\n\n").unwrap();
        let root = Root::open(directory.path()).unwrap();
        let system = system_now(&root);
        assert!(Apk.fits(&root, &system).unwrap_err().contains("systemd"));
        std::fs::create_dir(at("run/systemd/system")).unwrap();
        let told = Apk.fits(&root, &system);
        assert!(
            told.is_ok() || !told.unwrap_err().contains("systemd"),
            "whether apk is here is another matter"
        );
        std::fs::write(at("etc/os-release"), "ID=debian\nVERSION_ID=12\n").unwrap();
        std::fs::create_dir_all(at("var/lib/dpkg")).unwrap();
        std::fs::write(at("var/lib/dpkg/status"), "").unwrap();
        assert!(Apk.fits(&root, &system_now(&root)).unwrap_err().contains("kept by dpkg"));
    }
}
