//! How bytes come in: unpacked, counted and capped. Takes readers; gives readers, lines and a bounded list of problems.

use crate::problem::Problem;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};

/// Problems kept per feed; a feed broken throughout says so a thousand times, not ten million times.
const PROBLEMS_MAX: usize = 1_000;

/// Problems of one feed, at most [`PROBLEMS_MAX`] of them told one by one.
#[derive(Debug)]
pub(crate) struct Problems {
    feed: String,
    list: Vec<Problem>,
    untold: usize,
    /// Whether something stopped the reading before the end, so that what was read is a part only.
    pub(crate) truncated: bool,
}

impl Problems {
    pub(crate) fn new(feed: &str) -> Self {
        Self { feed: feed.to_owned(), list: Vec::new(), untold: 0, truncated: false }
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        if self.list.len() < PROBLEMS_MAX {
            self.list.push(problem);
        } else {
            self.untold += 1;
        }
    }

    /// The feed was not read to its end: says why, and what that means.
    pub(crate) fn cut(&mut self, operation: &str, reason: impl std::fmt::Display) {
        self.truncated = true;
        let problem = Problem::new(operation, self.feed.clone(), reason);
        // Told even when the list is full: it weighs more than any single record.
        self.list.push(problem.remedy("the feed is incomplete; fetch it again and compare its size"));
    }

    /// The feed is not what it was taken for, and nothing of it is used.
    pub(crate) fn refuse(&mut self, operation: &str, reason: impl std::fmt::Display, remedy: &str) {
        self.truncated = true;
        self.list.push(Problem::new(operation, self.feed.clone(), reason).remedy(remedy));
    }

    pub(crate) fn finish(mut self) -> Vec<Problem> {
        if self.untold > 0 {
            let reason = format!("{} more problems of this feed are not listed", self.untold);
            self.list.push(Problem::new("read feed", self.feed, reason));
        }
        self.list
    }
}

/// Whether these bytes begin a gzip file.
pub(crate) fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b])
}

/// Whether these bytes begin a zstd frame.
pub(crate) fn is_zstd(head: &[u8]) -> bool {
    head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}

/// The first bytes of a gzip file, unpacked; as far as they go.
pub(crate) fn gzip_head(head: &[u8], bytes_max: u64) -> Vec<u8> {
    let mut text = Vec::new();
    // The head is cut somewhere, so an error at its end says nothing.
    let _ = MultiGzDecoder::new(head).take(bytes_max).read_to_end(&mut text);
    text
}

/// A reader of the plain text, gzip and zstd unpacked; at most `bytes_max` of it, then an error.
pub(crate) fn plain<'a>(reader: impl Read + 'a, bytes_max: u64) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    let head = reader.fill_buf()?;
    let unpacked: Box<dyn Read + 'a> = if is_gzip(head) {
        Box::new(MultiGzDecoder::new(reader))
    } else if is_zstd(head) {
        Box::new(ruzstd::decoding::StreamingDecoder::new(reader).map_err(io::Error::other)?)
    } else {
        Box::new(reader)
    };
    Ok(Box::new(BufReader::with_capacity(1 << 16, Capped { inner: unpacked, left: bytes_max, bytes_max })))
}

/// Errors once more than `bytes_max` bytes were read: a limit must not look like the end of the file.
struct Capped<R> {
    inner: R,
    left: u64,
    bytes_max: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            // One byte more tells a file of exactly the limit from a longer one.
            let mut probe = [0];
            return match self.inner.read(&mut probe)? {
                0 => Ok(0),
                _ => Err(io::Error::other(format!("more than {} bytes of text", self.bytes_max))),
            };
        }
        let room = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.inner.read(&mut buffer[..room])?;
        self.left -= count as u64;
        Ok(count)
    }
}

/// What [`next_line`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, in the buffer, without its end.
    Text,
    /// A line longer than allowed; skipped.
    TooLong,
    /// No line is left.
    End,
}

/// Reads the next line into `line`; of a longer line than `bytes_max` nothing is kept.
pub(crate) fn next_line(reader: &mut dyn BufRead, line: &mut Vec<u8>, bytes_max: usize) -> io::Result<Line> {
    line.clear();
    // One byte more than allowed, and the end of the line.
    let room = bytes_max as u64 + 2;
    if (&mut *reader).take(room).read_until(b'\n', line)? == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 == room {
        reader.skip_until(b'\n')?;
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if line.len() > bytes_max {
        line.clear();
        return Ok(Line::TooLong);
    }
    Ok(Line::Text)
}

/// Text for one line of a terminal: control characters become spaces, at most `bytes_max` bytes.
pub(crate) fn one_line(text: &str, bytes_max: usize) -> String {
    let end = text.floor_char_boundary(bytes_max);
    text[..end].trim().chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

/// Whether `id` has the form of a CVE id: `CVE-`, a year of four digits, `-`, four digits or more.
pub(crate) fn is_cve(id: &str) -> bool {
    let Some((year, number)) = id.strip_prefix("CVE-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // 19 digits fit every number that could ever be assigned, and bound the key.
    year.len() == 4 && digits(year) && (4..=19).contains(&number.len()) && digits(number)
}
