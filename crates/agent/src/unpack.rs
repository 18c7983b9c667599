//! Unpacks a log on the way. What it is packed with is told by its first bytes.

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that tell what a file is packed with.
const MAGIC_BYTES: usize = 6;
/// What is read at once of a packed file.
const PACKED_BYTES: usize = 128 << 10;

/// A packed log may unpack to so many times its size. Logs pack to a tenth or a thirtieth; deflate cannot do more than
/// 1,032 times, and what does is made to keep us busy.
const RATIO_MAX: u64 = 1_000;
/// Up to here the ratio is not looked at: a small log of one line again and again packs very well.
const UNPACKED_FREE_BYTES: u64 = 1 << 30;

/// Bytes of a log, unpacked.
pub struct Bytes {
    reader: Box<dyn Read + Send>,
    /// Whether it is unpacked on the way.
    pub is_packed: bool,
    /// Bytes taken from the file itself.
    taken: Arc<AtomicU64>,
    unpacked: u64,
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Bytes").field("is_packed", &self.is_packed).finish_non_exhaustive()
    }
}

/// Counts what is taken.
struct Counted<R> {
    inner: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(into)?;
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

impl Bytes {
    /// Of a file, from its first byte.
    pub fn of(raw: Box<dyn Read + Send>) -> io::Result<Self> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut raw = Counted { inner: raw, taken: taken.clone() };
        let mut magic = Vec::with_capacity(MAGIC_BYTES);
        raw.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
        let packed =
            |raw, magic: Vec<u8>| BufReader::with_capacity(PACKED_BYTES, Cursor::new(magic).chain(raw));
        let (reader, is_packed): (Box<dyn Read + Send>, bool) = match &magic[..] {
            [0x1f, 0x8b, ..] => (Box::new(MultiGzDecoder::new(packed(raw, magic))), true),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => (Box::new(zstd_reader(packed(raw, magic))?), true),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => {
                (Box::new(XzDecoder::new_multi_decoder(packed(raw, magic))), true)
            }
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => (Box::new(MultiBzDecoder::new(packed(raw, magic))), true),
            _ => (Box::new(Cursor::new(magic).chain(raw)), false),
        };
        Ok(Self { reader, is_packed, taken, unpacked: 0 })
    }

    /// Reads until the room is full or the log ends; how much, and what broke off.
    pub fn fill(&mut self, room: &mut [u8]) -> (usize, io::Result<()>) {
        let mut filled = 0;
        while filled < room.len() {
            match self.read(&mut room[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (filled, Err(error)),
            }
        }
        (filled, Ok(()))
    }

    /// Bytes taken from the file so far, as they are packed there.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Read for Bytes {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = self.reader.read(into)?;
        self.unpacked += bytes as u64;
        if self.is_packed && self.unpacked > UNPACKED_FREE_BYTES && self.unpacked / RATIO_MAX > self.taken() {
            return Err(io::Error::other(format!("it unpacks to more than {RATIO_MAX} times its size")));
        }
        Ok(bytes)
    }
}

fn zstd_reader<R: BufRead>(raw: R) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
    // As much as `zstd --long=27` needs, which every version unpacks without being asked to.
    decoder.window_log_max(27)?;
    Ok(decoder)
}
