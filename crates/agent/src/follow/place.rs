//! One file, and how far it was read. What was read is known again by its content, wherever it is found.

use super::Taken;
use crate::unpack::Bytes;
use memchr::{memchr, memchr_iter, memrchr};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use traffic::format::State;

/// So much of the beginning, and of what was read last, tells a file from others.
pub(super) const MARK_BYTES: usize = 1 << 10;
/// What is read at once.
const CHUNK_BYTES: usize = 256 << 10;
/// A longer line is no log line. It is passed over.
const LINE_BYTES_MAX: usize = 16 << 20;

/// A removed file may be written to by a program that has it open: so long after it was quiet it is let go.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// A rotated file that was moved away is not held open any more when nothing was written to it for so long.
const QUIET_AFTER: Duration = Duration::from_secs(600);

/// Device and inode.
pub(super) type Id = (u64, u64);

/// How a file stands: if nothing of it changed, nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stand {
    pub(super) size: u64,
    /// When it was written last, nanoseconds since 1970.
    pub(super) written: i64,
}

impl Stand {
    pub(super) fn of(found: &Metadata) -> Self {
        let written = found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec());
        Self { size: found.size(), written }
    }
}

pub(super) fn id(found: &Metadata) -> Id {
    (found.dev(), found.ino())
}

/// How far a file was read, and hashes of what stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    /// Bytes that were taken, whole lines; unpacked.
    pub(super) offset: u64,
    /// Of the first bytes, [`MARK_BYTES`] or all that were taken.
    head: [u8; 16],
    /// Of the last that were taken, as many.
    tail: [u8; 16],
}

impl Mark {
    /// How many bytes each hash is of.
    fn length(&self) -> usize {
        usize::try_from(self.offset).map_or(MARK_BYTES, |offset| offset.min(MARK_BYTES))
    }

    /// Whether a file that begins like this may be it.
    pub(super) fn may_begin(&self, head: &[u8]) -> bool {
        head.get(..self.length()).is_some_and(|head| digest(head) == self.head)
    }

    /// Whether the file holds what was read, where it was read.
    pub(super) fn is_in(&self, file: &File) -> io::Result<bool> {
        let mut bytes = vec![0; self.length()];
        let at = self.offset - self.length() as u64;
        for (at, wanted) in [(0, self.head), (at, self.tail)] {
            if fill_at(file, &mut bytes, at)? < bytes.len() || digest(&bytes) != wanted {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The same for a file that has to be unpacked, and is left there. Gives its first bytes, and the last before that.
    pub(super) fn is_in_packed(&self, packed: &mut Bytes) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let mut head = vec![0; self.length()];
        let (filled, done) = packed.fill(&mut head);
        done?;
        if filled < head.len() || digest(&head) != self.head {
            return Ok(None);
        }
        let mut last = head.clone();
        let mut left = self.offset - last.len() as u64;
        let mut room = vec![0; CHUNK_BYTES];
        while left > 0 {
            let wanted = usize::try_from(left).map_or(room.len(), |left| left.min(room.len()));
            let (filled, done) = packed.fill(&mut room[..wanted]);
            done?;
            if filled < wanted {
                return Ok(None);
            }
            last.extend_from_slice(&room[..filled]);
            last.drain(..last.len() - MARK_BYTES);
            left -= filled as u64;
        }
        Ok((digest(&last) == self.tail).then_some((head, last)))
    }
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(bytes);
    *digest.first_chunk().expect("a digest has 32 bytes")
}

/// Reads until the room is full or the file ends.
pub(super) fn fill_at(file: &File, room: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < room.len() {
        match file.read_at(&mut room[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Where the file of a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// It has the id that is remembered.
    Here,
    /// It was removed, and read to its end: whatever holds the same is a copy of it.
    Gone(Instant),
    /// It is not where it was: what holds the same is read on.
    Lost(Instant),
}

/// A file that is followed.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: Id,
    /// The log that it belongs to, by the name that the log is written under.
    pub(super) log: PathBuf,
    pub(super) mark: Mark,
    /// Lines that were taken.
    pub(super) lines: u64,
    /// How it stood when it was read to its end.
    pub(super) stand: Option<Stand>,
    pub(super) is_packed: bool,
    /// Whether it is the file that the log is written to, as far as is known.
    pub(super) is_current: bool,
    /// In the middle of a line that is too long.
    pub(super) passing_over: bool,
    /// What the log has said about its lines.
    pub(super) state: State,
    pub(super) file: Option<File>,
    pub(super) whereabouts: Whereabouts,
    /// Since when nothing was written.
    pub(super) quiet: Instant,
}

/// What came of reading on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Went {
    /// As far as there are whole lines.
    ToTheEnd,
    /// Until it was told to stop.
    Stopped,
    /// The file does not hold any more what was read of it.
    Astray,
}

/// Takes lines, and says whether to go on.
pub(super) type Take<'t> = &'t mut dyn FnMut(Taken<'_>) -> bool;

impl Place {
    pub(super) fn new(id: Id, log: &Path, state: State) -> Self {
        Self {
            id,
            log: log.to_owned(),
            mark: Mark::default(),
            lines: 0,
            stand: None,
            is_packed: false,
            is_current: true,
            passing_over: false,
            state,
            file: None,
            whereabouts: Whereabouts::Here,
            quiet: Instant::now(),
        }
    }

    /// Takes what was written since, if anything was.
    pub(super) fn read_on(&mut self, room: &mut Vec<u8>, take: Take<'_>) -> io::Result<Went> {
        let Some(file) = self.file.take() else { return Ok(Went::ToTheEnd) };
        let went = self.read_on_from(&file, room, take);
        self.file = Some(file);
        went
    }

    fn read_on_from(&mut self, file: &File, room: &mut Vec<u8>, take: Take<'_>) -> io::Result<Went> {
        let stand = Stand::of(&file.metadata()?);
        if self.stand == Some(stand) {
            return Ok(Went::ToTheEnd);
        }
        self.quiet = Instant::now();
        if stand.size < self.mark.offset {
            return Ok(Went::Astray);
        }
        room.resize(MARK_BYTES + CHUNK_BYTES, 0);
        loop {
            // What was read last and what comes after it in one go: what stands before the lines is what stood there.
            let before = self.mark.length();
            let filled = fill_at(file, room, self.mark.offset - before as u64)?;
            if filled < before || digest(&room[..before]) != self.mark.tail && before > 0 {
                return Ok(Went::Astray);
            }
            let fresh = &room[before..filled];
            let whole = match memrchr(b'\n', fresh) {
                Some(end) => end + 1,
                None if filled < room.len() => break,
                None if fresh.len() < LINE_BYTES_MAX => {
                    room.resize(room.len() * 2, 0);
                    continue;
                }
                None => {
                    self.passing_over = true;
                    fresh.len()
                }
            };
            let goes_on = self.take_from(&fresh[..whole], take);
            self.advance(file, &room[..before + whole], whole)?;
            if !goes_on {
                return Ok(Went::Stopped);
            }
        }
        room.truncate(MARK_BYTES + CHUNK_BYTES);
        room.shrink_to_fit();
        self.stand = Some(stand);
        Ok(Went::ToTheEnd)
    }

    /// Takes everything after the mark from a file that is unpacked, which stands there. Nothing is written to a packed file any
    /// more, so its last line needs no end. An error is that of a file that is cut short, or damaged.
    ///
    /// `known` are its first bytes, and the last before the mark.
    pub(super) fn read_packed(
        &mut self,
        packed: &mut Bytes,
        known: (Vec<u8>, Vec<u8>),
        take: Take<'_>,
    ) -> io::Result<Went> {
        let (mut head, mut last) = known;
        let mut carry: Vec<u8> = Vec::new();
        loop {
            let from = carry.len();
            carry.resize(from + CHUNK_BYTES, 0);
            let (filled, done) = packed.fill(&mut carry[from..]);
            carry.truncate(from + filled);
            let ended = filled < CHUNK_BYTES;
            let whole = match memrchr(b'\n', &carry) {
                _ if ended && done.is_ok() => carry.len(),
                Some(end) => end + 1,
                None if carry.len() >= LINE_BYTES_MAX => {
                    self.passing_over = true;
                    carry.len()
                }
                None => 0,
            };
            let goes_on = whole == 0 || self.take_from(&carry[..whole], take);
            if whole > 0 {
                if head.len() < MARK_BYTES {
                    head.extend(carry[..whole].iter().take(MARK_BYTES - head.len()));
                }
                last.extend_from_slice(&carry[..whole]);
                last.drain(..last.len().saturating_sub(MARK_BYTES));
                self.mark.offset += whole as u64;
                let length = self.mark.length();
                self.mark.head = digest(&head[..length.min(head.len())]);
                self.mark.tail = digest(&last[last.len().saturating_sub(length)..]);
                carry.drain(..whole);
            }
            if !goes_on {
                return Ok(Went::Stopped);
            }
            done?;
            if ended {
                return Ok(Went::ToTheEnd);
            }
        }
    }

    pub(super) fn written(&self) -> i64 {
        self.stand.map_or(i64::MIN, |stand| stand.written)
    }

    /// Whether everything in a file, which is shorter than what was read, is what was read first.
    pub(super) fn begins_with(&self, file: &File, head: &[u8], size: u64) -> io::Result<bool> {
        let Some(own) = &self.file else { return Ok(false) };
        let (mut ours, mut theirs) = (vec![0; MARK_BYTES], vec![0; MARK_BYTES]);
        fill_at(own, &mut ours, 0)?;
        if ours != head {
            return Ok(false);
        }
        let at = size - MARK_BYTES as u64;
        Ok(fill_at(own, &mut ours, at)? == fill_at(file, &mut theirs, at)? && ours == theirs)
    }

    /// Whether it has no name any more.
    pub(super) fn is_removed(&self) -> bool {
        let found = self.file.as_ref().and_then(|file| file.metadata().ok());
        found.is_some_and(|found| found.nlink() == 0)
    }

    /// Says where it is, when files with these ids were found; lets go of a file that is quiet.
    pub(super) fn let_go(&mut self, ids: &BTreeSet<Id>) {
        if self.whereabouts != Whereabouts::Here {
            return;
        }
        let is_found = ids.contains(&self.id);
        if self.file.is_none() {
            if !is_found {
                // A rotated file that is removed was read long ago.
                let away = if self.is_current { Whereabouts::Lost } else { Whereabouts::Gone };
                self.whereabouts = away(Instant::now());
            }
            return;
        }
        let patience = if self.is_removed() { GONE_AFTER } else { QUIET_AFTER };
        if !is_found && self.quiet.elapsed() >= patience {
            self.file = None;
            self.whereabouts = Whereabouts::Gone(Instant::now());
        }
    }

    /// Gives out whole lines, but not the rest of one that is too long.
    fn take_from(&mut self, lines: &[u8], take: Take<'_>) -> bool {
        let lines = if self.passing_over {
            let Some(end) = memchr(b'\n', lines) else { return true };
            self.passing_over = false;
            &lines[end + 1..]
        } else {
            lines
        };
        if lines.is_empty() {
            return true;
        }
        self.lines += memchr_iter(b'\n', lines).count() as u64;
        let goes_on = take(Taken { log: &self.log, state: &self.state, lines });
        self.state.advance(lines);
        goes_on
    }

    /// `read` ends with `whole` bytes that were taken now.
    fn advance(&mut self, file: &File, read: &[u8], whole: usize) -> io::Result<()> {
        let before = self.mark.length();
        self.mark.offset += whole as u64;
        let length = self.mark.length();
        if before < MARK_BYTES {
            let mut head = vec![0; length];
            let filled = fill_at(file, &mut head, 0)?;
            self.mark.head = digest(&head[..filled]);
        }
        self.mark.tail = digest(&read[read.len().saturating_sub(length)..]);
        Ok(())
    }
}

/// The first bytes of a file, unpacked, and whether it is packed.
pub(super) fn head(file: &File) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = unpacked(file)?;
    let mut head = vec![0; MARK_BYTES];
    let (filled, done) = bytes.fill(&mut head);
    if filled == 0 {
        done?;
    }
    head.truncate(filled);
    Ok((head, bytes.is_packed))
}

/// A file from its beginning, unpacked.
pub(super) fn unpacked(file: &File) -> io::Result<Bytes> {
    Bytes::of(Box::new(FromStart { file: file.try_clone()?, at: 0 }))
}

/// Reads without moving where the file stands for others.
struct FromStart {
    file: File,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(room, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
