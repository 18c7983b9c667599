//! What a person writes about a plan, read into the plan's own types; and the same types written as a person would. Each
//! refusal says what would be right.

mod probe;
mod replay;
mod window;

pub(crate) use probe::{Service, probe, probe_text, service};
pub(crate) use replay::{AskedReplay, replay};
pub(crate) use window::{blackout, window};

use rollout::plan::{Blackout, Day, Nth, Reboot, Recurrence, Window};
use rollout::waves::Size;
use std::fmt::Write as _;

/// Units of a duration, the longest first, in seconds.
const UNITS: [(char, u32); 5] = [('w', 7 * 86_400), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// A duration in seconds: `90s`, `30m`, `1h30m`, `14d`.
pub(crate) fn duration(text: &str) -> Result<u32, String> {
    let refused = || format!("\"{text}\" is no duration; write 90s, 30m, 1h30m, 14d or 2w");
    let (mut seconds, mut rest) = (0_u32, text);
    let mut units = UNITS.as_slice();
    if text.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(|| {
            if rest == text {
                format!("\"{text}\" has no unit; write {text}s, {text}m, {text}h or {text}d")
            } else {
                refused()
            }
        })?;
        let number: u32 = rest[..digits].parse().map_err(|_| refused())?;
        let unit = rest[digits..].chars().next().ok_or_else(refused)?;
        // From the longest to the shortest, each once: nobody means 1h2h.
        let place = units.iter().position(|(name, _)| *name == unit).ok_or_else(refused)?;
        let length = number.checked_mul(units[place].1).and_then(|more| seconds.checked_add(more));
        seconds = length.ok_or_else(|| format!("\"{text}\" is too long; at most 136 years"))?;
        units = &units[place + 1..];
        rest = &rest[digits + unit.len_utf8()..];
    }
    Ok(seconds)
}

/// Seconds as [`duration`] reads them: `1h30m`.
pub(crate) fn lasting(seconds: impl Into<u64>) -> String {
    let mut left: u64 = seconds.into();
    let mut out = String::new();
    // Weeks are read, and days are written: 14d says more than 2w.
    for (unit, length) in &UNITS[1..] {
        let length = u64::from(*length);
        if left >= length {
            let _ = write!(out, "{}{unit}", left / length);
            left %= length;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// A wave's size: `10%` of all hosts, or `25` hosts.
pub(crate) fn wave(text: &str) -> Result<Size, String> {
    let text = text.trim();
    let refused =
        || format!("\"{text}\" is no size of a wave; write 10% of the hosts (1% to 100%), or 25 hosts");
    let size = match text.strip_suffix('%') {
        Some(percent) => {
            Size::Percent(percent.trim().parse().ok().filter(|n| (1..=100).contains(n)).ok_or_else(refused)?)
        }
        None => Size::Count(text.parse().ok().filter(|n| *n > 0).ok_or_else(refused)?),
    };
    Ok(size)
}

/// A wave's size as [`wave`] reads it, and as the server does.
pub(crate) fn size(size: Size) -> String {
    match size {
        Size::Percent(percent) => format!("{percent}%"),
        Size::Count(hosts) => hosts.to_string(),
    }
}

/// Whether hosts may reboot: `never`, or how often each may.
pub(crate) fn reboot(text: &str) -> Result<Reboot, String> {
    if text == "never" {
        return Ok(Reboot::Never);
    }
    let reboots_max = text.parse().ok().filter(|n| (1..=rollout::plan::check::REBOOTS_MAX).contains(n));
    reboots_max.map(|reboots_max| Reboot::IfNeeded { reboots_max }).ok_or_else(|| {
        let most = rollout::plan::check::REBOOTS_MAX;
        format!("\"{text}\" is not how often a host may reboot; write never, or 1 to {most}")
    })
}

/// A window as [`window()`] reads it.
pub(crate) fn window_text(window: &Window) -> String {
    let days = match &window.every {
        Recurrence::Weekly(days) if days.len() == DAYS.len() => "daily".to_owned(),
        Recurrence::Weekly(days) => days.iter().map(|day| day_text(*day)).collect::<Vec<_>>().join(","),
        Recurrence::Monthly { nth, day } => {
            let nth = NTHS.iter().find(|(_, known)| known == nth).map_or("?", |(name, _)| name);
            format!("{nth} {}", day_text(*day))
        }
    };
    let opens = window.opens.strftime("%H:%M");
    format!("{days} {opens}+{} {}", lasting(u64::from(window.minutes) * 60), window.zone)
}

/// A blackout as [`blackout()`] reads it.
pub(crate) fn blackout_text(blackout: &Blackout) -> String {
    format!("{}..{} {} {}", blackout.from, blackout.to, blackout.zone, blackout.reason)
}

/// Days as people write them; the first three letters count.
const DAYS: [(&str, Day); 7] = [
    ("Mon", Day::Monday),
    ("Tue", Day::Tuesday),
    ("Wed", Day::Wednesday),
    ("Thu", Day::Thursday),
    ("Fri", Day::Friday),
    ("Sat", Day::Saturday),
    ("Sun", Day::Sunday),
];
const NTHS: [(&str, Nth); 5] = [
    ("first", Nth::First),
    ("second", Nth::Second),
    ("third", Nth::Third),
    ("fourth", Nth::Fourth),
    ("last", Nth::Last),
];

fn day_text(day: Day) -> &'static str {
    DAYS.iter().find(|(_, known)| *known == day).map_or("?", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_as_people_write_it() {
        let good = [
            ("90s", 90),
            ("30m", 1_800),
            ("1h", 3_600),
            ("1h30m", 5_400),
            ("14d", 1_209_600),
            ("2w", 1_209_600),
            ("1d12h30m5s", 131_405),
            ("0s", 0),
        ];
        for (text, seconds) in good {
            assert_eq!(duration(text), Ok(seconds), "{text}");
        }
        for (seconds, text) in [(90_u32, "1m30s"), (5_400, "1h30m"), (1_209_600, "14d"), (0, "0s")] {
            assert_eq!(lasting(seconds), text);
            assert_eq!(duration(text), Ok(seconds));
        }
        let bad = [
            ("", "is no duration; write 90s"),
            ("1 hour", "is no duration"),
            ("90", "has no unit; write 90s, 90m, 90h or 90d"),
            ("1h30", "is no duration"),
            ("1h2h", "is no duration"),
            ("30m1h", "is no duration"),
            ("-5m", "is no duration"),
            ("1é", "is no duration"),
            ("99999999w", "too long"),
        ];
        for (text, told) in bad {
            assert!(
                duration(text).is_err_and(|problem| problem.contains(told)),
                "{text}: {:?}",
                duration(text)
            );
        }
    }

    #[test]
    fn a_wave_is_a_share_or_a_number_of_hosts() {
        for (text, read) in
            [("10%", Size::Percent(10)), (" 100 % ", Size::Percent(100)), ("25", Size::Count(25))]
        {
            assert_eq!(wave(text), Ok(read), "{text}");
            assert_eq!(wave(&size(read)), Ok(read));
        }
        for text in ["0%", "101%", "0", "-1", "ten", "10 hosts", "", "%"] {
            assert!(wave(text).is_err_and(|problem| problem.contains("write 10%")), "{text}");
        }
    }

    #[test]
    fn hosts_reboot_never_or_so_often() {
        assert_eq!(reboot("never"), Ok(Reboot::Never));
        assert_eq!(reboot("2"), Ok(Reboot::IfNeeded { reboots_max: 2 }));
        for text in ["0", "6", "yes", ""] {
            assert!(reboot(text).is_err_and(|problem| problem.contains("write never, or 1 to 5")), "{text}");
        }
    }
}
