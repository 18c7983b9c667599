//! Days as columns of blocks.

use jiff::civil::Date;
use std::fmt::Write as _;
use traffic::census::report::DayRow;

/// Rows of the plot.
const ROWS: u64 = 6;
/// Blocks from an eighth to a whole.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A day that the log does not cover: that is no zero.
const GAP: char = '·';

/// One column for each day, or for several where they do not fit; each with the highest of its days.
fn columns(days: &[(u64, bool)], room: usize) -> Vec<Option<u64>> {
    let each = days.len().div_ceil(room.max(1)).max(1);
    days.chunks(each)
        .map(|days| days.iter().filter(|(_, is_seen)| *is_seen).map(|(count, _)| *count).max())
        .collect()
}

/// A line of blocks; days without any attempt are blank.
pub(super) fn spark(days: &[(u64, bool)], room: usize) -> String {
    let columns = columns(days, room);
    let highest = columns.iter().flatten().copied().max().unwrap_or(0).max(1);
    columns
        .into_iter()
        .map(|column| match column {
            None => GAP,
            Some(0) => ' ',
            Some(count) => block(count * 8, highest),
        })
        .collect()
}

/// The block for so many eighths of `whole`; at least one, so that one attempt is seen.
fn block(eighths: u64, whole: u64) -> char {
    let place = eighths.div_ceil(whole).clamp(1, 8) - 1;
    BLOCKS[usize::try_from(place).unwrap_or(0)]
}

/// What is foretold: surely, and at most.
const FORETOLD: (char, char) = ('▒', '░');

/// A day to come: what nine days of ten stay within.
#[derive(Clone, Copy, Debug)]
pub(super) struct Foretold {
    pub(super) day: Date,
    pub(super) low: u64,
    pub(super) high: u64,
}

/// The plot: the highest day at the top left, the first and last day below. Days to come follow those that were seen; what is
/// foretold above the highest day is cut off.
pub(super) fn days(rows: &[DayRow], counts: &[(u64, bool)], ahead: &[Foretold], width: usize) -> String {
    let highest = counts.iter().map(|(count, _)| *count).max().unwrap_or(0).max(1);
    let label = highest.to_string().len();
    let room = width.saturating_sub(label + 4).clamp(10, 120);
    // As many days in a column for those to come as for those that were seen.
    let each = (counts.len() + ahead.len()).div_ceil(room).max(1);
    let columns = columns(counts, counts.len().div_ceil(each));
    let each = counts.len().div_ceil(columns.len().max(1)).max(1);
    let highest_of = |days: &[Foretold], edge: fn(&Foretold) -> u64| days.iter().map(edge).max().unwrap_or(0);
    let foretold: Vec<(u64, u64)> = ahead
        .chunks(each)
        .map(|days| (highest_of(days, |day| day.low), highest_of(days, |day| day.high)))
        .collect();
    // A few days are told apart better when each is wider.
    let wide = (room / (columns.len() + foretold.len()).max(1)).clamp(1, 3);
    let mut out = String::new();
    for row in (0..ROWS).rev() {
        let mut line = match row {
            _ if row == ROWS - 1 => format!("{highest:>label$} ┤"),
            0 => format!("{:>label$} ┤", 0),
            _ => format!("{:>label$} │", ""),
        };
        for column in &columns {
            let symbol = match column {
                None if row == 0 => GAP,
                None => ' ',
                Some(count) => {
                    let filled = (count * ROWS * 8).div_ceil(highest).saturating_sub(row * 8);
                    if filled == 0 { ' ' } else { block(filled.min(8), 1) }
                }
            };
            line.extend(std::iter::repeat_n(symbol, wide));
        }
        for (low, high) in &foretold {
            // The row's middle decides: a shade has no eighths.
            let reaches = |edge: u64| edge.saturating_mul(2 * ROWS) > (2 * row + 1) * highest;
            let symbol = match (reaches(*low), reaches(*high)) {
                (true, _) => FORETOLD.0,
                (false, true) => FORETOLD.1,
                (false, false) if row == 0 && *high > 0 => FORETOLD.1,
                (false, false) => ' ',
            };
            line.extend(std::iter::repeat_n(symbol, wide));
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    if let (Some(first), Some(last)) = (rows.first(), rows.last()) {
        let last = ahead.last().map_or(last.day.date(), |day| day.day);
        let (first, last) = (first.day.date().to_string(), last.to_string());
        let between = ((columns.len() + foretold.len()) * wide).saturating_sub(first.len() + last.len());
        let indent = " ".repeat(label + 2);
        if between > 0 {
            let _ = writeln!(out, "{indent}{first}{}{last}", " ".repeat(between));
        } else {
            let _ = writeln!(out, "{indent}{first} to {last}");
        }
    }
    if let Some(day) = ahead.first() {
        let (surely, at_most) = FORETOLD;
        let _ = writeln!(
            out,
            "{}{surely}{at_most} from {} on: at least and at most, nine days of ten",
            " ".repeat(label + 2),
            day.day
        );
    }
    if each > 1 {
        let _ = writeln!(out, "{}each column: the highest of {each} days", " ".repeat(label + 2));
    }
    out
}
