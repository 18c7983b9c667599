//! What dnf and zypper have in common: rpm below them. Its database tells versions; that a script failed it does not tell,
//! so what rpm says is read for that. Seen with rpm 4.18.

pub(super) mod transaction;

use super::driver::Driver;
use super::named::lies_beside;
use super::task::{Said, Task, find, since, tail};
use crate::program::Program;
use advisory::Problem;
use exposure::inventory::PackageState;
use rollout::plan::{Change, HostClass};
use std::collections::BTreeSet;
use std::path::Path;

/// What lies beside a configuration file: the package's, where the host's stayed; the host's, where the package's took its
/// place.
const BESIDE: [&str; 3] = ["rpmnew", "rpmsave", "rpmorig"];
/// Scripts without which the package itself is not whole. Those of what is removed, and triggers, are told.
const OWN_SCRIPTS: [&str; 4] = ["%pre", "%post", "%pretrans", "%posttrans"];

/// `name-version-release.arch`, as rpm names a package; it leaves the epoch out.
pub(super) fn exact(name: &str, version: &str, arch: &str) -> String {
    format!("{name}-{}.{arch}", without_epoch(version))
}

/// A package's file, as repositories name it.
pub(super) fn file_name(change: &Change, version: &str) -> String {
    format!("{}.rpm", exact(&change.name, version, &change.arch))
}

pub(super) fn without_epoch(version: &str) -> &str {
    version.split_once(':').map_or(version, |(_, rest)| rest)
}

/// Whether these can be left to dnf or zypper: nothing was interrupted, and no script is to be run again.
pub(super) fn is_clean(task: &Task<'_>, changes: &[&Change], said: &Said) -> Result<bool, Problem> {
    let packages = super::named::named(task.class, task.installed()?);
    let is_clean = |change: &&Change| {
        !said.unfinished.contains(&change.name)
            && find(&packages, change).is_none_or(|found| found.state == PackageState::Installed)
    };
    Ok(changes.iter().all(is_clean))
}

/// Installs the files of these changes with rpm itself, whatever is there of the packages: of two installed versions one
/// stays, files are written anew, scripts run again.
pub(super) fn again(
    driver: &dyn Driver,
    task: &Task<'_>,
    changes: &[&Change],
    said: &mut Said,
) -> Result<(), Problem> {
    if changes.is_empty() {
        return Ok(());
    }
    // What lies beside its older versions is added to them: an upgrade would remove kernels that the plan does not name.
    let (beside, others): (Vec<&Change>, Vec<&Change>) =
        changes.iter().partition(|change| change.from.is_none() && lies_beside(&change.name));
    for (way, changes) in [("-Uv", others), ("-iv", beside)] {
        if changes.is_empty() {
            continue;
        }
        let staged = task.stage(&changes, file_name)?;
        let rpm = Program::new("rpm").args([way, "--oldpackage", "--replacepkgs", "--"]).args(staged.files());
        if through(driver, task, &rpm, &changes, said)? == Some(0) {
            sweep(&changes);
        }
    }
    Ok(())
}

/// Removes what an interrupted unpacking left: `FILE;HEX` beside files of these packages. rpm forgets them.
fn sweep(changes: &[&Change]) {
    let names: BTreeSet<&str> = changes.iter().map(|change| change.name.as_str()).collect();
    let shown = Program::new("rpm").args(["-ql", "--"]).args(names).run();
    let text = shown.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let files: BTreeSet<&Path> = text.lines().map(Path::new).filter(|path| path.is_absolute()).collect();
    let folders: BTreeSet<&Path> = files.iter().filter_map(|file| file.parent()).collect();
    for folder in folders {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let of = name.to_str().and_then(unfinished_file).map(|of| folder.join(of));
            if of.is_some_and(|of| files.contains(of.as_path())) {
                // What cannot be removed harms nobody.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// The file that a name is an unfinished one of: eight hex digits after a semicolon, the time of its transaction.
fn unfinished_file(name: &str) -> Option<&str> {
    let (of, mark) = name.rsplit_once(';')?;
    (mark.len() == 8 && mark.bytes().all(|byte| byte.is_ascii_hexdigit()) && !of.is_empty()).then_some(of)
}

/// Runs a program that installs these, and reads from what it says which scripts failed. Gives its exit code.
pub(super) fn through(
    driver: &dyn Driver,
    task: &Task<'_>,
    program: &Program,
    changes: &[&Change],
    said: &mut Said,
) -> Result<Option<i32>, Problem> {
    let log = task.place.log(task.order);
    let before = std::fs::metadata(&log).map_or(0, |found| found.len());
    let code = task.through(driver, program, said)?;
    let names = changes.iter().map(|change| change.name.clone());
    if code.is_none() {
        // Killed in the middle: what the database has of them may be half of it.
        said.unfinished.extend(names);
        return Ok(code);
    }
    for name in names {
        said.unfinished.remove(&name);
    }
    for script in failed_scripts(&since(&log, before)) {
        let change = task.class.changes.iter().find(|change| {
            let version = task.version(change);
            version.is_some_and(|version| exact(&change.name, version, &change.arch) == script.package)
        });
        match change {
            Some(change) if OWN_SCRIPTS.contains(&script.name.as_str()) => {
                said.unfinished.insert(change.name.clone());
            }
            _ => said.told.push(format!("{} of {} failed", script.name, script.package)),
        }
    }
    Ok(code)
}

/// What rpm, and what asks it, said last that a person may want to know.
pub(super) fn last_words(log: &Path) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in tail(log) {
        let line = line.trim();
        let is_told = ["Error", "error:", "warning:", "Failed", "Problem:", "RPMDB already locked"]
            .iter()
            .any(|mark| line.starts_with(mark))
            || line.contains("scriptlet failed");
        if is_told && lines.iter().all(|other| other != line) {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// Configuration files of these packages beside which another lies.
pub(super) fn conffiles(class: &HostClass) -> Vec<String> {
    let names: BTreeSet<&str> = class.changes.iter().map(|change| change.name.as_str()).collect();
    let shown = Program::new("rpm").args(["-qc", "--"]).args(names).run();
    let text = shown.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    beside(&text)
}

fn beside(paths: &str) -> Vec<String> {
    let paths: BTreeSet<&str> = paths.lines().filter(|line| line.starts_with('/')).collect();
    let others = paths.into_iter().flat_map(|path| BESIDE.map(|ending| format!("{path}.{ending}")));
    others.filter(|other| Path::new(other).exists()).collect()
}

/// A script of a package that failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Script {
    /// `%post`
    name: String,
    /// `name-version-release.arch`
    package: String,
}

/// Scripts of which rpm says that they failed: `warning: %post(lamp-1.0-2.noarch) scriptlet failed, exit status 1`. Whoever
/// asks rpm to install is told so in no other way: exit codes are 0.
fn failed_scripts(text: &str) -> BTreeSet<Script> {
    let script = |line: &str| {
        let (before, _) = line.split_once(") scriptlet failed")?;
        let (name, package) = before.split_once('(')?;
        let name = name.split_whitespace().last().filter(|name| name.starts_with('%'))?;
        Some(Script { name: name.to_owned(), package: package.to_owned() })
    };
    text.lines().filter_map(script).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hand::dnf::Dnf;
    use crate::hand::order::{Deed, Order};
    use crate::hand::place::Place;
    use rollout::order::Direction;
    use rollout::plan::{Digest, File, PlanId};

    #[test]
    fn a_script_that_failed_is_told_from_everything_else_that_is_said() {
        let said = "  Running scriptlet: bed-wick-1.0-2.noarch          2/3\nthe wick is wet\n\
                    warning: %post(bed-wick-1.0-2.noarch) scriptlet failed, exit status 1\n\
                    Error in POSTIN scriptlet in rpm package bed-wick\n\
                    error: %preun(lamp-1.0-1.x86_64) scriptlet failed, signal 9\nit) scriptlet failed\n";
        let script = |name: &str, package: &str| Script { name: name.into(), package: package.into() };
        let found: Vec<_> = failed_scripts(said).into_iter().collect();
        assert_eq!(found, [script("%post", "bed-wick-1.0-2.noarch"), script("%preun", "lamp-1.0-1.x86_64")]);
        assert_eq!(exact("web", "1:2.0-1.el9", "noarch"), "web-2.0-1.el9.noarch");
    }

    #[test]
    fn a_package_is_finished_by_what_was_said_of_it_and_not_by_an_exit_code() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(&directory.path().join("hand")).unwrap();
        let order = Order {
            deed: Deed::Apply,
            plan: PlanId(uuid::Uuid::from_u128(7)),
            digest: Digest::of(b"plan"),
            fence: 1,
            direction: Direction::Forward,
            word: None,
            clearance: None,
        };
        let change = |name: &str| Change {
            name: name.into(),
            arch: "noarch".into(),
            source: name.into(),
            from: Some("1.0-1".into()),
            to: "1:1.0-2".into(),
            archive: "bed".into(),
            file: File { sha256: Digest::of(b"new"), size_bytes: 3 },
            back: None,
        };
        let class = HostClass {
            name: "c".into(),
            release: "almalinux:9".into(),
            arch: "x86_64".into(),
            changes: vec![change("lamp"), change("wick")],
        };
        let task = Task { place: &place, order: &order, class: &class, is_back: false };
        let mut said = Said::default();
        let changes: Vec<&Change> = class.changes.iter().collect();
        let mut ran = |script: &str| {
            let program = Program::new("sh").args(["-c", script]);
            through(&Dnf, &task, &program, &changes, &mut said).unwrap();
            (said.unfinished.iter().cloned().collect::<Vec<_>>(), std::mem::take(&mut said.told))
        };
        let (open, _) = ran("kill -9 $$");
        assert_eq!(open, ["lamp", "wick"], "killed in the middle");
        let failed = "echo 'warning: %post(wick-1.0-2.noarch) scriptlet failed, exit status 1'; \
                      echo 'warning: %postun(lamp-1.0-1.noarch) scriptlet failed, exit status 1'";
        let (open, told) = ran(failed);
        assert_eq!(open, ["wick"]);
        assert_eq!(told, ["%postun of lamp-1.0-1.noarch failed"], "what went is told");
        let (open, _) = ran("true");
        assert!(open.is_empty(), "what failed before is no longer looked at: {open:?}");
    }

    #[test]
    fn only_what_rpm_left_unfinished_is_swept_away() {
        assert_eq!(unfinished_file("content;656a1b2c"), Some("content"));
        for other in ["content", "content;656a1b", "content;656a1b2g", ";656a1b2c"] {
            assert_eq!(unfinished_file(other), None);
        }
    }

    #[test]
    fn what_lies_beside_a_configuration_file_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        for name in ["lamp.conf", "lamp.conf.rpmnew", "wick.conf", "oil.conf.rpmsave", "other.rpmnew"] {
            std::fs::write(at(name), "").unwrap();
        }
        let told =
            format!("{}\n{}\n{}\n(contains no files)\n", at("lamp.conf"), at("wick.conf"), at("oil.conf"));
        assert_eq!(beside(&told), [at("lamp.conf.rpmnew"), at("oil.conf.rpmsave")]);
    }
}
