//! Windows over changes of the clock, blackouts, and what fits.

use jiff::tz::TimeZoneDatabase;
use jiff::{SignedDuration, Timestamp};
use rollout::plan::{Blackout, Day, Nth, Recurrence, Window};
use rollout::window::{Calendar, Fit};

fn window(zone: &str, every: Recurrence, opens: &str, minutes: u32) -> Window {
    Window { zone: zone.to_owned(), every, opens: opens.parse().expect("a time"), minutes }
}

fn calendar(windows: &[Window], blackouts: &[Blackout]) -> Calendar {
    Calendar::read(windows, blackouts, &TimeZoneDatabase::bundled()).expect("good windows")
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn opens(calendar: &Calendar, now: &str, minutes: i64) -> String {
    match calendar.fit(at(now), SignedDuration::from_mins(minutes)) {
        Fit::Fits { closes } => {
            format!("open until {}", closes.map_or("ever".to_owned(), |at| at.to_string()))
        }
        Fit::TooShort { opens: Some(at), .. } => format!("too short, {at}"),
        Fit::TooShort { opens: None, .. } => "never".to_owned(),
        Fit::Closed { opens } => opens.map_or("never".to_owned(), |at| at.to_string()),
    }
}

fn sunday(opens: &str, minutes: u32) -> Calendar {
    calendar(&[window("Europe/Zurich", Recurrence::Weekly(vec![Day::Sunday]), opens, minutes)], &[])
}

#[test]
fn a_window_in_the_hour_that_does_not_exist_opens_as_much_later() {
    // 29 March 2026: 02:00 becomes 03:00. 02:30 is 03:30 summer time, 01:30 UTC.
    assert_eq!(opens(&sunday("02:30", 90), "2026-03-28T00:00:00Z", 60), "2026-03-29T01:30:00Z");
    // It lasts 90 minutes that pass, not 90 minutes on the wall.
    assert_eq!(opens(&sunday("01:30", 90), "2026-03-29T00:31:00Z", 60), "open until 2026-03-29T02:00:00Z");
}

#[test]
fn a_window_in_the_hour_that_comes_twice_opens_once() {
    // 25 October 2026: 03:00 becomes 02:00. The first 02:30 is 00:30 UTC; the second is 01:30 UTC.
    let calendar = sunday("02:30", 60);
    assert_eq!(opens(&calendar, "2026-10-25T00:00:00Z", 30), "2026-10-25T00:30:00Z");
    assert_eq!(opens(&calendar, "2026-10-25T00:40:00Z", 30), "open until 2026-10-25T01:30:00Z");
    assert_eq!(opens(&calendar, "2026-10-25T01:30:00Z", 30), "2026-11-01T01:30:00Z");
}

#[test]
fn what_does_not_fit_waits_for_the_next_opening() {
    let calendar = sunday("22:00", 240);
    assert_eq!(opens(&calendar, "2026-06-07T22:00:00Z", 120), "open until 2026-06-08T00:00:00Z");
    assert_eq!(opens(&calendar, "2026-06-07T22:01:00Z", 120), "too short, 2026-06-14T20:00:00Z");
    assert_eq!(opens(&calendar, "2026-06-07T22:01:00Z", 241), "never", "no window is so long");
}

#[test]
fn monthly_windows_count_their_weekdays() {
    let monthly = |nth, day| {
        calendar(&[window("America/New_York", Recurrence::Monthly { nth, day }, "03:00", 60)], &[])
    };
    assert_eq!(
        opens(&monthly(Nth::Second, Day::Tuesday), "2026-06-01T00:00:00Z", 30),
        "2026-06-09T07:00:00Z"
    );
    assert_eq!(opens(&monthly(Nth::Last, Day::Friday), "2026-06-27T00:00:00Z", 30), "2026-07-31T07:00:00Z");
}

#[test]
fn a_blackout_cuts_a_window_in_its_own_zone() {
    let blackout = |from: &str, to: &str| Blackout {
        zone: "Europe/Zurich".to_owned(),
        from: from.parse().expect("a day"),
        to: to.parse().expect("a day"),
        reason: "year-end closing".to_owned(),
    };
    let every_day = Recurrence::Weekly(vec![
        Day::Monday,
        Day::Tuesday,
        Day::Wednesday,
        Day::Thursday,
        Day::Friday,
        Day::Saturday,
        Day::Sunday,
    ]);
    let nightly =
        calendar(&[window("UTC", every_day, "22:00", 240)], &[blackout("2026-12-24", "2027-01-03")]);
    // In Zurich the 24th begins at 23:00 UTC: an hour of the night's four is left.
    assert_eq!(opens(&nightly, "2026-12-23T22:00:00Z", 60), "open until 2026-12-23T23:00:00Z");
    assert_eq!(opens(&nightly, "2026-12-23T22:30:00Z", 60), "too short, 2027-01-03T23:00:00Z");
    let only_blackouts = calendar(&[], &[blackout("2026-12-24", "2026-12-24")]);
    assert_eq!(opens(&only_blackouts, "2026-12-24T12:00:00Z", 60), "2026-12-24T23:00:00Z");
    assert_eq!(opens(&Calendar::ALWAYS, "2026-12-24T12:00:00Z", 60), "open until ever");
}

#[test]
fn windows_that_meet_are_one() {
    let two = [
        window("UTC", Recurrence::Weekly(vec![Day::Saturday]), "12:00", 720),
        window("UTC", Recurrence::Weekly(vec![Day::Sunday]), "00:00", 600),
    ];
    assert_eq!(opens(&calendar(&two, &[]), "2026-06-06T20:00:00Z", 600), "open until 2026-06-07T10:00:00Z");
}
