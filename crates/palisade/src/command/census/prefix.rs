//! Networks as people write them: `192.0.2.0/24`, `2001:db8::/32`, `192.0.2.7`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network, or a single address. Addresses of version 4 that come mapped into version 6 are of version 4.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Prefix {
    /// With nothing behind its bits.
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The network of so many bits that the address is in; all of them where there are fewer.
    pub(super) fn new(address: IpAddr, bits: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let bits = bits.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                Self { address: Ipv4Addr::from_bits(address.to_bits() & mask).into(), bits }
            }
            IpAddr::V6(address) => {
                let bits = bits.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                Self { address: Ipv6Addr::from_bits(address.to_bits() & mask).into(), bits }
            }
        }
    }

    /// One address.
    pub(super) fn single(address: IpAddr) -> Self {
        Self::new(address, u8::MAX)
    }

    /// `192.0.2.0/24`, or an address. Nothing where bits stand behind the network: then one of the two is not meant.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let prefix = bits.map_or_else(|| Self::single(address), |bits| Self::new(address, bits));
        let most = if address.is_ipv4() { 32 } else { 128 };
        (bits.is_none_or(|bits| bits <= most) && prefix.address == address.to_canonical()).then_some(prefix)
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && Self::new(address, self.bits).address == self.address
    }

    pub(super) fn address(&self) -> IpAddr {
        self.address
    }

    pub(super) fn bits(&self) -> u8 {
        self.bits
    }

    pub(super) fn is_single(&self) -> bool {
        self.bits == if self.address.is_ipv4() { 32 } else { 128 }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_single() { self.address.fmt(out) } else { write!(out, "{}/{}", self.address, self.bits) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_network_has_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("192.0.2.0/24", "192.0.2.255", "192.0.3.0"),
            ("192.0.2.7", "::ffff:192.0.2.7", "192.0.2.8"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("::/0", "ffff::", "1.2.3.4"),
        ] {
            let prefix = Prefix::parse(network).unwrap();
            assert_eq!(prefix.to_string(), network);
            assert!(prefix.contains(inside.parse().unwrap()), "{inside} in {network}");
            assert!(!prefix.contains(outside.parse().unwrap()), "{outside} in {network}");
        }
        for wrong in ["192.0.2.1/24", "192.0.2.0/33", "::/129", "192.0.2/24", "", "/8", "a"] {
            assert_eq!(Prefix::parse(wrong), None, "{wrong}");
        }
    }
}
