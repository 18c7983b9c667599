//! `palisade agent`: this host's part in a fleet.

mod census;
mod hand;
mod orders;

use crate::EXIT_USAGE;
use agent::apt::Network;
use agent::enrol::{Enrolment, enrol};
use agent::identity::Validity;
use agent::program::{self, Program};
use agent::settings::{self, Settings};
use agent::state::{self, DIRECTORY, State};
use agent::{Config, Contact, Ended, Told};
use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueHint};
use jiff::Timestamp;
use std::fmt::Write as _;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The host is out of touch with its server.
const EXIT_OUT_OF_TOUCH: u8 = 1;
/// The host was revoked: it is no longer part of the fleet (`EX_NOPERM` of sysexits.h).
const EXIT_REVOKED: u8 = 77;
/// The agent's directory cannot be used (`EX_CONFIG` of sysexits.h).
const EXIT_STATE: u8 = 78;

/// The service that runs the agent.
const UNIT: &str = "palisade-agent.service";
/// Where a unit is that was put there by hand; a package's own lies elsewhere, and goes with the package.
const HAND_MADE_UNIT: &str = "/etc/systemd/system/palisade-agent.service";
/// Bytes of a token, and of an authority's certificates, that are read: 1 MiB, far more than either has.
const INPUT_BYTES_MAX: u64 = 1 << 20;

/// What to do with this host's agent.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Make this host part of a fleet
    Enroll(Enroll),
    /// Look at this host and tell the server what changed, until stopped
    Run(Run),
    /// Tell how this host stands with its server
    Status(Status),
    /// Say whose signatures count here, where the fleet had no root yet when this host was enrolled
    Trust(hand::Trust),
    /// Show the web logs that are followed, or would be
    Census(census::Census),
    /// Make this host no part of a fleet any more
    Uninstall(Uninstall),
    /// Answer an order of the agent's, as root
    #[command(hide = true)]
    Hand(hand::Hand),
    /// Carry out the order that was verified last, as root
    #[command(hide = true)]
    Deed(hand::Deed),
    /// Wait until the new agent is heard, and take it back if it is not, as root
    #[command(hide = true)]
    Watchdog,
    /// Take the new agent back now, as root
    #[command(hide = true)]
    Restore,
}

/// Makes a key, which never leaves this host, and has the server give a certificate for it. The token is good once; its
/// second half is the fingerprint of the server's authority, so that no impostor can take the server's place.
#[derive(Debug, Args)]
#[command(after_long_help = ENROLL_AFTER)]
pub(crate) struct Enroll {
    /// The server: https://HOST, or with :PORT (8471)
    #[arg(long, value_name = "URL")]
    server: String,

    /// The token, as the server printed it; "-" reads it from standard input
    #[arg(long, value_name = "TOKEN", env = "PALISADE_TOKEN", hide_env_values = true)]
    token: String,

    /// The certificates of the server's authority (PEM), where the token does not name it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    authority: Option<PathBuf>,

    #[command(flatten)]
    state: Directory,

    /// What this host calls itself [default: its host name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Do not start the service
    #[arg(long)]
    no_start: bool,
}

const ENROLL_AFTER: &str = "\
Exit codes:
  0   this host is enrolled
  64  the command line is wrong
  70  it could not be enrolled
  78  the agent's directory cannot be used

Examples:
  sudo palisade agent enroll --server https://centre.example:8471 --token SECRET.FINGERPRINT
  sudo palisade agent enroll --server https://10.0.0.5 --token - < token
  palisade agent enroll --server https://localhost --token SECRET --authority ca.pem --state ./agent";

/// Checks in about once a minute with a few hundred bytes; sends more only when something changed. Verifies signed plans and
/// answers orders, as far as its settings allow. It only reads on this host, and writes nothing but its own directory; with
/// hand = "apt" in its settings it asks palisade-hand, which is root, to install what approvers have signed. Started by the
/// service palisade-agent.
#[derive(Debug, Args)]
#[command(after_long_help = RUN_AFTER)]
pub(crate) struct Run {
    #[command(flatten)]
    state: Directory,

    /// Ask no archive: use only what is on this machine
    #[arg(long)]
    offline: bool,

    /// What this host's owner allows
    #[arg(long, value_name = "FILE", default_value = settings::FILE, value_hint = ValueHint::FilePath)]
    settings: PathBuf,
}

const RUN_AFTER: &str = "\
Exit codes:
  0   stopped
  64  the command line is wrong
  70  it could not run
  77  the server revoked this host; starting again does not help
  78  this host is not enrolled, or the agent's directory or its settings cannot be used

Examples:
  sudo systemctl enable --now palisade-agent       as a service, with next to no rights
  sudo palisade agent run                          in the foreground
  palisade agent run --state ./agent --offline";

/// Tells who this host is, who its server is, when they last spoke, and what waits to be sent; which plan it carries out,
/// where that stands and why it waits; and who may tell it what to install.
#[derive(Debug, Args)]
#[command(after_long_help = STATUS_AFTER)]
pub(crate) struct Status {
    #[command(flatten)]
    state: Directory,

    /// Print it for programs
    #[arg(long)]
    json: bool,
}

const STATUS_AFTER: &str = "\
Exit codes:
  0   the agent runs, and the server answered its last check-in
  1   it does not run, or is out of touch, quarantined or revoked
  64  the command line is wrong
  78  this host is not enrolled, or the agent's directory cannot be used

Examples:
  sudo palisade agent status
  sudo palisade agent status --json | jq .status.contact";

/// Stops the service and removes the agent's directory, the host's key with it. What the server knows of this host stays
/// there until it is removed there too.
#[derive(Debug, Args)]
#[command(after_long_help = UNINSTALL_AFTER)]
pub(crate) struct Uninstall {
    #[command(flatten)]
    state: Directory,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

const UNINSTALL_AFTER: &str = "\
Exit codes:
  0   nothing of the agent is left but the program
  1   you said no
  64  the command line is wrong, or there is nobody to ask
  70  something could not be removed

Examples:
  sudo palisade agent uninstall
  sudo palisade agent uninstall --yes";

/// The agent's directory.
#[derive(Debug, Args)]
struct Directory {
    /// The agent's directory
    #[arg(long = "state", value_name = "DIR", default_value = DIRECTORY, value_hint = ValueHint::DirPath)]
    path: PathBuf,
}

pub(crate) fn run(command: &AgentCommand) -> Result<ExitCode> {
    let ended = match command {
        AgentCommand::Enroll(arguments) => enroll(arguments),
        AgentCommand::Run(arguments) => work(arguments),
        AgentCommand::Status(arguments) => status(arguments),
        AgentCommand::Trust(arguments) => hand::trust(arguments),
        AgentCommand::Census(arguments) => census::run(arguments),
        AgentCommand::Uninstall(arguments) => uninstall(arguments),
        AgentCommand::Hand(arguments) => hand::hand(arguments),
        AgentCommand::Deed(arguments) => Ok(hand::deed(arguments)),
        AgentCommand::Watchdog => Ok(hand::watchdog()),
        AgentCommand::Restore => Ok(hand::restore()),
    };
    ended.or_else(|problem| exit_code(&problem).ok_or(problem))
}

/// Tells a directory that cannot be used, and how such an end is told; `None` for every other problem.
fn exit_code(problem: &anyhow::Error) -> Option<ExitCode> {
    let state = problem.chain().find_map(|cause| cause.downcast_ref::<state::Error>())?;
    let is_unusable = match state {
        state::Error::NotEnrolled(_)
        | state::Error::HalfThere(_)
        | state::Error::Loose { .. }
        | state::Error::Foreign { .. }
        | state::Error::Broken { .. } => true,
        state::Error::Busy(_) | state::Error::Strange { .. } | state::Error::System { .. } => false,
    };
    is_unusable.then(|| {
        eprintln!("palisade: agent: {state}");
        ExitCode::from(EXIT_STATE)
    })
}

fn enroll(arguments: &Enroll) -> Result<ExitCode> {
    let token = if arguments.token == "-" {
        let mut token = String::new();
        let read = std::io::stdin().lock().take(INPUT_BYTES_MAX).read_to_string(&mut token);
        read.context("read the token from standard input")?;
        token
    } else {
        arguments.token.clone()
    };
    let authority = arguments.authority.as_deref().map(read_authority).transpose()?;
    let state = State::create(&arguments.state.path)?;
    let asked = Enrolment {
        server: &arguments.server,
        token: &token,
        authority: authority.as_deref(),
        name: arguments.name.as_deref(),
        root: Path::new("/"),
    };
    let joined = enrol(&state, &asked)?;
    println!("enrolled at {} as host {}", joined.identity.server, joined.identity.host);
    hand::introduce(&joined, &arguments.state.path)?;
    if !arguments.no_start && is_service(&arguments.state.path) {
        systemctl(&["enable", "--now"]).context("start the service; try \"palisade agent run\"")?;
        println!("started {UNIT}");
    } else {
        println!("next: palisade agent run{}", option(&arguments.state.path));
    }
    Ok(ExitCode::SUCCESS)
}

fn read_authority(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(INPUT_BYTES_MAX).read_to_string(&mut text));
    read.with_context(|| format!("read the authority's certificates from {}", path.display()))?;
    Ok(text)
}

fn work(arguments: &Run) -> Result<ExitCode> {
    let settings = match Settings::read(&arguments.settings) {
        Ok(settings) => settings,
        // A veto that cannot be read is not passed over.
        Err(problem) => {
            eprintln!("palisade: agent: {problem}");
            return Ok(ExitCode::from(EXIT_STATE));
        }
    };
    let mut config = Config::new(&arguments.state.path, settings);
    if arguments.offline {
        config.network = Network::None;
    }
    // The journal takes a line's urgency from its beginning (sd-daemon(3)); a person is spared that.
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let mut log = |told: Told| {
        let urgency = match (to_journal, told.is_problem()) {
            (false, _) => "",
            (true, true) => "<4>",
            (true, false) => "<6>",
        };
        // One line each, whatever a server says.
        let line = told.to_string().replace(|letter: char| letter.is_control(), " ");
        // Nobody reading is no reason to stop.
        let _ = writeln!(std::io::stderr(), "{urgency}palisade: agent: {line}");
    };
    Ok(match agent::run(config, &program::stop(), &mut log)? {
        Ended::Stopped => ExitCode::SUCCESS,
        Ended::Revoked(_) => ExitCode::from(EXIT_REVOKED),
    })
}

fn status(arguments: &Status) -> Result<ExitCode> {
    let state = State::open(&arguments.state.path)?;
    let identity = state.identity()?;
    let validity = identity.validity()?;
    let is_running = match state.lock() {
        Ok(_) => false,
        Err(state::Error::Busy(_)) => true,
        Err(problem) => return Err(problem.into()),
    };
    let told = agent::status(&state);
    let text = if arguments.json {
        let value = serde_json::json!({
            "schema": "palisade.agent-status/1",
            "state": state.directory(),
            "host": identity.host,
            "server": identity.server,
            "certificate_until": validity.until,
            "renew_at": validity.renew_at(),
            "running": is_running,
            "status": told,
        });
        serde_json::to_string_pretty(&value)? + "\n"
    } else {
        let head = [
            ("host", identity.host),
            ("server", identity.server),
            ("directory", state.directory().display().to_string()),
        ];
        lines(&head, validity, is_running, told.as_ref())
    };
    std::io::stdout().write_all(text.as_bytes())?;
    let in_touch = is_running && told.is_some_and(|told| told.contact == Contact::InTouch);
    Ok(if in_touch { ExitCode::SUCCESS } else { ExitCode::from(EXIT_OUT_OF_TOUCH) })
}

fn lines(
    head: &[(&str, String)],
    validity: Validity,
    is_running: bool,
    told: Option<&agent::Status>,
) -> String {
    let mut rows: Vec<(&str, String)> = head.to_vec();
    rows.push((
        "certificate",
        format!("until {:.0}, renewed from {:.0}", validity.until, validity.renew_at()),
    ));
    let contact = told.map_or(Contact::Never, |told| told.contact);
    rows.push(("agent", if is_running { "running" } else { "not running" }.to_owned()));
    rows.push(("contact", contact.to_string()));
    let at = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| format!("{at:.0}"));
    if let Some(told) = told {
        rows.push(("last answer", at(told.answered)));
        rows.push(("last try", at(told.tried)));
        rows.push(("last look", at(told.looked)));
        let dropped = match told.dropped {
            0 => String::new(),
            dropped => format!(", {dropped} dropped"),
        };
        rows.push(("to be sent", format!("{} reports{dropped}", told.waiting)));
        if told.clock_ahead_seconds != 0 {
            rows.push(("clock", format!("{}: set it", agent::apart(told.clock_ahead_seconds))));
        }
        if !told.said.is_empty() {
            rows.push(("said", told.said.clone()));
        }
        if let Some(problem) = &told.problem {
            rows.push(("problem", problem.to_string()));
        }
        if let Some(job) = &told.job {
            rows.extend(orders::rows(job));
        }
        if let Some(status) = &told.census {
            rows.extend(census::rows(status));
        }
    }
    let mut text = String::new();
    for (name, value) in rows {
        // A terminal is not to obey what a server said.
        let value = value.replace(|letter: char| letter.is_control(), " ");
        let _ = writeln!(text, "{name:<12} {value}");
    }
    text
}

fn uninstall(arguments: &Uninstall) -> Result<ExitCode> {
    let path = &arguments.state.path;
    let state = match State::open(path) {
        Ok(state) => state,
        Err(state::Error::NotEnrolled(_)) => {
            println!("{}: nothing there", path.display());
            return Ok(ExitCode::SUCCESS);
        }
        Err(problem) => return Err(problem.into()),
    };
    let host = state.identity().map(|identity| (identity.host, identity.server));
    if !arguments.yes {
        if !std::io::stdin().is_terminal() {
            eprintln!("palisade: agent: there is nobody to ask; say --yes");
            return Ok(ExitCode::from(EXIT_USAGE));
        }
        eprint!("remove {} and the host's key in it? [y/N] ", path.display());
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Ok(ExitCode::from(EXIT_OUT_OF_TOUCH));
        }
    }
    if is_service(path) {
        systemctl(&["disable", "--now"]).context("stop the service")?;
        println!("stopped {UNIT}");
        if Path::new(HAND_MADE_UNIT).is_file() {
            std::fs::remove_file(HAND_MADE_UNIT).with_context(|| format!("remove {HAND_MADE_UNIT}"))?;
            println!("removed {HAND_MADE_UNIT}");
        }
    }
    let lock = state.lock()?;
    state.wipe()?;
    drop(lock);
    println!("removed {}", path.display());
    hand::forget(path)?;
    if let Ok((host, server)) = host {
        println!("{server} still knows this host; there: palisade host remove {host} --reason uninstalled");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether systemd runs this machine, and has the agent's unit, which works on the directory `state`.
fn is_service(state: &Path) -> bool {
    state == Path::new(DIRECTORY)
        && Path::new("/run/systemd/system").is_dir()
        && Program::new("systemctl").args(["cat", UNIT]).run_ok().is_ok()
}

fn systemctl(arguments: &[&str]) -> Result<(), program::Error> {
    let program = Program::new("systemctl").args(arguments.iter().copied()).arg(UNIT);
    program.run_ok().map(|_| ())
}

fn option(state: &Path) -> String {
    if state == Path::new(DIRECTORY) { String::new() } else { format!(" --state {}", state.display()) }
}
