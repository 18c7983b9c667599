//! One host's hands. For now it only looks.

pub mod apt;
pub mod program;
