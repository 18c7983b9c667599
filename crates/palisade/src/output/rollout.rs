//! Where a rollout stands: waves with counts, every wait, every number of the gate against its threshold.

use super::lines::{aligned, count, moment, span};
use super::table::{Look, clean};
use crate::answers::{Number, Rollout, Wave};
use jiff::Timestamp;
use std::fmt::Write as _;

/// The whole of it.
pub(crate) fn status(rollout: &Rollout, now: Timestamp, look: Look) -> String {
    let mut out = format!("{}\n", clean(&rollout.title));
    let _ = writeln!(out, "{}\n", headline(rollout, now));
    out.push_str(&aligned(&waves(rollout), 0));
    for wave in rollout.waves.iter().filter(|wave| !wave.gate.is_empty()) {
        let _ = writeln!(out, "\ngate of wave {}{}", wave.number, soaking(wave, now));
        let rows: Vec<[String; 3]> = wave.gate.iter().map(|number| gate(number, look)).collect();
        out.push_str(&aligned(&rows, 2));
    }
    if !rollout.services.is_empty() {
        out.push_str("\nservices\n");
        for service in &rollout.services {
            let _ = write!(
                out,
                "  {}: {} of at most {} away",
                clean(&service.name),
                service.away,
                service.away_max
            );
            for holder in &service.holders {
                let ago = span(now.duration_since(holder.since));
                let _ = write!(out, "; {} ({}, for {ago})", clean(&holder.host), clean(&holder.state));
            }
            out.push('\n');
        }
    }
    let failures = failures(rollout);
    if !failures.is_empty() {
        out.push_str("\nwhy hosts failed or skipped it\n");
        for line in failures {
            let _ = writeln!(out, "  {line}");
        }
    }
    if !rollout.waits.is_empty() {
        out.push_str("\nwaits\n");
        for wait in &rollout.waits {
            let _ = writeln!(out, "  {}", clean(wait));
        }
    }
    if let Some(next) = next(rollout) {
        let _ = writeln!(out, "\n{next}");
    }
    out
}

/// Why hosts failed, a line for each reason.
pub(crate) fn reasons(rollout: &Rollout) -> Vec<String> {
    let mut lines = Vec::new();
    for failure in &rollout.failures {
        let name = if failure.name.is_empty() { &failure.host } else { &failure.name };
        lines.extend(failure.why.iter().map(|why| format!("{}: {}", clean(name), clean(why))));
    }
    lines
}

/// The same, and of how many hosts it is not known.
pub(crate) fn failures(rollout: &Rollout) -> Vec<String> {
    let mut lines = reasons(rollout);
    if rollout.failures_unheard > 0 {
        lines.push(format!("{}: not known (yet)", count(rollout.failures_unheard, "host")));
    }
    lines
}

/// State, since when, how far, until when.
pub(crate) fn headline(rollout: &Rollout, now: Timestamp) -> String {
    let mut text = format!(
        "{}, for {}; {} of {} proven",
        clean(&rollout.state_text),
        span(now.duration_since(rollout.changed_at)),
        rollout.proven,
        count(rollout.hosts, "host")
    );
    if rollout.track == "emergency" {
        text.push_str("; EMERGENCY");
    }
    if let Some(expires) = rollout.expires.filter(|_| !is_over(rollout)) {
        let left = expires.duration_since(now);
        let told =
            if left.is_negative() { "expired".to_owned() } else { format!("expires in {}", span(left)) };
        let _ = write!(text, "; {told}");
    }
    text
}

/// Whether nothing more comes by itself.
pub(crate) fn is_over(rollout: &Rollout) -> bool {
    matches!(
        rollout.state.as_str(),
        "complete" | "halted" | "rolled-back" | "aborted" | "superseded" | "retracted"
    )
}

fn waves(rollout: &Rollout) -> Vec<[String; 11]> {
    let head = [
        "wave",
        "",
        "stands",
        "hosts",
        "queued",
        "preparing",
        "changing",
        "proven",
        "skipped",
        "failed",
        "lost",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for wave in &rollout.waves {
        let mut hosts = wave.hosts.to_string();
        if wave.late > 0 {
            let _ = write!(hosts, "+{}", wave.late);
        }
        let changing = if wave.inflight_max > 0 && wave.phase == "open" {
            format!("{} (≤ {})", wave.under_change, wave.inflight_max)
        } else {
            wave.under_change.to_string()
        };
        rows.push([
            wave.number.to_string(),
            clean(&wave.name),
            clean(&wave.phase),
            hosts,
            wave.queued.to_string(),
            wave.preparing.to_string(),
            changing,
            wave.proven.to_string(),
            wave.skipped.to_string(),
            wave.failed.to_string(),
            wave.lost.to_string(),
        ]);
    }
    rows
}

fn soaking(wave: &Wave, now: Timestamp) -> String {
    match wave.soak_until {
        Some(until) if until > now => format!(", watched for {} more", span(until.duration_since(now))),
        Some(_) | None => String::new(),
    }
}

fn gate(number: &Number, look: Look) -> [String; 3] {
    let (value, bound) = against(number);
    let says = if look.colours { coloured(&number.says) } else { clean(&number.says) };
    [says, value, bound]
}

/// A number and its threshold, in words: "proven, heard and healthy 3", "at least 4".
pub(crate) fn against(number: &Number) -> (String, String) {
    let text = if number.text.is_empty() {
        let have = number.have.map_or("not known".to_owned(), |have| have.to_string());
        format!("{} {have}, {}", number.what, number.want)
    } else {
        number.text.clone()
    };
    let text = clean(&text);
    match text.rsplit_once(", ") {
        Some((value, bound)) => (value.to_owned(), bound.to_owned()),
        None => (text, String::new()),
    }
}

/// The same, numbers first, for where a line may be cut: what it has, which side of what, and its name.
pub(crate) fn numbers_first(number: &Number) -> String {
    let (value, bound) = against(number);
    let have = number.have.map_or_else(|| "not known".to_owned(), |have| have.to_string());
    let sides = [("at least ", '≥'), ("at most ", '≤')];
    let side = sides.iter().find_map(|(words, side)| Some((side, bound.strip_prefix(words)?)));
    match (value.strip_suffix(have.as_str()), side) {
        (Some(name), Some((side, want))) => {
            let have = number.have.map_or_else(|| "?".to_owned(), |have| have.to_string());
            format!(
                "{have:>5} ({side} {want}){} {}",
                " ".repeat(5_usize.saturating_sub(want.len())),
                name.trim_end()
            )
        }
        _ => format!("{value}, {bound}"),
    }
}

/// Green opens, yellow holds, red halts.
fn coloured(says: &str) -> String {
    let colour = match says {
        "open" => 32,
        "hold" => 33,
        _ => 31,
    };
    format!("\u{1b}[{colour}m{}\u{1b}[0m", clean(says))
}

/// What a person does next, where a person is waited for.
fn next(rollout: &Rollout) -> Option<String> {
    let plan = rollout.plan;
    Some(match rollout.state.as_str() {
        "draft" | "signed" => format!("Approvers sign it: palisade plan sign {plan}"),
        "armed" => format!("Start it: palisade rollout start {plan}"),
        "halted" | "paused" => format!(
            "Find the cause; then, with approvers: palisade rollout resume {plan} --reason …\n\
             or back to the old versions: palisade rollout rollback {plan} --reason …\n\
             Hosts that failed: palisade rollout hosts {plan} --counts failed"
        ),
        _ => return None,
    })
}

/// The time of day, for lines that come one after the other.
pub(crate) fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%SZ").to_string()
}

/// The start of a printed log: the day, and what is watched.
pub(crate) fn opening(rollout: &Rollout, now: Timestamp) -> String {
    format!("{}\n{} {}", clean(&rollout.title), moment(now), headline(rollout, now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::Failure;
    use crate::golden;

    #[test]
    fn a_status_tells_every_wait_and_every_number_of_the_gate() {
        let plain = Look { width: None, colours: false, all: false };
        let now = golden::at("2027-03-06T03:25:00Z");
        golden::same("status", &status(&golden::rollout(), now, plain));
        let mut halted = golden::rollout();
        halted.state = "halted".to_owned();
        halted.state_text = "halted in wave 1, gate: 2 hosts failed or were lost; 1 are borne".to_owned();
        // What a server says is not obeyed by the terminal.
        halted.title = "Fix \u{1b}[31mopenssl".to_owned();
        halted.failures = vec![Failure {
            host: "0199c4f8-0000-7000-8000-000000000001".to_owned(),
            name: "web-01".to_owned(),
            why: vec![
                "http:80/ of nginx.service: nginx.service was restarted 2 times\u{7} under replayed attempts"
                    .to_owned(),
            ],
        }];
        halted.failures_unheard = 1;
        golden::same("status-halted", &status(&halted, now, plain));
    }
}
