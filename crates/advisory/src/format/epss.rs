//! EPSS: daily probabilities of exploitation, in CSV. Gives signals.
//!
//! Source of the shape: FIRST's daily files; a comment with model and date, a header, then one CVE per line.

use super::intake::{self, Line, Problems, next_line};
use crate::problem::Problem;
use crate::signal::{EpssScore, Signals};
use jiff::civil::Date;
use std::io::BufRead;

/// Bytes of the file, unpacked. 330,000 CVEs make some 10 MB (2026); 25 times that.
pub const TEXT_BYTES_MAX: u64 = 256 << 20;

/// Scores of one file. All CVE ids so far are some 350,000; thirty times that.
pub const SCORES_MAX: usize = 10_000_000;

/// Bytes of a line: three short columns.
const LINE_BYTES_MAX: usize = 1_024;

const OPERATION: &str = "read EPSS scores";

/// The scores of one file as signals. Lines before a cut are used; the cut is a problem.
pub fn read(feed: &str, text: &mut dyn BufRead, signals: &mut Signals) -> Vec<Problem> {
    let mut problems = Problems::new(feed);
    read_into(feed, text, signals, &mut problems);
    problems.finish()
}

pub(super) fn read_into(feed: &str, text: &mut dyn BufRead, signals: &mut Signals, problems: &mut Problems) {
    let mut line = Vec::new();
    let mut header_seen = false;
    let mut date = None;
    let mut scores = 0;
    for number in 1_u64.. {
        match next_line(text, &mut line, LINE_BYTES_MAX) {
            Ok(Line::End) => break,
            Ok(Line::Text) => {}
            Ok(Line::TooLong) => {
                problems.push(bad(feed, number, &format!("longer than {LINE_BYTES_MAX} bytes")));
                continue;
            }
            Err(error) => {
                problems.cut(OPERATION, format_args!("cut off at line {number}: {error}"));
                break;
            }
        }
        let Ok(row) = std::str::from_utf8(&line) else {
            problems.push(bad(feed, number, "not UTF-8"));
            continue;
        };
        if let Some(comment) = row.strip_prefix('#') {
            date = date.or_else(|| comment.split(',').find_map(|part| score_date(part.trim())));
        } else if !header_seen {
            header_seen = true;
            if row.trim() != "cve,epss,percentile" {
                let shown = intake::one_line(row, 64);
                let reason =
                    format!("its columns are {shown:?}, not \"cve,epss,percentile\"; no score is used");
                return problems.refuse(OPERATION, reason, "EPSS scores of 2021-09 and later are accepted");
            }
        } else if !row.trim().is_empty() {
            if scores == SCORES_MAX {
                return problems.cut(OPERATION, format_args!("more than {SCORES_MAX} scores"));
            }
            match score(row) {
                Ok((cve, score)) => {
                    scores += 1;
                    signals.epss.insert(cve.to_owned(), score);
                }
                Err(reason) => problems.push(bad(feed, number, &reason)),
            }
        }
    }
    // `epss_scores-2025-01-02.csv.gz`: files of older models carry their date only there.
    date = date.or_else(|| {
        let at = feed.rfind("epss_scores-")? + "epss_scores-".len();
        feed.get(at..at + "2025-01-02".len())?.parse().ok()
    });
    match date {
        _ if scores == 0 => problems.cut(OPERATION, "it has no scores"),
        Some(date) => signals.epss_date = signals.epss_date.max(Some(date)),
        None => problems.push(Problem::new(OPERATION, feed, "it does not say its score date").remedy(
            "how old the scores are is not known; take a file with \"#model_version:…,score_date:…\"",
        )),
    }
}

/// `score_date:2025-01-02T00:00:00+0000`.
fn score_date(part: &str) -> Option<Date> {
    part.strip_prefix("score_date:")?.get(.."2025-01-02".len())?.parse().ok()
}

fn score(row: &str) -> Result<(&str, EpssScore), String> {
    let mut columns = row.split(',').map(str::trim);
    let (Some(cve), Some(probability), Some(percentile), None) =
        (columns.next(), columns.next(), columns.next(), columns.next())
    else {
        return Err("not three columns".to_owned());
    };
    if !intake::is_cve(cve) {
        return Err(format!("no CVE id: {:?}", intake::one_line(cve, 64)));
    }
    let share = |text: &str| {
        let value = text.parse::<f64>().ok().filter(|value| (0.0..=1.0).contains(value));
        value.ok_or_else(|| format!("{cve}: no number from 0 to 1: {:?}", intake::one_line(text, 64)))
    };
    Ok((cve, EpssScore { probability: share(probability)?, percentile: share(percentile)? }))
}

fn bad(feed: &str, number: u64, reason: &str) -> Problem {
    Problem::new("read EPSS score", format!("{feed}: line {number}"), reason).remedy("the line is not used")
}
