//! The answer in each format. Takes a report; gives text.

pub(crate) mod census;
pub(crate) mod cyclonedx;
pub(crate) mod keys;
pub(crate) mod lines;
pub(crate) mod listing;
pub(crate) mod openvex;
pub(crate) mod plan;
pub(crate) mod proof;
pub(crate) mod proposal;
pub(crate) mod purl;
pub(crate) mod rehearsal;
pub(crate) mod replay;
pub(crate) mod rollout;
pub(crate) mod sarif;
pub(crate) mod table;
