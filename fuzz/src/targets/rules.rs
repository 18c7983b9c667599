//! A file of rules in any of the languages, and one request that they and our own judge.

use std::sync::LazyLock;
use traffic::Request;
use traffic::request::{Field, unescaped};
use traffic::rules::{RuleId, Rules, Scratch, read};

static OWN: LazyLock<Rules> = LazyLock::new(|| Rules::compile(traffic::rules::own()).0);

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
    judge_logged(&OWN, line, &logged);
    if let Ok(text) = std::str::from_utf8(text) {
        for name in ["rules.yaml", "filter.conf"] {
            let (rules, _) = Rules::compile(read(name, text).0);
            judge_logged(&rules, line, &logged);
        }
    }
}

fn judge(rules: &Rules, request: &Request<'_>) -> Vec<RuleId> {
    let mut hits = Vec::new();
    rules.judge(request, &mut Scratch::default(), &mut hits);
    assert_eq!(hits.len(), rules.explain(request).matches.len());
    hits
}

/// The rules that have what the sieve finds in the line are all that recognise the request.
fn judge_logged(rules: &Rules, line: &[u8], request: &Request<'_>) {
    let (mut found, mut hits) = (Vec::new(), Vec::new());
    rules.sieve().candidates(line, &mut found);
    rules.judge_found(request, &found, &mut Scratch::default(), &mut hits);
    assert_eq!(hits, judge(rules, request), "lost in the sieve");
}
