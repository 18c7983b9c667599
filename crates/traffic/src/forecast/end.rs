//! What the possible futures say together: phase, half-life, growth, and when the series is over.

use super::backtest::Stretch;
use super::number::{exp, ln, quantile, real};
use super::outlook::{End, Growth, Phase, Reason, Span};
use super::path::{Past, Path};
use jiff::ToSpan;
use jiff::civil::Date;

/// Days that must have been observed before an end is told.
pub(super) const DAYS_NEEDED: u32 = 14;
/// Half-lives that must have been seen.
pub(super) const HALF_LIVES_NEEDED: f64 = 2.0;
/// An end later than in ten years is not in sight.
const END_DAYS_MAX: u32 = 3650;
/// A statement is made when it is so sure.
const SURE: f64 = 0.8;
/// It is over already when that is so sure.
const OVER: f64 = 0.95;

/// The share of paths of which something holds.
fn share(paths: &[Path], holds: impl Fn(&Path) -> bool) -> f64 {
    real(paths.iter().filter(|path| holds(path)).count()) / real(paths.len()).max(1.0)
}

/// The 5 %, 50 % and 95 % points of a value that may be infinite.
pub(super) fn span(paths: &[Path], value: impl Fn(&Path) -> f64) -> Span<f64> {
    let mut values: Vec<f64> = paths.iter().map(value).collect();
    values.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| Some(quantile(&values, part)).filter(|value| value.is_finite());
    Span { low: at(0.05), middle: at(0.5), high: at(0.95) }
}

/// ln of how the level changed over the last week, or since the course began if that is shorter.
fn last_week(path: &Path, past: &Past) -> f64 {
    let days = past.since.clamp(1.0, 7.0);
    (path.ln_level(0.0) - path.ln_level(-days)) * 7.0 / days
}

/// Probability that it grows: by more than 1 % a day.
pub(super) fn growing(paths: &[Path], past: &Past) -> f64 {
    share(paths, |path| last_week(path, past) > 0.07)
}

/// What the series does now.
pub(super) fn phase(paths: &[Path], past: &Past) -> Phase {
    // Decay: by more than half a percent a day.
    let decays = share(paths, |path| last_week(path, past) < -0.035);
    let decayed = share(paths, |path| path.ln_level(0.0) < path.ln_level(-past.since) - 0.4);
    if growing(paths, past) >= SURE {
        Phase::Growing
    } else if decays >= SURE {
        Phase::Dying
    } else if decayed >= SURE {
        Phase::AtFloor
    } else {
        Phase::Steady
    }
}

/// Growth, if it is more likely than not.
pub(super) fn growth(paths: &[Path], past: &Past) -> Option<Growth> {
    let probability = growing(paths, past);
    let rate = |path: &Path| last_week(path, past) / 7.0;
    (probability > 0.5).then(|| Growth {
        probability,
        factor_a_day: span(paths, |path| exp(rate(path))),
        doubling_days: span(
            paths,
            |path| if rate(path) > 0.0 { ln(2.0) / rate(path) } else { f64::INFINITY },
        ),
        // Wallinga & Lipsitch 2007: R = 1 + rate · mean, for exponential times.
        reproduction_if_a_day: span(paths, |path| (1.0 + rate(path)).max(0.0)),
    })
}

/// Probability that nothing stays but a tail that thins out ever more slowly.
pub(super) fn slow_tail(paths: &[Path]) -> f64 {
    share(paths, |path| path.last_curve().tail.is_slow())
}

/// Days in which what is above the floor halves.
pub(super) fn half_life(paths: &[Path], past: &Past) -> Span<f64> {
    span(paths, |path| path.belief.curve.half_life(past.since))
}

/// The end, or why it cannot be told.
pub(super) fn end(
    paths: &[Path],
    past: &Past,
    below: f64,
    last_day: Date,
    observed: u32,
    stretch: &Stretch,
) -> Result<End, Vec<Reason>> {
    let mut reasons = Vec::new();
    if observed < DAYS_NEEDED {
        reasons.push(Reason::FewDays { observed, needed: DAYS_NEEDED });
    }
    let already = share(paths, |path| path.ln_left(0.0) < ln(below));
    let phase = phase(paths, past);
    match phase {
        // An end that the calendar tells needs no decay to be seen.
        Phase::Growing | Phase::Dying | Phase::AtFloor | Phase::Steady if past.until.is_some() => {}
        Phase::Growing => reasons.push(Reason::Growing { probability: growing(paths, past) }),
        // What is below the limit already needs no half-life to be seen.
        Phase::Dying | Phase::AtFloor | Phase::Steady if already >= OVER => {}
        Phase::Steady => reasons.push(Reason::Steady),
        Phase::Dying | Phase::AtFloor => {
            let seen = span(paths, |path| path.belief.curve.halvings(past.since)).middle.unwrap_or(0.0);
            if seen < HALF_LIVES_NEEDED {
                let middle = half_life(paths, past).middle.unwrap_or(f64::INFINITY);
                let missing = ((HALF_LIVES_NEEDED - seen) * middle).min(real(usize::MAX));
                let missing_days = u32::try_from(super::number::whole(missing.ceil())).unwrap_or(u32::MAX);
                reasons.push(Reason::FewHalfLives { seen, needed: HALF_LIVES_NEEDED, missing_days });
            }
        }
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let day = |days: f64| {
        let days = i64::from(u32::try_from(super::number::whole(days)).ok()?);
        last_day.checked_add(days.days()).ok()
    };
    let days = days_below(paths, below, stretch);
    let at =
        |part: f64| Some(quantile_of_infinite(&days, part)).filter(|days| days.is_finite()).and_then(day);
    Ok(End {
        below,
        day: Span { low: at(0.05), middle: at(0.5), high: at(0.95) },
        already,
        never: never(paths, below, stretch),
    })
}

/// A quantile where the straight line between a number and infinity is infinity.
fn quantile_of_infinite(sorted: &[f64], part: f64) -> f64 {
    sorted
        .get(super::number::whole((part * real(sorted.len())).ceil()).saturating_sub(1))
        .copied()
        .unwrap_or(f64::INFINITY)
}

/// By how much the ln of a level so many days ahead is stretched about the middle of all paths: the model's own bands were that
/// much too narrow. Never narrowed: what an end depends on lies beyond what was tested.
fn wider(stretch: &Stretch, ahead: u32) -> f64 {
    stretch.at(ahead)[1].max(1.0)
}

/// The first day on which each path is below the limit, sorted; infinite if not within ten years.
fn days_below(paths: &[Path], below: f64, stretch: &Stretch) -> Vec<f64> {
    let limit = ln(below);
    let mut days = vec![f64::INFINITY; paths.len()];
    let mut ahead = 0;
    while ahead <= END_DAYS_MAX {
        let levels: Vec<f64> = paths.iter().map(|path| path.ln_left(f64::from(ahead))).collect();
        let middle = super::number::median(&mut levels.clone());
        let factor = wider(stretch, ahead);
        for (level, day) in levels.iter().zip(&mut days) {
            // `min`: keeps the first day, and a path that grows above the limit again was below it all the same.
            if middle + factor * (level - middle) < limit {
                *day = day.min(f64::from(ahead));
            }
        }
        // Days at first, then weeks, then months: nobody knows the day of what is years ahead.
        ahead += match ahead {
            0..90 => 1,
            90..730 => 7,
            _ => 30,
        };
    }
    days.sort_unstable_by(f64::total_cmp);
    days
}

/// Probability that the floor is not below the limit. Where nothing stays, it falls below every limit some day.
fn never(paths: &[Path], below: f64, stretch: &Stretch) -> f64 {
    let mut floors: Vec<f64> = paths.iter().map(Path::ln_floor).filter(|floor| floor.is_finite()).collect();
    let middle = super::number::median(&mut floors);
    let factor = wider(stretch, END_DAYS_MAX);
    share(paths, |path| middle + factor * (path.ln_floor() - middle) >= ln(below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::chance::Chance;
    use crate::forecast::curve::{Belief, Curve, Tail};

    fn path(half_life: f64, fade: f64) -> Path {
        let curve = Curve { level: ln(1000.0), rate: ln(2.0) / half_life, tail: Tail::Floor { fade } };
        let belief = Belief { curve, weekday: [0.0; 7], spread: 0.0, clump: -3.0 };
        let past = Past { since: 10.0, changes: 0.0, days: 10.0, asleep: (0.0, 0.0), until: None };
        Path::new(&belief, &past, 0.0, &mut Chance::new(1, 0))
    }

    #[test]
    fn the_day_below_a_limit_is_the_closed_form() {
        let (_, as_it_is) = super::super::backtest::score(&[]);
        // From 1000 to 100 takes 6 · log2(10) = 19.9 days, 10 of them gone; to 1, 59.8.
        assert_eq!(days_below(&[path(6.0, 60.0)], 100.0, &as_it_is), [10.0]);
        assert_eq!(days_below(&[path(6.0, 60.0)], 1.0, &as_it_is), [50.0]);
        // A floor of 5 is above 4 for ever; 6 is reached when 1000 · (0.005 + 0.995 · 2^(−t/6)) is.
        let floor = [path(6.0, ln(200.0))];
        assert!(days_below(&floor, 4.0, &as_it_is)[0].is_infinite());
        assert!((never(&floor, 4.0, &as_it_is) - 1.0).abs() < 1e-12 && never(&floor, 6.0, &as_it_is) < 1e-12);
        let last = 6.0 * ln(995.0) / ln(2.0) - 10.0;
        assert_eq!(days_below(&floor, 6.0, &as_it_is), [last.ceil()]);
    }
}
