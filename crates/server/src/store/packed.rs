//! Documents as they lie in the store: zlib, with a bound on what comes out.

use super::Error;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use std::io::{Read, Write};

/// Packs a document.
pub(super) fn pack(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("writing to memory cannot fail")
}

/// Unpacks the document `object` of at most so many bytes.
pub(super) fn unpack(object: &str, packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Error> {
    let damaged = |reason: String| Error::Damaged { object: object.to_owned(), reason };
    let mut body = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    ZlibDecoder::new(packed)
        .take(most)
        .read_to_end(&mut body)
        .map_err(|problem| damaged(problem.to_string()))?;
    if body.len() > bytes_max {
        return Err(damaged(format!("it has more than {bytes_max} bytes")));
    }
    Ok(body)
}
