//! Why an update or a plan is refused: `tough`'s many reasons in the words that an operator acts on.

use crate::metadata::{BadKeys, printable};
use crate::plan::PlanName;
use crate::standing;
use crate::statement;
use crate::transport::{METADATA_BASE, TARGETS_BASE};
use jiff::Timestamp;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why an update or a plan is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory.
    #[error("{doing} {path}: {problem}")]
    Directory {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        problem: io::Error,
    },
    /// No root was given yet.
    #[error("open {0}: no root was given to this host; enrol it again")]
    NoRoot(PathBuf),
    /// A root was given before.
    #[error("trust another root: one is trusted already; remove {0} first, as the host's owner")]
    AlreadyTrusting(PathBuf),
    /// The root that was given is none.
    #[error("trust a root: {0}")]
    BadRoot(String),
    /// The host's clock went back.
    #[error("check the clock: here it is {now}, but it was {latest} before; set the host's clock")]
    ClockBack {
        /// What time it is.
        now: Timestamp,
        /// What time it was.
        latest: Timestamp,
    },
    /// Something is too old: nobody signs anew, or somebody holds the news back.
    #[error(
        "rely on {what}: it expired at {at}; the server is late, held back, or this host's clock is wrong"
    )]
    Expired {
        /// Which document.
        what: &'static str,
        /// When it expired.
        at: Timestamp,
    },
    /// Older than what this host has seen.
    #[error("update: {0}; somebody offers old documents again")]
    Rollback(String),
    /// Not signed by those who must.
    #[error("update: {0}")]
    Unsigned(String),
    /// Documents that do not belong together, or a plan with other bytes.
    #[error("update: {0}; what is offered does not fit together")]
    Mismatch(String),
    /// A document that cannot be read, or that says what it must not.
    #[error("update: {0}")]
    Malformed(String),
    /// A key that could count twice.
    #[error("update: {0}")]
    Keys(#[from] BadKeys),
    /// Too many bytes.
    #[error("fetch {0}: it has more than {1} bytes")]
    Endless(String, u64),
    /// Too many files.
    #[error("update: it takes more files than any update should")]
    TooMany,
    /// Too slow.
    #[error("fetch: it took longer than {0:?}")]
    Slow(Duration),
    /// The server cannot be reached, or has not got a file.
    #[error("fetch: {0}")]
    Fetch(String),
    /// No such plan.
    #[error("read {0}: no such plan is in force")]
    NoSuchPlan(PlanName),
    /// Nothing was verified since this process started.
    #[error("read a plan: update first")]
    NotUpdated,
    /// The documents do not stand together.
    #[error("update: {0}")]
    Standing(#[from] standing::Error),
}

/// Why a statement is not believed: itself, or the root that would verify it.
#[derive(Debug, thiserror::Error)]
pub enum SaidError {
    /// The statement.
    #[error(transparent)]
    Statement(#[from] statement::Error),
    /// The root, or the clock.
    #[error(transparent)]
    Trust(#[from] Error),
}

/// What `tough` refused, in our words.
pub(super) fn refused(problem: &tough::error::Error) -> Error {
    use tough::error::Error as T;
    let said = printable(problem);
    if let T::Transport { source, .. } = problem {
        return inside(source);
    }
    if matches!(
        problem,
        T::OlderMetadata { .. }
            | T::OlderSnapshotInTimestamp { .. }
            | T::SnapshotRoleMissing { .. }
            | T::SnapshotRoleRollback { .. }
    ) {
        return Error::Rollback(said);
    }
    if matches!(problem, T::VerifyMetadata { .. } | T::VerifyTrustedMetadata { .. }) {
        return Error::Unsigned(said);
    }
    if matches!(problem, T::VersionMismatch { .. } | T::HashMismatch { .. }) {
        return Error::Mismatch(said);
    }
    if matches!(problem, T::MaxUpdatesExceeded { .. }) {
        return Error::TooMany;
    }
    // Every other refusal is about what a document says or how it is written.
    Error::Malformed(said)
}

/// What broke a transfer: the bytes themselves, or the way they came.
fn inside(problem: &tough::TransportError) -> Error {
    use std::error::Error as _;
    use tough::error::Error as T;
    let cause = problem.source().and_then(|source| source.downcast_ref::<T>());
    if let Some(T::MaxSizeExceeded { max_size, .. }) = cause {
        return Error::Endless(name(problem.url()), *max_size);
    }
    if let Some(T::HashMismatch { .. }) = cause {
        return Error::Mismatch(format!("{} has other bytes than were signed for", name(problem.url())));
    }
    Error::Fetch(printable(problem))
}

fn name(url: &str) -> String {
    url.trim_start_matches(METADATA_BASE).trim_start_matches(TARGETS_BASE).to_owned()
}

pub(super) fn failed(doing: &'static str, path: &Path, problem: io::Error) -> Error {
    Error::Directory { doing, path: path.to_owned(), problem }
}
