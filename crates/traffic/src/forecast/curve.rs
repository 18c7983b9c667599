//! What is believed of one series: how its mean runs, what weekdays do, how its counts scatter; and what is believed before any
//! day was seen.

use super::chance::Chance;
use super::noise::Noise;
use super::number::{exp, ln};
use std::f64::consts::LN_2;

/// ln √(2π).
const LN_ROOT_TAU: f64 = 0.918_938_533_204_672_7;

/// What becomes of a decay in the end.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Tail {
    /// A share of the level stays for ever. `fade`: −ln of that share, at least 0.
    Floor { fade: f64 },
    /// Nothing stays, but it thins out ever more slowly, as this power of time. `ln_power`: ln of the power.
    Slow { ln_power: f64 },
}

impl Tail {
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Self::Slow { .. })
    }

    /// The number that tells it from others of its kind.
    pub(super) fn shape(self) -> f64 {
        match self {
            Self::Floor { fade } => fade,
            Self::Slow { ln_power } => ln_power,
        }
    }

    /// Another one of the same kind.
    pub(super) fn with_shape(self, shape: f64) -> Self {
        match self {
            Self::Floor { .. } => Self::Floor { fade: shape },
            Self::Slow { .. } => Self::Slow { ln_power: shape },
        }
    }
}

/// Sources a day, without weekdays. With a floor: level · (floor + (1 − floor) · e^(−rate · days)); with a slow tail:
/// level · (1 + rate · days / power)^(−power).
#[derive(Clone, Copy, Debug)]
pub(super) struct Curve {
    /// ln of the sources a day where it begins.
    pub(super) level: f64,
    /// Decay a day of what is above the floor, of a slow tail where it begins; negative while it grows, which a slow tail never
    /// does.
    pub(super) rate: f64,
    pub(super) tail: Tail,
}

impl Curve {
    /// ln of the mean, so many days after it began.
    pub(super) fn ln_mean(&self, days: f64) -> f64 {
        match self.tail {
            Tail::Floor { fade } => {
                let floor = exp(-fade);
                self.level + ln((floor + (1.0 - floor) * exp(-self.rate * days)).max(1e-30))
            }
            Tail::Slow { ln_power } => {
                let power = exp(ln_power);
                self.level - power * ln((1.0 + self.rate * days / power).max(1e-30))
            }
        }
    }

    /// ln of what never ends; −∞ if nothing stays.
    pub(super) fn ln_floor(&self) -> f64 {
        match self.tail {
            Tail::Floor { fade } => self.level - fade,
            Tail::Slow { .. } => f64::NEG_INFINITY,
        }
    }

    /// How often what is above the floor has halved so many days after it began; negative while it grows.
    pub(super) fn halvings(&self, days: f64) -> f64 {
        let fallen = match self.tail {
            Tail::Floor { .. } => self.rate * days,
            Tail::Slow { .. } => self.level - self.ln_mean(days),
        };
        fallen / LN_2
    }

    /// Days in which what is above the floor halves, so many days after it began; infinite while it grows.
    pub(super) fn half_life(&self, days: f64) -> f64 {
        if self.rate <= 0.0 {
            return f64::INFINITY;
        }
        match self.tail {
            Tail::Floor { .. } => LN_2 / self.rate,
            Tail::Slow { ln_power } => {
                let power = exp(ln_power);
                (power / self.rate + days) * (exp(LN_2 / power) - 1.0)
            }
        }
    }
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
    /// One curve of three has a slow tail: as many as decay to a floor, the others grow.
    const SLOW: f64 = 1.0 / 3.0;
    /// ln of a slow tail's power: nine in ten between a third and three.
    const LN_POWER: Normal = Normal { mean: 0.0, deviation: 0.7 };

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

    /// A curve, whether with a floor or a slow tail.
    pub(super) fn draw_curve(&self, chance: &mut Chance) -> Curve {
        let slow = chance.unit() < Self::SLOW;
        self.draw_curve_of(slow, chance)
    }

    /// A curve with this kind of tail.
    pub(super) fn draw_curve_of(&self, slow: bool, chance: &mut Chance) -> Curve {
        let level = self.level.draw(chance);
        let rate = Self::draw_rate(chance);
        let rate = if slow { rate.abs() } else { rate };
        Curve { level, rate, tail: Self::draw_tail(slow, chance) }
    }

    /// A decay from this level on.
    pub(super) fn draw_decay(level: f64, chance: &mut Chance) -> Curve {
        // Of curves that decay, about half have a slow tail.
        let slow = chance.unit() < 0.5;
        Curve { level, rate: Self::draw_rate(chance).abs(), tail: Self::draw_tail(slow, chance) }
    }

    fn draw_rate(chance: &mut Chance) -> f64 {
        Self::RATE.0 + Self::RATE.1 * chance.t3()
    }

    pub(super) fn draw_tail(slow: bool, chance: &mut Chance) -> Tail {
        if slow {
            Tail::Slow { ln_power: Self::LN_POWER.draw(chance) }
        } else {
            Tail::Floor { fade: chance.exponential() / Self::FADE }
        }
    }

    pub(super) fn ln_tail(tail: Tail) -> f64 {
        match tail {
            Tail::Floor { fade } if fade < 0.0 => f64::NEG_INFINITY,
            Tail::Floor { fade } => ln(Self::FADE) - Self::FADE * fade,
            Tail::Slow { ln_power } => {
                Self::LN_POWER.ln_density(ln_power) - ln(Self::LN_POWER.deviation) - LN_ROOT_TAU
            }
        }
    }

    pub(super) fn draw(&self, chance: &mut Chance) -> Belief {
        Belief {
            curve: self.draw_curve(chance),
            weekday: self.weekday.map(|factor| factor.draw(chance)),
            spread: self.spread.draw(chance),
            clump: self.clump.draw(chance),
        }
    }

    /// Of curves with a floor and with a slow tail up to the same factor.
    pub(super) fn ln_curve(&self, curve: &Curve) -> f64 {
        self.ln_curve_of(curve) + ln(if curve.tail.is_slow() { Self::SLOW } else { 1.0 - Self::SLOW })
    }

    /// The same among curves with that kind of tail.
    pub(super) fn ln_curve_of(&self, curve: &Curve) -> f64 {
        // Its constant factor is the same for all.
        let t3 = |rate: f64| {
            let z = (rate - Self::RATE.0) / Self::RATE.1;
            1.0 / ((1.0 + z * z / 3.0) * (1.0 + z * z / 3.0))
        };
        let of_rate = match curve.tail {
            Tail::Floor { .. } => t3(curve.rate),
            Tail::Slow { .. } if curve.rate <= 0.0 => 0.0,
            Tail::Slow { .. } => t3(curve.rate) + t3(-curve.rate),
        };
        self.level.ln_density(curve.level) - ln(self.level.deviation) - LN_ROOT_TAU
            + ln(of_rate)
            + Self::ln_tail(curve.tail)
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
