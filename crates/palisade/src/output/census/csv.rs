//! Attempts and sources by signature and day, for spreadsheets and programs.

use std::fmt::Write as _;
use traffic::census::Report;

/// One row for each signature and day with attempts; fragments are told by their own column.
pub(crate) fn rows(report: &Report) -> String {
    let mut out = String::from("signature,fragment,day,attempts,sources,sources_error_percent\n");
    for (rows, is_fragment) in [(&report.signatures, "no"), (&report.fragments, "yes")] {
        for row in rows {
            for day in &row.days {
                let error = day.sources.error_percent.map(|error| error.to_string()).unwrap_or_default();
                let _ = writeln!(
                    out,
                    "{},{is_fragment},{},{},{},{error}",
                    quoted(&row.id),
                    day.day.date(),
                    day.attempts,
                    day.sources.count
                );
            }
        }
    }
    out
}

/// A field as RFC 4180 has it. Ids of other people's rules may hold anything.
pub(super) fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) || text.starts_with(['=', '+', '-', '@']) {
        // Spreadsheets would compute what begins like a formula.
        let text = text.trim_start_matches(['=', '+', '-', '@']);
        return format!("\"{}\"", text.replace('"', "\"\""));
    }
    text.to_owned()
}
