//! CycloneDX 1.6: the host's packages as components, and what is wrong with them as vulnerabilities.

use super::purl;
use exposure::Inventory;
use exposure::report::{Entry, Finding, Report};
use exposure::verdict::{Fix, Verdict};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The bill of materials. `serial` is a UUID made from the content.
pub(crate) fn bom(report: &Report, inventory: &Inventory, serial: &str) -> Value {
    let components: Vec<Value> = inventory
        .packages
        .iter()
        .map(|package| {
            let purl = purl::of(package, &inventory.system);
            json!({
                "type": "library",
                "bom-ref": purl,
                "name": package.name,
                "version": package.version,
                "purl": purl,
                "properties": [
                    { "name": "palisade:source", "value": package.source },
                    { "name": "palisade:source-version", "value": package.source_version },
                ],
            })
        })
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{serial}"),
        "version": 1,
        "metadata": {
            "timestamp": report.observed.to_string(),
            "tools": { "components": [{ "type": "application", "name": "palisade", "version": env!("CARGO_PKG_VERSION") }] },
            "component": {
                "type": "operating-system",
                "bom-ref": "host",
                "name": report.host,
                "version": report.system.version_id,
                "description": report.system.pretty,
            },
            "properties": report
                .undetermined
                .iter()
                .map(|unjudged| json!({ "name": "palisade:undetermined", "value": unjudged.to_string() }))
                .collect::<Vec<_>>(),
        },
        "components": distinct(components),
        "vulnerabilities": vulnerabilities(report, inventory),
    })
}

/// Components must differ; two records of one package (as after an interrupted rpm transaction) are one here.
fn distinct(components: Vec<Value>) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    components
        .into_iter()
        .filter(|component| seen.insert(component["bom-ref"].as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// What one CVE (or bulletin) means, gathered over entries.
#[derive(Default)]
struct Gathered<'a> {
    affects: BTreeSet<String>,
    findings: Vec<&'a Finding>,
    reasons: Vec<&'a str>,
    command: Option<&'a str>,
}

fn vulnerabilities(report: &Report, inventory: &Inventory) -> Vec<Value> {
    let mut by_id: BTreeMap<&str, Gathered> = BTreeMap::new();
    for entry in &report.entries {
        for finding in &entry.findings {
            let ids: Vec<&str> = if finding.cves.is_empty() {
                vec![&finding.advisory]
            } else {
                finding.cves.iter().map(String::as_str).collect()
            };
            for id in ids {
                let gathered = by_id.entry(id).or_default();
                gathered.affects.extend(refs(entry, inventory));
                gathered.findings.push(finding);
                gathered.command = entry.command.as_deref().or(gathered.command);
                for reason in &entry.rank.reasons {
                    if !gathered.reasons.contains(&reason.as_str()) {
                        gathered.reasons.push(reason);
                    }
                }
            }
        }
    }
    by_id.into_iter().map(|(id, gathered)| vulnerability(id, &gathered)).collect()
}

fn vulnerability(id: &str, gathered: &Gathered<'_>) -> Value {
    let mut advisories = BTreeSet::new();
    let mut fixable = false;
    let mut undetermined = true;
    for finding in &gathered.findings {
        advisories.insert(finding.advisory.as_str());
        fixable |= match &finding.verdict {
            Verdict::Affected { fix: Fix::Fetchable { .. } } | Verdict::FixedStillRunning { .. } => true,
            Verdict::Affected { fix: Fix::Announced { .. } | Fix::None { .. } }
            | Verdict::Fixed
            | Verdict::NotAffected { .. }
            | Verdict::Undetermined { .. } => false,
        };
        undetermined &= matches!(finding.verdict, Verdict::Undetermined { .. });
    }
    let mut analysis = Map::new();
    analysis.insert("state".to_owned(), if undetermined { "in_triage" } else { "exploitable" }.into());
    if fixable {
        analysis.insert("response".to_owned(), json!(["update"]));
    }
    analysis.insert("detail".to_owned(), gathered.reasons.join("; ").into());
    let mut vulnerability = json!({
        "bom-ref": format!("vulnerability:{id}"),
        "id": id,
        "analysis": analysis,
        "affects": gathered.affects.iter().map(|purl| json!({ "ref": purl })).collect::<Vec<_>>(),
        "properties": advisories
            .iter()
            .map(|advisory| json!({ "name": "palisade:advisory", "value": advisory }))
            .collect::<Vec<_>>(),
    });
    if let (Some(command), Some(fields)) = (gathered.command, vulnerability.as_object_mut()) {
        fields.insert("recommendation".to_owned(), command.into());
    }
    vulnerability
}

fn refs<'a>(entry: &'a Entry, inventory: &'a Inventory) -> impl Iterator<Item = String> + 'a {
    inventory
        .packages
        .iter()
        .filter(|package| {
            entry.changes.iter().any(|change| change.name == package.name && change.arch == package.arch)
        })
        .map(|package| purl::of(package, &inventory.system))
}
