//! Carries out one order, in a unit of its own, and writes down what it left. What it left is looked up in the package
//! database; what programs said is kept for people.

use super::apt::{self, Transaction};
use super::order::{Deed, Order};
use super::{place::Place, restart, trial};
use crate::observe::packages_now;
use crate::observe::root::Root;
use crate::program::{Program, is_stopped};
use advisory::Problem;
use exposure::inventory::{Package, PackageState};
use jiff::Timestamp;
use rollout::plan::{Digest, HostClass, HostId, PlanId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a reboot may take to begin; this process ends with the host.
const REBOOT_WITHIN: Duration = Duration::from_secs(600);
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
        }
    }
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

/// Carries out the order that lies in the directory. Errors are kept there, too.
pub fn carry_out() -> Result<(), Problem> {
    let place = Place::open()?;
    let order = place.order()?;
    let mut outcome = Outcome::begun(&order);
    place.keep_outcome(&order, &outcome)?;
    let done = attempt(&place, &order, &mut outcome);
    let done = match order.deed {
        Deed::Apply | Deed::Repair | Deed::Revert => {
            done.and(trial::changed(&place, &order, &mut outcome.told))
        }
        Deed::Fetch | Deed::Restart | Deed::Reboot => done,
    };
    outcome.problem = done.clone().err();
    outcome.ended = Some(Timestamp::now());
    place.keep_outcome(&order, &outcome)?;
    done
}

/// Does what an order asks, and says what it left.
pub(super) fn attempt(place: &Place, order: &Order, outcome: &mut Outcome) -> Result<(), Problem> {
    let plan = place.plan(order.digest)?;
    let known = place.host()?;
    let class = plan.class_of(HostId(known.host), &known.group);
    let class = class.ok_or_else(|| order.refused("the plan names no class for this host"))?;
    match order.deed {
        Deed::Fetch => apt::fetch(place, order, class, &mut outcome.told),
        Deed::Apply | Deed::Repair | Deed::Revert => {
            let before = installed(order)?;
            if order.deed == Deed::Apply {
                outcome.users_before = restart::users(order, class)?;
                trial::begin(place, order, &plan, class)?;
            }
            let transaction = Transaction { place, order, class, is_back: is_back(place, order)? };
            let done = transaction.run(&mut outcome.told);
            let after = installed(order)?;
            outcome.changed = moved(&before, &after, class);
            outcome.conffiles = apt::conffiles(class);
            let others =
                outcome.changed.iter().filter(|moved| !moved.planned).map(|moved| moved.name.as_str());
            let others: Vec<&str> = others.collect();
            if !others.is_empty() {
                outcome.told.push(format!("the plan does not name what changed, too: {}", others.join(", ")));
            }
            done.and_then(|()| transaction.check(&after))
        }
        Deed::Restart => restart::restart(order, class, outcome),
        Deed::Reboot => reboot(order),
    }
}

/// Whether an order leads to the old versions: by what was granted here, whatever the other half says.
fn is_back(place: &Place, order: &Order) -> Result<bool, Problem> {
    Ok(order.deed == Deed::Revert || place.grant(order)?.back)
}

/// Every package that is installed now.
pub(super) fn installed(order: &Order) -> Result<Vec<Package>, Problem> {
    let unseen = |reason: String| order.refused(reason).remedy("repair the package database");
    let root = Root::open(Path::new("/")).map_err(|problem| unseen(problem.to_string()))?;
    let (_, packages, gaps) = packages_now(&root);
    match gaps.first() {
        Some(gap) if packages.is_empty() => Err(unseen(format!("{}: {}", gap.object, gap.reason))),
        Some(_) | None => Ok(packages),
    }
}

/// Version and state of each package, by name and architecture.
fn versions(packages: &[Package]) -> BTreeMap<(&str, &str), (&str, PackageState)> {
    let mut versions = BTreeMap::new();
    for package in packages {
        versions.insert((&*package.name, &*package.arch), (&*package.version, package.state));
    }
    versions
}

/// What changed between two looks.
fn moved(before: &[Package], after: &[Package], class: &HostClass) -> Vec<Moved> {
    let (was, is) = (versions(before), versions(after));
    let all: BTreeSet<_> = was.keys().chain(is.keys()).copied().collect();
    all.into_iter()
        .filter(|package| was.get(package) != is.get(package))
        .map(|package @ (name, arch)| {
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
fn reboot(order: &Order) -> Result<(), Problem> {
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
        ];
        let after = [
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
                ("new".to_owned(), None, one("2"), true),
                ("ssl".to_owned(), one("1"), one("1"), false),
            ]
        );
    }
}
