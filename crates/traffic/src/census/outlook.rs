//! What comes of each signature: the report's days as the forecast takes them.

use super::report::{Report, SignatureRow};
use crate::forecast::{self, Asked, Outlook, Series};
use rayon::prelude::*;
use std::collections::BTreeMap;

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

/// Puts a forecast into each signature of the report, on all cores.
pub fn look_ahead(report: &mut Report, asked: &Asked) {
    let of_row = |row: &SignatureRow| {
        let series = series(report, row)?;
        Some(forecast::forecast(&series, asked, SEED))
    };
    let outlooks: Vec<Option<Outlook>> = report.signatures.par_iter().map(of_row).collect();
    for (row, outlook) in report.signatures.iter_mut().zip(outlooks) {
        row.outlook = outlook;
    }
}
