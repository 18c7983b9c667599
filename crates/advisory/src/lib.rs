//! What vendors say. Takes bytes of a feed; gives advisories, signals and problems.
//!
//! No IO and no clock here: bytes, readers and `now` are arguments.

pub mod model;
pub mod release;
pub mod signal;
pub mod problem;
pub mod version;
pub mod format;
pub mod extract;
pub mod changelog;
pub mod digest;
pub mod material;
pub mod settings;

pub use model::{
    Advisory, Channel, Claim, Document, Edge, EdgeKind, Kind, Module, NameKind, Reason, Severity, State,
    cve_of,
};
pub use problem::Problem;
pub use release::{Family, Release};
pub use signal::Signals;
pub use version::{Order, Unparsable, Version};
