//! Expected outputs, kept beside the tests as a person would read them. `UPDATE_GOLDEN=1` writes them anew, for review.

use crate::answers::Rollout;
use jiff::Timestamp;
use rollout::plan::Plan;
use std::path::Path;

/// A plan of three waves on hosts of two releases.
pub(crate) fn plan() -> Plan {
    serde_json::from_str(include_str!("../tests/golden/plan.json")).expect("it is a plan")
}

/// Its rollout, held at the gate of wave 1.
pub(crate) fn rollout() -> Rollout {
    serde_json::from_str(include_str!("../tests/golden/rollout.json")).expect("it is a rollout")
}

/// A moment.
pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("it is a moment")
}

/// Compares with `tests/golden/NAME.txt`.
pub(crate) fn same(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("it can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(expected == text, "{name} is not as expected:\n{text}\n(UPDATE_GOLDEN=1 takes it)");
}
