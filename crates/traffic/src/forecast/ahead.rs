//! The days ahead of one evening: draws of sources and attempts.

use super::chance::Chance;
use super::crowd::Crowd;
use super::number::{exp, ln, median, moments, quantile, real};
use super::path::{Past, Path};

/// Shares of the draws below each edge of a band: 90 %, 50 %, the middle.
pub(super) const EDGES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

/// Values at `EDGES`.
pub(super) type Band = [f64; 5];

/// A day ahead.
#[derive(Clone, Copy, Debug)]
pub(super) struct DayAhead {
    /// 1: the day after the last evening.
    pub(super) ahead: u32,
    pub(super) weekday: usize,
    pub(super) awake: bool,
}

/// As many possible futures as the crowd has members.
pub(super) fn paths(crowd: &Crowd, past: &Past, horizon: f64, chance: &mut Chance) -> Vec<Path> {
    // Members in proportion to their weights, evenly spread.
    let mut paths = Vec::new();
    let mut sum = chance.unit();
    let total = real(crowd.members().count());
    let islands: f64 = crowd.members().map(|(_, share)| share).sum();
    for (belief, share) in crowd.members() {
        sum += share * total / islands;
        while sum >= 1.0 {
            paths.push(Path::new(belief, past, horizon, chance));
            sum -= 1.0;
        }
    }
    paths
}

/// How many attempts a source makes a day: what was seen lately, and how it drifts.
#[derive(Clone, Debug)]
pub(super) struct PerSource {
    /// ln of attempts per source on the last days that had any.
    lately: Vec<f64>,
    /// Variance that each day ahead adds to the ln.
    drift: f64,
}

impl PerSource {
    /// Days looked back on.
    const DAYS: usize = 28;
    /// Least deviation of the ln that a day ahead adds: 1 %.
    const DRIFT_MIN: f64 = 1e-4;

    pub(super) fn of(sources: &[Option<f64>], attempts: &[Option<f64>]) -> Self {
        let ratio = |(sources, attempts): (&Option<f64>, &Option<f64>)| {
            let (sources, attempts) = ((*sources)?, (*attempts)?);
            (sources > 0.0 && attempts >= sources).then(|| ln(attempts / sources))
        };
        let mut lately: Vec<f64> =
            sources.iter().zip(attempts).rev().filter_map(ratio).take(Self::DAYS).collect();
        // The drift is what the two halves differ by beyond their own scatter.
        let half = lately.len() / 2;
        let (newer, older) = lately.split_at(half);
        let ((new, new_width), (old, old_width)) =
            (moments(newer.iter().copied()), moments(older.iter().copied()));
        let count = real(half).max(1.0);
        let by_chance = (new_width * new_width + old_width * old_width) / count;
        let drift = if half < 3 { 0.0 } else { ((new - old) * (new - old) - by_chance) / count };
        lately.sort_unstable_by(f64::total_cmp);
        Self { lately, drift: drift.max(Self::DRIFT_MIN) }
    }

    fn draw(&self, ahead: u32, chance: &mut Chance) -> f64 {
        let ln_ratio =
            if self.lately.is_empty() { 0.0 } else { self.lately[chance.index(self.lately.len())] };
        let drifted = ln_ratio + (self.drift * f64::from(ahead)).sqrt() * chance.normal();
        exp(drifted.clamp(0.0, 20.0))
    }

    /// The middle of what was seen lately; 1 if nothing was.
    pub(super) fn middle(&self) -> f64 {
        exp(median(&mut self.lately.clone()))
    }
}

/// Bands of sources and attempts on a day ahead; `draws` for each path.
pub(super) fn bands(
    paths: &[Path],
    per_source: &PerSource,
    day: DayAhead,
    draws: usize,
    chance: &mut Chance,
) -> (Band, Band) {
    let mut sources = Vec::with_capacity(paths.len() * draws);
    let mut attempts = Vec::with_capacity(paths.len() * draws);
    for path in paths {
        let mean = path.mean(f64::from(day.ahead), day.weekday, day.awake);
        for _ in 0..draws {
            let count = path.belief.noise().draw(mean, chance);
            sources.push(count);
            let each = if count > 0.0 { per_source.draw(day.ahead, chance) } else { 0.0 };
            attempts.push((count * each).round());
        }
    }
    (band(&mut sources), band(&mut attempts))
}

fn band(draws: &mut [f64]) -> Band {
    draws.sort_unstable_by(f64::total_cmp);
    EDGES.map(|edge| quantile(draws, edge))
}
