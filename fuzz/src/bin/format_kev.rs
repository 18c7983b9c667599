//! CISA's catalogue.
#![no_main]

use advisory::format::kev;
use advisory::Signals;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut signals = Signals::default();
    let problems = kev::read("feed", bytes, &mut signals);
    assert!(signals.kev_released.is_some() || (signals.kev.is_empty() && !problems.is_empty()));
});
