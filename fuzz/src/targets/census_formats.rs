//! Logs' lines in every format, and formats in the web servers' own words. What stands before the first NUL is such a
//! format, the rest is the log.

use std::sync::Arc;
use traffic::census::{first_request, last_request};
use traffic::format::{Custom, Lines, Scratch, Seen, State};
use traffic::request::Fields;

pub fn run(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let (format, log) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    read(State::new(None), log);
    if let Ok(format) = std::str::from_utf8(format) {
        match Custom::parse(format) {
            Ok(custom) => read(State::new(Some(Arc::new(custom))), log),
            Err(problem) => assert!(!problem.to_string().is_empty()),
        }
        let mut state = State::new(None);
        state.advance(format.as_bytes());
        read(state, log);
    }
}

/// A line that has a time and a source keeps both, however it is come to; what cannot be read is no request.
fn read(mut state: State, log: &[u8]) {
    let first = first_request(state.clone(), log);
    let mut advanced = state.clone();
    advanced.advance(log);
    let mut scratch = Scratch::default();
    let mut requests = Vec::new();
    for line in Lines::new(log) {
        match state.brief(line.text) {
            Seen::Request(brief) => {
                assert!(brief.when.is_plausible());
                requests.push((line.at, brief.when.seconds));
                let told = state.read(line.text, &mut scratch, |request| Fields::of(request));
                assert_eq!(told, state.read(line.text, &mut scratch, |request| Fields::of(request)));
            }
            Seen::Nothing | Seen::Unread => {}
        }
    }
    assert_eq!(first, requests.first().copied());
    // What a log said is the same whether its lines were looked at or passed over.
    assert_eq!(last_request(advanced, log).is_some(), last_request(state, log).is_some());
}
