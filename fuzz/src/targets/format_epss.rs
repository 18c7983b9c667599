//! EPSS scores.

use advisory::Signals;
use advisory::format::epss;

pub fn run(bytes: &[u8]) {
    let mut signals = Signals::default();
    let _ = epss::read("feed", &mut &bytes[..], &mut signals);
    for score in signals.epss.values() {
        assert!((0.0..=1.0).contains(&score.probability) && (0.0..=1.0).contains(&score.percentile));
    }
}
