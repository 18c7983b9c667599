//! The census for people: a plot of days, a line per signature, campaigns, sources, and what could not be judged.

pub(crate) mod csv;
pub(crate) mod fleet;
mod outlook;
pub(crate) mod own;
pub(crate) mod page;
mod parquet;
mod plot;
pub(crate) mod tables;
pub(crate) mod xarf;

use super::lines::{aligned, bytes, count, some};
use super::table::{Look, clean, wrapped};
use std::fmt::Write as _;
use traffic::census::Count;
use traffic::census::report::{DayRow, Report, SignatureRow, SourceRow, Trend};

/// Rows that are shown unless all are wanted.
const SIGNATURES_SHOWN: usize = 40;
const SOURCES_SHOWN: usize = 5;
const UNJUDGED_SHOWN: usize = 3;

/// Columns of a sparkline: a month of days.
const SPARK_COLUMNS: usize = 30;
/// What a sparkline leaves for the rest of its row.
const REST_COLUMNS: usize = 78;
/// What it leaves less where ends are told.
const END_COLUMNS: usize = 14;
/// Columns of the plot where nobody says how wide the terminal is.
const PLOT_COLUMNS: usize = 80;

/// The whole answer.
pub(crate) fn report(report: &Report, what: &str, notes: &[String], look: Look) -> String {
    let mut out = own::told(&report.own);
    out.push_str(&headline(report, what, look));
    if !report.signatures.is_empty() {
        let counts: Vec<(u64, bool)> =
            report.days.iter().map(|day| (day.attempts, day.requests > 0)).collect();
        let width = look.width.map_or(PLOT_COLUMNS, usize::from);
        let _ = writeln!(out, "\nAttempts a day");
        out.push_str(&plot::days(&report.days, &counts, &outlook::foretold(report), width));
        out.push('\n');
        out.push_str(&signatures(report, look));
        out.push_str(&outlook::outlooks(&report.signatures, look));
    }
    if !report.fragments.is_empty() {
        let attempts: u64 = report.fragments.iter().map(|row| row.attempts).sum();
        let names: Vec<&str> = report.fragments.iter().map(|row| row.id.as_str()).collect();
        let text = format!(
            "{} of bodies logged as requests of their own, not counted above: {}.",
            count(attempts, "piece"),
            clean(&names.join(", "))
        );
        let _ = write!(out, "\n{}", wrapped(&text, "", "", look));
    }
    for visit in &report.visits {
        let _ = writeln!(
            out,
            "\n{} of {}, each of several requests.",
            count(visit.visits, "visit"),
            clean(&visit.name)
        );
    }
    sources(report, look, &mut out);
    if !report.origins.is_empty() {
        out.push_str("\nOrigins\n");
        let shown = if look.all { report.origins.len() } else { SOURCES_SHOWN };
        let rows: Vec<[String; 3]> = report
            .origins
            .iter()
            .take(shown)
            .map(|row| [clean(&row.origin), count(row.sources, "source"), count(row.attempts, "attempt")])
            .collect();
        out.push_str(&aligned(&rows, 2));
    }
    closing(report, notes, look, &mut out);
    out
}

fn headline(report: &Report, what: &str, look: Look) -> String {
    let log = &report.log;
    let mut out = String::new();
    let days = match (report.days.first(), report.days.last()) {
        (Some(first), Some(last)) if first.day != last.day => {
            format!("{} to {}, days in {}", first.day.date(), last.day.date(), report.zone)
        }
        (Some(only), _) => format!("{}, day in {}", only.day.date(), report.zone),
        _ => "no day".to_owned(),
    };
    let _ = writeln!(out, "{what} · {} · {days}\n", bytes(log.bytes));
    let attempts: u64 = report.signatures.iter().map(|row| row.attempts).sum();
    let mut text = format!(
        "{} from {}; {} from {} with {}.",
        count_of(log.requests, "request"),
        sources_of(log.sources),
        count_of(attempts, "attempt"),
        sources_of(report.sources),
        count(report.signatures.len() as u64, "signature"),
    );
    if attempts == 0 {
        text =
            format!("{} from {}; no attempts.", count_of(log.requests, "request"), sources_of(log.sources));
    }
    if log.unread > 0 {
        let _ = write!(text, " {} could not be read.", count_of(log.unread, "line"));
    }
    let answered: u64 = report.signatures.iter().map(|row| row.answered_ok).sum();
    if answered > 0 {
        let _ = write!(text, " {} answered with 2xx: look at these first.", count_of(answered, "attempt"));
    }
    out.push_str(&wrapped(&text, "", "", look));
    out
}

fn signatures(report: &Report, look: Look) -> String {
    let told = report.signatures.iter().any(|row| row.outlook.is_some());
    let rest = REST_COLUMNS + if told { END_COLUMNS } else { 0 };
    let room = look
        .width
        .map_or(SPARK_COLUMNS, |width| usize::from(width).saturating_sub(rest).clamp(7, SPARK_COLUMNS));
    let shown = if look.all { report.signatures.len() } else { SIGNATURES_SHOWN };
    let mut rows = vec![
        ["signature", "sources", "attempts", "2xx", "sources a day", "first", "last", "trend", "over by"]
            .map(str::to_owned),
    ];
    if !told {
        rows[0][8].clear();
    }
    rows.extend(report.signatures.iter().take(shown).map(|row| signature(row, &report.days, room)));
    let mut out = aligned_right(&rows);
    if shown < report.signatures.len() {
        let _ = writeln!(out, "{} more with --all.", report.signatures.len() - shown);
    }
    out
}

fn signature(row: &SignatureRow, days: &[DayRow], room: usize) -> [String; 9] {
    let mut own = row.days.iter().peekable();
    let sources: Vec<(u64, bool)> = days
        .iter()
        .map(|day| {
            (own.next_if(|own| own.day == day.day).map_or(0, |own| own.sources.count), day.requests > 0)
        })
        .collect();
    let trend = match row.trend {
        Trend::Unknown => "",
        Trend::New => "new",
        Trend::Growing => "growing",
        Trend::Steady => "steady",
        Trend::Fading => "fading",
        Trend::Gone => "gone",
    };
    [
        clean(&row.id),
        number(row.sources.count) + if row.sources.error_percent.is_some() { "~" } else { "" },
        number(row.attempts),
        if row.answered_ok == 0 { String::new() } else { number(row.answered_ok) },
        plot::spark(&sources, room),
        row.days.first().map(|day| day.day.date().to_string()).unwrap_or_default(),
        row.days.last().map(|day| day.day.date().to_string()).unwrap_or_default(),
        trend.to_owned(),
        row.outlook.as_ref().map(outlook::ending).unwrap_or_default(),
    ]
}

/// Columns under each other, numbers to the right.
fn aligned_right<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let padded = |row: &[String; N]| {
        let mut place = 0;
        row.clone().map(|cell| {
            let width = widths[place];
            place += 1;
            if (2..=4).contains(&place) { format!("{cell:>width$}") } else { cell }
        })
    };
    aligned(&rows.iter().map(padded).collect::<Vec<_>>(), 0)
}

fn sources(report: &Report, look: Look, out: &mut String) {
    let shown = |rows: &[SourceRow]| if look.all { rows.len() } else { rows.len().min(SOURCES_SHOWN) };
    let campaigns = &report.campaigns;
    if campaigns.sources > 0 {
        let text = format!(
            "{} sent three signatures or more each, {} in all: these are campaigns, and their curves are one.",
            count(campaigns.sources, "source"),
            count_of(campaigns.attempts, "attempt"),
        );
        let _ = write!(out, "\nCampaigns\n{}", wrapped(&text, "  ", "  ", look));
        let rows: Vec<[String; 4]> =
            campaigns.listed.iter().take(shown(&campaigns.listed)).map(source).collect();
        out.push_str(&aligned(&rows, 2));
    }
    if !report.top_sources.is_empty() {
        out.push_str("\nSources with most attempts\n");
        let rows: Vec<[String; 4]> =
            report.top_sources.iter().take(shown(&report.top_sources)).map(source).collect();
        out.push_str(&aligned(&rows, 2));
    }
}

fn source(row: &SourceRow) -> [String; 4] {
    const NAMED: usize = 3;
    let names = some(&row.signatures, NAMED);
    let days = if row.first == row.last {
        row.first.date().to_string()
    } else {
        format!("{} to {}", row.first.date(), row.last.date())
    };
    [row.source.clone(), count_of(row.attempts, "attempt"), days, names]
}

fn closing(report: &Report, notes: &[String], look: Look, out: &mut String) {
    let mut tell = |text: String| {
        let _ = write!(out, "\n{}", wrapped(&clean(&text), "note: ", "      ", look));
    };
    for note in notes {
        tell(note.clone());
    }
    let authors: std::collections::BTreeSet<&str> =
        report.signatures.iter().filter_map(|row| row.author.as_deref()).collect();
    if !authors.is_empty() {
        let names: Vec<&str> = authors.into_iter().collect();
        tell(format!("rules by {}", names.join(", ")));
    }
    let lacking: Vec<_> = report.unjudged.iter().filter(|rule| rule.percent_of_lines > 0).collect();
    if !lacking.is_empty() {
        let missing: std::collections::BTreeSet<&str> =
            lacking.iter().flat_map(|rule| rule.missing.iter().copied()).collect();
        let missing: Vec<&str> = missing.into_iter().collect();
        let shown = if look.all { usize::MAX } else { UNJUDGED_SHOWN };
        let ids = some(lacking.iter().map(|rule| &rule.id), shown);
        tell(format!("lines without {} cannot show {ids}", missing.join(", ")));
    }
    if report.one_source_in > 1 {
        tell(format!(
            "more sources than are kept: one in {} was looked at one by one, numbers of sources are estimates (±1.6 %)",
            report.one_source_in
        ));
    }
    if report.pseudonyms && !report.top_sources.is_empty() {
        tell("sources are pseudonyms; --show-sources tells addresses".to_owned());
    }
    if let (Some(exposure), false) = (report.exposure, report.signatures.is_empty()) {
        let each: f64 = report.signatures.iter().filter_map(|row| row.attempts_per_address_per_day).sum();
        tell(format!("{each:.1} attempts a day on each of {exposure} addresses"));
    }
}

fn sources_of(count: Count) -> String {
    let about = if count.error_percent.is_some() { "about " } else { "" };
    format!("{about}{}", count_of(count.count, "source"))
}

/// `1 request`, `12,345 requests`.
fn count_of(many: u64, one: &str) -> String {
    format!("{} {one}{}", number(many), if many == 1 { "" } else { "s" })
}

/// `12,345`.
fn number(many: u64) -> String {
    let digits = many.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
