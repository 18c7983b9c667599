//! What the server has still to be told: looks at the host, oldest first, each whole, in files of the agent's directory.
//!
//! While the server is out of reach every change is kept, so that the host's history has no hole when it is back; at most
//! [`REPORTS_MAX`] of them in [`BYTES_MAX`], the oldest going first. The newest is kept also after it was sent: it is
//! what the host has, for a server that asks for it again and for an agent that starts again.
//!
//! Each file stands for itself, so that one that was dropped or damaged spoils no other. What is sent of it is only what
//! the server does not have yet.

use crate::state::{Durable, SPOOL as FOLDER, State, is_unfinished};
use advisory::Problem;
use advisory::digest::sha256;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use wire::v1::{INFLATED_BYTES_MAX, Parts, Report, hash};

/// Reports that wait at most.
const REPORTS_MAX: usize = 16;
/// Bytes that they may take on the disk: 32 MiB, of ordinary hosts several hundred reports.
const BYTES_MAX: u64 = 32 << 20;
/// Bytes of one file: as much as a request may have.
const FILE_BYTES_MAX: u64 = wire::v1::REQUEST_BYTES_MAX as u64;
/// Damaged files that are kept for a person to look at.
const DAMAGED_MAX: usize = 4;

/// What the server has: the parts of the last report that it stored.
const STORED: &str = "spool/stored.json";
/// Bytes of that: a hundred parts of a hundred bytes, a hundred times over.
const STORED_BYTES_MAX: u64 = 1 << 20;
/// How the names of reports end.
const ENDING: &str = ".json.gz";
/// How the names of damaged ones end.
const DAMAGED: &str = ".damaged";

/// Reports by the order of their looks.
#[derive(Debug)]
pub(crate) struct Spool {
    /// Oldest first. All but possibly the first wait to be sent.
    kept: VecDeque<Kept>,
    /// Number and parts of the last one that the server stored; number 0: none.
    stored: (u64, Parts),
    /// Those that the disk did not take, by number.
    in_memory: BTreeMap<u64, Report>,
    /// How many were dropped unsent since the last one was stored.
    dropped: usize,
}

/// One report, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    /// Of the whole inventory.
    pub(crate) hash: String,
    bytes: u64,
}

impl Kept {
    /// `000000000042-HASH.json.gz`.
    fn parse(name: &str, bytes: u64) -> Option<Self> {
        let (number, hash) = name.strip_suffix(ENDING)?.split_once('-')?;
        let is_hash = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hash.then_some(())?;
        Some(Self { number: number.parse().ok().filter(|number| *number > 0)?, hash: hash.to_owned(), bytes })
    }

    fn name(&self) -> String {
        format!("{FOLDER}/{:012}-{}{ENDING}", self.number, self.hash)
    }
}

impl Spool {
    /// What was kept. Whatever is damaged is set aside and told.
    pub(crate) fn open(state: &State) -> (Self, Vec<Problem>) {
        let mut problems = Vec::new();
        let mut kept = Vec::new();
        let folder = state.path(FOLDER);
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if is_unfinished(&name) {
                let _ = std::fs::remove_file(entry.path());
            } else if let Ok(found) = entry.metadata() {
                kept.extend(name.to_str().and_then(|name| Kept::parse(name, found.len())));
            }
        }
        kept.sort_by_key(|kept| kept.number);
        kept.dedup_by_key(|kept| kept.number);
        let stored = match state.read(STORED, STORED_BYTES_MAX) {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).unwrap_or_else(|problem| {
                let reason = format!("{problem}; everything that is kept is sent again");
                problems.push(Problem::new("read", state.path(STORED).to_string_lossy(), reason));
                (0, Parts::new())
            }),
            Ok(None) => (0, Parts::new()),
            Err(error) => {
                problems.push(Problem::new("read", state.path(STORED).to_string_lossy(), error));
                (0, Parts::new())
            }
        };
        let spool = Self { kept: kept.into(), stored, in_memory: BTreeMap::new(), dropped: 0 };
        (spool, problems)
    }

    /// The hash of what the host has; empty before the first look.
    pub(crate) fn newest(&self) -> &str {
        self.kept.back().map_or("", |kept| kept.hash.as_str())
    }

    /// How many wait to be sent.
    pub(crate) fn waiting(&self) -> usize {
        self.kept.iter().filter(|kept| kept.number > self.stored.0).count()
    }

    /// How many were dropped unsent since the server stored one.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped
    }

    /// The oldest that waits.
    pub(crate) fn next(&self) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.number > self.stored.0)
    }

    /// Puts a look at its end. Tells what had to be dropped, and if the disk does not take it: then it is kept in memory.
    pub(crate) fn push(&mut self, state: &State, report: Report) -> Vec<Problem> {
        let mut problems = Vec::new();
        let newest = self.kept.back().map_or(0, |kept| kept.number).max(self.stored.0);
        let mut kept = Kept { number: newest + 1, hash: hash(&report.parts), bytes: 0 };
        let bytes = pack(&report);
        kept.bytes = bytes.len() as u64;
        let written = state.folder(FOLDER).and_then(|_| state.keep(kept.name(), &bytes, Durable::Yes));
        if let Err(error) = written {
            let reason =
                format!("{error}; it is kept in memory, and lost if the agent ends before it is sent");
            let problem = Problem::new("keep a report in", state.path(FOLDER).to_string_lossy(), reason);
            problems.push(problem.remedy("free some space, and make the directory writable"));
            // One is enough to tell what the host has; a host whose disk is full needs its memory.
            self.drop_from_memory();
            self.in_memory.insert(kept.number, report);
        }
        self.kept.push_back(kept);
        problems.extend(self.shrink(state));
        problems
    }

    /// The content of one. `None` if it is damaged: it was set aside, which is told.
    pub(crate) fn read(&mut self, state: &State, kept: &Kept) -> Result<Report, Problem> {
        if let Some(report) = self.in_memory.get(&kept.number) {
            return Ok(report.clone());
        }
        let name = kept.name();
        let read = state.read(&name, FILE_BYTES_MAX).map_err(|error| error.to_string());
        let bytes = read.and_then(|bytes| bytes.ok_or_else(|| "it is gone".to_owned()));
        let report = bytes.and_then(|bytes| unpack(&bytes, kept));
        report.map_err(|reason| {
            self.kept.retain(|other| other.number != kept.number);
            let aside = format!("{name}{DAMAGED}");
            let _ = std::fs::rename(state.path(&name), state.path(&aside));
            tidy_damaged(state);
            let reason = format!("{reason}; set aside as {}", state.path(aside).display());
            let problem = Problem::new("read report", state.path(&name).to_string_lossy(), reason);
            problem.remedy("the host's history lacks this look; check the disk")
        })
    }

    /// The newest, sent or not.
    pub(crate) fn last(&self) -> Option<&Kept> {
        self.kept.back()
    }

    /// The content of the newest; `None` before the first look.
    pub(crate) fn read_newest(&mut self, state: &State) -> Option<Result<Report, Problem>> {
        let newest = self.kept.back().cloned()?;
        Some(self.read(state, &newest))
    }

    /// `report` without the bodies that the server has.
    pub(crate) fn without_known(&self, mut report: Report) -> Report {
        let known: BTreeSet<&String> = self.stored.1.values().collect();
        report.bodies.retain(|hash, _| !known.contains(hash));
        report
    }

    /// The server stored this one: it and everything older need not be kept, unless it is the newest.
    pub(crate) fn was_stored(&mut self, state: &State, number: u64, parts: Parts) -> io::Result<()> {
        self.stored = (number, parts);
        self.dropped = 0;
        self.in_memory.retain(|other, _| *other >= number);
        // First what was stored, then the files: the other way round a crash would leave nothing to compare with.
        let bytes = serde_json::to_vec(&self.stored).expect("text keys only");
        let written = state.folder(FOLDER).and_then(|_| state.keep(STORED, &bytes, Durable::Yes));
        while self.kept.len() > 1 && self.kept.front().is_some_and(|kept| kept.number <= number) {
            self.remove_oldest(state);
        }
        written
    }

    /// Drops what the server will never take, if there is something newer. Tells whether it did.
    pub(crate) fn give_up(&mut self, state: &State, number: u64) -> bool {
        let is_newest = self.kept.back().is_none_or(|kept| kept.number == number);
        if is_newest {
            return false;
        }
        if let Some(at) = self.kept.iter().position(|kept| kept.number == number)
            && let Some(kept) = self.kept.remove(at)
        {
            let _ = std::fs::remove_file(state.path(kept.name()));
            self.in_memory.remove(&number);
            self.dropped += 1;
        }
        true
    }

    /// Drops the oldest until the rest is within its bounds.
    fn shrink(&mut self, state: &State) -> Option<Problem> {
        // One that was sent and is only kept for comparing is none of those that wait.
        while self.kept.len() > 1 && self.kept.front().is_some_and(|kept| kept.number <= self.stored.0) {
            self.remove_oldest(state);
        }
        let mut lost = 0;
        let bytes = |kept: &VecDeque<Kept>| kept.iter().map(|kept| kept.bytes).sum::<u64>();
        while self.kept.len() > 1 && (self.kept.len() > REPORTS_MAX || bytes(&self.kept) > BYTES_MAX) {
            self.remove_oldest(state);
            lost += 1;
        }
        self.dropped += lost;
        (lost > 0).then(|| {
            let reason = format!(
                "{lost} dropped unsent, {} since the server was last told: the host's history will have a hole",
                self.dropped
            );
            let problem = Problem::new("keep reports in", state.path(FOLDER).to_string_lossy(), reason);
            problem.remedy("bring the server back within reach")
        })
    }

    fn remove_oldest(&mut self, state: &State) {
        if let Some(kept) = self.kept.pop_front() {
            let _ = std::fs::remove_file(state.path(kept.name()));
            self.in_memory.remove(&kept.number);
        }
    }

    fn drop_from_memory(&mut self) {
        for number in std::mem::take(&mut self.in_memory).into_keys() {
            self.kept.retain(|kept| kept.number != number);
            self.dropped += usize::from(number > self.stored.0);
        }
    }
}

fn pack(report: &Report) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut packed, report).expect("memory takes every byte, and keys are texts");
    packed.flush().and_then(|()| packed.finish()).expect("memory takes every byte")
}

fn unpack(bytes: &[u8], kept: &Kept) -> Result<Report, String> {
    let mut text = Vec::new();
    let mut unpacked = GzDecoder::new(bytes).take(INFLATED_BYTES_MAX as u64);
    unpacked.read_to_end(&mut text).map_err(|error| error.to_string())?;
    let report: Report = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    if hash(&report.parts) != kept.hash {
        return Err("it is another report than its name says".to_owned());
    }
    for (part, hash) in &report.parts {
        if report.bodies.get(hash).is_none_or(|body| sha256(body.as_bytes()) != *hash) {
            return Err(format!("the body of the part \"{part}\" is missing or does not have its hash"));
        }
    }
    Ok(report)
}

/// Damaged files beyond the newest few are removed.
fn tidy_damaged(state: &State) {
    let entries = std::fs::read_dir(state.path(FOLDER)).into_iter().flatten().flatten();
    let damaged = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(DAMAGED));
    let mut damaged: Vec<PathBuf> = damaged.map(|entry| entry.path()).collect();
    damaged.sort();
    for path in damaged.iter().rev().skip(DAMAGED_MAX) {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests;
