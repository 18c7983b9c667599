//! The fields of Debian control stanzas, as apt's tools print them.

/// The one-line fields of a stanza: (name, value). Continuation lines are left out.
pub(crate) fn fields(stanza: &str) -> impl Iterator<Item = (&str, &str)> {
    stanza
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
}
