//! Rules by their ids.

use traffic::rules::Rules;

/// The id of a rule most like this one.
pub(super) fn nearest<'r>(rules: &'r Rules, id: &str) -> Option<&'r str> {
    let known = rules.signatures().iter().map(|signature| signature.id.as_str());
    known.max_by(|one, other| strsim::jaro_winkler(one, id).total_cmp(&strsim::jaro_winkler(other, id)))
}
