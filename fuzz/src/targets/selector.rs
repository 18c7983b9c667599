//! Selectors.

use exposure::selector::Selector;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Selector::parse(text) {
        Ok(selector) => {
            let canonical = selector.to_string();
            // Quotes may make it longer than what is read.
            if canonical.len() <= exposure::selector::TEXT_BYTES_MAX {
                assert_eq!(Selector::parse(&canonical).as_ref(), Ok(&selector), "{canonical:?}");
            }
        }
        Err(error) => assert!(error.at <= text.chars().count() + 1, "{error}"),
    }
}
