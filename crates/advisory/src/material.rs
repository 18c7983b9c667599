//! Content hashes of revisions, and whether a new revision changed materially. Takes two revisions; gives the change.
//!
//! Only a material change reopens work: vendors republish thousands of records for a comma or a new date.

use crate::digest::hex;
use crate::model::{Advisory, Claim, EdgeKind, Severity};
use crate::signal;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What changed between two revisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Nothing that we keep; perhaps the document's bytes or its date of modification.
    None,
    /// Words, references, a lowered severity.
    Editorial,
    /// Something a decision may rest on. Each reason once, in the order of [`MaterialChange`].
    Material(Vec<MaterialChange>),
}

/// Something that changed materially.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaterialChange {
    /// The vendor took it back.
    Withdrawn,
    /// It counts again.
    Reinstated,
    /// From a security to a maintenance bulletin, or otherwise.
    Kind,
    /// There are claims that were not there: other packages, versions, states.
    ClaimsAdded,
    /// Claims that were there are gone.
    ClaimsRemoved,
    /// It closes other CVEs, or stands for other ids.
    Vulnerabilities,
    /// A higher severity than any before.
    SeverityRaised,
    /// The vendor now asks for a reboot.
    Reboot,
}

/// SHA-256 of what the advisory says, lower-case hex: the same for the same content, in whatever order its lists and
/// fields stand, whichever document it came from and whenever it was modified.
pub fn content_hash(advisory: &Advisory) -> String {
    // Destructured, so that a new field must be decided on here.
    let Advisory {
        id,
        kind,
        document: _,
        summary,
        published,
        modified: _,
        withdrawn,
        edges,
        severities,
        claims,
        references,
        reboot,
    } = advisory;
    let content = (
        (id, kind, summary, published, withdrawn, reboot),
        (sorted(edges), sorted(severities), sorted(references)),
        claim_set(claims),
    );
    let mut hash = Sha256::new();
    serde_json::to_writer(HashWriter(&mut hash), &content)
        .expect("a hash takes every byte, and these types have no keys that JSON lacks");
    hex(&hash.finalize())
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The change from revision `old` to revision `new` of one advisory.
pub fn change(old: &Advisory, new: &Advisory) -> Change {
    let mut reasons = Vec::new();
    let mut note = |holds: bool, reason| {
        if holds {
            reasons.push(reason);
        }
    };
    note(old.withdrawn.is_none() && new.withdrawn.is_some(), MaterialChange::Withdrawn);
    note(old.withdrawn.is_some() && new.withdrawn.is_none(), MaterialChange::Reinstated);
    note(old.kind != new.kind, MaterialChange::Kind);
    let (before, after) = (substance(&old.claims), substance(&new.claims));
    let lacks =
        |some: &[Claim], others: &[Claim]| some.iter().any(|claim| others.binary_search(claim).is_err());
    note(lacks(&after, &before), MaterialChange::ClaimsAdded);
    note(lacks(&before, &after), MaterialChange::ClaimsRemoved);
    note(vulnerabilities(old) != vulnerabilities(new), MaterialChange::Vulnerabilities);
    note(rank(&new.severities) > rank(&old.severities), MaterialChange::SeverityRaised);
    note(new.reboot && !old.reboot, MaterialChange::Reboot);
    if !reasons.is_empty() {
        Change::Material(reasons)
    } else if content_hash(old) == content_hash(new) {
        Change::None
    } else {
        Change::Editorial
    }
}

fn sorted<T: Ord>(items: &[T]) -> Vec<&T> {
    let mut sorted: Vec<&T> = items.iter().collect();
    sorted.sort();
    sorted.dedup();
    sorted
}

/// What the claims say without the vendor's reasons, which are words.
fn substance(claims: &[Claim]) -> Vec<Claim> {
    let mut claims = claim_set(claims);
    for claim in &mut claims {
        claim.reason.clear();
    }
    claims.sort();
    claims.dedup();
    claims
}

/// Claims as a set; enumerated versions may stand in any order.
fn claim_set(claims: &[Claim]) -> Vec<Claim> {
    let mut set: Vec<Claim> = claims
        .iter()
        .map(|claim| {
            let mut claim = claim.clone();
            claim.versions.sort();
            claim
        })
        .collect();
    set.sort();
    set.dedup();
    set
}

/// The CVEs and the ids that mean the same; related ids that are no CVE come and go without meaning.
fn vulnerabilities(advisory: &Advisory) -> Vec<&str> {
    let same =
        advisory.edges.iter().filter(|edge| edge.kind != EdgeKind::Related).map(|edge| edge.id.as_str());
    let mut ids: Vec<&str> = advisory.cves().into_iter().chain(same).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The highest severity, in tenths of a CVSS score. Vendors' words count as the upper end of their CVSS band.
fn rank(severities: &[Severity]) -> u32 {
    let of = |severity: &Severity| match severity {
        // A score is 0.0 to 10.0 in steps of 0.1.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 100 after rounding"
        )]
        Severity::Cvss(vector) => {
            signal::cvss(vector).map_or(0, |cvss| (cvss.base_score * 10.0).round() as u32)
        }
        Severity::Vendor(word) => match word.to_ascii_lowercase().as_str() {
            "low" | "negligible" | "minor" => 39,
            "moderate" | "medium" => 69,
            "important" | "high" | "major" => 89,
            "critical" | "urgent" => 100,
            _ => 0,
        },
    };
    severities.iter().map(of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Document, Edge, Kind};
    use std::sync::Arc;

    fn advisory() -> Advisory {
        let json =
            br#"{"id":"ALSA-1","summary":"Important: lamp security update","modified":"2026-01-01T00:00:00Z",
            "related":["CVE-2026-0001","CVE-2026-0002"],"affected":[
            {"package":{"ecosystem":"AlmaLinux:9","name":"lamp"},
             "ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1-2"}]}]},
            {"package":{"ecosystem":"AlmaLinux:9","name":"lamp-oil"},
             "ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1-2"}]}]}]}"#;
        crate::format::osv::record("feed", "entry", json).unwrap().0
    }

    #[test]
    fn order_document_and_modification_date_do_not_change_the_hash() {
        let old = advisory();
        let mut new = old.clone();
        new.claims.reverse();
        new.edges.reverse();
        new.modified = Some("2026-02-02T00:00:00Z".parse().unwrap());
        new.document =
            Arc::new(Document { feed: "other".into(), entry: String::new(), sha256: "0".repeat(64) });
        assert_ne!(new.claims, old.claims);
        assert_eq!(content_hash(&old), content_hash(&new));
        assert_eq!(change(&old, &new), Change::None);
    }

    #[test]
    fn words_are_editorial() {
        let old = advisory();
        let mut new = old.clone();
        new.summary.push('!');
        new.claims[0].reason = "postponed".into();
        new.references.push("https://example.org".into());
        new.severities = vec![Severity::Vendor("Low".into())];
        assert_ne!(content_hash(&old), content_hash(&new));
        assert_eq!(change(&old, &new), Change::Editorial);
    }

    #[test]
    fn whatever_a_decision_rests_on_is_material_and_named() {
        use MaterialChange as M;
        type Edit<'a> = &'a dyn Fn(&mut Advisory);
        let cases: [(Edit<'_>, &[M]); 7] = [
            (&|new| new.withdrawn = Some(jiff::Timestamp::UNIX_EPOCH), &[M::Withdrawn]),
            (&|new| new.kind = Kind::Maintenance, &[M::Kind]),
            (&|new| new.claims[0].fixed = Some("1-3".into()), &[M::ClaimsAdded, M::ClaimsRemoved]),
            (&|new| new.claims.truncate(1), &[M::ClaimsRemoved]),
            (
                &|new| new.edges.push(Edge { kind: EdgeKind::Related, id: "CVE-2026-0003".into() }),
                &[M::Vulnerabilities],
            ),
            (
                &|new| {
                    let vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";
                    new.severities.push(Severity::Cvss(vector.into()));
                },
                &[M::SeverityRaised],
            ),
            (&|new| new.reboot = true, &[M::Reboot]),
        ];
        for (edit, reasons) in cases {
            let old = advisory();
            let mut new = old.clone();
            edit(&mut new);
            assert_eq!(change(&old, &new), Change::Material(reasons.to_vec()));
        }
        let mut withdrawn = advisory();
        withdrawn.withdrawn = Some(jiff::Timestamp::UNIX_EPOCH);
        assert_eq!(change(&withdrawn, &advisory()), Change::Material(vec![M::Reinstated]));
    }
}
