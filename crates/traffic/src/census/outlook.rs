//! What comes of each signature: the report's days as the forecast takes them.

use super::report::{AttemptsAhead, DayRow, Report, SignatureDay, SignatureRow};
use crate::forecast::{self, Asked, Calendar, Calendars, Outlook, Series};
use jiff::civil::Date;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// The same log gets the same answer.
const SEED: u64 = 1;

/// The days of one signature. `None`: nothing was seen but unfinished days.
///
/// A day without any request is a gap in the log, not a quiet day. The last day is seldom whole and is left out; the first one
/// is taken as not observed, for the same reason.
pub fn series(report: &Report, row: &SignatureRow) -> Option<Series> {
    let own: BTreeMap<_, _> = row.days.iter().map(|day| (day.day, day)).collect();
    let counts = |count: &dyn Fn(&SignatureDay) -> u64| {
        whole_days(report, &|day| own.get(&day.day).map_or(0, |day| count(day)))
    };
    let (first_day, sources) = counts(&|day| day.sources.count)?;
    Some(Series { first_day, sources, attempts: counts(&|day| day.attempts)?.1 })
}

/// All attempts together, as a series of its own: how signatures err together, nobody knows. In the place of sources are attempts.
fn of_all(report: &Report) -> Option<Series> {
    let (first_day, attempts) = whole_days(report, &|day| day.attempts)?;
    Some(Series { first_day, sources: attempts.clone(), attempts })
}

/// The first whole day, and a count for each of them.
fn whole_days(report: &Report, count: &dyn Fn(&DayRow) -> u64) -> Option<(Date, Vec<Option<u32>>)> {
    let whole = report.days.split_last()?.1;
    let (first, _) = whole.split_first()?;
    let of_day = |(place, day): (usize, &DayRow)| {
        let observed = place > 0 && day.requests > 0;
        observed.then(|| u32::try_from(count(day)).unwrap_or(u32::MAX))
    };
    Some((first.day.date(), whole.iter().enumerate().map(of_day).collect()))
}

/// Puts a forecast into each signature of the report, and one of all attempts into the report, on all cores. Calls `go_on` after
/// each of them, and leaves the others out once that says no.
///
/// A calendar of `calendars` goes before the rule's, and that before the one that is asked with.
pub fn look_ahead(
    report: &mut Report,
    asked: &Asked,
    calendars: &Calendars,
    go_on: &(dyn Fn() -> bool + Sync),
) {
    let stopped = AtomicBool::new(false);
    let told = |series: Option<Series>, asked: &Asked| {
        if stopped.load(Ordering::Relaxed) {
            return None;
        }
        let outlook = series.map(|series| forecast::forecast(&series, asked, SEED));
        if !go_on() {
            stopped.store(true, Ordering::Relaxed);
        }
        outlook
    };
    let of_row = |row: &SignatureRow| {
        let calendar = calendars.of(&row.id).or(row.calendar.as_ref()).unwrap_or(&asked.calendar);
        told(series(report, row), &Asked { calendar: calendar.clone(), ..*asked })
    };
    // One signature's attempts are all: it is not looked at twice.
    let together = || match &report.signatures[..] {
        [] | [_] => None,
        _ => told(of_all(report), &Asked { calendar: Calendar::default(), ..*asked }),
    };
    let (mut together, outlooks): (Option<Outlook>, Vec<Option<Outlook>>) =
        rayon::join(together, || report.signatures.par_iter().map(of_row).collect());
    if let [only] = &outlooks[..] {
        together.clone_from(only);
    }
    let ahead = together.as_ref().and_then(Outlook::course).map(|course| &course.ahead[..]);
    report.attempts_ahead = ahead
        .unwrap_or_default()
        .iter()
        .map(|day| AttemptsAhead { day: day.day, attempts: day.attempts })
        .collect();
    for (row, outlook) in report.signatures.iter_mut().zip(outlooks) {
        row.outlook = outlook;
    }
}
