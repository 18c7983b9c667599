//! Whose days and hours are counted.

use crate::format::Stamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize, Serializer};

const DAY_SECONDS: i64 = 86_400;
/// Zones change their offset at whole quarters of an hour only.
const QUARTER_SECONDS: i64 = 900;

/// A day, counted from 1970-01-01. [`Stamp::is_plausible`] keeps it within two bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Deserialize)]
pub struct Day(pub u16);

impl Day {
    /// The day of a moment in UTC, in seconds since 1970; the first day for what is before it.
    pub fn utc(seconds: i64) -> Self {
        Self(u16::try_from(seconds.div_euclid(DAY_SECONDS)).unwrap_or(0))
    }

    /// As a date.
    pub fn date(self) -> Date {
        Date::constant(1970, 1, 1).saturating_add(jiff::Span::new().days(i64::from(self.0)))
    }

    /// Whether a plausible moment is on this day on some clock.
    pub(super) fn is_plausible(self) -> bool {
        (-1..=1).any(|days| Stamp::utc((i64::from(self.0) + days) * DAY_SECONDS).is_plausible())
    }
}

impl Serialize for Day {
    /// For people as `2001-07-19`, in partials as its number.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            self.date().serialize(to)
        } else {
            to.serialize_newtype_struct("Day", &self.0)
        }
    }
}

/// The clock that days and hours are read from.
#[derive(Clone, Debug, Default)]
pub enum Zone {
    /// UTC.
    #[default]
    Utc,
    /// Each line's own clock: the day that stands in the log.
    AsLogged,
    /// A zone with a name.
    Named(TimeZone),
}

impl Zone {
    /// Its name: `UTC`, `as logged`, `Europe/Berlin`.
    pub fn name(&self) -> &str {
        match self {
            Self::Utc => "UTC",
            Self::AsLogged => "as logged",
            Self::Named(zone) => zone.iana_name().unwrap_or("a zone without a name"),
        }
    }
}

/// Reads days and hours; remembers the last offset it looked up.
#[derive(Debug)]
pub(super) struct Clock<'a> {
    zone: &'a Zone,
    quarter: i64,
    ahead_seconds: i64,
}

impl<'a> Clock<'a> {
    pub(super) fn new(zone: &'a Zone) -> Self {
        Self { zone, quarter: i64::MIN, ahead_seconds: 0 }
    }

    /// The day and the hour of a plausible moment.
    #[inline]
    pub(super) fn read(&mut self, stamp: Stamp) -> (Day, usize) {
        let ahead = match self.zone {
            Zone::Utc => 0,
            Zone::AsLogged => i64::from(stamp.ahead_seconds),
            Zone::Named(zone) => {
                let quarter = stamp.seconds.div_euclid(QUARTER_SECONDS);
                if quarter != self.quarter {
                    self.quarter = quarter;
                    let time =
                        jiff::Timestamp::from_second(stamp.seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
                    self.ahead_seconds = i64::from(zone.to_offset(time).seconds());
                }
                self.ahead_seconds
            }
        };
        let local = stamp.seconds + ahead;
        let day = u16::try_from(local.div_euclid(DAY_SECONDS)).unwrap_or(0);
        let hour = usize::try_from(local.rem_euclid(DAY_SECONDS) / 3_600).unwrap_or(0);
        (Day(day), hour)
    }
}
