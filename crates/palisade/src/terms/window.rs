//! When hosts may begin, and when nobody does: `Sat,Sun 02:00+4h Europe/Zurich`, `2026-12-20..2027-01-04 Europe/Zurich
//! year-end closing`.

use super::{DAYS, NTHS, duration};
use jiff::civil::{Date, Time};
use rollout::plan::{Blackout, Day, Nth, Recurrence, Window};
use rollout::window::MINUTES_MAX;

/// What a window looks like.
const WINDOWS: &str = "'Sat,Sun 02:00+4h Europe/Zurich', 'Mon-Fri 22:00+90m UTC', 'daily 03:00+1h UTC' or 'second Tue 01:00+3h UTC'";
/// What a blackout looks like.
const BLACKOUTS: &str = "'2026-12-20..2027-01-04 Europe/Zurich year-end closing'";
/// How like a zone must be to be offered instead, 0 to 1.
const LIKENESS_MIN: f64 = 0.85;

/// A window: days, opening and length, zone.
pub(crate) fn window(text: &str) -> Result<Window, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [days @ .., hours, zone] = words.as_slice() else {
        return Err(format!("\"{text}\" is no window; write {WINDOWS}"));
    };
    let every = match days {
        ["daily"] => Recurrence::Weekly(DAYS.iter().map(|(_, day)| *day).collect()),
        [days] => Recurrence::Weekly(weekly(days)?),
        [which, named] => Recurrence::Monthly { nth: nth(which)?, day: day(named)? },
        [] if hours.contains('+') => return Err(format!("\"{text}\" lacks its days; write {WINDOWS}")),
        [] if zone.contains('+') => {
            return Err(format!("\"{text}\" lacks its time zone; write {text} Europe/Zurich, or {text} UTC"));
        }
        _ => return Err(format!("\"{text}\" is no window; write {WINDOWS}")),
    };
    let Some((opens, length)) = hours.split_once('+') else {
        let told = if zone.contains('+') { "lacks its time zone at the end" } else { "lacks its length" };
        return Err(format!("\"{text}\" {told}; write {WINDOWS}"));
    };
    let opens = time(opens)?;
    let minutes = duration(length)? / 60;
    if !(1..=MINUTES_MAX).contains(&minutes) {
        return Err(format!("a window is open for between a minute and a week, not for {length}"));
    }
    Ok(Window { zone: known(zone)?, every, opens, minutes })
}

/// A blackout: first and last day, zone, reason.
pub(crate) fn blackout(text: &str) -> Result<Blackout, String> {
    let refused = || format!("\"{text}\" is no blackout; write {BLACKOUTS}");
    let mut words = text.split_whitespace();
    let days = words.next().ok_or_else(refused)?;
    let zone = words.next().ok_or_else(refused)?;
    let reason = words.collect::<Vec<_>>().join(" ");
    if reason.is_empty() {
        return Err(format!("\"{text}\" lacks its reason, for people to read; write {BLACKOUTS}"));
    }
    let (from, to) = days.split_once("..").unwrap_or((days, days));
    let date = |text: &str| -> Result<Date, String> {
        text.parse().map_err(|_| format!("\"{text}\" is no day; write 2026-12-20"))
    };
    let (from, to) = (date(from)?, date(to)?);
    if to < from {
        return Err(format!("\"{days}\" ends before it begins; write {to}..{from}"));
    }
    Ok(Blackout { zone: known(zone)?, from, to, reason })
}

/// `Sat,Sun` or `Mon-Fri`; each day once, in the week's order.
fn weekly(text: &str) -> Result<Vec<Day>, String> {
    let mut on = [false; DAYS.len()];
    for part in text.split(',') {
        if let Some((first, last)) = part.split_once('-') {
            let (mut place, last) = (place(first)?, place(last)?);
            on[place] = true;
            // Sat-Mon goes over the end of the week.
            while place != last {
                place = (place + 1) % DAYS.len();
                on[place] = true;
            }
        } else {
            on[place(part)?] = true;
        }
    }
    Ok(DAYS.iter().zip(on).filter(|(_, on)| *on).map(|((_, day), _)| *day).collect())
}

fn place(text: &str) -> Result<usize, String> {
    let day = day(text)?;
    DAYS.iter().position(|(_, known)| *known == day).ok_or_else(|| format!("\"{text}\" is no day"))
}

/// `Sat`, `sat`, `Saturday`.
fn day(text: &str) -> Result<Day, String> {
    let lower = text.to_ascii_lowercase();
    let full = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let found = full.iter().position(|name| *name == lower || (lower.len() == 3 && name.starts_with(&lower)));
    found.map(|place| DAYS[place].1).ok_or_else(|| {
        format!("\"{text}\" is no day; write Mon, Tue, Wed, Thu, Fri, Sat or Sun, or daily for all")
    })
}

fn nth(text: &str) -> Result<Nth, String> {
    let lower = text.to_ascii_lowercase();
    let found = NTHS.iter().find(|(name, _)| *name == lower).map(|(_, nth)| *nth);
    found.ok_or_else(|| {
        format!("\"{text}\" is none of a month's days; write first, second, third, fourth or last")
    })
}

/// Hours and minutes.
fn time(text: &str) -> Result<Time, String> {
    let refused = || format!("\"{text}\" is no time of day; write 02:00, up to 23:59");
    let (hour, minute) = text.split_once(':').ok_or_else(refused)?;
    let number = |text: &str| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<i8>().ok()).flatten()
    };
    let (hour, minute) = number(hour).zip(number(minute)).ok_or_else(refused)?;
    Time::new(hour, minute, 0, 0).map_err(|_| refused())
}

/// A zone that the database of time zones here has; as it writes it.
fn known(zone: &str) -> Result<String, String> {
    let zones = jiff::tz::db();
    if let Ok(found) = zones.get(zone)
        && let Some(name) = found.iana_name()
    {
        return Ok(name.to_owned());
    }
    let like = zones
        .available()
        .map(|name| {
            let name = name.as_str().to_owned();
            // People write the city alone.
            let city = name.rsplit('/').next().unwrap_or(&name);
            let likeness = strsim::jaro_winkler(zone, &name).max(strsim::jaro_winkler(zone, city));
            (likeness, name)
        })
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|one, other| one.0.total_cmp(&other.0));
    let like = like.map(|(_, name)| format!(" Did you mean {name}?")).unwrap_or_default();
    Err(format!("\"{zone}\" is no time zone; name it as the IANA database does: Europe/Zurich, UTC.{like}"))
}

#[cfg(test)]
mod tests {
    use super::super::{blackout_text, window_text};
    use super::*;

    #[test]
    fn a_window_is_read_as_people_write_it() {
        let good = [
            ("Sat,Sun 02:00+4h Europe/Zurich", "Sat,Sun 02:00+4h Europe/Zurich"),
            ("sunday,sat 2:00+240m europe/zurich", "Sat,Sun 02:00+4h Europe/Zurich"),
            ("Mon-Fri 22:00+90m UTC", "Mon,Tue,Wed,Thu,Fri 22:00+1h30m UTC"),
            ("Sat-Mon 00:00+1d UTC", "Mon,Sat,Sun 00:00+1d UTC"),
            ("daily 03:00+1h UTC", "daily 03:00+1h UTC"),
            ("Mon-Sun 03:00+1h UTC", "daily 03:00+1h UTC"),
            ("second Tue 01:00+3h America/New_York", "second Tue 01:00+3h America/New_York"),
            ("last sunday 23:59+1m UTC", "last Sun 23:59+1m UTC"),
        ];
        for (text, told) in good {
            let read = window(text).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            assert_eq!(window_text(&read), told, "{text}");
            assert_eq!(window(told), Ok(read), "{told}");
        }
        let bad = [
            ("", "is no window; write 'Sat,Sun 02:00+4h Europe/Zurich'"),
            ("Sat", "is no window"),
            ("Sat 02:00 UTC", "lacks its length"),
            ("Sat 02:00+4h", "lacks its time zone"),
            ("02:00+4h UTC", "lacks its days"),
            ("Caturday 02:00+4h UTC", "\"Caturday\" is no day; write Mon"),
            ("fifth Sat 02:00+4h UTC", "\"fifth\" is none of a month's days; write first"),
            ("Sat 25:00+4h UTC", "\"25:00\" is no time of day; write 02:00"),
            ("Sat 2+4h UTC", "\"2\" is no time of day"),
            ("Sat +2:+0+4h UTC", "is no time of day"),
            ("Sat 02:00+four UTC", "\"four\" is no duration"),
            ("Sat 02:00+8d UTC", "between a minute and a week"),
            ("Sat 02:00+30s UTC", "between a minute and a week"),
            (
                "Sat 02:00+4h Zurich",
                "\"Zurich\" is no time zone; name it as the IANA database does: Europe/Zurich",
            ),
            ("Sat 02:00+4h Europe/Zürich", "Did you mean Europe/Zurich?"),
        ];
        for (text, told) in bad {
            let problem = window(text).expect_err(text);
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }

    #[test]
    fn a_blackout_has_days_a_zone_and_a_reason() {
        let text = "2026-12-20..2027-01-04 Europe/Zurich year-end closing";
        assert_eq!(blackout_text(&blackout(text).expect("it is good")), text);
        let one = blackout("2026-12-24 UTC holiday").expect("one day is good");
        assert_eq!((one.from, one.to), (one.to, one.from));
        let bad = [
            ("2026-12-20..2027-01-04 Europe/Zurich", "lacks its reason"),
            ("2027-01-04..2026-12-20 UTC closing", "ends before it begins; write 2026-12-20..2027-01-04"),
            ("christmas UTC closing", "\"christmas\" is no day; write 2026-12-20"),
            ("2026-12-20 Mars/Base closing", "is no time zone"),
            ("", "is no blackout"),
        ];
        for (text, told) in bad {
            let problem = blackout(text).expect_err(text);
            assert!(problem.contains(told), "{text}: {problem}");
        }
    }
}
