//! What pacman prints, of upgrades and of what it would install: every line is either read or told, and what is written of what
//! was read reads the same.

use agent::pacman::{newer, printed};
use std::collections::BTreeMap;

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
    let (upgrades, unread) = newer(bytes);
    assert!(upgrades.is_empty() <= (unread.len() == lines), "a line that was not read is not told: {text:?}");
    assert!(unread.len() + upgrades.len() <= lines);
    whole(&upgrades);
    let written: String = upgrades.iter().map(|(name, to)| format!("{name} 0 -> {to}\n")).collect();
    assert_eq!(newer(written.as_bytes()), (upgrades, Vec::new()));

    let marked = text.lines().filter(|line| line.starts_with('=')).count();
    let Ok(versions) = printed(bytes) else { return };
    assert_eq!(versions.len(), marked, "a line that was not read is not told: {text:?}");
    whole(&versions);
    let written: String = versions.iter().map(|(name, version)| format!("= {name} {version}\n")).collect();
    assert_eq!(printed(written.as_bytes()), Ok(versions));
}

fn whole(versions: &BTreeMap<String, String>) {
    for word in versions.iter().flat_map(|(name, version)| [name, version]) {
        assert!(!word.is_empty() && !word.contains(char::is_whitespace));
    }
}
