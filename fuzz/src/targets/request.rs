//! Requests with bodies, headers and cookies of every kind, and rules that look at each zone in each of its readings.

use std::sync::LazyLock;
use traffic::Request;
use traffic::request::{Field, unescaped};
use traffic::rules::{Rules, Scratch, read};

const ZONES: [&str; 18] = [
    "METHOD",
    "PROTOCOL",
    "URI",
    "URI_FULL",
    "ARGS",
    "ARGS_NAMES",
    "BODY_ARGS",
    "BODY_ARGS_NAMES",
    "HEADERS",
    "HEADERS_NAMES",
    "COOKIES",
    "COOKIES_NAMES",
    "RAW_BODY",
    "FILENAMES",
    "QUERY",
    "LINE",
    "STATUS",
    "ENTRY",
];
const TRANSFORMS: [&str; 7] =
    ["lowercase", "uppercase", "urldecode", "trim", "normalizepath", "htmlentitydecode", "b64decode"];
const KINDS: [&[u8]; 5] = [
    b"application/json",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=b",
    b"multipart/form-data; boundary=\"a b\"",
    b"text/plain",
];

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let of_zone = |zone: &&str| {
        let of_transform = |transform: &&str| {
            format!(
                "name: fuzz-{zone}-{transform}\ndescription: any\nrules:\n  - and:\n    - zones: [{zone}]\n      \
                 transform: [{transform}]\n      match: {{type: regex, value: 'a[^a]|\\.\\.'}}\n"
            )
        };
        TRANSFORMS.iter().map(of_transform).collect::<Vec<_>>()
    };
    let texts: Vec<String> = ZONES.iter().flat_map(of_zone).collect();
    let rules = texts.iter().flat_map(|text| read("fuzz.yaml", text).0).collect();
    Rules::compile(rules).0
});

pub fn run(bytes: &[u8]) {
    let [kind, bytes @ ..] = bytes else { return };
    let mut parts = bytes.splitn(3, |&byte| byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (line, head, body) = (part(), part(), part());
    let sent = unescaped(line);
    let headers: Vec<(&[u8], &[u8])> = head
        .split(|&byte| byte == b'\n')
        .filter_map(|header| {
            let colon = header.iter().position(|&byte| byte == b':')?;
            Some((&header[..colon], &header[colon + 1..]))
        })
        .chain([(&b"Content-Type"[..], KINDS[usize::from(*kind) % KINDS.len()])])
        .collect();
    let request = Request {
        host: Field::Is(head),
        agent: Field::Is(head),
        referer: Field::Absent,
        cookie: Field::Is(head),
        headers: &headers,
        body: Field::Is(body),
        status: Some(u16::from(*kind)),
        ..Request::of_line(&sent)
    };
    let mut hits = Vec::new();
    RULES.judge(&request, &mut Scratch::default(), &mut hits);
    assert_eq!(hits.len(), RULES.explain(&request).matches.len());
}
