//! What hosts saw of jobs that are over: what "proven" rests on. Every word is a host's, and read as such.

use super::lines::{aligned, count, moment, some, span};
use super::replay;
use super::table::clean;
use crate::terms::probe_text;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;

/// Names on one line.
const SHOWN: usize = 8;

/// Each job, the newest first.
pub(crate) fn told(jobs: &[Value]) -> String {
    let mut out = String::new();
    if jobs.is_empty() {
        out.push_str("it has shown nothing yet: evidence comes with the first job that a hand carried out\n");
    }
    for job in jobs {
        if !out.is_empty() {
            out.push('\n');
        }
        one(&mut out, job);
    }
    out
}

fn one(out: &mut String, job: &Value) {
    let seen = &job["seen"];
    let _ = writeln!(
        out,
        "plan {}, grant {}: {}{}",
        word(&job["plan"]),
        job["fence"],
        stage(&seen["stage"]),
        at(&seen["at"], ", at ")
    );
    let mut rows: Vec<[String; 2]> = Vec::new();
    for (number, why) in list(&seen["why"]).iter().enumerate() {
        rows.push([if number == 0 { "WHY".to_owned() } else { String::new() }, word(why)]);
    }
    let named = rows.len();
    for package in list(&seen["packages"]) {
        let held = if package["held"] == true { ", held" } else { "" };
        let of = |name: &str| word(&package[name]);
        let text = format!("{} {} {}, {}{held}", of("name"), of("version"), of("arch"), of("state"));
        rows.push([if rows.len() == named { "packages".to_owned() } else { String::new() }, text]);
    }
    let mapped = if seen["stale"] == true { "STILL MAPPED by a process" } else { "no process maps any" };
    rows.push(["old files".to_owned(), mapped.to_owned()]);
    if seen["reboot_needed"] == true {
        rows.push(["reboot".to_owned(), "STILL NEEDED".to_owned()]);
    }
    let probes: Vec<String> = list(&seen["probes"]).iter().map(probe).collect();
    if !probes.is_empty() {
        let passed = if seen["stage"] == "proven" { "; passed for the whole soak" } else { "" };
        rows.push(["probes".to_owned(), format!("{}{passed}", some(&probes, SHOWN))]);
    }
    for service in list(&seen["replays"]) {
        for (number, line) in replay::seen(service).into_iter().enumerate() {
            rows.push([if number == 0 { "replay".to_owned() } else { String::new() }, line]);
        }
    }
    rows.extend(list(&seen["deeds"]).iter().map(|deed| [word(&deed["deed"]), done(deed)]));
    out.push_str(&aligned(&rows, 2));
}

/// One deed: how long it took, what it changed, and what it says.
fn done(deed: &Value) -> String {
    let mut said = Vec::new();
    match (time(&deed["began"]), time(&deed["ended"])) {
        (Some(began), Some(ended)) => {
            said.push(format!("{}, {}", moment(began), span(ended.duration_since(began))));
        }
        (Some(began), None) => said.push(format!("{}, CUT SHORT", moment(began))),
        (None, _) => {}
    }
    let changed = list(&deed["changed"]);
    if !changed.is_empty() {
        said.push(format!("{} changed", count(changed.len() as u64, "package")));
    }
    let besides: Vec<String> =
        changed.iter().filter(|moved| moved["planned"] != true).map(|moved| word(&moved["name"])).collect();
    let lame: Vec<String> =
        changed.iter().filter(|moved| moved["whole"] != true).map(|moved| word(&moved["name"])).collect();
    let kept: Vec<String> = list(&deed["not_restarted"])
        .iter()
        .map(|unit| format!("{} ({})", word(&unit[0]), word(&unit[1])))
        .collect();
    let words = |value: &Value| list(value).iter().map(word).collect::<Vec<_>>();
    for (what, names) in [
        ("BESIDES THE PLAN", besides),
        ("NOT WHOLE", lame),
        ("restarted", words(&deed["restarted"])),
        ("not restarted", kept),
        ("configuration kept", words(&deed["conffiles"])),
    ] {
        if !names.is_empty() {
            said.push(format!("{what}: {}", some(&names, SHOWN)));
        }
    }
    said.extend(words(&deed["told"]));
    if let Some(reason) = deed["problem"]["reason"].as_str() {
        said.push(format!("FAILED: {}", clean(reason)));
    }
    said.join("; ")
}

/// `proven`, or `failed (probes)`.
fn stage(stage: &Value) -> String {
    match stage.as_object().and_then(|stage| stage.iter().next()) {
        Some((name, why)) => format!("{} ({})", clean(name), word(why)),
        None => word(stage),
    }
}

fn probe(probe: &Value) -> String {
    if let Ok(known) = serde_json::from_value(probe.clone()) {
        return clean(&probe_text(&known));
    }
    match probe.as_object().and_then(|probe| probe.iter().next()) {
        Some((kind, of)) => format!("{} {}", clean(kind), clean(&of.to_string())),
        None => word(probe),
    }
}

fn at(value: &Value, before: &str) -> String {
    time(value).map_or_else(String::new, |at| format!("{before}{}", moment(at)))
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> String {
    match value.as_str() {
        Some(text) => clean(text),
        None if value.is_null() => "?".to_owned(),
        None => clean(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_patch_rests_on_is_read_at_a_glance_and_what_went_otherwise_stands_out() {
        let seen = json!({
            "schema": "palisade.evidence/1", "stage": "proven", "at": "2026-11-30T10:00:00Z", "boot": 7,
            "packages": [{ "name": "oil", "arch": "amd64", "version": "1-2", "state": "installed", "held": false }],
            "stale": false, "reboot_needed": false, "probes": [{ "unit": "oil.service" },
                { "group": null, "what": { "http-path": { "port": 80, "path": "/", "status": 200 } }, "timeout_seconds": 5 }],
            "why": ["it stands \u{1b}[31mstill"],
            "replays": [{ "place": "http:80/ of oil.service", "signatures": { "codered1": 4 }, "unknown": ["CVE-2099-1"],
                "rate_per_second": 5, "before": { "harmless": { "sent": 25, "failed": 0, "median_us": 400, "p95_us": 3456,
                    "slowest_us": 4715 }, "attempts": { "sent": 0 }, "memory_bytes": 2_097_152, "restarts": 0 },
                "after": { "rounds": 1, "worst": { "harmless": { "sent": 25, "failed": 3, "median_us": 1, "p95_us": 315_717,
                    "slowest_us": 320_034 }, "attempts": { "sent": 25, "failed": 1 }, "memory_bytes": 5, "restarts": 2 } } }],
            "deeds": [{ "deed": "apply", "began": "2026-11-30T09:58:00Z", "ended": "2026-11-30T09:58:04Z", "problem": null,
                "told": ["a line with \u{1b}[31mcolour"], "conffiles": ["/etc/oil.conf"], "restarted": ["oil.service"],
                "not_restarted": [["dbus.service", "only a reboot renews it"]],
                "changed": [{ "name": "oil", "planned": true, "whole": true },
                            { "name": "wick", "planned": false, "whole": true }] }],
        });
        let job = json!({ "plan": "p", "fence": 3, "at": "2026-11-30T10:00:01Z", "seen": seen });
        let text = told(std::slice::from_ref(&job));
        assert!(text.starts_with("plan p, grant 3: proven, at "), "{text}");
        for part in [
            "oil 1-2 amd64, installed",
            "no process maps any",
            "http:80/ status 200 within 5s; passed for the whole soak",
            "2 packages changed; BESIDES THE PLAN: wick; restarted: oil.service",
            "not restarted: dbus.service (only a reboot renews it)",
            "configuration kept: /etc/oil.conf",
            "WHY        it stands",
            "http:80/ of oil.service: 1 round with codered1 ×4, 5 a second",
            "before: harmless 0 of 25 failed, half within 0.4 ms, 19 of 20 within 3.4 ms, slowest 4.7 ms; 2.0 MiB; restarted 0",
            "patched, at worst: harmless 3 of 25 failed, half within 0.0 ms, 19 of 20 within 315.7 ms",
            "; attempts 1 of 25 failed",
            "NO ATTEMPT IS KNOWN for CVE-2099-1",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains('\u{1b}'));
        // A host may say anything.
        assert!(
            told(&[
                json!({ "seen": 5 }),
                json!({ "seen": { "deeds": [1], "stage": { "failed": "probes" }, "replays": [7, { "after": { "worst": {} } }] } })
            ])
            .contains("failed (probes)")
        );
    }
}
