//! Reads inputs on all cores. What is counted depends on the lines only: not on threads, nor on where a read ends.
//!
//! Whoever needs work takes whole lines from a log under its lock, and counts them after giving the lock back: while one
//! thread unpacks, another counts. Each thread opens a log of its own while there are some, then helps with others'.

use super::copies::Copies;
use super::inputs::{Input, Origin};
use super::progress::Meter;
use advisory::Problem;
use agent::unpack::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use traffic::census::{Counting, first_request};
use traffic::format::{Custom, State};

/// What is counted at once: enough to be worth a lock, and little enough to stay in a core's cache.
const CHUNK_BYTES: usize = 256 << 10;

/// The same of a packed log: it is under the lock for as long as unpacking takes, and to be woken costs whoever waits for it.
const PACKED_CHUNK_BYTES: usize = 1 << 20;

/// A longer line is no log line. It is passed over.
const LINE_BYTES_MAX: usize = 16 << 20;

/// A member of a directory is a log if there is a request in so much of its beginning.
const HEAD_BYTES: usize = 64 << 10;

/// What reading everything came to.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What could not be read, in the order of inputs.
    pub(super) problems: Vec<Problem>,
    /// What is worth knowing.
    pub(super) notes: Vec<String>,
    /// How many inputs were read.
    pub(super) logs: usize,
}

/// A log that is being read.
#[derive(Debug)]
pub(super) struct Stream {
    number: usize,
    name: String,
    bytes: Bytes,
    state: State,
    /// What was read after the last whole line.
    carry: Vec<u8>,
    /// How far lines were given out, unpacked.
    offset: u64,
    /// Inside a line that is too long.
    passing_over: bool,
    /// Reading failed: what is broken is told once.
    broken: bool,
    problems: Vec<Problem>,
}

/// Whole lines to count, and what the log said before them.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) buffer: Vec<u8>,
    /// How much of the buffer is lines.
    pub(super) length: usize,
    pub(super) state: State,
    /// Where the lines begin in the log, unpacked.
    pub(super) offset: u64,
}

impl Chunk {
    pub(super) fn lines(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Stream {
    pub(super) fn open(number: usize, input: &Input, manner: &Manner<'_>) -> anyhow::Result<Self> {
        Ok(Self {
            number,
            name: input.name(),
            bytes: input.open()?,
            state: manner.state(),
            carry: Vec::new(),
            offset: 0,
            passing_over: false,
            broken: false,
            problems: Vec::new(),
        })
    }

    /// The next whole lines; nothing at the end. An error of reading ends the log and is kept as a problem.
    pub(super) fn next(&mut self, chunk: &mut Chunk) -> bool {
        let mut wanted = if self.bytes.is_packed { PACKED_CHUNK_BYTES } else { CHUNK_BYTES };
        let mut filled = self.carry.len();
        chunk.buffer.resize(wanted.max(filled), 0);
        chunk.buffer[..filled].copy_from_slice(&self.carry);
        self.carry.clear();
        loop {
            let (read, ended) = self.fill(&mut chunk.buffer[filled..]);
            filled += read;
            if self.passing_over {
                if let Some(end) = memchr::memchr(b'\n', &chunk.buffer[..filled]) {
                    chunk.buffer.copy_within(end + 1..filled, 0);
                    filled -= end + 1;
                    self.offset += end as u64 + 1;
                    self.passing_over = false;
                } else {
                    self.offset += filled as u64;
                    filled = 0;
                }
            }
            let whole = if ended {
                filled
            } else {
                memchr::memrchr(b'\n', &chunk.buffer[..filled]).map_or(0, |end| end + 1)
            };
            if whole > 0 || ended {
                self.carry.extend_from_slice(&chunk.buffer[whole..filled]);
                chunk.length = whole;
                chunk.offset = self.offset;
                chunk.state = self.state.clone();
                self.state.advance(chunk.lines());
                self.offset += whole as u64;
                return whole > 0;
            }
            if filled >= LINE_BYTES_MAX {
                let problem = Problem::new(
                    "read log",
                    self.name.clone(),
                    format!("the line at byte {} is longer than {} MiB", self.offset, LINE_BYTES_MAX >> 20),
                );
                self.problems.push(problem.remedy("it was passed over; look whether this is a log"));
                self.passing_over = true;
                self.offset += filled as u64;
                filled = 0;
            }
            if filled == chunk.buffer.len() {
                wanted *= 2;
                chunk.buffer.resize(wanted, 0);
            }
        }
    }

    /// Reads until the room is full; says whether the log ended.
    fn fill(&mut self, room: &mut [u8]) -> (usize, bool) {
        if self.broken {
            return (0, true);
        }
        let (read, done) = self.bytes.fill(room);
        if let Err(error) = done {
            self.broken = true;
            self.problems.push(self.cut(&error));
            return (read, true);
        }
        (read, read < room.len())
    }

    fn cut(&self, error: &io::Error) -> Problem {
        let problem = |reason: String| Problem::new("read log", self.name.clone(), reason);
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return problem("it is cut short; what was there is counted".into())
                .remedy("get it whole, and count it anew");
        }
        problem(format!("{error}; what came before is counted"))
            .remedy("look whether the file is whole, and count it anew")
    }

    /// Bytes that were taken from the file, as they are packed there.
    pub(super) fn taken(&self) -> u64 {
        self.bytes.taken()
    }

    pub(super) fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }
}

/// One of the logs that threads read.
#[derive(Debug)]
struct Open {
    stream: Mutex<Stream>,
    ended: AtomicBool,
}

/// How logs are to be read.
#[derive(Debug)]
pub(super) struct Manner<'a> {
    pub(super) custom: Option<Arc<Custom>>,
    pub(super) directive: Option<&'a str>,
    pub(super) threads: usize,
}

impl Manner<'_> {
    /// What is known of a log before its first line: a `#Fields` line that it lacks itself.
    pub(super) fn state(&self) -> State {
        let mut state = State::new(self.custom.clone());
        if let Some(directive) = self.directive {
            state.advance(directive.as_bytes());
        }
        state
    }
}

struct Work<'a> {
    inputs: &'a [Input],
    manner: &'a Manner<'a>,
    copies: &'a Copies,
    counting: &'a Counting<'a>,
    meter: &'a Meter,
    /// The next input that nobody has opened, and those that are open.
    queue: Mutex<(usize, Vec<Arc<Open>>)>,
    problems: Mutex<BTreeMap<(usize, u8), Vec<Problem>>>,
    /// By input: where its first line is that could not be read, and how many there are.
    unread: Mutex<BTreeMap<usize, (u64, u64)>>,
    notes: Mutex<BTreeMap<usize, String>>,
    read: std::sync::atomic::AtomicUsize,
}

/// Counts everything in `inputs`. Stops early when the program is told to.
pub(super) fn count(
    inputs: &[Input],
    manner: &Manner<'_>,
    copies: &Copies,
    counting: &Counting<'_>,
    meter: &Meter,
) -> Reading {
    let work = Work {
        inputs,
        manner,
        copies,
        counting,
        meter,
        queue: Mutex::default(),
        problems: Mutex::default(),
        unread: Mutex::default(),
        notes: Mutex::default(),
        read: 0.into(),
    };
    std::thread::scope(|scope| {
        // One thread less than asked for, and this one.
        for _ in 1..manner.threads {
            scope.spawn(|| work.run());
        }
        work.run();
    });
    work.outcome()
}

impl Work<'_> {
    fn run(&self) {
        let mut counter = self.counting.counter();
        let mut chunk = Chunk::default();
        while let Some(open) = self.mine_or_others() {
            while !agent::program::is_stopped() {
                let mut stream = lock(&open.stream);
                if open.ended.load(Ordering::Relaxed) {
                    break;
                }
                let taken = stream.taken();
                let more = stream.next(&mut chunk);
                let until = if more { self.copies.cut(stream.number, &mut chunk) } else { None };
                self.meter.add(stream.taken() - taken);
                let number = stream.number;
                if !more || until.is_some() {
                    open.ended.store(true, Ordering::Relaxed);
                    self.tell(number, 1, stream.take_problems());
                    if let Some(note) = until {
                        lock(&self.notes).insert(number, note);
                    }
                }
                drop(stream);
                if let Some((at, many)) = counter.count(chunk.state.clone(), chunk.lines()) {
                    let at = chunk.offset + at as u64;
                    let mut unread = lock(&self.unread);
                    let entry = unread.entry(number).or_insert((at, 0));
                    *entry = (entry.0.min(at), entry.1 + many);
                }
                chunk.length = 0;
            }
            if agent::program::is_stopped() {
                return;
            }
        }
    }

    /// A log that nobody has opened, or one that is not at its end.
    fn mine_or_others(&self) -> Option<Arc<Open>> {
        loop {
            let mut queue = lock(&self.queue);
            queue.1.retain(|open| !open.ended.load(Ordering::Relaxed));
            let Some(input) = self.inputs.get(queue.0) else {
                // Any of them: whoever waits for its lock counts the lines after those that are being taken.
                return queue.1.first().cloned();
            };
            let number = queue.0;
            queue.0 += 1;
            drop(queue);
            if self.copies.is_copy(number) {
                continue;
            }
            match Stream::open(number, input, self.manner) {
                Ok(stream) => {
                    self.read.fetch_add(1, Ordering::Relaxed);
                    let open = Arc::new(Open { stream: Mutex::new(stream), ended: AtomicBool::new(false) });
                    lock(&self.queue).1.push(open.clone());
                    return Some(open);
                }
                Err(error) => {
                    let problem = Problem::new("read log", input.name(), format!("{error:#}"));
                    self.tell(number, 0, vec![problem.remedy("read it as somebody who may")]);
                }
            }
        }
    }

    fn tell(&self, number: usize, order: u8, problems: Vec<Problem>) {
        if !problems.is_empty() {
            lock(&self.problems).entry((number, order)).or_default().extend(problems);
        }
    }

    fn outcome(self) -> Reading {
        let unread = self.unread.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut problems = self.problems.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (number, (at, many)) in unread {
            let reason = match many {
                1 => format!("the line at byte {at} is in no format that is known"),
                _ => format!("{many} lines are in no format that is known, the first at byte {at}"),
            };
            let problem = Problem::new("read log", self.inputs[number].name(), reason)
                .remedy("give its format with --format, if these are requests");
            problems.entry((number, 2)).or_default().push(problem);
        }
        Reading {
            problems: problems.into_values().flatten().collect(),
            notes: self.notes.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect(),
            logs: self.read.into_inner(),
        }
    }
}

/// Leaves out members of directories in which no request is found.
pub(super) fn logs_only(inputs: Vec<Input>, manner: &Manner<'_>, notes: &mut Vec<String>) -> Vec<Input> {
    inputs
        .into_iter()
        .filter(|input| {
            let Origin::Member(path) = &input.origin else { return true };
            let is_log = head(input).is_some_and(|head| first_request(manner.state(), &head).is_some());
            if !is_log {
                notes.push(format!("{}: no request at its beginning; left out", path.display()));
            }
            is_log
        })
        .collect()
}

/// The beginning of an input, unpacked.
pub(super) fn head(input: &Input) -> Option<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let (read, _) = input.open().ok()?.fill(&mut head);
    head.truncate(read);
    Some(head)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
