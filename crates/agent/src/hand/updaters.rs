//! A host's own updaters, which wait while a job is under way: what was proven must not change under the proof.
//!
//! The least that holds them up: apt's daily services wait for a lock of their own by themselves (an hour, then until the
//! next day), so the lock is held. Others have none, and their timers are stopped. Both is done by one unit of systemd's,
//! which ends by itself, also if we are gone, and starts again what it has stopped; a boot ends it, too. Nothing is disabled
//! or masked.

use super::units;
use crate::program::{Program, is_stopped};
use std::path::Path;
use std::time::{Duration, Instant};

/// The unit.
pub(super) const UNIT: &str = "palisade-updaters-wait.service";
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
    match run.args(lock.iter().copied()).args(["sleep", "infinity"]).run_ok() {
        Ok(_) => {
            let names = [waiting, stopped].concat().join(", ");
            let names = if names.is_empty() { "none is set to run by itself".to_owned() } else { names };
            told.push(format!("the host's own updaters wait until the job is over: {names}"));
        }
        Err(problem) => told.push(format!("the host's own updaters are not held up: {problem}")),
    }
}

/// They go on.
pub(super) fn release() -> Result<(), String> {
    if !is_held() {
        return Ok(());
    }
    Program::new("systemctl").args(["stop", UNIT]).run_ok().map(|_| ()).map_err(|problem| problem.to_string())
}

/// Whether they wait for us.
fn is_held() -> bool {
    units::is_up(UNIT)
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
