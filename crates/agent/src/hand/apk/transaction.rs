//! Installing, repairing, going back, by an index of the kept files and nothing else: what apk would do with it is held against the
//! plan before, what its database says after. apk is told what to upgrade, never what to have: what the owner wants (`world`) stays.

use super::{Apk, installed};
use crate::apk::{Steps, files_kept, refusal, steps};
use crate::hand::fit::{self, Fit};
use crate::hand::staged::Staged;
use crate::hand::task::{Said, Task, since};
use crate::job::lock_holder;
use crate::observe::apk::{identity, is_unfinished, paths_of, wanted};
use crate::observe::root::Root;
use crate::program::Program;
use advisory::Problem;
use exposure::inventory::Package;
use rollout::plan::Change;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// apk says what it would do.
const LOOKS: [&str; 1] = ["--simulate"];
/// apk does it, and waits for others ten minutes long, as apt does.
const DOES: [&str; 2] = ["--wait", "600"];
const LOOK_WITHIN: Duration = Duration::from_secs(120);
/// The index of the kept files, beside them.
const INDEX: &str = "index.adb";

pub(super) fn repair(apk: &Apk, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    task.forget_new_if_back(said);
    let began = SystemTime::now();
    let open = task.open(said)?;
    let done = install(apk, task, &open, IsAsked::Now, said);
    sweep(task, began, said);
    done
}

pub(super) fn revert(apk: &Apk, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    task.revert(
        said,
        |said| installs(apk, task, said),
        |said| repair(apk, task, said),
        |said| take_away(apk, task, said),
    )
}

/// Takes away what carrying out the plan has newly installed here, where apk has not done so itself: it does when nothing needs a
/// package and nobody asked for it.
fn take_away(apk: &Apk, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    let del =
        |how: &[&'static str], names: &[String]| alone("del", how).arg("--").args(names.iter().cloned());
    let would = |_: &[Package], names: &[String]| {
        let root = Root::open(Path::new("/")).map_err(|problem| problem.to_string())?;
        let wanted = wanted(&root);
        if let Some(name) = names.iter().find(|name| wanted.contains(*name)) {
            return Err(format!("its owner asks for {name} by now"));
        }
        let looked = del(&LOOKS, names).deadline(LOOK_WITHIN).run().map_err(|failure| failure.to_string())?;
        let said = String::from_utf8_lossy(&looked.stdout).into_owned();
        let would = refusal(&looked).map_or_else(|| steps(said.as_bytes()), Err)?;
        let goes = would.removes.keys().eq(names.iter().collect::<BTreeSet<_>>());
        if would.installs.is_empty() && goes {
            return Ok(());
        }
        let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        Err(format!("apk would do otherwise: {}", lines.join("; ")))
    };
    task.take_away(apk, |package| package.name.clone(), would, |names| del(&DOES, names), said)
}

/// What installing the new versions would do.
pub(super) fn would(task: &Task<'_>, said: &Said) -> Result<Fit, Problem> {
    let changes = task.open(said)?;
    if changes.is_empty() || task.is_half(&changes, said)? {
        // What was interrupted is repaired, and apk is asked about that then.
        return Ok(Fit::Fits);
    }
    says(task, &Parts::of(task, &changes)?, &stage(task, &changes)?)
}

/// Installs what is not as wanted; on the way back, and where something was interrupted, only if apk would do this and nothing
/// else.
pub(super) fn installs(apk: &Apk, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    let changes = task.open(said)?;
    if changes.is_empty() {
        return Ok(());
    }
    if task.is_half(&changes, said)? {
        return repair(apk, task, said);
    }
    let asked = if task.is_back { IsAsked::Now } else { IsAsked::Before };
    install(apk, task, &changes, asked, said)
}

/// When apk is asked what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum IsAsked {
    /// By `would`.
    Before,
    Now,
}

fn install(
    apk: &Apk,
    task: &Task<'_>,
    changes: &[&Change],
    asked: IsAsked,
    said: &mut Said,
) -> Result<(), Problem> {
    if changes.is_empty() {
        return Ok(());
    }
    let (parts, staged) = (Parts::of(task, changes)?, stage(task, changes)?);
    match asked {
        IsAsked::Now => says(task, &parts, &staged)?.or_refuse(task.order)?,
        IsAsked::Before => index(task, &staged)?.or_refuse(task.order)?,
    }
    let log = task.place.log(task.order);
    for program in parts.programs(&staged, &DOES) {
        let before = std::fs::metadata(&log).map_or(0, |found| found.len());
        if task.through(apk, &program, said)?.is_none() {
            // Killed in the middle: files of them may be new that its database takes for old.
            said.unfinished.extend(changes.iter().map(|change| change.name.clone()));
            return Ok(());
        }
        // What came of each, its database says now, and which script failed; where apk has come to it.
        let done = done(&since(&log, before));
        said.unfinished.retain(|name| !done.contains_key(name));
        keep(task, changes, &done, said);
    }
    Ok(())
}

/// Versions that apk has unpacked, by name, by what it said: nothing where it did not come to its end, or to its beginning.
fn done(said: &str) -> BTreeMap<String, String> {
    let mut done = steps(said.as_bytes()).unwrap_or_default().installs;
    done.retain(|name, version| {
        let failed = format!("ERROR: {name}-{version}: ");
        !said.lines().any(|line| line.starts_with(&failed))
    });
    done
}

/// What is asked of apk for some changes, in turn.
#[derive(Debug)]
struct Parts<'c> {
    /// Versions that are to be there, by name, where another is or none.
    others: BTreeMap<&'c str, &'c str>,
    /// Versions that its database says are there, to be installed anew.
    again: BTreeMap<&'c str, &'c str>,
    /// What apk is told to upgrade: what comes new comes as what that needs.
    upgraded: Vec<&'c str>,
    /// What may go when the old versions come back: what the plan has newly installed.
    goes: BTreeSet<&'c str>,
}

impl<'c> Parts<'c> {
    fn of(task: &Task<'c>, changes: &[&'c Change]) -> Result<Self, Problem> {
        let installed = task.installed()?;
        let there = |name: &str, version: &str| {
            installed.iter().any(|package| package.name == name && package.version == version)
        };
        let versions =
            changes.iter().filter_map(|change| Some((change.name.as_str(), task.version(change)?)));
        let (again, others) = versions.partition(|(name, version)| there(name, version));
        let was_there = |change: &&Change| change.from.is_some();
        let name = |change: &'c Change| change.name.as_str();
        let open: Vec<&str> = changes.iter().copied().filter(was_there).map(name).collect();
        // Where only what came new is open, those that need it are named.
        let all = || task.class.changes.iter().filter(was_there).map(name).collect();
        let new = task.class.changes.iter().filter(|change| change.from.is_none()).map(name);
        Ok(Self {
            again,
            others,
            upgraded: if open.is_empty() { all() } else { open },
            goes: if task.is_back { new.collect() } else { BTreeSet::new() },
        })
    }

    /// `upgrade` takes the version that the index has, be it older; `fix` installs what is there anew. Neither touches `world`.
    fn programs(&self, staged: &Staged, how: &[&'static str]) -> Vec<Program> {
        let upgrade = || {
            let program = by_index("upgrade", staged, how).args(["--available", "--preupgrade=no", "--"]);
            program.args(self.upgraded.iter().copied())
        };
        let fix =
            || by_index("fix", staged, how).args(["--reinstall", "--"]).args(self.again.keys().copied());
        let upgrade = (!self.others.is_empty()).then(upgrade);
        upgrade.into_iter().chain((!self.again.is_empty()).then(fix)).collect()
    }
}

/// The files of these changes, under the names that apk looks for.
fn stage(task: &Task<'_>, changes: &[&Change]) -> Result<Staged, Problem> {
    task.stage(changes, |change, version| format!("{}-{version}.apk", change.name))
}

/// Makes an index of them; apk takes only those that a key of this host's has signed.
fn index(task: &Task<'_>, staged: &Staged) -> Result<Fit, Problem> {
    let program = Program::new("apk").args(["--interactive=no", "mkndx", "--quiet", "--output"]);
    let program = program.arg(staged.directory().join(INDEX)).arg("--").args(staged.files());
    let made = program
        .deadline(LOOK_WITHIN)
        .run()
        .map_err(|failure| fit::unasked(task.order, failure.to_string()))?;
    Ok(match made.code {
        Some(0) => Fit::Fits,
        Some(_) => Fit::Unfit(format!(
            "apk would not take the files: {}",
            refusal(&made).unwrap_or_else(|| made.told())
        )),
        None => return Err(fit::unasked(task.order, made.told())),
    })
}

/// What apk says that it would do with them, held against the changes.
fn says(task: &Task<'_>, parts: &Parts<'_>, staged: &Staged) -> Result<Fit, Problem> {
    if let unfit @ Fit::Unfit(_) = index(task, staged)? {
        return Ok(unfit);
    }
    let wanted = [&parts.others, &parts.again].into_iter().filter(|wanted| !wanted.is_empty());
    for (program, wanted) in parts.programs(staged, &LOOKS).into_iter().zip(wanted) {
        let would = match look(task, program)? {
            Ok(would) => would,
            Err(reason) => return Ok(Fit::Unfit(format!("apk would not: {reason}"))),
        };
        if let Some(reason) = differs(&would, wanted, &parts.goes) {
            return Ok(Fit::Unfit(reason));
        }
        let is_left = |(name, _): &(&&str, &&str)| !would.installs.contains_key(**name);
        let left: Vec<String> =
            wanted.iter().filter(is_left).map(|(name, version)| format!("{name}={version}")).collect();
        if !left.is_empty() {
            // It leaves, without a word, what something keeps it from: who is told to have it tells why not.
            let asked = look(task, by_index("add", staged, &LOOKS).arg("--").args(left.iter().cloned()))?;
            let why = asked.err().unwrap_or_else(|| "nothing that is installed here needs it".to_owned());
            return Ok(Fit::Unfit(format!("apk would not install {}: {why}", left.join(" "))));
        }
    }
    Ok(Fit::Fits)
}

/// What apk would do; or why it would not, in words.
fn look(task: &Task<'_>, program: Program) -> Result<Result<Steps, String>, Problem> {
    let looked = program.deadline(LOOK_WITHIN).run();
    let looked = looked.map_err(|failure| fit::unasked(task.order, failure.to_string()))?;
    if looked.code.is_none() {
        return Err(fit::unasked(task.order, looked.told()));
    }
    match refusal(&looked) {
        Some(reason) => Ok(Err(reason)),
        None => steps(&looked.stdout).map(Ok).map_err(|reason| fit::unasked(task.order, reason)),
    }
}

/// What apk would do besides.
fn differs(would: &Steps, wanted: &BTreeMap<&str, &str>, goes: &BTreeSet<&str>) -> Option<String> {
    let is_meant = |name: &String, version: &String| wanted.get(name.as_str()) == Some(&version.as_str());
    let other = would.installs.iter().find(|(name, version)| !is_meant(name, version));
    let other = other.map(|(name, version)| format!("install {name} {version}"));
    let removed = would.removes.keys().find(|name| !goes.contains(name.as_str()));
    let besides = other.or_else(|| removed.map(|name| format!("remove {name}")))?;
    Some(format!("apk would {besides}, which the plan does not say"))
}

/// With an index of the kept files and no other repository. The index is nobody's; the files are signed, which making it held them to.
fn by_index(command: &'static str, staged: &Staged, how: &[&'static str]) -> Program {
    alone(command, how).arg("--allow-untrusted").arg("--repository").arg(staged.directory().join(INDEX))
}

/// Without a repository.
fn alone(command: &'static str, how: &[&'static str]) -> Program {
    let quiet = ["--interactive=no", "--progress=no"];
    let program = Program::new("apk").arg(command).args(how.iter().copied()).args(quiet);
    program.args(["--no-network", "--no-cache", "--repositories-file", "/dev/null"])
}

/// Removes what an interrupted unpacking left beside the files of these packages: apk knows nothing of it.
fn sweep(task: &Task<'_>, began: SystemTime, said: &mut Said) {
    let is_idle =
        Root::open(Path::new("/")).is_ok_and(|root| lock_holder(&root, Path::new("/proc")).is_none());
    if !is_idle {
        return;
    }
    let names = task.class.changes.iter().map(|change| change.name.as_str()).collect();
    let entries = paths_of(&installed(), &names, true).into_iter();
    let files = entries.flat_map(|directory| crate::state::entries(&directory).collect::<Vec<PathBuf>>());
    let is_old = |path: &PathBuf| {
        std::fs::symlink_metadata(path).and_then(|found| found.modified()).is_ok_and(|moment| moment < began)
    };
    let left: Vec<PathBuf> =
        files.filter(|path| path.file_name().is_some_and(is_unfinished) && is_old(path)).collect();
    for path in left {
        if std::fs::remove_file(&path).is_ok() {
            said.told.push(format!("removed what was not unpacked whole: {}", path.display()));
        }
    }
}

/// Where the owner has apk keep what it installs, what was installed from here is kept, too: it is the next plan's way back.
fn keep(task: &Task<'_>, changes: &[&Change], done: &BTreeMap<String, String>, said: &mut Said) {
    let Some(cache) = Root::open(Path::new("/")).ok().and_then(|root| files_kept(&root)) else { return };
    let database = installed();
    for change in changes {
        let Some(version) = done.get(&change.name) else { continue };
        let digits = identity(&database, &change.name).and_then(|digits| digits.get(..8).map(str::to_owned));
        let (Some(digits), Some(file)) = (digits, task.kept(change)) else { continue };
        let path = cache.join(format!("{}-{version}.{digits}.apk", change.name));
        if path.exists() {
            continue;
        }
        let part = cache.join(format!(".{}.unfinished", change.name));
        let copied = std::fs::copy(&file, &part).and_then(|_| std::fs::rename(&part, &path));
        if let Err(problem) = copied {
            said.told.push(format!("{} is not in apk's cache: {problem}", path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_apk_came_to_and_unpacked_whole_is_finished() {
        let said = "(1/2) Reinstalling oil (1.0-r1)\n(2/2) Reinstalling tank (1.0-r1)\nERROR: tank-1.0-r1: No space left on \
                    device\n1 error; 1 KiB in 2 packages\n";
        assert_eq!(done(said), BTreeMap::from([("oil".to_owned(), "1.0-r1".to_owned())]));
        let locked = "Waiting for repository lock\nERROR: Unable to lock database: Interrupted system call\n";
        assert_eq!(
            done(locked),
            BTreeMap::new(),
            "whatever the database says: it is as it was when that was cut short"
        );
        let script = "(1/1) Reinstalling oil (1)\nERROR: lib/apk/exec/oil-1.post-upgrade: exited with error 1\n1 error; 1 KiB in \
                      1 packages\n";
        assert_eq!(done(script).len(), 1, "the database tells of that");
    }

    #[test]
    fn whatever_apk_would_do_besides_is_told_and_only_what_came_new_may_go() {
        let wanted = BTreeMap::from([("lamp", "2"), ("trellis", "1")]);
        let would = |text: &str| steps(format!("{text}OK: 1 KiB in 1 packages\n").as_bytes()).unwrap();
        let none = BTreeSet::new();
        let one = would("(1/1) Upgrading lamp (1 -> 2)\n");
        assert_eq!(differs(&one, &wanted, &none), None);
        let other = would("(1/2) Upgrading lamp (1 -> 3)\n(2/2) Purging stake (1)\n");
        assert!(differs(&other, &wanted, &none).unwrap().contains("install lamp 3"));
        let removes = would("(1/2) Upgrading lamp (1 -> 2)\n(2/2) Purging stake (1)\n");
        assert!(differs(&removes, &wanted, &none).unwrap().contains("remove stake"));
        assert_eq!(differs(&removes, &wanted, &["stake"].into()), None);
    }
}
