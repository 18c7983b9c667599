//! CISA's catalogue.

use advisory::Signals;
use advisory::format::kev;

pub fn run(bytes: &[u8]) {
    let mut signals = Signals::default();
    let problems = kev::read("feed", bytes, &mut signals);
    assert!(signals.kev_released.is_some() || (signals.kev.is_empty() && !problems.is_empty()));
}
