//! Counts a day, and the bands of the days to come.

use jiff::civil::Date;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use traffic::census::report::{DayRow, Report, SignatureRow};
use traffic::forecast::Bands;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 178.0;
/// Days before the forecast that are drawn.
const DAYS_SHOWN: usize = 180;
/// A band that goes higher than so many times what was seen is cut off.
const ABOVE_MAX: f64 = 2.0;

/// Sources a day of one signature.
pub(super) fn sources(report: &Report, row: &SignatureRow) -> String {
    let own: BTreeMap<_, u64> = row.days.iter().map(|day| (day.day, day.sources.count)).collect();
    let course = row.outlook.as_ref().and_then(|outlook| outlook.course());
    let ahead: Vec<_> =
        course.iter().flat_map(|course| &course.ahead).map(|day| (day.day, day.sources)).collect();
    drawn(report, "Sources", &|day| own.get(&day.day).copied().unwrap_or(0), &ahead)
}

/// Attempts a day of all signatures.
pub(super) fn attempts(report: &Report) -> String {
    let ahead: Vec<_> = report.attempts_ahead.iter().map(|day| (day.day, day.attempts)).collect();
    drawn(report, "Attempts", &|day| day.attempts, &ahead)
}

/// The drawing, with its numbers in words for those who cannot see it.
fn drawn(report: &Report, what: &str, count: &dyn Fn(&DayRow) -> u64, ahead: &[(Date, Bands)]) -> String {
    let shown = &report.days[report.days.len().saturating_sub(DAYS_SHOWN)..];
    let (Some(first), Some(last)) = (shown.first(), shown.last()) else { return String::new() };
    let count = |day: &DayRow| f64::from(u32::try_from(count(day)).unwrap_or(u32::MAX));
    let seen = shown.iter().map(count).fold(1.0, f64::max);
    let high = ahead.iter().map(|(_, bands)| bands.high_90).fold(seen, f64::max);
    let most = high.min(ABOVE_MAX * seen);
    // The forecast begins on the last day, which is not whole.
    let columns = whole(shown.len() + ahead.len().saturating_sub(1)).max(1.0);
    let step = (WIDTH - LEFT) / columns;
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * (value.min(most) / most);
    let x = |place: usize| LEFT + step * whole(place);
    let end = ahead.last().map_or(last.day.date(), |(day, _)| *day);
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{what} a day, at most {seen:.0}\">\n\
         <line class=\"axis\" x1=\"{LEFT}\" y1=\"{BOTTOM}\" x2=\"{WIDTH}\" y2=\"{BOTTOM}\"/>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{most:.0}</text><text x=\"{}\" y=\"{BOTTOM}\" text-anchor=\"end\">0</text>\n\
         <text x=\"{LEFT}\" y=\"194\">{}</text><text x=\"{WIDTH}\" y=\"194\" text-anchor=\"end\">{end}</text>\n",
        LEFT - 6.0,
        TOP + 4.0,
        LEFT - 6.0,
        first.day.date(),
    );
    for (place, day) in shown.iter().enumerate() {
        let (class, top) = if day.requests == 0 { ("gap", BOTTOM - 4.0) } else { ("bar", y(count(day))) };
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            x(place),
            (step * 0.85).max(0.5),
            BOTTOM - top
        );
    }
    let begin = shown.len() - 1;
    let line = |edge: &dyn Fn(&Bands) -> f64, backwards: bool| {
        let point = |(place, (_, bands)): (usize, &(Date, Bands))| {
            format!("{:.1},{:.1} ", x(begin + place) + step / 2.0, y(edge(bands)))
        };
        if backwards {
            ahead.iter().enumerate().rev().map(point).collect::<String>()
        } else {
            ahead.iter().enumerate().map(point).collect()
        }
    };
    if !ahead.is_empty() {
        let wide = line(&|bands| bands.low_90, false) + &line(&|bands| bands.high_90, true);
        let narrow = line(&|bands| bands.low_50, false) + &line(&|bands| bands.high_50, true);
        let _ = writeln!(
            out,
            "<polygon class=\"wide-band\" points=\"{wide}\"/><polygon class=\"narrow-band\" points=\"{narrow}\"/>\
             <polyline class=\"middle\" points=\"{}\"/>",
            line(&|bands| bands.middle, false)
        );
    }
    out.push_str("</svg>\n");
    let cut = if high > most { " Bands that reach above the drawing are cut off." } else { "" };
    let _ = writeln!(
        out,
        "<p class=\"quiet\">{what} a day; grey stubs are gaps in the log; bands hold 90 % and 50 %.{cut}</p>"
    );
    out
}

fn whole(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
