//! Manners on a terminal: progress only where somebody looks, colour only where it is wanted.

use crate::cli::Colour;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

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
