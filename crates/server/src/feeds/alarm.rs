//! Whether a reading of a feed can be trusted. Takes what was there before and what was read; gives alarms, and what of the
//! reading may be used. Pure.
//!
//! What looks wrong may add and renew, never take away or make older: a broken feed must not look like a healed fleet.

use crate::config;
use crate::store::feeds::State;
use jiff::{SignedDuration, Timestamp};
use std::fmt;

/// A feed with fewer records than this part of the last time's has shrunk, in percent.
const SHRUNKEN_PERCENT: i64 = 80;
/// A feed that could not be had for so many of its intervals is unreachable.
const MISSED_MAX: i32 = 3;
/// And at least for so long: servers are renewed, too.
const MISSED_MIN: SignedDuration = SignedDuration::from_hours(1);

/// What can be wrong with a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// It could not be had for long.
    Unreachable,
    /// Nothing of it could be read.
    Unreadable,
    /// It was cut off.
    Truncated,
    /// Much of it is missing.
    Shrunken,
    /// It is older than what was read before.
    RolledBack,
    /// Nobody renews it.
    Stale,
}

impl Wrong {
    const ALL: [Self; 6] =
        [Self::Unreachable, Self::Unreadable, Self::Truncated, Self::Shrunken, Self::RolledBack, Self::Stale];

    /// Its word, with which an alarm begins.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unreadable => "unreadable",
            Self::Truncated => "truncated",
            Self::Shrunken => "shrunken",
            Self::RolledBack => "rolled back",
            Self::Stale => "stale",
        }
    }
}

/// Something wrong, in words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// What.
    pub wrong: Wrong,
    /// Why, and what to do; one line.
    pub reason: String,
}

impl fmt::Display for Alarm {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.wrong.word(), self.reason)
    }
}

/// Alarms as they are stored: a line each.
pub(super) fn text(alarms: &[Alarm]) -> String {
    let lines: Vec<String> = alarms.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Alarms that were stored.
pub(super) fn read(text: &str) -> Vec<Alarm> {
    let alarm = |line: &str| {
        let (word, reason) = line.split_once(": ")?;
        let wrong = Wrong::ALL.into_iter().find(|wrong| wrong.word() == word)?;
        Some(Alarm { wrong, reason: reason.to_owned() })
    };
    text.lines().filter_map(alarm).collect()
}

/// What a reading is like as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) records: i64,
    /// When the newest record was changed.
    pub(super) newest: Option<Timestamp>,
    pub(super) truncated: bool,
    /// Why nothing, or not all, could be read: the first problem.
    pub(super) problem: String,
    /// Records that say something else than before and are older than that.
    pub(super) older: usize,
}

/// What of a reading may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) alarms: Vec<Alarm>,
    /// New records may be added, and changed ones renewed.
    pub(super) add: bool,
    /// Records that are not there any more may be ended.
    pub(super) remove: bool,
    /// Records may become older.
    pub(super) age: bool,
}

/// Judges a reading. `accepted`: a person has looked at it.
pub(super) fn judge(
    before: &State,
    read: &Summary,
    feed: &config::Feed,
    now: Timestamp,
    accepted: bool,
) -> Judged {
    let mut judged = Judged { alarms: Vec::new(), add: true, remove: true, age: true };
    let remedy = format!("look at it, and accept it with \"refresh {} --accept\" if it is right", feed.name);
    if read.records == 0 && read.truncated {
        let reason = format!("{}; what was known stays", read.problem);
        judged.alarms.push(Alarm { wrong: Wrong::Unreadable, reason });
        judged.alarms.extend(stale(before.newest, feed, now));
        return Judged { add: false, remove: false, age: false, ..judged };
    }
    if read.truncated {
        let reason = format!("{}; what was read of it is used, what was known besides stays", read.problem);
        judged.alarms.push(Alarm { wrong: Wrong::Truncated, reason });
        (judged.remove, judged.age) = (false, false);
    } else if read.records * 100 < before.records * SHRUNKEN_PERCENT && !accepted {
        let reason = format!(
            "{} records, where there were {}; those that are missing are kept; {remedy}",
            read.records, before.records
        );
        judged.alarms.push(Alarm { wrong: Wrong::Shrunken, reason });
        judged.remove = false;
    }
    let back = before.newest.zip(read.newest).filter(|(before, read)| read < before);
    if (back.is_some() || read.older > 0) && !accepted {
        let reason = match back {
            Some((before, read)) => {
                format!(
                    "its newest record is of {read}, where there was one of {before}; what is older is not used; {remedy}"
                )
            }
            None => format!("{} records are older than they were; they are not used; {remedy}", read.older),
        };
        judged.alarms.push(Alarm { wrong: Wrong::RolledBack, reason });
        judged.age = false;
        judged.remove &= back.is_none();
    }
    let newest = if accepted { read.newest } else { read.newest.max(before.newest) };
    judged.alarms.extend(stale(newest, feed, now));
    judged
}

/// Whether nobody renews a feed.
pub(super) fn stale(newest: Option<Timestamp>, feed: &config::Feed, now: Timestamp) -> Option<Alarm> {
    let days = now.duration_since(newest?).as_hours() / 24;
    (feed.stale_days > 0 && days > i64::from(feed.stale_days)).then(|| Alarm {
        wrong: Wrong::Stale,
        reason: format!(
            "its newest record is {days} days old, over {}; what came later is not known; see whether its publisher still \
             renews it, or raise stale_days",
            feed.stale_days
        ),
    })
}

/// Whether a feed that cannot be had since `failing` must be told of.
pub(super) fn unreachable(
    failing: Timestamp,
    reason: &str,
    feed: &config::Feed,
    now: Timestamp,
) -> Option<Alarm> {
    let patience = (SignedDuration::from_mins(i64::from(feed.every_minutes)) * MISSED_MAX).max(MISSED_MIN);
    (now.duration_since(failing) >= patience).then(|| Alarm {
        wrong: Wrong::Unreachable,
        reason: format!(
            "since {failing}: {reason}; what was known stays; correct its location, or the way to it"
        ),
    })
}
