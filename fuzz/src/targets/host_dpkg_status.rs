//! dpkg's status file.

use agent::observe::dpkg_status::{Layout, read_status};

pub fn run(data: &[u8]) {
    for layout in [Layout::Database, Layout::Part] {
        let status = read_status(data, layout).expect("a slice can be read");
        for package in status.entries.iter().filter_map(|entry| entry.installed.as_ref()) {
            assert!(
                !package.name.is_empty() && !package.version.is_empty() && !package.source_version.is_empty()
            );
        }
        // Whatever was there is either kept or named.
        let blank = data.iter().all(u8::is_ascii_whitespace);
        assert!(blank || !status.entries.is_empty() || !status.lost.is_empty());
    }
}
