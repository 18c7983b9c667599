//! Whether a signature starts to grow: the sources of the last day against those of the days before.
//!
//! Counts of sources scatter far more than Poisson's: what one day brings says little about the next. So the last day must be
//! far above the days before on a logarithmic scale, measured by their own scatter, and twice the highest but two of them. With
//! these bounds, a signature that only scatters raises less than one false alarm in ten years on average, at its worst one in two
//! years (`tests/growth.rs`; `docs/census.md` has the figures).

/// Days before that are needed.
pub const DAYS_MIN: usize = 7;
/// Sources of the last day that are needed.
pub const SOURCES_MIN: u64 = 10;
/// The highest days before are taken for no more than the third: growth that began yesterday must not hide today's.
const HIGHEST_LOWERED: usize = 2;
/// How many standard errors the last day must be above.
const ERRORS_MIN: f64 = 5.0;
/// How many times the highest of the days before, lowered.
const TIMES_MIN: f64 = 2.0;
/// What is believed of the scatter before any day was seen, and for how many days that counts: (standard deviation 0.22)².
const SCATTER: f64 = 0.05;
const SCATTER_DAYS: f64 = 4.0;

/// A signature that starts to grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Sources a day before: the geometric mean.
    pub usual: f64,
    /// How many standard errors the last day is above that.
    pub errors: f64,
}

/// Looks at the last day's sources and at those of the days before that were observed, in any order. `None`: it does not grow,
/// as far as can be told.
#[allow(clippy::cast_precision_loss, reason = "sources are far fewer than 2^52")]
pub fn growth(last: u64, before: &[f64]) -> Option<Growth> {
    if last < SOURCES_MIN || before.len() < DAYS_MIN {
        return None;
    }
    let last = last as f64;
    let mut lowered = before.to_vec();
    lowered.sort_by(f64::total_cmp);
    let highest = lowered[lowered.len() - 1 - HIGHEST_LOWERED];
    for count in &mut lowered {
        *count = count.clamp(0.0, highest);
    }
    if last < TIMES_MIN * highest {
        return None;
    }
    let days = lowered.len() as f64;
    let logarithms: Vec<f64> = lowered.iter().map(|count| (count + 1.0).ln()).collect();
    let middle = logarithms.iter().sum::<f64>() / days;
    let squares: f64 = logarithms.iter().map(|one| (one - middle).powi(2)).sum();
    // Poisson's share of the scatter is there in any case.
    let poisson = SCATTER + 1.0 / (lowered.iter().sum::<f64>() / days + 1.0);
    let variance = (squares + SCATTER_DAYS * poisson) / (days - 1.0 + SCATTER_DAYS);
    let errors = ((last + 1.0).ln() - middle) / (variance * (1.0 + 1.0 / days)).sqrt();
    (errors >= ERRORS_MIN).then(|| Growth { usual: middle.exp() - 1.0, errors })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_known_or_little_seen_is_no_growth() {
        assert_eq!(growth(1_000, &[1.0; 6]), None, "six days tell nothing");
        assert_eq!(growth(9, &[0.0; 14]), None, "nine sources are few");
        assert!(growth(200, &[1.0; 14]).is_some());
        let mut began = vec![10.0; 14];
        began[0] = 150.0;
        began[1] = 80.0;
        assert!(growth(300, &began).is_some(), "what began two days ago hides nothing");
    }
}
