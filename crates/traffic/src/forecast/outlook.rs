//! What a forecast says: types for people and programs.

use super::backtest::Backtest;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What can be said of the days to come.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Outlook {
    /// Nothing honest can be said about an end.
    CannotTell {
        /// Why, and what is missing.
        reasons: Vec<Reason>,
        /// How wide the future is all the same. `None`: nothing was ever seen.
        range: Option<Box<Course>>,
    },
    /// An end can be told, with its bounds.
    Told {
        /// When it is over.
        end: End,
        /// The days to come.
        course: Box<Course>,
    },
}

impl Outlook {
    /// The days to come, whether or not an end can be told.
    pub fn course(&self) -> Option<&Course> {
        match self {
            Self::CannotTell { range, .. } => range.as_deref(),
            Self::Told { course, .. } => Some(course),
        }
    }
}

/// Why no end can be told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No source was ever seen.
    NothingSeen,
    /// Too few days were observed.
    FewDays {
        /// Days that were observed.
        observed: u32,
        /// Days that are needed.
        needed: u32,
    },
    /// The decay was followed for too short a time to tell it from a slower one.
    FewHalfLives {
        /// Half-lives that were seen since the course last changed.
        seen: f64,
        /// Half-lives that are needed.
        needed: f64,
        /// Days that are missing, if it goes on like that.
        missing_days: u32,
    },
    /// It grows: nothing in a log tells when that will turn.
    Growing {
        /// Probability that it grows.
        probability: f64,
    },
    /// It neither grows nor decays: no end is in sight, and nothing tells that there is none.
    Steady,
    /// The sampler did not settle, so its bands may be wrong.
    Unsettled {
        /// How far its parts disagree: 1 is not at all.
        r_hat: f64,
    },
}

impl Reason {
    /// Days that must still be observed before it is worth asking again, where that can be told.
    pub fn missing_days(&self) -> Option<u32> {
        match self {
            Self::FewDays { observed, needed } => Some(needed.saturating_sub(*observed)),
            Self::FewHalfLives { missing_days, .. } => Some(*missing_days),
            Self::NothingSeen | Self::Growing { .. } | Self::Steady | Self::Unsettled { .. } => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingSeen => write!(f, "no source was ever seen"),
            Self::FewDays { observed, needed } => {
                let missing = needed.saturating_sub(*observed);
                write!(f, "{observed} days were observed and {needed} are needed: {missing} more")
            }
            Self::FewHalfLives { seen, needed, missing_days } => write!(
                f,
                "{seen:.1} half-lives were seen and {needed:.0} are needed: about {missing_days} more days"
            ),
            Self::Growing { probability } => {
                write!(f, "it grows ({:.0} % sure), and no log tells when that turns", 100.0 * probability)
            }
            Self::Steady => write!(f, "it neither grows nor decays: no end is in sight"),
            Self::Unsettled { r_hat } => {
                write!(f, "the sampler did not settle (R-hat {r_hat:.2}): the bands may be wrong")
            }
        }
    }
}

/// When it is over, if no new wave comes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct End {
    /// Sources a day that count as over.
    pub below: f64,
    /// The first day on which no more than that are expected. Also gone by after ten years counts as not in sight.
    pub day: Span<Date>,
    /// Probability that it is so already.
    pub already: f64,
    /// Probability that it never happens: the floor is not below that.
    pub never: f64,
}

/// A middle value and the ends of its 90 % interval. `None`: no bound; for the middle: more likely than not there is none.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Span<T> {
    /// One in twenty lies before it.
    pub low: Option<T>,
    /// As likely before as after.
    pub middle: Option<T>,
    /// One in twenty lies after it.
    pub high: Option<T>,
}

/// The days to come.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Course {
    /// The last day that was taken in.
    pub last_day: Date,
    /// Days of the series, gaps included.
    pub days: u32,
    /// Days that were observed.
    pub observed: u32,
    /// The day on which the present course began.
    pub since: Date,
    /// Days on which the course changed.
    pub changes: Vec<Date>,
    /// What it does now.
    pub phase: Phase,
    /// Sources a day now, without weekdays.
    pub level: Span<f64>,
    /// Days in which what is above the floor halves; no bound where it may grow.
    pub half_life_days: Span<f64>,
    /// Sources a day that never end; 0 where nothing stays.
    pub floor: Span<f64>,
    /// Probability that nothing stays but a tail that thins out ever more slowly, as a power of time.
    pub slow_tail: f64,
    /// Attempts of a source a day, lately: the middle.
    pub attempts_per_source: f64,
    /// Whether it does not care about the calendar that was given: that was laid aside.
    pub calendar_belied: bool,
    /// How fast it grows, where it more likely grows than not.
    pub growth: Option<Growth>,
    /// One entry for each day to come.
    pub ahead: Vec<DayAhead>,
    /// How good forecasts of this series' sources were.
    pub backtest: Backtest,
    /// The same for its attempts.
    pub backtest_of_attempts: Backtest,
    /// How well the posterior was sampled.
    pub sampler: Sampler,
}

/// What a series does now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// More sources from week to week.
    Growing,
    /// Fewer.
    Dying,
    /// It decayed and has come to rest.
    AtFloor,
    /// None of these can be told from its scatter.
    Steady,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Growing => "growing",
            Self::Dying => "dying",
            Self::AtFloor => "at its floor",
            Self::Steady => "steady",
        })
    }
}

/// One day to come.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct DayAhead {
    /// The day.
    pub day: Date,
    /// Distinct sources.
    pub sources: Bands,
    /// Attempts.
    pub attempts: Bands,
}

/// What one day's count will be: `low_90..=high_90` nine times of ten, `low_50..=high_50` every other time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named after what they are")]
pub struct Bands {
    pub low_90: f64,
    pub low_50: f64,
    pub middle: f64,
    pub high_50: f64,
    pub high_90: f64,
}

impl Bands {
    /// How well they foretold a count: the weighted interval score (Bracher et al. 2021), in counts; less is better.
    pub fn score(&self, came: f64) -> f64 {
        super::backtest::interval_score(
            &[self.low_90, self.low_50, self.middle, self.high_50, self.high_90],
            came,
        )
    }
}

/// How fast it grows. A web log sees how hard the network is scanned, not who was infected when, and not how long a host takes to
/// infect the next: a reproduction number can be given only for an assumed time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Growth {
    /// Probability that it grows.
    pub probability: f64,
    /// Sources today over sources yesterday.
    pub factor_a_day: Span<f64>,
    /// Days in which sources double.
    pub doubling_days: Span<f64>,
    /// New hosts infected by one, *if* it takes a day on average to infect the next (times exponential).
    pub reproduction_if_a_day: Span<f64>,
}

/// How well the posterior was sampled.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sampler {
    /// How far its separate parts disagree: 1 is not at all. Above the bound, bands are widened by it.
    pub r_hat: f64,
    /// Independent draws that the sample is worth.
    pub effective: f64,
    /// Whether the parts agree within the bound.
    pub settled: bool,
}
