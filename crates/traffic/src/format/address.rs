//! Who sent a request: an address, or a name where the web server looked it up.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The first byte of a name's number: multicast addresses send nothing, so none is taken away from addresses.
const NAME: u8 = 0xff;
/// Addresses of version 4 stand among those of version 6 as RFC 4291 maps them.
const V4_MAPPED: u128 = 0xffff_0000_0000;

/// Longest name that DNS allows.
const NAME_BYTES_MAX: usize = 255;

/// Who sent a request. Addresses of version 4 are the same source when they come mapped into version 6.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Source(u128);

impl Source {
    /// An address as text: `192.0.2.1`, `2001:db8::1`, `[2001:db8::1]:443`, `192.0.2.1:80`, `fe80::1%eth0`.
    pub fn address(text: &[u8]) -> Option<Self> {
        if let Some((address, rest)) = v4(text)
            && (rest.is_empty() || is_port(rest))
        {
            return Some(Self(V4_MAPPED | u128::from(address)));
        }
        v6(text)
    }

    /// An address of version 4 at the beginning, and what follows it.
    #[inline]
    pub(super) fn v4_first(text: &[u8]) -> Option<(Self, &[u8])> {
        v4(text).map(|(address, rest)| (Self(V4_MAPPED | u128::from(address)), rest))
    }

    /// Whether it is this machine's own address to itself.
    pub fn is_loopback(self) -> bool {
        self.0 == 1 || self.0 >> 24 == (V4_MAPPED | (127 << 24)) >> 24
    }

    /// An address or a name, as Apache logs it with `HostnameLookups On`.
    pub fn named(text: &[u8]) -> Option<Self> {
        Self::address(text).or_else(|| Self::name(text))
    }

    fn name(text: &[u8]) -> Option<Self> {
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let fits = !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.iter().all(is_name);
        // Names of hosts end in a label that begins with a letter; numbers and damaged addresses do not.
        let last = text.rsplit(|byte| *byte == b'.').next()?;
        (fits && last.first().is_some_and(u8::is_ascii_alphabetic)).then(|| {
            // FNV-1a with 128 bits: stable for ever, and what names are told apart by.
            let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
            for byte in text {
                hash ^= u128::from(byte.to_ascii_lowercase());
                hash = hash.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
            }
            Self(hash >> 8 | u128::from(NAME) << 120)
        })
    }

    /// Whether it is known by name only.
    pub fn is_name(self) -> bool {
        self.0 >> 120 == u128::from(NAME)
    }

    /// The bytes of its address, 4 or 16.
    pub fn octets(self) -> Octets {
        match self.v4() {
            Some(address) => Octets::V4(address.octets()),
            None => Octets::V6(self.0.to_be_bytes()),
        }
    }

    /// From the bytes of an address.
    pub fn from_octets(octets: Octets) -> Self {
        match octets {
            Octets::V4(bytes) => Self(V4_MAPPED | u128::from(u32::from_be_bytes(bytes))),
            Octets::V6(bytes) => Self(u128::from_be_bytes(bytes)),
        }
    }

    /// Its number; distinct sources have distinct ones.
    pub fn number(self) -> u128 {
        self.0
    }

    /// The address, unless it is known by name only.
    pub fn ip(self) -> Option<std::net::IpAddr> {
        if self.is_name() {
            return None;
        }
        Some(self.v4().map_or_else(|| Ipv6Addr::from(self.0).into(), Into::into))
    }

    fn v4(self) -> Option<Ipv4Addr> {
        (self.0 >> 32 == V4_MAPPED >> 32).then(|| {
            let [.., a, b, c, d] = self.0.to_be_bytes();
            Ipv4Addr::new(a, b, c, d)
        })
    }
}

/// The bytes of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Octets {
    /// Version 4.
    V4([u8; 4]),
    /// Version 6.
    V6([u8; 16]),
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip() {
            Some(address) => address.fmt(out),
            None => write!(out, "host-{:012x}", self.0 & 0xffff_ffff_ffff),
        }
    }
}

/// An address of version 4 at the beginning, and what follows it.
#[inline]
fn v4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (mut address, mut dots) = (0, 0);
    let (mut part, mut digits) = (0, 0);
    let mut end = text.len();
    for (at, &byte) in text.iter().enumerate() {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit <= 9 && digits < 3 {
            part = part * 10 + digit;
            digits += 1;
        } else if byte == b'.' && dots < 3 && digits > 0 && part <= 255 {
            address = address << 8 | part;
            dots += 1;
            (part, digits) = (0, 0);
        } else {
            end = at;
            break;
        }
    }
    (dots == 3 && digits > 0 && part <= 255).then(|| (address << 8 | part, &text[end..]))
}

fn is_port(text: &[u8]) -> bool {
    text.first() == Some(&b':') && (2..=6).contains(&text.len()) && text[1..].iter().all(u8::is_ascii_digit)
}

fn v6(text: &[u8]) -> Option<Source> {
    let text = match text.strip_prefix(b"[") {
        Some(inner) => {
            let end = inner.iter().position(|byte| *byte == b']')?;
            let rest = &inner[end + 1..];
            if !rest.is_empty() && !is_port(rest) {
                return None;
            }
            &inner[..end]
        }
        None => text,
    };
    let text = text.split(|byte| *byte == b'%').next()?;
    if text.len() > 45 || !text.contains(&b':') {
        return None;
    }
    let address: Ipv6Addr = std::str::from_utf8(text).ok()?.parse().ok()?;
    let number = u128::from(address);
    // Nothing is sent from a multicast address; its numbers are those of names.
    (number >> 120 != u128::from(NAME)).then_some(Source(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_address_is_the_same_source_however_it_is_written() {
        let told = |text: &str| Source::named(text.as_bytes()).map(|source| source.to_string());
        assert_eq!(told("192.0.2.1").as_deref(), Some("192.0.2.1"));
        assert_eq!(Source::address(b"::ffff:192.0.2.1"), Source::address(b"192.0.2.1:8080"));
        assert_eq!(Source::address(b"[2001:DB8:0::1]:443"), Source::address(b"2001:db8::1"));
        assert_eq!(Source::named(b"Host.example.org"), Source::named(b"host.EXAMPLE.org"));
        for nobody in ["-", "", "256.1.1.1", "1.2.3", "1.2.3.4x", "ff02::1", "1.2.3.4:", "[::1", "12345"] {
            assert_eq!(told(nobody), None, "{nobody:?}");
        }
    }
}
