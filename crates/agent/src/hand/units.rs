//! What is known about units: which cannot be restarted while the host is up, and how a configuration is tested first.

use super::DEED_UNIT;
use crate::program::Program;
use advisory::Problem;
use std::path::Path;
use std::time::{Duration, Instant};

/// Units whose restart costs more than it brings: what they hold ends with them.
const DEFERRED: [&str; 10] = [
    // Everything hangs on the bus, and little comes back to a new one.
    "dbus.service",
    "dbus-broker.service",
    // A person's desktop.
    "gdm.service",
    "gdm3.service",
    "lightdm.service",
    "sddm.service",
    "display-manager.service",
    // Containers end with them, unless set up otherwise.
    "docker.service",
    "containerd.service",
    "libvirtd.service",
];
const LOGIND: &str = "systemd-logind.service";
const SESSIONS: &str = "/run/systemd/sessions";
/// systemd itself: it can be executed anew, so that it maps new files, and nothing else is touched.
pub(crate) const INIT: &str = "init.scope";

/// Whether only a reboot (or the person whose session it is) renews a unit.
pub(crate) fn is_deferred(unit: &str) -> bool {
    let is_scope = Path::new(unit).extension().is_some_and(|kind| kind == "scope");
    let is_persons = is_scope && unit != INIT
        || ["user@", "getty@", "serial-getty@"].iter().any(|prefix| unit.starts_with(prefix));
    // It knows who is logged in; with nobody there it forgets nothing.
    let is_logind = unit == LOGIND
        && std::fs::read_dir(Path::new(SESSIONS)).is_ok_and(|mut sessions| sessions.next().is_some());
    is_persons || is_logind || DEFERRED.contains(&unit)
}

/// Whether a unit is a service: what else there is, whoever began it must end it.
pub(crate) fn is_service(unit: &str) -> bool {
    Path::new(unit).extension().is_some_and(|kind| kind == "service")
}

/// The program that tells whether a service would start again with the configuration as it lies on the disk.
pub(super) fn config_test(unit: &str) -> Option<(&'static str, &'static [&'static str])> {
    Some(match unit {
        "nginx.service" => ("nginx", &["-t", "-q"]),
        "apache2.service" => ("apache2ctl", &["configtest"]),
        "haproxy.service" => ("haproxy", &["-c", "-q", "-f", "/etc/haproxy/haproxy.cfg"]),
        "ssh.service" => ("sshd", &["-t"]),
        "postfix.service" | "postfix@-.service" => ("postfix", &["check"]),
        _ => return None,
    })
}

/// Whether systemd says that a unit is active.
pub(super) fn is_up(unit: &str) -> bool {
    let asked = Program::new("systemctl").args(["is-active", "--quiet", unit]).run();
    asked.is_ok_and(|output| output.code == Some(0))
}

/// Whether anything of a service runs: whether its cgroup has processes. On hosts that have not one hierarchy of cgroups systemd is
/// asked whether it is active.
pub(super) fn runs(service: &str) -> bool {
    if !Path::new(CGROUPS).exists() {
        return is_up(service);
    }
    let events = std::fs::read_to_string(Path::new(CGROUPS).join(service).join("cgroup.events"));
    events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

/// Where the kernel shows the cgroups of services, on hosts with one hierarchy, and in it that of a deed.
const CGROUPS: &str = "/sys/fs/cgroup/system.slice";
const DEED_CGROUP: &str = "/sys/fs/cgroup/system.slice/palisade-deed.service";
/// How often systemd is asked while that is there.
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// Looks whether a deed is under way, again and again. Without its cgroup it is not: that is there from before the deed begins
/// until nothing of it is left. What a deed left behind may keep it; so systemd has the last word, and is asked rarely.
#[derive(Debug, Default)]
pub(crate) enum DeedSight {
    #[default]
    Gone,
    /// Its cgroup is there, and was first seen, or systemd said so, at this time.
    Works(Instant),
    /// Its cgroup is there, and systemd says that it is over.
    Left,
}

impl DeedSight {
    pub(crate) fn is_working(&mut self) -> Result<bool, Problem> {
        if is_gone() {
            *self = Self::Gone;
            return Ok(false);
        }
        let has_cgroup = Path::new(DEED_CGROUP).exists();
        match self {
            Self::Gone if has_cgroup => {
                *self = Self::Works(Instant::now());
                return Ok(true);
            }
            Self::Works(asked) if has_cgroup && asked.elapsed() < ASKED_EVERY => return Ok(true),
            Self::Gone | Self::Works(_) | Self::Left => {}
        }
        let is = is_working()?;
        *self = if is { Self::Works(Instant::now()) } else { Self::Left };
        Ok(is)
    }

    /// Whether the deed that was under way when this last looked is over, as far as its cgroup shows: said once. `None`: there is
    /// none. It costs two microseconds.
    pub(crate) fn is_over(&mut self) -> Option<bool> {
        let Self::Works(_) = self else { return None };
        let is_over = is_gone();
        if is_over {
            *self = Self::Gone;
        }
        Some(is_over)
    }
}

/// Whether the kernel shows that no deed is under way.
fn is_gone() -> bool {
    !Path::new(DEED_CGROUP).exists() && Path::new(CGROUPS).exists()
}

/// Whether a deed is under way. Listed, not shown: a unit that is gone would be looked for again, each time with a line in the
/// log.
pub(super) fn is_working() -> Result<bool, Problem> {
    let listed =
        Program::new("systemctl").args(["list-units", "--all", "--plain", "--no-legend", DEED_UNIT]).run_ok();
    let listed = listed.map_err(|problem| {
        Problem::new("look at", DEED_UNIT, problem)
            .remedy("nothing follows until it can be seen; see systemctl")
    })?;
    Ok(is_active(&String::from_utf8_lossy(&listed.stdout)))
}

/// What `systemctl list-units` prints of one unit: `UNIT LOAD ACTIVE SUB DESCRIPTION`, or nothing.
fn is_active(text: &str) -> bool {
    text.split_whitespace().nth(2).is_some_and(|state| !matches!(state, "inactive" | "failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deed_is_under_way_until_systemd_says_that_it_is_over() {
        let line = |state| format!("palisade-deed.service loaded {state} start Palisade: apply plan 0192\n");
        assert!(["active", "activating", "deactivating"].iter().all(|state| is_active(&line(state))));
        assert!(!["inactive", "failed"].iter().any(|state| is_active(&line(state))) && !is_active(""));
    }

    #[test]
    fn a_session_the_bus_and_a_terminal_are_not_restarted_under_people_and_a_service_is() {
        for unit in ["dbus.service", "session-3.scope", "user@1000.service", "getty@tty1.service"] {
            assert!(is_deferred(unit), "{unit}");
        }
        for unit in ["nginx.service", "systemd-journald.service", "user-runtime-dir@0.service", INIT] {
            assert!(!is_deferred(unit), "{unit}");
        }
    }
}
