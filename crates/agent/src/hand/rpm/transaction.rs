//! Installing, repairing, going back, by whatever asks rpm: what it would do is held against the plan before, what the database
//! says after.

use super::{again, exact, file_name, is_clean, through};
use crate::hand::driver::Driver;
use crate::hand::fit::{self, Fit};
use crate::hand::named::lies_beside;
use crate::hand::staged::Staged;
use crate::hand::task::{Said, Task};
use crate::program::{Program, is_stopped};
use advisory::Problem;
use exposure::inventory::Package;
use rollout::plan::Change;
use std::time::{Duration, Instant};

/// How long others are waited for, as with apt.
const OTHERS_WITHIN: Duration = Duration::from_secs(600);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(3);

/// A package of exactly one version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::hand) struct Exact {
    pub(in crate::hand) name: String,
    pub(in crate::hand) arch: String,
    /// `epoch:version-release`, a zero epoch left out.
    pub(in crate::hand) version: String,
}

/// What a transaction would do.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::hand) struct Would {
    pub(in crate::hand) installs: Vec<Exact>,
    /// What goes: replaced by an install of the same name and architecture, or for good.
    pub(in crate::hand) removes: Vec<Exact>,
}

/// What a resolver says to files that it is to install.
#[derive(Debug)]
pub(in crate::hand) enum Answer {
    /// It would do this.
    Would(Would),
    /// It would not, in its own words.
    Refuses(String),
}

/// What rpm and its resolvers' answers rest on: what is installed, wherever the distribution keeps it; settings.
pub(in crate::hand) const RESTS_ON: [&str; 2] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];

/// What resolves dependencies above rpm.
pub(in crate::hand) trait Resolver: Driver {
    /// Its exit code where another program holds its lock.
    fn locked(&self) -> i32;

    /// What it says to installing these files. Errors, in words, where it cannot be asked.
    fn says(&self, staged: &Staged, is_back: bool) -> Result<Answer, String>;

    /// Installs these files, from here, with every repository out of reach.
    fn install(&self, staged: &Staged, is_back: bool) -> Program;

    /// Has it believe that these came with others: whoever names a package makes it one that a person wanted.
    fn mark_new(&self, names: &[String], said: &mut Said);
}

pub(in crate::hand) fn repair(
    resolver: &dyn Resolver,
    task: &Task<'_>,
    said: &mut Said,
) -> Result<(), Problem> {
    task.forget_new_if_back(said);
    by_rpm(resolver, task, &task.open(said)?, said)
}

pub(in crate::hand) fn revert(
    resolver: &dyn Resolver,
    task: &Task<'_>,
    said: &mut Said,
) -> Result<(), Problem> {
    task.revert(
        said,
        |said| installs(resolver, task, said),
        |said| repair(resolver, task, said),
        |said| take_away(resolver, task, said),
    )
}

/// Takes away what carrying out the plan has newly installed here: rpm removes what it is told, and only if nothing needs it.
fn take_away(resolver: &dyn Resolver, task: &Task<'_>, said: &mut Said) -> Result<(), Problem> {
    let name = |package: &Package| exact(&package.name, &package.version, &package.arch);
    let remove = |more: &[&str], names: &[String]| {
        Program::new("rpm").arg("-e").args(more.iter().copied()).arg("--").args(names.iter().cloned())
    };
    let would = |_: &[Package], names: &[String]| {
        let looked = remove(&["--test"], names).run_ok();
        looked.map(|_| ()).map_err(|problem| format!("rpm would not: {problem}"))
    };
    task.take_away(resolver, name, would, |names| remove(&[], names), said)
}

/// What installing the new versions would do.
pub(in crate::hand) fn would(resolver: &dyn Resolver, task: &Task<'_>, said: &Said) -> Result<Fit, Problem> {
    let changes = task.open(said)?;
    if changes.is_empty() || !is_clean(task, &changes, said)? {
        // Nothing is to be resolved: rpm itself makes whole what was interrupted.
        return Ok(Fit::Fits);
    }
    says(resolver, task, &changes, &task.stage(&changes, file_name)?)
}

/// What the resolver says that it would do with the files of these changes, held against them.
fn says(
    resolver: &dyn Resolver,
    task: &Task<'_>,
    changes: &[&Change],
    staged: &Staged,
) -> Result<Fit, Problem> {
    let name = resolver.name();
    let answer = resolver
        .says(staged, task.is_back)
        .map_err(|reason| fit::unasked(task.order, format!("{name} was asked what it would do: {reason}")))?;
    Ok(match answer {
        Answer::Refuses(reason) => Fit::Unfit(format!("{name} would not: {reason}")),
        Answer::Would(would) => match not_meant(task, changes, &would) {
            Some(what) => Fit::Unfit(format!("{name} would {what}, which the plan does not say")),
            None => Fit::Fits,
        },
    })
}

/// Installs what is not as wanted; on the way back only if the resolver would do this and nothing else.
pub(in crate::hand) fn installs(
    resolver: &dyn Resolver,
    task: &Task<'_>,
    said: &mut Said,
) -> Result<(), Problem> {
    let changes = task.open(said)?;
    if changes.is_empty() {
        return Ok(());
    }
    if !is_clean(task, &changes, said)? {
        return by_rpm(resolver, task, &changes, said);
    }
    let staged = task.stage(&changes, file_name)?;
    if task.is_back {
        says(resolver, task, &changes, &staged)?.or_refuse(task.order)?;
    }
    let install = resolver.install(&staged, task.is_back);
    let end = Instant::now() + OTHERS_WITHIN;
    while through(resolver, task, &install, &changes, said)? == Some(resolver.locked())
        && Instant::now() < end
    {
        // Told each time: the last one tells enough.
        said.told.pop();
        if is_stopped() {
            return Err(task.order.refused("the host is going down").remedy("it is begun after the boot"));
        }
        std::thread::sleep(AGAIN);
    }
    mark_new(resolver, &changes, said);
    Ok(())
}

fn by_rpm(
    resolver: &dyn Resolver,
    task: &Task<'_>,
    changes: &[&Change],
    said: &mut Said,
) -> Result<(), Problem> {
    again(resolver, task, changes, said)?;
    if !task.is_back {
        mark_new(resolver, changes, said);
    }
    Ok(())
}

fn mark_new(resolver: &dyn Resolver, changes: &[&Change], said: &mut Said) {
    let new: Vec<String> = changes.iter().filter(|c| c.from.is_none()).map(|c| c.name.clone()).collect();
    if !new.is_empty() {
        resolver.mark_new(&new, said);
    }
}

/// What of a transaction the plan does not say, in words.
fn not_meant(task: &Task<'_>, changes: &[&Change], would: &Would) -> Option<String> {
    let meant = |it: &&Exact| {
        changes.iter().any(|change| {
            change.name == it.name && change.arch == it.arch && task.version(change) == Some(&it.version)
        })
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
