//! The answer in each format. Takes a report; gives text.

pub(crate) mod cyclonedx;
pub(crate) mod listing;
pub(crate) mod openvex;
pub(crate) mod purl;
pub(crate) mod sarif;
pub(crate) mod table;
