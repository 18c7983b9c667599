//! When hosts may begin: weekly and monthly windows in their own time zones, less the blackouts.
//!
//! Where the clock jumps forward over a window's opening, it opens as much later; where the hour comes twice, it opens the
//! first time, and once. It stays open for the elapsed time it says. Zones come from the database that the caller
//! gives: nothing is read here.

use crate::plan::{Blackout, Day, Nth, Recurrence, Window};
use advisory::Problem;
use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Longest window: a week. Looking back this far finds every one that is open.
pub const MINUTES_MAX: u32 = 7 * 24 * 60;
/// How far the next opening is looked for: a monthly window is missed at most eleven times by blackouts.
const DAYS_AHEAD: i32 = 370;

/// Windows and blackouts with their zones found: what can be asked.
#[derive(Clone, Debug)]
pub struct Calendar {
    windows: Vec<(Window, TimeZone)>,
    blackouts: Vec<(Blackout, TimeZone)>,
}

/// Whether something that takes so long can begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Yes; until then, or for ever.
    Fits {
        /// When it closes; `None`: always open.
        closes: Option<Timestamp>,
    },
    /// Open, but not for long enough.
    TooShort {
        /// When it closes.
        closes: Timestamp,
        /// When it opens next for long enough; `None`: not within a year.
        opens: Option<Timestamp>,
    },
    /// Closed.
    Closed {
        /// When it opens next for long enough; `None`: not within a year.
        opens: Option<Timestamp>,
    },
}

/// From, until.
type Interval = (Timestamp, Timestamp);

impl Calendar {
    /// Always open.
    pub const ALWAYS: Self = Self { windows: Vec::new(), blackouts: Vec::new() };

    /// Finds the zones.
    pub fn read(
        windows: &[Window],
        blackouts: &[Blackout],
        zones: &TimeZoneDatabase,
    ) -> Result<Self, Problem> {
        let refused = |object: String, reason: String, remedy: &str| {
            Problem::new("read window", object, reason).remedy(remedy.to_owned())
        };
        let zone = |name: &str| {
            zones.get(name).map_err(|error| {
                refused(
                    format!("zone {name:?}"),
                    error.to_string(),
                    "name it as in the IANA database: Europe/Zurich",
                )
            })
        };
        let windows = windows.iter().map(|window| {
            let object = || format!("window at {} {}", window.opens, window.zone);
            if !(1..=MINUTES_MAX).contains(&window.minutes) {
                let reason = format!("{} minutes", window.minutes);
                return Err(refused(object(), reason, "open it for between a minute and a week"));
            }
            if window.every == Recurrence::Weekly(Vec::new()) {
                return Err(refused(object(), "on no day".to_owned(), "name its days"));
            }
            Ok((window.clone(), zone(&window.zone)?))
        });
        let blackouts = blackouts.iter().map(|blackout| {
            if blackout.to < blackout.from {
                let object = format!("blackout {:?}", blackout.reason);
                return Err(refused(object, "ends before it begins".to_owned(), "swap its days"));
            }
            Ok((blackout.clone(), zone(&blackout.zone)?))
        });
        Ok(Self {
            windows: windows.collect::<Result<_, _>>()?,
            blackouts: blackouts.collect::<Result<_, _>>()?,
        })
    }

    /// Whether something that takes `length` can begin now and end before the window does.
    pub fn fit(&self, now: Timestamp, length: SignedDuration) -> Fit {
        match self.open_at(now) {
            Some(closes) if closes == Timestamp::MAX => Fit::Fits { closes: None },
            Some(closes) if closes.duration_since(now) >= length => Fit::Fits { closes: Some(closes) },
            Some(closes) => Fit::TooShort { closes, opens: self.opens(closes, length) },
            None => Fit::Closed { opens: self.opens(now, length) },
        }
    }

    /// Until when it is open, if it is open now.
    fn open_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.windows.is_empty() && self.blackouts.is_empty() {
            return Some(Timestamp::MAX);
        }
        let mut closes = None;
        // Windows that meet are one: follow them, for at most a year.
        let mut at = now;
        while let Some((_, until)) =
            self.open_between(at, 8, 32).into_iter().find(|&(from, until)| from <= at && at < until)
        {
            closes = Some(until);
            at = until;
            if until.duration_since(now) > SignedDuration::from_hours(24 * 366) {
                return Some(until);
            }
        }
        closes
    }

    /// When it is next open for `length`, from `now` on.
    fn opens(&self, now: Timestamp, length: SignedDuration) -> Option<Timestamp> {
        let mut day = 0;
        while day < DAYS_AHEAD {
            let from = now.saturating_add(SignedDuration::from_hours(24 * i64::from(day))).ok()?;
            let found =
                self.open_between(from, 8, 32).into_iter().map(|(from, _)| from.max(now)).find(|&from| {
                    self.open_at(from).is_some_and(|until| until.duration_since(from) >= length)
                });
            if found.is_some() {
                return found;
            }
            day += 31;
        }
        None
    }

    /// What is open around `at`, from `back` days before it to `ahead` days after it, in order, joined, less blackouts.
    fn open_between(&self, at: Timestamp, back: i32, ahead: i32) -> Vec<Interval> {
        let mut open: Vec<Interval> = Vec::new();
        for (window, zone) in &self.windows {
            let today = zone.to_datetime(at).date();
            for offset in -back..=ahead {
                let Ok(date) = today.checked_add(offset.days()) else { continue };
                if !window.every.on(date) {
                    continue;
                }
                let Ok(from) = zone.to_ambiguous_timestamp(date.to_datetime(window.opens)).compatible()
                else {
                    continue;
                };
                let Ok(until) = from.saturating_add(SignedDuration::from_mins(i64::from(window.minutes)))
                else {
                    continue;
                };
                open.push((from, until));
            }
        }
        if self.windows.is_empty() {
            let days = |days: i32| SignedDuration::from_hours(24 * i64::from(days));
            let from = at.saturating_sub(days(back)).unwrap_or(Timestamp::MIN);
            open.push((from, at.saturating_add(days(ahead)).unwrap_or(Timestamp::MAX)));
        }
        open.sort_unstable();
        let mut joined: Vec<Interval> = Vec::new();
        for (from, until) in open {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(until),
                Some(_) | None => joined.push((from, until)),
            }
        }
        for (blackout, zone) in &self.blackouts {
            let start = |date: Date| zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0)).compatible().ok();
            let Some(from) = start(blackout.from) else { continue };
            let until = blackout.to.tomorrow().ok().and_then(start).unwrap_or(Timestamp::MAX);
            joined = joined
                .into_iter()
                .flat_map(|(opens, closes)| [(opens, closes.min(from)), (opens.max(until), closes)])
                .filter(|(opens, closes)| opens < closes)
                .collect();
        }
        joined
    }
}

impl Recurrence {
    fn on(&self, date: Date) -> bool {
        match self {
            Self::Weekly(days) => days.iter().any(|day| day.weekday() == date.weekday()),
            Self::Monthly { nth, day } => {
                let day = day.weekday();
                let nth = match nth {
                    Nth::First => 1,
                    Nth::Second => 2,
                    Nth::Third => 3,
                    Nth::Fourth => 4,
                    Nth::Last => -1,
                };
                date.weekday() == day && date.nth_weekday_of_month(nth, day).is_ok_and(|on| on == date)
            }
        }
    }
}

impl Day {
    fn weekday(self) -> Weekday {
        match self {
            Self::Monday => Weekday::Monday,
            Self::Tuesday => Weekday::Tuesday,
            Self::Wednesday => Weekday::Wednesday,
            Self::Thursday => Weekday::Thursday,
            Self::Friday => Weekday::Friday,
            Self::Saturday => Weekday::Saturday,
            Self::Sunday => Weekday::Sunday,
        }
    }
}
