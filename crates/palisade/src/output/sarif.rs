//! SARIF 2.1.0: one result per entry and CVE; what could not be judged is an open result and a notification.

use super::purl;
use exposure::Inventory;
use exposure::report::{Entry, Remedy, Report};
use exposure::ssvc::Decision;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The SARIF log.
pub(crate) fn log(report: &Report, inventory: &Inventory) -> Value {
    let mut rules = BTreeMap::new();
    let mut results = Vec::new();
    for entry in &report.entries {
        for id in ids(entry) {
            rules.entry(id.clone()).or_insert_with(|| rule(&id));
            results.push(result(entry, &id, report, inventory));
        }
    }
    let rules: Vec<Value> = rules.into_values().collect();
    for unjudged in &report.undetermined {
        results.push(json!({
            "ruleId": "undetermined",
            "kind": "open",
            "level": "none",
            "message": { "text": unjudged.to_string() },
            "locations": [location(report, &unjudged.what, "module")],
        }));
    }
    let notifications: Vec<Value> = report
        .undetermined
        .iter()
        .map(|unjudged| {
            json!({
                "level": "warning",
                "message": { "text": unjudged.to_string() },
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "palisade",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            }},
            "invocations": [{
                "executionSuccessful": true,
                "endTimeUtc": report.observed.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                "toolExecutionNotifications": notifications,
            }],
            "results": results,
        }],
    })
}

/// What an entry is reported under: its CVEs, or its advisories where it names none.
fn ids(entry: &Entry) -> BTreeSet<String> {
    let mut ids: BTreeSet<String> = entry.closes.iter().chain(&entry.stay_open).cloned().collect();
    if ids.is_empty() {
        ids.extend(entry.findings.iter().map(|finding| finding.advisory.clone()));
    }
    if ids.is_empty() {
        ids.insert(format!("pending:{}", entry.source));
    }
    ids
}

fn rule(id: &str) -> Value {
    json!({ "id": id, "name": id, "shortDescription": { "text": id } })
}

fn result(entry: &Entry, id: &str, report: &Report, inventory: &Inventory) -> Value {
    let level = match entry.rank.decision {
        Decision::Act | Decision::Attend => "error",
        Decision::TrackClosely => "warning",
        Decision::Track => "note",
    };
    let todo = match &entry.remedy {
        Remedy::Upgrade => entry.command.clone().unwrap_or_else(|| "upgrade it".to_owned()),
        Remedy::Restart { by } => format!("fixed but still running: restart {}", by.join(", ")),
        Remedy::Reboot { by } => format!("fixed but still running: reboot ({})", by.join(", ")),
        Remedy::Blocked { why } => format!("a fix is announced but cannot be installed: {why}"),
        Remedy::None { why } => format!("no fix: {why}"),
    };
    let packages: Vec<String> = inventory
        .packages
        .iter()
        .filter(|package| {
            entry.changes.iter().any(|change| change.name == package.name && change.arch == package.arch)
        })
        .map(|package| purl::of(package, &inventory.system))
        .collect();
    json!({
        "ruleId": id,
        "level": level,
        "message": { "text": format!("{} on {}: {} ({}). {}", id, report.host, entry.source, entry.reach.because(), todo) },
        "locations": [location(report, &entry.source, "package")],
        "partialFingerprints": { "palisade/v1": format!("{}/{}/{id}", report.host, entry.source) },
        "properties": {
            "decision": entry.rank.decision,
            "due": entry.rank.due,
            "purls": packages,
            "why": entry.rank.reasons,
        },
    })
}

fn location(report: &Report, name: &str, kind: &str) -> Value {
    json!({
        "physicalLocation": { "artifactLocation": { "uri": database(report) } },
        "logicalLocations": [{ "name": name, "fullyQualifiedName": format!("{}/{name}", report.host), "kind": kind }],
    })
}

/// The package database that the answer was read from: SARIF's consumers want a file.
fn database(report: &Report) -> &'static str {
    use exposure::inventory::Manager;
    match report.system.manager {
        Manager::Dpkg => "var/lib/dpkg/status",
        Manager::Rpm => "var/lib/rpm",
        Manager::Apk => "lib/apk/db/installed",
        Manager::Pacman => "var/lib/pacman/local",
        Manager::Unknown => "etc/os-release",
    }
}
