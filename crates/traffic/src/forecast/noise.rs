//! How a day's count scatters about its mean.
//!
//! Variance = φ·mean + κ·mean². Above the mean it is a negative binomial with that variance; below it (counts steadier than
//! Poisson's, as real sources sometimes are) Efron's double Poisson, a quasi-likelihood.

use super::chance::Chance;
use super::number::{exp, ln, ln_gamma, ln_rise};

/// A gamma mixture narrower than this share of the mean is a Poisson count for every purpose here.
const SHAPE_MAX: f64 = 1e7;

/// The scatter of one series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    /// Variance over mean of small counts.
    pub(super) phi: f64,
    /// Square of the relative scatter of large counts: 1/k of the negative binomial.
    pub(super) kappa: f64,
}

/// A count with what its likelihood needs each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) y: f64,
    ln_factorial: f64,
    y_ln_y: f64,
}

impl Count {
    pub(super) fn new(count: u32) -> Self {
        Self::of(f64::from(count))
    }

    /// Of a whole number, at least 0.
    pub(super) fn of(y: f64) -> Self {
        Self { y, ln_factorial: ln_gamma(y + 1.0), y_ln_y: if y > 0.0 { y * ln(y) } else { 0.0 } }
    }
}

/// What the variance makes of a mean.
enum Law {
    /// Poisson's mean times gamma's of this shape.
    Gamma(f64),
    Poisson,
    /// Variance over mean, below 1.
    Steady(f64),
}

impl Noise {
    pub(super) fn of_logs(spread: f64, clump: f64) -> Self {
        Self { phi: exp(spread), kappa: exp(clump) }
    }

    #[inline]
    fn law(&self, mean: f64) -> Law {
        let excess = self.phi - 1.0 + self.kappa * mean;
        if excess > 0.0 {
            let shape = mean / excess;
            return if shape < SHAPE_MAX { Law::Gamma(shape) } else { Law::Poisson };
        }
        // A count whose mean is about 1 cannot be much steadier than Poisson's: whole numbers forbid it.
        let share = (1.0 + excess * mean / (mean + 2.0)).max(0.1);
        if share < 0.98 { Law::Steady(share) } else { Law::Poisson }
    }

    /// ln of the probability of a count when the mean is `mean` > 0.
    #[inline]
    pub(super) fn ln_density(&self, count: &Count, mean: f64) -> f64 {
        let Count { y, ln_factorial, y_ln_y } = *count;
        let ln_mean = ln(mean);
        match self.law(mean) {
            Law::Poisson => y * ln_mean - mean - ln_factorial,
            Law::Gamma(shape) => {
                let (ln_shape, ln_both) = (ln(shape), ln(shape + mean));
                ln_rise(shape, y) - ln_factorial + shape * (ln_shape - ln_both) + y * (ln_mean - ln_both)
            }
            Law::Steady(share) => {
                let times = 1.0 / share;
                let ln_y = if y > 0.0 { y_ln_y / y } else { 0.0 };
                0.5 * ln(times) - times * mean - y + y_ln_y - ln_factorial
                    + times * y * (1.0 + ln_mean - ln_y)
            }
        }
    }

    /// One count of this mean.
    pub(super) fn draw(self, mean: f64, chance: &mut Chance) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        match self.law(mean) {
            Law::Poisson => chance.poisson(mean),
            Law::Gamma(shape) => {
                let mixed = mean / shape * chance.gamma(shape);
                chance.poisson(mixed)
            }
            Law::Steady(share) => (mean + (share * mean).sqrt() * chance.normal() + 0.5).floor().max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_and_have_the_stated_mean_and_variance() {
        for (phi, kappa, mean) in [(1.0, 1e-9, 4.0), (1.0, 0.2, 30.0), (5.0, 0.05, 12.0), (50.0, 1e-3, 40.0)]
        {
            let noise = Noise { phi, kappa };
            let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
            for count in 0..4000 {
                let p = exp(noise.ln_density(&Count::new(count), mean));
                let y = f64::from(count);
                total += p;
                first += p * y;
                second += p * y * y;
            }
            let variance = second - first * first;
            let stated = phi * mean + kappa * mean * mean;
            assert!((total - 1.0).abs() < 1e-6, "{phi} {kappa} {mean}: total {total}");
            assert!((first / mean - 1.0).abs() < 1e-5, "{phi} {kappa} {mean}: mean {first}");
            assert!((variance / stated - 1.0).abs() < 1e-3, "{phi} {kappa} {mean}: variance {variance}");
        }
    }

    #[test]
    fn counts_steadier_than_poissons_are_likelier_under_a_smaller_spread() {
        let counts = [20, 21, 19, 20, 22, 20, 19, 21].map(Count::new);
        let ln =
            |phi: f64| counts.iter().map(|y| Noise { phi, kappa: 1e-9 }.ln_density(y, 20.2)).sum::<f64>();
        assert!(ln(0.3) > ln(1.0) + 1.0 && ln(1.0) > ln(5.0));
    }

    #[test]
    fn drawn_counts_follow_the_density() {
        let noise = Noise { phi: 3.0, kappa: 0.1 };
        let mut chance = Chance::new(7, 0);
        let low = (0..20_000).filter(|_| noise.draw(15.0, &mut chance) < 7.5).count();
        let expected: f64 = (0..8).map(|y| exp(noise.ln_density(&Count::new(y), 15.0))).sum();
        let got = super::super::number::real(low) / 20_000.0;
        assert!((got - expected).abs() < 0.015, "{got} of the draws are below 8, {expected} expected");
    }
}
