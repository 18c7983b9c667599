//! Times as logs write them.

use serde::{Deserialize, Serialize};

/// Days a log can tell of: 1990 to 2099. Anything else is a damaged line, not a day to count.
const PLAUSIBLE: std::ops::Range<i64> = 631_152_000..4_102_444_800;

const DAY_SECONDS: i64 = 86_400;
const CLF_BYTES: usize = "10/Oct/2000:13:55:36 -0700".len();

/// A moment, and the clock it was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// Seconds since 1970 in UTC.
    pub seconds: i64,
    /// How far the log's own clock was ahead of UTC, in seconds.
    pub ahead_seconds: i32,
}

/// The day and the zone that a common log wrote last: those of nearly every line are those of the line before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastDay {
    /// `10/Oct/2000:` and ` -0700`; zeros before the first line.
    day: [u8; 12],
    zone: [u8; 6],
    /// The midnight that the day began with there.
    midnight: Option<Stamp>,
}

impl Stamp {
    /// A moment in UTC.
    pub fn utc(seconds: i64) -> Self {
        Self { seconds, ahead_seconds: 0 }
    }

    /// Whether a web server can have written it.
    pub fn is_plausible(self) -> bool {
        PLAUSIBLE.contains(&self.seconds) && self.ahead_seconds.unsigned_abs() <= 86_400
    }

    fn civil(year: i64, month: i64, day: i64, time_of_day: i64, ahead_seconds: i32) -> Option<Self> {
        let days = days(year, month, day)?;
        Some(Self { seconds: days * DAY_SECONDS + time_of_day - i64::from(ahead_seconds), ahead_seconds })
    }

    /// As [`Stamp::clf`], quicker where the day is that of the line before.
    #[inline]
    pub(super) fn clf_after(text: &[u8], last: &mut LastDay) -> Option<(Self, usize)> {
        let (day, zone) = (text.first_chunk()?, text.get(20..)?.first_chunk()?);
        if let Some(midnight) = last.midnight.filter(|_| last.day == *day && last.zone == *zone) {
            let seconds = midnight.seconds + time_of_day(&text[12..20])?;
            return Some((Self { seconds, ..midnight }, CLF_BYTES));
        }
        let (stamp, bytes) = Self::clf(text)?;
        let seconds = stamp.seconds - time_of_day(&text[12..20])?;
        *last = LastDay { day: *day, zone: *zone, midnight: Some(Self { seconds, ..stamp }) };
        Some((stamp, bytes))
    }

    /// `10/Oct/2000:13:55:36 -0700` at the beginning, and how many bytes it took.
    pub(crate) fn clf(text: &[u8]) -> Option<(Self, usize)> {
        let text: &[u8; CLF_BYTES] = text.first_chunk()?;
        if text[2] != b'/' || text[6] != b'/' || text[11] != b':' || text[20] != b' ' {
            return None;
        }
        let day = two(text, 0)?;
        let year = two(text, 7)? * 100 + two(text, 9)?;
        let month = month(&text[3..6])?;
        let ahead = ahead(&text[21..26])?;
        Some((Self::civil(year, month, day, time_of_day(&text[12..20])?, ahead)?, CLF_BYTES))
    }

    /// `2020-11-09T00:21:42.123456+01:00`, with a space for the `T`, and `Z`, `+0100` or nothing (UTC) for the zone.
    pub(crate) fn iso(text: &[u8]) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let days = date_days(date)?;
        if !matches!(rest.first()?, b'T' | b't' | b' ') {
            return None;
        }
        let time_of_day = time_of_day(rest.get(1..9)?)?;
        let mut zone = &rest[9..];
        if let Some((b'.' | b',', fraction)) = zone.split_first() {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            zone = &fraction[digits..];
        }
        let ahead = match zone {
            [] | b"Z" | b"z" | b" UTC" => 0,
            _ => ahead(zone.strip_prefix(b" ").unwrap_or(zone))?,
        };
        Some(Self { seconds: days * DAY_SECONDS + time_of_day - i64::from(ahead), ahead_seconds: ahead })
    }

    /// `1604881302.123`: seconds since 1970; with so many digits that they must be milli-, micro- or nanoseconds, those.
    pub(crate) fn epoch(text: &[u8]) -> Option<Self> {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let tail = &text[digits..];
        let is_number = tail.is_empty()
            || matches!(tail.split_first(), Some((b'.', rest)) if rest.iter().all(u8::is_ascii_digit));
        if !(1..=19).contains(&digits) || !is_number {
            return None;
        }
        let number: i64 = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
        let per_second = match digits {
            0..=11 => 1,
            12..=14 => 1_000,
            15..=17 => 1_000_000,
            _ => 1_000_000_000,
        };
        Some(Self::utc(number / per_second))
    }

    /// Whatever of the above it is.
    pub(crate) fn any(text: &[u8]) -> Option<Self> {
        Self::iso(text).or_else(|| Self::epoch(text)).or_else(|| {
            let inner = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")).unwrap_or(text);
            Self::clf(inner).filter(|(_, bytes)| *bytes == inner.len()).map(|(stamp, _)| stamp)
        })
    }
}

/// `2001-09-18` as days since 1970.
pub(crate) fn date_days(text: &[u8]) -> Option<i64> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    days(two(text, 0)? * 100 + two(text, 2)?, two(text, 5)?, two(text, 8)?)
}

/// `13:55:36` as seconds. A second of 60 is one that was put in.
#[inline]
pub(crate) fn time_of_day(text: &[u8]) -> Option<i64> {
    if text.len() < 8 || text[2] != b':' || text[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (two(text, 0)?, two(text, 3)?, two(text, 6)?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3_600 + minute * 60 + second)
}

/// `-0700`, `+05:30` as seconds ahead of UTC.
#[inline]
fn ahead(text: &[u8]) -> Option<i32> {
    let sign = match text.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let minutes = if text.get(3) == Some(&b':') { 4 } else { 3 };
    if text.len() != minutes + 2 {
        return None;
    }
    let (hours, minutes) = (two(text, 1)?, two(text, minutes)?);
    (hours <= 18 && minutes < 60).then(|| sign * i32::try_from(hours * 3_600 + minutes * 60).unwrap_or(0))
}

#[inline]
fn two(text: &[u8], at: usize) -> Option<i64> {
    let (tens, ones) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| i64::from(tens) * 10 + i64::from(ones))
}

#[inline]
fn month(name: &[u8]) -> Option<i64> {
    const NAMES: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (found, _) = (1..).zip(NAMES.chunks_exact(3)).find(|(_, known)| *known == name)?;
    Some(found)
}

/// Days since 1970 of a date in the Gregorian calendar (Howard Hinnant's `days_from_civil`).
#[inline]
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    const LENGTHS: [i64; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = *LENGTHS.get(usize::try_from(month - 1).ok()?)?;
    if day < 1 || day > length || (month == 2 && day == 29 && !leap) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_moment_is_read_from_every_way_to_write_it() {
        let wanted = Stamp { seconds: 971_211_336, ahead_seconds: -25_200 };
        assert_eq!(Stamp::clf(b"10/Oct/2000:13:55:36 -0700] x"), Some((wanted, 26)));
        for text in [
            "2000-10-10T13:55:36-07:00",
            "2000-10-10 13:55:36.123456789 -0700",
            "2000-10-10T20:55:36Z",
            "2000-10-10T20:55:36",
            "971211336",
            "971211336.5",
            "971211336123",
            "971211336123456",
            "[10/Oct/2000:13:55:36 -0700]",
        ] {
            assert_eq!(Stamp::any(text.as_bytes()).map(|stamp| stamp.seconds), Some(971_211_336), "{text}");
        }
        for text in
            ["", "10/Okt/2000:13:55:36 -0700", "30/Feb/2000:13:55:36 -0700", "2000-10-10T24:00:00Z", "12e3"]
        {
            assert_eq!(Stamp::any(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_moment_is_the_same_after_any_other() {
        let texts: [&[u8]; 8] = [
            b"10/Oct/2000:13:55:36 -0700",
            b"10/Oct/2000:00:00:00 -0700",
            b"10/Oct/2000:24:55:36 -0700",
            b"10/Oct/2000:13:55:36 +0000",
            b"11/Oct/2000:13:55:36 +0000",
            b"10/Okt/2000:13:55:36 -0700",
            b"10/Oct/2000:13:55:36 -070",
            b"10/Oct/2000:13:55:6x -0700",
        ];
        let mut last = LastDay::default();
        for text in texts.into_iter().flat_map(|one| texts.into_iter().flat_map(move |other| [one, other])) {
            assert_eq!(Stamp::clf_after(text, &mut last), Stamp::clf(text), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn days_agree_with_the_calendar_of_a_library() {
        for seconds in (PLAUSIBLE.start..PLAUSIBLE.end).step_by(86_400 * 13 + 3_607) {
            let time = jiff::Timestamp::from_second(seconds).unwrap();
            assert_eq!(Stamp::iso(time.to_string().as_bytes()), Some(Stamp::utc(seconds)));
        }
    }
}
