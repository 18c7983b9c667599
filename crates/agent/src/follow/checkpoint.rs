//! How far everything was read, as a small file.
//!
//! `PALFOLL1`, the places in postcard, what whoever follows keeps with them, and CRC-32 of all. What was counted is in the
//! same file as how far it was read: a crash leaves both as they were, or both as they are. A later form gets another number in
//! its first eight bytes.

use super::place::{Id, Mark, Place, Stand, Whereabouts};
use crate::state::TEMPORARY;
use advisory::Problem;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Instant;
use traffic::format::State;

const MAGIC: &[u8; 8] = b"PALFOLL1";
/// Bytes of one; the counts of ten million sources have a fifth of it.
const FILE_BYTES_MAX: u64 = 2 << 30;

#[derive(Serialize, Deserialize)]
pub(super) struct V1 {
    /// Of each log, by the bytes of its name: what was written before is not looked at.
    pub(super) floors: Vec<(Vec<u8>, i64)>,
    places: Vec<PlaceV1>,
    /// What whoever follows keeps.
    pub(super) kept: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as it lies in the file")]
struct PlaceV1 {
    id: Id,
    log: Vec<u8>,
    mark: Mark,
    lines: u64,
    stand: Option<Stand>,
    is_packed: bool,
    is_current: bool,
    passing_over: bool,
    /// What the log has said about its lines: `#Fields`.
    directives: Vec<u8>,
    is_here: bool,
}

impl V1 {
    pub(super) fn of<'p>(
        floors: impl Iterator<Item = (&'p PathBuf, &'p i64)>,
        places: impl Iterator<Item = &'p Place>,
        kept: &[u8],
    ) -> Self {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        Self {
            floors: floors.map(|(log, floor)| (bytes(log), *floor)).collect(),
            places: places
                .map(|place| PlaceV1 {
                    id: place.id,
                    log: bytes(&place.log),
                    mark: place.mark.clone(),
                    lines: place.lines,
                    stand: place.stand,
                    is_packed: place.is_packed,
                    is_current: place.is_current,
                    passing_over: place.passing_over,
                    directives: place.state.directives(),
                    is_here: place.whereabouts == Whereabouts::Here,
                })
                .collect(),
            kept: kept.to_vec(),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let bytes = postcard::to_extend(self, MAGIC.to_vec()).expect("a vector takes every byte");
        let sum = crc32fast::hash(&bytes);
        [bytes, sum.to_le_bytes().to_vec()].concat()
    }

    /// `None` for what is no checkpoint, or a damaged one.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.strip_prefix(MAGIC).and(bytes.split_last_chunk::<4>())?;
        let is_whole = crc32fast::hash(body) == u32::from_le_bytes(*sum);
        postcard::from_bytes(body.get(MAGIC.len()..).filter(|_| is_whole)?).ok()
    }

    /// The places; `fresh` is what is known of a log before its first line.
    pub(super) fn places(&self, fresh: impl Fn(&Path) -> Option<State>) -> Vec<Place> {
        let now = Instant::now();
        let place = |of: &PlaceV1| {
            let log = path(&of.log);
            let mut state = fresh(&log)?;
            state.advance(&of.directives);
            Some(Place {
                id: of.id,
                log,
                mark: of.mark.clone(),
                lines: of.lines,
                stand: of.stand,
                is_packed: of.is_packed,
                is_current: of.is_current,
                passing_over: of.passing_over,
                state,
                file: None,
                whereabouts: if of.is_here { Whereabouts::Here } else { Whereabouts::Gone(now) },
                quiet: now,
            })
        };
        self.places.iter().filter_map(place).collect()
    }
}

/// A path of its bytes.
pub(super) fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}

/// Reads a checkpoint's bytes; `None` where there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Problem> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::new("read checkpoint", path.display().to_string(), error)
            .remedy("make it readable, or name another")),
    }
}

/// Writes a file at once, for its owner's eyes only: a crash leaves what was there, or all of what is.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Without the name of a file that is another each time: whoever tells of the same trouble tells it once.
    let unnamed = |error: io::Error| io::Error::from(error.kind());
    let mut fresh = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(directory).map_err(unnamed)?;
    fresh.write_all(bytes)?;
    fresh.as_file().sync_all()?;
    fresh.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}
