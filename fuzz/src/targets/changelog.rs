//! Any bytes as a changelog, and any of its versions as the installed one: no panic, and nothing is closed that no
//! entry names.

use advisory::changelog::{Basis, closed, read};

pub fn run(bytes: &[u8]) {
    let (entries, problems) = read(bytes, "fuzz");
    assert!(!entries.is_empty() || !problems.is_empty());
    for entry in entries.iter().take(8) {
        let half = entries.len() / 2;
        for (own, candidate) in [(None, &entries[..]), (Some(&entries[half..]), &entries[..half])] {
            let upgrade = closed(&entry.version, own, candidate);
            assert!(upgrade.cves.iter().all(|id| candidate.iter().any(|entry| entry.cves.contains(id))));
            assert!(upgrade.basis != Basis::OwnChangelog || own.is_some());
        }
    }
}
