//! Functions whose last bit is the same on every platform, and order statistics.
//!
//! The standard library's `ln` and `exp` come from the platform's C library; these do not.

use std::f64::consts::TAU;

/// e^x.
pub(super) fn exp(x: f64) -> f64 {
    libm::exp(x)
}

/// The natural logarithm.
pub(super) fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// ln Γ(x) for x > 0, to 12 digits (Stirling's series from 10 up, the recurrence below).
pub(super) fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 10.0 {
        product *= x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / x;
    (x - 0.5) * ln(x) - x + 0.5 * ln(TAU) + series - ln(product)
}

/// A count as a number. Counts here stay below 2³².
pub(super) fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// The whole part of a number as a count; 0 for what is negative or no number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, as wanted")]
pub(super) fn whole(x: f64) -> usize {
    x.floor().max(0.0) as usize
}

/// The value below which a share of a sorted list lies, between neighbours by the straight line. 0 of an empty list.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share.clamp(0.0, 1.0) * real(last);
    let below = whole(place).min(last);
    let above = (below + 1).min(last);
    if below == above || sorted[below].total_cmp(&sorted[above]).is_eq() {
        return sorted[below];
    }
    // Halfway to infinity is infinity; whatever place it would be.
    sorted[below] + (place - place.floor()) * (sorted[above] - sorted[below])
}

/// The middle of values in any order. 0 of none.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    quantile(values, 0.5)
}

/// Mean and standard deviation. (0, 0) of none.
pub(super) fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = real(values.clone().count()).max(1.0);
    let mean = values.clone().sum::<f64>() / count;
    let square = values.map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    (mean, square.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ln_gamma_meets_factorials_and_the_half() {
        for (x, expected) in
            [(1.0, 0.0), (2.0, 0.0), (0.5, 0.572_364_942_924_700_1), (11.0, 15.104_412_573_075_516)]
        {
            assert!((ln_gamma(x) - expected).abs() < 1e-10, "{x}: {} is not {expected}", ln_gamma(x));
        }
        // Γ(x + 1) = x Γ(x), across the border between series and recurrence.
        for x in [0.01, 3.7, 9.5, 12.5, 4e5] {
            let gap = ln_gamma(x + 1.0) - ln_gamma(x) - ln(x);
            assert!(gap.abs() < 1e-8, "{x}: off by {gap}");
        }
    }
}
