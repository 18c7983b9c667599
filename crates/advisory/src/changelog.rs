//! The Debian changelog as a source of advisories.
