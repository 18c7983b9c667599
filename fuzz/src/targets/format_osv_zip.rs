//! A zip of OSV records, and whatever else a feed may be.

use advisory::format::{osv, read};
use std::io::Cursor;

pub fn run(bytes: &[u8]) {
    let _ = osv::archive("feed", Cursor::new(bytes), &mut |_| ());
    let _ = read(None, "feed", Cursor::new(bytes), None);
}
