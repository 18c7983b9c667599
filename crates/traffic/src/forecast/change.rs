//! Where a series changed its course: the days on which a new curve (decay to a floor, or growth) begins.
//!
//! Optimal partitioning: of all ways to cut the days, the one with the smallest misfit plus a price for each cut. Each evening
//! is answered from what was known by then, so that a backtest never looks ahead.

use super::number::{exp, median, real};

/// The price of a cut, in units of the scatter's variance: a cut frees four numbers (when, level, rate, floor), which gain some 8
/// by chance, and there are tens of days to choose from.
const PRICE: f64 = 18.0;
/// A cut that is known moves only when that gains so much.
const PRICE_MOVED: f64 = 4.0;
/// A curve is recognised when it holds so many observed days.
const DAYS_MIN: usize = 5;
/// Neighbours on each side of the running median: a day's median is known so many days later.
const SIDE: usize = 2;
/// Days further out than so many deviations are pulled in: a single odd day begins no new course.
const CLIP: f64 = 3.0;
/// Rates of decay a day that are tried, each a tenth above the one before, and their negatives: between two of them a long decay
/// misses less than a cut costs.
const RATE_LEAST: f64 = 0.01;
const RATE_STEP: f64 = 1.1;
const RATES: usize = 44;
/// e^50.
const SHAPE_MAX: f64 = 5e21;

/// For each evening of a series, the course as known by then.
#[derive(Debug)]
pub(super) struct Courses {
    /// For each day, how many days were observed by its evening.
    observed: Vec<usize>,
    /// The day of each observed one.
    days: Vec<usize>,
    /// After each observed day, the place among them where the present curve began.
    present: Vec<usize>,
    /// The last cut of the best way to cut the days before each place; 0: none.
    last_cut: Vec<usize>,
}

impl Courses {
    pub(super) fn of(counts: &[Option<f64>]) -> Self {
        let seen: Vec<(usize, f64)> =
            counts.iter().enumerate().filter_map(|(day, count)| Some((day, (*count)?))).collect();
        let observed = counts.iter().scan(0, |sum, count| {
            *sum += usize::from(count.is_some());
            Some(*sum)
        });
        let (present, last_cut) = cut(&seen);
        Self {
            observed: observed.collect(),
            days: seen.iter().map(|(day, _)| *day).collect(),
            present,
            last_cut,
        }
    }

    /// Days observed by the evening of `day`.
    pub(super) fn observed(&self, day: usize) -> usize {
        self.observed.get(day).copied().unwrap_or(0)
    }

    /// The day on which the curve of this evening began. `None`: nothing was observed yet.
    pub(super) fn start(&self, day: usize) -> Option<usize> {
        let last = self.observed(day).checked_sub(1)?;
        Some(self.days[self.present[last]])
    }

    /// The days on which the course changed, as known on this evening, oldest first.
    pub(super) fn changes(&self, day: usize) -> Vec<usize> {
        let mut changes = Vec::new();
        let mut place = self.observed(day).checked_sub(1).map_or(0, |last| self.present[last]);
        while place > 0 {
            changes.push(self.days[place]);
            place = self.last_cut[place];
        }
        changes.reverse();
        changes
    }
}

/// After each observed day the place where the present curve began; and the last cut before each place.
fn cut(seen: &[(usize, f64)]) -> (Vec<usize>, Vec<usize>) {
    let (days, scatter) = weighed(seen);
    let misfits: Vec<Vec<f64>> = (0..days.len()).map(|start| misfits(&days[start..])).collect();
    let misfit = |start: usize, end: usize| misfits[start][end - start - 1];
    let mut best = vec![0.0];
    let mut last_cut = vec![0];
    let mut present = Vec::with_capacity(days.len());
    let mut kept = 0;
    for end in 1..=days.len() {
        let price = |start: usize, unit: f64| if start == 0 { 0.0 } else { unit * scatter[end - 1] };
        let total = |start: usize| best[start] + misfit(start, end) + price(start, PRICE);
        let cuts = (1..end).filter(|start| *start >= DAYS_MIN && end - start >= DAYS_MIN);
        let (start, least) = cuts
            .map(|start| (start, total(start)))
            .fold((0, total(0)), |best, other| if other.1 < best.1 { other } else { best });
        best.push(least);
        last_cut.push(start);
        // The medians of the last days may still change: the course is read as it was before them.
        let sure = end.saturating_sub(SIDE);
        let cost_kept =
            if kept < sure { best[kept] + misfit(kept, sure) + price(kept, PRICE) } else { f64::INFINITY };
        if last_cut[sure] != kept && best[sure] + PRICE_MOVED * scatter[end - 1] < cost_kept {
            kept = last_cut[sure];
        }
        present.push(kept);
    }
    (present, last_cut)
}

/// One observed day.
struct Weighed {
    day: f64,
    /// Its count, pulled in.
    count: f64,
    /// 1 / variance, were the scatter 1.
    weight: f64,
}

/// The days, and after each the scatter as known then: variance over the one assumed.
fn weighed(seen: &[(usize, f64)]) -> (Vec<Weighed>, Vec<f64>) {
    // Somewhat wider than Poisson's; the scatter is measured against it.
    let variance = |mean: f64| mean * (1.0 + 0.05 * mean) + 0.5;
    let (mut days, mut scatter, mut jumps) = (Vec::new(), Vec::new(), Vec::new());
    for (place, (day, count)) in seen.iter().enumerate() {
        if let Some((_, before)) = place.checked_sub(1).map(|before| seen[before]) {
            jumps.push((count - before) * (count - before) / (variance(*count) + variance(before)));
        }
        // The median of χ² with one degree of freedom is 0.455.
        let wide = if jumps.len() < 6 { 1.0 } else { (median(&mut jumps.clone()) / 0.455).clamp(0.1, 50.0) };
        let around = place.saturating_sub(SIDE)..(place + SIDE + 1).min(seen.len());
        let middle = median(&mut seen[around].iter().map(|(_, count)| *count).collect::<Vec<f64>>());
        let reach = CLIP * (wide * variance(middle)).sqrt();
        let count = count.clamp(middle - reach, middle + reach);
        days.push(Weighed { day: real(*day), count, weight: 1.0 / variance(middle) });
        scatter.push(wide);
    }
    (days, scatter)
}

/// Sums of a weighted fit of `floor + rise · shape` to counts.
#[derive(Clone, Copy, Default)]
struct Sums {
    w: f64,
    x: f64,
    xx: f64,
    y: f64,
    xy: f64,
    yy: f64,
}

impl Sums {
    fn add(&mut self, weight: f64, shape: f64, count: f64) {
        self.w += weight;
        self.x += weight * shape;
        self.xx += weight * shape * shape;
        self.y += weight * count;
        self.xy += weight * shape * count;
        self.yy += weight * count * count;
    }

    /// The least weighted square misfit with floor and rise not below 0.
    fn misfit(&self) -> f64 {
        let level = self.yy - self.y * self.y / self.w;
        let bare = self.yy - self.xy * self.xy / self.xx;
        let determinant = self.w * self.xx - self.x * self.x;
        let mut least = level.min(bare);
        if determinant > 1e-9 * self.w * self.xx {
            let rise = (self.w * self.xy - self.x * self.y) / determinant;
            let floor = (self.y - rise * self.x) / self.w;
            if rise > 0.0 && floor > 0.0 {
                least = least.min(self.yy - floor * self.y - rise * self.xy);
            }
        }
        least.max(0.0)
    }
}

/// The misfit of one curve to the first 1, 2, … days.
fn misfits(days: &[Weighed]) -> Vec<f64> {
    let mut least = vec![f64::INFINITY; days.len()];
    let mut rate = RATE_LEAST;
    for _ in 0..RATES {
        for rate in [-rate, rate] {
            let of_a_day = exp(-rate);
            let (mut sums, mut shape, mut before) = (Sums::default(), 1.0, days[0].day);
            for (day, least) in days.iter().zip(&mut least) {
                let gap = day.day - before;
                shape *= if gap > 1.5 {
                    exp(-rate * gap)
                } else if gap > 0.5 {
                    of_a_day
                } else {
                    1.0
                };
                // Growth beyond e^50 fits nothing.
                shape = shape.min(SHAPE_MAX);
                sums.add(day.weight, shape, day.count);
                *least = least.min(sums.misfit());
                before = day.day;
            }
        }
        rate *= RATE_STEP;
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forecast::chance::Chance;
    use crate::forecast::noise::Noise;

    fn drawn(days: usize, seed: u64, mean: impl Fn(f64) -> f64) -> Vec<Option<f64>> {
        let mut chance = Chance::new(seed, 0);
        let noise = Noise::new(1.5, 0.02);
        (0..days).map(|day| Some(noise.draw(mean(real(day)), &mut chance))).collect()
    }

    #[test]
    fn a_new_wave_is_seen_within_days_and_a_decay_to_its_floor_is_none() {
        let wave = |day: f64| if day < 30.0 { 8.0 } else { 8.0 + 200.0 * exp(-0.1 * (day - 30.0)) };
        for seed in 0..10 {
            let counts = drawn(60, seed, wave);
            let courses = Courses::of(&counts);
            assert_eq!(courses.start(29), Some(0), "seed {seed}: nothing had happened by then");
            let changes = courses.changes(40);
            assert!(changes.len() == 1 && (29..=31).contains(&changes[0]), "seed {seed}: {changes:?}");
            let decay = drawn(60, seed, |day| 10.0 + 300.0 * exp(-0.12 * day));
            assert_eq!(Courses::of(&decay).changes(59), [0; 0], "seed {seed}");
        }
    }

    #[test]
    fn one_odd_day_and_a_gap_begin_no_new_course() {
        let mut counts = drawn(50, 3, |_| 40.0);
        counts[25] = Some(400.0);
        counts[30..36].fill(None);
        let courses = Courses::of(&counts);
        assert_eq!(courses.changes(49), [0; 0]);
        assert_eq!((courses.observed(29), courses.observed(35), courses.start(49)), (30, 30, Some(0)));
    }

    #[test]
    fn the_course_of_an_evening_depends_on_no_later_day() {
        let counts = drawn(50, 5, |day| if day < 20.0 { 60.0 } else { 10.0 });
        let whole = Courses::of(&counts);
        for evening in 0..50 {
            let known = Courses::of(&counts[..=evening]);
            assert_eq!(known.start(evening), whole.start(evening), "evening {evening}");
        }
    }
}
