//! Content hashes of revisions, and whether a new revision changed materially.
