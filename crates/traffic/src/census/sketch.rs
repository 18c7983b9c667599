//! How many sources there were, as a summary that tells nobody which: what leaves a host instead of addresses.
//!
//! A set of registers (HyperLogLog, as in [`super::distinct`]) from the first source on: one source leaves some 14 bits, so
//! hundreds of thousands of addresses look the same. United, summaries of many hosts count a source once, if their hosts hashed
//! with the same key.

use super::distinct::{Count, REGISTERS, are_ranks, estimate, place, raise};
use super::pseudonym::Key;
use crate::format::Source;
use siphasher::sip::SipHasher13;

/// Its bytes at most: what kind of packing it is, and a byte for each register.
pub const SKETCH_BYTES_MAX: usize = 1 + REGISTERS;

/// Packed as register and rank, for the registers that are not 0.
const SPARSE: u8 = 0;
/// Packed as the ranks of all registers.
const DENSE: u8 = 1;
/// What one register takes where few are used.
const SPARSE_BYTES: usize = 3;

/// Tells sources apart without keeping them.
#[derive(Clone, Debug)]
pub struct Hasher(SipHasher13);

impl Hasher {
    /// Under a key: only sketches under the same key can be united.
    pub fn new(key: &Key) -> Self {
        Self(SipHasher13::new_with_key(&key.hash_key()))
    }

    #[inline]
    pub(super) fn hash(&self, source: Source) -> u64 {
        self.0.hash(&source.number().to_be_bytes())
    }
}

/// Different sources, summed up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sketch(Box<[u8; REGISTERS]>);

impl Default for Sketch {
    fn default() -> Self {
        Self(Box::new([0; REGISTERS]))
    }
}

impl Sketch {
    /// One more source, or one that is there already.
    pub fn insert(&mut self, hasher: &Hasher, source: Source) {
        let (register, rank) = place(hasher.hash(source));
        self.0[register] = self.0[register].max(rank);
    }

    /// Adds the sources of another, each once.
    pub fn unite(&mut self, other: &Self) {
        raise(&mut self.0[..], &other.0[..]);
    }

    /// How many sources: an estimate whose standard error is 1.6 %; up to some twenty it is nearly always the very number.
    pub fn count(&self) -> Count {
        match estimate(self.0.iter().copied()) {
            0 => Count::exact(0),
            some => Count::estimated(some),
        }
    }

    /// At most [`SKETCH_BYTES_MAX`] bytes; equal sketches are equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let used = self.0.iter().filter(|rank| **rank > 0).count();
        if used * SPARSE_BYTES >= REGISTERS {
            return [&[DENSE][..], &self.0[..]].concat();
        }
        let mut bytes = vec![SPARSE];
        for (register, rank) in (0_u16..).zip(self.0.iter()).filter(|(_, rank)| **rank > 0) {
            bytes.extend(register.to_be_bytes());
            bytes.push(*rank);
        }
        bytes
    }

    /// From such bytes; `None` where they are no sketch, or not the only way to write it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let mut sketch = Self::default();
        match *kind {
            DENSE => *sketch.0 = rest.try_into().ok()?,
            SPARSE if rest.len() % SPARSE_BYTES == 0 => {
                for of in rest.chunks_exact(SPARSE_BYTES) {
                    *sketch.0.get_mut(usize::from(u16::from_be_bytes([of[0], of[1]])))? = of[2];
                }
            }
            _ => return None,
        }
        (are_ranks(&sketch.0[..]) && sketch.to_bytes() == bytes).then_some(sketch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: std::ops::Range<u32>) -> Sketch {
        let hasher = Hasher::new(&Key::new([7; 32]));
        let mut sketch = Sketch::default();
        for number in numbers {
            sketch.insert(
                &hasher,
                Source::address(std::net::Ipv4Addr::from(number).to_string().as_bytes()).unwrap(),
            );
        }
        sketch
    }

    #[test]
    fn hosts_that_saw_the_same_sources_do_not_count_them_twice() {
        let mut both = of(0..40);
        both.unite(&of(30..60));
        assert_eq!(both, of(0..60));
        assert!((58..=62).contains(&both.count().count), "{both:?}");
        assert_eq!(of(0..20).count().count, 20);
        assert_eq!(Sketch::default().count(), Count::exact(0));
        let many = of(0..100_000).count();
        assert!((95_000..105_000).contains(&many.count), "{many:?}");
    }

    #[test]
    fn it_travels_as_few_bytes_and_only_one_way() {
        for (sources, bytes) in [(0, 1), (1, 4), (20, 61), (50_000, SKETCH_BYTES_MAX)] {
            let sketch = of(0..sources);
            let packed = sketch.to_bytes();
            assert_eq!(packed.len(), bytes);
            assert_eq!(Sketch::from_bytes(&packed), Some(sketch));
        }
        let twice = [0, 0, 1, 5, 0, 1, 6];
        let backwards = [0, 0, 2, 5, 0, 1, 5];
        let empty = [0, 0, 1, 0];
        let outside = [0, 0x10, 0, 1];
        let no_rank = [0, 0, 1, 60];
        for hostile in [&twice[..], &backwards, &empty, &outside, &no_rank, &[0, 1], &[2], &[], &[1, 0]] {
            assert_eq!(Sketch::from_bytes(hostile), None, "{hostile:?}");
        }
    }
}
