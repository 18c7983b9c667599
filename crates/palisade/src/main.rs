//! The `palisade` program: parses the command line, runs one command, tells how it ended.

mod cli;
mod command;
mod output;
mod terminal;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

/// The command line is wrong (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;
/// The command itself failed (`EX_SOFTWARE`).
const EXIT_FAILED: u8 = 70;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(problem) => {
            // Help and version come this way too; they go to standard output and are no error.
            let usage = problem.use_stderr();
            if problem.print().is_err() {
                return ExitCode::from(EXIT_FAILED);
            }
            return if usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let ended = match cli.command {
        Command::Check(arguments) => command::check::run(&arguments),
        Command::Completions { shell } => command::shell::completions(shell),
        Command::Man { directory } => command::shell::man(&directory),
    };
    ended.unwrap_or_else(|problem| {
        // A closed pipe (`palisade check | head`) is the reader's decision, not a failure.
        if terminal::is_closed_pipe(&problem) {
            return ExitCode::SUCCESS;
        }
        eprintln!("palisade: {problem:#}");
        ExitCode::from(EXIT_FAILED)
    })
}
