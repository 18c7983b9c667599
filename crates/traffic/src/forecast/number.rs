//! Functions whose last bit is the same on every platform, and order statistics.
//!
//! The standard library's `ln` and `exp` come from the platform's C library. These use only operations that IEEE 754 rounds
//! exactly, and are quicker where a likelihood calls them a million times.

use std::f64::consts::{LN_2, LOG2_E};

/// Bits of the fraction of an `f64`.
const FRACTION_BITS: u32 = 52;
/// 1.5 · 2⁵²: what is added to it is rounded to a whole number.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// e^x to 15 digits. 0 below −708, infinite above 709.
#[inline]
pub(super) fn exp(x: f64) -> f64 {
    /// ln 2 in two parts, the first with zeros at its end: a whole number times it is exact.
    const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    if !(-708.0..=709.0).contains(&x) {
        return if x > 709.0 { f64::INFINITY } else { 0.0 };
    }
    let shifted = x * LOG2_E + ROUNDER;
    let power = shifted - ROUNDER;
    let rest = (x - power * LN_2_HIGH) - power * LN_2_LOW;
    // Taylor's series for |rest| ≤ ln 2 / 2, up to rest¹³ / 13!.
    let mut sum = 1.0;
    for divisor in [13.0, 12.0, 11.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0] {
        sum = 1.0 + sum * rest * (1.0 / divisor);
    }
    // The low bits of the sum are the whole number, in two's complement.
    let power = shifted.to_bits().wrapping_sub(ROUNDER.to_bits());
    f64::from_bits(sum.to_bits().wrapping_add(power << FRACTION_BITS))
}

/// The natural logarithm to 15 digits; of 0 and less, −∞.
#[inline]
pub(super) fn ln(x: f64) -> f64 {
    // √½: what is below it is moved, so that the fraction lies between √½ and √2, without a branch that chance would decide.
    const HALF_ROOT: u64 = 0x3FE6_A09E_667F_3BCD;
    if !(f64::MIN_POSITIVE..f64::INFINITY).contains(&x) {
        return if x > 1.0 { f64::INFINITY } else { f64::NEG_INFINITY };
    }
    let moved = x.to_bits().wrapping_sub(HALF_ROOT);
    #[expect(clippy::cast_possible_wrap, clippy::cast_precision_loss, reason = "twelve bits")]
    let power = ((moved as i64) >> FRACTION_BITS) as f64;
    let fraction = f64::from_bits((moved & ((1 << FRACTION_BITS) - 1)).wrapping_add(HALF_ROOT));
    // 2 artanh(t) for |t| ≤ 0.172, up to t¹⁹ / 19.
    let t = (fraction - 1.0) / (fraction + 1.0);
    let square = t * t;
    let fourth = square * square;
    // Even and odd terms side by side: half as long a chain.
    let even = (((fourth / 17.0 + 1.0 / 13.0) * fourth + 1.0 / 9.0) * fourth + 1.0 / 5.0) * fourth + 1.0;
    let odd =
        (((fourth / 19.0 + 1.0 / 15.0) * fourth + 1.0 / 11.0) * fourth + 1.0 / 7.0) * fourth + 1.0 / 3.0;
    power * LN_2 + 2.0 * t * (even + square * odd)
}

/// From here up Stirling's series has 11 digits.
const STIRLING_MIN: f64 = 8.0;

/// ln Γ(x) by Stirling's series without its constant, x ≥ `STIRLING_MIN`.
#[inline]
fn stirling(x: f64) -> f64 {
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (x - 0.5) * ln(x) - x + series
}

/// ln Γ(x) for x > 0, to 11 digits.
pub(super) fn ln_gamma(x: f64) -> f64 {
    ln_rise(1.0, x - 1.0)
}

/// ln Γ(x + y) − ln Γ(x) for x > 0 and x + y > 0, to 11 digits of the larger one.
#[inline]
pub(super) fn ln_rise(x: f64, y: f64) -> f64 {
    // A small whole number of factors.
    if (0.0..8.5).contains(&y) && (y - y.floor()).abs() < f64::EPSILON {
        let (mut product, mut factor) = (1.0, x);
        while factor < x + y - 0.5 {
            product *= factor;
            factor += 1.0;
        }
        if product < f64::INFINITY && product > f64::MIN_POSITIVE {
            return ln(product);
        }
    }
    // Both are moved up, without asking whether they need it, by Γ(x + 8) = x (x + 1) … (x + 7) Γ(x).
    let product = |x: f64| {
        let pair = |of: f64| (x + of) * (x + (7.0 - of));
        (pair(0.0) * pair(1.0)) * (pair(2.0) * pair(3.0))
    };
    let to = x + y;
    stirling(to + STIRLING_MIN) - stirling(x + STIRLING_MIN) + ln(product(x) / product(to))
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

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the platform's own are what to compare with")]
    fn ln_and_exp_are_the_platforms_but_for_the_last_digits() {
        for step in -7000..7000 {
            let x = f64::from(step) * 0.1;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-14, "exp {x}: {} is not {}", exp(x), x.exp());
            let y = x.exp();
            assert!(
                (ln(y) - y.ln()).abs() <= 1e-15 * y.ln().abs().max(1.0),
                "ln {y}: {} is not {}",
                ln(y),
                y.ln()
            );
        }
        let ends = [exp(-1e9), exp(1e9), ln(0.0), ln(-1.0), ln(f64::INFINITY)];
        let wanted = [0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY, f64::INFINITY];
        assert_eq!(ends.map(f64::to_bits), wanted.map(f64::to_bits));
        assert!((exp(0.0) - 1.0).abs() < f64::EPSILON && ln(1.0).abs() < f64::EPSILON);
    }
}
