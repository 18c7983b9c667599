//! What is believed of one series: how its mean runs, what weekdays do, how its counts scatter; and what is believed before any
//! day was seen.

use super::chance::Chance;
use super::noise::{Count, Noise};
use super::number::{exp, ln};

/// Means outside these are moved to the border: no source for a hundred million days, more than every address there is.
const MEAN_MIN: f64 = 1e-8;
const MEAN_MAX: f64 = 1e10;

/// Sources a day, without weekdays: level · (floor + (1 − floor) · e^(−rate · days)).
#[derive(Clone, Copy, Debug)]
pub(super) struct Curve {
    /// ln of the sources a day where it begins.
    pub(super) level: f64,
    /// Decay a day of what is above the floor; negative while it grows.
    pub(super) rate: f64,
    /// −ln of the share of the level that stays for ever; at least 0.
    pub(super) fade: f64,
}

impl Curve {
    /// ln of the mean, so many days after it began.
    pub(super) fn ln_mean(&self, days: f64) -> f64 {
        let floor = exp(-self.fade);
        self.level + ln((floor + (1.0 - floor) * exp(-self.rate * days)).max(1e-30))
    }

    /// ln of what never ends.
    pub(super) fn ln_floor(&self) -> f64 {
        self.level - self.fade
    }
}

/// One day that was observed while the attack was awake, or an old week of such days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Day {
    /// Days since the curve began.
    pub(super) place: f64,
    /// 0 (Monday) to 6; `WHOLE_WEEK`.
    pub(super) weekday: usize,
    pub(super) count: Count,
}

/// Stands for a weekday: the count is that of seven days about the place.
const WHOLE_WEEK: usize = 7;

/// The days with those of old weeks taken together: what they tell of level, rate and floor is the same, and there are fewer.
pub(super) fn condensed(days: &[Day]) -> Vec<Day> {
    /// Days that are kept apart at the end.
    const APART: f64 = 56.0;
    let Some(last) = days.last() else { return Vec::new() };
    let week = |day: &Day| super::number::whole(day.place / 7.0);
    let mut condensed = Vec::with_capacity(days.len());
    for days in days.chunk_by(|one, other| week(one) == week(other)) {
        let old = days.iter().all(|day| day.place + APART < last.place);
        if old && days.len() == 7 {
            let sum: f64 = days.iter().map(|day| day.count.y).sum();
            condensed.push(Day { place: days[3].place, weekday: WHOLE_WEEK, count: Count::of(sum) });
        } else {
            condensed.extend_from_slice(days);
        }
    }
    condensed
}

/// One point of the posterior.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belief {
    pub(super) curve: Curve,
    /// ln of what each weekday multiplies.
    pub(super) weekday: [f64; 7],
    /// ln of φ.
    pub(super) spread: f64,
    /// ln of κ.
    pub(super) clump: f64,
}

impl Belief {
    pub(super) fn noise(&self) -> Noise {
        Noise::of_logs(self.spread, self.clump)
    }

    /// ln of the probability of a day's count.
    pub(super) fn ln_density(&self, day: &Day) -> f64 {
        Reading::new(self).ln_density(day)
    }

    /// ln of the probability of all days' counts.
    pub(super) fn ln_likelihood(&self, days: &[Day]) -> f64 {
        let reading = Reading::new(self);
        days.iter().map(|day| reading.ln_density(day)).sum()
    }

    /// What each weekday's days become likelier by (ln) if its factor were `other`'s.
    pub(super) fn weekday_gains(&self, other: &[f64; 7], days: &[Day]) -> [f64; 7] {
        let now = Reading::new(self);
        let then = Reading::new(&Self { weekday: *other, ..*self });
        let mut gains = [0.0; 7];
        for day in days.iter().filter(|day| day.weekday != WHOLE_WEEK) {
            let mean = now.trend(day.place);
            gains[day.weekday] += then.of_mean(day, mean) - now.of_mean(day, mean);
        }
        gains
    }
}

/// A belief with its exponentials done.
struct Reading {
    scale: f64,
    floor: f64,
    rate: f64,
    /// What a day's mean is multiplied with; the last one is that of whole weeks.
    weekday: [f64; 8],
    noise: Noise,
    /// The scatter of a week's sum: clumps of seven days even out.
    noise_of_week: Noise,
}

impl Reading {
    fn new(belief: &Belief) -> Self {
        let noise = belief.noise();
        Self {
            scale: exp(belief.curve.level),
            floor: exp(-belief.curve.fade),
            rate: belief.curve.rate,
            weekday: std::array::from_fn(|weekday| {
                belief.weekday.get(weekday).map_or(7.0, |factor| exp(*factor))
            }),
            noise,
            noise_of_week: Noise { kappa: noise.kappa / 7.0, ..noise },
        }
    }

    fn trend(&self, place: f64) -> f64 {
        self.scale * (self.floor + (1.0 - self.floor) * exp(-self.rate * place))
    }

    fn of_mean(&self, day: &Day, trend: f64) -> f64 {
        let mean = (trend * self.weekday[day.weekday]).clamp(MEAN_MIN, MEAN_MAX);
        let noise = if day.weekday == WHOLE_WEEK { &self.noise_of_week } else { &self.noise };
        noise.ln_density(&day.count, mean)
    }

    fn ln_density(&self, day: &Day) -> f64 {
        self.of_mean(day, self.trend(day.place))
    }
}

/// Mean and standard deviation of a normal belief.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normal {
    pub(super) mean: f64,
    pub(super) deviation: f64,
}

impl Normal {
    fn draw(self, chance: &mut Chance) -> f64 {
        self.mean + self.deviation * chance.normal()
    }

    fn ln_density(self, x: f64) -> f64 {
        let z = (x - self.mean) / self.deviation;
        -0.5 * z * z
    }
}

/// What is believed beforehand. Densities are up to a constant factor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prior {
    pub(super) level: Normal,
    pub(super) weekday: [Normal; 7],
    pub(super) spread: Normal,
    pub(super) clump: Normal,
}

impl Prior {
    /// Centre and scale of the rate a day (Student's t, 3 degrees): 9 in 10 lie between growing 8 % and decaying 10 % a day,
    /// and a worm's first days are in the tail.
    const RATE: (f64, f64) = (0.01, 0.04);
    /// The floor's share of the level is Beta(0.3, 1): half of it below a tenth, a quarter below a hundredth, a fifth above a
    /// half. Its −ln is exponential with this rate.
    const FADE: f64 = 0.3;

    /// Before any day of a series: its first count gives no more than the order of magnitude.
    pub(super) fn first(count: f64) -> Self {
        Self {
            level: Self::level(count),
            // A busy weekday has some 1.3 times the mean.
            weekday: [Normal { mean: 0.0, deviation: 0.2 }; 7],
            // Variance over mean from 0.1 to 15.
            spread: Normal { mean: 0.3, deviation: 1.3 },
            // Relative scatter of large counts: 22 %, from 5 % to 100 %.
            clump: Normal { mean: -3.0, deviation: 1.5 },
        }
    }

    pub(super) fn level(count: f64) -> Normal {
        Normal { mean: ln(count + 0.5), deviation: 2.0 }
    }

    pub(super) fn draw_rate(chance: &mut Chance) -> f64 {
        Self::RATE.0 + Self::RATE.1 * chance.t3()
    }

    pub(super) fn draw_fade(chance: &mut Chance) -> f64 {
        chance.exponential() / Self::FADE
    }

    pub(super) fn ln_fade(fade: f64) -> f64 {
        -Self::FADE * fade
    }

    pub(super) fn draw(&self, chance: &mut Chance) -> Belief {
        Belief {
            curve: Curve {
                level: self.level.draw(chance),
                rate: Self::draw_rate(chance),
                fade: Self::draw_fade(chance),
            },
            weekday: self.weekday.map(|factor| factor.draw(chance)),
            spread: self.spread.draw(chance),
            clump: self.clump.draw(chance),
        }
    }

    pub(super) fn ln_curve(&self, curve: &Curve) -> f64 {
        let z = (curve.rate - Self::RATE.0) / Self::RATE.1;
        self.level.ln_density(curve.level) - 2.0 * ln(1.0 + z * z / 3.0) + Self::ln_fade(curve.fade)
    }

    pub(super) fn ln_noise(&self, spread: f64, clump: f64) -> f64 {
        self.spread.ln_density(spread) + self.clump.ln_density(clump)
    }

    pub(super) fn ln_weekdays(&self, factors: &[f64; 7]) -> f64 {
        (0..7).map(|weekday| self.ln_weekday(weekday, factors[weekday])).sum()
    }

    pub(super) fn ln_weekday(&self, weekday: usize, factor: f64) -> f64 {
        self.weekday[weekday].ln_density(factor)
    }
}
