//! What several fuzz targets check.

use advisory::Order;
use std::cmp::Ordering;

/// Reads the first three lines as versions: no panic, refusals can be printed, and whatever parses is totally ordered,
/// with equal keys exactly where versions compare equal.
pub fn check_order(order: Order, text: &str) {
    let mut keys = Vec::new();
    for line in text.split('\n').take(3) {
        match order.parse(line) {
            Ok(key) => keys.push((line, key)),
            Err(error) => assert!(!error.to_string().chars().any(char::is_control), "{error:?}"),
        }
    }
    for (a, key_a) in &keys {
        assert_eq!(order.compare(a, a), Ok(Ordering::Equal));
        // Twice the text plus what frames it: no order may blow a version up.
        assert!(key_a.size_bytes() <= 3 * a.len() + 16, "{a:?} takes {} bytes", key_a.size_bytes());
        for (b, key_b) in &keys {
            assert_eq!(order.compare(a, b), Ok(key_a.cmp(key_b)));
            assert_eq!(key_a.cmp(key_b), key_b.cmp(key_a).reverse());
            for (_, key_c) in &keys {
                assert!(key_a > key_b || key_b > key_c || key_a <= key_c);
            }
        }
    }
}
