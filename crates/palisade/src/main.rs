//! The `palisade` program: parses the command line, runs one command, tells how it ended.

mod answers;
mod cli;
mod client;
mod command;
#[cfg(test)]
mod golden;
mod home;
mod output;
mod terminal;
mod terms;

use clap::Parser;
use clap::error::ErrorKind;
use cli::{Cli, Command};
use std::process::ExitCode;

/// The command line is wrong (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;
/// The command itself failed (`EX_SOFTWARE`).
const EXIT_FAILED: u8 = 70;
/// Ended by a person or a supervisor: 128 + SIGINT, as shells tell it.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(problem) => {
            // Help and version come this way too; they go to standard output and are no error.
            let usage = problem.use_stderr();
            if problem.print().is_err() {
                return ExitCode::from(EXIT_FAILED);
            }
            if problem.kind() == ErrorKind::InvalidSubcommand && !cfg!(feature = "server") {
                eprintln!(
                    "\npalisade: this is the program of hosts: commands that run a server or work on its store are not in it"
                );
            }
            return if usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    if let Err(problem) = heed_signals() {
        eprintln!("palisade: signals cannot be heeded: {problem}");
    }
    let ended = match cli.command {
        Command::Check(arguments) => command::check::run(&arguments),
        Command::Census(asking) => command::census::run(&asking),
        #[cfg(feature = "server")]
        Command::Up(arguments) => command::up::run(&arguments),
        #[cfg(feature = "server")]
        Command::Server(settings) => command::serve::server(&settings),
        Command::Login(arguments) => command::ask::login(&arguments),
        Command::Status(asking) => command::ask::status(&asking),
        Command::Host(ask) => command::ask::host(&ask.what, &ask.asking),
        Command::Finding(ask) => command::ask::finding(&ask.what, &ask.asking),
        Command::Advisory(ask) => command::ask::advisory(&ask.what, &ask.asking),
        Command::Feed(ask) => command::ask::feed(&ask.what, &ask.asking),
        Command::Key(ask) => command::key::run(&ask.what, &ask.asking),
        Command::Plan(ask) => command::plan::run(&ask.what, &ask.asking),
        Command::Rollout(ask) => command::rollout::run(&ask.what, &ask.asking),
        Command::Rules(arguments) => command::rules::run(&arguments.what, &arguments.which),
        Command::Alert(ask) => command::alert::run(&ask.what, &ask.asking),
        Command::User(ask) => command::ask::user(&ask.what, &ask.asking),
        Command::Token(ask) => command::ask::token(&ask.what, &ask.asking),
        Command::Audit(ask) => command::audit::run(&ask.what, &ask.asking),
        Command::Authority(what) => command::authority::run(&what),
        #[cfg(feature = "server")]
        Command::Backup { settings, file } => command::serve::backup(&settings, &file),
        #[cfg(feature = "server")]
        Command::Restore { settings, file, new_authority } => {
            command::serve::restore(&settings, &file, new_authority)
        }
        #[cfg(feature = "server")]
        Command::Doctor { settings, json } => command::serve::doctor(&settings, json),
        Command::Agent(command) => command::agent::run(&command),
        Command::Completions { shell } => command::shell::completions(shell),
        Command::Man { directory } => command::shell::man(&directory),
    };
    ended.unwrap_or_else(|problem| {
        if terminal::is_closed_pipe(&problem) {
            return ExitCode::SUCCESS;
        }
        eprintln!("palisade: {}", told(&problem));
        if problem.is::<terminal::Interrupted>() {
            return ExitCode::from(EXIT_INTERRUPTED);
        }
        ExitCode::from(EXIT_FAILED)
    })
}

/// A problem and its causes in a line; a cause that its effect has quoted already is not told again.
fn told(problem: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in problem.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// The first signal lets what runs end in order, so that nothing is left behind; a second one ends at once.
fn heed_signals() -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let stop = agent::program::stop();
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED.into(), stop.clone())?;
        signal_hook::flag::register(signal, stop)?;
    }
    Ok(())
}
