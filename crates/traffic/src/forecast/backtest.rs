//! How good the forecasts of this very series were: on every evening the days ahead were foretold from what was known by then.
//!
//! Takes those forecasts with what came of them; gives coverage, scores, and by how much the next bands must be stretched
//! (split-conformal, Vovk; Romano, Patterson & Candès 2019; here on a rolling origin, so only days that had come by then count).

use super::ahead::Band;
use super::number::{exp, ln, quantile, real};
use serde::{Deserialize, Serialize};

/// Days ahead that are scored.
pub(super) const AHEAD: [u32; 6] = [1, 7, 14, 28, 56, 90];

/// A forecast of one day whose count is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Foretold {
    pub(super) ahead: u32,
    /// The evening of the forecast, and the day it was for.
    pub(super) evening: usize,
    pub(super) day: usize,
    pub(super) band: Band,
    /// What "last week repeats" said.
    pub(super) repeated: Option<Band>,
    pub(super) came: f64,
}

/// The backtest of sources, or of attempts.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Backtest {
    /// By days ahead: only those that the series is long enough for.
    pub ahead: Vec<Ahead>,
}

/// How forecasts so many days ahead did.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ahead {
    /// Days ahead.
    pub days: u32,
    /// Forecasts whose day has come.
    pub forecasts: u32,
    /// Share of them whose day was inside the 50 % band, as it was stretched on that evening.
    pub inside_50: f64,
    /// The same for the 90 % band.
    pub inside_90: f64,
    /// Weighted interval score (Bracher et al. 2021): counts a day, less is better.
    pub wis: f64,
    /// The score of "last week repeats", with bands from its own past errors, on the same days.
    pub wis_of_last_week: Option<f64>,
    /// By how much 50 % and 90 % bands of the next forecast are stretched about their middle.
    pub stretch: [f64; 2],
}

/// By how much bands are stretched, by days ahead.
#[derive(Clone, Debug)]
pub(super) struct Stretch {
    /// (days ahead, factors of the 50 % and the 90 % band), ascending.
    known: Vec<(u32, [f64; 2])>,
}

impl Stretch {
    /// So many independent forecasts count as much as the model's own word.
    const TRUST: f64 = 20.0;
    /// The least and the greatest factor.
    const BOUNDS: (f64, f64) = (0.8, 4.0);

    /// Factors for days ahead. Beyond the longest known, bands are stretched as there, and never narrowed.
    pub(super) fn at(&self, ahead: u32) -> [f64; 2] {
        let after = self.known.iter().position(|(days, _)| *days >= ahead);
        match (after, self.known.last()) {
            (_, None) => [1.0; 2],
            (None, Some((_, factors))) => factors.map(|factor| factor.max(1.0)),
            (Some(0), _) => self.known[0].1,
            (Some(place), _) => {
                let ((before, one), (after, other)) = (self.known[place - 1], self.known[place]);
                let share = f64::from(ahead - before) / f64::from(after - before);
                [0, 1].map(|level| one[level] + share * (other[level] - one[level]))
            }
        }
    }

    /// A band stretched about its middle, on the scale on which counts scatter evenly (square root); `more` times further for
    /// another reason.
    pub(super) fn apply(&self, band: &Band, ahead: u32, more: f64) -> Band {
        stretched(band, self.at(ahead).map(|factor| factor * more))
    }
}

fn stretched(band: &Band, factors: [f64; 2]) -> Band {
    let middle = even(band[2]);
    let edge = |value: f64, factor: f64| {
        let moved = middle + factor * (even(value) - middle);
        (moved.max(even(0.0)) * moved.max(even(0.0)) - 0.375).max(0.0)
    };
    let [half, most] = factors;
    let (low, high) = (edge(band[1], half), edge(band[3], half));
    // The narrower band stays inside the wider one.
    [edge(band[0], most).min(low), low, band[2], high, edge(band[4], most).max(high)]
}

/// Anscombe's root.
fn even(count: f64) -> f64 {
    (count + 0.375).sqrt()
}

/// How far out a count lay: 1 is the edge of the band.
fn reach(band: &Band, level: usize, came: f64) -> f64 {
    let (low, middle, high) = (even(band[1 - level]), even(band[2]), even(band[3 + level]));
    let came = even(came);
    let (distance, width) =
        if came < middle { (middle - came, middle - low) } else { (came - middle, high - middle) };
    // A band without width: half a source on the even scale's own step.
    distance / width.max(0.05)
}

/// The factor that these reaches ask for.
fn factor(reaches: &[f64], level: usize, independent: f64) -> f64 {
    let mut sorted = reaches.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let wanted = [0.5, 0.9][level] * (1.0 + 1.0 / real(sorted.len().max(1)));
    let trust = independent / (independent + Stretch::TRUST);
    exp(trust * ln(quantile(&sorted, wanted).max(0.1))).clamp(Stretch::BOUNDS.0, Stretch::BOUNDS.1)
}

/// Scores forecasts and learns from them. `foretold` in the order of evenings.
pub(super) fn score(foretold: &[Foretold]) -> (Backtest, Stretch) {
    let mut ahead = Vec::new();
    let mut known = Vec::new();
    for days in AHEAD {
        let those: Vec<&Foretold> = foretold.iter().filter(|one| one.ahead == days).collect();
        // Overlapping forecasts err together: so many independent ones.
        let independent = |forecasts: usize| real(forecasts) / (f64::from(days) / 3.0).max(1.0);
        let factors = |known: &[&&Foretold]| {
            [0, 1].map(|level| {
                let reaches: Vec<f64> = known.iter().map(|one| reach(&one.band, level, one.came)).collect();
                if reaches.is_empty() { 1.0 } else { factor(&reaches, level, independent(reaches.len())) }
            })
        };
        if those.is_empty() {
            continue;
        }
        let (mut inside, mut wis, mut repeated) = ([0.0; 2], 0.0, (0.0, 0.0));
        for one in &those {
            let come: Vec<&&Foretold> = those.iter().filter(|earlier| earlier.day <= one.evening).collect();
            let band = stretched(&one.band, factors(&come));
            inside[0] += f64::from(u8::from((band[1]..=band[3]).contains(&one.came)));
            inside[1] += f64::from(u8::from((band[0]..=band[4]).contains(&one.came)));
            wis += interval_score(&band, one.came);
            if let Some(other) = &one.repeated {
                repeated = (repeated.0 + interval_score(other, one.came), repeated.1 + 1.0);
            }
        }
        let count = real(those.len());
        let stretch = factors(&those.iter().collect::<Vec<_>>());
        known.push((days, stretch));
        ahead.push(Ahead {
            days,
            forecasts: u32::try_from(those.len()).unwrap_or(u32::MAX),
            inside_50: inside[0] / count,
            inside_90: inside[1] / count,
            wis: wis / count,
            wis_of_last_week: (repeated.1 > 0.0).then(|| repeated.0 / repeated.1),
            stretch,
        });
    }
    (Backtest { ahead }, Stretch { known })
}

/// The weighted interval score of a median with 50 % and 90 % bands.
pub(super) fn interval_score(band: &Band, came: f64) -> f64 {
    let interval = |low: f64, high: f64, miss: f64| {
        (high - low) + 2.0 / miss * ((low - came).max(0.0) + (came - high).max(0.0))
    };
    let sum = 0.5 * (came - band[2]).abs()
        + 0.25 * interval(band[1], band[3], 0.5)
        + 0.05 * interval(band[0], band[4], 0.1);
    sum / 2.5
}

/// What "last week repeats" says on an evening, with bands from how wrong it was before.
pub(super) fn last_week(counts: &[Option<f64>], evening: usize, ahead: u32) -> Option<Band> {
    let weeks = usize::try_from(ahead.div_ceil(7)).ok()?;
    let day = evening + usize::try_from(ahead).ok()?;
    let said = (*counts.get(day.checked_sub(7 * weeks)?)?)?;
    let error = |day: usize| Some((*counts.get(day)?)? - (*counts.get(day.checked_sub(7)?)?)?);
    let mut errors: Vec<f64> = (0..=evening).filter_map(error).flat_map(|error| [error, -error]).collect();
    errors.sort_unstable_by(f64::total_cmp);
    // Errors of several weeks add up like a random walk's.
    let wider = real(weeks).sqrt();
    Some(super::ahead::EDGES.map(|edge| (said + wider * quantile(&errors, edge)).max(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::chance::Chance;

    #[test]
    fn a_band_without_width_scores_the_plain_error() {
        assert!((interval_score(&[10.0; 5], 13.0) - 3.0).abs() < 1e-12);
        assert!(
            interval_score(&[8.0, 9.0, 10.0, 11.0, 12.0], 10.0)
                < interval_score(&[0.0, 5.0, 10.0, 15.0, 20.0], 10.0)
        );
    }

    /// Forecasts of normal counts whose bands are `times` as wide as they should be.
    fn foretold(times: f64) -> Vec<Foretold> {
        let mut chance = Chance::new(4, 0);
        let band = [-1.645, -0.674, 0.0, 0.674, 1.645].map(|z| 1000.0 + 30.0 * times * z);
        (0..400)
            .map(|evening| {
                let came = 1000.0 + 30.0 * chance.normal();
                Foretold { ahead: 1, evening, day: evening + 1, band, repeated: None, came }
            })
            .collect()
    }

    #[test]
    fn bands_that_were_too_narrow_are_stretched_and_honest_ones_are_left() {
        let (narrow, stretch) = score(&foretold(0.5));
        assert!((1.7..2.2).contains(&stretch.at(1)[1]), "{narrow:?}");
        assert!(narrow.ahead[0].inside_90 > 0.84, "stretched as time goes on: {narrow:?}");
        let (honest, stretch) = score(&foretold(1.0));
        assert!(stretch.at(1).iter().all(|factor| (0.85..1.15).contains(factor)), "{honest:?}");
        // Far ahead nothing was seen: no narrower than the model says.
        let (_, stretch) = score(&foretold(2.0));
        assert!(stretch.at(1)[1] < 1.0 && (stretch.at(90)[1] - 1.0).abs() < 1e-12);
    }
}
