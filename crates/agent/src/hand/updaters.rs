//! A host's own updaters, which wait while a job is under way: what was proven must not change under the proof.
//!
//! The least that holds them up: apt's daily services wait for a lock of their own by themselves (an hour, then until the
//! next day), so the lock is held. Others have none, and their timers are stopped. Both is done by one unit of systemd's,
//! which ends by itself, also if we are gone, and starts again what it has stopped. A boot ends it, too: so another one with the
//! same content lies ready, which systemd starts before any timer, and only while something is owed. Nothing is disabled or
//! masked.

use super::place::DIRECTORY;
use super::units;
use crate::program::{Program, is_stopped};
use std::fs::Permissions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The unit.
pub(super) const UNIT: &str = "palisade-updaters-wait.service";
/// The same after a boot in the middle of a job.
const BOOT_UNIT: &str = "palisade-updaters-wait-boot.service";
/// Where an administrator's units are.
const UNITS: &str = "/etc/systemd/system";
/// What wants it: the target that brings up all timers.
const WANTED_BY: &str = "timers.target.wants";
/// apt's own timers take this lock while they work (unattended-upgrades runs under it), and wait for it.
const DAILY_LOCK: &str = "/var/lib/apt/daily_lock";
/// How long those at work are waited for. Then dpkg's own lock decides.
const DAILY_WITHIN: Duration = Duration::from_secs(600);
/// apt's timers: what they begin waits for the lock.
const WAITING: [&str; 2] = ["apt-daily.timer", "apt-daily-upgrade.timer"];
/// Timers of updaters that wait for nothing.
const STOPPED: [&str; 5] = [
    "dnf-automatic.timer",
    "dnf-automatic-install.timer",
    "dnf-automatic-download.timer",
    "dnf-automatic-notifyonly.timer",
    "dnf5-automatic.timer",
];
/// A service that installs when somebody asks it: people's own doing, which no timer begins.
const ASKED: &str = "packagekit.service";

/// Has them wait, for at most `seconds`. What could not be held up is told: the package manager's own lock decides then.
pub(super) fn hold(plan: &str, seconds: u64, told: &mut Vec<String>) {
    if is_held() {
        return;
    }
    let active = active();
    let of = |names: &[&str]| -> Vec<String> {
        active.iter().filter(|unit| names.contains(&unit.as_str())).cloned().collect()
    };
    let (waiting, stopped) = (of(&WAITING), of(&STOPPED));
    if !of(&[ASKED]).is_empty() {
        told.push(format!("{ASKED} runs; who asks it to install something is not held up by us"));
    }
    let is_apt = Path::new(DAILY_LOCK).parent().is_some_and(Path::is_dir);
    if !is_apt && stopped.is_empty() {
        return;
    }
    if is_apt && !is_free(told) {
        return;
    }
    let mut run = Program::new("systemd-run")
        .args(["--quiet", "--collect", "--property=Type=exec"])
        .arg(format!("--unit={UNIT}"))
        .arg(format!("--description=Palisade: the host's own updaters wait for plan {plan}"))
        .arg(format!("--property=RuntimeMaxSec={seconds}"));
    if !stopped.is_empty() {
        let names = stopped.join(" ");
        run = run
            .arg(format!("--property=Conflicts={names}"))
            .arg(format!("--property=After={names}"))
            .arg(format!("--property=ExecStopPost=systemctl start --no-block {names}"));
    }
    let lock: &[&str] = if is_apt { &["flock", "--nonblock", DAILY_LOCK] } else { &[] };
    if let Err(problem) = lie_ready(Path::new(UNITS), &boot_unit(plan, seconds, lock, &stopped)) {
        told.push(format!("the host's own updaters are not held up if it boots meanwhile: {problem}"));
    }
    match run.args(lock.iter().copied()).args(["sleep", "infinity"]).run_ok() {
        Ok(_) => {
            let names = [waiting, stopped].concat().join(", ");
            let names = if names.is_empty() { "none is set to run by itself".to_owned() } else { names };
            told.push(format!("the host's own updaters wait until the job is over: {names}"));
        }
        Err(problem) => told.push(format!("the host's own updaters are not held up: {problem}")),
    }
}

/// They go on. Errors, in words, where they cannot be let go.
pub fn release() -> Result<(), String> {
    withdraw(Path::new(UNITS)).map_err(|problem| format!("{UNITS}/{BOOT_UNIT}: {problem}"))?;
    for unit in [UNIT, BOOT_UNIT].into_iter().filter(|unit| units::runs(unit)) {
        Program::new("systemctl").args(["stop", unit]).run_ok().map_err(|problem| problem.to_string())?;
    }
    Ok(())
}

/// Whether they wait for us.
fn is_held() -> bool {
    units::runs(UNIT) || units::runs(BOOT_UNIT)
}

/// What holds them up after a boot: before any timer, and for no longer than before it.
fn boot_unit(plan: &str, seconds: u64, lock: &[&str], stopped: &[String]) -> String {
    let (hold, names) = (lock.join(" "), stopped.join(" "));
    // A timer that is being started is not started then.
    let stops = if stopped.is_empty() {
        String::new()
    } else {
        format!(
            "ExecStartPre=-systemctl stop --no-block {names}\nExecStopPost=-systemctl start --no-block {names}\n"
        )
    };
    format!(
        "# Written by palisade while a job is under way; gone when it is over.\n\
         [Unit]\n\
         Description=Palisade: the host's own updaters wait for plan {plan}, after a boot\n\
         ConditionPathExists={DIRECTORY}/owed.json\n\
         DefaultDependencies=no\n\
         After=local-fs.target\n\
         Before=timers.target {names}\n\
         Conflicts=shutdown.target\n\
         [Service]\n\
         Type=exec\n\
         {stops}\
         ExecStart={hold} sleep infinity\n\
         RuntimeMaxSec={seconds}\n"
    )
}

/// Puts it where systemd finds it at the next boot. It need not be read before.
fn lie_ready(units: &Path, text: &str) -> io::Result<()> {
    let wants = units.join(WANTED_BY);
    std::fs::create_dir_all(&wants)?;
    let file = tempfile::NamedTempFile::new_in(units)?;
    file.as_file().write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(units.join(BOOT_UNIT))?;
    match std::os::unix::fs::symlink(units.join(BOOT_UNIT), wants.join(BOOT_UNIT)) {
        Err(problem) if problem.kind() != ErrorKind::AlreadyExists => Err(problem),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Takes it away.
fn withdraw(units: &Path) -> io::Result<()> {
    for path in [units.join(WANTED_BY).join(BOOT_UNIT), units.join(BOOT_UNIT)] {
        match std::fs::remove_file(path) {
            Err(problem) if problem.kind() != ErrorKind::NotFound => return Err(problem),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Which of the units known here are active.
fn active() -> Vec<String> {
    let listed = Program::new("systemctl")
        .args(["list-units", "--plain", "--no-legend", "--state=active"])
        .args(WAITING.iter().chain(&STOPPED).copied())
        .arg(ASKED)
        .run_ok();
    let text = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Whether apt's daily work is not under way; it is waited for.
fn is_free(told: &mut Vec<String>) -> bool {
    let opened = std::fs::OpenOptions::new().create(true).write(true).truncate(false).open(DAILY_LOCK);
    let Ok(file) = opened else { return true };
    let end = Instant::now() + DAILY_WITHIN;
    while file.try_lock().is_err() {
        if is_stopped() || Instant::now() >= end {
            told.push("apt's daily work did not end; dpkg's own lock decides".to_owned());
            return false;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_updaters_up_after_a_boot_lies_ready_while_something_is_owed_and_is_gone_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let lock = ["flock", "--nonblock", DAILY_LOCK];
        let text = boot_unit("0192", 600, &lock, &["dnf-automatic.timer".to_owned()]);
        for line in [
            "ConditionPathExists=/var/lib/palisade-hand/owed.json",
            "Before=timers.target dnf-automatic.timer",
            "ExecStartPre=-systemctl stop --no-block dnf-automatic.timer",
            "ExecStart=flock --nonblock /var/lib/apt/daily_lock sleep infinity",
            "ExecStopPost=-systemctl start --no-block dnf-automatic.timer",
            "RuntimeMaxSec=600",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!boot_unit("0192", 600, &lock, &[]).contains("systemctl"));
        // Twice: the second time of another order of the same job.
        for _ in 0..2 {
            lie_ready(directory.path(), &text).unwrap();
        }
        let wanted = directory.path().join(WANTED_BY).join(BOOT_UNIT);
        assert_eq!(std::fs::read_to_string(&wanted).unwrap(), text);
        for _ in 0..2 {
            withdraw(directory.path()).unwrap();
        }
        assert!(!wanted.is_symlink() && !directory.path().join(BOOT_UNIT).exists());
    }
}
