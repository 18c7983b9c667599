//! A zip of OSV records, entry by entry.
//!
//! The directory is walked, not loaded: memory does not grow with the number of entries. Nothing is recovered from an
//! archive whose directory is broken, because entries without a directory may be old ones.

use super::{RECORD_BYTES_MAX, deliver, record};
use crate::format::intake::{Problems, one_line};
use crate::model::Advisory;
use crate::problem::Problem;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use zip::ZipReadOptions;
use zip::read::{Config, ZipFile};
use zip::unstable::read::ZipIterable;

/// Entries of an archive. All of OSV is 2.6 million records (2026); four times that.
pub const ENTRIES_MAX: usize = 10_000_000;

/// Bytes of all entries together, unpacked. Ubuntu's 515 MB zip unpacks to some 15 GB; four times that.
pub const TEXT_BYTES_MAX: u64 = 64 << 30;

/// Unpacked to packed bytes of one entry. Indented JSON with many versions reaches 60; deflate can reach 1,032.
pub const RATIO_MAX: u64 = 300;

/// Entries smaller than this may have any ratio: they cannot hurt.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Directory entries read ahead, so that a file is not sought to and fro for each.
const AHEAD: usize = 1_024;

const OPERATION: &str = "read OSV archive";

/// All records of a zip, each handed to `out` as it is read.
pub fn archive(feed: &str, reader: impl Read + Seek, out: &mut impl FnMut(Advisory)) -> Vec<Problem> {
    let mut problems = Problems::new(feed);
    read_into(feed, reader, out, &mut problems);
    problems.finish()
}

pub(crate) fn read_into(
    feed: &str,
    reader: impl Read + Seek,
    out: &mut dyn FnMut(Advisory),
    problems: &mut Problems,
) {
    let reader = match Nearby::new(reader) {
        Ok(reader) => reader,
        Err(error) => return problems.cut(OPERATION, error),
    };
    let mut archive = match ZipIterable::try_new(reader, Config::default()) {
        Ok(archive) => archive,
        Err(error) => {
            return problems
                .cut(OPERATION, format_args!("its directory cannot be read: {error}; no record is used"));
        }
    };
    if archive.len() > ENTRIES_MAX {
        let reason =
            format!("{} entries; at most {ENTRIES_MAX} are accepted; no record is used", archive.len());
        return problems.cut(OPERATION, reason);
    }
    let entries = match archive.files() {
        Ok(entries) => entries,
        Err(error) => return problems.cut(OPERATION, error),
    };
    let mut unpacker = Unpacker { text: Vec::new(), left: TEXT_BYTES_MAX, others: 0 };
    loop {
        let ahead: Vec<_> = entries.by_ref().take(AHEAD).collect();
        if ahead.is_empty() {
            break;
        }
        for entry in ahead {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    return problems.cut(OPERATION, format_args!("its directory is broken: {error}"));
                }
            };
            let name = one_line(&String::from_utf8_lossy(entry.name_raw()), 256);
            let lost = |reason: &dyn std::fmt::Display| {
                let object = format!("{feed}: {name}");
                Problem::new("read OSV record", object, reason)
                    .remedy("the record is not used; fetch the feed again")
            };
            if entry.is_dir() {
                continue;
            }
            if !Path::new(&name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
                unpacker.others += 1;
                continue;
            }
            match entry.with_reader(entries.reader_mut(), ZipReadOptions::new()) {
                Ok(file) => match unpacker.unpack(file) {
                    Ok(()) => deliver(record(feed, &name, &unpacker.text), out, problems),
                    Err(Refused::Entry(reason)) => problems.push(lost(&reason)),
                    Err(Refused::Archive) => {
                        let reason = format!("more than {TEXT_BYTES_MAX} bytes unpacked; stopped at {name}");
                        return problems.cut(OPERATION, reason);
                    }
                },
                Err(error) => problems.push(lost(&error)),
            }
        }
    }
    if unpacker.others > 0 {
        let reason = format!("{} entries are not .json and were not read", unpacker.others);
        problems.push(Problem::new(OPERATION, feed, reason).remedy("OSV records in JSON are accepted"));
    }
}

struct Unpacker {
    text: Vec<u8>,
    left: u64,
    others: u64,
}

enum Refused {
    Entry(String),
    Archive,
}

impl Unpacker {
    /// One entry's text into `self.text`. Sizes that the directory claims are not trusted: bytes are counted.
    fn unpack<R: Read>(&mut self, file: ZipFile<'_, R>) -> Result<(), Refused> {
        self.text.clear();
        let packed = file.compressed_size().max(1);
        let ratio_max = packed.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
        let bytes_max = ratio_max.min(RECORD_BYTES_MAX).min(self.left);
        let result = file.take(bytes_max + 1).read_to_end(&mut self.text);
        let unpacked = self.text.len() as u64;
        self.left = self.left.saturating_sub(unpacked);
        if unpacked > bytes_max {
            if self.left == 0 {
                return Err(Refused::Archive);
            }
            return Err(Refused::Entry(if bytes_max == RECORD_BYTES_MAX {
                format!("more than {RECORD_BYTES_MAX} bytes unpacked")
            } else {
                format!("unpacks to more than {RATIO_MAX} times its size, as no honest record does")
            }));
        }
        match result {
            Ok(_) => Ok(()),
            Err(error) => Err(Refused::Entry(format!("cannot be unpacked: {error}"))),
        }
    }
}

/// A buffered reader that keeps its buffer when sought inside it. The zip reader seeks before every entry, and entries
/// lie side by side: a plain [`BufReader`] would read each of its buffers anew a hundred times.
struct Nearby<R> {
    inner: BufReader<R>,
    at: u64,
}

impl<R: Read + Seek> Nearby<R> {
    fn new(mut reader: R) -> io::Result<Self> {
        let at = reader.stream_position()?;
        Ok(Self { inner: BufReader::with_capacity(1 << 18, reader), at })
    }
}

impl<R: Read + Seek> Read for Nearby<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl<R: Read + Seek> Seek for Nearby<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let offset = match to {
            SeekFrom::Start(to) => i64::try_from(i128::from(to) - i128::from(self.at)).ok(),
            SeekFrom::Current(offset) => Some(offset),
            SeekFrom::End(_) => None,
        };
        match offset.and_then(|offset| Some((offset, self.at.checked_add_signed(offset)?))) {
            Some((offset, at)) => {
                self.inner.seek_relative(offset)?;
                self.at = at;
            }
            None => self.at = self.inner.seek(to)?,
        }
        Ok(self.at)
    }
}
