//! What the server and its agents say to each other: JSON over mTLS, one module for each version of the wire. A server
//! speaks every version here; an agent the newest. Formats never change within a version: fields may be added with a
//! default, and unknown ones are ignored.

pub mod v1;
