//! When an attack will be over. Takes sources and attempts a day; gives the days to come with honest bounds, and when the
//! attack falls below what counts as over; or says that it cannot be told, and what is missing.
//!
//! The model: distinct sources of a day scatter about (floor + decay or growth) × weekday, since the course last changed.
//! Attempts are sources × attempts per source. `docs/forecast.md` tells the whole of it and where its numbers come from.
//!
//! A pure function of series, question and seed: the same on every platform, down to the last bit.

mod ahead;
pub mod backtest;
pub mod calendar;
mod chance;
mod change;
mod crowd;
mod curve;
mod end;
mod likelihood;
mod noise;
mod number;
pub mod outlook;
mod path;
mod walk;

pub use backtest::{Ahead, Backtest};
pub use calendar::{Calendar, Calendars, Sleep};
pub use outlook::{Bands, Course, DayAhead, End, Growth, Outlook, Phase, Reason, Sampler, Span};

use ahead::PerSource;
use backtest::{Foretold, Stretch};
use chance::Chance;
use change::Courses;
use crowd::Crowd;
use curve::Prior;
use jiff::ToSpan;
use jiff::civil::Date;
use likelihood::Day;
use noise::Count;
use number::{exp, real};
use path::Past;

/// The days that a forecast looks back on: a curve that is older than that has nothing new to tell.
pub const DAYS_MAX: usize = 400;
/// The days that a forecast looks ahead at most: ten years.
pub const HORIZON_DAYS_MAX: u32 = 3650;

/// One signature's days, from the first day on. `None`: the day was not observed (a gap in the log). The last, unfinished day is
/// not given.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// The day of the first entry.
    pub first_day: Date,
    /// Distinct sources a day.
    pub sources: Vec<Option<u32>>,
    /// Attempts a day; as many entries.
    pub attempts: Vec<Option<u32>>,
}

/// What is asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Asked {
    /// Sources a day below which the attack counts as over; more than 0.
    pub below: f64,
    /// Days ahead that are wanted, at most `HORIZON_DAYS_MAX`.
    pub horizon_days: u32,
    /// When the attack is awake.
    pub calendar: Calendar,
}

/// The least limit that can be asked about: one source in a thousand days.
const BELOW_MIN: f64 = 0.001;
/// Evenings that are tested at most, and the observed days before the first one.
const EVENINGS_MAX: usize = 40;
const DAYS_BEFORE_EVENINGS: usize = 10;
/// Draws for each member of the crowd of a day up to so many days ahead. One of later days, whose bands are wide, and of days that
/// are tested, where many days even out.
const DRAWS_NEAR: (usize, u32) = (2, 56);
/// The crowd's parts agree when R-hat is below this, which is worth eighty independent draws.
const AGREED: f64 = 1.05;
/// Walks at most until they do.
const WALKS_MAX: usize = 12;
/// Parts that disagree more than this say nothing that can be told.
const R_HAT_MAX: f64 = 1.5;
/// Streams of chance: the crowd of each day on which a curve begins has 2¹⁶ of them; drawing has its own.
const STREAMS: u64 = 1 << 16;
const STREAM_OF_DRAWS: u64 = 1 << 48;

/// Tells what can be told of a series. The same seed gives the same answer.
pub fn forecast(series: &Series, asked: &Asked, seed: u64) -> Outlook {
    let Some(known) = Known::of(series, asked) else {
        return Outlook::CannotTell { reasons: vec![Reason::NothingSeen], range: None };
    };
    let mut chance = Chance::new(seed, STREAM_OF_DRAWS);
    let mut evening = Evening::default();
    let (mut of_sources, mut of_attempts) = (Vec::new(), Vec::new());
    let every = known.every();
    for day in 0..known.days {
        evening.learn(&known, day, seed);
        let tested =
            day % every == 0 && day + 1 < known.days && known.courses.observed(day) >= DAYS_BEFORE_EVENINGS;
        if let (Some(crowd), true) = (&evening.crowd, tested) {
            let past = known.past(crowd, day);
            let ahead = backtest::AHEAD.iter().filter(|ahead| day + whole(**ahead) < known.days);
            let paths = ahead::paths(crowd, &past, 90.0, &mut chance);
            let per_source = PerSource::of(&known.sources[..=day], &known.attempts[..=day]);
            for ahead in ahead {
                let then = day + whole(*ahead);
                let bands = ahead::bands(&paths, &per_source, known.ahead(day, *ahead), 1, &mut chance);
                let foretold = |counts: &[Option<f64>], band, into: &mut Vec<Foretold>| {
                    let Some(came) = counts[then] else { return };
                    let repeated = backtest::last_week(counts, day, *ahead);
                    into.push(Foretold { ahead: *ahead, evening: day, day: then, band, repeated, came });
                };
                foretold(&known.sources, bands.0, &mut of_sources);
                foretold(&known.attempts, bands.1, &mut of_attempts);
            }
        }
    }
    let Evening { crowd: Some(mut crowd), days, .. } = evening else {
        return Outlook::CannotTell { reasons: vec![Reason::NothingSeen], range: None };
    };
    let r_hat = crowd.settle(&days, WALKS_MAX, AGREED);
    let tested = (backtest::score(&of_sources), backtest::score(&of_attempts));
    known.outlook(asked, &crowd, r_hat, tested, &mut chance)
}

/// The crowd of one evening and the days of its curve.
#[derive(Default)]
struct Evening {
    start: usize,
    crowd: Option<Crowd>,
    days: Vec<Day>,
}

impl Evening {
    /// Takes a day in; begins a new crowd where the course is known to have changed.
    fn learn(&mut self, known: &Known, day: usize, seed: u64) {
        let Some(start) = known.courses.start(day) else { return };
        if self.crowd.is_none() || start != self.start {
            let first = (start..=day).find_map(|day| known.awake[day]).unwrap_or(0.0);
            let prior = match &self.crowd {
                Some(crowd) if start > self.start => crowd.prior_of_next(first),
                Some(_) | None => Prior::first(first),
            };
            *self = Self { start, crowd: Some(Crowd::new(prior, seed, stream(day))), days: Vec::new() };
            for day in start..day {
                self.take_in(known, day);
            }
        }
        self.take_in(known, day);
    }

    fn take_in(&mut self, known: &Known, day: usize) {
        let (Some(crowd), Some(count)) = (&mut self.crowd, known.counts[day]) else { return };
        let place = real(day - self.start);
        self.days.push(Day { place, weekday: known.weekday(day), count });
        crowd.learn(&self.days);
    }
}

/// A series as it is used: from the first day that saw a source, at most `DAYS_MAX` of them.
struct Known {
    first_day: Date,
    days: usize,
    sources: Vec<Option<f64>>,
    attempts: Vec<Option<f64>>,
    /// Sources of days on which the attack is awake.
    awake: Vec<Option<f64>>,
    /// The same, ready for the likelihood.
    counts: Vec<Option<Count>>,
    courses: Courses,
    /// The calendar's answer for each day of the series and of the horizon.
    calendar: Vec<bool>,
    /// Whether its days do not care about the calendar, which is then laid aside.
    belied: bool,
    /// The last day awake, if the calendar has one.
    until: Option<Date>,
    horizon: u32,
}

impl Known {
    fn of(series: &Series, asked: &Asked) -> Option<Self> {
        let first = series.sources.iter().position(|count| count.is_some_and(|count| count > 0))?;
        let first = first.max(series.sources.len().saturating_sub(DAYS_MAX));
        let horizon = asked.horizon_days.min(HORIZON_DAYS_MAX);
        let first_day = add_days(series.first_day, first);
        let sources: Vec<Option<f64>> =
            series.sources[first..].iter().map(|count| count.map(f64::from)).collect();
        let days = sources.len();
        let attempts =
            (first..first + days).map(|day| series.attempts.get(day).copied().flatten().map(f64::from));
        let reach = whole(horizon.max(backtest::AHEAD[backtest::AHEAD.len() - 1]));
        let mut calendar: Vec<bool> =
            (0..=days + reach).map(|day| asked.calendar.awake(add_days(first_day, day))).collect();
        let belied = is_belied(&sources, &calendar);
        if belied {
            calendar.fill(true);
        }
        let awake: Vec<Option<f64>> =
            sources.iter().zip(&calendar).map(|(count, awake)| count.filter(|_| *awake)).collect();
        let counts = series.sources[first..]
            .iter()
            .zip(&calendar)
            .map(|(count, awake)| count.filter(|_| *awake).map(Count::new))
            .collect();
        let courses = Courses::of(&awake);
        Some(Self {
            first_day,
            days,
            attempts: attempts.collect(),
            sources,
            awake,
            counts,
            courses,
            calendar,
            belied,
            until: asked.calendar.until.filter(|_| !belied),
            horizon,
        })
    }

    /// Every how manieth evening is tested; not always on the same weekday.
    fn every(&self) -> usize {
        let every = self.days.div_ceil(EVENINGS_MAX).max(1);
        if every.is_multiple_of(7) { every + 1 } else { every }
    }

    fn weekday(&self, day: usize) -> usize {
        let first = usize::try_from(self.first_day.weekday().to_monday_zero_offset()).unwrap_or(0);
        (first + day) % 7
    }

    fn ahead(&self, evening: usize, ahead: u32) -> ahead::DayAhead {
        let day = evening + whole(ahead);
        ahead::DayAhead { ahead, weekday: self.weekday(day), awake: self.calendar[day] }
    }

    fn past(&self, crowd: &Crowd, evening: usize) -> Past {
        let start = self.courses.start(evening).unwrap_or(0);
        let asleep = (start..=evening).filter(|day| !self.calendar[*day]);
        let (mut seen, mut expected) = (0.0, 0.0);
        for day in asleep {
            let Some(count) = self.sources[day] else { continue };
            seen += count;
            let members = crowd.members();
            let (sum, shares) = members.fold((0.0, 0.0), |(sum, shares), (belief, share)| {
                (sum + share * exp(belief.curve.ln_mean(real(day - start))), shares + share)
            });
            expected += sum / shares;
        }
        Past {
            since: real(evening - start),
            changes: real(self.courses.changes(evening).len()),
            days: real(evening + 1),
            asleep: (seen, expected),
            until: self.until.map(|until| {
                let last = add_days(self.first_day, evening);
                f64::from((until - last).get_days())
            }),
        }
    }

    fn outlook(
        &self,
        asked: &Asked,
        crowd: &Crowd,
        r_hat: f64,
        tested: ((Backtest, Stretch), (Backtest, Stretch)),
        chance: &mut Chance,
    ) -> Outlook {
        let evening = self.days - 1;
        let past = self.past(crowd, evening);
        let paths = ahead::paths(crowd, &past, f64::from(self.horizon), chance);
        let per_source = PerSource::of(&self.sources, &self.attempts);
        let ((backtest, stretch), (backtest_of_attempts, stretch_of_attempts)) = tested;
        let settled = r_hat < AGREED;
        // What does not mix is widened by as much as its parts disagree.
        let unsettled = if settled { 1.0 } else { r_hat };
        let ahead = (1..=self.horizon).map(|ahead| {
            let drawn = ahead::bands(&paths, &per_source, self.ahead(evening, ahead), draws(ahead), chance);
            DayAhead {
                day: add_days(self.first_day, evening + whole(ahead)),
                sources: bands(stretch.apply(&drawn.0, ahead, unsettled)),
                attempts: bands(stretch_of_attempts.apply(&drawn.1, ahead, unsettled)),
            }
        });
        let last_day = add_days(self.first_day, evening);
        let observed = u32::try_from(self.courses.observed(evening)).unwrap_or(u32::MAX);
        let course = Box::new(Course {
            last_day,
            days: u32::try_from(self.days).unwrap_or(u32::MAX),
            observed,
            since: add_days(self.first_day, self.courses.start(evening).unwrap_or(0)),
            changes: self
                .courses
                .changes(evening)
                .into_iter()
                .map(|day| add_days(self.first_day, day))
                .collect(),
            phase: end::phase(&paths, &past),
            level: end::span(&paths, |path| exp(path.ln_level(0.0))),
            half_life_days: end::half_life(&paths, &past),
            floor: end::span(&paths, |path| exp(path.ln_floor())),
            slow_tail: end::slow_tail(&paths),
            attempts_per_source: per_source.middle(),
            calendar_belied: self.belied,
            growth: end::growth(&paths, &past),
            ahead: ahead.collect(),
            backtest,
            backtest_of_attempts,
            sampler: Sampler { r_hat, effective: crowd.effective(r_hat), settled },
        });
        let below = asked.below.max(BELOW_MIN);
        let told = end::end(&paths, &past, below, last_day, observed, &stretch);
        match told {
            Ok(end) if r_hat < R_HAT_MAX => Outlook::Told { end, course },
            Ok(_) => Outlook::CannotTell { reasons: vec![Reason::Unsettled { r_hat }], range: Some(course) },
            Err(reasons) => Outlook::CannotTell { reasons, range: Some(course) },
        }
    }
}

/// Whether an attack does not care about its calendar: on a day of sleep more than so large a part of the sources comes that come
/// on a day awake, or it was never seen awake. A variant of a worm may have lost its kill date.
fn is_belied(sources: &[Option<f64>], awake: &[bool]) -> bool {
    const ASLEEP_MAX: f64 = 0.5;
    let mean = |wanted: bool| {
        let counts =
            sources.iter().zip(awake).filter_map(|(count, awake)| count.filter(|_| *awake == wanted));
        let (sum, days) = counts.fold((0.0, 0.0), |(sum, days), count| (sum + count, days + 1.0));
        if days > 0.0 { sum / days } else { 0.0 }
    };
    mean(false) > ASLEEP_MAX * mean(true)
}

/// Counts are whole.
fn bands(band: ahead::Band) -> Bands {
    let [low_90, low_50, middle, high_50, high_90] = band.map(f64::round);
    Bands { low_90, low_50, middle, high_50, high_90 }
}

fn add_days(day: Date, days: usize) -> Date {
    day.saturating_add(i64::try_from(days).unwrap_or(i64::MAX).min(1_000_000).days())
}

fn draws(ahead: u32) -> usize {
    if ahead <= DRAWS_NEAR.1 { DRAWS_NEAR.0 } else { 1 }
}

fn whole(days: u32) -> usize {
    usize::try_from(days).unwrap_or(usize::MAX)
}

/// The first stream of chance of the crowd that begins on the evening of a day.
fn stream(day: usize) -> u64 {
    u64::try_from(day).unwrap_or(0) * STREAMS
}
