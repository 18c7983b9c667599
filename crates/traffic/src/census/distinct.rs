//! How many different sources there were: exactly while they are few, then with a known error.
//!
//! What is kept depends only on which sources came, not on their order: parts that were counted apart unite to the same
//! bytes as one count of everything.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Bits of a hash that choose a register: 4,096 of them.
const REGISTER_BITS: u32 = 12;
pub(super) const REGISTERS: usize = 1 << REGISTER_BITS;
/// Bits of a hash that the rank is read from.
const RANK_BITS: u32 = 64 - REGISTER_BITS;

/// Up to so many hashes a set is exact. A set of registers takes as much room as 512 of them.
const FEW_MAX: usize = 1_024;

/// Standard error of an estimate, as a share of it: 1.04 / √4096.
const ERROR: f64 = 1.04 / 64.0;

/// A number of different things, and how sure it is.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Count {
    /// How many.
    pub count: u64,
    /// Standard error in percent; `None` where it was counted exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_percent: Option<f64>,
}

impl Count {
    /// Counted one by one.
    pub fn exact(count: u64) -> Self {
        Self { count, error_percent: None }
    }

    /// Estimated from registers.
    pub(super) fn estimated(count: u64) -> Self {
        Self { count, error_percent: Some((ERROR * 1_000.0).round() / 10.0) }
    }
}

/// The register of a hash, and the rank that it has there.
#[inline]
pub(super) fn place(hash: u64) -> (usize, u8) {
    let register = usize::try_from(hash >> RANK_BITS).unwrap_or(0);
    let rank = (hash << REGISTER_BITS | 1 << (REGISTER_BITS - 1)).leading_zeros() + 1;
    (register, u8::try_from(rank).unwrap_or(u8::MAX))
}

/// Different hashes: exactly, then in registers (HyperLogLog).
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Distinct {
    Few(HashSet<u64>),
    Many(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self::Few(HashSet::new())
    }
}

impl Distinct {
    #[inline]
    pub(super) fn insert(&mut self, hash: u64) {
        match self {
            Self::Many(registers) => {
                let (register, rank) = place(hash);
                registers[register] = registers[register].max(rank);
            }
            Self::Few(few) => {
                few.insert(hash);
                if few.len() > FEW_MAX {
                    let mut registers = Box::new([0; REGISTERS]);
                    for (register, rank) in few.iter().map(|hash| place(*hash)) {
                        registers[register] = registers[register].max(rank);
                    }
                    *self = Self::Many(registers);
                }
            }
        }
    }

    pub(super) fn unite(&mut self, other: &Self) {
        match other {
            Self::Few(few) => few.iter().for_each(|hash| self.insert(*hash)),
            Self::Many(theirs) => {
                let mut registers = theirs.clone();
                match self {
                    Self::Few(few) => {
                        for (register, rank) in few.iter().map(|hash| place(*hash)) {
                            registers[register] = registers[register].max(rank);
                        }
                    }
                    Self::Many(ours) => raise(&mut registers[..], &ours[..]),
                }
                *self = Self::Many(registers);
            }
        }
    }

    pub(super) fn count(&self) -> Count {
        match self {
            Self::Few(few) => Count::exact(few.len() as u64),
            Self::Many(registers) => Count::estimated(estimate(registers.iter().copied())),
        }
    }

    /// What a partial keeps: hashes in order, or registers.
    pub(super) fn packed(&self) -> (Vec<u64>, Vec<u8>) {
        match self {
            Self::Few(few) => {
                let mut hashes: Vec<u64> = few.iter().copied().collect();
                hashes.sort_unstable();
                (hashes, Vec::new())
            }
            Self::Many(registers) => (Vec::new(), registers.to_vec()),
        }
    }

    /// Back from what a partial kept; `None` where that is damaged.
    pub(super) fn unpacked(hashes: &[u64], registers: Vec<u8>) -> Option<Self> {
        if registers.is_empty() {
            return (hashes.len() <= FEW_MAX).then(|| Self::Few(hashes.iter().copied().collect()));
        }
        let sound = hashes.is_empty() && are_ranks(&registers);
        registers.into_boxed_slice().try_into().ok().filter(|_| sound).map(Self::Many)
    }
}

/// Whether registers hold nothing but ranks.
pub(super) fn are_ranks(registers: &[u8]) -> bool {
    registers.iter().all(|rank| u32::from(*rank) <= RANK_BITS + 1)
}

/// Raises each register to that of another set.
pub(super) fn raise(registers: &mut [u8], others: &[u8]) {
    for (ours, theirs) in registers.iter_mut().zip(others) {
        *ours = (*ours).max(*theirs);
    }
}

/// How many different hashes made these registers; those not given are 0.
///
/// Estimator: Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017), algorithm 6: unbiased from
/// nothing to more than there are addresses, without tables.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn estimate(registers: impl Iterator<Item = u8>) -> u64 {
    let mut of_rank = [0_u64; RANK_BITS as usize + 2];
    let mut given = 0;
    for rank in registers {
        of_rank[usize::from(rank).min(RANK_BITS as usize + 1)] += 1;
        given += 1;
    }
    of_rank[0] += (REGISTERS as u64).saturating_sub(given);
    let all = REGISTERS as f64;
    let last = RANK_BITS as usize + 1;
    let mut sum = all * tau(1.0 - of_rank[last] as f64 / all);
    for rank in (1..last).rev() {
        sum = 0.5 * (sum + of_rank[rank] as f64);
    }
    sum += all * sigma(of_rank[0] as f64 / all);
    (all * all / (2.0 * std::f64::consts::LN_2) / sum).round() as u64
}

/// Σ, for registers that are still 0.
fn sigma(share: f64) -> f64 {
    if share >= 1.0 {
        return f64::INFINITY;
    }
    let (mut power, mut weight, mut sum) = (share, 1.0, share);
    loop {
        power *= power;
        let before = sum;
        sum += power * weight;
        weight *= 2.0;
        if sum.to_bits() == before.to_bits() {
            return sum;
        }
    }
}

/// Τ, for registers that are full.
fn tau(share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut root, mut weight, mut sum) = (share, 1.0, 1.0 - share);
    loop {
        root = root.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - root) * (1.0 - root) * weight;
        if sum.to_bits() == before.to_bits() {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siphasher::sip::SipHasher13;

    fn hash(number: u64) -> u64 {
        SipHasher13::new_with_key(&[7; 16]).hash(&number.to_le_bytes())
    }

    fn of(numbers: std::ops::Range<u64>) -> Distinct {
        let mut distinct = Distinct::default();
        numbers.for_each(|number| distinct.insert(hash(number)));
        distinct
    }

    #[test]
    fn few_are_exact_and_many_are_within_the_error_that_is_told() {
        assert_eq!(of(0..1_024).count(), Count::exact(1_024));
        for many in [1_025, 5_000, 12_000, 20_000, 100_000, 1_000_000] {
            let Count { count, error_percent } = of(0..many).count();
            assert_eq!(error_percent, Some(1.6));
            #[allow(clippy::cast_precision_loss)]
            let off = count.abs_diff(many) as f64 / many as f64;
            assert!(off < 4.0 * ERROR, "{many}: {count}");
        }
    }

    #[test]
    fn parts_unite_to_the_same_as_the_whole_in_any_order() {
        for (cut, end) in [(300, 900), (900, 1_500), (2_000, 2_100), (5_000, 30_000)] {
            let (first, second, whole) = (of(0..cut), of(cut / 2..end), of(0..end));
            let unite = |one: &Distinct, other: &Distinct| {
                let mut united = one.clone();
                united.unite(other);
                united
            };
            assert_eq!(unite(&first, &second), whole);
            assert_eq!(unite(&second, &first), whole);
            let (hashes, registers) = whole.packed();
            assert_eq!(Distinct::unpacked(&hashes, registers).as_ref(), Some(&whole));
        }
    }
}
