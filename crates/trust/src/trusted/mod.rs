//! The host's side: from a root given at enrolment to plans that are verified.
//!
//! `tough` walks from root to targets, in the order of TUF's specification (section 5), and counts the signers. Around
//! it stand checks of our own, because hosts need more than it gives (docs/adr/0011-tuf-for-plans.md): the time is an
//! argument; what is remembered changes in one step; a key counts once whatever its ids; everything has a bound.

mod checks;
mod error;

pub use error::{Error, SaidError};

use crate::kept::Kept;
use crate::metadata;
use crate::plan::{PlanName, PlanTarget};
use crate::standing::{Standing, listed, tuf_name};
use crate::statement::{Heard, NotHalted};
use crate::transport::{
    Broken, Fetch, METADATA_BASE, ROOT_BYTES_MAX, ROOTS_MAX, SNAPSHOT_BYTES_MAX, Session, TARGETS_BASE,
    TARGETS_BYTES_MAX, TIMESTAMP_BYTES_MAX,
};
use checks::{check_documents, checked_plans, good, plans_of, readable, self_signed, unexpired};
use error::failed;
use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};
use tough::schema::{Role, RoleType, Root, Signed, Snapshot, Timestamp as TimestampDocument};
use tough::{ExpirationEnforcement, IntoVec, Limits, Repository, RepositoryLoader};
use url::Url;

/// How long one update, or the fetching of one plan, may take: longer than 32 MiB over a slow line.
pub const WITHIN: Duration = Duration::from_secs(120);
/// How the names of directories begin that last for one update.
const SCRATCH: &str = ".update-";
/// The file that is always asked for; also `tough`'s name for what it remembers of it.
const TIMESTAMP: &str = "timestamp.json";
/// `tough`'s name for what it remembers of the snapshot.
const SNAPSHOT: &str = "snapshot.json";
/// A clock may go back by so much, as clocks do that are set by the network; further back is an error.
pub const CLOCK_BACK_MAX: SignedDuration = SignedDuration::from_mins(5);

/// What a host trusts, and remembers in a directory of its own.
#[derive(Debug)]
pub struct Trusted {
    directory: PathBuf,
    kept: Kept,
    /// What is on the disk of it.
    written: Kept,
    root: Signed<Root>,
    session: Session,
    within: Duration,
    repository: Option<Repository>,
}

impl Trusted {
    /// Begins to trust `root` (a root of any version, as the server gave it at enrolment) and remembers it in
    /// `directory`, which must be there, be empty of trust, and belong to the host alone.
    pub fn pin(directory: &Path, root: &[u8], source: Arc<dyn Fetch>) -> Result<Self, Error> {
        let file = |problem| failed("remember a root in", directory, problem);
        if Kept::read(directory).map_err(file)?.is_some() {
            return Err(Error::AlreadyTrusting(directory.to_owned()));
        }
        let text = String::from_utf8(root.to_vec())
            .map_err(|problem| Error::BadRoot(metadata::printable(&problem)))?;
        let kept = Kept { root: text, timestamp: None, snapshot: None, latest: None };
        let trusted = Self::of(directory, kept, source)?;
        trusted.kept.write(directory).map_err(file)?;
        Ok(trusted)
    }

    /// Opens what [`Trusted::pin`] began.
    pub fn open(directory: &Path, source: Arc<dyn Fetch>) -> Result<Self, Error> {
        let kept =
            Kept::read(directory).map_err(|problem| failed("read the trust in", directory, problem))?;
        Self::of(directory, kept.ok_or_else(|| Error::NoRoot(directory.to_owned()))?, source)
    }

    fn of(directory: &Path, kept: Kept, source: Arc<dyn Fetch>) -> Result<Self, Error> {
        let root = self_signed(&kept.root)?;
        // A floor that no longer verifies is damaged. `tough` would do without.
        if !vouched::<TimestampDocument>(&root.signed, kept.timestamp.as_ref())
            || !vouched::<Snapshot>(&root.signed, kept.snapshot.as_ref())
        {
            let problem = io::Error::new(io::ErrorKind::InvalidData, "what it remembers is damaged");
            return Err(failed("read the trust in", directory, problem));
        }
        let session = Session::new(source);
        let directory = directory.to_owned();
        let written = kept.clone();
        Ok(Self { directory, kept, written, root, session, within: WITHIN, repository: None })
    }

    /// Waits for `within` at most, instead of [`WITHIN`].
    #[must_use]
    pub fn waiting(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Fetches and verifies what is new; gives the plans in force, by name.
    ///
    /// Blocks for as long as allowed. After an error the plans of before are not to be had: a host that cannot see what
    /// is in force begins nothing. What was verified on the way is remembered, so that nobody can offer older documents
    /// the next time.
    pub fn update(&mut self, now: Timestamp) -> Result<Vec<PlanTarget>, Error> {
        self.repository = None;
        self.check_clock(now)?;
        self.session.begin(self.within);
        let begun = Instant::now();
        let mut scratch = self.scratch().map_err(|problem| self.file(problem))?;
        let mut walked = self.walk(scratch.path(), self.within);
        if let Some(ours) = self.replaced_in_place(scratch.path()) {
            self.session.hold(TIMESTAMP, ours.as_bytes());
            scratch = self.scratch().map_err(|problem| self.file(problem))?;
            walked = self.walk(scratch.path(), self.within.saturating_sub(begun.elapsed()));
        }
        let adopted = self.adopt(scratch.path(), now);
        self.remember()?;
        adopted?;
        let repository = walked
            .map_err(|problem| self.file(problem))?
            .ok_or(Error::Slow(self.within))?
            .map_err(|problem| self.refused(&problem))?;
        check_documents(&repository, now)?;
        let plans = checked_plans(&repository)?;
        // Only now: a clock that was wrong once, far ahead, finds everything expired and leaves no trace.
        self.kept.latest = self.kept.latest.max(Some(now));
        self.remember()?;
        self.repository = Some(repository);
        Ok(plans)
    }

    /// Lets `tough` walk from the root to the targets; `None` when that took longer than allowed.
    fn walk(&self, scratch: &Path, within: Duration) -> io::Result<Option<tough::error::Result<Repository>>> {
        let loader = RepositoryLoader::new(&self.kept.root, base(METADATA_BASE), base(TARGETS_BASE))
            .transport(self.session.clone())
            .datastore(scratch)
            .limits(Limits {
                max_root_size: ROOT_BYTES_MAX,
                max_targets_size: TARGETS_BYTES_MAX,
                max_timestamp_size: TIMESTAMP_BYTES_MAX,
                max_snapshot_size: SNAPSHOT_BYTES_MAX,
                max_root_updates: ROOTS_MAX,
            })
            // tough would read the wall clock; `adopt` and `check_documents` ask the one that we are given.
            .expiration_enforcement(ExpirationEnforcement::Unsafe);
        run(within, loader.load())
    }

    /// The timestamp that is remembered, when what came in its place has its version and says something else. What was
    /// seen first is what that version says (specification 5.4.3.1); `tough` takes the later.
    fn replaced_in_place(&self, scratch: &Path) -> Option<String> {
        let ours = self.kept.timestamp.as_ref()?;
        let kept: Signed<TimestampDocument> = parse(ours).ok()?;
        let root = left_behind::<Root>(scratch, "root.json")?;
        let came = left_behind::<TimestampDocument>(scratch, TIMESTAMP)?;
        let replaced = came.signed.version == kept.signed.version && came.signed != kept.signed;
        (replaced && !rotated(&self.root.signed, &root.signed) && root.signed.verify_role(&kept).is_ok())
            .then(|| ours.clone())
    }

    /// Fetches one of the plans that the last [`Trusted::update`] gave, and verifies it.
    pub fn plan(&mut self, name: PlanName, now: Timestamp) -> Result<Vec<u8>, Error> {
        let repository = self.current(now)?;
        let known = listed(&plans_of(repository)?.signed);
        let wanted = known.iter().find(|plan| plan.name == name).ok_or(Error::NoSuchPlan(name))?;
        self.session.begin(self.within);
        let target = tuf_name(name);
        let read = async {
            match repository.read_target(&target).await? {
                Some(stream) => stream.into_vec().await.map(Some),
                None => Ok(None),
            }
        };
        let bytes = run(self.within, read)
            .map_err(|problem| self.file(problem))?
            .ok_or(Error::Slow(self.within))?
            .map_err(|problem| self.refused(&problem))?
            .ok_or(Error::NoSuchPlan(name))?;
        if !wanted.is(&bytes) {
            return Err(Error::Mismatch(format!("{name} has other bytes than were signed for")));
        }
        Ok(bytes)
    }

    /// Whether `bytes`, kept from before, are still a plan in force.
    pub fn verify(&self, name: PlanName, bytes: &[u8], now: Timestamp) -> Result<(), Error> {
        let known = listed(&plans_of(self.current(now)?)?.signed);
        let wanted = known.iter().find(|plan| plan.name == name).ok_or(Error::NoSuchPlan(name))?;
        if wanted.is(bytes) {
            return Ok(());
        }
        Err(Error::Mismatch(format!("{name} has other bytes than were signed for")))
    }

    /// Whether a plan whose bytes were verified before, with this digest, is still in force.
    pub fn is_in_force(&self, name: PlanName, sha256: &[u8; 32], now: Timestamp) -> Result<(), Error> {
        let targets = &plans_of(self.current(now)?)?.signed.targets;
        let target = targets.get(&tuf_name(name)).ok_or(Error::NoSuchPlan(name))?;
        if target.hashes.sha256[..] == sha256[..] {
            return Ok(());
        }
        Err(Error::Mismatch(format!("{name} has other bytes than were signed for")))
    }

    /// What stands, as the last [`Trusted::update`] verified it: who owns, who approves, who holds the keys. An approver
    /// reads the same before signing.
    pub fn standing(&self) -> Result<Standing, Error> {
        let repository = self.repository.as_ref().ok_or(Error::NotUpdated)?;
        let plans = plans_of(repository)?.clone();
        let mut targets = repository.targets().clone();
        for role in targets.signed.delegations.iter_mut().flat_map(|delegations| &mut delegations.roles) {
            role.targets = None;
        }
        Ok(Standing::new(repository.root().clone(), targets, plans)?)
    }

    /// The version of the root that is trusted.
    pub fn root_version(&self) -> u64 {
        self.root.signed.version.get()
    }

    /// That root, as it was signed.
    pub fn root_bytes(&self) -> &[u8] {
        self.kept.root.as_bytes()
    }

    /// Verifies a [`NotHalted`] by the timestamp keys of the trusted root. Whether it answers what was asked is the
    /// caller's to say.
    pub fn not_halted(&self, bytes: &[u8], now: Timestamp) -> Result<NotHalted, SaidError> {
        self.check_root(now)?;
        Ok(NotHalted::verify(bytes, &self.root.signed)?)
    }

    /// Verifies a [`Heard`] in the same way.
    pub fn heard(&self, bytes: &[u8], now: Timestamp) -> Result<Heard, SaidError> {
        self.check_root(now)?;
        Ok(Heard::verify(bytes, &self.root.signed)?)
    }

    /// The repository, unless something in it has expired since.
    fn current(&self, now: Timestamp) -> Result<&Repository, Error> {
        let repository = self.repository.as_ref().ok_or(Error::NotUpdated)?;
        self.check_clock(now)?;
        check_documents(repository, now)?;
        Ok(repository)
    }

    fn check_clock(&self, now: Timestamp) -> Result<(), Error> {
        let Some(latest) = self.kept.latest else { return Ok(()) };
        if now < latest.saturating_sub(CLOCK_BACK_MAX).unwrap_or(latest) {
            return Err(Error::ClockBack { now, latest });
        }
        Ok(())
    }

    fn check_root(&self, now: Timestamp) -> Result<(), Error> {
        self.check_clock(now)?;
        unexpired("root", &self.root.signed, now)
    }

    /// Writes what is not written yet; also what an earlier update could not write.
    fn remember(&mut self) -> Result<(), Error> {
        if self.kept != self.written {
            self.kept.write(&self.directory).map_err(|problem| self.file(problem))?;
            self.written = self.kept.clone();
        }
        Ok(())
    }

    /// A directory for `tough` to work in, with what is remembered; gone when it is dropped. What it leaves there is
    /// taken over by [`Trusted::adopt`], in one step.
    fn scratch(&self) -> io::Result<tempfile::TempDir> {
        // What an update left behind that was killed.
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(SCRATCH.as_bytes())) {
                fs::remove_dir_all(path)?;
            }
        }
        let scratch = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(&self.directory)?;
        for (name, kept) in [(TIMESTAMP, &self.kept.timestamp), (SNAPSHOT, &self.kept.snapshot)] {
            if let Some(text) = kept {
                fs::write(scratch.path().join(name), text)?;
            }
        }
        Ok(scratch)
    }

    /// Takes over what `tough` has verified, in its order, up to the first document that has expired. Also after an update
    /// that failed: a newer root that was seen must not be forgotten.
    fn adopt(&mut self, scratch: &Path, now: Timestamp) -> Result<(), Error> {
        let files = self.session.files();
        let Some(root) = left_behind::<Root>(scratch, "root.json") else { return Ok(()) };
        for version in self.root_version() + 1..=root.signed.version.get() {
            let passed: Signed<Root> = came(&files, &format!("{version}.root.json"))?;
            metadata::check_root(&passed.signed)?;
            readable("root", &passed.signed.spec_version)?;
        }
        if root.signed.version > self.root.signed.version {
            self.kept.root = as_it_came(&files, &root.signed.filename(true));
            // What tough does with its own files (specification 5.3.11): a server that recovers from a theft of its
            // key begins to count anew. What the new root would not vouch for is no floor either.
            let rotated = rotated(&self.root.signed, &root.signed);
            if rotated || !vouched::<TimestampDocument>(&root.signed, self.kept.timestamp.as_ref()) {
                self.kept.timestamp = None;
            }
            if rotated || !vouched::<Snapshot>(&root.signed, self.kept.snapshot.as_ref()) {
                self.kept.snapshot = None;
            }
            self.root = root;
        }
        unexpired("root", &self.root.signed, now)?;
        let kept = self.kept.timestamp.as_ref();
        if let Some((timestamp, text)) = self.learned::<TimestampDocument>(scratch, TIMESTAMP, &files, kept) {
            good("timestamp", &timestamp.spec_version, &timestamp, now)?;
            self.kept.timestamp = Some(text);
        }
        let kept = self.kept.snapshot.as_ref();
        if let Some((snapshot, text)) = self.learned::<Snapshot>(scratch, SNAPSHOT, &files, kept) {
            good("snapshot", &snapshot.spec_version, &snapshot, now)?;
            self.kept.snapshot = Some(text);
        }
        Ok(())
    }

    /// A document that `tough` has verified in this update, byte by byte as it came. What lies in its directory may be
    /// what we put there: what is remembered, or no longer is because the newest root does not vouch for it.
    fn learned<T: Role + DeserializeOwned + PartialEq>(
        &self,
        scratch: &Path,
        name: &str,
        files: &BTreeMap<String, Vec<u8>>,
        kept: Option<&String>,
    ) -> Option<(T, String)> {
        let found: Signed<T> = left_behind(scratch, name)?;
        let text = as_it_came(files, &found.signed.filename(self.root.signed.consistent_snapshot));
        let is = |text: &str| parse(text).is_ok_and(|document: Signed<T>| document == found);
        let new = !kept.is_some_and(|kept| is(kept)) && is(&text);
        (new && self.root.signed.verify_role(&found).is_ok()).then_some((found.signed, text))
    }

    fn file(&self, problem: io::Error) -> Error {
        failed("update the trust in", &self.directory, problem)
    }

    /// What `tough` refused, in our words.
    fn refused(&self, problem: &tough::error::Error) -> Error {
        match self.session.broken() {
            Some(Broken::Endless(name, bytes)) => return Error::Endless(name, bytes),
            Some(Broken::Files) => return Error::TooMany,
            None => {}
        }
        error::refused(problem)
    }
}

/// Runs `future` to its end, or for so long; `None` when that was not enough. On a thread of its own, because the caller may
/// stand in an async world already.
fn run<T: Send>(within: Duration, future: impl Future<Output = T> + Send) -> io::Result<Option<T>> {
    let alone = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(runtime.block_on(async { tokio::time::timeout(within, future).await.ok() }))
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("trust".to_owned()).spawn_scoped(scope, alone)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A document that `tough` wrote after verifying it.
fn left_behind<T: DeserializeOwned>(scratch: &Path, name: &str) -> Option<Signed<T>> {
    serde_json::from_slice(&fs::read(scratch.join(name)).ok()?).ok()
}

/// A document as it came.
fn came<T: DeserializeOwned>(files: &BTreeMap<String, Vec<u8>>, name: &str) -> Result<Signed<T>, Error> {
    let bytes = files.get(name).map_or(&[][..], Vec::as_slice);
    serde_json::from_slice(bytes)
        .map_err(|problem| Error::Malformed(metadata::printable(&format_args!("{name}: {problem}"))))
}

/// A file byte by byte, as text; JSON that was read is nothing else.
fn as_it_came(files: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    String::from_utf8_lossy(files.get(name).map_or(&[], Vec::as_slice)).into_owned()
}

/// Whether the server has other keys by `new` than by `old`.
fn rotated(old: &Root, new: &Root) -> bool {
    let ids = |of: &Root, kind| of.roles.get(&kind).map(|role| role.keyids.clone());
    [RoleType::Timestamp, RoleType::Snapshot].into_iter().any(|kind| ids(old, kind) != ids(new, kind))
}

/// Whether what is remembered, if anything, is signed as `root` wants it.
fn vouched<T: Role + DeserializeOwned>(root: &Root, kept: Option<&String>) -> bool {
    kept.is_none_or(|text| parse::<T>(text).is_ok_and(|document| root.verify_role(&document).is_ok()))
}

fn parse<T: DeserializeOwned>(text: &str) -> serde_json::Result<Signed<T>> {
    serde_json::from_str(text)
}

fn base(url: &str) -> Url {
    url.parse().expect("the two bases are URLs")
}
