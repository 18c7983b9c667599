//! What a job takes from its host and gives back: its place in its service, by its owner's hooks, and its own updaters.
//!
//! Written down before it is taken, and crossed out when it was given back, so that it outlives whatever happens in between.
//! Hooks are the owner's, in the owner's settings; a plan names none.

use super::deed::Outcome;
use super::order::{Deed, Order};
use super::place::Place;
use super::updaters;
use crate::program::Program;
use crate::settings::Hooks;
use advisory::Problem;
use rollout::order::Direction;
use rollout::plan::{Digest, PlanId};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;

/// Bytes that a hook may write: it is its exit code that counts.
const HOOK_BYTES_MAX: u64 = 64 << 10;

/// What is owed, and by which job it was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owed {
    plan: PlanId,
    digest: Digest,
    fence: u64,
    /// The drain hook was begun, so that the host is to be undrained.
    pub(crate) undrain: bool,
    /// It ended well: the host is out of its service.
    pub(crate) is_out: bool,
    /// The host's own updaters wait.
    pub(crate) updaters: bool,
}

impl Owed {
    fn by(order: &Order) -> Self {
        let Order { plan, digest, fence, .. } = *order;
        Self { plan, digest, fence, undrain: false, is_out: false, updaters: false }
    }

    /// The order by which it is given back.
    pub(super) fn order(&self) -> Order {
        let Self { plan, digest, fence, .. } = *self;
        let direction = Direction::Forward;
        Order { deed: Deed::GiveBack, plan, digest, fence, direction, word: None, clearance: None }
    }
}

/// Has the host's own updaters wait until the job is over, for at most `seconds`.
pub(super) fn hold_updaters(
    place: &Place,
    order: &Order,
    seconds: u64,
    outcome: &mut Outcome,
) -> Result<(), Problem> {
    let owed = place.owed()?.unwrap_or_else(|| Owed::by(order));
    place.keep_owed(Some(&Owed { updaters: true, ..owed }))?;
    updaters::hold(&order.plan.to_string(), seconds, &mut outcome.told);
    Ok(())
}

/// Takes the host out of its service.
pub(super) fn drain(
    place: &Place,
    order: &Order,
    hooks: &Hooks,
    outcome: &mut Outcome,
) -> Result<(), Problem> {
    let owed = place.owed()?.unwrap_or_else(|| Owed::by(order));
    let owed = Owed { undrain: true, is_out: false, ..owed };
    place.keep_owed(Some(&owed))?;
    run(order, "drain", &hooks.drain, hooks)?;
    outcome.told.push("its owner's drain hook has taken it out of its service".to_owned());
    place.keep_owed(Some(&Owed { is_out: true, ..owed }))
}

/// Gives back what is owed. What cannot be is owed on.
pub(super) fn give_back(
    place: &Place,
    order: &Order,
    hooks: &Hooks,
    outcome: &mut Outcome,
) -> Result<(), Problem> {
    let Some(mut owed) = place.owed()? else { return Ok(()) };
    if owed.updaters {
        updaters::release().map_err(|problem| {
            order.refused(problem).remedy(format!("it is tried again; or: systemctl stop {}", updaters::UNIT))
        })?;
        owed.updaters = false;
        outcome.told.push("its own updaters go on".to_owned());
        place.keep_owed(Some(&owed))?;
    }
    if owed.undrain && hooks.undrain.is_empty() {
        let told = "nobody puts it back into its service: its owner has removed the hook meanwhile";
        outcome.told.push(told.to_owned());
    } else if owed.undrain {
        run(order, "undrain", &hooks.undrain, hooks)?;
        outcome.told.push("its owner's undrain hook has put it back into its service".to_owned());
    }
    place.keep_owed(None)
}

/// Runs a hook, if nobody but root can have written it.
fn run(order: &Order, what: &str, line: &[String], hooks: &Hooks) -> Result<(), Problem> {
    let failed = |reason: &dyn std::fmt::Display| {
        order
            .refused(format!("the {what} hook: {reason}"))
            .remedy("it is tried again; see [hooks] in /etc/palisade/agent.toml")
    };
    let Some((program, arguments)) = line.split_first() else {
        return Err(failed(&"this host's owner names none"));
    };
    let found = std::fs::metadata(program).map_err(|problem| failed(&format!("{program}: {problem}")))?;
    // Writable by its group or by others (022).
    if found.uid() != 0 || found.mode() & 0o022 != 0 {
        return Err(failed(&format!("{program}: others than root can write it, and root would run it")));
    }
    let run = Program::new(program)
        .args(arguments.iter().cloned())
        .env("PALISADE_PLAN", order.plan.to_string())
        .deadline(std::time::Duration::from_secs(hooks.within_seconds.into()))
        .stdout_bytes_max(HOOK_BYTES_MAX)
        .run_ok();
    run.map(|_| ()).map_err(|problem| failed(&problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    struct Scene {
        directory: tempfile::TempDir,
        place: Place,
        hooks: Hooks,
        order: Order,
    }

    impl Scene {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let place = Place::at(&directory.path().join("hand")).unwrap();
            let line = |name: &str| vec![directory.path().join(name).display().to_string(), name.to_owned()];
            let hooks = Hooks { drain: line("drain"), undrain: line("undrain"), within_seconds: 5 };
            let order = Owed {
                plan: PlanId(uuid::Uuid::from_u128(7)),
                digest: Digest::of(b"plan"),
                fence: 1,
                undrain: false,
                is_out: false,
                updaters: false,
            };
            Self { order: order.order(), directory, place, hooks }
        }

        /// A hook that notes what it was called with, and ends with `code`.
        fn hook(&self, name: &str, code: u8) {
            let path = self.directory.path().join(name);
            let noted = self.directory.path().join("noted");
            let script = format!("#!/bin/sh\necho $1 $PALISADE_PLAN >> {}\nexit {code}\n", noted.display());
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }

        fn noted(&self) -> String {
            fs::read_to_string(self.directory.path().join("noted")).unwrap_or_default()
        }

        fn drain(&self) -> Result<(), Problem> {
            drain(&self.place, &self.order, &self.hooks, &mut Outcome::begun(&self.order))
        }

        fn give_back(&self) -> Result<(), Problem> {
            give_back(&self.place, &self.order, &self.hooks, &mut Outcome::begun(&self.order))
        }
    }

    fn is_root() -> bool {
        fs::metadata(Path::new("/proc/self")).is_ok_and(|found| found.uid() == 0)
    }

    #[test]
    fn an_undrain_is_owed_from_before_the_drain_until_it_has_worked() {
        if !is_root() {
            eprintln!("SKIPPED: hooks are root's, and these tests run as another user");
            return;
        }
        let scene = Scene::new();
        assert_eq!(scene.give_back(), Ok(()), "nothing is owed");
        scene.hook("drain", 1);
        scene.hook("undrain", 1);
        let failed = scene.drain().unwrap_err().to_string();
        assert!(failed.contains("the drain hook"), "{failed}");
        let owed = scene.place.owed().unwrap().unwrap();
        assert!(owed.undrain && !owed.is_out, "half a drain is undrained, and is none");
        scene.hook("drain", 0);
        scene.drain().unwrap();
        assert!(scene.place.owed().unwrap().unwrap().is_out);
        assert!(scene.give_back().is_err());
        assert!(scene.place.owed().unwrap().is_some(), "it is owed on");
        scene.hook("undrain", 0);
        scene.give_back().unwrap();
        assert_eq!(scene.place.owed().unwrap(), None);
        let plan = "00000000-0000-0000-0000-000000000007";
        let lines = [format!("drain {plan}"), format!("undrain {plan}")];
        assert_eq!(scene.noted().lines().collect::<std::collections::BTreeSet<_>>().len(), 2);
        assert!(lines.iter().all(|line| scene.noted().contains(line)), "{}", scene.noted());
    }

    #[test]
    fn a_hook_that_others_than_root_can_write_is_not_run() {
        let scene = Scene::new();
        scene.hook("drain", 0);
        let path = scene.directory.path().join("drain");
        let refused = || {
            let refused = scene.drain().unwrap_err().to_string();
            assert!(refused.contains("others than root can write it"), "{refused}");
            assert_eq!(scene.noted(), "");
        };
        for mode in [0o775, 0o757] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            refused();
        }
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
            refused();
        }
    }

    #[test]
    fn a_hook_that_does_not_end_is_ended_and_one_that_is_gone_is_owed_no_more() {
        if !is_root() {
            eprintln!("SKIPPED: hooks are root's, and these tests run as another user");
            return;
        }
        let mut scene = Scene::new();
        scene.hook("drain", 0);
        scene.drain().unwrap();
        let path = scene.directory.path().join("undrain");
        fs::write(&path, "#!/bin/sh\nexec sleep 60\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        scene.hooks.within_seconds = 1;
        let ended = scene.give_back().unwrap_err().to_string();
        assert!(ended.contains("no end after 1 s"), "{ended}");
        scene.hooks.undrain.clear();
        let mut outcome = Outcome::begun(&scene.order);
        give_back(&scene.place, &scene.order, &scene.hooks, &mut outcome).unwrap();
        assert_eq!(scene.place.owed().unwrap(), None);
        assert!(outcome.told[0].contains("nobody puts it back"), "{:?}", outcome.told);
    }
}
