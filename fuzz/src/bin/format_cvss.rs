//! CVSS vectors.
#![no_main]

use advisory::signal::cvss;

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(cvss) = cvss(text) {
        assert!((0.0..=10.0).contains(&cvss.base_score));
    }
});
