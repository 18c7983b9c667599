//! Debian's order, as dpkg 1.21 on amd64 has it: `[epoch:]upstream[-revision]`.
//!
//! What dpkg merely warns about (an upstream version that does not start with a digit, a strange character) it still
//! compares, and such versions are installed on real hosts; so they are versions here.

use super::{Refusal, key::Key};

/// Highest epoch: dpkg keeps it in a C `int`.
const EPOCH_MAX: u64 = i32::MAX as u64;

/// Where a run of non-digits ends: after `~`, before everything else.
const END: u8 = 2;

/// What a non-digit weighs: `~`, the end, letters, bytes beyond ASCII, other ASCII. 1 to 246.
///
/// Bytes beyond ASCII come where they do because dpkg adds 256 to a signed `char`: -128 becomes 128, above the letters
/// (at most 122) and below `!` (33 + 256).
const WEIGHTS: [u8; 256] = weights();

const fn weights() -> [u8; 256] {
    let mut weights = [0; 256];
    weights[b'~' as usize] = 1;
    let mut next = END + 1;
    let mut class = 0;
    while class < 3 {
        let mut byte = 1;
        while byte < 256 {
            // A cast that cannot cut: `byte` is below 256.
            #[allow(clippy::cast_possible_truncation)]
            let character = byte as u8;
            let its_class = match character {
                b'~' | b'0'..=b'9' => 3,
                b'A'..=b'Z' | b'a'..=b'z' => 0,
                128.. => 1,
                _ => 2,
            };
            if its_class == class {
                weights[byte] = next;
                next += 1;
            }
            byte += 1;
        }
        class += 1;
    }
    weights
}

pub(super) fn write(text: &str, key: &mut Key) -> Result<(), Refusal> {
    let blank = [' ', '\t'];
    let text = text.trim_matches(blank);
    if text.is_empty() {
        return Err("empty".into());
    }
    if text.contains(blank) {
        return Err("has a blank inside".into());
    }
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) => (epoch_of(epoch)?, rest),
        None => (0, text),
    };
    if rest.is_empty() {
        return Err("nothing after the colon".into());
    }
    let (upstream, revision) = match rest.rsplit_once('-') {
        Some((_, "")) => return Err("the revision is empty".into()),
        Some(parts) => parts,
        // A missing revision equals "0", because both are written as the number 0.
        None => (rest, ""),
    };
    if upstream.is_empty() {
        return Err("the upstream version is empty".into());
    }
    key.number(0, epoch);
    write_part(upstream.as_bytes(), key);
    write_part(revision.as_bytes(), key);
    Ok(())
}

/// The epoch as C's `strtol` reads it: white space (blanks are trimmed already) and a sign may precede the digits.
fn epoch_of(text: &str) -> Result<u64, Refusal> {
    let text = text.trim_start_matches(['\n', '\x0b', '\x0c', '\r']);
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() {
        return Err("the epoch is empty".into());
    }
    let mut epoch = 0_u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err("the epoch is not a number".into());
        }
        epoch = (epoch * 10 + u64::from(digit - b'0')).min(EPOCH_MAX + 1);
    }
    if negative && epoch > 0 {
        return Err("the epoch is negative".into());
    }
    if epoch > EPOCH_MAX {
        return Err("the epoch is too big".into());
    }
    Ok(epoch)
}

/// Writes an upstream version or a revision: runs of non-digits and numbers in turn, then an empty run.
///
/// A text that ends after a run of non-digits ends in the number 0, because dpkg holds `1.` and `1.0` equal. The empty
/// run at the end is what a longer text's next run is compared with: `1~` is before, `1a` after it.
fn write_part(mut text: &[u8], key: &mut Key) {
    loop {
        let run = text.iter().take_while(|byte| !byte.is_ascii_digit()).count();
        for &byte in &text[..run] {
            key.byte(WEIGHTS[usize::from(byte)]);
        }
        key.byte(END);
        text = &text[run..];
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        key.digits(0, &text[..digits]);
        text = &text[digits..];
        if text.is_empty() {
            key.byte(END);
            return;
        }
    }
}
