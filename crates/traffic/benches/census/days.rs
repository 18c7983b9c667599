//! When requests come, and how many of them are attempts with which signature.

use crate::series::{Random, Scatter};

/// Days that a log covers. The first is Monday, 2 March 2026; all are in March.
pub(crate) const DAYS: usize = 30;
const HOUR_SECONDS: f64 = 3_600.0;
/// The busiest hour has so many times the requests of the quietest, and a working day of a Sunday.
const DIURNAL: f64 = 3.0;
const WEEKLY: f64 = 1.4;
/// The least and the largest share of attempts on a day, and what they are about on most.
const SHARES: (f64, f64) = (0.08, 0.30);
const SHARE: f64 = 0.18;
/// Variance over mean of a day's attempts: what real signatures have.
const RATIOS: [f64; 4] = [0.3, 1.0, 5.0, 50.0];

/// How busy a moment is, against the busiest.
pub(crate) fn busy(seconds: f64) -> f64 {
    let hour = seconds / HOUR_SECONDS % 24.0;
    // Quietest at three in the night.
    let diurnal = 1.0 + (DIURNAL - 1.0) / 2.0 * (1.0 - (std::f64::consts::TAU * (hour - 3.0) / 24.0).cos());
    let weekend = (seconds / HOUR_SECONDS / 24.0) % 7.0 >= 5.0;
    diurnal * if weekend { 1.0 } else { WEEKLY } / (DIURNAL * WEEKLY)
}

/// How busy it is on average.
pub(crate) fn busy_mean() -> f64 {
    let hours = DAYS as u64 * 24;
    let middle = |hour: u64| (crate::f64_of(hour) + 0.5) * HOUR_SECONDS;
    (0..hours).map(|hour| busy(middle(hour))).sum::<f64>() / crate::f64_of(hours)
}

/// Attempts of one day.
#[derive(Debug)]
pub(crate) struct Day {
    /// Their share among its requests.
    pub(crate) share: f64,
    /// By signature, the sum of its share and of those before it; the last is 1.
    pub(crate) upto: Vec<f64>,
}

/// For each day, when there are so many signatures and requests: growth, decay and floor of each signature.
pub(crate) fn days(signatures: usize, requests: f64, random: &mut Random) -> Vec<Day> {
    let curves: Vec<Vec<f64>> = (0..signatures).map(|_| curve(random)).collect();
    let all: f64 = curves.iter().flatten().sum();
    let scatters: Vec<Scatter> = (0..signatures)
        .map(|_| {
            Scatter::Ratio(RATIOS[if random.unit() < 0.5 { 0 } else { 2 } + usize::from(random.unit() < 0.5)])
        })
        .collect();
    let day_requests = requests / crate::f64_of(DAYS as u64);
    let day = |day: usize| {
        let mut upto = Vec::new();
        let mut sum = 0.0;
        for (curve, scatter) in curves.iter().zip(&scatters) {
            sum += scatter.draw(SHARE * requests * curve[day] / all, random);
            upto.push(sum);
        }
        if sum > 0.0 {
            for upto in &mut upto {
                *upto /= sum;
            }
        }
        Day { share: (sum / day_requests).clamp(SHARES.0, SHARES.1), upto }
    };
    (0..DAYS).map(day).collect()
}

/// What a signature has on each day, without noise: it grows to its peak, then falls to its floor by halves.
fn curve(random: &mut Random) -> Vec<f64> {
    let level = random.magnitude(1.0, 100.0);
    let peak = random.between(-10.0, 20.0);
    let (growth, half_life) = (random.between(0.1, 0.8), random.magnitude(2.0, 20.0));
    let floor = random.magnitude(0.002, 0.2);
    let at = |day: f64| {
        let shape =
            if day < peak { (growth * (day - peak)).exp() } else { 0.5_f64.powf((day - peak) / half_life) };
        level * (floor + (1.0 - floor) * shape)
    };
    (0..DAYS as u64).map(|day| at(crate::f64_of(day))).collect()
}
