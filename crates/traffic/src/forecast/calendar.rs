//! What is known beforehand of the days on which an attack runs: a worm that sleeps, a worm that kills itself.

use advisory::problem::Problem;
use jiff::civil::{Date, Weekday};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The days on which an attack is awake. The default: always.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// When it sleeps. Code Red: from the 20th of each month on.
    #[serde(default)]
    pub asleep: Vec<Sleep>,
    /// The last day on which it is awake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Date>,
}

/// Days that come again, or dates; the first and the last are included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub enum Sleep {
    /// A day of each week: `sunday`.
    Weekday(Weekday),
    /// Days of each month: `20-31`, `13`.
    MonthDays(i8, i8),
    /// Dates: `2001-12-24..2002-01-01`, `2001-12-24`.
    Dates(Date, Date),
}

/// As files have it: a single day of the month is a number there.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Day(i8),
    Text(String),
}

impl Calendar {
    /// Whether it is awake on a day. On other days only hosts with a wrong clock send it.
    pub fn awake(&self, day: Date) -> bool {
        self.until.is_none_or(|until| day <= until) && !self.asleep.iter().any(|sleep| sleep.holds(day))
    }
}

/// `asleep on 20-31, sunday; over after 2001-09-30`.
impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<String> = self.asleep.iter().map(ToString::to_string).collect();
        match (days.is_empty(), self.until) {
            (true, None) => write!(f, "always awake"),
            (true, Some(until)) => write!(f, "over after {until}"),
            (false, None) => write!(f, "asleep on {}", days.join(", ")),
            (false, Some(until)) => write!(f, "asleep on {}; over after {until}", days.join(", ")),
        }
    }
}

impl Sleep {
    fn holds(self, day: Date) -> bool {
        match self {
            Self::Weekday(weekday) => day.weekday() == weekday,
            Self::MonthDays(first, last) => (first..=last).contains(&day.day()),
            Self::Dates(first, last) => (first..=last).contains(&day),
        }
    }
}

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

impl fmt::Display for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weekday(weekday) => {
                let name = WEEKDAYS.iter().find(|(_, other)| other == weekday).map_or("", |(name, _)| name);
                f.write_str(name)
            }
            Self::MonthDays(first, last) if first == last => write!(f, "{first}"),
            Self::MonthDays(first, last) => write!(f, "{first}-{last}"),
            Self::Dates(first, last) if first == last => write!(f, "{first}"),
            Self::Dates(first, last) => write!(f, "{first}..{last}"),
        }
    }
}

impl FromStr for Sleep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.trim();
        if let Some((_, weekday)) = WEEKDAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)) {
            return Ok(Self::Weekday(*weekday));
        }
        let ordered = if let Some((first, last)) = word.split_once("..") {
            first
                .trim()
                .parse()
                .ok()
                .zip(last.trim().parse().ok())
                .map(|(first, last)| Self::Dates(first, last))
        } else if let Ok(date) = word.parse() {
            Some(Self::Dates(date, date))
        } else {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            first
                .trim()
                .parse()
                .ok()
                .zip(last.trim().parse().ok())
                .map(|(first, last)| Self::MonthDays(first, last))
        };
        match ordered {
            Some(Self::MonthDays(first, last)) if !(1 <= first && first <= last && last <= 31) => {
                Err(format!("{text:?} are no days of a month: they run from 1 to 31, the earlier one first"))
            }
            Some(Self::Dates(first, last)) if first > last => Err(format!("{text:?} ends before it begins")),
            Some(sleep) => Ok(sleep),
            None => Err(format!(
                "{text:?} is no day; write a weekday (sunday), days of the month (20-31), a date (2001-12-24) or dates \
                 (2001-12-24..2002-01-01)"
            )),
        }
    }
}

impl TryFrom<Word> for Sleep {
    type Error = String;

    fn try_from(word: Word) -> Result<Self, String> {
        match word {
            Word::Day(day) => day.to_string().parse(),
            Word::Text(text) => text.parse(),
        }
    }
}

impl From<Sleep> for String {
    fn from(sleep: Sleep) -> Self {
        sleep.to_string()
    }
}

/// Calendars that someone gives for signatures, in place of those of their rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Calendars {
    by_signature: BTreeMap<String, Calendar>,
}

impl Calendars {
    /// Stands for every signature that is not named.
    const OTHERS: &str = "*";

    /// Reads a file: for each signature's id its calendar, in YAML. `name` is the file's.
    ///
    /// Errors when the text is no YAML, has a key that nobody knows or a day that is none.
    pub fn read(name: &str, text: &str) -> Result<Self, Problem> {
        let options = serde_saphyr::options! { with_snippet: false };
        match serde_saphyr::from_str_with_options(text, options) {
            Ok(by_signature) => Ok(Self { by_signature }),
            Err(problem) => Err(Problem::new("read calendar", name, problem).remedy(
                "write it as \"SIGNATURE: {asleep: [sunday, 20-31, 2001-12-24], until: 2002-01-31}\"",
            )),
        }
    }

    /// What was given for a signature.
    pub fn of(&self, signature: &str) -> Option<&Calendar> {
        self.by_signature.get(signature).or_else(|| self.by_signature.get(Self::OTHERS))
    }

    /// The ids of signatures that are named.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.by_signature.keys().map(String::as_str).filter(|name| *name != Self::OTHERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn days_are_read_as_they_are_written() {
        let text = "codered1: {asleep: [20-31, 7]}\n\
                    '*': {asleep: [sunday, 2001-12-24..2002-01-01, 2002-05-01], until: 2003-01-31}\n";
        let calendars = Calendars::read("days.yaml", text).unwrap();
        let worm = calendars.of("codered1").unwrap();
        let days = [19, 20, 31, 7, 8].map(|day| worm.awake(date(2001, 8, day)));
        assert_eq!(days, [true, false, false, false, true]);
        assert_eq!(worm.to_string(), "asleep on 20-31, 7");
        let other = calendars.of("nimda").unwrap();
        let asleep = [(2001, 12, 24), (2002, 1, 1), (2002, 1, 6), (2002, 5, 1), (2003, 2, 1)];
        assert!(asleep.iter().all(|(year, month, day)| !other.awake(date(*year, *month, *day))));
        assert!(other.awake(date(2002, 1, 2)) && other.awake(date(2003, 1, 31)));
        assert_eq!(calendars.named().collect::<Vec<_>>(), ["codered1"]);
    }

    #[test]
    fn what_is_no_day_is_refused_by_name() {
        for (text, named) in [
            ("a: {asleep: [31-20]}", "31-20"),
            ("a: {asleep: [0]}", "\"0\""),
            ("a: {asleep: [someday]}", "someday"),
            ("a: {asleep: [2001-12-24..2001-12-01]}", "ends before it begins"),
            ("a: {awake: [1]}", "awake"),
            ("a: {until: 2001-02-30}", "until"),
            ("- a", "expected mapping"),
        ] {
            let problem = Calendars::read("days.yaml", text).unwrap_err().to_string();
            assert!(problem.contains(named) && problem.contains("days.yaml"), "{text}: {problem}");
        }
    }
}
