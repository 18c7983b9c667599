//! One pass over what still maps old files of the changed packages: systemd itself anew, services whose configuration holds
//! together in one go, the rest named.

use super::deed::Outcome;
use super::order::Order;
use super::unit_files;
use super::units::{INIT, config_test, is_deferred, is_service};
use crate::job::sight::{stale_units, units_using};
use crate::observe::root::Root;
use crate::observe::{processes_now, system_now};
use crate::program::{Program, is_installed};
use advisory::Problem;
use exposure::inventory::Process;
use rollout::plan::HostClass;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Longest time that all restarts together may take: a database that recovers takes minutes.
const RESTARTS_WITHIN: Duration = Duration::from_secs(900);
/// The other half, which is restarted last: it learns from its journal where it was.
pub(super) const AGENT_UNIT: &str = "palisade-agent.service";

/// Restarts what maps old files of a class; with unit files read anew, unless they are the same as before (`same_units`).
pub(super) fn restart(
    order: &Order,
    class: &HostClass,
    same_units: bool,
    outcome: &mut Outcome,
) -> Result<(), Problem> {
    let mut stale = stale(order, class)?;
    if stale.contains(INIT) {
        let anew = Program::new("systemctl").arg("daemon-reexec").run_ok();
        if let Err(problem) = anew {
            outcome.not_restarted.push((INIT.to_owned(), problem.to_string()));
        }
        stale = self::stale(order, class)?;
    }
    let mut units = Vec::new();
    for unit in stale.iter().filter(|unit| *unit != INIT) {
        let refused = if !is_service(unit) {
            Some("no service: whoever began it must end it".to_owned())
        } else if is_deferred(unit) {
            Some("only a reboot renews it".to_owned())
        } else {
            tested(unit).err()
        };
        match refused {
            Some(reason) => outcome.not_restarted.push((unit.clone(), reason)),
            None if unit == AGENT_UNIT => {}
            None => units.push(unit.clone()),
        }
    }
    let mut done = Ok(());
    if !units.is_empty() {
        if !same_units {
            unit_files::read_anew(&mut outcome.told);
        }
        // One that ends by itself just now, under a unit file that has become another, is to run all the same.
        let together = Program::new("systemctl").args(["restart", "--"]).args(units.iter().cloned());
        done = together.deadline(RESTARTS_WITHIN).run_ok().map(|_| ()).map_err(|problem| {
            order
                .refused(problem)
                .remedy("see systemctl --failed; the host looks for itself whether it is well")
        });
    }
    outcome.restarted = units;
    if stale.contains(AGENT_UNIT) {
        outcome.restarted.push(AGENT_UNIT.to_owned());
        let asked = Program::new("systemctl").args(["try-restart", "--no-block", "--", AGENT_UNIT]).run_ok();
        done = done.and(asked.map(|_| ()).map_err(|problem| order.refused(problem)));
    }
    done
}

/// Units that map old files now, by the packages that a class changes.
fn stale(order: &Order, class: &HostClass) -> Result<BTreeSet<String>, Problem> {
    let changed = class.changes.iter().map(|change| change.name.as_str()).collect();
    Ok(stale_units(&running(order, &changed)?, &changed))
}

/// What runs, and which files of these packages it maps.
fn running(order: &Order, changed: &BTreeSet<&str>) -> Result<Vec<Process>, Problem> {
    let root = Root::open(Path::new("/")).map_err(|problem| order.refused(problem))?;
    Ok(processes_now(&root, Path::new("/proc"), &system_now(&root), changed))
}

/// Whether a service would start with its configuration; a service that cannot be asked would.
fn tested(unit: &str) -> Result<(), String> {
    let Some((program, arguments)) = config_test(unit) else { return Ok(()) };
    if !is_installed(program) {
        return Ok(());
    }
    let run = Program::new(program).args(arguments.iter().copied()).run_ok();
    run.map(|_| ())
        .map_err(|problem| format!("its configuration does not hold, so it goes on as it is: {problem}"))
}

/// Services that run code of a class's packages now.
pub(super) fn users(order: &Order, class: &HostClass) -> Result<Vec<String>, Problem> {
    let changed: BTreeSet<&str> = class.changes.iter().map(|change| change.name.as_str()).collect();
    let units = units_using(&running(order, &changed)?, &changed);
    // Our own are begun anew whenever something is done.
    Ok(units.into_iter().filter(|unit| is_service(unit) && !unit.starts_with("palisade-")).collect())
}

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Active; systemd has restarted it so often since somebody started it.
    Runs(u64),
    /// On its way to another state.
    Changes,
    /// It has failed, or does not run and should.
    Down,
    /// It does not run, and nobody said that it should: some end when they are idle.
    Rests,
}

/// How these services are. `None`: systemd could not be asked.
pub(crate) fn services(units: &[String]) -> Option<BTreeMap<String, Service>> {
    if units.is_empty() {
        return Some(BTreeMap::new());
    }
    let shown = Program::new("systemctl")
        .args(["show", "--property=Id,ActiveState,UnitFileState,NRestarts", "--"])
        .args(units.iter().cloned())
        .run_ok()
        .ok()?;
    Some(states(&String::from_utf8_lossy(&shown.stdout)))
}

/// What `systemctl show` prints: a block of properties for each unit, in any order.
fn states(text: &str) -> BTreeMap<String, Service> {
    let block = |block: &str| {
        let value = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let restarts = value("NRestarts").and_then(|count| count.parse().ok()).unwrap_or(0);
        let state = match (value("ActiveState")?, value("UnitFileState")) {
            ("active", _) => Service::Runs(restarts),
            ("failed", _) | ("inactive", Some("enabled")) => Service::Down,
            ("inactive", _) => Service::Rests,
            _ => Service::Changes,
        };
        Some((value("Id")?.to_owned(), state))
    };
    text.split("\n\n").filter_map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::Service::{Changes, Down, Rests, Runs};
    use super::*;

    #[test]
    fn a_service_that_is_down_is_told_from_one_that_runs_and_one_that_rests() {
        let block =
            |id, state, file| format!("NRestarts=3\nId={id}\nActiveState={state}\nUnitFileState={file}\n");
        let text = [
            block("a", "active", "enabled"),
            block("b", "failed", "static"),
            block("c", "inactive", "enabled"),
            block("d", "inactive", "static"),
            block("e", "activating", "enabled"),
        ];
        let told: Vec<Service> = states(&text.join("\n")).into_values().collect();
        assert_eq!(told, [Runs(3), Down, Down, Rests, Changes]);
    }
}
