//! Packed logs: damaged ones end with an error, and one that would unpack without end is cut.

// The unpacker belongs to the agent, which is much to build for this alone.
#[path = "../../../crates/agent/src/unpack.rs"]
#[allow(dead_code, unreachable_pub)]
mod unpack;

use std::io::{Cursor, Read};
use unpack::{Bytes, Caps};

const CAPS: Caps = Caps { free_bytes: 1 << 16, ratio_max: 20, memory_bytes_max: 8 << 20 };
/// What is asked for at once.
const ROOM_BYTES: usize = 16 << 10;

const MAGICS: [&[u8]; 5] = [&[0x1f, 0x8b, 8, 0], &[0x28, 0xb5, 0x2f, 0xfd], b"\xfd7zXZ\0", b"BZh9", b""];

// The first byte chooses the packing, or to pack what follows over and over before it is unpacked.
pub fn run(bytes: &[u8]) {
    let [choice, bytes @ ..] = bytes else { return };
    if choice & 0x80 != 0 {
        let plain = bytes.repeat(1 + usize::from(choice & 0x7f) * 64);
        let packed = zstd::encode_all(&plain[..], 1).expect("a vector takes every byte");
        let (unpacked, whole) = unpacked(packed);
        assert_eq!(unpacked[..], plain[..unpacked.len()]);
        assert!(!whole || unpacked.len() == plain.len());
    } else {
        unpacked([MAGICS[usize::from(*choice) % MAGICS.len()], bytes].concat());
    }
}

fn unpacked(packed: Vec<u8>) -> (Vec<u8>, bool) {
    let size = packed.len() as u64;
    let Ok(mut reader) = Bytes::of(Box::new(Cursor::new(packed)), CAPS) else { return (Vec::new(), false) };
    let mut out = Vec::new();
    let mut room = vec![0; ROOM_BYTES];
    loop {
        match reader.read(&mut room) {
            Ok(0) => return (out, true),
            Ok(read) => out.extend_from_slice(&room[..read]),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return (out, false);
            }
        }
        let most = CAPS.free_bytes.max(CAPS.ratio_max * (size + 1)) + ROOM_BYTES as u64;
        assert!(out.len() as u64 <= most, "{size} bytes became {} and went on", out.len());
    }
}
