//! Rules of others: conditions of Sigma, filters of CrowdSec's scenarios, expressions of fail2ban; and a request each.

use traffic::Request;
use traffic::request::unescaped;
use traffic::rules::{Rules, Scratch, read};

// The first byte chooses the language; a request line up to the first NUL, then what is written in it.
pub fn run(bytes: &[u8]) {
    let [choice, bytes @ ..] = bytes else { return };
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let (line, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(text) = std::str::from_utf8(text) else { return };
    let quoted = |text: &str| serde_json::to_string(text).expect("a text is JSON");
    let mut lines = text.splitn(3, '\n');
    let mut next = || lines.next().unwrap_or_default();
    let (name, text) = match choice % 4 {
        0 => ("filter.conf", format!("[Definition]\nfailregex = {}\nignoreregex = {}\n", next(), next())),
        1 => ("scenario.yaml", format!("name: fuzz\nfilter: {}\n", quoted(text))),
        2 => (
            "sigma.yaml",
            format!(
                "title: fuzz\nlogsource: {{category: webserver}}\ndetection:\n  selection:\n    {}: {}\n  \
                 filter:\n    cs-uri-query|contains: x\n  condition: {}\n",
                quoted(next()),
                quoted(next()),
                quoted(next())
            ),
        ),
        _ => (
            "rule.yaml",
            format!(
                "name: fuzz\ndescription: fuzz\nrules:\n  - zones: [{}]\n    match: {{type: {}, value: {}}}\n",
                quoted(next()),
                quoted(next()),
                quoted(next())
            ),
        ),
    };
    let (rules, _) = read(name, &text);
    let (rules, _) = Rules::compile(rules);
    let sent = unescaped(line);
    let request = Request::of_line(&sent);
    let mut hits = Vec::new();
    rules.judge(&request, &mut Scratch::default(), &mut hits);
    assert_eq!(hits.len(), rules.explain(&request).matches.len());
    if !hits.is_empty() && !line.is_empty() {
        assert!(rules.sieve().next(line, 0).is_some(), "lost in the sieve: {text}");
    }
}
