//! One host's hands. For now it only looks.
