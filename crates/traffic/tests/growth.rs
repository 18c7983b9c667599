//! How often growth is told where there is none, and how soon where there is: on simulated hours, as a server looks at them.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a simulation"
)]

use traffic::census::growth::growth;

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
        (0.5, 1.0, |days: f64| 2.0_f64.powf(days), 240),
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
