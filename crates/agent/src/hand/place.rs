//! The directory of this half: root's. The other half may read it, and write nothing there.

use super::deed::Outcome;
use super::grant::Grant;
use super::nonces::Nonces;
use super::order::Order;
use super::owed::Owed;
use crate::enrol::Joined;
use crate::state::{Durable, Lock, PACKAGES, PLANS, State, TRUST, entries, keep_newest, kept_name};
use advisory::Problem;
use rollout::plan::{Digest, Plan};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use trust::{Fetch, Trusted};

/// Where it is.
pub const DIRECTORY: &str = "/var/lib/palisade-hand";
/// Where this half is asked.
pub const SOCKET: &str = "/run/palisade-hand.sock";
/// Who this host is, as the enrolment said.
const HOST: &str = "host.json";
/// The order that is carried out, or was last.
const ORDER: &str = "order.json";
const NONCES: &str = "nonces.json";
/// What a job has taken from this host and is to give back.
const OWED: &str = "owed.json";
/// What was verified, by job.
const GRANTS: &str = "grants";
/// What each deed of a job left, and what the package manager said, by job.
const DEEDS: &str = "deeds";
/// Bytes of a small file.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Plans whose files are kept, so that a host can be ordered back: those of a month, at two a week.
const PLANS_MAX: usize = 8;
/// Files about jobs that are kept; a job has three, some 100 KiB.
const JOBS_MAX: usize = 128;

/// Who this host is: plans name it by this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Host {
    pub(crate) host: uuid::Uuid,
    pub(crate) group: String,
}

/// No source: to pin a root nothing is fetched.
#[derive(Debug)]
struct Nowhere;

impl Fetch for Nowhere {
    fn fetch(&self, _name: &str, _bytes_max: u64, _within: Duration) -> io::Result<Box<dyn Read + Send>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The directory.
#[derive(Debug)]
pub struct Place(State);

impl Place {
    /// Opens it; makes it where it is not there.
    pub fn open() -> Result<Self, Problem> {
        Self::at(Path::new(DIRECTORY))
    }

    pub(crate) fn at(directory: &Path) -> Result<Self, Problem> {
        let refused = |problem: &dyn std::fmt::Display| {
            Problem::new("use", directory.display().to_string(), problem.to_string())
                .remedy("it must be root's alone, and have room")
        };
        let state = State::create(directory).map_err(|problem| refused(&problem))?;
        for folder in [TRUST, PLANS, PACKAGES, GRANTS, DEEDS] {
            state.folder(folder).map_err(|problem| refused(&problem))?;
        }
        Ok(Self(state))
    }

    /// Remembers who this host is, and the root of what people sign: said once, by root, when it is enrolled; the other half
    /// cannot say another. Where the fleet had no root yet, an owner tells it later ([`Place::believe`]).
    pub fn introduce(&self, joined: &Joined) -> Result<(), Problem> {
        let identity = &joined.identity;
        let host = uuid::Uuid::try_parse(&identity.host)
            .map_err(|problem| Problem::new("remember this host as", identity.host.clone(), problem))?;
        let host = Host { host, group: identity.group.clone() };
        self.remember(&host, joined.trust_root.as_deref())
    }

    pub(super) fn remember(&self, host: &Host, root: Option<&str>) -> Result<(), Problem> {
        // Another enrolment is another fleet, perhaps with another root.
        self.0.forget_trust().map_err(|problem| self.failed("forget the root in", &problem))?;
        let folder = self.0.folder(TRUST).map_err(|problem| self.failed("keep a root in", &problem))?;
        if let Some(root) = root {
            Trusted::pin(&folder, root.as_bytes(), Arc::new(Nowhere))
                .map_err(|problem| self.failed("keep a root in", &problem))?;
        }
        self.write(HOST, host)
    }

    /// Begins to believe `root`, which must have this fingerprint (64 hex digits): a person brought that from where plans
    /// are signed. Gives the root's version.
    pub fn believe(&self, root: &[u8], fingerprint: &str) -> Result<u64, Problem> {
        let refused = |reason: String| Problem::new("believe root", fingerprint, reason);
        let shown = trust::fingerprint_of(root)
            .map_err(|problem| refused(format!("the server's root: {problem}")))?;
        if !shown.eq_ignore_ascii_case(fingerprint) {
            return Err(refused(format!("the server gives this host another one: {shown}")).remedy(
                "hold it against \"palisade key list\" of every approver; if it stays another, somebody stands in between",
            ));
        }
        let folder = self.0.folder(TRUST).map_err(|problem| self.failed("keep a root in", &problem))?;
        match Trusted::pin(&folder, root, Arc::new(Nowhere)) {
            Ok(pinned) => Ok(pinned.root_version()),
            Err(trust::trusted::Error::AlreadyTrusting(_)) => {
                Err(refused("one is believed already, and followed".to_owned())
                    .remedy("if it is another fleet now, enrol the host anew as root"))
            }
            Err(problem) => Err(self.failed("keep a root in", &problem)),
        }
    }

    pub(crate) fn host(&self) -> Result<Host, Problem> {
        self.read(HOST)?.ok_or_else(|| {
            self.failed("find who this host is in", &"nobody said so").remedy("enrol it as root")
        })
    }

    pub(crate) fn trust(&self) -> PathBuf {
        self.0.path(TRUST)
    }

    pub(crate) fn packages(&self) -> PathBuf {
        self.0.path(PACKAGES)
    }

    /// One order is verified at a time, until this is dropped.
    pub(super) fn lock(&self, order: &Order) -> Result<Lock, Problem> {
        self.0
            .lock()
            .map_err(|_| order.refused("another order is being verified").remedy("it is tried again"))
    }

    /// What the package manager says while it carries out an order.
    pub(crate) fn log(&self, order: &Order) -> PathBuf {
        Self::log_in(self.0.directory(), order.digest, order.fence)
    }

    /// The same for the other half, which may read it.
    pub(crate) fn log_in(directory: &Path, digest: Digest, fence: u64) -> PathBuf {
        directory.join(format!("{DEEDS}/{}.log", job(digest, fence)))
    }

    pub(super) fn nonces(&self) -> Result<Nonces, Problem> {
        Ok(self.read(NONCES)?.unwrap_or_default())
    }

    pub(super) fn keep_nonces(&self, nonces: &Nonces) -> Result<(), Problem> {
        self.write(NONCES, nonces)
    }

    /// What is owed; `None`: nothing.
    pub(super) fn owed(&self) -> Result<Option<Owed>, Problem> {
        Ok(self.read::<Option<Owed>>(OWED)?.flatten())
    }

    /// The same for the other half, which may read here. What cannot be read is none: this half will say so.
    pub(crate) fn owed_in(directory: &Path) -> Option<Owed> {
        serde_json::from_slice::<Option<Owed>>(&std::fs::read(directory.join(OWED)).ok()?).ok()?
    }

    pub(super) fn keep_owed(&self, owed: Option<&Owed>) -> Result<(), Problem> {
        self.write(OWED, &owed)
    }

    pub(super) fn grant(&self, order: &Order) -> Result<Grant, Problem> {
        Ok(self.read(&grant(order))?.unwrap_or_default())
    }

    pub(super) fn keep_grant(&self, order: &Order, granted: &Grant) -> Result<(), Problem> {
        self.write(&grant(order), granted)
    }

    /// Forgets what was granted of this plan's content before: a host that went back does not go forward by an old grant.
    pub(super) fn forget_grants(&self, order: &Order) -> Result<(), Problem> {
        let plan = format!("{}-", order.digest);
        for path in entries(&self.0.path(GRANTS)) {
            if path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&plan)) {
                let removed = std::fs::remove_file(&path);
                removed.map_err(|problem| self.failed("forget a grant in", &problem))?;
            }
        }
        Ok(())
    }

    pub(crate) fn keep_plan(&self, digest: Digest, bytes: &[u8]) -> Result<(), Problem> {
        self.keep(&plan(digest), bytes)
    }

    /// A plan that was verified before.
    pub(crate) fn plan(&self, digest: Digest) -> Result<Plan, Problem> {
        let refused = |reason: &dyn std::fmt::Display| {
            Problem::new("read plan", digest.to_string(), reason.to_string()).remedy("it is fetched again")
        };
        let bytes =
            self.0.read(plan(digest), trust::plan::PLAN_BYTES_MAX).map_err(|problem| refused(&problem))?;
        let bytes = bytes.ok_or_else(|| refused(&"this half has not verified it yet"))?;
        if Digest::of(&bytes) != digest {
            return Err(refused(&"what was kept is damaged"));
        }
        Plan::read(&bytes).map_err(|problem| refused(&problem))
    }

    pub(crate) fn keep_order(&self, order: &Order) -> Result<(), Problem> {
        self.write(ORDER, order)
    }

    pub(crate) fn order(&self) -> Result<Order, Problem> {
        self.read(ORDER)?.ok_or_else(|| self.failed("find an order in", &"there is none"))
    }

    /// Keeps what became of an order.
    pub(crate) fn keep_outcome(&self, order: &Order, outcome: &Outcome) -> Result<(), Problem> {
        let mut all = self.outcomes(order.digest, order.fence);
        all.retain(|kept| kept.began != outcome.began || kept.deed != outcome.deed);
        all.push(outcome.clone());
        self.write(&deeds(order.digest, order.fence), &all)
    }

    /// Adds to what is told of the last order of a job.
    pub(super) fn tell_last(&self, order: &Order, told: String) -> Result<(), Problem> {
        let mut all = self.outcomes(order.digest, order.fence);
        let Some(last) = all.last_mut() else { return Ok(()) };
        last.told.push(told);
        self.write(&deeds(order.digest, order.fence), &all)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    pub(super) fn folder(&self, name: &str) -> io::Result<PathBuf> {
        self.0.folder(name)
    }

    /// What became of each order of a job, oldest first; empty where nothing was kept, or it cannot be read.
    pub(crate) fn outcomes(&self, digest: Digest, fence: u64) -> Vec<Outcome> {
        Self::outcomes_in(self.0.directory(), digest, fence)
    }

    /// The same for the other half, which may read here, and nothing else.
    pub(crate) fn outcomes_in(directory: &Path, digest: Digest, fence: u64) -> Vec<Outcome> {
        let bytes = std::fs::read(directory.join(deeds(digest, fence))).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// What became of each order of a plan's content, whichever grant it was begun by.
    pub(super) fn history(&self, digest: Digest) -> Vec<Outcome> {
        Self::history_in(self.0.directory(), digest)
    }

    /// The same for the other half.
    pub(crate) fn history_in(directory: &Path, digest: Digest) -> Vec<Outcome> {
        let start = format!("{digest}-");
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(&start) && path.extension().is_some_and(|kind| kind == "json")
        };
        let read = |path: PathBuf| -> Vec<Outcome> {
            serde_json::from_slice(&std::fs::read(path).unwrap_or_default()).unwrap_or_default()
        };
        entries(&directory.join(DEEDS)).filter(is_ours).flat_map(read).collect()
    }

    /// Forgets the oldest plans, and files that no plan names any more.
    pub(crate) fn sweep(&self) {
        for folder in [GRANTS, DEEDS] {
            keep_newest(&self.0.path(folder), JOBS_MAX);
        }
        let plans = keep_newest(&self.0.path(PLANS), PLANS_MAX);
        let read = |path: &PathBuf| Plan::read(&std::fs::read(path).ok()?).ok();
        let mut wanted = BTreeSet::new();
        for path in &plans {
            // One that cannot be read may name any file.
            let Some(plan) = read(path) else { return };
            let changes = plan.classes.iter().flat_map(|class| &class.changes);
            let files = changes.flat_map(|change| [Some(&change.file), change.back.as_ref()]);
            wanted.extend(files.flatten().map(kept_name));
        }
        for path in entries(&self.packages()) {
            if !path.file_name().and_then(|name| name.to_str()).is_some_and(|name| wanted.contains(name)) {
                // What a transaction that was cut short laid out is a directory.
                let _ = std::fs::remove_file(&path).or_else(|_| std::fs::remove_dir_all(&path));
            }
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Problem> {
        let bytes = self.0.read(name, FILE_BYTES_MAX);
        let bytes = bytes.map_err(|problem| self.failed(&format!("read {name} in"), &problem))?;
        let read = bytes.map(|bytes| serde_json::from_slice(&bytes)).transpose();
        read.map_err(|problem| {
            self.failed(&format!("read {name} in"), &problem).remedy("look at it, then remove it")
        })
    }

    pub(super) fn write(&self, name: &str, what: &impl Serialize) -> Result<(), Problem> {
        let bytes = serde_json::to_vec(what).map_err(io::Error::other);
        let bytes = bytes.map_err(|problem| self.failed(&format!("write {name} in"), &problem))?;
        self.keep(name, &bytes)
    }

    pub(super) fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), Problem> {
        let kept = self.0.keep(name, bytes, Durable::Yes);
        kept.map_err(|problem| self.failed(&format!("write {name} in"), &problem).remedy("free some space"))
    }

    fn failed(&self, doing: &str, reason: &dyn std::fmt::Display) -> Problem {
        Problem::new(doing, self.0.directory().display().to_string(), reason.to_string())
    }
}

fn job(digest: Digest, fence: u64) -> String {
    format!("{digest}-{fence}")
}

fn grant(order: &Order) -> String {
    format!("{GRANTS}/{}.json", job(order.digest, order.fence))
}

fn deeds(digest: Digest, fence: u64) -> String {
    format!("{DEEDS}/{}.json", job(digest, fence))
}

fn plan(digest: Digest) -> String {
    format!("{PLANS}/{digest}.json")
}
