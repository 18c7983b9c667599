//! What a person who signs remembers of a fleet, at home: its root, and how far its documents had come. A server that shows
//! another root, or something older, is found out before anything is signed.
//!
//! Unlike [`crate::Trusted`], this does not ask whether anything has expired: whoever signs anew what has expired must be
//! able to.

use crate::metadata::{self, BadKeys};
use crate::plan::{hex, sha256};
use crate::proposal::{Document, Proposal};
use crate::standing::Standing;
use crate::transport::ROOT_BYTES_MAX;
use serde::{Deserialize, Serialize};
use tough::schema::{Root, Signed};

/// What is remembered of one fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    root: Signed<Root>,
    /// Versions of root, targets and plans that were seen in force; zeros where a founding was signed that nobody has
    /// seen in force yet.
    versions: [u64; 3],
}

/// Why what a server shows is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no root.
    #[error("read a root: {0}")]
    NotARoot(String),
    /// Its keys.
    #[error("read a root: {0}")]
    Keys(#[from] BadKeys),
    /// Not the version after the one remembered.
    #[error("follow the roots: version {remembered} is remembered, and version {shown} is not the next")]
    NotNext {
        /// Remembered.
        remembered: u64,
        /// Shown.
        shown: u64,
    },
    /// The owners of the one before have not signed it.
    #[error(
        "follow the roots: the owners of version {remembered} have not signed version {shown}; somebody else made it"
    )]
    NotTheirs {
        /// Remembered.
        remembered: u64,
        /// Shown.
        shown: u64,
    },
    /// Another root of the same version.
    #[error(
        "believe what is shown: its root is version {version} with the fingerprint {shown}, and the one remembered has \
         {remembered}; this is another fleet, or somebody else's work"
    )]
    Another {
        /// The version of both.
        version: u64,
        /// Fingerprint of the one remembered.
        remembered: String,
        /// Fingerprint of the one shown.
        shown: String,
    },
    /// Something older than was seen before.
    #[error(
        "believe what is shown: {document} version {shown} is older than version {seen}, which was in force before"
    )]
    Older {
        /// Which document.
        document: Document,
        /// Seen before.
        seen: u64,
        /// Shown now.
        shown: u64,
    },
}

impl Remembered {
    /// What is seen for the first time, and believed for that reason alone: its fingerprint is for people to compare.
    pub fn first(standing: &Standing) -> Self {
        Self { root: standing.root.clone(), versions: standing.versions() }
    }

    /// What a person remembers who signs a founding: the root that was read and signed then, not any other that the server
    /// may show later. `None` when the proposal founds nothing.
    pub fn founding(proposal: &Proposal) -> Option<Self> {
        let root = proposal.root.clone().filter(|root| root.signed.version.get() == 1)?;
        Some(Self { root, versions: [0; 3] })
    }

    /// Whether it was seen in force; otherwise only a founding was signed.
    pub fn is_in_force(&self) -> bool {
        self.versions != [0; 3]
    }

    /// The root's version.
    pub fn root_version(&self) -> u64 {
        self.root.signed.version.get()
    }

    /// SHA-256 of the root without its signers, for people to compare.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.root)
    }

    /// Goes on to the very next root, if the owners of this one have signed it, and its own.
    pub fn follow(&mut self, root: &[u8]) -> Result<(), Error> {
        let next = read(root)?;
        let (remembered, shown) = (self.root_version(), next.signed.version.get());
        if remembered.checked_add(1) != Some(shown) {
            return Err(Error::NotNext { remembered, shown });
        }
        let theirs = self.root.signed.verify_role(&next).and_then(|()| next.signed.verify_role(&next));
        theirs.map_err(|_| Error::NotTheirs { remembered, shown })?;
        self.root = next;
        Ok(())
    }

    /// Believes a standing on the root remembered, unless something in it is older than what was seen before.
    pub fn see(&mut self, standing: &Standing) -> Result<(), Error> {
        let versions = standing.versions();
        for ((document, seen), shown) in
            [Document::Root, Document::Targets, Document::Plans].into_iter().zip(self.versions).zip(versions)
        {
            if shown < seen {
                return Err(Error::Older { document, seen, shown });
            }
        }
        let (remembered, shown) = (self.root_version(), versions[0]);
        if shown != remembered {
            return Err(Error::NotNext { remembered, shown });
        }
        if standing.root.signed != self.root.signed {
            return Err(Error::Another {
                version: shown,
                remembered: self.fingerprint(),
                shown: standing.fingerprint(),
            });
        }
        *self = Self::first(standing);
        Ok(())
    }
}

impl Standing {
    /// SHA-256 of the root without its signers, for people to compare.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.root)
    }
}

/// The same of a root's bytes; it must be sound, and need not be signed.
pub fn fingerprint_of(root: &[u8]) -> Result<String, Error> {
    read(root).map(|root| fingerprint(&root))
}

fn fingerprint(root: &Signed<Root>) -> String {
    hex(&sha256(&metadata::canonical(&root.signed)))
}

fn read(bytes: &[u8]) -> Result<Signed<Root>, Error> {
    if u64::try_from(bytes.len()).is_ok_and(|length| length > ROOT_BYTES_MAX) {
        return Err(Error::NotARoot(format!("more than {ROOT_BYTES_MAX} bytes")));
    }
    let not_a_root = |problem: serde_json::Error| Error::NotARoot(metadata::printable(&problem));
    let root: Signed<Root> = serde_json::from_slice(bytes).map_err(not_a_root)?;
    metadata::spelled(&root).map_err(not_a_root)?;
    metadata::check_root(&root.signed)?;
    Ok(root)
}
