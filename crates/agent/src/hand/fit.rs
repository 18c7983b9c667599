//! Whether a plan fits this host: what its package manager would do with the files that were kept, held against the class. It is
//! asked before the point of no return, when all files are here; and once more when the new versions are installed, if
//! anything that the answer rests on has changed since.

use super::deed::Outcome;
use super::driver::Driver;
use super::order::Order;
use super::task::{Said, Task};
use crate::job::lock_holder;
use crate::observe::root::Root;
use crate::program::Program;
use advisory::Problem;
use rollout::plan::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directories below directories that an answer may rest on: `/etc/dnf/modules.d/`, `/var/lib/pacman/local/NAME-VERSION/`.
const DEPTH_MAX: usize = 3;
/// What a reader of rpm's database leaves, or touches, beside it: it says nothing of what is in there.
const READERS: [&str; 2] = ["-shm", ".lock"];

/// What helps a host that a plan does not fit.
pub(crate) const REHEARSES_ITSELF: &str =
    "see what stands in the way, or plan for such hosts by themselves: one of them rehearses then";

/// What a package manager says to what it is asked to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// It would do this, and nothing else.
    Fits,
    /// It would not, or would do more. Why, in words.
    Unfit(String),
}

impl Fit {
    /// Refuses the order where it does not.
    pub(super) fn or_refuse(self, order: &Order) -> Result<(), Problem> {
        match self {
            Self::Fits => Ok(()),
            Self::Unfit(reason) => {
                Err(order.refused(reason).remedy("nothing was changed; see what stands in the way"))
            }
        }
    }
}

/// Asks a package manager, by a program that changes nothing, what it would do; what it says, or that it would not: what `named` finds
/// in what it said, and its last words. Errors where it does not answer.
pub(super) fn look(
    order: &Order,
    name: &str,
    asking: &Program,
    named: impl FnOnce(&str) -> Vec<String>,
) -> Result<Result<String, Fit>, Problem> {
    let looked = asking.run().map_err(|problem| unasked(order, problem.to_string()))?;
    let text = String::from_utf8_lossy(&looked.stdout).into_owned();
    match looked.code {
        Some(0) => Ok(Ok(text)),
        Some(_) => {
            let mut said = named(&text);
            said.push(looked.told());
            Ok(Err(Fit::Unfit(format!("{name} would not: {}", said.join("; ")))))
        }
        None => Err(unasked(order, format!("{name} was asked what it would do: {}", looked.told()))),
    }
}

/// Why it is not known what a package manager would do.
pub(super) fn unasked(order: &Order, reason: String) -> Problem {
    order.refused(reason).remedy("nothing was changed; it is asked again")
}

/// What was asked, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// Why the plan does not fit this host; `None`: it does.
    pub(crate) unfit: Option<String>,
    /// Everything that the answer rests on besides the kept files, as it was before the question.
    rests_on: Digest,
}

/// The last answer in what became of the orders of one job; `None`: it was not asked, or not answered.
pub(crate) fn asked(outcomes: &[Outcome]) -> Option<&Asked> {
    outcomes.iter().rev().find_map(|outcome| outcome.asked.as_ref())
}

/// Asks, and keeps the answer. Errors where the plan does not fit, too; and where it cannot be asked. `others`: who else is at work
/// with packages here.
pub(super) fn ask(
    driver: &dyn Driver,
    task: &Task<'_>,
    others: impl Fn() -> Option<String>,
    outcome: &mut Outcome,
) -> Result<(), Problem> {
    let rests_on = stamp(driver.rests_on());
    let said = Said { told: Vec::new(), unfinished: outcome.unfinished.clone() };
    let Fit::Unfit(reason) = driver.would(task, &said)? else {
        outcome.asked = Some(Asked { unfit: None, rests_on });
        return Ok(());
    };
    // Nobody is left out for what only passes by.
    let passing = others().or_else(|| {
        let has_changed = stamp(driver.rests_on()) != rests_on;
        has_changed.then(|| "something else".to_owned())
    });
    if let Some(other) = passing {
        let name = driver.name();
        return Err(task
            .order
            .refused(format!("{other} was at work while {name} was asked what it would do: {reason}"))
            .remedy("nothing was changed; it is asked again"));
    }
    let refused = task.order.refused(&reason).remedy(format!("nothing was changed; {REHEARSES_ITSELF}"));
    outcome.asked = Some(Asked { unfit: Some(reason), rests_on });
    Err(refused)
}

/// The same, unless it was answered in this job already and nothing that the answer rests on has changed since.
pub(super) fn ask_anew(
    driver: &dyn Driver,
    task: &Task<'_>,
    others: impl Fn() -> Option<String>,
    outcome: &mut Outcome,
) -> Result<(), Problem> {
    let before = task.place.outcomes(task.order.digest, task.order.fence);
    let holds = |asked: &Asked| asked.unfit.is_none() && asked.rests_on == stamp(driver.rests_on());
    if asked(&before).is_some_and(holds) { Ok(()) } else { ask(driver, task, others, outcome) }
}

/// Who else holds the package manager's lock on this host.
pub(super) fn others() -> Option<String> {
    Root::open(Path::new("/")).ok().and_then(|root| lock_holder(&root, Path::new("/proc")))
}

/// Names, inodes, sizes and times of change (which cannot be set back) of these files, and of all files below these directories.
/// What cannot be read is told from what is not there.
fn stamp(paths: &[&str]) -> Digest {
    let mut hash = Sha256::new();
    for path in paths {
        add(&mut hash, Path::new(path), DEPTH_MAX);
    }
    Digest(hash.finalize().into())
}

fn add(hash: &mut Sha256, path: &Path, depth: usize) {
    let name = path.as_os_str().as_bytes();
    if READERS.iter().any(|ending| name.ends_with(ending.as_bytes())) {
        return;
    }
    let mut numbers = |numbers: [i64; 5]| {
        hash.update(name);
        hash.update([0]);
        for number in numbers {
            hash.update(number.to_be_bytes());
        }
    };
    match std::fs::metadata(path) {
        // Its times would tell of files that came and went again in between, too.
        Ok(found) if found.is_dir() => {
            numbers([1, found.ino().cast_signed(), 0, 0, 0]);
            if depth > 0 {
                let mut below: Vec<PathBuf> = crate::state::entries(path).collect();
                below.sort();
                for path in below {
                    add(hash, &path, depth - 1);
                }
            }
        }
        // rpm's database has an empty journal beside it while it is read.
        Ok(found) if found.len() == 0 && name.ends_with(b"-wal") => {}
        Ok(found) => numbers([
            2,
            found.ino().cast_signed(),
            found.len().cast_signed(),
            found.ctime(),
            found.ctime_nsec(),
        ]),
        Err(problem) => numbers([3, problem.raw_os_error().unwrap_or_default().into(), 0, 0, 0]),
    }
}

#[cfg(test)]
mod tests;
