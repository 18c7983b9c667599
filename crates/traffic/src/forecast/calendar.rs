//! What is known beforehand of the days on which an attack runs: a worm that sleeps, a worm that kills itself.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// The days on which an attack is awake. The default: always.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Calendar {
    /// Days of each month on which it is awake, both included. Code Red: 1 to 19.
    pub month_days: Option<(i8, i8)>,
    /// Spans in which it sleeps, both days included.
    pub asleep: Vec<(Date, Date)>,
    /// The last day on which it is awake.
    pub until: Option<Date>,
}

impl Calendar {
    /// Whether it is awake on a day. On other days only hosts with a wrong clock send it.
    pub fn awake(&self, day: Date) -> bool {
        self.month_days.is_none_or(|(first, last)| (first..=last).contains(&day.day()))
            && !self.asleep.iter().any(|(from, to)| (*from..=*to).contains(&day))
            && self.until.is_none_or(|until| day <= until)
    }
}
