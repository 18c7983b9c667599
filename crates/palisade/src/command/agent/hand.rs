//! `palisade agent hand` and `palisade agent deed`: the half of the agent that is root, as systemd starts it.

use crate::{EXIT_FAILED, EXIT_USAGE};
use agent::enrol::Joined;
use agent::hand::{Place, answer, carry_out};
use agent::settings;
use agent::state::State;
use anyhow::{Context, Result};
use clap::{Args, ValueHint};
use std::io::stdin;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Answers one order of the agent's, on standard input: a connection that systemd took (palisade-hand.socket). Verifies by
/// itself that approvers have signed the plan, that this host's owner allows it and that the server says it is not halted;
/// then has it begun in a unit of its own. Run by hand it says that there is no connection.
#[derive(Debug, Args)]
pub(crate) struct Hand {
    /// What this host's owner allows
    #[arg(long, value_name = "FILE", default_value = settings::FILE, value_hint = ValueHint::FilePath)]
    settings: PathBuf,
}

/// Carries out the order that `palisade agent hand` verified last, in a unit of its own.
#[derive(Debug, Args)]
pub(crate) struct Deed {
    /// What this host's owner allows
    #[arg(long, value_name = "FILE", default_value = settings::FILE, value_hint = ValueHint::FilePath)]
    settings: PathBuf,
}

/// Tells the half that is root, which installs, whose signatures count: takes the root that the server gives and believes it if it has
/// the fingerprint that you bring. Hosts that are enrolled after the fleet's trust was founded need none of this.
#[derive(Debug, Args)]
#[command(after_long_help = TRUST_AFTER)]
pub(crate) struct Trust {
    /// As "palisade key list" shows it where plans are signed: 64 hex digits
    #[arg(value_name = "FINGERPRINT", value_parser = fingerprint)]
    fingerprint: String,
}

const TRUST_AFTER: &str = "\
Exit codes:
  0   the root is believed from now on, and followed
  64  the command line is wrong
  70  it is another root, one is believed already, or it could not be fetched
  78  this host is not enrolled, or the agent's directory cannot be used

Examples:
  palisade key list                          on an approver's machine: shows the fingerprint
  sudo palisade agent trust 9c2b…            on the host";

fn fingerprint(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(text.to_owned());
    }
    Err("a fingerprint has 64 hex digits; \"palisade key list\" shows it".to_owned())
}

pub(super) fn trust(arguments: &Trust) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        anyhow::bail!("say whose signatures count: only root can; try sudo");
    }
    let state = State::open(Path::new(agent::state::DIRECTORY))?;
    let believed = agent::newest_root(&state, jiff::Timestamp::now())
        .and_then(|root| Place::open()?.believe(&root, &arguments.fingerprint));
    match believed {
        Ok(version) => {
            println!("believes root {version}, and follows it");
            Ok(ExitCode::SUCCESS)
        }
        Err(problem) => anyhow::bail!("{problem}"),
    }
}

pub(super) fn hand(arguments: &Hand) -> Result<ExitCode> {
    let connection = stdin().as_fd().try_clone_to_owned().context("take the connection")?;
    if std::io::IsTerminal::is_terminal(&connection) {
        eprintln!("palisade: hand: there is no connection; systemd starts this when the agent asks");
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    Ok(ended(answer(connection, &arguments.settings)))
}

pub(super) fn deed(arguments: &Deed) -> ExitCode {
    ended(carry_out(&arguments.settings))
}

pub(super) fn watchdog() -> ExitCode {
    ended(agent::hand::watch())
}

pub(super) fn restore() -> ExitCode {
    ended(agent::hand::restore())
}

fn ended(done: Result<(), advisory::Problem>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            // One line, whatever a program said.
            let line = problem.to_string().replace(|letter: char| letter.is_control(), " ");
            eprintln!("<4>palisade: hand: {line}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Tells the half that is root who this host is now, by which plans name it, and whose signatures count. Only root can; where the agent is run by
/// somebody else there is no such half.
pub(super) fn introduce(joined: &Joined, state: &Path) -> Result<()> {
    if state != Path::new(agent::state::DIRECTORY) || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let introduced = Place::open().and_then(|place| place.introduce(joined));
    introduced.map_err(|problem| anyhow::anyhow!("{problem}"))
}

/// Removes what the half that is root has kept.
pub(super) fn forget(state: &Path) -> Result<()> {
    let place = Path::new(agent::hand::DIRECTORY);
    if state != Path::new(agent::state::DIRECTORY) || !place.is_dir() {
        return Ok(());
    }
    agent::hand::retire();
    agent::hand::release_updaters()
        .map_err(|problem| anyhow::anyhow!("let the host's own updaters go: {problem}"))?;
    std::fs::remove_dir_all(place).with_context(|| format!("remove {}", place.display()))?;
    println!("removed {}", place.display());
    Ok(())
}
