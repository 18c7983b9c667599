//! The census as one page for browsers: no script, nothing fetched, light and dark, fit to print.

mod drawing;

use super::outlook::{ending, said};
use super::own;
use super::{count_of, number, sources_of};
use crate::output::lines::bytes;
use crate::output::table::clean;
use std::fmt::Write as _;
use traffic::census::report::{Report, SignatureRow, SourceRow};
use traffic::forecast::Backtest;

const STYLE: &str = include_str!("page/style.css");

/// The whole page.
pub(crate) fn page(report: &Report, what: &str, notes: &[String]) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n<title>Census of attacks</title>\n\
         <style>\n{STYLE}</style></head>\n<body><main>\n<h1>Census of attacks</h1>\n"
    );
    for row in &report.own {
        let _ = writeln!(
            out,
            "<p class=\"incident\" role=\"alert\"><strong>Incident</strong>: {}</p>",
            safe(&own::line(row))
        );
    }
    if !report.own.is_empty() {
        let _ = writeln!(out, "<p>{}</p>", safe(own::ADVICE));
    }
    let days = match (report.days.first(), report.days.last()) {
        (Some(first), Some(last)) => {
            format!("{} to {}, days in {}", first.day.date(), last.day.date(), report.zone)
        }
        _ => "no day".to_owned(),
    };
    let _ = writeln!(
        out,
        "<p class=\"quiet\">{} · {} · {}</p>",
        safe(what),
        bytes(report.log.bytes),
        safe(&days)
    );
    let attempts: u64 = report.signatures.iter().map(|row| row.attempts).sum();
    let answered: u64 = report.signatures.iter().map(|row| row.answered_ok).sum();
    let _ = writeln!(
        out,
        "<p>{} from {}; {} from {}. {} answered with 2xx: look at these first.{}</p>",
        count_of(report.log.requests, "request"),
        sources_of(report.log.sources),
        count_of(attempts, "attempt"),
        sources_of(report.sources),
        count_of(answered, "attempt"),
        match report.log.unread {
            0 => String::new(),
            unread => format!(" {} could not be read.", count_of(unread, "line")),
        }
    );
    if !report.signatures.is_empty() {
        out.push_str(&drawing::attempts(report));
    }
    let heads = ["signature", "sources", "attempts", "2xx", "first", "last", "over by"];
    let _ = writeln!(out, "<h2>Signatures</h2>\n{}", table_head(&heads));
    for row in &report.signatures {
        let over = row.outlook.as_ref().map_or_else(|| "not told".to_owned(), ending);
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\"><a href=\"#{id}\">{id}</a></th><td>{}{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{}</td></tr>",
            number(row.sources.count),
            if row.sources.error_percent.is_some() { "~" } else { "" },
            number(row.attempts),
            number(row.answered_ok),
            row.first.strftime("%Y-%m-%d"),
            row.last.strftime("%Y-%m-%d"),
            safe(&over),
            id = safe(&row.id),
        );
    }
    out.push_str("</table></div>\n");
    for row in &report.signatures {
        signature(report, row, &mut out);
    }
    sources("Campaigns: sources with three signatures or more", &report.campaigns.listed, &mut out);
    sources("Sources with most attempts", &report.top_sources, &mut out);
    out.push_str("<h2>Notes</h2>\n<ul>\n");
    let mut notes: Vec<String> = notes.to_vec();
    notes.extend(report.fragments.iter().map(|row| {
        format!("{}: {}, pieces of bodies, not counted above", row.id, count_of(row.attempts, "request"))
    }));
    notes
        .extend(report.visits.iter().map(|row| format!("{} of {}", count_of(row.visits, "visit"), row.name)));
    notes.extend(report.unjudged.iter().filter(|rule| rule.percent_of_lines > 0).map(|rule| {
        format!("{} % of lines lack {} for {}", rule.percent_of_lines, rule.missing.join(", "), rule.id)
    }));
    notes.extend(
        report
            .signatures
            .iter()
            .filter_map(|row| Some(format!("rule {} by {}", row.id, row.author.as_ref()?))),
    );
    notes.push(
        "The last day is not whole and is not forecast from. Bands show what was learnt from this log; a new wave is \
         not foreseen, only allowed for."
            .to_owned(),
    );
    for note in notes {
        let _ = writeln!(out, "<li>{}</li>", safe(&note));
    }
    out.push_str("</ul>\n</main></body></html>\n");
    out
}

fn signature(report: &Report, row: &SignatureRow, out: &mut String) {
    let _ = writeln!(out, "<section id=\"{id}\"><h2>{id}</h2>", id = safe(&row.id));
    let mut known: Vec<&str> = row.names.iter().chain(&row.cves).map(String::as_str).collect();
    known.extend(row.advisory.as_deref());
    if !known.is_empty() {
        let _ = writeln!(out, "<p class=\"quiet\">{}</p>", safe(&known.join(" · ")));
    }
    out.push_str(&drawing::sources(report, row));
    if let Some(outlook) = &row.outlook {
        let _ = writeln!(out, "<p>When it will be over: {}.</p>", safe(&said(outlook)));
        if let Some(course) = outlook.course() {
            backtest(&course.backtest, out);
        }
    }
    let statuses: Vec<String> =
        row.statuses.iter().map(|(status, count)| format!("{status}: {}", number(*count))).collect();
    let _ = writeln!(out, "<p class=\"quiet\">Answered {}</p></section>", safe(&statuses.join(", ")));
}

/// How good earlier forecasts were.
fn backtest(backtest: &Backtest, out: &mut String) {
    if backtest.ahead.is_empty() {
        out.push_str("<p class=\"quiet\">Too few days to test earlier forecasts.</p>\n");
        return;
    }
    let heads =
        ["days ahead", "forecasts tested", "inside 50 %", "inside 90 %", "score", "score of last week"];
    out.push_str(&table_head(&heads));
    for ahead in &backtest.ahead {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{:.0} %</td><td>{:.0} %</td><td>{:.1}</td><td>{}</td></tr>",
            ahead.days,
            ahead.forecasts,
            100.0 * ahead.inside_50,
            100.0 * ahead.inside_90,
            ahead.wis,
            ahead.wis_of_last_week.map_or("-".to_owned(), |score| format!("{score:.1}"))
        );
    }
    out.push_str("</table></div>\n");
}

fn sources(title: &str, rows: &[SourceRow], out: &mut String) {
    if rows.is_empty() {
        return;
    }
    let heads = ["source", "attempts", "first", "last", "signatures"];
    let _ = writeln!(out, "<h2>{title}</h2>\n{}", table_head(&heads));
    for row in rows {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{}</td></tr>",
            safe(&row.source),
            number(row.attempts),
            row.first.date(),
            row.last.date(),
            safe(&row.signatures.join(", "))
        );
    }
    out.push_str("</table></div>\n");
}

fn table_head(heads: &[&str]) -> String {
    let cell = |cells: String, head: &&str| cells + &format!("<th scope=\"col\">{head}</th>");
    let cells = heads.iter().fold(String::new(), cell);
    format!("<div class=\"wide\"><table><tr>{cells}</tr>\n")
}

/// Text that a log or someone's rule file brought, fit for an element or an attribute.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in clean(text).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::safe;

    #[test]
    fn what_a_log_brings_opens_no_element_and_ends_no_attribute() {
        let hostile = "\"'><script>alert(1)</script>&amp;\u{1b}[2J\u{202e}";
        let shown = safe(hostile);
        assert!(!shown.contains(['<', '>', '"', '\'', '\u{1b}', '\u{202e}']), "{shown}");
        assert!(shown.contains("&amp;amp;"), "what looks escaped is shown as it was: {shown}");
    }
}
