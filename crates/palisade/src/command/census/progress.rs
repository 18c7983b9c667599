//! How far reading is, how quick, and how long it will take: on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// Counts bytes that were read; shown after half a second, so that short work shows nothing.
#[derive(Debug)]
pub(super) struct Meter {
    bar: Option<ProgressBar>,
}

impl Meter {
    /// For so many bytes; 0 where nobody knows.
    pub(super) fn new(bytes: u64, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let (length, template) = match bytes {
                0 => (None, "{spinner} {bytes} at {bytes_per_sec}"),
                _ => (
                    Some(bytes),
                    "{spinner} {bytes} of {total_bytes} at {bytes_per_sec}, {eta} left {wide_bar}",
                ),
            };
            let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(ProgressStyle::with_template(template).expect("the template is ours"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar }
    }

    /// For so many signatures whose days to come are sampled.
    pub(super) fn of_forecasts(signatures: usize, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let length = u64::try_from(signatures).ok();
            let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr_with_hz(10));
            let template = "{spinner} looking ahead: {pos} of {len} signatures, {eta} left {wide_bar}";
            bar.set_style(ProgressStyle::with_template(template).expect("the template is ours"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar }
    }

    pub(super) fn add(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
