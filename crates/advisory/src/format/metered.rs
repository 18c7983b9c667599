//! Reading no more for one thing than is its share.

use std::io::{self, BufRead, Read};

/// Errors once a single thing (a tag, a run of text) wants more than its share, so that one without an end does not fill the
/// memory. Its share begins anew with [`Metered::refill`].
#[derive(Debug)]
pub struct Metered<R> {
    inner: R,
    bytes_max: u64,
    left: u64,
}

impl<R> Metered<R> {
    /// A reader of which nothing may take more than `bytes_max` bytes, give or take what is buffered.
    pub fn new(inner: R, bytes_max: u64) -> Self {
        Self { inner, bytes_max, left: bytes_max }
    }

    /// The next thing begins.
    pub fn refill(&mut self) {
        self.left = self.bytes_max;
    }
}

impl<R: BufRead> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Metered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Err(io::Error::other(format!("a tag or text of more than {} bytes", self.bytes_max)));
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.left = self.left.saturating_sub(count as u64);
        self.inner.consume(count);
    }
}
