//! The quick look at a log's raw bytes: which lines may hold an attempt at all.
//!
//! One automaton over all needles of all rules, in every way that a log may have them written: as they are, or, for bytes
//! that senders encode and writers escape, encoded and escaped. A needle whose plain letters are encoded is not looked
//! for; that they are is what is looked for. So every line that a rule recognises is a candidate, and few others are.

use super::RuleId;
use super::automaton::{Automaton, Bytes, Found, Pattern};
use super::needle::{Needle, Place, is_unreserved};
use std::collections::BTreeMap;

/// A needle is left out, and its rule looks at every line, when it can be written in more ways than this.
const SPELLINGS_MAX: usize = 128;

/// The prefilter over raw bytes of a log: it passes at least the lines that [`super::Rules::judge`] would recognise.
#[derive(Debug)]
pub struct Sieve {
    /// Nothing where patterns make too many states: then it is as if no rule had anything to look for.
    automaton: Option<Automaton>,
    /// By what is found, the rules that may recognise the line.
    whose: Vec<Whose>,
    /// The places of rules that have nothing to look for: for them every line is a candidate.
    blind: Vec<u16>,
}

/// Found in every line where a rule has nothing to look for.
const UNTOLD: u32 = u32::MAX;

/// Which rules may recognise a line for what was found in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Whose {
    /// These have the needle.
    rules: Vec<u16>,
    hidden: Hidden,
}

/// Where needles may be that are not written as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) enum Hidden {
    /// Nowhere: those that were found are all.
    #[default]
    Nowhere,
    /// In what is decoded or resolved.
    Decoded,
    /// In what was sent, too: the log's writer escaped it in a way of its own.
    Anywhere,
}

impl Whose {
    fn join(&mut self, other: &Whose) {
        self.rules.extend_from_slice(&other.rules);
        self.rules.sort_unstable();
        self.rules.dedup();
        self.hidden = self.hidden.max(other.hidden);
    }
}

impl Sieve {
    /// For rules with these needles; nothing in the place of a rule's needles means that it has none.
    pub(super) fn new<'n>(rules: impl Iterator<Item = Option<&'n [Needle]>>) -> Sieve {
        let (patterns, all, mut blind) = patterns(rules);
        let (patterns, owners): (Vec<Pattern>, Vec<Whose>) = patterns.into_iter().unzip();
        let automaton = Automaton::new(&patterns).filter(|_| blind.is_empty());
        if automaton.is_none() && blind.is_empty() {
            blind = all;
        }
        let whose = |ended: &Vec<u32>| {
            let mut whose = Whose::default();
            for &pattern in ended {
                whose.join(&owners[pattern as usize]);
            }
            whose
        };
        let whose = automaton.iter().flat_map(Automaton::ended).map(whose).collect();
        Sieve { automaton, whose, blind }
    }

    /// The rules that have nothing to look for. If there are any, every line is a candidate.
    pub fn blind(&self) -> impl Iterator<Item = RuleId> {
        self.blind.iter().map(|&rule| RuleId(rule))
    }

    /// What was found first in the next line at or after `from` that may hold an attempt.
    ///
    /// `from` is the beginning of a line, and so is the beginning of `text`.
    pub fn next(&self, text: &[u8], from: usize) -> Option<Found> {
        match &self.automaton {
            Some(automaton) => automaton.find(text, from),
            None => (from < text.len()).then_some(Found { at: from, what: UNTOLD }),
        }
    }

    /// Puts everything that is found in lines that may hold an attempt into `found`, in order; of one line it may be
    /// several. Quicker than [`Sieve::next`] where much text is at hand: it looks at eight places at once.
    pub fn candidates(&self, text: &[u8], found: &mut Vec<Found>) {
        if let Some(automaton) = &self.automaton {
            return automaton.find_all(text, found);
        }
        let starts = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text).map(|end| end + 1));
        found.extend(starts.filter(|&at| at < text.len()).map(|at| Found { at, what: UNTOLD }));
    }

    /// Marks the rules whose needles were found in a line, a bit for each, and says where those of others may be.
    pub(super) fn possible(&self, found: &[Found], rules: &mut [u64]) -> Hidden {
        let mut hidden = Hidden::Nowhere;
        for found in found {
            let Some(whose) = self.whose.get(found.what as usize) else { return Hidden::Anywhere };
            for rule in &whose.rules {
                rules[usize::from(rule / 64)] |= 1 << (rule % 64);
            }
            hidden = hidden.max(whose.hidden);
        }
        hidden
    }
}

/// What is looked for, and whose it is.
type Patterns = BTreeMap<Pattern, Whose>;

/// Everything that is looked for; all rules, and those that have nothing to look for.
fn patterns<'n>(rules: impl Iterator<Item = Option<&'n [Needle]>>) -> (Patterns, Vec<u16>, Vec<u16>) {
    let mut patterns = Patterns::new();
    let (mut all, mut blind) = (Vec::new(), Vec::new());
    for (rule, needles) in (0..).zip(rules) {
        all.push(rule);
        match needles.map(|needles| needles.iter().map(spellings).collect::<Option<Vec<_>>>()) {
            Some(Some(spelled)) => {
                let whose = Whose { rules: vec![rule], hidden: Hidden::Nowhere };
                spelled.into_iter().flatten().for_each(|one| patterns.entry(one).or_default().join(&whose));
            }
            _ => blind.push(rule),
        }
    }
    for (pattern, hidden) in encodings().into_iter().chain(detours()) {
        patterns.entry(pattern).or_default().join(&Whose { rules: Vec::new(), hidden });
    }
    (patterns, all, blind)
}

/// Everything that is looked for, as regular expressions over the bytes of one line. The end of a line, where it may stand
/// for a byte, is one.
pub(super) fn regexes<'n>(rules: impl Iterator<Item = Option<&'n [Needle]>>) -> Vec<String> {
    let regex = |pattern: &Pattern| {
        let last = pattern.len() - 1;
        let each = pattern.iter().enumerate().map(|(place, bytes)| match place {
            0 if bytes.has(b'\n') => format!("(?:^|{})", bytes.to_regex()),
            _ if place == last && bytes.has(b'\n') => format!("(?:{}|$)", bytes.to_regex()),
            _ => bytes.to_regex(),
        });
        format!("(?-u:{})", each.collect::<String>())
    };
    patterns(rules).0.keys().map(regex).collect()
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
fn encodings() -> Vec<(Pattern, Hidden)> {
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
    for (before, hidden) in [("%", Hidden::Decoded), ("\\x", Hidden::Anywhere), ("\\u00", Hidden::Anywhere)] {
        for (high, low) in unreserved {
            patterns.push(([any_case(before), vec![digits(high), digits(low)]].concat(), hidden));
        }
        let long = [
            [any_case(before), vec![digits("cC"), digits("01")]].concat(),
            [any_case(before), any_case("e0"), any_case(before), any_case("8")].concat(),
            [any_case(before), any_case("f0"), any_case(before), any_case("80")].concat(),
        ];
        patterns.extend(long.map(|pattern| (pattern, Hidden::Decoded)));
    }
    let decoded = [
        any_case("%u"),
        vec![Bytes::of(&[0xC0, 0xC1])],
        vec![Bytes::of(&[0xE0]), Bytes::of(&[0x80, 0x81])],
        vec![Bytes::of(&[0xF0]), Bytes::of(&[0x80])],
    ];
    patterns.extend(decoded.map(|pattern| (pattern, Hidden::Decoded)));
    patterns
}

/// Paths that resolve to other ones: `//` (but in `https://`), `/./`, `/../`, `;/`, and a backslash, however it is written.
///
/// `\xHH` and `\u00HH` are what a log's writer escaped, not paths with a backslash.
fn detours() -> Vec<(Pattern, Hidden)> {
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
    patterns.extend(["%5c", "\\x5c", "\\u005c"].map(any_case));
    let hex = b"0123456789abcdefABCDEF";
    let backslash = Bytes::of(b"\\");
    // Readers of JSON leave a backslash out where it escapes nothing.
    let escapes = [
        vec![backslash, Bytes::but(b"xu\"/\n")],
        vec![backslash, Bytes::of(b"x"), Bytes::but(hex)],
        vec![backslash, Bytes::of(b"x"), Bytes::of(hex), Bytes::but(hex)],
        vec![backslash, Bytes::of(b"u"), Bytes::but(b"0")],
        vec![backslash, Bytes::of(b"u"), Bytes::of(b"0"), Bytes::but(b"0")],
    ];
    let decoded = patterns.into_iter().map(|pattern| (pattern, Hidden::Decoded));
    decoded.chain(escapes.map(|pattern| (pattern, Hidden::Anywhere))).collect()
}
