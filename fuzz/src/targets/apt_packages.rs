//! Any bytes as a Packages index: no panic, and every record is complete.

use agent::apt::packages::read;

pub fn run(bytes: &[u8]) {
    for record in read(bytes, |_, _| true).expect("reading from memory cannot fail") {
        assert!(!record.name.is_empty() && !record.source.is_empty() && !record.source_version.is_empty());
    }
}
