//! Our own hosts among the sources: an incident, said before everything else.

use crate::output::lines::{count, some};
use crate::output::table::clean;
use std::fmt::Write as _;
use traffic::census::report::SourceRow;

/// Signatures that are named of a host.
const SIGNATURES_SHOWN: usize = 5;

/// What an own host among the sources may mean, and what to do.
pub(crate) const ADVICE: &str = "Somebody else may be using it: take it off the network and look. If it is a proxy of yours, \
    have the web server log the address that the proxy forwards, and count again.";

/// A line for each host; nothing where there is none.
pub(crate) fn told(own: &[SourceRow]) -> String {
    let mut out = String::new();
    for row in own {
        let _ = writeln!(out, "INCIDENT: {}", line(row));
    }
    if !own.is_empty() {
        let _ = writeln!(out, "{ADVICE}\n");
    }
    out
}

/// What one host sent.
pub(crate) fn line(row: &SourceRow) -> String {
    format!(
        "{}, one of your own, sent {} from {} to {}: {}.",
        clean(&row.source),
        count(row.attempts, "attempt"),
        row.first.date(),
        row.last.date(),
        some(&row.signatures, SIGNATURES_SHOWN),
    )
}
