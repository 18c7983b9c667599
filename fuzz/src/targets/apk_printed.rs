//! What apk prints, of its steps and of what repositories have, and what its owner wants installed: every step is either read or
//! refused, and what is written of what was read reads the same.

use agent::apk::{offered, steps};
use agent::observe::apk::pinned;
use std::fmt::Write as _;

pub fn run(bytes: &[u8]) {
    for name in pinned(bytes) {
        assert!(!name.is_empty() && !name.contains(char::is_whitespace) && !name.starts_with('!'));
    }
    for offered in offered(bytes).unwrap_or_default() {
        assert!(!offered.archive().ends_with('/'));
    }
    let Ok(read) = steps(bytes) else { return };
    let count = read.installs.len() + read.removes.len();
    let lines = String::from_utf8_lossy(bytes).lines().filter(|line| line.starts_with('(')).count();
    assert!(count <= lines);
    let (mut written, mut number) = (String::new(), 0);
    for (verb, versions) in [("Upgrading", &read.installs), ("Purging", &read.removes)] {
        for (name, version) in versions {
            assert!(!name.is_empty() && !version.is_empty());
            number += 1;
            let _ = writeln!(written, "({number}/{count}) {verb} {name} ({version})");
        }
    }
    written.push_str("OK: 1 KiB in 1 packages\n");
    assert_eq!(steps(written.as_bytes()), Ok(read));
}
