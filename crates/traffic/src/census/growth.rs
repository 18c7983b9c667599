//! Whether a signature starts to grow: the sources of the last day against those of the days before.
//!
//! Counts of sources scatter far more than Poisson's: what one day brings says little about the next. So the last day must be
//! far above the days before on a logarithmic scale, measured by their own scatter, and twice the highest but two of them. With
//! these bounds, a signature that only scatters raises less than one false alarm in ten years on average, at its worst one in two
//! years (the test below; `docs/census.md` has the figures).

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
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a simulation"
)]
mod tests {
    use super::*;

    /// Chance that is the same everywhere (splitmix64).
    struct Chance(u64);

    impl Chance {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut bits = self.0;
            bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + f64::EPSILON
        }

        fn normal(&mut self) -> f64 {
            (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
        }

        /// Marsaglia & Tsang (2000).
        fn gamma(&mut self, shape: f64) -> f64 {
            if shape < 1.0 {
                let power = self.uniform().powf(1.0 / shape);
                return self.gamma(shape + 1.0) * power;
            }
            let d = shape - 1.0 / 3.0;
            loop {
                let normal = self.normal();
                let cube = (1.0 + normal / (9.0 * d).sqrt()).powi(3);
                if cube > 0.0 && self.uniform().ln() < normal * normal / 2.0 + d - d * cube + d * cube.ln() {
                    return d * cube;
                }
            }
        }

        fn poisson(&mut self, mean: f64) -> u64 {
            if mean > 60.0 {
                return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
            }
            let (mut left, mut count) = (self.uniform(), 0);
            while left > (-mean).exp() {
                left *= self.uniform();
                count += 1;
            }
            count
        }

        /// Negative binomial; its variance is mean + mean² ÷ size.
        fn negative_binomial(&mut self, mean: f64, size: f64) -> u64 {
            let rate = self.gamma(size) * mean / size;
            self.poisson(rate)
        }
    }

    /// The windows of a day that end at `hour`: the last one, and fourteen before it.
    fn windows(hours: &[u64], hour: usize) -> (u64, Vec<f64>) {
        let window = |before: usize| hours[hour - 24 * (before + 1)..hour - 24 * before].iter().sum::<u64>();
        (window(0), (1..=14).map(|before| window(before) as f64).collect())
    }

    #[test]
    fn what_only_scatters_raises_less_than_one_alarm_in_ten_years_and_at_worst_one_in_two() {
        let mut chance = Chance(7);
        let (mut alarms, mut years, mut worst) = (0, 0.0, 0.0_f64);
        for size in [0.5, 1.0, 3.0, 10.0, 1_000.0] {
            for mean in [0.3, 1.0, 3.0, 10.0, 100.0, 1_000.0] {
                let days = 4_000;
                let hours: Vec<u64> =
                    (0..days * 24).map(|_| chance.negative_binomial(mean / 24.0, size / 24.0)).collect();
                // As the server looks: every hour; an episode ends after a day without growth.
                let (mut own, mut last) = (0, None);
                for hour in 15 * 24..=days * 24 {
                    let (now, before) = windows(&hours, hour);
                    if growth(now, &before).is_some() {
                        own += i32::from(last.is_none_or(|last| hour - last > 24));
                        last = Some(hour);
                    }
                }
                let own_years = days as f64 / 365.0;
                alarms += own;
                years += own_years;
                worst = worst.max(f64::from(own) / own_years);
            }
        }
        println!("{alarms} false alarms in {years:.0} years of signatures; at worst {worst:.2} a year");
        assert!(f64::from(alarms) / years < 0.1, "{alarms} false alarms in {years:.0} years");
        assert!(worst < 0.75, "{worst} a year");
    }

    #[test]
    fn what_grows_tenfold_or_doubles_day_by_day_is_seen() {
        let mut chance = Chance(11);
        // A mean a day and a size; how it grows by the day; seen within so many hours in nine of ten runs.
        for (mean, size, grown, within) in [
            (20.0, 5.0, (|_| 10.0) as fn(f64) -> f64, 60),
            (100.0, 10.0, |_| 10.0, 18),
            (100.0, 10.0, |days: f64| 2.0_f64.powf(days), 96),
            (20.0, 5.0, |days: f64| 2.0_f64.powf(days), 132),
            (0.5, 1.0, |days: f64| 2.0_f64.powf(days), 192),
        ] {
            let mut seen: Vec<usize> = (0..200)
                .map(|_| {
                    let hours: Vec<u64> = (0..25 * 24)
                        .map(|hour| {
                            let days = (f64::from(hour) - 15.0 * 24.0) / 24.0;
                            let times = if days < 0.0 { 1.0 } else { grown(days) };
                            chance.negative_binomial(mean * times / 24.0, size / 24.0)
                        })
                        .collect();
                    let found = (15 * 24 + 1..=25 * 24).find(|hour| {
                        let (now, before) = windows(&hours, *hour);
                        growth(now, &before).is_some()
                    });
                    found.map_or(usize::MAX, |hour| hour - 15 * 24)
                })
                .collect();
            seen.sort_unstable();
            println!("mean {mean}: seen after {} h (median), {} h (nine of ten)", seen[100], seen[180]);
            assert!(seen[180] <= within, "mean {mean}: {} h", seen[180]);
        }
    }

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
