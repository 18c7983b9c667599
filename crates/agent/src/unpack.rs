//! Unpacks a log on the way. What it is packed with is told by its first bytes.
//!
//! Nothing here knows of files or of the agent: a fuzz target takes this file as it is.

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that tell what a file is packed with.
const MAGIC_BYTES: usize = 6;
/// What is read at once of a packed file.
const PACKED_BYTES: usize = 128 << 10;

/// How far unpacking goes.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// Up to here the ratio is not looked at: a small log of one line again and again packs very well.
    pub free_bytes: u64,
    /// A packed log may unpack to so many times its size.
    pub ratio_max: u64,
    /// What an archive may ask an unpacker to hold in memory; a power of two.
    pub memory_bytes_max: u64,
}

impl Caps {
    /// Logs pack to a tenth or a thirtieth; deflate cannot do more than 1,032 times, and what does is made to keep us busy.
    /// The memory is what `zstd --long=27` needs, which every version unpacks without being asked to; `xz -9` needs half.
    pub const OF_LOGS: Self = Self { free_bytes: 1 << 30, ratio_max: 1_000, memory_bytes_max: 128 << 20 };
}

/// Bytes of a log, unpacked.
pub struct Bytes {
    reader: Box<dyn Read + Send>,
    /// Whether it is unpacked on the way.
    pub is_packed: bool,
    /// Bytes taken from the file itself.
    taken: Arc<AtomicU64>,
    unpacked: u64,
    caps: Caps,
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
    /// Of what is read from a file, a pipe or a program.
    pub fn of(raw: Box<dyn Read + Send>, caps: Caps) -> io::Result<Self> {
        let taken = Arc::new(AtomicU64::new(0));
        let mut raw = Counted { inner: raw, taken: taken.clone() };
        let mut magic = Vec::with_capacity(MAGIC_BYTES);
        raw.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic)?;
        let packed =
            |raw, magic: Vec<u8>| BufReader::with_capacity(PACKED_BYTES, Cursor::new(magic).chain(raw));
        let (reader, is_packed): (Box<dyn Read + Send>, bool) = match &magic[..] {
            [0x1f, 0x8b, ..] => (Box::new(MultiGzDecoder::new(packed(raw, magic))), true),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => (Box::new(zstd_reader(packed(raw, magic), caps)?), true),
            [0xfd, b'7', b'z', b'X', b'Z', 0] => {
                let stream = Stream::new_stream_decoder(caps.memory_bytes_max, CONCATENATED);
                let stream = stream.map_err(io::Error::other)?;
                (Box::new(XzDecoder::new_stream(packed(raw, magic), stream)), true)
            }
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => (Box::new(MultiBzDecoder::new(packed(raw, magic))), true),
            _ => (Box::new(Cursor::new(magic).chain(raw)), false),
        };
        Ok(Self { reader, is_packed, taken, unpacked: 0, caps })
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
        let Caps { free_bytes, ratio_max, .. } = self.caps;
        if self.is_packed && self.unpacked > free_bytes && self.unpacked / ratio_max > self.taken() {
            return Err(io::Error::other(format!("it unpacks to more than {ratio_max} times its size")));
        }
        Ok(bytes)
    }
}

fn zstd_reader<R: BufRead>(raw: R, caps: Caps) -> io::Result<zstd::stream::read::Decoder<'static, R>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(raw)?;
    decoder.window_log_max(caps.memory_bytes_max.ilog2())?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use std::io::Write;

    /// The same byte over and over, in every packing, with their names.
    fn packed(bytes: usize) -> [(&'static str, Vec<u8>); 4] {
        let plain = vec![b'a'; bytes];
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(&plain).unwrap();
        let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        bz2.write_all(&plain).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(&plain).unwrap();
        [
            ("gzip", gz.finish().unwrap()),
            ("bzip2", bz2.finish().unwrap()),
            ("xz", xz.finish().unwrap()),
            ("zstd", zstd::encode_all(&plain[..], 1).unwrap()),
        ]
    }

    /// How much came out, and what ended it.
    fn unpacked(packed: &[u8], caps: Caps) -> (usize, io::Result<()>) {
        let mut bytes = match Bytes::of(Box::new(Cursor::new(packed.to_vec())), caps) {
            Ok(bytes) => bytes,
            Err(error) => return (0, Err(error)),
        };
        let mut out = Vec::new();
        let mut room = vec![0; 64 << 10];
        loop {
            let (read, ended) = bytes.fill(&mut room);
            out.extend_from_slice(&room[..read]);
            if ended.is_err() || read < room.len() {
                return (out.len(), ended);
            }
        }
    }

    #[test]
    fn an_archive_that_unpacks_without_end_is_cut() {
        let caps = Caps { free_bytes: 1 << 20, ratio_max: 100, ..Caps::OF_LOGS };
        for (name, packed) in packed(16 << 20) {
            let (bytes, ended) = unpacked(&packed, caps);
            assert!(ended.unwrap_err().to_string().contains("more than 100 times"), "{name}");
            assert!(bytes < 3 << 20, "{name}: {bytes} bytes came out");
            let (bytes, ended) = unpacked(&packed, Caps::OF_LOGS);
            assert!(ended.is_ok() && bytes == 16 << 20, "{name}: a log of one line again and again is one");
        }
    }

    #[test]
    fn an_archive_that_asks_for_much_memory_is_refused() {
        // It was packed with a window of 8 MiB.
        let [.., (_, xz), _] = packed(16 << 20);
        let (bytes, ended) = unpacked(&xz, Caps { memory_bytes_max: 1 << 20, ..Caps::OF_LOGS });
        assert!(ended.is_err() && bytes == 0, "{bytes} bytes came out");
    }
}
