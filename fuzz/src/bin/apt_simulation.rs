//! Any text as what apt prints: no panic, and every step names a package and a version.
#![no_main]

use agent::apt::simulation::parse;

libfuzzer_sys::fuzz_target!(|text: &str| {
    for step in parse(text).steps {
        assert!(!step.name.is_empty() && step.to.as_deref() != Some(""));
    }
});
