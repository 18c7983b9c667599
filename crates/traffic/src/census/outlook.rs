//! What comes of each signature: the report's days as the forecast takes them.

use super::report::{Report, SignatureRow};
use crate::forecast::{self, Asked, Calendars, Outlook, Series};
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
    let whole = report.days.split_last()?.1;
    let (first, _) = whole.split_first()?;
    let own: BTreeMap<_, _> = row.days.iter().map(|day| (day.day, day)).collect();
    let counts = |count: &dyn Fn(&super::report::SignatureDay) -> u64| {
        let of_day = |(place, day): (usize, &super::report::DayRow)| {
            let observed = place > 0 && day.requests > 0;
            observed.then(|| u32::try_from(own.get(&day.day).map_or(0, |day| count(day))).unwrap_or(u32::MAX))
        };
        whole.iter().enumerate().map(of_day).collect()
    };
    Some(Series {
        first_day: first.day.date(),
        sources: counts(&|day| day.sources.count),
        attempts: counts(&|day| day.attempts),
    })
}

/// Puts a forecast into each signature of the report, on all cores. Calls `go_on` after each of them, and leaves the others out
/// once that says no.
///
/// A calendar of `calendars` goes before the rule's, and that before the one that is asked with.
pub fn look_ahead(
    report: &mut Report,
    asked: &Asked,
    calendars: &Calendars,
    go_on: &(dyn Fn() -> bool + Sync),
) {
    let stopped = AtomicBool::new(false);
    let of_row = |row: &SignatureRow| {
        if stopped.load(Ordering::Relaxed) {
            return None;
        }
        let calendar = calendars.of(&row.id).or(row.calendar.as_ref()).unwrap_or(&asked.calendar);
        let asked = Asked { calendar: calendar.clone(), ..*asked };
        let outlook = series(report, row).map(|series| forecast::forecast(&series, &asked, SEED));
        if !go_on() {
            stopped.store(true, Ordering::Relaxed);
        }
        outlook
    };
    let outlooks: Vec<Option<Outlook>> = report.signatures.par_iter().map(of_row).collect();
    for (row, outlook) in report.signatures.iter_mut().zip(outlooks) {
        row.outlook = outlook;
    }
}
