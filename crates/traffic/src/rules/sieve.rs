//! The quick look at a log's raw bytes: which lines may hold an attempt at all.
//!
//! One automaton over all needles of all rules, in every way that a log may have them written: as they are, or, for bytes
//! that senders encode and writers escape, encoded and escaped. A needle whose plain letters are encoded is not looked
//! for; that they are is what is looked for. So every line that a rule recognises is a candidate, and few others are.

use super::RuleId;
use super::automaton::{Automaton, Bytes, Pattern};
use super::needle::{Needle, Place, is_unreserved};

/// A needle is left out, and its rule looks at every line, when it can be written in more ways than this.
const SPELLINGS_MAX: usize = 128;

/// The prefilter over raw bytes of a log: it passes at least the lines that [`super::Rules::judge`] would recognise.
#[derive(Debug)]
pub struct Sieve {
    automaton: Automaton,
    /// The places of rules that have nothing to look for: for them every line is a candidate.
    blind: Vec<u16>,
}

impl Sieve {
    /// For rules with these needles; nothing in the place of a rule's needles means that it has none.
    pub(super) fn new<'n>(rules: impl Iterator<Item = Option<&'n [Needle]>>) -> Sieve {
        let mut patterns = [encodings(), detours()].concat();
        let mut blind = Vec::new();
        for (rule, needles) in (0..).zip(rules) {
            match needles.map(|needles| needles.iter().map(spellings).collect::<Option<Vec<_>>>()) {
                Some(Some(spelled)) => patterns.extend(spelled.into_iter().flatten()),
                _ => blind.push(rule),
            }
        }
        patterns.sort();
        patterns.dedup();
        Sieve { automaton: Automaton::new(&patterns), blind }
    }

    /// The rules that have nothing to look for. If there are any, every line is a candidate.
    pub fn blind(&self) -> impl Iterator<Item = RuleId> {
        self.blind.iter().map(|&rule| RuleId(rule))
    }

    /// An offset inside the next line at or after `from` that may hold an attempt.
    ///
    /// `from` is the beginning of a line, and so is the beginning of `text`.
    pub fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        if !self.blind.is_empty() {
            return (from < text.len()).then_some(from);
        }
        self.automaton.find(text, from)
    }

    /// Puts an offset inside every line that may hold an attempt into `offsets`, in their order; of one line it may be
    /// several. Quicker than [`Sieve::next`] where much text is at hand: it looks at four places at once.
    pub fn candidates(&self, text: &[u8], offsets: &mut Vec<usize>) {
        if !self.blind.is_empty() {
            offsets.extend((!text.is_empty()).then_some(0));
            offsets.extend(
                memchr::memchr_iter(b'\n', text).map(|end| end + 1).filter(|&start| start < text.len()),
            );
            return;
        }
        self.automaton.find_all(text, offsets);
    }
}

/// Every way in which a log may have a needle written, plain letters plain. Nothing where there are too many.
fn spellings(needle: &Needle) -> Option<Vec<Pattern>> {
    let exact = needle.place == Place::Method;
    let mut ways: Vec<Pattern> = match needle.place {
        Place::Anywhere => vec![Vec::new()],
        // What stands before a method, a target and a query in a log: `"GET http:`, `\thttp:`, `"uri":"http:`.
        Place::Method => vec![vec![Bytes::no_letters()]],
        Place::Target => {
            let keys =
                ["uri\":\"", "uri\": \"", "path\":\"", "path\": \"", "url\":\"", "url\": \"", "request\":\""];
            let keyed = keys.iter().map(|key| key.bytes().map(Bytes::any_case).collect());
            keyed.chain([vec![Bytes::of(b" \t,;|")]]).collect()
        }
        Place::Query => vec![vec![Bytes::of(b"? \t\",;|")]],
    };
    for &byte in &needle.text {
        let writings = if is_unreserved(byte) {
            vec![vec![if exact { Bytes::of(&[byte]) } else { Bytes::any_case(byte) }]]
        } else {
            written(byte)
        };
        ways = ways
            .iter()
            .flat_map(|way| writings.iter().map(|writing| [way.as_slice(), writing].concat()))
            .collect();
        if ways.len() > SPELLINGS_MAX {
            return None;
        }
    }
    if exact {
        for way in &mut ways {
            way.push(Bytes::no_letters());
        }
    }
    Some(ways)
}

/// The ways to write a byte that is encoded or escaped now and then.
fn written(byte: u8) -> Vec<Pattern> {
    let any_case = |text: String| -> Pattern { text.bytes().map(Bytes::any_case).collect() };
    let unprintable = !(b' '..0x7F).contains(&byte);
    let mut ways = vec![vec![Bytes::of(&[byte])], any_case(format!("%{byte:02x}"))];
    // JSON's writers escape what HTML might misread, too.
    if unprintable || matches!(byte, b'<' | b'>' | b'&' | b'\'' | b'"' | b'\\') {
        ways.push(any_case(format!("\\u00{byte:02x}")));
    }
    if unprintable || matches!(byte, b'"' | b'\\') {
        ways.push(any_case(format!("\\x{byte:02x}")));
    }
    if unprintable {
        // Escaped by one writer, and its backslash by another.
        ways.push(any_case(format!("\\\\x{byte:02x}")));
    }
    let short = [(8, b'b'), (9, b't'), (10, b'n'), (11, b'v'), (12, b'f'), (13, b'r')];
    ways.extend(
        short
            .into_iter()
            .filter(|(code, _)| *code == byte)
            .map(|(_, name)| vec![Bytes::of(b"\\"), Bytes::of(&[name])]),
    );
    if matches!(byte, b'"' | b'\\' | b'/') {
        ways.push(vec![Bytes::of(b"\\"), Bytes::of(&[byte])]);
    }
    ways
}

/// Encodings that honest senders and log writers have no use for: of letters, digits and `-._~`, of `%` itself, `%u`,
/// and UTF-8 that is longer than it needs to be.
fn encodings() -> Vec<Pattern> {
    let digits = |digits: &str| Bytes::of(digits.as_bytes());
    let any_case = |text: &str| -> Pattern { text.bytes().map(Bytes::any_case).collect() };
    let unreserved = [
        ("2", "5dDeE"),
        ("3", "0123456789"),
        ("46", "123456789abcdefABCDEF"),
        ("57", "0123456789aA"),
        ("5", "fF"),
        ("7", "eE"),
    ];
    let mut patterns = Vec::new();
    for (high, low) in unreserved {
        for before in ["%", "\\x", "\\u00"] {
            patterns.push([any_case(before), vec![digits(high), digits(low)]].concat());
        }
    }
    patterns.push(any_case("%u"));
    for before in ["%", "\\x", "\\u00"] {
        patterns.push([any_case(before), vec![digits("cC"), digits("01")]].concat());
        patterns.push([any_case(before), any_case("e0"), any_case(before), any_case("8")].concat());
        patterns.push([any_case(before), any_case("f0"), any_case(before), any_case("80")].concat());
    }
    patterns.push(vec![Bytes::of(&[0xC0, 0xC1])]);
    patterns.push(vec![Bytes::of(&[0xE0]), Bytes::of(&[0x80, 0x81])]);
    patterns.push(vec![Bytes::of(&[0xF0]), Bytes::of(&[0x80])]);
    patterns
}

/// Paths that resolve to other ones: `//` (but in `https://`), `/./`, `/../`, `;/`, and a backslash, however it is written.
///
/// `\xHH` and `\u00HH` are what a log's writer escaped, not paths with a backslash.
fn detours() -> Vec<Pattern> {
    let any_case = |text: &str| -> Pattern { text.bytes().map(Bytes::any_case).collect() };
    let slashes = [any_case("/"), any_case("%2f"), any_case("\\/")];
    let semicolons = [any_case(";"), any_case("%3b")];
    let mut patterns = Vec::new();
    for slash in &slashes {
        for next in &slashes {
            // Of `\/` the slash alone begins nothing: writers of JSON may escape every slash.
            patterns.push([vec![Bytes::but(b":\\")], slash.clone(), next.clone()].concat());
        }
        for dots in [".", ".."] {
            let ends = slashes.iter().chain(&semicolons);
            patterns.extend(ends.map(|end| [slash.clone(), any_case(dots), end.clone()].concat()));
        }
        patterns.extend(semicolons.iter().map(|semicolon| [semicolon.as_slice(), slash].concat()));
    }
    let hex = b"0123456789abcdefABCDEF";
    let backslash = Bytes::of(b"\\");
    patterns.extend(["%5c", "\\x5c", "\\u005c"].map(any_case));
    patterns.push(vec![backslash, Bytes::but(b"xu\"/\n")]);
    patterns.push(vec![backslash, Bytes::of(b"x"), Bytes::but(hex)]);
    patterns.push(vec![backslash, Bytes::of(b"x"), Bytes::of(hex), Bytes::but(hex)]);
    patterns.push(vec![backslash, Bytes::of(b"u"), Bytes::but(b"0")]);
    patterns.push(vec![backslash, Bytes::of(b"u"), Bytes::of(b"0"), Bytes::but(b"0")]);
    patterns
}
