//! What the host's own package manager knows: archives, candidates, changelogs.
