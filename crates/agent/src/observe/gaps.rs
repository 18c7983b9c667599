//! Gaps, as everything in this folder reports them.

use exposure::inventory::{Gap, Part};
use std::fmt::Display;

/// Things named one by one before the rest is only counted.
const NAMED_MAX: usize = 10;

/// A gap in `part`.
pub(crate) fn new(part: Part, object: impl Display, reason: impl Display, remedy: impl Display) -> Gap {
    Gap { part, object: object.to_string(), reason: reason.to_string(), remedy: remedy.to_string() }
}

/// `a, b, c and 4 more`.
pub(crate) fn named<T: Display>(things: &[T]) -> String {
    let named = things.iter().take(NAMED_MAX).map(T::to_string).collect::<Vec<_>>().join(", ");
    match things.len().checked_sub(NAMED_MAX) {
        None | Some(0) => named,
        Some(more) => format!("{named} and {more} more"),
    }
}
