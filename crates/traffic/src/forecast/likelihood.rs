//! How likely the days of a series are under a belief. Nearly all of a forecast's time is spent here.

use super::curve::{Belief, Curve, Tail};
use super::noise::{Count, Noise};
use super::number::{exp, ln};

/// Means outside these are moved to the border: no source for a hundred million days, more than every address there is.
const MEAN_MIN: f64 = 1e-8;
const MEAN_MAX: f64 = 1e10;
/// Stands for an exponential that has grown beyond every address: times nothing, it is nothing.
const HUGE: f64 = 1e300;

/// One day that was observed while the attack was awake, or an old week of such days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Day {
    /// Days since the curve began; whole.
    pub(super) place: f64,
    /// 0 (Monday) to 6; `WHOLE_WEEK`.
    pub(super) weekday: usize,
    pub(super) count: Count,
}

/// Stands for a weekday: the count is that of seven days about the place.
const WHOLE_WEEK: usize = 7;

/// The days with those of old weeks taken together: what they tell of level, rate and tail is the same, and there are fewer.
pub(super) fn condensed(days: &[Day]) -> Vec<Day> {
    /// Days that are kept apart at the beginning, where a curve bends within a week, and at the end.
    const APART: (f64, f64) = (21.0, 56.0);
    let Some(last) = days.last() else { return Vec::new() };
    let week = |day: &Day| super::number::whole(day.place / 7.0);
    let mut condensed = Vec::with_capacity(days.len());
    for days in days.chunk_by(|one, other| week(one) == week(other)) {
        let old = days.iter().all(|day| day.place >= APART.0 && day.place + APART.1 < last.place);
        if old && days.len() == 7 {
            let sum: f64 = days.iter().map(|day| day.count.y).sum();
            condensed.push(Day { place: days[3].place, weekday: WHOLE_WEEK, count: Count::of(sum) });
        } else {
            condensed.extend_from_slice(days);
        }
    }
    condensed
}

/// A belief with its exponentials done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    scale: f64,
    rate: f64,
    end: Ending,
    /// What a day's mean is multiplied with; the last one is that of whole weeks.
    weekday: [f64; 8],
    noise: Noise,
    /// The scatter of a week's sum: clumps of seven days even out.
    noise_of_week: Noise,
}

/// A tail with its exponentials done.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Floor { share: f64, of_a_day: f64 },
    Slow { power: f64, step: f64 },
}

impl Ending {
    fn of(curve: &Curve) -> Self {
        match curve.tail {
            Tail::Floor { fade } => Self::Floor { share: exp(-fade), of_a_day: exp(-curve.rate) },
            Tail::Slow { ln_power } => {
                let power = exp(ln_power);
                Self::Slow { power, step: curve.rate / power }
            }
        }
    }
}

impl Reading {
    pub(super) fn new(belief: &Belief) -> Self {
        let noise = belief.noise();
        Self {
            scale: exp(belief.curve.level),
            rate: belief.curve.rate,
            end: Ending::of(&belief.curve),
            weekday: weekdays(&belief.weekday),
            noise,
            noise_of_week: noise.of_week(),
        }
    }

    pub(super) fn with_curve(self, curve: &Curve) -> Self {
        Self { scale: exp(curve.level), rate: curve.rate, end: Ending::of(curve), ..self }
    }

    pub(super) fn with_weekdays(self, factors: &[f64; 7]) -> Self {
        Self { weekday: weekdays(factors), ..self }
    }

    pub(super) fn with_noise(self, noise: Noise) -> Self {
        Self { noise, noise_of_week: noise.of_week(), ..self }
    }

    fn noise(&self, day: &Day) -> &Noise {
        if day.weekday == WHOLE_WEEK { &self.noise_of_week } else { &self.noise }
    }

    /// Calls `of` with each day and its mean.
    #[inline]
    fn means(&self, days: &[Day], mut of: impl FnMut(&Day, f64)) {
        match self.end {
            Ending::Floor { share, of_a_day } => {
                let (floor, rest) = (self.scale * share, self.scale * (1.0 - share));
                let (mut place, mut shape) = (f64::NEG_INFINITY, 1.0);
                for day in days {
                    // From one day to the next, a product.
                    shape =
                        if day.place - place < 1.5 { shape * of_a_day } else { exp(-self.rate * day.place) };
                    shape = f64::min(shape, HUGE);
                    place = day.place;
                    let mean = (floor + rest * shape) * self.weekday[day.weekday];
                    of(day, mean.clamp(MEAN_MIN, MEAN_MAX));
                }
            }
            Ending::Slow { power, step } => {
                for day in days {
                    let trend = self.scale * exp(-power * ln(1.0 + step * day.place));
                    of(day, (trend * self.weekday[day.weekday]).clamp(MEAN_MIN, MEAN_MAX));
                }
            }
        }
    }

    /// ln of the probability of the days' counts, but for what depends on the scatter alone.
    pub(super) fn ln_of_means(&self, days: &[Day]) -> f64 {
        let mut sum = 0.0;
        self.means(days, |day, mean| sum += self.noise(day).ln_of_mean(&day.count, mean));
        sum
    }

    /// What is missing there.
    pub(super) fn ln_of_scatter(&self, days: &[Day]) -> f64 {
        days.iter().map(|day| self.noise(day).ln_of_scatter(&day.count)).sum()
    }

    /// ln of the probability of one day's count.
    pub(super) fn ln_density(&self, day: &Day) -> f64 {
        let days = std::slice::from_ref(day);
        self.ln_of_means(days) + self.ln_of_scatter(days)
    }

    /// What each weekday's days become likelier by (ln) if its factor were another.
    pub(super) fn weekday_gains(&self, others: &[f64; 7], days: &[Day]) -> [f64; 7] {
        let others = weekdays(others);
        let mut gains = [0.0; 7];
        self.means(days, |day, mean| {
            let Some(gain) = gains.get_mut(day.weekday) else { return };
            let other = (mean * others[day.weekday] / self.weekday[day.weekday]).clamp(MEAN_MIN, MEAN_MAX);
            *gain += self.noise.ln_of_mean(&day.count, other) - self.noise.ln_of_mean(&day.count, mean);
        });
        gains
    }
}

fn weekdays(factors: &[f64; 7]) -> [f64; 8] {
    std::array::from_fn(|weekday| factors.get(weekday).map_or(7.0, |factor| exp(*factor)))
}
