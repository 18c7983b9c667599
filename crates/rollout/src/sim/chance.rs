//! Chance for the simulation: the n-th draw of a key is a function of key and n (SplitMix64), the same on any machine.

/// A stream of draws.
#[derive(Clone, Debug)]
pub struct Chance {
    key: u64,
    drawn: u64,
}

impl Chance {
    /// The stream of a seed.
    pub fn of(seed: u64) -> Self {
        Self { key: mix(seed ^ 0x5AFE_C0DE), drawn: 0 }
    }

    /// A stream of its own for one thing, so that another thing more disturbs no other.
    #[must_use]
    pub fn child(&self, number: u64) -> Self {
        Self { key: mix(self.key ^ mix(number.wrapping_add(1))), drawn: 0 }
    }

    /// The next draw.
    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.key.wrapping_add(self.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    /// From 0 to `end` - 1; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        // The high half of a product: biased by less than one in 2³² for the small ends used here.
        u64::try_from((u128::from(self.draw()) * u128::from(end)) >> 64).expect("the high half fits")
    }

    /// From `from` to `to`, both included.
    pub fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// True so often in a thousand.
    pub fn permille(&mut self, permille: u64) -> bool {
        permille > 0 && self.below(1_000) < permille
    }

    /// An index below `end`.
    pub fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("below a usize")
    }
}

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}
