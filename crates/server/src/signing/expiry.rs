//! What is about to expire, told ahead: people must sign it anew.

use super::Signing;
use jiff::{SignedDuration, Timestamp};
use trust::standing::Standing;

/// The list of plans is good for 30 days and signed anew with every plan: a week before its end nobody has for three weeks.
const LIST_AHEAD: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Root and targets are good for a year; owners may have to be found.
const OWNERS_AHEAD: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A document that people must sign anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Which.
    pub document: &'static str,
    /// When it expires.
    pub at: Timestamp,
    /// What to do, for people.
    pub text: String,
}

/// What is about to expire, or has.
pub fn warnings(standing: &Standing, now: Timestamp) -> Vec<Warning> {
    let due = standing.expiries().into_iter().filter(|(document, at)| {
        let ahead = if *document == "plans" { LIST_AHEAD } else { OWNERS_AHEAD };
        *at <= now.saturating_add(ahead).unwrap_or(Timestamp::MAX)
    });
    due.map(|(document, at)| {
        let (what, who) = match document {
            "plans" => ("the list of plans", "approvers"),
            "root" => ("the root", "owners"),
            _ => ("the list of approvers", "owners"),
        };
        let verb = if at <= now { "expired: hosts begin nothing since" } else { "expires at" };
        let text =
            format!("{what} {verb} {at}; have {who} sign it anew (POST /api/v1/trust/changes with renew)");
        Warning { document, at, text }
    })
    .collect()
}

impl Signing {
    /// What people must sign anew, and whether the server's own key is missing; a line each.
    pub fn alarms(&self, now: Timestamp) -> Vec<String> {
        let Some(standing) = self.standing() else { return Vec::new() };
        let mut alarms: Vec<String> =
            warnings(&standing, now).into_iter().map(|warning| warning.text).collect();
        if !self.has_key() {
            alarms.push(
                "the server's key that the root names is not here: nothing is kept fresh; restore the authority's key file, \
                 or have owners rotate the key (POST /api/v1/trust/changes with online)"
                    .to_owned(),
            );
        }
        alarms
    }
}
