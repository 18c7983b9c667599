//! When each attack will be over, in words.

use super::plot::Foretold;
use crate::output::table::{Look, clean, wrapped};
use jiff::civil::Date;
use std::fmt::Write as _;
use traffic::census::report::{Report, SignatureRow};
use traffic::forecast::{Backtest, End, Outlook, Phase, Span};

/// It is over already when that is so sure.
const ALREADY: f64 = 0.95;

/// A paragraph for each signature that has an outlook.
pub(super) fn outlooks(rows: &[SignatureRow], look: Look) -> String {
    let mut out = String::new();
    let told = rows.iter().filter_map(|row| Some((row, row.outlook.as_ref()?)));
    for (row, outlook) in told.take(if look.all { usize::MAX } else { super::SIGNATURES_SHOWN }) {
        if out.is_empty() {
            out.push_str("\nWhen it will be over (intervals hold 90 %)\n");
        }
        let tested = outlook.course().map(|course| tested(&course.backtest)).unwrap_or_default();
        let text = format!("{}: {}{tested}", clean(&row.id), said(outlook));
        out.push_str(&wrapped(&text, "  ", "    ", look));
    }
    out
}

/// When it will be over, in a word.
pub(super) fn ending(outlook: &Outlook) -> String {
    match outlook {
        Outlook::CannotTell { .. } => "cannot tell".to_owned(),
        Outlook::Told { end, .. } if end.already >= ALREADY => "over".to_owned(),
        Outlook::Told { end, .. } => end.day.middle.map_or("not in sight".to_owned(), |day| day.to_string()),
    }
}

/// Attempts of all signatures on the days after the last one of the log.
pub(super) fn foretold(report: &Report) -> Vec<Foretold> {
    let Some(last) = report.days.last().map(|day| day.day.date()) else { return Vec::new() };
    // Edges are whole, and `as` keeps to what a count can hold.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates, as wanted")]
    let whole = |edge: f64| edge as u64;
    let ahead = report.attempts_ahead.iter().filter(|ahead| ahead.day > last);
    ahead
        .map(|ahead| Foretold {
            day: ahead.day,
            low: whole(ahead.attempts.low_90),
            high: whole(ahead.attempts.high_90),
        })
        .collect()
}

/// What an outlook says, in one line.
pub(super) fn said(outlook: &Outlook) -> String {
    let mut text = match outlook {
        Outlook::Told { end, .. } => ended(end),
        Outlook::CannotTell { reasons, .. } => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            format!("cannot be told: {}", reasons.join("; "))
        }
    };
    let Some(course) = outlook.course() else { return text };
    let _ = write!(text, ". It is {}", course.phase);
    let decays = matches!(course.phase, Phase::Dying | Phase::AtFloor);
    if decays && course.half_life_days.middle.is_some() {
        let _ = write!(text, "; half-life in days {}", days(&course.half_life_days));
    }
    if let Some(growth) = &course.growth {
        let _ = write!(
            text,
            "; it doubles in days {}; if a host took a day to infect the next, which no log tells, each would infect {}",
            days(&growth.doubling_days),
            days(&growth.reproduction_if_a_day)
        );
    }
    if decays && course.slow_tail > 0.05 {
        let _ =
            write!(text, "; {:.0} % that nothing stays but an ever slower tail", 100.0 * course.slow_tail);
    }
    if course.calendar_belied {
        text.push_str("; it does not keep to its calendar, which was laid aside");
    }
    if let Some(last) = course.ahead.last() {
        let bands = last.sources;
        let _ = write!(
            text,
            "; {} ({:.0} to {:.0}) on {}",
            sources(bands.middle),
            bands.low_90,
            bands.high_90,
            last.day
        );
    }
    text
}

/// How good forecasts of this series were a week ahead, or as far as it is long enough for.
fn tested(backtest: &Backtest) -> String {
    const WEEK: u32 = 7;
    let Some(ahead) = backtest.ahead.iter().rev().find(|ahead| ahead.days <= WEEK) else {
        return String::new();
    };
    let other =
        ahead.wis_of_last_week.map(|score| format!(", \"last week repeats\" {score:.1}")).unwrap_or_default();
    format!(
        ". Tested on {} earlier days, {} ahead: {:.0} % inside 90 %, score {:.1}{other}",
        ahead.forecasts,
        ahead.days,
        100.0 * ahead.inside_90,
        ahead.wis
    )
}

fn ended(end: &End) -> String {
    let limit = format!("below {} a day", sources(end.below));
    let sure = format!("already {:.0} %, never {:.0} %", 100.0 * end.already, 100.0 * end.never);
    let date = |day: Option<Date>| day.map_or("not in sight".to_owned(), |day| day.to_string());
    if end.already >= ALREADY {
        return format!("{limit} already ({:.0} % sure)", 100.0 * end.already);
    }
    match (end.day.low, end.day.middle) {
        (None, _) => format!("{limit} not in sight, {sure}"),
        (Some(low), None) => format!("{limit} not in sight, at the earliest by {low}, {sure}"),
        (Some(low), Some(middle)) => {
            format!("{limit} by {middle} ({low} to {}), {sure}", date(end.day.high))
        }
    }
}

/// `1 source`, `2.5 sources`.
fn sources(count: f64) -> String {
    let text = count.to_string();
    if text == "1" { "1 source".to_owned() } else { format!("{text} sources") }
}

fn days(span: &Span<f64>) -> String {
    let number = |value: Option<f64>| value.map_or("no bound".to_owned(), |value| format!("{value:.1}"));
    format!("{} ({} to {})", number(span.middle), number(span.low), number(span.high))
}
