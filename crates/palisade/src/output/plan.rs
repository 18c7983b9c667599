//! A plan for people: what changes on which hosts, who goes when, what each wave must show.

use super::lines::{aligned, bytes, count, moment, some, span};
use super::replay;
use super::table::{Look, clean};
use crate::terms::{blackout_text, lasting, probe_text, window_text};
use jiff::{SignedDuration, Timestamp};
use rollout::plan::{HostClass, HostId, Plan, Reboot, Rollback, Track, Wave};
use rollout::window::{Calendar, Fit};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Hosts that are shown by name.
pub(crate) const NAMES_MAX: usize = 20;
/// Packages of a class that are listed unless all are asked for.
const CHANGES_SHOWN: usize = 20;
/// Openings of the windows that are told.
const OPENINGS: usize = 3;

/// Hosts' names, where they are known.
pub(crate) type Names = BTreeMap<HostId, String>;

/// The whole plan.
pub(crate) fn plan(plan: &Plan, names: &Names, now: Timestamp, look: Look) -> String {
    let mut out = format!("{}\n\n", clean(&plan.title));
    head(plan, now, &mut out);
    changes(plan, look, &mut out);
    waves(plan, names, &mut out);
    windows(plan, now, &mut out);
    limits(plan, &mut out);
    out
}

fn head(plan: &Plan, now: Timestamp, out: &mut String) {
    let begins = if plan.not_before <= now { "at once".to_owned() } else { moment(plan.not_before) };
    let expires = if plan.expires <= now {
        format!("{}: it has expired", moment(plan.expires))
    } else {
        format!("{}, in {}", moment(plan.expires), span(plan.expires.duration_since(now)))
    };
    let track = match plan.track {
        Track::Normal => "normal",
        Track::Emergency => "EMERGENCY: shorter soaks",
    };
    let mut rows: Vec<[String; 2]> = [
        ["plan", &plan.id.to_string()],
        ["SHA-256", &plan.digest().to_string()],
        ["made", &moment(plan.created)],
        ["begins", &begins],
        ["expires", &expires],
        ["track", track],
        ["environment", &clean(&plan.environment)],
    ]
    .map(|row| row.map(str::to_owned))
    .to_vec();
    if !plan.bulletins.is_empty() {
        rows.push(["answers".to_owned(), some(&plan.bulletins, 12)]);
    }
    if let Some(decision) = &plan.decision {
        rows.push(["decision".to_owned(), clean(decision)]);
    }
    if let Some(replaced) = &plan.supersedes {
        rows.push(["replaces".to_owned(), replaced.to_string()]);
    }
    out.push_str(&aligned(&rows, 0));
}

fn changes(plan: &Plan, look: Look, out: &mut String) {
    out.push_str("\nchanges\n");
    for class in &plan.classes {
        let cohorts =
            plan.waves.iter().flat_map(|wave| &wave.cohorts).filter(|cohort| cohort.class == class.name);
        let hosts: usize = cohorts.map(|cohort| cohort.hosts.len()).sum();
        let _ = writeln!(
            out,
            "  {}, {} {}, {}",
            clean(&class.name),
            clean(&class.release),
            clean(&class.arch),
            count(hosts as u64, "host")
        );
        out.push_str(&packages(class, look));
    }
}

fn packages(class: &HostClass, look: Look) -> String {
    let shown = if look.all { class.changes.len() } else { CHANGES_SHOWN.min(class.changes.len()) };
    let rows: Vec<[String; 4]> = class
        .changes
        .iter()
        .take(shown)
        .map(|change| {
            let from = change.from.as_deref().map_or("new".to_owned(), clean);
            [
                clean(&change.name),
                format!("{from} → {}", clean(&change.to)),
                bytes(change.file.size_bytes),
                clean(&change.archive),
            ]
        })
        .collect();
    let mut out = aligned(&rows, 4);
    if shown < class.changes.len() {
        let _ = writeln!(out, "    and {} more, with --all", class.changes.len() - shown);
    }
    let sum = |all: u64, size: u64| all.saturating_add(size);
    let fetched = class.changes.iter().map(|change| change.file.size_bytes).fold(0, sum);
    let kept = class.changes.iter().filter_map(|change| Some(change.back.as_ref()?.size_bytes)).fold(0, sum);
    let stuck = class.changes.iter().filter(|change| change.from.is_some() && change.back.is_none()).count();
    let _ = write!(out, "    {} to fetch, {} kept for the way back", bytes(fetched), bytes(kept));
    if stuck > 0 {
        let _ = write!(
            out,
            "; {} NO WAY BACK",
            if stuck == 1 { "1 package has".to_owned() } else { format!("{stuck} packages have") }
        );
    }
    out.push('\n');
    out
}

fn waves(plan: &Plan, names: &Names, out: &mut String) {
    out.push_str("\nwaves\n");
    let all: usize = plan.waves.iter().map(|wave| wave.hosts().count()).sum();
    let rows: Vec<[String; 5]> = plan
        .waves
        .iter()
        .enumerate()
        .map(|(number, wave)| {
            let hosts = wave.hosts().count();
            let share = (hosts * 100).div_ceil(all.max(1));
            [
                number.to_string(),
                clean(&wave.name),
                format!("{} ({share} %)", count(hosts as u64, "host")),
                format!("{} at once", wave.hosts_at_once_max),
                canaries(wave, names),
            ]
        })
        .collect();
    out.push_str(&aligned(&rows, 2));
    if let Some(late) = plan.late() {
        let _ = writeln!(
            out,
            "  late: at most {} of group {} that are enrolled meanwhile, in the last wave",
            count(late.hosts_max, "host"),
            clean(&late.group)
        );
    }
    // Waves mostly have one gate.
    let mut from = 0;
    while from < plan.waves.len() {
        let same = plan.waves[from..].iter().take_while(|wave| wave.gate == plan.waves[from].gate).count();
        let which = match (from, same == plan.waves.len()) {
            (_, true) => "each wave's gate".to_owned(),
            (from, false) if same == 1 => format!("gate of wave {from}"),
            (from, false) => format!("gate of waves {from} to {}", from + same - 1),
        };
        let _ = writeln!(out, "\n{which}\n{}", gate(&plan.waves[from]));
        from += same;
    }
}

/// The canaries of a wave, by name where it is known.
fn canaries(wave: &Wave, names: &Names) -> String {
    let canaries = wave.cohorts.iter().filter(|cohort| cohort.canary).flat_map(|cohort| &cohort.hosts);
    let known = canaries.map(|host| names.get(host).cloned().unwrap_or_else(|| host.to_string()));
    let mut known: Vec<String> = known.collect();
    known.sort();
    some(known, NAMES_MAX)
}

fn gate(wave: &Wave) -> String {
    let terms = &wave.gate;
    let mut lines = vec![
        format!("at least {} % proven, heard and healthy", terms.proven_percent_min),
        format!("at most {} failed or lost; one more halts", terms.bad_max),
        format!("at most {} skipped", terms.skipped_max),
        format!("watched for {} after its last host has settled", lasting(terms.soak_seconds)),
        format!("at least {} about health", count(terms.samples_min, "answer")),
        "no alert is firing".to_owned(),
    ];
    if let Some(control) = &terms.control {
        lines.push(format!(
            "at most {} points more of them unhealthy than of hosts not patched yet, of at least {} on either side",
            control.worse_percent_max,
            count(control.hosts_min, "host")
        ));
    }
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

fn windows(plan: &Plan, now: Timestamp, out: &mut String) {
    out.push_str("\nwindows\n");
    if plan.windows.is_empty() {
        out.push_str("  none: at any time\n");
    }
    for window in &plan.windows {
        let _ = writeln!(out, "  {}", clean(&window_text(window)));
    }
    for blackout in &plan.blackouts {
        let _ = writeln!(out, "  not {}", clean(&blackout_text(blackout)));
    }
    if plan.windows.is_empty() && plan.blackouts.is_empty() {
        return;
    }
    match Calendar::read(&plan.windows, &plan.blackouts, jiff::tz::db()) {
        Ok(calendar) => {
            let openings = openings(&calendar, plan, now);
            let told =
                if openings.is_empty() { "never within a year".to_owned() } else { openings.join("; ") };
            let _ = writeln!(out, "  open for long enough: {told}");
        }
        Err(problem) => _ = writeln!(out, "  {problem}"),
    }
}

/// The next openings that are long enough for a host, before the plan expires.
fn openings(calendar: &Calendar, plan: &Plan, now: Timestamp) -> Vec<String> {
    let length = SignedDuration::from_secs(plan.timing.expected_seconds.into());
    let mut told = Vec::new();
    let mut at = now.max(plan.not_before);
    while told.len() < OPENINGS && at < plan.expires {
        let (opens, closes) = match calendar.fit(at, length) {
            Fit::Fits { closes: Some(closes) } => (at, closes),
            Fit::Fits { closes: None } => return vec!["always".to_owned()],
            Fit::TooShort { opens: Some(opens), .. } | Fit::Closed { opens: Some(opens) } => {
                match calendar.fit(opens, length) {
                    Fit::Fits { closes: Some(closes) } => (opens, closes),
                    Fit::Fits { closes: None } | Fit::TooShort { .. } | Fit::Closed { .. } => break,
                }
            }
            Fit::TooShort { opens: None, .. } | Fit::Closed { opens: None } => break,
        };
        if opens >= plan.expires {
            break;
        }
        told.push(if opens <= now {
            format!("now, until {}", moment(closes))
        } else {
            format!("{} for {}", moment(opens), span(closes.duration_since(opens)))
        });
        at = closes;
    }
    told
}

fn limits(plan: &Plan, out: &mut String) {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |title: &str, text: String| rows.push([title.to_owned(), text]);
    for group in &plan.groups {
        row("service", format!("{}: at most {} away at once", clean(&group.name), group.away_max));
    }
    for probe in &plan.probes {
        row("probe", clean(&probe_text(probe)));
    }
    for replay in &plan.replays {
        for (number, line) in replay::planned(replay).into_iter().enumerate() {
            row(if number == 0 { "replay" } else { "" }, line);
        }
    }
    row(
        "reboot",
        match plan.reboot {
            Reboot::Never => {
                "never; a person reboots where it is needed, and until then a host is not proven".to_owned()
            }
            Reboot::IfNeeded { reboots_max } => {
                format!("if needed, each host at most {}", count(reboots_max, "time"))
            }
        },
    );
    row(
        "rollback",
        match plan.rollback {
            Rollback::Never => {
                "never: a host that fails stays as it is, and the rollout has no way back".to_owned()
            }
            Rollback::OnFailure => {
                "a host that fails takes the old versions back; the rollout can, too".to_owned()
            }
        },
    );
    let timing = &plan.timing;
    row(
        "timing",
        format!(
            "{} expected a host; lost {} after its point of no return, or silent for {}; watches itself for {}",
            lasting(timing.expected_seconds),
            lasting(timing.deadline_seconds),
            lasting(timing.silence_seconds),
            lasting(timing.host_soak_seconds)
        ),
    );
    for overruled in &plan.overrides {
        row(
            "OVERRIDE",
            format!(
                "{} {} failed on {} before, and is installed all the same: {}",
                clean(&overruled.package),
                clean(&overruled.version),
                clean(&overruled.class),
                clean(&overruled.reason)
            ),
        );
    }
    out.push('\n');
    out.push_str(&aligned(&rows, 0));
}

/// In what two plans differ, line by line of what [`plan`] shows, and by host.
pub(crate) fn differences(one: &Plan, other: &Plan, now: Timestamp, look: Look) -> String {
    let look = Look { all: true, ..look };
    let none = Names::new();
    let (before, after) = (plan(one, &none, now, look), plan(other, &none, now, look));
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let mut out = String::new();
    for line in before.iter().filter(|line| !after.contains(line)) {
        let _ = writeln!(out, "- {line}");
    }
    for line in after.iter().filter(|line| !before.contains(line)) {
        let _ = writeln!(out, "+ {line}");
    }
    let places = |plan: &Plan| -> BTreeMap<HostId, usize> {
        let waves = plan.waves.iter().enumerate();
        waves.flat_map(|(number, wave)| wave.hosts().map(move |host| (host, number))).collect()
    };
    let (before, after) = (places(one), places(other));
    let gone = before.keys().filter(|host| !after.contains_key(host)).count();
    let new = after.keys().filter(|host| !before.contains_key(host)).count();
    let moved = after.iter().filter(|(host, wave)| before.get(host).is_some_and(|old| old != *wave)).count();
    let _ =
        writeln!(out, "hosts: {gone} only in the first, {new} only in the second, {moved} in another wave");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    const PLAIN: Look = Look { width: None, colours: false, all: false };

    #[test]
    fn a_plan_is_shown_with_everything_that_is_signed() {
        let shown = golden::plan();
        assert_eq!(shown.check(jiff::tz::db()), []);
        let names =
            shown.waves[0].hosts().zip(["web-01", "db-01"]).map(|(host, name)| (host, name.to_owned()));
        let text = plan(&shown, &names.collect(), golden::at("2027-03-01T13:00:00Z"), PLAIN);
        golden::same("plan", &text);
    }

    #[test]
    fn two_plans_differ_in_what_is_shown() {
        let one = golden::plan();
        let mut other = one.clone();
        other.classes[0].changes[0].to = "3.0.15-1~deb12u2".to_owned();
        other.waves[1].hosts_at_once_max = 4;
        let moved = other.waves[2].cohorts[0].hosts.remove(0);
        other.waves[1].cohorts[0].hosts.push(moved);
        golden::same("plans-differ", &differences(&one, &other, golden::at("2027-03-01T13:00:00Z"), PLAIN));
    }
}
