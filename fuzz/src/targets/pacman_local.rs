//! A description in pacman's database, and its directory's name before it: what is installed has a name and a version, an
//! interrupted package is told as one, and fields that are written again read the same.

use agent::observe::pacman::{described, fields};
use exposure::inventory::PackageState;
use std::fmt::Write as _;

pub fn run(bytes: &[u8]) {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (entry, text) = bytes.split_at(at);
    let entry = String::from_utf8_lossy(entry);
    let read = fields(text);
    // Without one its directory is told as damaged.
    if let Some(package) = described(&entry, text) {
        assert!(!package.name.is_empty() && !package.version.is_empty() && !package.source.is_empty());
        let is_told = read.contains_key("NAME") && read.contains_key("VERSION");
        assert_eq!(is_told, package.state == PackageState::Installed);
    }
    let mut written = String::new();
    // What stands before the first field comes first.
    for (name, values) in &read {
        if !name.is_empty() {
            let _ = writeln!(written, "%{name}%");
        }
        for value in values {
            let _ = writeln!(written, "{value}");
        }
        written.push('\n');
    }
    assert_eq!(fields(written.as_bytes()), read, "{written}");
}
