//! Made-up series whose truth is known. Their randomness and their formulas share no code with the forecast.

use traffic::forecast::Series;

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Even on the logarithm.
    pub(crate) fn magnitude(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    /// Standard normal (Box & Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.gamma(shape + 1.0) * (1.0 - self.unit()).powf(1.0 / shape);
        }
        let d = shape - 1.0 / 3.0;
        loop {
            let x = self.normal();
            let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
            if v > 0.0 && (1.0 - self.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 200.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (mut count, mut product) = (0.0, self.unit());
        let floor = (-mean).exp();
        while product > floor {
            product *= self.unit();
            count += 1.0;
        }
        count
    }
}

/// How a day's count scatters.
#[derive(Clone, Copy)]
pub(crate) enum Scatter {
    /// Negative binomial, variance = mean + mean²/k.
    Clumped(f64),
    /// Variance over mean: negative binomial above 1, binomial below.
    Ratio(f64),
}

impl Scatter {
    pub(crate) fn draw(self, mean: f64, random: &mut Random) -> f64 {
        let mean = mean.max(1e-9);
        match self {
            Self::Clumped(k) => {
                let mixed = mean / k * random.gamma(k);
                random.poisson(mixed)
            }
            Self::Ratio(ratio) if ratio > 1.0 => {
                let mixed = (ratio - 1.0) * random.gamma(mean / (ratio - 1.0));
                random.poisson(mixed)
            }
            Self::Ratio(ratio) if ratio < 1.0 => {
                let tries = mean / (1.0 - ratio);
                let whole = tries.ceil().max(1.0);
                (0..whole as u64).filter(|_| random.unit() < mean / whole).count() as f64
            }
            Self::Ratio(_) => random.poisson(mean),
        }
    }
}

/// A series, what came after it, and its true mean without weekdays.
pub(crate) struct Story {
    pub(crate) series: Series,
    /// By days ahead, from 1.
    pub(crate) sources: Vec<f64>,
    pub(crate) attempts: Vec<f64>,
    pub(crate) means: Vec<f64>,
    /// Sources a day that never end.
    pub(crate) floor: f64,
}

pub(crate) const FAMILIES: [&str; 6] = ["floor", "ratios", "power", "gaps", "waves", "steady"];
const AHEAD: usize = 90;

/// The series of a seed.
pub(crate) fn story(family: &str, seed: u64) -> Story {
    let mut random = Random(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) ^ 0x0719);
    let r = &mut random;
    let days = match family {
        "ratios" | "waves" => r.between(40.0, 80.0) as usize,
        "steady" => r.between(20.0, 120.0) as usize,
        _ => 35,
    };
    let top = r.magnitude(30.0, 3000.0);
    let decay = 2.0_f64.ln() / r.magnitude(3.0, 30.0);
    let floor = r.magnitude(0.002, 0.2);
    let falling = move |t: f64| top * (floor + (1.0 - floor) * (-decay * t).exp());
    let mean: Box<dyn Fn(f64) -> f64> = match family {
        "ratios" => {
            let (rise, growth) = (r.between(3.0, 12.0), r.between(0.1, 0.8));
            Box::new(move |t| if t < rise { top * (growth * (t - rise)).exp() } else { falling(t - rise) })
        }
        "power" => {
            let (bend, power) = (r.between(3.0, 15.0), r.between(0.5, 1.5));
            Box::new(move |t| top * (1.0 + t / bend).powf(-power))
        }
        "waves" => {
            let (again, height) = (r.between(12.0, days as f64 - 12.0), r.magnitude(0.3, 3.0));
            Box::new(move |t| {
                falling(t) + if t < again { 0.0 } else { height * top * (-decay * (t - again)).exp() }
            })
        }
        "steady" => {
            let level = r.magnitude(1.0, 300.0);
            Box::new(move |_| level)
        }
        _ => Box::new(falling),
    };
    let scatter = match family {
        "ratios" => Scatter::Ratio([0.3, 1.0, 5.0, 50.0][(4.0 * r.unit()) as usize]),
        _ => Scatter::Clumped(r.magnitude(2.0, 20.0)),
    };
    let weekday: Vec<f64> = (0..7).map(|_| (0.15 * r.normal()).exp()).collect();
    let per_source = r.magnitude(1.0, 30.0);
    let (mut sources, mut attempts) = (Vec::new(), Vec::new());
    for day in 0..days + AHEAD {
        let drawn = scatter.draw(mean(day as f64) * weekday[day % 7], r);
        let each = 1.0 + (per_source - 1.0) * (0.4 * r.normal()).exp();
        sources.push(drawn);
        attempts.push((drawn * each).round());
    }
    let gap = (8.0 + 15.0 * r.unit()) as usize;
    let mut keep = |day: usize| family != "gaps" || (!(gap..gap + 5).contains(&day) && r.unit() > 0.1);
    let kept: Vec<bool> = (0..days).map(|day| keep(day) || day == 0).collect();
    let logged = |counts: &[f64]| {
        counts.iter().zip(&kept).map(|(count, kept)| kept.then_some(*count as u32)).collect()
    };
    Story {
        series: Series {
            first_day: jiff::civil::date(2020, 3, 2),
            sources: logged(&sources),
            attempts: logged(&attempts),
        },
        sources: sources[days..].to_vec(),
        attempts: attempts[days..].to_vec(),
        means: (days..days + AHEAD).map(|day| mean(day as f64)).collect(),
        floor: if family == "power" { 0.0 } else { mean(1e9) },
    }
}
