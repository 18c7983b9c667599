//! Where a user's own files lie (XDG Base Directory Specification).

use std::path::PathBuf;

/// The directory that `variable` names, if it is absolute as it must be; otherwise `below` the user's home. `None` without
/// either.
pub(crate) fn directory(variable: &str, below: &str) -> Option<PathBuf> {
    let stated = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    stated(variable).filter(|path| path.is_absolute()).or_else(|| Some(stated("HOME")?.join(below)))
}
