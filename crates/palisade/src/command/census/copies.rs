//! Lines that stand in two files are counted once: rotated copies, backups of a growing log, exports that overlap.
//!
//! Names tell nothing: `access.log.1` and `backup/access.log.gz` may hold the same lines. What tells is content. Each file's
//! first request is looked for in the others, where their times allow it; where it is found, both are compared to the
//! end of either before anything is left out. The outcome does not depend on which file is read first.

use super::engine::{Chunk, Manner, head};
use super::inputs::Input;
use agent::unpack::Bytes;
use memchr::memmem::Finder;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use traffic::census::{first_request, last_request};
use traffic::format::line_at;

/// Lines that have to be the same before a part of a file is taken for a copy. A flood sends the same request many times
/// in a second, and a rotation may fall into that second.
const LINES_MIN: usize = 8;

/// Logs are in the order of answers, with times of requests: so far may a line stand from where its time belongs.
const DISORDER_SECONDS: i64 = 3_600;

/// What is compared at once.
const COMPARED_BYTES: usize = 64 << 10;

/// The first request of a file.
#[derive(Debug)]
struct Head {
    /// Where it begins, unpacked.
    at: u64,
    seconds: i64,
    line: Finder<'static>,
}

/// Which files, and which parts of files, are copies of others.
#[derive(Debug)]
pub(super) struct Copies {
    inputs: Vec<Input>,
    heads: Vec<Option<Head>>,
    known: BTreeSet<usize>,
    /// By input, up to where it holds lines that another file holds too.
    skipped: Vec<Mutex<u64>>,
    /// What was found, for people.
    pub(super) notes: Vec<String>,
}

/// How two files compare from two places on.
enum Compared {
    Differ,
    /// The first ends first, or both at once; with the bytes that are the same.
    FirstEnds(u64),
    SecondEnds(u64),
}

impl Copies {
    /// Looks at the beginning of every file, and at all of those that begin alike.
    pub(super) fn look(inputs: &[Input], manner: &Manner<'_>) -> Self {
        let mut copies = Self {
            inputs: inputs.to_vec(),
            heads: inputs.iter().map(|input| first(input, manner)).collect(),
            known: BTreeSet::new(),
            skipped: inputs.iter().map(|_| Mutex::new(0)).collect(),
            notes: Vec::new(),
        };
        for one in 0..inputs.len() {
            for other in one + 1..inputs.len() {
                let (Some(head), Some(other_head)) = (&copies.heads[one], &copies.heads[other]) else {
                    continue;
                };
                let alike =
                    head.seconds == other_head.seconds && head.line.needle() == other_head.line.needle();
                if !alike || copies.is_copy(one) || copies.is_copy(other) {
                    continue;
                }
                let (copy, of) = match copies.compared(one, head.at, other) {
                    // Of two that are the same, the one named first is counted.
                    Ok(Compared::FirstEnds(bytes)) if copies.ends_at(other, other_head.at + bytes) => {
                        (other, one)
                    }
                    Ok(Compared::FirstEnds(bytes)) if copies.is_enough(one, head.at, bytes) => (one, other),
                    Ok(Compared::SecondEnds(bytes)) if copies.is_enough(one, head.at, bytes) => (other, one),
                    // What cannot be read is told when it is counted.
                    _ => continue,
                };
                copies.notes.push(format!(
                    "{} holds nothing but lines of {}; counted once",
                    inputs[copy].name(),
                    inputs[of].name()
                ));
                copies.known.insert(copy);
            }
        }
        copies
    }

    /// Whether everything in this input stands in another too.
    pub(super) fn is_copy(&self, number: usize) -> bool {
        self.known.contains(&number)
    }

    /// Takes lines off the chunk that another file holds too. Where everything to the end of this file does, the reading
    /// of it ends with this chunk: says so.
    pub(super) fn cut(&self, number: usize, chunk: &mut Chunk) -> Option<String> {
        self.heads.get(number)?.as_ref()?;
        let mut skipped = self.skipped[number].lock().unwrap_or_else(PoisonError::into_inner);
        if *skipped > chunk.offset {
            let bytes = usize::try_from(*skipped - chunk.offset)
                .map_or(chunk.length, |bytes| bytes.min(chunk.length));
            remove(chunk, 0, bytes);
        }
        if chunk.length == 0 {
            return None;
        }
        let first = first_request(chunk.state.clone(), chunk.lines()).map(|(_, seconds)| seconds)?;
        let last = last_request(chunk.state.clone(), chunk.lines()).unwrap_or(first).max(first);
        let near = first - DISORDER_SECONDS..=last + DISORDER_SECONDS;
        for (other, head) in self.heads.iter().enumerate() {
            let Some(head) = head.as_ref().filter(|head| near.contains(&head.seconds)) else { continue };
            if other == number || self.is_copy(other) {
                continue;
            }
            let mut from = 0;
            while let Some(found) = head.line.find(&chunk.buffer[from..chunk.length]) {
                let at = from + found;
                from = at + 1;
                let is_whole = line_at(chunk.lines(), at).at == at;
                let begins_here =
                    chunk.offset + at as u64 == self.heads[number].as_ref().map_or(0, |own| own.at);
                if !is_whole || begins_here {
                    continue;
                }
                match self.compared(number, chunk.offset + at as u64, other) {
                    Ok(Compared::FirstEnds(bytes))
                        if self.is_enough(number, chunk.offset + at as u64, bytes) =>
                    {
                        chunk.length = at;
                        let (name, other) = (self.inputs[number].name(), self.inputs[other].name());
                        return Some(format!(
                            "{name} ends with lines that {other} begins with; counted once"
                        ));
                    }
                    Ok(Compared::SecondEnds(bytes))
                        if self.is_enough(number, chunk.offset + at as u64, bytes) =>
                    {
                        *skipped = chunk.offset + at as u64 + bytes;
                        let end = usize::try_from(bytes)
                            .map_or(chunk.length, |bytes| (at + bytes).min(chunk.length));
                        remove(chunk, at, end);
                    }
                    _ => {}
                }
            }
        }
        None
    }

    /// Compares `one` from a place on with `other` from its first request on.
    fn compared(&self, one: usize, at: u64, other: usize) -> io::Result<Compared> {
        let other_at = self.heads[other].as_ref().map_or(0, |head| head.at);
        let mut one = self.from(one, at)?;
        let mut other = self.from(other, other_at)?;
        let (mut ours, mut theirs) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
        let mut same = 0;
        loop {
            let ((own, done), (their, done_too)) = (one.fill(&mut ours), other.fill(&mut theirs));
            done.and(done_too)?;
            let common = own.min(their);
            if ours[..common] != theirs[..common] {
                return Ok(Compared::Differ);
            }
            same += common as u64;
            if own < COMPARED_BYTES && own <= their {
                return Ok(Compared::FirstEnds(same));
            }
            if their < COMPARED_BYTES {
                return Ok(Compared::SecondEnds(same));
            }
        }
    }

    fn from(&self, number: usize, at: u64) -> io::Result<Bytes> {
        let mut bytes = self.inputs[number].open().map_err(io::Error::other)?;
        io::copy(&mut bytes.by_ref().take(at), &mut io::sink())?;
        Ok(bytes)
    }

    fn ends_at(&self, number: usize, at: u64) -> bool {
        self.from(number, at).and_then(|mut bytes| bytes.read(&mut [0])).is_ok_and(|read| read == 0)
    }

    /// Whether so many bytes are lines enough.
    fn is_enough(&self, number: usize, at: u64, bytes: u64) -> bool {
        let Ok(reader) = self.from(number, at) else { return false };
        let mut part = Vec::new();
        // As many lines as are wanted are never longer than this.
        if reader.take(bytes.min(LINES_MIN as u64 * COMPARED_BYTES as u64)).read_to_end(&mut part).is_err() {
            return false;
        }
        memchr::memchr_iter(b'\n', &part).count() >= LINES_MIN
    }
}

/// Takes a part out of a chunk. Only what stands before the rest may say something about it.
fn remove(chunk: &mut Chunk, from: usize, to: usize) {
    if from == 0 {
        chunk.state.advance(&chunk.buffer[..to]);
        chunk.offset += to as u64;
    }
    chunk.buffer.copy_within(to..chunk.length, from);
    chunk.length -= to - from;
}

fn first(input: &Input, manner: &Manner<'_>) -> Option<Head> {
    // A pipe is read once.
    let is_file = input.path()?.is_file() && input.size_bytes > 0;
    let head = if is_file { head(input)? } else { return None };
    let (at, seconds) = first_request(manner.state(), &head)?;
    let end = at + memchr::memchr(b'\n', &head[at..])?;
    Some(Head { at: at as u64, seconds, line: Finder::new(&head[at..=end]).into_owned() })
}
