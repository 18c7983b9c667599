//! CVSS vectors.

use advisory::signal::cvss;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(cvss) = cvss(text) {
        assert!((0.0..=10.0).contains(&cvss.base_score));
    }
}
