//! Lines of text with columns that stand under each other, times and sizes as people read them.

use super::table::clean;
use jiff::{SignedDuration, Timestamp};
use std::fmt::Write as _;
use textwrap::core::display_width;

/// Rows with their cells under each other, two spaces between; `indent` spaces before each. Nothing is cut.
pub(crate) fn aligned<const N: usize>(rows: &[[String; N]], indent: usize) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(display_width(cell));
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (cell, width) in row.iter().zip(widths) {
            let room = if width == 0 { 0 } else { width + 2 - display_width(cell) };
            line.push_str(cell);
            line.push_str(&" ".repeat(room));
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// A moment, to the minute: `2027-03-01 12:00 UTC`.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// How long ago or ahead, in one or two units: `5m`, `3h12m`, `2d4h`.
pub(crate) fn span(length: SignedDuration) -> String {
    let seconds = length.as_secs().unsigned_abs();
    let shown = match seconds {
        0..60 => seconds,
        60..86_400 => seconds - seconds % 60,
        _ => seconds - seconds % 3_600,
    };
    crate::terms::lasting(shown)
}

/// Bytes: `1.4 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            // One decimal, in whole numbers.
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// `1 host`, `2 hosts`.
pub(crate) fn count(many: impl Into<u64>, one: &str) -> String {
    let many: u64 = many.into();
    format!("{many} {one}{}", if many == 1 { "" } else { "s" })
}

/// Names, at most `most`, then how many more.
pub(crate) fn some(names: impl IntoIterator<Item = impl AsRef<str>>, most: usize) -> String {
    let names: Vec<String> = names.into_iter().map(|name| clean(name.as_ref())).collect();
    let mut text = names.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > most {
        let _ = write!(text, " and {} more", names.len() - most);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_at_a_glance() {
        for (seconds, text) in
            [(5, "5s"), (65, "1m"), (3_725, "1h2m"), (90_061, "1d1h"), (-65, "1m"), (0, "0s")]
        {
            assert_eq!(span(SignedDuration::from_secs(seconds)), text);
        }
        for (size, text) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (1 << 40, "1024.0 GiB")] {
            assert_eq!(bytes(size), text);
        }
        assert_eq!((count(1_u32, "host"), count(2_u32, "host")), ("1 host".to_owned(), "2 hosts".to_owned()));
        assert_eq!(some(["a", "b", "c"], 2), "a, b and 1 more");
        let rows = [["ä", "x"], ["long", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows, 1), " ä     x\n long\n");
    }
}
