//! Carries out one order, in a unit of its own, and writes down what it left. What it left is looked up in the package
//! database; what programs said is kept for people.

use super::driver::{Driver, driver};
use super::fit::{self, Asked};
use super::named::lies_beside;
use super::order::{Deed, Order};
use super::task::{Said, Task};
use super::{awake, owed, place::Place, restart, trial, unit_files};
use crate::program::{Program, is_stopped};
use crate::settings::Settings;
use advisory::Problem;
use exposure::inventory::{Package, PackageState};
use jiff::Timestamp;
use rollout::order::Direction;
use rollout::plan::{Digest, HostClass, HostId, PlanId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a reboot may take to begin; this process ends with the host.
const REBOOT_WITHIN: Duration = Duration::from_secs(600);
/// Where it lies, systemd boots into an update of the host's own (systemd.offline-updates(7)).
const OFFLINE_UPDATE: &str = "/system-update";
/// How often we look whether we are to end.
const PATIENCE: Duration = Duration::from_millis(250);

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) deed: Deed,
    pub(crate) plan: PlanId,
    pub(crate) digest: Digest,
    pub(crate) fence: u64,
    pub(crate) began: Timestamp,
    /// `None`: it is under way, or was cut short.
    pub(crate) ended: Option<Timestamp>,
    /// Why it is not done.
    pub(crate) problem: Option<Problem>,
    /// What went otherwise than expected and did no harm; what was done besides.
    pub(crate) told: Vec<String>,
    /// Packages that changed, of the plan and not.
    pub(crate) changed: Vec<Moved>,
    /// Configuration files that differ from the package's: the host's were kept.
    pub(crate) conffiles: Vec<String>,
    /// Units restarted.
    pub(crate) restarted: Vec<String>,
    /// Units that still map old files, and why they were not restarted.
    pub(crate) not_restarted: Vec<(String, String)>,
    /// Services that ran code of the packages before the transaction.
    pub(crate) users_before: Vec<String>,
    /// Packages that are not whole, whatever the package database says: their transaction is under way, was cut short, or a
    /// script of theirs failed.
    #[serde(default)]
    pub(crate) unfinished: BTreeSet<String>,
    /// Unit files are as they were before the transaction; `false` also where nobody has looked.
    #[serde(default)]
    pub(crate) same_units: bool,
    /// What the package manager said that it would do; `None`: it was not asked by this order, or did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<Asked>,
}

impl Outcome {
    /// Of an order that begins now.
    pub(super) fn begun(order: &Order) -> Self {
        Self {
            deed: order.deed,
            plan: order.plan,
            digest: order.digest,
            fence: order.fence,
            began: Timestamp::now(),
            ended: None,
            problem: None,
            told: Vec::new(),
            changed: Vec::new(),
            conffiles: Vec::new(),
            restarted: Vec::new(),
            not_restarted: Vec::new(),
            users_before: Vec::new(),
            unfinished: BTreeSet::new(),
            same_units: false,
            asked: None,
        }
    }
}

fn transactions(history: &[Outcome]) -> impl Iterator<Item = &Outcome> {
    history.iter().filter(|outcome| outcome.deed.is_transaction())
}

/// Packages that are not whole after the last transaction of these.
pub(crate) fn unfinished(history: &[Outcome]) -> BTreeSet<String> {
    transactions(history)
        .max_by_key(|outcome| outcome.began)
        .map(|last| last.unfinished.clone())
        .unwrap_or_default()
}

/// What carrying out a plan has newly installed, by what became of its orders: name and architecture.
pub(crate) fn brought(history: &[Outcome]) -> BTreeSet<(&str, &str)> {
    let moved = history.iter().flat_map(|outcome| &outcome.changed);
    let new = moved.filter(|moved| moved.planned && moved.from.is_none() && moved.to.is_some());
    new.map(|moved| (moved.name.as_str(), moved.arch.as_str())).collect()
}

/// One package that changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Moved {
    pub(crate) name: String,
    pub(crate) arch: String,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    /// Whether the plan names it.
    pub(crate) planned: bool,
    /// Unpacked and configured now.
    pub(crate) whole: bool,
}

/// Carries out the order that lies in the directory, with the hand that the settings name. Errors are kept there, too.
pub fn carry_out(settings: &Path) -> Result<(), Problem> {
    let place = Place::open()?;
    let order = place.order()?;
    let mut outcome = Outcome::begun(&order);
    outcome.unfinished = unfinished(&place.history(order.digest));
    place.keep_outcome(&order, &outcome)?;
    let held = match order.deed {
        Deed::Apply | Deed::Repair | Deed::Revert | Deed::Restart => awake::hold(&order, &mut outcome.told),
        Deed::Fetch | Deed::Drain | Deed::Reboot | Deed::GiveBack => None,
    };
    let mut done = attempt(&place, &order, settings, &mut outcome);
    if order.deed.is_transaction() {
        done = done.and(trial::changed(&place, &order, &mut outcome.told));
    }
    drop(held);
    outcome.problem = done.clone().err();
    outcome.ended = Some(Timestamp::now());
    place.keep_outcome(&order, &outcome)?;
    done
}

/// Does what an order asks, and says what it left.
pub(super) fn attempt(
    place: &Place,
    order: &Order,
    settings: &Path,
    outcome: &mut Outcome,
) -> Result<(), Problem> {
    let settings = Settings::read(settings).map_err(|problem| order.refused(problem))?;
    match order.deed {
        Deed::Drain => return owed::drain(place, order, &settings.hooks, outcome),
        Deed::GiveBack => return owed::give_back(place, order, &settings.hooks, outcome),
        Deed::Fetch | Deed::Apply | Deed::Repair | Deed::Revert | Deed::Restart | Deed::Reboot => {}
    }
    let plan = place.plan(order.digest)?;
    let known = place.host()?;
    let class = plan.class_of(HostId(known.host), &known.group);
    let class = class.ok_or_else(|| order.refused("the plan names no class for this host"))?;
    let driver = || {
        let kind = settings.agent.hand;
        driver(kind).ok_or_else(|| order.refused(format!("this host's hand is \"{kind}\"")))
    };
    if order.deed != Deed::Reboot {
        let seconds = u64::from(plan.timing.lease_seconds) + u64::from(plan.timing.deadline_seconds);
        owed::hold_updaters(place, order, seconds, outcome)?;
    }
    match order.deed {
        Deed::Fetch => {
            place.sweep();
            let mut said = Said::default();
            let task = Task { place, order, class, is_back: is_back(place, order)? };
            let driver = driver()?;
            let done = driver.fetch(&task, &mut said);
            outcome.told.append(&mut said.told);
            done?;
            // On the way back nothing is skipped: what stands in its way is told where it is met.
            if order.direction == Direction::Back {
                Ok(())
            } else {
                fit::ask(driver, &task, fit::others, outcome)
            }
        }
        Deed::Apply | Deed::Repair | Deed::Revert => {
            if order.deed == Deed::Apply {
                outcome.users_before = restart::users(order, class)?;
                trial::begin(place, order, &plan, class)?;
            }
            let task = Task { place, order, class, is_back: is_back(place, order)? };
            transact(driver()?, &task, outcome)
        }
        Deed::Restart => {
            let history = place.history(order.digest);
            let same_units = transactions(&history).all(|transaction| transaction.same_units);
            restart::restart(order, class, same_units, outcome)
        }
        Deed::Reboot => reboot(place, order, outcome),
        Deed::Drain | Deed::GiveBack => Ok(()),
    }
}

/// Has the package manager do it, and looks up what it left.
fn transact(driver: &dyn Driver, task: &Task<'_>, outcome: &mut Outcome) -> Result<(), Problem> {
    if task.order.deed == Deed::Apply {
        fit::ask_anew(driver, task, fit::others, outcome)?;
    }
    let before = task.installed()?;
    let units = unit_files::now();
    let mut said = Said { told: Vec::new(), unfinished: outcome.unfinished.clone() };
    if !driver.tells_halves() {
        // Written before, so that it is known should we be cut short.
        outcome.unfinished.extend(task.class.changes.iter().map(|change| change.name.clone()));
        task.place.keep_outcome(task.order, outcome)?;
    }
    let done = match task.order.deed {
        Deed::Apply => driver.apply(task, &mut said),
        Deed::Repair => driver.repair(task, &mut said),
        Deed::Revert => driver.revert(task, &mut said),
        Deed::Fetch | Deed::Drain | Deed::Restart | Deed::Reboot | Deed::GiveBack => Ok(()),
    };
    let units_now = unit_files::now();
    units.tell(&units_now, &mut said.told);
    outcome.same_units = !units.differ(&units_now);
    let after = task.installed()?;
    outcome.told.append(&mut said.told);
    if driver.tells_halves() {
        // Only what lies there beside the package (an agent's program that was put back alone) its database does not tell; with
        // the version that is wanted, the package is what lies there again.
        let differing = task.differing()?;
        said.unfinished.retain(|name| differing.iter().any(|change| change.name == *name));
    }
    outcome.unfinished.clone_from(&said.unfinished);
    outcome.changed = moved(&before, &after, task.class);
    outcome.conffiles = driver.conffiles(task.class);
    let others = outcome.changed.iter().filter(|moved| !moved.planned).map(|moved| moved.name.as_str());
    let others: Vec<&str> = others.collect();
    if !others.is_empty() {
        outcome.told.push(format!("the plan does not name what changed, too: {}", others.join(", ")));
    }
    done.and_then(|()| task.check(driver, &after, &said))
}

/// Whether an order leads to the old versions: by what was granted here, whatever the other half says.
fn is_back(place: &Place, order: &Order) -> Result<bool, Problem> {
    Ok(order.deed == Deed::Revert || place.grant(order)?.back)
}

/// Version and state of each package, by name and architecture; of those that lie side by side, each by its version, too.
fn versions(packages: &[Package]) -> BTreeMap<(&str, &str, &str), (&str, PackageState)> {
    let mut versions = BTreeMap::new();
    for package in packages {
        let own = if lies_beside(&package.name) { &*package.version } else { "" };
        versions.insert((&*package.name, &*package.arch, own), (&*package.version, package.state));
    }
    versions
}

/// What changed between two looks.
fn moved(before: &[Package], after: &[Package], class: &HostClass) -> Vec<Moved> {
    let (was, is) = (versions(before), versions(after));
    let all: BTreeSet<_> = was.keys().chain(is.keys()).copied().collect();
    all.into_iter()
        .filter(|package| was.get(package) != is.get(package))
        .map(|package @ (name, arch, _)| {
            let version =
                |of: &BTreeMap<_, (&str, _)>| of.get(&package).map(|(version, _)| (*version).to_owned());
            Moved {
                name: name.to_owned(),
                arch: arch.to_owned(),
                from: version(&was),
                to: version(&is),
                planned: class.changes.iter().any(|change| change.name == name),
                whole: is.get(&package).is_some_and(|(_, state)| *state == PackageState::Installed),
            }
        })
        .collect()
}

/// Reboots, and waits for the end. Whether the host was booted anew, its boot id tells.
fn reboot(place: &Place, order: &Order, outcome: &mut Outcome) -> Result<(), Problem> {
    awake::wait_for_others(order, |told| {
        outcome.told.push(told);
        place.keep_outcome(order, outcome)
    })?;
    if Path::new(OFFLINE_UPDATE).exists() {
        outcome
            .told
            .push(format!("{OFFLINE_UPDATE} is there: the host's own updater installs at this boot, too"));
    }
    let asked = Program::new("systemctl").arg("reboot").run_ok();
    asked.map_err(|problem| order.refused(problem).remedy("it is tried again"))?;
    let end = Instant::now() + REBOOT_WITHIN;
    while Instant::now() < end {
        // systemd ends this with everything else; whoever would not end would hold the host up.
        if is_stopped() {
            return Ok(());
        }
        std::thread::sleep(PATIENCE);
    }
    Err(order
        .refused(format!("the host still runs {} s after it was asked to reboot", REBOOT_WITHIN.as_secs()))
        .remedy("see what keeps it: systemctl list-jobs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use exposure::inventory::Origin;

    fn package(name: &str, version: &str, state: PackageState) -> Package {
        Package {
            name: name.into(),
            arch: "amd64".into(),
            version: version.into(),
            source: name.into(),
            source_version: version.into(),
            state,
            held: false,
            essential: false,
            module: None,
            vendor: String::new(),
            origin: Origin::Unknown,
        }
    }

    #[test]
    fn everything_that_changed_is_told_also_what_the_plan_does_not_name() {
        use PackageState::{HalfInstalled, Installed};
        let before = [
            package("ssl", "1", Installed),
            package("gone", "1", Installed),
            package("same", "1", Installed),
            package("kernel-core", "2", Installed),
        ];
        let after = [
            package("kernel-core", "3", Installed),
            package("kernel-core", "2", Installed),
            package("ssl", "1", HalfInstalled),
            package("new", "2", Installed),
            package("same", "1", Installed),
        ];
        let class = HostClass {
            name: "c".into(),
            release: "debian:12".into(),
            arch: "amd64".into(),
            changes: Vec::new(),
        };
        let told: Vec<_> =
            moved(&before, &after, &class).into_iter().map(|m| (m.name, m.from, m.to, m.whole)).collect();
        let one = |version: &str| Some(version.to_owned());
        assert_eq!(
            told,
            [
                ("gone".to_owned(), one("1"), None, false),
                ("kernel-core".to_owned(), None, one("3"), true),
                ("new".to_owned(), None, one("2"), true),
                ("ssl".to_owned(), one("1"), one("1"), false),
            ]
        );
    }
}
