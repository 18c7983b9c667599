//! New documents on their way to being signed, one signer at a time. Takes a standing; gives the next.

mod difference;

pub use difference::Difference;

use crate::keys::{self, KeyId, PublicKey, Signer};
use crate::metadata::{self, our_id};
use crate::plan::{PLANS, PlanTarget, hex, sha256};
use crate::standing::{self, Standing, listed};
use serde::{Deserialize, Serialize};
use std::fmt;
use tough::schema::{Delegations, RoleType, Root, Signature, Signed, Targets};

/// Bytes of a proposal: 16 MiB, four times a list of 10,000 plans.
pub const PROPOSAL_BYTES_MAX: usize = 16 << 20;

/// Signers of one document: old and new owners, 64 each. Each is verified by itself.
const SIGNERS_MAX: usize = 128;

/// Documents, signed by some so far. Only those that change are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unread")]
pub struct Proposal {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<Signed<Root>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) targets: Option<Signed<Targets>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) plans: Option<Signed<Targets>>,
}

/// A proposal that nobody has looked at yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unread {
    root: Option<Signed<Root>>,
    targets: Option<Signed<Targets>>,
    plans: Option<Signed<Targets>>,
}

/// One of the documents that people sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Document {
    /// Who owns the fleet's trust, and which key is the server's.
    Root,
    /// Who approves plans.
    Targets,
    /// Which plans are in force.
    Plans,
}

/// One document of a proposal, signed by one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Countersigned {
    /// Which document.
    pub document: Document,
    #[serde(flatten)]
    signature: Signature,
}

/// Signers that a document still lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which document.
    pub document: Document,
    /// How many more.
    pub count: usize,
    /// Keys that have not signed and would count.
    pub may_sign: Vec<PublicKey>,
}

/// Why a proposal is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no proposal.
    #[error("read a proposal: {0}")]
    NotAProposal(String),
    /// Another was published meanwhile.
    #[error(
        "use a proposal of {document} version {proposed}: version {standing} is in force by now; propose the same \
         again on what stands"
    )]
    Outdated {
        /// Which document.
        document: Document,
        /// The version proposed.
        proposed: u64,
        /// The version in force.
        standing: u64,
    },
    /// What was signed is something else, or by somebody else.
    #[error("add key {key} to the signers of {document}: {reason}")]
    DoesNotCount {
        /// The key.
        key: KeyId,
        /// Which document.
        document: Document,
        /// Why not.
        reason: &'static str,
    },
    /// The signer is none of those asked.
    #[error("sign with key {0}: it is none of the keys that this proposal asks for")]
    NotAsked(KeyId),
    /// Not all have signed.
    #[error("publish a proposal: {document} lacks {count} more signers")]
    Incomplete {
        /// The first document that lacks some.
        document: Document,
        /// How many.
        count: usize,
    },
    /// The documents do not stand together.
    #[error(transparent)]
    Standing(#[from] standing::Error),
    /// A key cannot sign.
    #[error(transparent)]
    Key(#[from] keys::Error),
}

/// The keys that count for a proposal: those in force, and those it brings.
struct Roles<'a> {
    before: Option<&'a Root>,
    root: &'a Root,
    delegations: &'a Delegations,
}

impl Proposal {
    /// Reads a proposal as [`Proposal::to_bytes`] writes it.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > PROPOSAL_BYTES_MAX {
            return Err(Error::NotAProposal(format!("more than {PROPOSAL_BYTES_MAX} bytes")));
        }
        serde_json::from_slice(bytes).map_err(|problem| Error::NotAProposal(metadata::printable(&problem)))
    }

    /// One spelling of it, JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        metadata::canonical(self)
    }

    /// SHA-256 of what is to be signed, without who has signed: what two people compare who are asked for the same.
    pub fn digest(&self) -> String {
        let documents = (
            self.root.as_ref().map(|document| &document.signed),
            self.targets.as_ref().map(|document| &document.signed),
            self.plans.as_ref().map(|document| &document.signed),
        );
        hex(&sha256(&metadata::canonical(&documents)))
    }

    /// The plans that would be in force; `None` when the list does not change.
    pub fn plans(&self) -> Option<Vec<PlanTarget>> {
        self.plans.as_ref().map(|plans| listed(&plans.signed))
    }

    /// Signs every document for which the signer's key counts. `standing` is what the signer believes to be in force;
    /// `None` only for the documents that found a repository. The proposal is not changed: see
    /// [`Proposal::add`].
    pub fn sign(&self, standing: Option<&Standing>, signer: &Signer) -> Result<Vec<Countersigned>, Error> {
        let roles = self.roles(standing)?;
        let id = signer.public().id();
        let mut given = Vec::new();
        for document in self.documents().filter(|document| roles.asks(*document, &id)) {
            let signature = match document {
                Document::Root => self.root.as_ref().map(|root| metadata::signature(&root.signed, signer)),
                Document::Targets => {
                    self.targets.as_ref().map(|targets| metadata::signature(&targets.signed, signer))
                }
                Document::Plans => {
                    self.plans.as_ref().map(|plans| metadata::signature(&plans.signed, signer))
                }
            };
            if let Some(signature) = signature.transpose()? {
                given.push(Countersigned { document, signature });
            }
        }
        if given.is_empty() { Err(Error::NotAsked(id)) } else { Ok(given) }
    }

    /// Adds a signer, after verifying. A key that has signed already changes nothing.
    pub fn add(
        &mut self,
        standing: Option<&Standing>,
        Countersigned { document, signature }: Countersigned,
    ) -> Result<(), Error> {
        let key = our_id(&signature.keyid);
        let refused = |reason| Error::DoesNotCount { key: key.clone(), document, reason };
        let roles = self.roles(standing)?;
        if !roles.asks(document, &key) {
            return Err(refused("this key is not asked for"));
        }
        let counts = match document {
            Document::Root => self.root.as_ref().is_some_and(|root| {
                roles.before.is_some_and(|before| metadata::counts(before, &root.signed, &signature))
                    || metadata::counts(roles.root, &root.signed, &signature)
            }),
            Document::Targets => self
                .targets
                .as_ref()
                .is_some_and(|targets| metadata::counts(roles.root, &targets.signed, &signature)),
            Document::Plans => self.plans.as_ref().is_some_and(|plans| {
                metadata::counts_for_plans(roles.delegations, &plans.signed, &signature)
            }),
        };
        if !counts {
            return Err(refused("this key has not signed this document"));
        }
        let signatures = match document {
            Document::Root => self.root.as_mut().map(|root| &mut root.signatures),
            Document::Targets => self.targets.as_mut().map(|targets| &mut targets.signatures),
            Document::Plans => self.plans.as_mut().map(|plans| &mut plans.signatures),
        };
        if let Some(signatures) = signatures {
            signatures.retain(|old| old.keyid != signature.keyid);
            signatures.push(signature);
        }
        Ok(())
    }

    /// The signers that are still missing; empty when it is complete.
    pub fn missing(&self, standing: Option<&Standing>) -> Result<Vec<Missing>, Error> {
        let roles = self.roles(standing)?;
        let mut missing = Vec::new();
        for document in self.documents() {
            let have = self.signed_by(document, &roles);
            // A root answers to two quorums; what lacks most is what is missing.
            let mut count = 0;
            let mut may_sign: Vec<PublicKey> = Vec::new();
            for (threshold, keys) in roles.quorums(document) {
                let signed = keys.iter().filter(|key| have.contains(&key.id())).count();
                count = count.max(usize::try_from(threshold).unwrap_or(usize::MAX).saturating_sub(signed));
                for key in keys {
                    if !have.contains(&key.id()) && !may_sign.contains(&key) {
                        may_sign.push(key);
                    }
                }
            }
            if count > 0 {
                missing.push(Missing { document, count, may_sign });
            }
        }
        Ok(missing)
    }

    /// Whether nothing but publishing remains.
    pub fn is_complete(&self, standing: Option<&Standing>) -> bool {
        self.accept(standing).is_ok()
    }

    /// The keys that have signed a document, and count.
    pub fn signers(&self, standing: Option<&Standing>, document: Document) -> Result<Vec<KeyId>, Error> {
        Ok(self.signed_by(document, &self.roles(standing)?))
    }

    /// What stands once this is published. Refused unless every document is signed by all who must.
    pub fn accept(&self, standing: Option<&Standing>) -> Result<Standing, Error> {
        if let Some(Missing { document, count, .. }) = self.missing(standing)?.into_iter().next() {
            return Err(Error::Incomplete { document, count });
        }
        let unsigned = |problem| standing::Error::Unsigned("root", Box::new(problem));
        if let (Some(standing), Some(root)) = (standing, &self.root) {
            standing.root.signed.verify_role(root).map_err(unsigned)?;
        }
        let absent = || Error::NotAProposal("a repository is founded by all three documents".to_owned());
        let root = self.root.clone().or_else(|| Some(standing?.root.clone())).ok_or_else(absent)?;
        let targets = self.targets.clone().or_else(|| Some(standing?.targets.clone())).ok_or_else(absent)?;
        let plans = self.plans.clone().or_else(|| Some(standing?.plans.clone())).ok_or_else(absent)?;
        Ok(Standing::new(root, targets, plans)?)
    }

    fn documents(&self) -> impl Iterator<Item = Document> {
        let there = [
            (Document::Root, self.root.is_some()),
            (Document::Targets, self.targets.is_some()),
            (Document::Plans, self.plans.is_some()),
        ];
        there.into_iter().filter(|(_, there)| *there).map(|(document, _)| document)
    }

    /// The roles that this proposal answers to; refused when it is not the very next one on `standing`, or when a key
    /// could count twice.
    fn roles<'a>(&'a self, standing: Option<&'a Standing>) -> Result<Roles<'a>, Error> {
        let versions = standing.map_or([0; 3], Standing::versions);
        let proposed = [
            (Document::Root, self.root.as_ref().map(|root| root.signed.version)),
            (Document::Targets, self.targets.as_ref().map(|targets| targets.signed.version)),
            (Document::Plans, self.plans.as_ref().map(|plans| plans.signed.version)),
        ];
        for ((document, version), standing) in proposed.into_iter().zip(versions) {
            if let Some(proposed) = version.map(std::num::NonZero::get)
                && standing.checked_add(1) != Some(proposed)
            {
                return Err(Error::Outdated { document, proposed, standing });
            }
        }
        let absent = || Error::NotAProposal("a repository is founded by all three documents".to_owned());
        let before = standing.map(|standing| &standing.root.signed);
        let root = self.root.as_ref().map(|root| &root.signed).or(before).ok_or_else(absent)?;
        let targets = self.targets.as_ref().or(standing.map(|standing| &standing.targets));
        let (delegations, role) = metadata::plans_role(&targets.ok_or_else(absent)?.signed)
            .ok_or(Error::Standing(standing::Error::NoPlansRole))?;
        metadata::check_root(root).map_err(standing::Error::Keys)?;
        metadata::check_plans_role(delegations, role).map_err(standing::Error::Keys)?;
        Ok(Roles { before, root, delegations })
    }

    /// The keys that have signed `document`, and count.
    fn signed_by(&self, document: Document, roles: &Roles<'_>) -> Vec<KeyId> {
        let signatures: Vec<(&Signature, bool)> = match document {
            Document::Root => self
                .root
                .iter()
                .flat_map(|root| {
                    root.signatures.iter().map(|signature| {
                        let counts = metadata::counts(roles.root, &root.signed, signature)
                            || roles
                                .before
                                .is_some_and(|before| metadata::counts(before, &root.signed, signature));
                        (signature, counts)
                    })
                })
                .collect(),
            Document::Targets => self
                .targets
                .iter()
                .flat_map(|targets| {
                    targets.signatures.iter().map(|signature| {
                        (signature, metadata::counts(roles.root, &targets.signed, signature))
                    })
                })
                .collect(),
            Document::Plans => self
                .plans
                .iter()
                .flat_map(|plans| {
                    plans.signatures.iter().map(|signature| {
                        (signature, metadata::counts_for_plans(roles.delegations, &plans.signed, signature))
                    })
                })
                .collect(),
        };
        let mut keys: Vec<KeyId> = signatures
            .into_iter()
            .filter(|(_, counts)| *counts)
            .map(|(signature, _)| our_id(&signature.keyid))
            .collect();
        keys.sort();
        keys.dedup();
        keys
    }
}

impl TryFrom<Unread> for Proposal {
    type Error = &'static str;

    fn try_from(Unread { root, targets, plans }: Unread) -> Result<Self, &'static str> {
        let signatures = [
            root.as_ref().map(|root| root.signatures.len()),
            targets.as_ref().map(|targets| targets.signatures.len()),
            plans.as_ref().map(|plans| plans.signatures.len()),
        ];
        if signatures.iter().all(Option::is_none) {
            return Err("it changes nothing");
        }
        if signatures.iter().flatten().any(|count| *count > SIGNERS_MAX) {
            return Err("it has more signers than there can be keys");
        }
        let proposal = Self { root, targets, plans };
        metadata::spelled(&proposal).map_err(|_| "it has a number that cannot be signed")?;
        Ok(proposal)
    }
}

impl Roles<'_> {
    /// The quorums that must sign `document`: their thresholds and keys.
    fn quorums(&self, document: Document) -> Vec<(u64, Vec<PublicKey>)> {
        let of_root = |root: &Root, kind: RoleType| {
            root.roles
                .get(&kind)
                .map(|role| (role.threshold.get(), metadata::holders(&role.keyids, &root.keys, self.root)))
        };
        match document {
            Document::Root => self
                .before
                .into_iter()
                .chain([self.root])
                .filter_map(|root| of_root(root, RoleType::Root))
                .collect(),
            Document::Targets => of_root(self.root, RoleType::Targets).into_iter().collect(),
            Document::Plans => {
                let role = self.delegations.roles.iter().find(|role| role.name == PLANS);
                role.map(|role| {
                    let keys = metadata::holders(&role.keyids, &self.delegations.keys, self.root);
                    (role.threshold.get(), keys)
                })
                .into_iter()
                .collect()
            }
        }
    }

    fn asks(&self, document: Document, key: &KeyId) -> bool {
        self.quorums(document).iter().any(|(_, keys)| keys.iter().any(|known| known.id() == *key))
    }
}

impl Countersigned {
    /// Whose it is.
    pub fn key(&self) -> KeyId {
        our_id(&self.signature.keyid)
    }
}

impl fmt::Display for Document {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Plans => PLANS,
        })
    }
}
