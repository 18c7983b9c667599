//! dpkg's log.

use agent::observe::dpkg_log::{parse, version_at};
use std::collections::{BTreeMap, BTreeSet};

pub fn run(data: &[u8]) {
    let mut histories = BTreeMap::new();
    let first = parse(data, &BTreeSet::from(["a", "libc6"]), &mut histories);
    for history in histories.values_mut() {
        history.sort();
        let at = first.unwrap_or(history[0].at);
        let _ = version_at(history, at);
    }
}
