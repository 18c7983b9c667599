//! Other addresses for the real ones: the same for the same, with as many leading bits in common as the real ones have.
//!
//! As in Crypto-PAn (Xu, Fan, Ammar & Moon 2002), whether a bit is turned over depends on the bits before it and on a key.
//! One HMAC gives the 255 bits that a whole byte needs: a tree of depth 8 has 255 inner nodes.

use crate::format::Octets;
use crate::format::Source;
use advisory::digest::hex;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;

/// How many prefixes are remembered: enough for the networks of a large log, and some 30 MB.
const MEMORY_MAX: usize = 1 << 19;

/// What makes pseudonyms of addresses, and hashes of sources. Whoever has it can undo pseudonyms.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({})", self.id())
    }
}

impl Key {
    /// From 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Tells keys apart without telling anything else about them: 16 hex digits.
    pub fn id(&self) -> String {
        let digest = Sha256::new().chain_update(b"palisade census key id").chain_update(self.0).finalize();
        hex(&digest[..8])
    }

    /// The key of the hash that sources are told apart, spread and sampled by.
    pub(super) fn hash_key(&self) -> [u8; 16] {
        let digest = Sha256::new().chain_update(b"palisade census hash").chain_update(self.0).finalize();
        *digest.first_chunk().expect("a digest has 32 bytes")
    }
}

/// Makes pseudonyms; remembers what prefixes became.
#[derive(Debug)]
pub struct Pseudonyms<'a> {
    key: &'a Key,
    turns: HashMap<(u8, [u8; 16]), [u8; 32]>,
}

impl<'a> Pseudonyms<'a> {
    /// With a key.
    pub fn new(key: &'a Key) -> Self {
        Self { key, turns: HashMap::new() }
    }

    /// The pseudonym of a source. Names are numbers already, and become others.
    pub fn of(&mut self, source: Source) -> Source {
        match source.octets() {
            Octets::V4(mut bytes) => {
                self.turn(4, &mut bytes);
                Source::from_octets(Octets::V4(bytes))
            }
            Octets::V6(mut bytes) => {
                self.turn(if source.is_name() { 0 } else { 6 }, &mut bytes);
                // The first byte tells names from addresses. What 0xff would become is nobody else's.
                if source.is_name() {
                    bytes[0] = 0xff;
                } else if bytes[0] == 0xff {
                    let mut free = [0xff];
                    self.turn(6, &mut free);
                    bytes[0] = free[0];
                }
                Source::from_octets(Octets::V6(bytes))
            }
        }
    }

    fn turn(&mut self, kind: u8, bytes: &mut [u8]) {
        let mut before = [0; 16];
        for at in 0..bytes.len() {
            let real = bytes[at];
            let turns = self.turns(kind, u8::try_from(at).unwrap_or(u8::MAX), before);
            // Nodes of a tree in one row: the children of node n are 2n and 2n + 1.
            let mut node = 1_usize;
            let mut turned = 0;
            for bit in (0..8).rev() {
                let value = real >> bit & 1;
                let turn = turns[node / 8] >> (node % 8) & 1;
                turned = turned << 1 | (value ^ turn);
                node = node * 2 + usize::from(value);
            }
            before[at] = real;
            bytes[at] = turned;
        }
    }

    fn turns(&mut self, kind: u8, length: u8, before: [u8; 16]) -> [u8; 32] {
        let place = (kind << 4 | length, before);
        if let Some(known) = self.turns.get(&place) {
            return *known;
        }
        let mac = Hmac::<Sha256>::new_from_slice(&self.key.0).expect("HMAC takes keys of any length");
        let turns = mac.chain_update([kind, length]).chain_update(before).finalize().into_bytes().into();
        if self.turns.len() < MEMORY_MAX {
            self.turns.insert(place, turns);
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::address(text.as_bytes()).unwrap()
    }

    /// Leading bits that two addresses have in common.
    fn common(one: Source, other: Source) -> u32 {
        (one.number() ^ other.number()).leading_zeros()
    }

    #[test]
    fn pseudonyms_keep_networks_together_and_nothing_else() {
        let key = Key::new([9; 32]);
        let mut pseudonyms = Pseudonyms::new(&key);
        let real: Vec<Source> = (0..2_000_u32)
            .map(|number| {
                let [a, b, c, d] = number.wrapping_mul(2_654_435_761).to_be_bytes();
                source(&format!("{a}.{b}.{}.{d}", c & 3))
            })
            .chain(["2001:db8::1", "2001:db8::2", "2001:db8:1::1", "fe80::1", "::1"].map(source))
            .collect();
        let told: Vec<Source> = real.iter().map(|source| pseudonyms.of(*source)).collect();
        for (at, one) in real.iter().enumerate() {
            for (other, told_other) in real.iter().zip(&told).skip(at).step_by(17) {
                if one.ip().unwrap().is_ipv4() != other.ip().unwrap().is_ipv4() {
                    continue;
                }
                assert_eq!(common(*one, *other), common(told[at], *told_other), "{one} {other}");
            }
        }
        let same = real.iter().zip(&told).filter(|(real, told)| real == told).count();
        assert!(same < 3, "{same} addresses are their own pseudonyms");
        let other = Key::new([8; 32]);
        assert_ne!(Pseudonyms::new(&other).of(real[0]), told[0], "another key gives other pseudonyms");
        assert_ne!(other.id(), key.id());
    }
}
