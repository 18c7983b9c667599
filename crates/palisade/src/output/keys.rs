//! Who owns the fleet's trust, who approves, and what expires.

use super::lines::{aligned, moment, span};
use super::proposal::ONE_KEY;
use super::table::clean;
use crate::answers::Proposal;
use crate::command::signing::memory::Acquaintance;
use jiff::{SignedDuration, Timestamp};
use std::fmt::Write as _;
use trust::keys::PublicKey;
use trust::standing::{Custody, Standing};

/// What expires within so long is said aloud.
const SOON: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The keys in force.
pub(crate) fn listed(
    standing: &Standing,
    acquaintance: Acquaintance,
    open: &[Proposal],
    now: Timestamp,
) -> String {
    let mut out = String::new();
    let known = match acquaintance {
        Acquaintance::First => "new to this machine; compare the fingerprint with what others see",
        Acquaintance::Known => "as remembered on this machine",
        Acquaintance::Followed(_) => "new since it was last seen, signed by the owners of before",
    };
    let _ =
        writeln!(out, "root {}, {known}\nfingerprint {}\n", standing.versions()[0], standing.fingerprint());
    if standing.custody() == Custody::Server {
        out.push_str(ONE_KEY);
        out.push('\n');
    }
    for (title, quorum) in [("owners", standing.owners()), ("approvers", standing.approvers())] {
        let _ = writeln!(out, "{title}: {} of {} must sign", quorum.threshold(), quorum.keys().len());
        out.push_str(&keys(quorum.keys()));
    }
    let _ = writeln!(out, "the server's");
    out.push_str(&keys(&standing.online()));
    out.push_str("good until\n");
    let rows: Vec<[String; 3]> = standing
        .expiries()
        .into_iter()
        .map(|(document, at)| {
            let left = at.duration_since(now);
            let told = if left.is_negative() || left.is_zero() {
                "EXPIRED: palisade key renew".to_owned()
            } else if left < SOON {
                format!("in {}: palisade key renew", span(left))
            } else {
                format!("in {}", span(left))
            };
            [document.to_owned(), moment(at), told]
        })
        .collect();
    out.push_str(&aligned(&rows, 2));
    out.push_str(&proposals(open));
    out
}

/// Before there is anything.
pub(crate) fn not_founded(open: &[Proposal]) -> String {
    let mut out = "Nobody owns this fleet's trust yet, so no plan can be signed.\n".to_owned();
    if open.is_empty() {
        out.push_str(
            "It begins with: palisade key new, by everybody; then palisade key found --owner PUB … --approver PUB …\n",
        );
    }
    out.push_str(&proposals(open));
    out
}

fn keys(keys: &[PublicKey]) -> String {
    let rows: Vec<[String; 2]> =
        keys.iter().map(|key| [key.name().to_owned(), key.id().to_string()]).collect();
    aligned(&rows, 2)
}

fn proposals(open: &[Proposal]) -> String {
    let mut out = String::new();
    for proposal in open {
        let _ = writeln!(out, "\nproposed: {}\n  palisade key sign {}", clean(&proposal.title), proposal.id);
    }
    out
}
