//! Every line once, whatever rotation, crashes and the order of looks do.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, OpenOptions};
use std::io::Write;
use tempfile::TempDir;

/// The same numbers for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A web server that writes a log, and the one who rotates it.
struct Server {
    directory: TempDir,
    out: File,
    /// What it has still to write of the line that it writes.
    left: Vec<u8>,
    written: Vec<String>,
    /// It was asked to open its log anew, and does when a line is whole.
    reopens: bool,
    /// The rotated file that it still writes to.
    held: Option<PathBuf>,
}

impl Server {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let out = append(&directory.path().join("access.log"));
        Self { directory, out, left: Vec::new(), written: Vec::new(), reopens: false, held: None }
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("access.log")
    }

    fn numbered(&self, number: usize, ending: &str) -> PathBuf {
        self.directory.path().join(format!("access.log.{number}{ending}"))
    }

    fn write(&mut self, mut bytes: usize, dice: &mut Dice) {
        while bytes > 0 {
            if self.left.is_empty() {
                if std::mem::take(&mut self.reopens) {
                    self.out = append(&self.log());
                    self.held = None;
                }
                let filler = "x".repeat(usize::try_from(dice.below(60)).unwrap());
                let line = format!("line {} {filler}\n", self.written.len());
                self.left = line.clone().into_bytes();
                self.written.push(line);
            }
            let part: Vec<u8> = self.left.drain(..bytes.min(self.left.len())).collect();
            self.out.write_all(&part).unwrap();
            bytes -= part.len();
        }
    }

    fn finish_line(&mut self) {
        self.out.write_all(&std::mem::take(&mut self.left)).unwrap();
    }

    /// `.1` becomes `.2`, and so on.
    fn make_room(&mut self) {
        for number in (1..200).rev() {
            for ending in ["", ".gz"] {
                let (from, to) = (self.numbered(number, ending), self.numbered(number + 1, ending));
                if from.exists() {
                    fs::rename(&from, &to).unwrap();
                    if self.held.as_ref() == Some(&from) {
                        self.held = Some(to);
                    }
                }
            }
        }
    }

    fn rename(&mut self, creates: bool) {
        if !self.log().exists() {
            return;
        }
        self.make_room();
        let to = self.numbered(1, "");
        fs::rename(self.log(), &to).unwrap();
        // A server that has not yet opened the file that is rotated now writes to an older one.
        self.held.get_or_insert(to);
        if creates {
            append(&self.log());
        }
        self.reopens = true;
    }

    fn copy_and_empty(&mut self) {
        if !self.log().exists() || self.held.is_some() {
            return;
        }
        self.finish_line();
        self.make_room();
        fs::copy(self.log(), self.numbered(1, "")).unwrap();
        OpenOptions::new().write(true).truncate(true).open(self.log()).unwrap();
    }

    fn pack(&mut self, number: usize) {
        let (from, to) = (self.numbered(number, ""), self.numbered(number, ".gz"));
        if !from.exists() || self.held.as_ref() == Some(&from) {
            return;
        }
        let mut packed = GzEncoder::new(File::create(&to).unwrap(), Compression::fast());
        packed.write_all(&fs::read(&from).unwrap()).unwrap();
        let packed = packed.finish().unwrap();
        packed.set_modified(fs::metadata(&from).unwrap().modified().unwrap()).unwrap();
        fs::remove_file(from).unwrap();
    }

    /// Removes the log, or puts another in its place.
    fn replace(&mut self, dice: &mut Dice) {
        self.finish_line();
        self.reopens = true;
        self.held = None;
        let _ = fs::remove_file(self.log());
        if dice.below(2) == 0 {
            let other = self.directory.path().join("other");
            self.out = append(&other);
            self.reopens = false;
            self.write(1 + usize::try_from(dice.below(300)).unwrap(), dice);
            fs::rename(other, self.log()).unwrap();
        }
    }
}

fn append(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

/// Who follows, and what it has taken.
struct Reader {
    follower: Follower,
    taken: Vec<String>,
    kept: (Vec<u8>, Vec<String>),
}

impl Reader {
    fn new(log: &Path) -> Self {
        let follower = Follower::new(vec![wanted(log)]);
        let kept = (follower.checkpoint(b""), Vec::new());
        Self { follower, taken: Vec::new(), kept }
    }

    fn poll(&mut self, lines_max: u64) {
        let mut left = lines_max;
        let taken = &mut self.taken;
        self.follower.poll(|of| {
            let text = std::str::from_utf8(of.lines).unwrap();
            taken.extend(text.split_inclusive('\n').map(str::to_owned));
            left = left.saturating_sub(1);
            left > 0
        });
    }

    fn keep(&mut self) {
        self.kept = (self.follower.checkpoint(b"what was counted"), self.taken.clone());
    }

    /// As if it had been killed: what came after the checkpoint was never counted.
    fn crash(&mut self, log: &Path) {
        let (follower, _) = Follower::resume(vec![wanted(log)], log, &self.kept.0).unwrap();
        self.follower = follower;
        self.taken.clone_from(&self.kept.1);
    }
}

fn wanted(log: &Path) -> Wanted {
    Wanted { path: log.to_owned(), state: State::default() }
}

fn play(seed: u64) -> (Vec<String>, Vec<String>) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut server = Server::new();
    let log = server.log();
    let mut reader = Reader::new(&log);
    reader.poll(u64::MAX);
    reader.keep();
    for _ in 0..80 {
        match dice.below(16) {
            0..4 => server.write(1, &mut dice),
            4..7 => {
                let bytes = 1 + usize::try_from(dice.below(2_000)).unwrap();
                server.write(bytes, &mut dice);
            }
            7..9 => reader.poll(u64::MAX),
            9 => reader.poll(1),
            10 => reader.keep(),
            11 => {
                let creates = dice.below(2) == 0;
                server.rename(creates);
            }
            12 => server.copy_and_empty(),
            13 => server.pack(1 + usize::try_from(dice.below(3)).unwrap()),
            14 => reader.crash(&log),
            _ => {
                // Whoever removes a log that nobody has read loses it.
                server.finish_line();
                reader.poll(u64::MAX);
                reader.keep();
                server.replace(&mut dice);
            }
        }
    }
    server.finish_line();
    reader.poll(u64::MAX);
    reader.poll(u64::MAX);
    reader.taken.sort();
    server.written.sort();
    (reader.taken, server.written)
}

#[test]
fn every_line_is_taken_once_whatever_rotation_and_crashes_do() {
    for seed in 0..200 {
        let (taken, written) = play(seed);
        let lost: Vec<_> = written.iter().filter(|line| taken.binary_search(line).is_err()).collect();
        assert!(lost.is_empty(), "seed {seed}: lost {lost:?}");
        assert_eq!(taken.len(), written.len(), "seed {seed}: lines were taken twice");
    }
}

#[test]
fn a_damaged_checkpoint_is_refused_and_never_a_panic() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    fs::write(&log, "one\ntwo\n").unwrap();
    let mut reader = Reader::new(&log);
    reader.poll(u64::MAX);
    reader.keep();
    let whole = reader.kept.0;
    let (_, kept) = Follower::resume(vec![wanted(&log)], &log, &whole).unwrap();
    assert_eq!(kept, b"what was counted");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x20;
        for damaged in [&damaged[..], &whole[..at]] {
            let refused = Follower::resume(vec![wanted(&log)], &log, damaged).unwrap_err().to_string();
            assert!(refused.contains("a damaged one"), "{refused}");
        }
    }
}

#[test]
fn a_copy_is_no_new_log_and_a_log_that_begins_alike_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let lines =
        |from: u32, to: u32| (from..to).map(|line| format!("line {line}\n")).collect::<Vec<_>>().concat();
    fs::write(path("access.log"), lines(0, 400)).unwrap();
    let mut reader = Reader::new(&path("access.log"));
    reader.poll(u64::MAX);
    // A copy of all, and an older one.
    fs::copy(path("access.log"), path("access.log.1")).unwrap();
    fs::write(path("access.log.bak"), lines(0, 300)).unwrap();
    reader.poll(u64::MAX);
    assert_eq!(reader.taken.len(), 400);
    // The beginning is the same, but it goes on otherwise.
    fs::write(path("access.log.2"), lines(0, 300) + &lines(1_000, 1_300)).unwrap();
    reader.poll(u64::MAX);
    assert_eq!(reader.taken.len(), 1_000);
}
