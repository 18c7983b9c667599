//! Random numbers: the n-th draw is a function of seed, stream and n alone, the same on every platform and in every version.
//!
//! Philox 4x32-10 (Salmon, Moraes, Dror & Shaw 2011), pinned by the published known answers.

use super::number::{exp, ln, ln_gamma, real, whole};

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// The golden ratio and the square root of 3, less one.
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// Four random words for a place under a key.
fn philox(mut place: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let halves = |factor: u32, word: u32| {
            let product = u64::from(factor) * u64::from(word);
            (high(product), low(product))
        };
        let (high0, low0) = halves(MULTIPLIERS[0], place[0]);
        let (high1, low1) = halves(MULTIPLIERS[1], place[2]);
        place = [high1 ^ place[1] ^ key[0], low1, high0 ^ place[3] ^ key[1], low0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    place
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
fn low(word: u64) -> u32 {
    word as u32
}

fn high(word: u64) -> u32 {
    low(word >> 32)
}

/// A stream of draws.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    key: [u32; 2],
    stream: u64,
    block: u64,
    words: [u32; 4],
    left: usize,
    /// The second of the last pair of normal draws.
    normal: Option<f64>,
}

impl Chance {
    /// Stream `stream` of a seed. Streams do not overlap: each has 2⁶⁶ words of its own.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self { key: [low(seed), high(seed)], stream, block: 0, words: [0; 4], left: 0, normal: None }
    }

    fn word(&mut self) -> u32 {
        if self.left == 0 {
            let place = [low(self.block), high(self.block), low(self.stream), high(self.stream)];
            self.words = philox(place, self.key);
            self.block += 1;
            self.left = 4;
        }
        self.left -= 1;
        self.words[self.left]
    }

    /// Between 0 and 1, neither included; steps of 2⁻⁵³.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(super) fn unit(&mut self) -> f64 {
        let bits = (u64::from(self.word()) << 21) | u64::from(self.word() >> 11);
        (bits as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Below `end`; 0 if `end` is 0.
    pub(super) fn index(&mut self, end: usize) -> usize {
        whole(self.unit() * real(end)).min(end.saturating_sub(1))
    }

    /// Standard normal (Marsaglia's polar method).
    pub(super) fn normal(&mut self) -> f64 {
        if let Some(kept) = self.normal.take() {
            return kept;
        }
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 {
                let factor = (-2.0 * ln(square) / square).sqrt();
                self.normal = Some(y * factor);
                return x * factor;
            }
        }
    }

    /// Exponential with mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -ln(self.unit())
    }

    /// Student's t with three degrees of freedom: like the normal, with heavy tails.
    pub(super) fn t3(&mut self) -> f64 {
        let square: f64 = (0..3).map(|_| self.normal()).map(|x| x * x).sum();
        self.normal() / (square / 3.0).sqrt()
    }

    /// Gamma with mean `shape` (Marsaglia & Tsang 2000).
    pub(super) fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let power = exp(ln(self.unit()) / shape);
            return self.gamma(shape + 1.0) * power;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = 1.0 + c * x;
            if v <= 0.0 {
                continue;
            }
            let v = v * v * v;
            let height = self.unit();
            // Their squeeze: what is below it is below the curve, too, and needs no logarithm.
            if height < 1.0 - 0.0331 * (x * x) * (x * x) {
                return d * v;
            }
            if ln(height) < 0.5 * x * x + d - d * v + d * ln(v) {
                return d * v;
            }
        }
    }

    /// Poisson: by inversion for a small mean, Hörmann's transformed rejection (PTRS, 1993) otherwise.
    pub(super) fn poisson(&mut self, mean: f64) -> f64 {
        if mean <= 0.0 {
            return 0.0;
        }
        if mean < 10.0 {
            let floor = exp(-mean);
            let (mut count, mut product) = (0.0, self.unit());
            while product > floor {
                product *= self.unit();
                count += 1.0;
            }
            return count;
        }
        // The letters of the paper are b, a, 1/α, v_r, k, us.
        let width = 0.931 + 2.53 * mean.sqrt();
        let slope = -0.059 + 0.024_83 * width;
        let inverse_alpha = 1.1239 + 1.1328 / (width - 3.4);
        let at_once = 0.9277 - 3.6224 / (width - 2.0);
        loop {
            let place = self.unit() - 0.5;
            let height = self.unit();
            let edge = 0.5 - place.abs();
            let count = ((2.0 * slope / edge + width) * place + mean + 0.43).floor();
            if edge >= 0.07 && height <= at_once {
                return count;
            }
            if count < 0.0 || (edge < 0.013 && height > edge) {
                continue;
            }
            let hat = ln(height) + ln(inverse_alpha) - ln(slope / (edge * edge) + width);
            if hat <= count * ln(mean) - mean - ln_gamma(count + 1.0) {
                return count;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_known_answers() {
        let answers = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (place, key, words) in answers {
            assert_eq!(philox(place, key), words);
        }
    }

    #[test]
    fn draws_have_the_mean_and_variance_of_their_law() {
        type Law = fn(&mut Chance) -> f64;
        let laws: [(&str, Law, f64, f64); 6] = [
            ("unit", Chance::unit, 0.5, 1.0 / 12.0),
            ("normal", Chance::normal, 0.0, 1.0),
            ("exponential", Chance::exponential, 1.0, 1.0),
            ("gamma 0.4", |chance| chance.gamma(0.4), 0.4, 0.4),
            ("poisson 3", |chance| chance.poisson(3.0), 3.0, 3.0),
            ("poisson 80", |chance| chance.poisson(80.0), 80.0, 80.0),
        ];
        for (stream, (name, law, mean, variance)) in laws.into_iter().enumerate() {
            let mut chance = Chance::new(1, stream as u64);
            let draws: Vec<f64> = (0..40_000).map(|_| law(&mut chance)).collect();
            let (got, deviation) = super::super::number::moments(draws.iter().copied());
            // Five standard errors of the mean; the variance within 6 %.
            assert!((got - mean).abs() < 5.0 * (variance / 40_000.0).sqrt(), "{name}: mean {got}");
            assert!((deviation * deviation / variance - 1.0).abs() < 0.06, "{name}: deviation {deviation}");
        }
    }
}
