//! A database in MaxMind's format (version 2.0), as small as it can be: one network of IPv4 with what is known of it.

use std::net::Ipv4Addr;

const RECORD_BITS: u16 = 24;
/// Between the tree and the data.
const SEPARATOR_BYTES: u32 = 16;

/// Types of the data section.
const TEXT: u8 = 2;
const SHORT: u8 = 5;
const INTEGER: u8 = 6;
const MAP: u8 = 7;

/// Sizes from 29 on stand in a second byte, less 29.
fn head(kind: u8, size: usize) -> Vec<u8> {
    let size = u8::try_from(size).unwrap();
    let kind = kind << 5;
    if size < 29 { vec![kind + size] } else { vec![kind + 29, size - 29] }
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&head(TEXT, text.len())[..], text.as_bytes()].concat()
}

pub(crate) fn integer(value: u32) -> Vec<u8> {
    [&head(INTEGER, 4)[..], &value.to_be_bytes()].concat()
}

fn short(value: u16) -> Vec<u8> {
    [&head(SHORT, 2)[..], &value.to_be_bytes()].concat()
}

pub(crate) fn map(pairs: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs_bytes = pairs.iter().flat_map(|(name, value)| [text(name), value.clone()].concat());
    head(MAP, pairs.len()).into_iter().chain(pairs_bytes).collect()
}

/// `network` of so many bits has `data`; everything else is not known.
pub(crate) fn database(kind: &str, network: Ipv4Addr, bits: u32, data: &[u8]) -> Vec<u8> {
    // One node for each bit: one way on, the other to nothing, which is the number of nodes.
    let mut tree = Vec::new();
    for bit in 0..bits {
        let on = if bit + 1 == bits { bits + SEPARATOR_BYTES } else { bit + 1 };
        let mut records = [bits; 2];
        records[usize::from(u32::from(network) << bit >> 31 == 1)] = on;
        tree.extend(records.iter().flat_map(|record| record.to_be_bytes()[1..].to_vec()));
    }
    let metadata = map(&[
        ("node_count", integer(bits)),
        ("record_size", short(RECORD_BITS)),
        ("ip_version", short(4)),
        ("database_type", text(kind)),
        // An empty list: its kind stands in a second byte, seven less.
        ("languages", vec![0, 4]),
        ("binary_format_major_version", short(2)),
        ("binary_format_minor_version", short(0)),
        // Of eight bytes: its kind stands in a second byte, too.
        ("build_epoch", [&[8, 2][..], &1_000_000_000_u64.to_be_bytes()].concat()),
        ("description", map(&[])),
    ]);
    [&tree[..], &[0; 16], data, b"\xab\xcd\xefMaxMind.com", &metadata].concat()
}
