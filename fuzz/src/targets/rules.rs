//! A file of rules in any of the languages, and one request that they and our own judge.

use std::sync::LazyLock;
use traffic::Request;
use traffic::request::{Field, unescaped};
use traffic::rules::{Rules, Scratch, builtin, read};

static OWN: LazyLock<Rules> =
    LazyLock::new(|| Rules::compile(builtin().iter().flat_map(|(name, text)| read(name, text).0).collect()).0);

pub fn run(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let (line, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let sent = unescaped(line);
    let request = Request {
        agent: Field::Is(text),
        cookie: Field::Is(text),
        headers: &[(b"Content-Type", b"application/json")],
        body: Field::Is(text),
        ..Request::of_line(&sent)
    };
    judge(&OWN, &request);
    let logged = Request::of_line(&sent);
    if judge(&OWN, &logged) {
        assert!(OWN.sieve().next(line, 0).is_some(), "lost in the sieve");
    }
    if let Ok(text) = std::str::from_utf8(text) {
        for name in ["rules.yaml", "filter.conf"] {
            let (rules, _) = Rules::compile(read(name, text).0);
            if judge(&rules, &logged) {
                assert!(rules.sieve().next(line, 0).is_some(), "lost in the sieve");
            }
        }
    }
}

fn judge(rules: &Rules, request: &Request<'_>) -> bool {
    let mut hits = Vec::new();
    rules.judge(request, &mut Scratch::default(), &mut hits);
    assert_eq!(hits.len(), rules.explain(request).matches.len());
    !hits.is_empty()
}
