//! Any text as what apt prints: no panic, and every step names a package and a version.

use agent::apt::simulation::parse;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for step in parse(text).steps {
        assert!(!step.name.is_empty() && step.to.as_deref() != Some(""));
    }
}
