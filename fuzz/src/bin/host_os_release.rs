#![no_main]
//! os-release.

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for (name, value) in agent::observe::os_release::parse(data) {
        assert!(!name.is_empty() && !value.contains(|character: char| character < ' ' && character != '\t'));
    }
});
