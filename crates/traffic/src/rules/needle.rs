//! What a request must contain for a condition to hold: short pieces of text that are quick to look for.
//!
//! A condition gives a set of needles, one of which is in every request that it recognises, or nothing where no such set
//! can be told. Needles are looked for without regard to case, except for methods.

use super::condition::{Condition, Matching, Test, Transform, Zone};
use super::names::pattern;
use super::program::builder_of_syntax;
use regex_syntax::hir::{Class, Hir, HirKind};

/// Longer pieces are cut: eight bytes are rare enough, and fewer states are quicker.
const LENGTH_MAX: usize = 8;
/// A piece with more bytes that a sender may encode is not used: each doubles the ways to write it.
const RESERVED_MAX: usize = 3;
/// A class with more bytes is not taken apart.
const CLASS_MAX: usize = 4;
/// More texts than this are not told apart.
const EXACT_MAX: usize = 16;
/// A set with more needles than this is not used.
const NEEDLES_MAX: usize = 64;

/// What lines of logs are full of: a piece of this says little.
const COMMON: &str = "get post head put http/1.1 http/1.0 http/2.0 mozilla/5.0 mozilla/4.0 (windows nt 10.0; win64; x64) \
    applewebkit/537.36 (khtml, like gecko) chrome/83.0.4103 safari/537.36 (x11; linux x86_64) android (macintosh; intel \
    mac os x 10_15_7) version/13.1 mobile/15e148 (iphone; cpu iphone os 13_5 like mac os x) firefox/78.0 gecko/20100101 \
    (compatible; msie 9.0; trident/5.0) googlebot/2.1; +http://www.google.com/bot.html bingbot https://www.example.com/ \
    search?q= /index.php /index.html .htm .css .js .png .jpg .jpeg .gif .svg .ico .woff favicon.ico images img static \
    assets scripts script wp-content wp-includes wp-admin admin-ajax.php uploads themes plugins jquery.min.js robots.txt \
    sitemap.xml feed rss api/v1/ login user admin administrator data id page name file files action type code path url \
    host download content public html text xml json cgi-bin title comments category tags lang date view list item";

/// Where a needle stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    /// Anywhere.
    Anywhere,
    /// It is the method.
    Method,
    /// The request's target begins with it.
    Target,
    /// The query begins with it.
    Query,
}

/// A piece of text; small letters, except for a method.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Needle {
    pub(super) text: Vec<u8>,
    pub(super) place: Place,
}

/// Needles with how rarely they are found where no attack is: the least of them.
struct Needles {
    any_of: Vec<Needle>,
    rarity: u32,
}

/// The needles one of which is in every request that the condition recognises.
pub(super) fn needles(condition: &Condition) -> Option<Vec<Needle>> {
    of(condition).map(|found| found.any_of)
}

fn of(condition: &Condition) -> Option<Needles> {
    match condition {
        Condition::Test(test) => of_test(test),
        Condition::All(parts) => parts.iter().filter_map(of).max_by_key(|needles| needles.rarity),
        Condition::Any(parts) => union(parts.iter().map(of)),
        Condition::Not(_) => None,
    }
}

/// One of each set: known only where each is.
fn union(sets: impl Iterator<Item = Option<Needles>>) -> Option<Needles> {
    let mut all = Needles { any_of: Vec::new(), rarity: u32::MAX };
    for set in sets {
        let set = set?;
        all.any_of.extend(set.any_of);
        all.rarity = all.rarity.min(set.rarity);
    }
    all.any_of.sort();
    all.any_of.dedup();
    (!all.any_of.is_empty() && all.any_of.len() <= NEEDLES_MAX).then_some(all)
}

fn of_test(test: &Test) -> Option<Needles> {
    let opaque = |transform: &Transform| match transform {
        Transform::HtmlEntityDecode | Transform::B64Decode | Transform::Length | Transform::Count => true,
        Transform::Lowercase
        | Transform::Uppercase
        | Transform::UrlDecode
        | Transform::Trim
        | Transform::NormalizePath => false,
    };
    if test.transforms.iter().any(opaque) || test.zones.contains(&Zone::Status) {
        return None;
    }
    let by_name = of_names(test);
    // The sieve looks for paths that resolve to other ones; texts that a rule resolves itself may be anything.
    let slashes = !test.transforms.contains(&Transform::NormalizePath);
    let cut = Cut { slashes, entry: test.zones.contains(&Zone::Entry) };
    let by_value = match &test.matching {
        Matching::Equals(value) if test.zones == [Zone::Method] && !value.is_empty() => {
            // Most requests are one of these.
            let rare = !matches!(value.as_str(), "GET" | "POST" | "HEAD");
            let needle = || Needle { text: value.clone().into_bytes(), place: Place::Method };
            rare.then(|| Needles { any_of: vec![needle()], rarity: 6 })
        }
        Matching::Equals(value) | Matching::StartsWith(value) => cut.best(value.as_bytes(), start_of(test)),
        Matching::Contains(value) | Matching::EndsWith(value) => cut.best(value.as_bytes(), None),
        Matching::Regex(value) => {
            let parsed = builder_of_syntax().build().parse(value).ok()?;
            cut.required(&parsed).needles
        }
        Matching::Sqli | Matching::Xss | Matching::Number(..) | Matching::Unlogged => None,
    };
    [by_name, by_value].into_iter().flatten().max_by_key(|needles| needles.rarity)
}

/// Where the start of the test's texts can be seen in a line.
fn start_of(test: &Test) -> Option<Place> {
    let all = |wanted: &[Zone]| test.zones.iter().all(|zone| wanted.contains(zone));
    if all(&[Zone::Query]) {
        Some(Place::Query)
    } else if all(&[Zone::Uri, Zone::UriFull]) {
        Some(Place::Target)
    } else {
        None
    }
}

/// The name of an argument is in the request, too.
fn of_names(test: &Test) -> Option<Needles> {
    let named = |zone: &Zone| matches!(zone, Zone::Args | Zone::Cookies);
    let patterns = test.variables.iter().any(|name| pattern(name).is_some());
    if !test.zones.iter().all(named) || test.variables.is_empty() || patterns {
        return None;
    }
    let cut = Cut { slashes: true, entry: false };
    union(test.variables.iter().map(|name| cut.best(name.as_bytes(), None)))
}

/// How texts may be cut to needles.
#[derive(Clone, Copy)]
struct Cut {
    /// Whether a slash is sure to be where the test sees one.
    slashes: bool,
    /// The text is put together by us: quotes and brackets are in no request, and a number may be a status.
    entry: bool,
}

/// What a regular expression requires.
struct Required {
    /// The only texts that it matches, if they are few.
    exact: Option<Vec<Vec<u8>>>,
    needles: Option<Needles>,
}

/// A byte that senders do not encode and log writers do not escape: to see it encoded is reason enough to look at a line.
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%')
}

impl Cut {
    /// The rarest piece of a text that every request with the text has.
    fn best(self, text: &[u8], start: Option<Place>) -> Option<Needles> {
        let text = text.to_ascii_lowercase();
        let mut best: Option<(u32, &[u8])> = None;
        for from in 0..text.len() {
            let mut reserved = 0;
            for to in from + 1..=text.len().min(from + LENGTH_MAX) {
                let byte = text[to - 1];
                // Spaces have too many ways to be written, and where a path ends its parts are looked at apart. A slash
                // behind a colon may be one of two, as in `https://`.
                let ours = self.entry && matches!(byte, b'"' | b'[' | b']');
                let doubled = byte == b'/' && text[from..to - 1].ends_with(b":");
                if matches!(byte, b' ' | b'+' | b'?') || byte == b'/' && !self.slashes || doubled || ours {
                    break;
                }
                reserved += usize::from(!is_unreserved(byte));
                if reserved > RESERVED_MAX {
                    break;
                }
                let piece = &text[from..to];
                let rarity = self.rarity(piece);
                if rarity > best.map_or(0, |(rarity, _)| rarity) {
                    best = Some((rarity, piece));
                }
            }
        }
        let needle = |text: &[u8], place| vec![Needle { text: text.to_vec(), place }];
        // The start of a target that is no path: `http:`; the start of a query: `-d`.
        if let Some(place) = start
            && best.is_none_or(|(rarity, _)| rarity < 4)
        {
            // `http:`, not `http`, which stands behind every target as the protocol's name.
            let plain = text.iter().take(LENGTH_MAX - 1).take_while(|&&byte| is_unreserved(byte)).count();
            let marked = text.get(plain).is_some_and(|byte| !matches!(byte, b' ' | b'+' | b'?'));
            if plain >= 2 || plain == 1 && marked {
                let head = &text[..plain + usize::from(marked)];
                return Some(Needles { any_of: needle(head, place), rarity: 4 });
            }
        }
        best.map(|(rarity, piece)| Needles { any_of: needle(piece, Place::Anywhere), rarity })
    }

    /// 0 where a piece will not do, 1 where it is in most lines, more the longer and the stranger it is.
    fn rarity(self, piece: &[u8]) -> u32 {
        let text = String::from_utf8_lossy(piece);
        let weight = |&byte: &u8| match byte {
            byte if byte.is_ascii_alphanumeric() => 2,
            b'-' | b'.' | b'_' | b'/' | b'=' | b'&' | b':' | b',' => 1,
            _ => 4,
        };
        let weight: u32 = piece.iter().map(weight).sum();
        let too_short = match piece {
            // Honest requests have few of these, and log writers use none.
            [byte] => !matches!(byte, b'\'' | b'`' | b'<' | b'>' | b'{' | b'}' | b'|' | b'^' | b'$'),
            [_, _] => piece.iter().any(u8::is_ascii_alphanumeric),
            _ => false,
        };
        if too_short || self.entry && piece.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-') {
            0
        } else if COMMON.contains(&*text) {
            u32::from(piece.len() > 3)
        } else if piece.len() == 1 {
            1
        } else {
            weight / 2 + 1
        }
    }

    fn required(self, part: &Hir) -> Required {
        let nothing = Required { exact: None, needles: None };
        match part.kind() {
            HirKind::Empty | HirKind::Look(_) => Required { exact: Some(vec![Vec::new()]), needles: None },
            HirKind::Literal(literal) => self.exactly(vec![literal.0.to_vec()]),
            HirKind::Class(class) => match few(class) {
                Some(bytes) => self.exactly(bytes.into_iter().map(|byte| vec![byte]).collect()),
                None => nothing,
            },
            HirKind::Repetition(repeated) => {
                let inner = self.required(&repeated.sub);
                match (repeated.min, repeated.max, inner.exact) {
                    (0, Some(1), Some(mut exact)) => {
                        exact.push(Vec::new());
                        self.exactly(exact)
                    }
                    (0, _, _) => nothing,
                    (min, _, Some(exact)) => {
                        let times = usize::try_from(min).unwrap_or(1).min(LENGTH_MAX);
                        let repeated = exact.iter().map(|text| text.repeat(times)).collect();
                        // Of several texts each repetition may be another one.
                        let needles =
                            if exact.len() == 1 { self.exactly(repeated).needles } else { inner.needles };
                        Required { exact: None, needles }
                    }
                    (_, _, None) => Required { exact: None, needles: inner.needles },
                }
            }
            HirKind::Capture(capture) => self.required(&capture.sub),
            HirKind::Concat(parts) => self.concat(parts),
            HirKind::Alternation(parts) => {
                let parts: Vec<Required> = parts.iter().map(|part| self.required(part)).collect();
                let exact: Option<Vec<Vec<Vec<u8>>>> = parts.iter().map(|part| part.exact.clone()).collect();
                match exact.map(|exact| exact.concat()) {
                    Some(exact) if exact.len() <= EXACT_MAX => self.exactly(exact),
                    _ => Required { exact: None, needles: union(parts.into_iter().map(|part| part.needles)) },
                }
            }
        }
    }

    fn exactly(self, texts: Vec<Vec<u8>>) -> Required {
        let needles = union(texts.iter().map(|text| self.best(text, None)));
        Required { exact: (texts.len() <= EXACT_MAX).then_some(texts), needles }
    }

    fn concat(self, parts: &[Hir]) -> Required {
        // The texts that the parts since the last uncertain one may make.
        let mut run: Vec<Vec<u8>> = vec![Vec::new()];
        let mut exact = true;
        let mut best: Option<Needles> = None;
        let mut offer = |needles: Option<Needles>| {
            if let Some(needles) = needles
                && best.as_ref().is_none_or(|best| needles.rarity > best.rarity)
            {
                best = Some(needles);
            }
        };
        for part in parts {
            let inner = self.required(part);
            offer(inner.needles);
            let Some(texts) = inner.exact else {
                exact = false;
                offer(self.exactly(std::mem::replace(&mut run, vec![Vec::new()])).needles);
                continue;
            };
            if run.len() * texts.len() > EXACT_MAX {
                exact = false;
                offer(self.exactly(std::mem::replace(&mut run, vec![Vec::new()])).needles);
            }
            run = run
                .iter()
                .flat_map(|head| texts.iter().map(|tail| [head.as_slice(), tail].concat()))
                .collect();
        }
        offer(self.exactly(run.clone()).needles);
        Required { exact: exact.then_some(run), needles: best }
    }
}

/// The bytes of a class that has few of them; `[Aa]` is one, for needles are looked for without regard to case.
fn few(class: &Class) -> Option<Vec<u8>> {
    let ranges: Vec<(u8, u8)> = match class {
        Class::Bytes(class) => class.ranges().iter().map(|range| (range.start(), range.end())).collect(),
        Class::Unicode(class) => {
            let byte = |character: char| character.is_ascii().then(|| u8::try_from(character).ok()).flatten();
            let ranges = class.ranges().iter().map(|range| Some((byte(range.start())?, byte(range.end())?)));
            ranges.collect::<Option<_>>()?
        }
    };
    let mut bytes: Vec<u8> = ranges.into_iter().flat_map(|(start, end)| start..=end).collect();
    for byte in &mut bytes {
        *byte = byte.to_ascii_lowercase();
    }
    bytes.sort_unstable();
    bytes.dedup();
    (bytes.len() <= CLASS_MAX).then_some(bytes)
}
