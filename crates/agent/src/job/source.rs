//! What approvers have signed, fetched over the line to the server.

use crate::link::Link;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use trust::Fetch;
use wire::v1::TRUST_PATH;

/// The line as it is now: another one after every renewal of the host's certificate.
#[derive(Debug, Default)]
pub(crate) struct Source(Mutex<Option<Link>>);

impl Source {
    pub(crate) fn new(link: Link) -> Self {
        Self(Mutex::new(Some(link)))
    }

    pub(crate) fn set(&self, link: Link) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(link);
    }
}

impl Fetch for Source {
    /// How much is read, and for how long, is bounded by whoever asked: see [`Fetch`]. The line's own deadline is no longer.
    fn fetch(&self, name: &str, _bytes_max: u64, _within: Duration) -> io::Result<Box<dyn Read + Send>> {
        let link = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let link = link.ok_or_else(|| io::Error::other("there is no line to the server"))?;
        // Plans are targets; everything else is metadata.
        let folder = if name.contains('/') { "targets" } else { "metadata" };
        link.file(&format!("{TRUST_PATH}{folder}/{name}"))
    }
}
