//! An inventory in pieces, each known by its hash: what did not change is neither sent nor stored again, and hosts that
//! have the same share it.

use advisory::Advisory;
use advisory::digest::{hex, sha256};
use exposure::Inventory;
use exposure::inventory::{Archive, Candidate, Gap, Kernel, Package, Process, System};
use jiff::{Timestamp, ToSpan};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Part → hash of its body. Packages come in parts by the first letter of their source: `packages.o`.
pub type Parts = BTreeMap<String, String>;

/// A process younger than this that neither listens nor holds old code is passing by: a shell, a timer's job.
const PASSING_SECONDS: i64 = 60;
/// Parts that packages come in, before the letter.
const PACKAGES: &str = "packages.";

/// An inventory in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Which piece is which part.
    pub parts: Parts,
    /// Bodies by hash.
    pub bodies: BTreeMap<String, String>,
}

impl Pieces {
    /// The hash of the whole: of its parts' names and hashes.
    pub fn hash(&self) -> String {
        hash(&self.parts)
    }

    fn add<T: Serialize + ?Sized>(&mut self, part: &str, value: &T) {
        let body = serde_json::to_string(value).expect("inventories have text keys only");
        let hash = sha256(body.as_bytes());
        self.parts.insert(part.to_owned(), hash.clone());
        self.bodies.insert(hash, body);
    }
}

/// The hash of an inventory whose parts are these.
pub fn hash(parts: &Parts) -> String {
    let mut digest = Sha256::new();
    for (part, hash) in parts {
        digest.update(format!("{part} {hash}\n"));
    }
    hex(&digest.finalize())
}

/// Pieces that do not make an inventory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A part that every inventory has.
    #[error("the part \"{0}\" is missing")]
    Missing(&'static str),
    /// A part without its body.
    #[error("the body of the part \"{0}\" is missing")]
    Bodiless(String),
    /// A body that does not have the hash it is known by.
    #[error("the body of the part \"{0}\" does not have its hash")]
    Hash(String),
    /// A body that cannot be read.
    #[error("the part \"{part}\" cannot be read: {reason}")]
    Unreadable {
        /// Which part.
        part: String,
        /// Why.
        reason: String,
    },
}

/// Leaves out of an inventory, seen at its `observed` time, what changes by itself from one look to the next, so that
/// an unchanged host has an unchanged hash: processes passing by, pids, times of start.
pub fn settle(inventory: &mut Inventory) {
    let since = inventory.observed.saturating_sub(PASSING_SECONDS.seconds()).unwrap_or(Timestamp::MIN);
    let stays = |process: &Process| {
        !process.stale.is_empty()
            || !process.sockets.is_empty()
            || process.started.is_none_or(|started| started <= since)
    };
    inventory.processes.retain(stays);
    for process in &mut inventory.processes {
        process.started = None;
        process.pid = 0;
    }
    inventory.processes.sort_by(|one, other| order(one).cmp(&order(other)));
    inventory.processes.dedup();
}

fn order(process: &Process) -> impl Ord + '_ {
    (
        (&process.unit, &process.name, &process.executable, &process.packages),
        (&process.stale, &process.sockets, process.hidden),
    )
}

/// Takes a settled inventory, and what the host's package manager says that its fixes close, into pieces.
pub fn split(inventory: &Inventory, closes: &[Advisory]) -> Pieces {
    let mut pieces = Pieces::default();
    pieces.add("root", &inventory.root);
    pieces.add("system", &inventory.system);
    pieces.add("archives", &inventory.archives);
    pieces.add("candidates", &inventory.candidates);
    pieces.add("kernel", &inventory.kernel);
    pieces.add("processes", &inventory.processes);
    pieces.add("gaps", &inventory.gaps);
    pieces.add("closes", closes);
    let mut letters: BTreeMap<char, Vec<&Package>> = BTreeMap::new();
    for package in &inventory.packages {
        letters.entry(package.batch()).or_default().push(package);
    }
    for (letter, packages) in letters {
        pieces.add(&format!("{PACKAGES}{letter}"), &packages);
    }
    pieces
}

/// A piece, read: what one part of an inventory says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// `root`.
    Root(String),
    /// `system`.
    System(System),
    /// `packages.…`: the packages of one letter.
    Packages(Vec<Package>),
    /// `archives`.
    Archives(Vec<Archive>),
    /// `candidates`.
    Candidates(Vec<Candidate>),
    /// `kernel`.
    Kernel(Kernel),
    /// `processes`.
    Processes(Vec<Process>),
    /// `gaps`.
    Gaps(Vec<Gap>),
    /// `closes`: what the host's package manager says that its fixes close.
    Closes(Vec<Advisory>),
}

impl Piece {
    /// What decides how a part is read: `packages` for `packages.o`, otherwise its name. Parts of one kind that have the
    /// same hash are the same piece; of different kinds they are not (`[]` is many things).
    pub fn kind(part: &str) -> &str {
        if part.starts_with(PACKAGES) { "packages" } else { part }
    }

    /// Reads the body of a part; `None` if this version does not know the part.
    pub fn read(part: &str, body: &str) -> Result<Option<Self>, Broken> {
        fn json<T: DeserializeOwned>(part: &str, body: &str) -> Result<T, Broken> {
            serde_json::from_str(body)
                .map_err(|problem| Broken::Unreadable { part: part.to_owned(), reason: problem.to_string() })
        }
        Ok(Some(match Self::kind(part) {
            "root" => Self::Root(json(part, body)?),
            "system" => Self::System(json(part, body)?),
            "packages" => Self::Packages(json(part, body)?),
            "archives" => Self::Archives(json(part, body)?),
            "candidates" => Self::Candidates(json(part, body)?),
            "kernel" => Self::Kernel(json(part, body)?),
            "processes" => Self::Processes(json(part, body)?),
            "gaps" => Self::Gaps(json(part, body)?),
            "closes" => Self::Closes(json(part, body)?),
            _ => return Ok(None),
        }))
    }
}

/// Makes the inventory of the host called `host`, observed at `observed`, of its pieces again; checks every hash, also
/// those of parts that this version does not know.
pub fn join(host: &str, observed: Timestamp, pieces: &Pieces) -> Result<(Inventory, Vec<Advisory>), Broken> {
    let mut read = Vec::new();
    for (part, hash) in &pieces.parts {
        let body = pieces.bodies.get(hash).ok_or_else(|| Broken::Bodiless(part.clone()))?;
        if sha256(body.as_bytes()) != *hash {
            return Err(Broken::Hash(part.clone()));
        }
        if let Some(piece) = Piece::read(part, body)? {
            read.push(piece);
        }
    }
    assemble(host, observed, &read)
}

/// Makes an inventory of pieces that were read before; hosts may share them.
pub fn assemble<'a>(
    host: &str,
    observed: Timestamp,
    pieces: impl IntoIterator<Item = &'a Piece>,
) -> Result<(Inventory, Vec<Advisory>), Broken> {
    let (mut root, mut system, mut archives, mut candidates) = (None, None, None, None);
    let (mut kernel, mut processes, mut gaps, mut closes) = (None, None, None, None);
    let mut packages: Vec<Package> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Root(value) => root = Some(value),
            Piece::System(value) => system = Some(value),
            Piece::Packages(some) => packages.extend_from_slice(some),
            Piece::Archives(value) => archives = Some(value),
            Piece::Candidates(value) => candidates = Some(value),
            Piece::Kernel(value) => kernel = Some(value),
            Piece::Processes(value) => processes = Some(value),
            Piece::Gaps(value) => gaps = Some(value),
            Piece::Closes(value) => closes = Some(value),
        }
    }
    packages.sort();
    let inventory = Inventory {
        host: host.to_owned(),
        observed,
        root: root.cloned().ok_or(Broken::Missing("root"))?,
        system: system.cloned().ok_or(Broken::Missing("system"))?,
        packages,
        archives: archives.cloned().ok_or(Broken::Missing("archives"))?,
        candidates: candidates.cloned().ok_or(Broken::Missing("candidates"))?,
        kernel: kernel.cloned().ok_or(Broken::Missing("kernel"))?,
        processes: processes.cloned().ok_or(Broken::Missing("processes"))?,
        gaps: gaps.cloned().ok_or(Broken::Missing("gaps"))?,
    };
    Ok((inventory, closes.cloned().ok_or(Broken::Missing("closes"))?))
}
