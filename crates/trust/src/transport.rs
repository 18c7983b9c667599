//! Between `tough`, which asks for URLs in its own async world, and a [`Fetch`], which gives bytes. Every file is bounded
//! by its kind, every update by bytes, files and time.

use crate::plan::{PLAN_BYTES_MAX, PLANS};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Cursor, ErrorKind, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tough::{Bytes, Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

/// Where `tough` believes the metadata to be. Nothing is ever asked there: the path is what counts.
pub(crate) const METADATA_BASE: &str = "palisade:///metadata/";
/// Where it believes the plans to be.
pub(crate) const TARGETS_BASE: &str = "palisade:///targets/";

/// Root versions in one update: with one a week, five years.
pub(crate) const ROOTS_MAX: u64 = 256;
/// Files in one update: the roots, and twelve more (timestamp, snapshot, targets, plans, and roles of later versions).
const FILES_MAX: usize = 256 + 12;
/// Bytes in one update: 32 MiB. A list of 10,000 plans has 4 MiB, a root some 10 KiB.
const UPDATE_BYTES_MAX: u64 = 32 << 20;
/// Bytes of a root: 64 keys with names and 128 signers take some 60 KiB.
pub(crate) const ROOT_BYTES_MAX: u64 = 256 << 10;
/// Bytes of a timestamp: it has one entry and one signer, some 600 bytes.
pub(crate) const TIMESTAMP_BYTES_MAX: u64 = 16 << 10;
/// Bytes of a snapshot: one entry for each role.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = 64 << 10;
/// Bytes of targets and of the list of plans: 8 MiB, twice a list of 10,000 plans.
pub(crate) const TARGETS_BYTES_MAX: u64 = 8 << 20;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 16 << 10;
/// Chunks read ahead of the one who verifies.
const CHUNKS_AHEAD: usize = 4;

/// Where a repository's files come from.
///
/// `name` is a file below the repository: `timestamp.json`, `2.root.json`, `plans/SHA256.UUID.json`; only letters, digits,
/// `.`, `-`, `_`, `~`, `%` and that one `/`. (Without the numbers and the digest where a root says that there are no
/// consistent snapshots; ours never does.) A file that is not there is [`ErrorKind::NotFound`]; every other error means
/// that nothing is known about it.
///
/// An answer may be longer than `bytes_max`, or never end: it is read no further. Nobody waits longer than `within` for
/// it either; but the thread that reads is left behind until its read returns, so a source should end its reads by then.
pub trait Fetch: Send + Sync {
    /// Opens one file.
    fn fetch(&self, name: &str, bytes_max: u64, within: Duration) -> io::Result<Box<dyn Read + Send>>;
}

/// Why a transfer was broken off by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A file, or all files together, had more bytes than this.
    Endless(String, u64),
    /// More files than one update may take.
    Files,
}

/// What happens while one update or one plan is fetched.
#[derive(Clone)]
pub(crate) struct Session {
    source: Arc<dyn Fetch>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Counts the sessions: a reader that was left behind by an earlier one must not write into this one.
    session: u64,
    deadline: Option<Instant>,
    bytes_left: u64,
    files: BTreeMap<String, Vec<u8>>,
    opened: usize,
    broken: Option<Broken>,
    /// A file that is not asked for, because it is here.
    held: Option<(String, Vec<u8>)>,
}

impl Session {
    pub(crate) fn new(source: Arc<dyn Fetch>) -> Self {
        Self { source, state: Arc::default() }
    }

    /// Begins anew: so long, and no byte of before.
    pub(crate) fn begin(&self, within: Duration) {
        let mut state = self.state();
        *state = State { session: state.session + 1, bytes_left: UPDATE_BYTES_MAX, ..State::default() };
        state.deadline = Instant::now().checked_add(within);
    }

    /// From here on in this session, `name` is these bytes, whatever the source has.
    pub(crate) fn hold(&self, name: &str, bytes: &[u8]) {
        self.state().held = Some((name.to_owned(), bytes.to_vec()));
    }

    /// The files that came whole since the session began, as they came.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        std::mem::take(&mut self.state().files)
    }

    /// Why the session was broken off, if it was.
    pub(crate) fn broken(&self) -> Option<Broken> {
        self.state().broken.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn breaks(&self, why: Broken) -> io::Error {
        self.state().broken.get_or_insert(why);
        io::Error::new(ErrorKind::InvalidData, "broken off")
    }

    /// Reads one file to its end, chunk by chunk; runs on a thread of its own, because a read may hang.
    fn read(&self, name: &str, send: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
        let bytes_max = bytes_max(name);
        let (session, opened, within, held) = {
            let mut state = self.state();
            state.opened += 1;
            let within =
                state.deadline.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
            let held = state.held.as_ref().filter(|(held, _)| held == name).map(|(_, bytes)| bytes.clone());
            (state.session, state.opened, within, held)
        };
        if opened > FILES_MAX {
            return Err(self.breaks(Broken::Files));
        }
        let mut from: Box<dyn Read + Send> = match held {
            Some(bytes) => Box::new(Cursor::new(bytes)),
            None => self.source.fetch(name, bytes_max, within)?,
        };
        let mut whole = Vec::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let count = match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => count,
                Err(problem) if problem.kind() == ErrorKind::Interrupted => continue,
                Err(problem) => return Err(problem),
            };
            let bytes = chunk.get(..count).unwrap_or(&chunk);
            whole.extend_from_slice(bytes);
            if length(&whole) > bytes_max {
                return Err(self.breaks(Broken::Endless(name.to_owned(), bytes_max)));
            }
            if !self.spend(session, length(bytes)) {
                return Err(self.breaks(Broken::Endless("all files".to_owned(), UPDATE_BYTES_MAX)));
            }
            if send.blocking_send(Ok(Bytes::copy_from_slice(bytes))).is_err() {
                return Ok(());
            }
        }
        // Plans are not kept: whoever asked for one has it.
        let mut state = self.state();
        if !name.contains('/') && state.session == session {
            state.files.insert(name.to_owned(), whole);
        }
        Ok(())
    }

    /// Whether so many bytes more may come in this session.
    fn spend(&self, session: u64, bytes: u64) -> bool {
        let mut state = self.state();
        let left = state.bytes_left.checked_sub(bytes).filter(|_| state.session == session);
        state.bytes_left = left.unwrap_or(state.bytes_left);
        left.is_some()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Session").finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for Session {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let name = name_of(&url)
            .ok_or_else(|| TransportError::new(TransportErrorKind::UnsupportedUrlScheme, url.as_str()))?;
        let (send, mut receive) = mpsc::channel(CHUNKS_AHEAD);
        let session = self.clone();
        let reader = thread::Builder::new().name("trust-fetch".to_owned()).spawn(move || {
            if let Err(problem) = session.read(&name, &send) {
                // Nobody there to hear it: the update is over already.
                let _ = send.blocking_send(Err(problem));
            }
        });
        reader.map_err(|problem| TransportError::new_with_cause(TransportErrorKind::Other, &url, problem))?;
        let failed = move |problem: io::Error| {
            let absent = problem.kind() == ErrorKind::NotFound;
            let kind = if absent { TransportErrorKind::FileNotFound } else { TransportErrorKind::Other };
            TransportError::new_with_cause(kind, &url, problem)
        };
        Ok(Box::pin(futures_util::stream::poll_fn(move |context| {
            receive.poll_recv(context).map(|item| item.map(|item| item.map_err(&failed)))
        })))
    }
}

/// The file that a URL of `tough`'s means.
fn name_of(url: &Url) -> Option<String> {
    let of = |base: &str| url.as_str().strip_prefix(base).map(str::to_owned);
    let plain = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_~%".contains(c))
    };
    if let Some(name) = of(METADATA_BASE) {
        return plain(&name).then_some(name);
    }
    let target = of(TARGETS_BASE)?;
    if let Some(file) = target.strip_prefix(PLANS).and_then(|rest| rest.strip_prefix('/')) {
        return plain(file).then_some(target);
    }
    // `tough` puts the digest before the folder; the specification, and every other client, before the file.
    let (digest, rest) = target.split_once('.')?;
    let file = rest.strip_prefix(PLANS)?.strip_prefix('/')?;
    plain(file).then(|| format!("{PLANS}/{digest}.{file}"))
}

fn bytes_max(name: &str) -> u64 {
    match name {
        "timestamp.json" => TIMESTAMP_BYTES_MAX,
        name if name.contains('/') => PLAN_BYTES_MAX,
        name if name.ends_with(".root.json") => ROOT_BYTES_MAX,
        name if name.ends_with(".snapshot.json") || name == "snapshot.json" => SNAPSHOT_BYTES_MAX,
        _ => TARGETS_BYTES_MAX,
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
