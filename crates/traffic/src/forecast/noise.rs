//! How a day's count scatters about its mean.
//!
//! Variance = φ·mean + κ·mean². Counts are drawn from a negative binomial with that variance, and below Poisson's variance from
//! a law steadier than it. The likelihood of small counts is theirs (Efron's double Poisson where it is steadier); that of larger
//! ones is the extended quasi-likelihood of the same variance (Nelder & Pregibon 1987), which for φ = 1 is the negative
//! binomial's but for Stirling's error, and takes a third of the time.

use super::chance::Chance;
use super::number::{exp, ln, ln_gamma, ln_rise};

/// A gamma mixture narrower than this share of the mean is a Poisson count for every purpose here.
const SHAPE_MAX: f64 = 1e7;
/// Counts from here up are large.
const LARGE: f64 = 8.0;
/// No counts are steadier or more scattered than this, as far as anybody can tell.
const PHI: (f64, f64) = (0.1, 1e5);
const KAPPA: (f64, f64) = (1e-8, 1e3);

/// The scatter of one series.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noise {
    /// Variance over mean of small counts.
    phi: f64,
    /// Square of the relative scatter of large counts: 1/k of the negative binomial.
    kappa: f64,
    per_phi: f64,
    per_kappa: f64,
}

/// A count with what its likelihood needs each time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) y: f64,
    ln_factorial: f64,
    /// 0 for a count of 0.
    ln_y: f64,
}

impl Count {
    pub(super) fn new(count: u32) -> Self {
        Self::of(f64::from(count))
    }

    /// Of a whole number, at least 0.
    pub(super) fn of(y: f64) -> Self {
        Self { y, ln_factorial: ln_gamma(y + 1.0), ln_y: if y > 0.0 { ln(y) } else { 0.0 } }
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
    pub(super) fn new(phi: f64, kappa: f64) -> Self {
        let (phi, kappa) = (phi.clamp(PHI.0, PHI.1), kappa.clamp(KAPPA.0, KAPPA.1));
        Self { phi, kappa, per_phi: 1.0 / phi, per_kappa: 1.0 / kappa }
    }

    pub(super) fn of_logs(spread: f64, clump: f64) -> Self {
        Self::new(exp(spread), exp(clump))
    }

    /// The scatter of a week's sum: clumps of seven days even out.
    pub(super) fn of_week(self) -> Self {
        Self::new(self.phi, self.kappa / 7.0)
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

    /// ln of the probability of a count when the mean is `mean` > 0, but for what depends on the scatter alone.
    #[inline]
    pub(super) fn ln_of_mean(&self, count: &Count, mean: f64) -> f64 {
        if count.y < LARGE {
            return self.ln_exact(count, mean);
        }
        let per_spread = count.y * self.per_phi;
        per_spread * ln(mean) - (per_spread + self.per_kappa) * ln(self.phi + self.kappa * mean)
    }

    /// What is missing there.
    #[inline]
    pub(super) fn ln_of_scatter(&self, count: &Count) -> f64 {
        if count.y < LARGE {
            return 0.0;
        }
        let Count { y, ln_y, .. } = *count;
        let per_spread = y * self.per_phi;
        let ln_variance = ln(self.phi + self.kappa * y);
        // ln √(2π).
        (per_spread + self.per_kappa) * ln_variance
            - per_spread * ln_y
            - 0.5 * (ln_variance + ln_y)
            - 0.918_938_533_204_672_7
    }

    /// ln of the probability of a small count.
    fn ln_exact(&self, count: &Count, mean: f64) -> f64 {
        let Count { y, ln_factorial, ln_y } = *count;
        match self.law(mean) {
            Law::Poisson => y * ln(mean) - mean - ln_factorial,
            Law::Gamma(shape) => {
                let per_both = 1.0 / (shape + mean);
                let tail = shape * ln(shape * per_both);
                if y < 1.0 { tail } else { ln_rise(shape, y) - ln_factorial + tail + y * ln(mean * per_both) }
            }
            Law::Steady(share) => {
                let times = 1.0 / share;
                0.5 * ln(times) - times * mean - y + y * ln_y - ln_factorial
                    + times * y * (1.0 + ln(mean) - ln_y)
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

    fn density(noise: Noise, count: u32, mean: f64) -> f64 {
        let count = Count::new(count);
        exp(noise.ln_of_mean(&count, mean) + noise.ln_of_scatter(&count))
    }

    #[test]
    fn probabilities_sum_to_one_and_have_the_stated_mean_and_variance() {
        // By how much the quasi-likelihood may miss: the more, the more counts are clumped.
        for (phi, kappa, mean, misses) in [
            (1.0, 1e-9, 4.0, 0.01),
            (1.0, 0.2, 30.0, 0.02),
            (0.4, 0.01, 60.0, 0.01),
            (5.0, 0.05, 50.0, 0.02),
            (50.0, 1e-3, 400.0, 0.04),
        ] {
            let noise = Noise::new(phi, kappa);
            let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
            for count in 0..8000 {
                let p = density(noise, count, mean);
                let y = f64::from(count);
                total += p;
                first += p * y;
                second += p * y * y;
            }
            let (first, second) = (first / total, second / total);
            let variance = second - first * first;
            let stated = phi * mean + kappa * mean * mean;
            assert!((total - 1.0).abs() < misses, "{phi} {kappa} {mean}: total {total}");
            assert!((first / mean - 1.0).abs() < misses, "{phi} {kappa} {mean}: mean {first}");
            assert!(
                (variance / stated - 1.0).abs() < 4.0 * misses,
                "{phi} {kappa} {mean}: variance {variance}"
            );
        }
    }

    #[test]
    fn large_counts_are_as_likely_under_the_quasi_likelihood_as_under_the_negative_binomial() {
        for (kappa, mean, count) in [(0.2, 30.0, 8), (0.05, 12.0, 30), (1e-6, 1e6, 1_001_000)] {
            let noise = Noise::new(1.0, kappa);
            let exact = noise.ln_exact(&Count::new(count), mean);
            let gap = ln(density(noise, count, mean)) - exact;
            // Stirling's series of the factorial, of the shape and of their sum is off by a twelfth of each.
            assert!(
                gap.abs() < 1.0 / (12.0 * f64::from(count)) + kappa / 12.0,
                "{kappa} {mean}: off by {gap}"
            );
        }
    }

    #[test]
    fn counts_steadier_than_poissons_are_likelier_under_a_smaller_spread() {
        for counts in [[20, 21, 19, 20, 22, 20, 19, 21], [4, 5, 5, 4, 4, 5, 5, 4]] {
            let mean = f64::from(counts.iter().sum::<u32>()) / 8.0;
            let ln =
                |phi: f64| counts.iter().map(|y| ln(density(Noise::new(phi, 1e-9), *y, mean))).sum::<f64>();
            assert!(ln(0.3) > ln(1.0) + 1.0 && ln(1.0) > ln(5.0));
        }
    }

    #[test]
    fn drawn_counts_follow_the_density() {
        let noise = Noise::new(3.0, 0.1);
        let mut chance = Chance::new(7, 0);
        let low = (0..20_000).filter(|_| noise.draw(15.0, &mut chance) < 7.5).count();
        let expected: f64 = (0..8).map(|y| density(noise, y, 15.0)).sum();
        let got = super::super::number::real(low) / 20_000.0;
        assert!((got - expected).abs() < 0.015, "{got} of the draws are below 8, {expected} expected");
    }
}
