//! The sieve keeps every line that a rule recognises, however the sender encoded it and the log wrote it down.

use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;
use traffic::Request;
use traffic::request::{Field, unescaped};
use traffic::rules::{RuleId, Rules, Scratch, builtin, read};

struct Own {
    rules: Rules,
    /// Request lines of every rule's attempts.
    lines: Vec<Vec<u8>>,
}

/// Rules on the path with its query, of which ours have few.
const WITH_QUERY: &str = r"
name: hnap-with-query
description: begins with a path
rules:
  - {zones: [URI_FULL], match: {type: startsWith, value: /HNAP1/}}
examples: {recognised: ['GET /HNAP1/?x HTTP/1.1', 'GET /HNAP1/ HTTP/1.1']}
---
name: shell-with-query
description: a path and what follows it
rules:
  - {zones: [URI_FULL], transform: [lowercase], match: {type: regex, value: '/cgi-bin/[a-z]+\.sh\?cmd='}}
examples: {recognised: ['GET /cgi-bin/run.sh?cmd=id HTTP/1.1']}
";

static OWN: LazyLock<Own> = LazyLock::new(|| {
    let ours = builtin().iter().copied().chain([("with-query.yaml", WITH_QUERY)]);
    let read: Vec<_> = ours.flat_map(|(name, text)| read(name, text).0).collect();
    let examples = read.iter().flat_map(|rule| &rule.examples.recognised);
    let lines = examples.map(|example| unescaped(example.line.as_bytes()).into_owned()).collect();
    Own { lines, rules: Rules::compile(read).0 }
});

fn judged(request: &Request<'_>) -> BTreeSet<&'static str> {
    let mut hits = Vec::new();
    OWN.rules.judge(request, &mut Scratch::default(), &mut hits);
    named(hits)
}

fn named(hits: Vec<RuleId>) -> BTreeSet<&'static str> {
    hits.into_iter().map(|RuleId(rule)| OWN.rules.signatures()[usize::from(rule)].id.as_str()).collect()
}

/// Ways of [`encoded`] that are for slashes alone.
const WAYS_OF_SLASHES: std::ops::Range<u8> = 7..17;
/// Ways of [`written`].
const LOGS: u8 = 4;

/// How a sender writes one byte.
fn encoded(byte: u8, how: u8) -> Vec<u8> {
    match how {
        0 => format!("%{byte:02x}"),
        1 => format!("%{byte:02X}"),
        2 => format!("%25{byte:02x}"),
        3 => format!("%u00{byte:02x}"),
        4 if byte < 0x80 => format!("%{:02x}%{:02x}", 0xC0 | byte >> 6, 0x80 | byte & 0x3F),
        5 if byte < 0x80 => format!("%e0%{:02x}%{:02x}", 0x80 | byte >> 6, 0x80 | byte & 0x3F),
        6 => return vec![byte.to_ascii_uppercase()],
        7 if byte == b'/' => return b"/./".to_vec(),
        8 if byte == b'/' => return b"//".to_vec(),
        9 if byte == b'/' => return b"\\".to_vec(),
        10 if byte == b'/' => return b"/x/../".to_vec(),
        11 if byte == b'/' => return b"/x/..;/".to_vec(),
        12 if byte == b'/' => return b";/".to_vec(),
        13 if byte == b'/' => return b"\\/".to_vec(),
        14 if byte == b'/' => return b"%5c".to_vec(),
        15 if byte == b'/' => return b"/%2f".to_vec(),
        16 if byte == b'/' => return b"/;/".to_vec(),
        _ => return vec![byte],
    }
    .into_bytes()
}

/// How a log writes one byte.
fn written(byte: u8, log: u8) -> Vec<u8> {
    let plain = (b' '..0x7F).contains(&byte) && !matches!(byte, b'"' | b'\\');
    match (log, byte) {
        (_, b'\n' | b'\r') => format!("\\x{byte:02X}"),
        (0, _) if !plain => format!("\\x{byte:02X}"),
        (1 | 2, b'"' | b'\\') => format!("\\{}", char::from(byte)),
        (1, _) if !plain => format!("\\x{byte:02x}"),
        (2, b'<' | b'>' | b'&') => format!("\\u00{byte:02x}"),
        (2, _) if byte < b' ' => format!("\\u00{byte:02x}"),
        _ => return vec![byte],
    }
    .into_bytes()
}

/// What the rules recognise in a request line, and the log's line, where the rules that the sieve names for that are others.
fn lost(sent: &[u8], log: u8) -> Option<String> {
    let request = Request { agent: Field::Absent, referer: Field::Absent, ..Request::of_line(sent) };
    let hits = judged(&request);
    let mut line = b"192.0.2.1 - - [19/Jul/2001:00:05:46 +0000] \"".to_vec();
    line.extend(sent.iter().flat_map(|&byte| written(byte, log)));
    line.extend_from_slice(b"\" 404 297");
    let (mut found, mut kept) = (Vec::new(), Vec::new());
    OWN.rules.sieve().candidates(&line, &mut found);
    OWN.rules.judge_found(&request, &found, &mut Scratch::default(), &mut kept);
    let kept = named(kept);
    (kept != hits).then(|| format!("of {hits:?} only {kept:?} kept in {}", line.escape_ascii()))
}

#[test]
fn a_path_that_takes_a_detour_passes_the_sieve() {
    let mut all_lost = Vec::new();
    for line in &OWN.lines {
        let Some(slash) = line.iter().position(|&byte| byte == b'/') else { continue };
        for how in WAYS_OF_SLASHES {
            let sent = [&line[..slash], &encoded(b'/', how), &line[slash + 1..]].concat();
            all_lost.extend((0..LOGS).filter_map(|log| lost(&sent, log)));
        }
    }
    assert!(all_lost.is_empty(), "{}", all_lost.join("\n"));
}

#[test]
fn a_path_is_resolved_in_front_of_its_query_and_the_query_is_not() {
    let recognised = |line: &str| judged(&Request::of_line(line.as_bytes()));
    for path in ["/HNAP1/", "//HNAP1/", "/x/../HNAP1/", "/%2e/HNAP1/", "\\HNAP1/"] {
        for query in ["", "?x", "?x=//y"] {
            let line = format!("GET {path}{query} HTTP/1.1");
            assert!(recognised(&line).contains("hnap-with-query"), "{line}");
        }
    }
    assert!(recognised("GET /cgi-bin//run.sh?%63md=id HTTP/1.1").contains("shell-with-query"));
    // What stands behind the question mark leads nowhere.
    for line in ["GET /a?/../HNAP1/ HTTP/1.1", "GET /?//HNAP1/ HTTP/1.1", "GET /a/?x/../../HNAP1/ HTTP/1.1"] {
        assert!(!recognised(line).contains("hnap-with-query"), "{line}");
    }
}

#[test]
fn patterns_that_are_printed_find_the_lines_that_the_sieve_keeps() {
    let patterns = OWN.rules.patterns().join("|");
    let regex = regex::bytes::RegexBuilder::new(&patterns).unicode(false).size_limit(64 << 20).build();
    let regex = regex.expect("they are regular expressions");
    let quiet = ["/a/b.html?c=d%20e", "/https://example.org/", "/caf%C3%A9/x-y_z~1", "/a+b&c=%2B"];
    let quiet = quiet.map(|target| format!("GET {target} HTTP/1.1").into_bytes());
    for line in OWN.lines.iter().chain(&quiet) {
        // Each line whole, and cut where a pattern may have to end with it.
        for (how, end) in (0..WAYS_OF_SLASHES.end).flat_map(|how| [(how, line.len()), (how, line.len() / 2)])
        {
            let sent = line[..end]
                .iter()
                .flat_map(|&byte| if byte == b'/' { encoded(byte, how) } else { vec![byte] });
            let logged: Vec<u8> = sent.flat_map(|byte| written(byte, how % LOGS)).collect();
            let kept = OWN.rules.sieve().next(&[&logged[..], b"\n"].concat(), 0).is_some();
            assert_eq!(regex.is_match(&logged), kept, "{}", logged.escape_ascii());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_recognised_passes_the_sieve(
        place in any::<prop::sample::Index>(),
        hows in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..WAYS_OF_SLASHES.end), 0..12),
        log in 0_u8..LOGS,
    ) {
        let mut bytes: Vec<Vec<u8>> = place.get(&OWN.lines).iter().map(|&byte| vec![byte]).collect();
        for (place, how) in hows {
            let place = place.index(bytes.len());
            if let [byte] = bytes[place][..] {
                bytes[place] = encoded(byte, how);
            }
        }
        let sent = bytes.concat();
        let lost = lost(&sent, log);
        prop_assert!(lost.is_none(), "{}", lost.unwrap_or_default());
    }

    #[test]
    fn four_places_at_once_find_the_lines_that_one_place_finds(
        lines in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0_usize..300), 1..120),
    ) {
        let mut text = Vec::new();
        for (place, attempt, padding) in lines {
            text.extend(std::iter::repeat_n(b'a', padding));
            if attempt {
                let line = place.get(&OWN.lines);
                text.extend(line.iter().filter(|byte| **byte != b'\n'));
            }
            text.push(b'\n');
        }
        let sieve = OWN.rules.sieve();
        let start_of = |at: usize| text[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let mut singly = BTreeSet::new();
        let mut from = 0;
        while let Some(at) = sieve.next(&text, from).map(|found| found.at) {
            singly.insert(start_of(at));
            from = text[at..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |end| at + end + 1);
        }
        let mut found = Vec::new();
        sieve.candidates(&text, &mut found);
        prop_assert!(found.is_sorted_by_key(|found| found.at));
        let together: BTreeSet<usize> = found.into_iter().map(|found| start_of(found.at)).collect();
        prop_assert_eq!(singly, together);
    }
}
