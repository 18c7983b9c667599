//! Manners on a terminal: progress only where somebody looks, colour only where it is wanted.

use crate::cli::Colour;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// A person broke off where an answer was waited for.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Work shorter than this shows no progress.
const QUIET_FOR: Duration = Duration::from_millis(500);

/// A line on standard error that tells what is being done; silent off a terminal, when asked to be, and at first.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    started: Instant,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is ours");
            bar.set_style(style);
            bar
        });
        Self { bar, started: Instant::now() }
    }

    /// Tells what is being done now.
    pub(crate) fn tell(&self, what: &str) {
        let Some(bar) = &self.bar else { return };
        if self.started.elapsed() >= QUIET_FOR && bar.is_hidden() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        bar.set_message(what.to_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Whether to colour standard output.
pub(crate) fn colours(wanted: Colour) -> bool {
    match wanted {
        Colour::Always => true,
        Colour::Never => false,
        // https://no-color.org: set and not empty.
        Colour::Auto => {
            std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// Columns of the terminal on standard output, or of `COLUMNS`; `None` where output is not for a person's eyes, so
/// that nothing is wrapped in a file.
pub(crate) fn width() -> Option<u16> {
    let stated = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    if !std::io::stdout().is_terminal() {
        return stated;
    }
    stated
        .or_else(|| rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col))
        .or(Some(80))
}

/// Whether the reader of our output went away.
pub(crate) fn is_closed_pipe(problem: &anyhow::Error) -> bool {
    problem
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Asks for yes or no. Where nobody can answer, it is refused with what to say instead.
pub(crate) fn confirm(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("{question} Nobody is there to answer; say --yes");
    }
    eprint!("{question} [y/N] ");
    // Ctrl-C is heard while nobody answers.
    let stdin = std::io::stdin();
    let within = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    while poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&within)).unwrap_or_default() == 0 {
        if agent::program::is_stopped() {
            return Err(Interrupted.into());
        }
    }
    let mut line = String::new();
    stdin.read_line(&mut line).context("read the answer")?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Reads a passphrase from the terminal, without showing it.
pub(crate) fn passphrase(question: &str) -> Result<Zeroizing<String>> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("read a passphrase: standard input is no terminal; give it with --passphrase-file");
    }
    let before = tcgetattr(&stdin).context("read a passphrase")?;
    let mut quiet = before.clone();
    // Without signals too: they would end us while the terminal shows nothing.
    quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    eprint!("{question}");
    tcsetattr(&stdin, OptionalActions::Now, &quiet).context("read a passphrase")?;
    let read = typed();
    let restored = tcsetattr(&stdin, OptionalActions::Now, &before);
    eprintln!();
    restored.context("show again what is typed")?;
    read
}

/// A line from a terminal that gives every key as it is.
fn typed() -> Result<Zeroizing<String>> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    // Room for all at once: one that grows would leave copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(4_096));
    loop {
        let mut byte = [0];
        if rustix::io::read(std::io::stdin(), &mut byte).context("read a passphrase")? == 0 {
            break;
        }
        match byte[0] {
            INTERRUPT => return Err(Interrupted.into()),
            END | b'\n' | b'\r' => break,
            0x08 | 0x7f => {
                // A whole letter, which may have several bytes.
                while line.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {}
            }
            _ if line.len() == line.capacity() => bail!("read a passphrase: it is too long"),
            byte => line.push(byte),
        }
    }
    let text = std::str::from_utf8(&line).context("read a passphrase")?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Whether a screen can be drawn: a terminal on both sides that knows how to move its cursor.
pub(crate) fn is_screen() -> bool {
    std::io::stdout().is_terminal()
        && std::io::stdin().is_terminal()
        && std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}
