//! What a forecast may claim, and what it must leave open. Series are published figures, or made up with a known truth.

use jiff::civil::{Date, date};
use traffic::forecast::{Asked, Calendar, Course, Outlook, Phase, Reason, Series, Sleep, forecast};

fn asked(below: f64, horizon_days: u32) -> Asked {
    Asked { below, horizon_days, calendar: Calendar::default() }
}

fn daily(first_day: Date, counts: impl IntoIterator<Item = f64>) -> Series {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small made-up counts")]
    let sources: Vec<Option<u32>> = counts.into_iter().map(|count| Some(count.round() as u32)).collect();
    Series {
        first_day,
        attempts: sources.iter().map(|count| count.map(|count| 3 * count)).collect(),
        sources,
    }
}

/// Scatter of some 8 %, the same on every run.
fn scattered(day: usize, mean: f64) -> f64 {
    let wave = [0.11, -0.07, 0.02, -0.1, 0.08, -0.03, -0.06, 0.12, 0.01, -0.09, 0.05];
    mean * (1.0 + wave[day % wave.len()])
}

fn decay(days: u32, level: f64, floor: f64, half_life: f64) -> impl Iterator<Item = f64> {
    (0..days).enumerate().map(move |(place, day)| {
        scattered(place, floor + (level - floor) * (-f64::from(day) / half_life).exp2())
    })
}

fn reasons(outlook: &Outlook) -> &[Reason] {
    match outlook {
        Outlook::CannotTell { reasons, .. } => reasons,
        Outlook::Told { end, .. } => panic!("an end was told: {end:?}"),
    }
}

fn course(outlook: &Outlook) -> &Course {
    outlook.course().expect("sources were seen")
}

#[test]
fn two_points_are_no_forecast_but_a_wide_range() {
    // 13,000 attempts on one day, 6,000 a month later.
    let mut sources = vec![None; 30];
    (sources[0], sources[29]) = (Some(13_000), Some(6_000));
    let series = Series { first_day: date(2001, 8, 1), attempts: sources.clone(), sources };
    let outlook = forecast(&series, &asked(1.0, 365), 1);
    assert!(
        reasons(&outlook).contains(&Reason::FewDays { observed: 2, needed: 14 }),
        "{:?}",
        reasons(&outlook)
    );
    let bands = course(&outlook).ahead[364].sources;
    assert!(bands.low_90 < 500.0 && bands.high_90 > 6_000.0, "{bands:?}");
}

#[test]
fn four_days_of_heartbleed_leave_200_000_hosts_at_three_years_possible() {
    let counts = [1_762_470.0, 1_598_619.0, 1_501_848.0, 1_465_879.0];
    for seed in 0..4 {
        let outlook = forecast(&daily(date(2014, 4, 10), counts), &asked(1000.0, 1095), seed);
        assert!(reasons(&outlook).iter().any(|reason| matches!(reason, Reason::FewDays { observed: 4, .. })));
        let bands = course(&outlook).ahead[1094].sources;
        assert!(bands.low_90 < 200_000.0 && bands.high_90 > 200_000.0, "seed {seed}: {bands:?}");
        // Soon after, it is no shot in the dark: a week on, neither a tenth nor five times as many.
        let soon = course(&outlook).ahead[6].sources;
        assert!(soon.low_90 > 150_000.0 && soon.high_90 < 7_500_000.0, "seed {seed}: {soon:?}");
    }
}

#[test]
fn a_tail_that_grew_from_14_000_to_18_000_gets_no_end() {
    // Code Red's hosts, December 2001 to April 2002.
    let counts = (0..120_u32)
        .enumerate()
        .map(|(place, day)| scattered(place, 14_000.0 * (18.0_f64 / 14.0).powf(f64::from(day) / 119.0)));
    let outlook = forecast(&daily(date(2001, 12, 15), counts), &asked(100.0, 365), 1);
    let said = reasons(&outlook);
    assert!(matches!(said, [Reason::Growing { .. } | Reason::Steady]), "{said:?}");
    assert!(course(&outlook).half_life_days.high.is_none(), "{:?}", course(&outlook).half_life_days);
}

#[test]
fn a_tail_that_thins_out_as_a_power_of_time_is_not_taken_for_a_floor() {
    // 600 sources, after ten weeks 600 / (1 + 70 / 5) = 40: with a floor there it would have come to rest by then.
    let counts =
        (0..70_u32).enumerate().map(|(place, day)| scattered(place, 600.0 / (1.0 + f64::from(day) / 5.0)));
    let outlook = forecast(&daily(date(2020, 1, 1), counts), &asked(1.0, 90), 1);
    let Outlook::Told { end, course } = &outlook else { panic!("{:?}", reasons(&outlook)) };
    assert!(course.slow_tail > 0.5 && end.never < 0.5, "{} {end:?}", course.slow_tail);
    // 600 / (1 + 159 / 5) is 18.3.
    let bands = course.ahead[89].sources;
    assert!(bands.low_90 < 18.0 && bands.high_90 > 18.0, "{bands:?}");
}

#[test]
fn one_half_life_is_too_few_and_the_days_that_are_missing_are_named() {
    // From 13,000 to 6,000 in four weeks: a half-life of 25 days.
    let outlook = forecast(&daily(date(2001, 8, 6), decay(28, 13_000.0, 0.0, 25.0)), &asked(1.0, 365), 1);
    let said = reasons(&outlook);
    let [Reason::FewHalfLives { seen, missing_days, .. }] = said else { panic!("{said:?}") };
    assert!((0.5..2.0).contains(seen) && *missing_days > 0, "{said:?}");
    let half_life = course(&outlook).half_life_days;
    assert!(half_life.low.unwrap() < 25.0 && half_life.high.is_none_or(|days| days > 25.0), "{half_life:?}");
}

#[test]
fn a_long_decay_is_told_as_its_closed_form() {
    let outlook = forecast(&daily(date(2020, 1, 1), decay(70, 4000.0, 30.0, 7.0)), &asked(60.0, 90), 1);
    let Outlook::Told { end, course } = &outlook else { panic!("{:?}", reasons(&outlook)) };
    let half_life = course.half_life_days;
    assert!(half_life.low.unwrap() < 7.0 && half_life.high.unwrap() > 7.0, "{half_life:?}");
    assert!(half_life.high.unwrap() - half_life.low.unwrap() < 3.0, "{half_life:?}");
    assert!(course.floor.low.unwrap() < 30.0 && course.floor.high.unwrap() > 30.0, "{:?}", course.floor);
    assert!(course.changes.is_empty(), "{:?}", course.changes);
    // 30 + 3970 · 2^(−t/7) = 60 on day 49: it is over already.
    assert!(end.already > 0.95 && end.never < 0.05, "{end:?}");
    // Below 10 it never is: the floor is 30.
    let outlook = forecast(&daily(date(2020, 1, 1), decay(70, 4000.0, 30.0, 7.0)), &asked(10.0, 90), 1);
    let Outlook::Told { end, .. } = &outlook else { panic!("{:?}", reasons(&outlook)) };
    assert!(end.never > 0.9 && end.day.middle.is_none(), "{end:?}");
    // Without a floor, 4000 · 2^(−t/7) = 20 is on day 53.5: four weeks after the 26th.
    let outlook = forecast(&daily(date(2020, 1, 1), decay(26, 4000.0, 0.0, 7.0)), &asked(20.0, 90), 1);
    let Outlook::Told { end, .. } = &outlook else { panic!("{:?}", reasons(&outlook)) };
    let truth = date(2020, 2, 23);
    assert!(end.day.low.unwrap() <= truth && end.day.high.is_none_or(|day| day >= truth), "{end:?}");
    assert!(end.never > 0.05, "a floor below what was seen cannot be excluded: {end:?}");
}

#[test]
fn a_new_wave_begins_a_new_course() {
    let old = decay(40, 300.0, 6.0, 5.0);
    let new = decay(25, 900.0, 6.0, 4.0);
    let outlook = forecast(&daily(date(2020, 1, 1), old.chain(new)), &asked(1.0, 90), 1);
    let course = course(&outlook);
    assert_eq!(course.changes, [date(2020, 2, 10)]);
    assert_eq!(course.since, date(2020, 2, 10));
    assert!(matches!(course.phase, Phase::Dying | Phase::AtFloor), "{:?}", course.phase);
}

#[test]
fn a_worm_that_sleeps_by_the_calendar_has_not_died() {
    // Awake on days 1 to 19 of each month; 40 hosts have a wrong clock.
    let calendar = Calendar { asleep: vec![Sleep::MonthDays(20, 31)], until: None };
    let first_day = date(2001, 8, 1);
    let counts: Vec<f64> = decay(75, 9000.0, 0.0, 30.0)
        .enumerate()
        .map(|(place, mean)| {
            let day = first_day.saturating_add(jiff::ToSpan::days(i64::try_from(place).unwrap()));
            if calendar.awake(day) { mean } else { scattered(place, 40.0) }
        })
        .collect();
    let series = daily(first_day, counts);
    // The last day is 14 October.
    let outlook = forecast(&series, &Asked { calendar, ..asked(1.0, 40) }, 1);
    let known = course(&outlook);
    assert_eq!((known.changes.len(), known.phase), (0, Phase::Dying));
    let day = |day: Date| known.ahead.iter().find(|ahead| ahead.day == day).unwrap().sources;
    assert!(day(date(2001, 10, 18)).low_90 > 500.0 && day(date(2001, 11, 3)).low_90 > 500.0);
    assert!(day(date(2001, 10, 25)).high_90 < 400.0, "{:?}", day(date(2001, 10, 25)));
    assert!(!known.calendar_belied);
    // Without the calendar it seems to have changed its course again and again.
    assert!(!course(&forecast(&series, &asked(1.0, 40), 1)).changes.is_empty());
}

#[test]
fn a_worm_that_kills_itself_is_over_on_that_day_whatever_its_decay_says() {
    let calendar = Calendar { asleep: vec![], until: Some(date(2001, 9, 30)) };
    // Steady until 25 September: without the calendar no end is in sight.
    let series = daily(date(2001, 8, 16), (0..41).map(|place| scattered(place, 60.0)));
    let told = |calendar: Calendar| forecast(&series, &Asked { calendar, ..asked(30.0, 28) }, 1);
    assert!(matches!(reasons(&told(Calendar::default())), [Reason::Steady]));
    let Outlook::Told { end, course } = told(calendar) else { panic!("the calendar tells the end") };
    assert_eq!(end.day.low, Some(date(2001, 10, 1)), "{end:?}");
    assert_eq!(end.day.middle, Some(date(2001, 10, 1)), "{end:?}");
    let day = |day: Date| course.ahead.iter().find(|ahead| ahead.day == day).unwrap().sources;
    assert!(day(date(2001, 9, 30)).low_90 > 30.0 && day(date(2001, 10, 1)).middle < 30.0);
}

#[test]
fn a_worm_that_lost_its_kill_date_is_believed_and_not_the_calendar() {
    let calendar = Calendar { asleep: vec![], until: Some(date(2001, 9, 30)) };
    // A variant of March 2003: no day of the log should have seen it.
    let series = daily(date(2003, 3, 11), decay(40, 900.0, 0.0, 6.0));
    let outlook = forecast(&series, &Asked { calendar, ..asked(1.0, 28) }, 1);
    let course = course(&outlook);
    assert!(course.calendar_belied && course.phase == Phase::Dying, "{:?}", course.phase);
}

#[test]
fn days_without_a_log_are_unknown_and_not_quiet() {
    let mut series = daily(date(2020, 1, 1), decay(40, 200.0, 50.0, 6.0));
    for day in (20..27).chain([3, 9, 33]) {
        (series.sources[day], series.attempts[day]) = (None, None);
    }
    let outlook = forecast(&series, &asked(1.0, 28), 1);
    let course = course(&outlook);
    assert_eq!((course.observed, course.days, course.changes.len()), (30, 40, 0));
    let bands = course.ahead[6].sources;
    assert!(
        bands.low_90 < 50.0 && bands.low_90 > 30.0 && bands.high_90 > 52.0 && bands.high_90 < 85.0,
        "{bands:?}"
    );
}

#[test]
fn the_same_seed_gives_the_same_bits_on_every_platform() {
    let series = daily(date(2020, 1, 1), decay(40, 800.0, 20.0, 9.0));
    let outlook = forecast(&series, &asked(10.0, 60), 2001);
    assert!(outlook == forecast(&series, &asked(10.0, 60), 2001));
    assert!(outlook != forecast(&series, &asked(10.0, 60), 2002));
    // Known answers: a change here is a change of every forecast, and belongs into the changelog.
    let course = course(&outlook);
    let bits = [course.half_life_days.middle, course.floor.middle, course.level.middle]
        .map(|value| value.unwrap().to_bits());
    assert_eq!(bits, [4_621_572_281_466_763_589, 4_621_452_015_979_194_772, 4_633_019_772_642_842_144]);
}

#[test]
fn nothing_that_can_be_asked_or_given_makes_it_fail() {
    let series =
        |sources: Vec<Option<u32>>| Series { first_day: date(2020, 1, 1), attempts: vec![], sources };
    let none = forecast(&series(vec![None, Some(0), Some(0)]), &asked(1.0, 30), 1);
    assert_eq!(none, Outlook::CannotTell { reasons: vec![Reason::NothingSeen], range: None });
    let odd = [
        vec![Some(1)],
        vec![Some(u32::MAX); 20],
        [vec![Some(u32::MAX)], vec![Some(0); 20]].concat(),
        [vec![Some(1); 15], vec![None; 900], vec![Some(2); 15]].concat(),
        (0..40).map(|day| Some(if day % 2 == 0 { 0 } else { 1_000_000 })).collect(),
    ];
    for sources in odd {
        for (below, horizon_days) in [(1.0, 0), (f64::NAN, 20), (-3.0, 20), (f64::INFINITY, 20)] {
            let outlook = forecast(&series(sources.clone()), &asked(below, horizon_days), 1);
            let course = course(&outlook);
            for day in &course.ahead {
                let bands = day.sources;
                let edges = [bands.low_90, bands.low_50, bands.middle, bands.high_50, bands.high_90];
                assert!(
                    edges.is_sorted() && edges.iter().all(|edge| edge.is_finite() && *edge >= 0.0),
                    "{edges:?}"
                );
            }
        }
    }
    let late = Series { first_day: Date::MAX, ..series(vec![Some(3); 20]) };
    assert!(forecast(&late, &asked(1.0, 30), 1).course().is_some());
}
