//! OpenVEX 0.2.0: a statement per CVE (or bulletin), status and package.

use super::purl;
use exposure::Inventory;
use exposure::report::Finding;
use exposure::verdict::{Fix, Verdict};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The OpenVEX document over every verdict on this host.
///
/// `digest` identifies the content (hex), so that the same facts give the same document id.
pub(crate) fn document(findings: &[Finding], inventory: &Inventory, digest: &str, now: Timestamp) -> Value {
    let mut statements: BTreeMap<(String, Status), Vec<String>> = BTreeMap::new();
    for finding in findings {
        let status = status(&finding.verdict);
        let ids = if finding.cves.is_empty() { vec![finding.advisory.clone()] } else { finding.cves.clone() };
        for id in ids {
            let products = statements.entry((id, status.clone())).or_default();
            for package in &inventory.packages {
                if package.name == finding.explanation.package
                    || package.source == finding.explanation.package
                {
                    products.push(purl::of(package, &inventory.system));
                }
            }
        }
    }
    let statements: Vec<Value> = statements
        .into_iter()
        .map(|((id, status), mut products)| {
            products.sort_unstable();
            products.dedup();
            let products: Vec<Value> = products.into_iter().map(|purl| json!({ "@id": purl })).collect();
            let mut statement = json!({ "vulnerability": { "name": id }, "products": products });
            let fields = statement.as_object_mut().expect("an object was just made");
            match status {
                Status::Affected(action) => {
                    fields.insert("status".to_owned(), "affected".into());
                    fields.insert("action_statement".to_owned(), action.into());
                }
                Status::Fixed => {
                    fields.insert("status".to_owned(), "fixed".into());
                }
                Status::NotAffected(why) => {
                    fields.insert("status".to_owned(), "not_affected".into());
                    fields.insert("justification".to_owned(), "vulnerable_code_not_present".into());
                    fields.insert("impact_statement".to_owned(), why.into());
                }
                Status::UnderInvestigation(why) => {
                    fields.insert("status".to_owned(), "under_investigation".into());
                    fields.insert("status_notes".to_owned(), why.into());
                }
            }
            statement
        })
        .collect();
    json!({
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": format!("urn:palisade:vex:{digest}"),
        "author": format!("palisade on {}", inventory.host),
        "role": "Automated check of a host",
        "timestamp": now.to_string(),
        "version": 1,
        "tooling": concat!("palisade ", env!("CARGO_PKG_VERSION")),
        "statements": statements,
    })
}

/// A statement's status with the text that it requires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Affected(String),
    Fixed,
    NotAffected(String),
    UnderInvestigation(String),
}

fn status(verdict: &Verdict) -> Status {
    match verdict {
        Verdict::Affected { fix: Fix::Fetchable { version } } => {
            Status::Affected(format!("upgrade to {version}"))
        }
        Verdict::Affected { fix: Fix::Announced { version, why } } => {
            Status::Affected(format!("fix {version} cannot be installed yet: {why}"))
        }
        Verdict::Affected { fix: Fix::None { why } } => Status::Affected(format!("no fix: {why}")),
        Verdict::FixedStillRunning { by } => Status::Affected(format!("restart {}", by.join(", "))),
        Verdict::Fixed => Status::Fixed,
        Verdict::NotAffected { why } => Status::NotAffected(why.clone()),
        Verdict::Undetermined { why } => Status::UnderInvestigation(why.to_string()),
    }
}
