//! `palisade agent census`: which logs of this host are followed, or would be, and how counting stands.

use agent::census::{CensusStatus, Followed, Logs};
use agent::settings::{self, Settings};
use agent::state::State;
use anyhow::Result;
use clap::{Args, ValueHint};
use jiff::Timestamp;
use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Something is not followed, or cannot be read by whoever asks.
const EXIT_UNFOLLOWED: u8 = 1;

/// Shows the logs that are found in the configurations of nginx and Apache and those that the settings name, who may read
/// them, and what of them cannot be followed and why. Reads, and changes nothing; also before it is switched on. Ask as the
/// user that the agent runs as: sudo -u palisade-agent palisade agent census.
#[derive(Debug, Args)]
#[command(after_long_help = AFTER)]
pub(crate) struct Census {
    #[command(flatten)]
    state: super::Directory,

    /// What this host's owner allows
    #[arg(long, value_name = "FILE", default_value = settings::FILE, value_hint = ValueHint::FilePath)]
    settings: PathBuf,

    /// Print it for programs
    #[arg(long)]
    json: bool,
}

const AFTER: &str = "\
Exit codes:
  0   every log can be followed by whoever asks
  1   some cannot, or there is none
  64  the command line is wrong
  78  the settings cannot be read

Examples:
  palisade agent census
  sudo -u palisade-agent palisade agent census --json | jq '.logs[] | select(.unreadable)'";

pub(super) fn run(arguments: &Census) -> Result<ExitCode> {
    let settings = match Settings::read(&arguments.settings) {
        Ok(settings) => settings.census,
        Err(problem) => {
            eprintln!("palisade: agent: {problem}");
            return Ok(ExitCode::from(super::EXIT_STATE));
        }
    };
    let found = Logs::find(Path::new("/"), &settings);
    // Only the agent's user and root may look into its directory; the logs can be shown to anybody.
    let status = State::open(&arguments.state.path).ok().and_then(|state| agent::status(&state)?.census);
    let text = if arguments.json {
        let value = serde_json::json!({
            "schema": "palisade.agent-census/1",
            "on": settings.on,
            "logs": found.logs,
            "problems": found.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "status": status,
        });
        serde_json::to_string_pretty(&value)? + "\n"
    } else {
        let mut text = head(settings.on, &found.logs);
        found.logs.iter().for_each(|log| lines(log, &mut text));
        for problem in &found.problems {
            let _ = writeln!(text, "not followed  {problem}");
        }
        for (name, value) in status.iter().flat_map(rows) {
            let _ = writeln!(text, "{name:<13} {value}");
        }
        text
    };
    // A terminal is not to obey what stands in somebody's configuration.
    let text = text.replace(|letter: char| letter.is_control() && letter != '\n', " ");
    std::io::stdout().write_all(text.as_bytes())?;
    let is_all = !found.logs.is_empty()
        && found.problems.is_empty()
        && found.logs.iter().all(|log| log.unreadable.is_none());
    Ok(if is_all { ExitCode::SUCCESS } else { ExitCode::from(EXIT_UNFOLLOWED) })
}

fn head(is_on: bool, logs: &[Followed]) -> String {
    let which = match logs.len() {
        0 => "no log was found: name some in [census] logs".to_owned(),
        1 => "1 log".to_owned(),
        many => format!("{many} logs"),
    };
    if is_on {
        return format!("census        on; {which}\n");
    }
    let file = settings::FILE;
    format!("census        off; {which}. \"on = true\" under [census] in {file} would follow:\n")
}

fn lines(log: &Followed, text: &mut String) {
    let readable = match (&log.readable_by, &log.unreadable) {
        (Some(by), None) => by.clone(),
        (Some(by), Some(reason)) => format!("{by}; NOT READABLE here: {reason}"),
        (None, reason) => reason.clone().unwrap_or_default(),
    };
    let _ = writeln!(text, "\n{}", log.path.display());
    let _ = writeln!(text, "  said by     {}", log.by);
    let _ = writeln!(text, "  format      {}", log.format.as_deref().unwrap_or("told by its lines"));
    let _ = writeln!(text, "  readable by {readable}");
}

/// Name and value of each line of a status.
pub(super) fn rows(status: &CensusStatus) -> Vec<(&'static str, String)> {
    let at = |at: Option<Timestamp>| at.map_or("never".to_owned(), |at| format!("{at:.0}"));
    let logs = if status.has_terms {
        format!(
            "{} logs followed, {} hours to be sent, last sent {}",
            status.logs,
            status.waiting,
            at(status.told)
        )
    } else {
        "waits for the server to say how to count; logs lie unread until then".to_owned()
    };
    let mut rows = vec![("census", logs)];
    rows.extend(status.problems.iter().map(|problem| ("not counted", problem.clone())));
    rows
}
