//! Keys: byte strings whose order is the versions' order.

/// Numbers from here on are written with a length: lead bytes 0xF0 to 0xF7 stand for 1 to 8 bytes, 0xF8 for decimal digits.
const WITH_LENGTH: u8 = 0xF0;
/// Lead byte of numbers too long for 64 bits.
const DIGITS: u8 = WITH_LENGTH + 8;
/// Most decimal digits that always fit 64 bits: 2⁶⁴ has 20.
const U64_DIGITS: usize = 19;

/// A key being written. What is written must be self-delimiting: where two keys agree up to some byte, the next byte of
/// both answers the same question, and no key is a prefix of another.
#[derive(Debug)]
pub(super) struct Key(Vec<u8>);

impl Key {
    /// A key with room for `text`: separators and short numbers cost at most what they cost in the text; two bytes per
    /// byte is enough for every order but for odd texts, which reallocate.
    pub(super) fn for_text(text: &str) -> Self {
        Self(Vec::with_capacity(2 * text.len() + 8))
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Writes the value of decimal `digits` (none is 0), so that its first byte is `base` or higher.
    ///
    /// Small numbers take one byte. 0xF9 to 0xFF never come first, so that callers may give them a meaning above all
    /// numbers, as they may to what is below `base`.
    pub(super) fn digits(&mut self, base: u8, digits: &[u8]) {
        let leading = digits.iter().take_while(|&&digit| digit == b'0').count();
        let digits = &digits[leading..];
        if digits.len() <= U64_DIGITS {
            let value = digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
            self.number(base, value);
        } else {
            let count =
                u16::try_from(digits.len()).expect("a version is at most VERSION_BYTES_MAX = 1024 long");
            self.byte(DIGITS);
            self.bytes(&count.to_be_bytes());
            self.bytes(digits);
        }
    }

    /// Writes `value` as [`Key::digits`] does. An order uses one of both for any given place, or stays below 10¹⁹.
    pub(super) fn number(&mut self, base: u8, value: u64) {
        if value < u64::from(WITH_LENGTH - base) {
            self.byte(base + u8::try_from(value).expect("it is below WITH_LENGTH"));
            return;
        }
        let bytes = value.to_be_bytes();
        let leading = bytes.iter().take_while(|&&byte| byte == 0).count().min(bytes.len() - 1);
        let length = u8::try_from(bytes.len() - leading).expect("a u64 has 8 bytes");
        self.byte(WITH_LENGTH - 1 + length);
        self.bytes(&bytes[leading..]);
    }

    pub(super) fn finish(self) -> Box<[u8]> {
        self.0.into_boxed_slice()
    }
}
