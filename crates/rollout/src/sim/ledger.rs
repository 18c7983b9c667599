//! Grants of a store against their model.
