//! All fuzz targets in one program, so that libFuzzer and the instrumented crates are linked once. `PALISADE_TARGET`
//! names the target; `fuzz/run` sets it.
#![no_main]

mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let wanted = std::env::var("PALISADE_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(name, _)| *name == wanted);
    found.unwrap_or_else(|| panic!("no fuzz target {wanted:?}; fuzz/run names one")).1
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
