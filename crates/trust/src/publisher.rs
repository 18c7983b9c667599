//! The server's side: publishes what people have signed, and keeps it fresh with the server's own key.
//!
//! The files are static: a host, a cache or another TUF client may read them from any web server. Nobody else writes to
//! the store meanwhile; of several servers, the one that holds the lease publishes.

use crate::kept::replace;
use crate::keys::{self, Signer};
use crate::metadata::{self, SPECIFICATION, from_tough, to_tough};
use crate::plan::{PLAN_BYTES_MAX, PLANS, PlanName, PlanTarget, sha256};
use crate::proposal::{self, Proposal};
use crate::standing::{self, Standing};
use crate::statement::{Heard, NotHalted};
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::path::PathBuf;
use tough::schema::{Hashes, Metafile, Role, Signed, Snapshot, Timestamp as TimestampDocument};

/// A timestamp is good for six hours: so long a host can be kept from seeing news before it knows that it is.
pub const TIMESTAMP_LIFE: SignedDuration = SignedDuration::from_hours(6);
/// A snapshot is good for a day.
pub const SNAPSHOT_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// What stands, whole: written before anything else, so that a publishing that was interrupted is finished.
pub const STANDING: &str = "standing.json";
const TIMESTAMP: &str = "timestamp.json";

/// Where the files lie: a directory, a database, an object store.
pub trait Store {
    /// A file's bytes; `None` when there is no such file.
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Puts a file, or replaces it, in one step and for good.
    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

/// A store that is a directory.
#[derive(Clone, Debug)]
pub struct Directory(pub PathBuf);

/// Publishes.
#[derive(Debug)]
pub struct Publisher<S> {
    store: S,
    online: Vec<Signer>,
    standing: Standing,
    /// Everything that stands is written; otherwise the next [`Publisher::refresh`] writes it.
    finished: bool,
}

/// What [`Publisher::refresh`] signed anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// The snapshot.
    pub snapshot: bool,
    /// The timestamp.
    pub timestamp: bool,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error("{doing} {name}: {problem}")]
    Store {
        /// What was tried.
        doing: &'static str,
        /// Which file.
        name: String,
        /// Why it failed.
        problem: io::Error,
    },
    /// Nothing was published yet.
    #[error("publish: this store is empty; found the repository first with \"palisade key new\"")]
    Empty,
    /// Something was.
    #[error("found a repository: there is one already")]
    NotEmpty,
    /// A file in the store is damaged.
    #[error("read {name}: {problem}; restore it from a backup")]
    Damaged {
        /// Which file.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The key that the root names is not here.
    #[error(
        "sign as the server: the root names key {0}, which is not here; give the server that key, or rotate it"
    )]
    NoOnlineKey(String),
    /// The plan is too long.
    #[error("stage {0}: a plan has at most {PLAN_BYTES_MAX} bytes")]
    TooLong(PlanName),
    /// A plan was signed for whose bytes are not here.
    #[error("publish {0}: its bytes are not in the store; stage it first")]
    NotStaged(PlanName),
    /// The proposal.
    #[error(transparent)]
    Proposal(#[from] proposal::Error),
    /// The documents.
    #[error(transparent)]
    Standing(#[from] standing::Error),
    /// The key.
    #[error(transparent)]
    Key(#[from] keys::Error),
    /// A version that no number is left for.
    #[error("sign the next {0}: there is no number left; rotate the server's key")]
    LastVersion(&'static str),
}

impl<S: Store> Publisher<S> {
    /// Begins a repository with what [`standing::Founding`] proposed and everybody has signed. `online`: the keys that
    /// this server holds; those that the root names are used.
    pub fn found(store: S, online: Vec<Signer>, proposal: &Proposal, now: Timestamp) -> Result<Self, Error> {
        if store.get(STANDING).map_err(|problem| failed("read", STANDING, problem))?.is_some() {
            return Err(Error::NotEmpty);
        }
        let mut publisher = Self { store, online, standing: proposal.accept(None)?, finished: false };
        publisher.signer()?;
        publisher.intend(&publisher.standing)?;
        publisher.complete(now)?;
        Ok(publisher)
    }

    /// Opens a repository, finishes a publishing that was interrupted, and signs anew what is about to expire.
    pub fn open(store: S, online: Vec<Signer>, now: Timestamp) -> Result<Self, Error> {
        let mut publisher = Self::load(store, online)?;
        publisher.signer()?;
        publisher.complete(now)?;
        Ok(publisher)
    }

    /// Opens a repository and writes nothing yet. So a proposal can be published that brings another key of the server
    /// where the present one is lost.
    pub fn load(store: S, online: Vec<Signer>) -> Result<Self, Error> {
        let bytes = store.get(STANDING).map_err(|problem| failed("read", STANDING, problem))?;
        let standing = serde_json::from_slice(&bytes.ok_or(Error::Empty)?)
            .map_err(|problem| Error::Damaged { name: STANDING, problem: problem.to_string() })?;
        Ok(Self { store, online, standing, finished: false })
    }

    /// What is in force.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The root, to be given to a host that enrols.
    pub fn root(&self) -> Vec<u8> {
        self.standing.root_bytes()
    }

    /// Keeps the bytes of a plan, so that people can read what they are asked to sign; gives what they would sign for.
    /// Nothing is in force by that.
    pub fn stage(&self, name: PlanName, bytes: &[u8]) -> Result<PlanTarget, Error> {
        let plan = PlanTarget::of(name, bytes).ok_or(Error::TooLong(name))?;
        self.put(&plan.file(), bytes)?;
        Ok(plan)
    }

    /// The bytes of a plan, staged or in force.
    pub fn staged(&self, plan: &PlanTarget) -> Result<Vec<u8>, Error> {
        let name = plan.file();
        let bytes = self.store.get(&name).map_err(|problem| failed("read", &name, problem))?;
        bytes.filter(|bytes| plan.is(bytes)).ok_or(Error::NotStaged(plan.name))
    }

    /// Puts a proposal in force that everybody has signed who must. Refused when another was published meanwhile.
    pub fn publish(&mut self, proposal: &Proposal, now: Timestamp) -> Result<(), Error> {
        let next = proposal.accept(Some(&self.standing))?;
        let before = self.standing.plans();
        for plan in next.plans().iter().filter(|plan| !before.contains(plan)) {
            self.staged(plan)?;
        }
        self.signer_for(&next)?;
        self.intend(&next)?;
        self.standing = next;
        self.finished = false;
        self.complete(now)?;
        Ok(())
    }

    /// Signs timestamp and snapshot anew when half of their life is over. To be called now and then.
    pub fn refresh(&mut self, now: Timestamp) -> Result<Refreshed, Error> {
        if self.finished { self.freshen(now) } else { self.complete(now) }
    }

    /// What people must sign anew within `ahead`, and when it expires: an alarm.
    pub fn expiring(&self, now: Timestamp, ahead: SignedDuration) -> Vec<(&'static str, Timestamp)> {
        let until = now.saturating_add(ahead).unwrap_or(Timestamp::MAX);
        self.standing.expiries().into_iter().filter(|(_, at)| *at <= until).collect()
    }

    /// Says that a rollout is not halted.
    pub fn not_halted(&self, said: &NotHalted) -> Result<Vec<u8>, Error> {
        Ok(said.sign(self.signer()?)?)
    }

    /// Says that a host was heard.
    pub fn heard(&self, said: &Heard) -> Result<Vec<u8>, Error> {
        Ok(said.sign(self.signer()?)?)
    }

    /// From here on it will be in force, whatever breaks in between.
    fn intend(&self, standing: &Standing) -> Result<(), Error> {
        self.put(STANDING, &metadata::canonical(standing))
    }

    /// Writes what stands. Every step may be repeated: whoever finds [`STANDING`] can do the rest.
    fn complete(&mut self, now: Timestamp) -> Result<Refreshed, Error> {
        let [root, targets, plans] = self.standing.versions();
        // Hosts see nothing of this before the timestamp; except the root, which they must see first.
        self.put(&format!("{plans}.{PLANS}.json"), &metadata::canonical(&self.standing.plans))?;
        self.put(&format!("{targets}.targets.json"), &metadata::canonical(&self.standing.targets))?;
        self.put(&format!("{root}.root.json"), &metadata::canonical(&self.standing.root))?;
        let refreshed = self.freshen(now)?;
        self.finished = true;
        Ok(refreshed)
    }

    /// Makes snapshot and timestamp fit what stands, and fresh.
    fn freshen(&self, now: Timestamp) -> Result<Refreshed, Error> {
        let old_timestamp: Option<Signed<TimestampDocument>> = self.ours(TIMESTAMP)?;
        let named = old_timestamp.as_ref().and_then(|old| old.signed.meta.get("snapshot.json"));
        let old_snapshot: Option<Signed<Snapshot>> = match named {
            Some(named) => self.ours(&format!("{}.snapshot.json", named.version))?,
            None => None,
        };
        let meta = HashMap::from([
            ("targets.json".to_owned(), metafile(&self.standing.targets)),
            (format!("{PLANS}.json"), metafile(&self.standing.plans)),
        ]);
        let mut refreshed = Refreshed::default();
        let snapshot = match old_snapshot {
            Some(old) if old.signed.meta == meta && fresh(&old.signed, SNAPSHOT_LIFE, now) => old,
            old => {
                refreshed.snapshot = true;
                let document = Snapshot {
                    meta,
                    ..Snapshot::new(
                        SPECIFICATION.to_owned(),
                        version(old.as_ref(), "snapshot")?,
                        to_tough(now.saturating_add(SNAPSHOT_LIFE).unwrap_or(Timestamp::MAX)),
                    )
                };
                let signed = self.signed(document)?;
                let name = format!("{}.snapshot.json", signed.signed.version);
                self.put(&name, &metadata::canonical(&signed))?;
                signed
            }
        };
        let meta = HashMap::from([("snapshot.json".to_owned(), metafile(&snapshot))]);
        match old_timestamp {
            Some(old) if old.signed.meta == meta && fresh(&old.signed, TIMESTAMP_LIFE, now) => {}
            old => {
                refreshed.timestamp = true;
                let document = TimestampDocument {
                    meta,
                    ..TimestampDocument::new(
                        SPECIFICATION.to_owned(),
                        version(old.as_ref(), "timestamp")?,
                        to_tough(now.saturating_add(TIMESTAMP_LIFE).unwrap_or(Timestamp::MAX)),
                    )
                };
                let signed = self.signed(document)?;
                self.put(TIMESTAMP, &metadata::canonical(&signed))?;
            }
        }
        Ok(refreshed)
    }

    /// A document of the server's own, if it verifies by the root that stands. One that does not was signed with a key
    /// that has been rotated since (or by somebody else): the count begins anew, as hosts expect after a rotation.
    fn ours<T: Role + DeserializeOwned>(&self, name: &str) -> Result<Option<Signed<T>>, Error> {
        let bytes = self.store.get(name).map_err(|problem| failed("read", name, problem))?;
        let document: Option<Signed<T>> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(document.filter(|document| self.standing.root.signed.verify_role(document).is_ok()))
    }

    fn signed<T: Role>(&self, signed: T) -> Result<Signed<T>, Error> {
        let mut document = Signed { signed, signatures: Vec::new() };
        metadata::sign(&mut document, self.signer()?)?;
        Ok(document)
    }

    /// The key of ours that the root names.
    fn signer(&self) -> Result<&Signer, Error> {
        self.signer_for(&self.standing)
    }

    fn signer_for(&self, standing: &Standing) -> Result<&Signer, Error> {
        let named = standing.online();
        let ours = self.online.iter().find(|signer| named.contains(signer.public()));
        let ids: Vec<String> = named.iter().map(|key| key.id().to_string()).collect();
        ours.ok_or_else(|| Error::NoOnlineKey(ids.join(" or ")))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.store.put(name, bytes).map_err(|problem| failed("write", name, problem))
    }
}

impl Store for Directory {
    fn get(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(problem) if problem.kind() == ErrorKind::NotFound => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let folder = self.0.join(folder);
        DirBuilder::new().recursive(true).create(&folder)?;
        replace(&folder, file, bytes)
    }
}

fn failed(doing: &'static str, name: &str, problem: io::Error) -> Error {
    Error::Store { doing, name: name.to_owned(), problem }
}

/// How a document names another: version, length, digest.
fn metafile<T: Role + serde::Serialize>(document: &Signed<T>) -> Metafile {
    let bytes = metadata::canonical(document);
    Metafile {
        length: u64::try_from(bytes.len()).ok(),
        hashes: Some(Hashes { sha256: sha256(&bytes).to_vec().into(), _extra: HashMap::new() }),
        version: document.signed.version(),
        _extra: HashMap::new(),
    }
}

fn fresh<T: Role>(document: &T, life: SignedDuration, now: Timestamp) -> bool {
    let left = from_tough(document.expires()).duration_since(now);
    // Also when the clock was wrong, far ahead: what is good for longer than a life is signed anew.
    left > life / 2 && left <= life
}

fn version<T: Role>(old: Option<&Signed<T>>, what: &'static str) -> Result<NonZeroU64, Error> {
    match old {
        None => Ok(NonZeroU64::MIN),
        Some(old) => old.signed.version().checked_add(1).ok_or(Error::LastVersion(what)),
    }
}
