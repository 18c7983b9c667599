//! A wave as a bar: a cell for so many hosts, in the order in which hosts go through. Each kind has a letter of its own, so
//! that it can be read without colours.

use crate::answers::Wave;
use ratatui::style::{Color, Style};
use ratatui::text::Span;

/// What fills a cell: its letter and colour.
const KINDS: [(&str, Color); 6] = [
    ("█", Color::Green),
    ("-", Color::Blue),
    ("×", Color::Red),
    ("▓", Color::Yellow),
    ("▒", Color::Cyan),
    ("·", Color::DarkGray),
];

/// What the letters mean, for the foot of the screen.
pub(super) const LEGEND: &str = "█ proven  ▓ changing  ▒ preparing  · to go  - skipped  × failed or lost";

/// A bar of `width` cells.
pub(super) fn bar(wave: &Wave, width: usize, colours: bool) -> Vec<Span<'static>> {
    let known =
        [wave.proven, wave.skipped, wave.failed, wave.lost, wave.under_change, wave.preparing].map(u64::from);
    let [proven, skipped, failed, lost, changing, preparing] = known;
    let settled: u64 = known.iter().sum();
    let to_go = (u64::from(wave.hosts) + u64::from(wave.late)).saturating_sub(settled);
    let cells = shares([proven, skipped, failed + lost, changing, preparing, to_go], width);
    cells
        .iter()
        .zip(KINDS)
        .filter(|(cells, _)| **cells > 0)
        .map(|(cells, (letter, colour))| {
            let style = if colours { Style::new().fg(colour) } else { Style::new() };
            Span::styled(letter.repeat(*cells), style)
        })
        .collect()
}

/// `width` cells shared out by counts. What there is one of is seen, where there is room for it at all; the largest gives.
fn shares(counts: [u64; 6], width: usize) -> [usize; 6] {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return [0, 0, 0, 0, 0, width];
    }
    let mut cells = counts.map(|count| {
        let share = count.saturating_mul(u64::try_from(width).unwrap_or(u64::MAX)) / all;
        usize::try_from(share).unwrap_or(width).max(usize::from(count > 0))
    });
    let largest = (0..cells.len()).max_by_key(|place| counts[*place]).unwrap_or_default();
    let taken: usize = cells.iter().sum();
    if taken <= width {
        cells[largest] += width - taken;
    } else {
        // A narrow bar: from the end of the row, and never more than there is.
        let mut over = taken - width;
        for place in std::iter::once(largest).chain((0..cells.len()).rev()) {
            let give = over.min(cells[place].saturating_sub(1));
            cells[place] -= give;
            over -= give;
        }
        for cells in cells.iter_mut().rev() {
            let give = over.min(*cells);
            *cells -= give;
            over -= give;
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_wide_as_it_is_told_and_shows_a_single_failure() {
        for counts in
            [[0; 6], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [99_999, 0, 1, 0, 0, 0], [3, 2, 1, 0, 500, 7]]
        {
            for width in [0, 1, 3, 10, 80] {
                let cells = shares(counts, width);
                assert_eq!(cells.iter().sum::<usize>(), width, "{counts:?} in {width}");
                let kinds = counts.iter().filter(|count| **count > 0).count();
                if kinds <= width {
                    for (count, cells) in counts.iter().zip(cells) {
                        assert!(*count == 0 || cells > 0, "{counts:?} in {width}: {cells:?}");
                    }
                }
            }
        }
        assert_eq!(shares([5, 0, 0, 0, 0, 5], 10), [5, 0, 0, 0, 0, 5]);
    }
}
