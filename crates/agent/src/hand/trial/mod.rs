//! The agent on trial: its own package was changed, and whether the new one still does its work, nobody on the host can say.
//!
//! The centre can: it signs that it heard this host, in answer to a number that the new package's own half drew. Until then
//! the previous program, kept here, watches from a unit of its own (`watchdog`), and takes the new one back when the time that
//! approvers have signed is over. Nothing that the new package brought is needed for that.

mod watchdog;

pub use watchdog::{restore, watch};

use super::order::{Deed, Line, Order};
use super::{boot, place::Place, restart::AGENT_UNIT};
use crate::job::clock;
use crate::program::Program;
use crate::state::{DIRECTORY, JOURNAL};
use advisory::Problem;
use jiff::Timestamp;
use rollout::order::Direction;
use rollout::plan::check::agent::PACKAGE;
use rollout::plan::{Digest, HostClass, Plan, PlanId};
use serde::{Deserialize, Serialize};
use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use trust::{Fetch, Trusted};

/// What is on trial.
const TRIAL: &str = "trial.json";
/// That it was heard.
const HEARD: &str = "heard.json";
/// The journal as the previous program wrote it last.
const PREVIOUS: &str = "previous";
const PREVIOUS_JOURNAL: &str = "previous/journal.json";
/// Where the previous program lies meanwhile: where programs may be run whatever else is mounted noexec, and where SELinux lets
/// systemd begin them; what installs the new one writes to `/usr`, too.
const PREVIOUS_PROGRAMS: &str = "/usr/libexec/palisade-previous";
/// What watches.
const WATCHDOG_UNIT: &str = "palisade-watchdog.service";
/// Where an administrator's units are: neither a reboot nor a package removes it from there.
const UNITS: &str = "/etc/systemd/system";
/// An agent is stopped within 30 s, and started within 90.
const RESTART_WITHIN: Duration = Duration::from_secs(180);

/// What is on trial. The previous program and the new one read what the other wrote: fields may be added, none may be missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trial {
    plan: PlanId,
    digest: Digest,
    fence: u64,
    began: Timestamp,
    /// The boot in which it began.
    boot: u64,
    /// How long the new agent has to be heard, counted while nothing is carried out.
    seconds: u32,
    /// For people: `palisade 0.3.2`.
    new: String,
    old: String,
    /// The previous program.
    #[serde(default = "before_it_was_told")]
    program: PathBuf,
    /// From when on only the new agent runs: boot and time since boot, milliseconds.
    since: Option<(u64, u64)>,
    /// How often it was begun to take it back.
    restores: u32,
    ended: Option<Timestamp>,
}

/// Where agents that did not tell kept it.
fn before_it_was_told() -> PathBuf {
    Path::new(super::place::DIRECTORY).join("previous/palisade")
}

/// That the new agent was heard: what the new package's half writes, and nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Heard {
    /// Which trial.
    began: Timestamp,
    at: Timestamp,
}

impl Trial {
    /// The one that is under way.
    fn open(place: &Place) -> Result<Option<Self>, Problem> {
        Ok(place.read::<Self>(TRIAL)?.filter(|trial| trial.ended.is_none()))
    }

    fn is_of(&self, order: &Order) -> bool {
        (self.digest, self.fence) == (order.digest, order.fence)
    }

    fn was_heard(&self, place: &Place) -> bool {
        place.read::<Heard>(HEARD).is_ok_and(|heard| heard.is_some_and(|heard| heard.began == self.began))
    }

    /// The order that takes it back.
    fn order(&self) -> Order {
        Order {
            deed: Deed::Revert,
            plan: self.plan,
            digest: self.digest,
            fence: self.fence,
            direction: Direction::Back,
            word: None,
            clearance: None,
        }
    }

    /// Whether a number drawn at `drawn_ms` in boot `boot` was drawn for the new agent.
    fn counts(&self, boot: u64, drawn_ms: u64) -> bool {
        match self.since {
            Some((since_boot, since_ms)) => boot != since_boot || drawn_ms >= since_ms,
            // Whoever ran before has not outlived the boot.
            None => boot != self.boot,
        }
    }

    fn ended_now(self) -> Self {
        Self { ended: Some(Timestamp::now()), ..self }
    }

    fn keep(&self, place: &Place) -> Result<(), Problem> {
        place.write(TRIAL, self)
    }
}

/// Whether the agent of this directory is on trial and was not heard yet: for the half that may only read.
pub(crate) fn is_open(directory: &Path) -> bool {
    fn read<T: serde::de::DeserializeOwned>(path: PathBuf) -> Option<T> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
    let Some(trial) = read::<Trial>(directory.join(TRIAL)) else { return false };
    let heard: Option<Heard> = read(directory.join(HEARD));
    trial.ended.is_none() && heard.is_none_or(|heard| heard.began != trial.began)
}

/// Before the agent's own package is changed: keeps the program that runs, and has it watch. Errors where that cannot be;
/// then nothing is changed. For other packages it does nothing.
pub(super) fn begin(place: &Place, order: &Order, plan: &Plan, class: &HostClass) -> Result<(), Problem> {
    if !class.changes_agent() {
        return Ok(());
    }
    let failed = |what: &str, problem: &dyn std::fmt::Display| {
        order
            .refused(format!("{what}: {problem}"))
            .remedy("nothing was changed; a new agent is not begun without a way back")
    };
    match Trial::open(place)? {
        // Begun again after it was cut short: what runs now may be the new program.
        Some(trial) if trial.is_of(order) => {
            return watch_over(&trial.program).map_err(|problem| failed("watch", &problem));
        }
        Some(trial) => return Err(failed("the agent is on trial", &trial.new)),
        None => {}
    }
    let program = keep_program().map_err(|problem| failed("keep the program that runs", &problem))?;
    let runs = Program::new(&program).arg("--version").run_ok();
    runs.map_err(|problem| failed("run the program that was kept (is /usr mounted noexec?)", &problem))?;
    let folder = place.folder(PREVIOUS).map_err(|problem| failed("keep the agent's journal", &problem))?;
    // Of an earlier trial: what is put back is of this one.
    let _ = std::fs::remove_file(folder.join("journal.json"));
    let agent = Path::new(DIRECTORY).join(JOURNAL);
    if let Ok(journal) = std::fs::read(agent) {
        place.keep(PREVIOUS_JOURNAL, &journal)?;
    }
    let change = class.changes.iter().find(|change| change.name == PACKAGE);
    let version = |version: Option<&String>| format!("{PACKAGE} {}", version.map_or("?", String::as_str));
    let trial = Trial {
        plan: order.plan,
        digest: order.digest,
        fence: order.fence,
        began: Timestamp::now(),
        boot: boot(),
        seconds: plan.timing.verify_seconds,
        new: version(change.map(|change| &change.to)),
        old: version(change.and_then(|change| change.from.as_ref())),
        program,
        since: None,
        restores: 0,
        ended: None,
    };
    trial.keep(place)?;
    watch_over(&trial.program).map_err(|problem| {
        // Nothing is on trial without anybody who watches.
        let _ = trial.ended_now().keep(place);
        clear_away(place);
        failed("watch", &problem)
    })
}

/// After the agent's own package was changed: from here on only what lies on the disk runs.
pub(super) fn changed(place: &Place, order: &Order, told: &mut Vec<String>) -> Result<(), Problem> {
    let Some(mut trial) = Trial::open(place)?.filter(|trial| trial.is_of(order)) else { return Ok(()) };
    let restarted = Program::new("systemctl").args(["restart", "--", AGENT_UNIT]).deadline(RESTART_WITHIN);
    if let Err(problem) = restarted.run_ok() {
        told.push(format!("the agent did not start: {problem}"));
    }
    trial.since = Some((boot(), clock::uptime_ms()));
    trial.keep(place)
}

/// The agent gives the centre's word that it was heard. It counts if the centre has signed it for this host, in answer to a
/// number that was drawn here since the new agent runs.
pub(super) fn heard(place: &Place, word: &str, source: Arc<Line>, now: Timestamp) -> Result<(), Problem> {
    let refused = |reason: String| {
        Problem::new("take the centre's word that it heard", "this host", reason)
            .remedy("the next check-in asks for it again")
    };
    let trial = Trial::open(place)?.ok_or_else(|| refused("no agent is on trial".to_owned()))?;
    let source: Arc<dyn Fetch> = source;
    let trusted = Trusted::open(&place.trust(), source);
    let mut trusted = trusted.map_err(|problem| refused(problem.to_string()))?;
    // The newest root, if it can be had; otherwise the one that is remembered decides.
    let _ = trusted.update(now);
    let said = trusted.heard(word.as_bytes(), now).map_err(|problem| refused(problem.to_string()))?;
    if said.host != place.host()?.host {
        return Err(refused("it is about another host".to_owned()));
    }
    let drawn = place.nonces()?.drawn_ms(said.nonce, boot());
    if !drawn.is_some_and(|drawn| trial.counts(boot(), drawn)) {
        return Err(refused("it answers no question that was asked since the new agent runs".to_owned()));
    }
    place.write(HEARD, &Heard { began: trial.began, at: now })?;
    let after = now.duration_since(trial.began).as_secs();
    place.tell_last(
        &trial.order(),
        format!("{} was heard by the centre {after} s after it was begun", trial.new),
    )
}

/// The program that runs, copied to where no package replaces it.
fn keep_program() -> io::Result<PathBuf> {
    let folder = Path::new(PREVIOUS_PROGRAMS);
    std::fs::create_dir_all(folder)?;
    // Not by its path: that may be another program by now.
    let mut running = std::fs::File::open("/proc/self/exe")?;
    let path = folder.join("palisade");
    put(&mut running, &path, 0o700)?;
    Ok(path)
}

/// Copies a program to a path, in one step.
fn put(from: &mut std::fs::File, path: &Path, mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut copy = tempfile::NamedTempFile::new_in(folder)?;
    io::copy(from, &mut copy)?;
    copy.as_file().set_permissions(Permissions::from_mode(mode))?;
    copy.as_file().sync_all()?;
    copy.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

/// What systemd is to run until the trial is over, also after a reboot.
fn unit(program: &Path) -> String {
    format!(
        "# Written by palisade while a new agent is on trial; gone when it is over.\n\
         [Unit]\nDescription=Palisade: takes a new agent back unless it is heard\n\n\
         [Service]\nType=exec\nExecStart={} agent watchdog\nRestart=on-failure\nRestartSec=5\n\
         PrivateNetwork=yes\nProtectHome=yes\nNoNewPrivileges=yes\nUMask=0077\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        program.display()
    )
}

/// Has systemd run the previous program. Errors, too, where systemd may not.
fn watch_over(program: &Path) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(UNITS)?;
    file.write_all(unit(program).as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(Path::new(UNITS).join(WATCHDOG_UNIT))?;
    for arguments in
        [&["daemon-reload"][..], &["enable", "--quiet", WATCHDOG_UNIT], &["restart", WATCHDOG_UNIT]]
    {
        let run = Program::new("systemctl").args(arguments.iter().copied()).run_ok();
        run.map_err(io::Error::other)?;
    }
    Ok(())
}

/// Removes what watched, and what it kept for that.
fn clear_away(place: &Place) {
    retire();
    let _ = std::fs::remove_dir_all(place.path(PREVIOUS));
}

/// Removes what watched. Called where nothing is on trial any more, or the agent is to be no more.
pub fn retire() {
    let file = Path::new(UNITS).join(WATCHDOG_UNIT);
    if file.exists() {
        // What is left behind finds nothing on trial, and ends.
        let _ = Program::new("systemctl").args(["disable", "--quiet", WATCHDOG_UNIT]).run_ok();
        let _ = std::fs::remove_file(file);
        let _ = Program::new("systemctl").arg("daemon-reload").run_ok();
    }
    let _ = std::fs::remove_dir_all(PREVIOUS_PROGRAMS);
}

#[cfg(test)]
mod tests;
