//! What stands: the root, the targets and the list of plans that are in force, and what may be proposed on them.

use crate::keys::{KeyId, PublicKey};
use crate::metadata::{self, BadKeys, NAMES, ONE_KEY, SPECIFICATION, from_tough, to_tough};
use crate::plan::{PLANS, PlanName, PlanTarget};
use crate::proposal::Proposal;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;
use tough::TargetName;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::schema::{
    DelegatedRole, Delegations, Hashes, PathPattern, PathSet, RoleKeys, RoleType, Root, Signed, Target,
    Targets,
};

/// The root and the targets are signed anew at least once a year: whoever holds them must still be there.
pub const ROOT_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// The list of plans is signed anew at least every 30 days. So long a captured server can hide that a key was revoked.
pub const PLANS_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Keys of one role. What each has signed is verified one by one.
const KEYS_MAX: usize = 64;
/// Plans in force at once: each takes some 200 bytes of a list that every host reads.
pub const PLANS_MAX: usize = 10_000;

/// Keys, `threshold` of which must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    keys: Vec<PublicKey>,
    threshold: u32,
}

/// How a repository begins.
#[derive(Clone, Debug)]
pub struct Founding {
    /// Who sign a new root, and say who approves.
    pub owners: Quorum,
    /// Who sign plans.
    pub approvers: Quorum,
    /// The server's own key: says what is newest, nothing else.
    pub online: PublicKey,
    /// The server holds the approvers' key as well. Every host and every page can tell.
    pub one_key: bool,
}

/// Who must be captured before a host installs what nobody approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// People: so many of their keys.
    People {
        /// Signers that a plan needs.
        threshold: u64,
        /// Keys there are.
        keys: usize,
    },
    /// The server alone.
    Server,
}

/// Something to change.
#[derive(Clone, Debug)]
pub enum Change {
    /// A plan more, or another content of one that is there.
    Plan(PlanTarget),
    /// A plan less.
    Withdraw(PlanName),
    /// Other approvers.
    Approvers(Quorum),
    /// Other owners.
    Owners(Quorum),
    /// Another key of the server.
    Online(PublicKey),
    /// Everything is signed anew, as it is.
    Renew,
}

/// What is in force. Every value has been verified: the targets by the root, the plans by the targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Documents", into = "Documents")]
pub struct Standing {
    pub(crate) root: Signed<Root>,
    pub(crate) targets: Signed<Targets>,
    pub(crate) plans: Signed<Targets>,
}

/// The three documents, as they are kept.
#[derive(Clone, Serialize, Deserialize)]
struct Documents {
    root: Signed<Root>,
    targets: Signed<Targets>,
    plans: Signed<Targets>,
}

/// Why a change cannot be proposed, or documents do not stand together.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The number of keys.
    #[error("want {threshold} signers of {keys} keys: it takes 1 to {keys}, and at most {KEYS_MAX} keys")]
    Quorum {
        /// The signers wanted.
        threshold: u32,
        /// The keys there are.
        keys: usize,
    },
    /// A key of a person that is also the server's, outside one-key mode.
    #[error("key {0} is the server's: it cannot also approve; use another, or ask for one-key mode")]
    ServersKey(KeyId),
    /// One-key mode with many keys.
    #[error("one-key mode has one owner's and one approver's key, signing alone")]
    NotOneKey,
    /// A key that nobody knows.
    #[error("find key {0}: it is in no role; \"palisade key list\" shows those that are")]
    NoSuchKey(KeyId),
    /// A plan that is not there.
    #[error("withdraw {0}: no such plan is in force")]
    NoSuchPlan(PlanName),
    /// Too many.
    #[error("propose a list of more than {PLANS_MAX} plans: withdraw the finished ones first")]
    TooManyPlans,
    /// Keys that could count twice.
    #[error("read the keys: {0}")]
    Keys(#[from] BadKeys),
    /// Not signed as it must be.
    #[error("verify {0}: {1}")]
    Unsigned(&'static str, Box<tough::schema::Error>),
    /// No list of plans.
    #[error("read the targets: they delegate plans to nobody")]
    NoPlansRole,
    /// A version that no number is left for.
    #[error("propose the next version of {0}: there is no number left")]
    LastVersion(&'static str),
}

impl Quorum {
    /// `threshold` of `keys`. Of a key that is given twice, one counts.
    pub fn new(keys: impl IntoIterator<Item = PublicKey>, threshold: u32) -> Result<Self, Error> {
        let mut distinct: Vec<PublicKey> = Vec::new();
        for key in keys {
            if !distinct.contains(&key) {
                distinct.push(key);
            }
        }
        let possible = u32::try_from(distinct.len()).is_ok_and(|count| (1..=count).contains(&threshold));
        if !possible || distinct.len() > KEYS_MAX {
            return Err(Error::Quorum { threshold, keys: distinct.len() });
        }
        Ok(Self { keys: distinct, threshold })
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// How many must sign.
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    fn with(&self, change: impl FnOnce(&mut Vec<PublicKey>)) -> Result<Self, Error> {
        let mut keys = self.keys.clone();
        change(&mut keys);
        Self::new(keys, self.threshold)
    }

    fn has(&self, id: &KeyId) -> bool {
        self.keys.iter().any(|key| key.id() == *id)
    }

    fn role_keys(&self) -> RoleKeys {
        RoleKeys {
            keyids: self.keys.iter().map(|key| metadata::tuf_id(&key.id())).collect(),
            threshold: NonZeroU64::new(u64::from(self.threshold)).unwrap_or(NonZeroU64::MIN),
            _extra: HashMap::new(),
        }
    }

    fn tuf_keys(&self) -> impl Iterator<Item = (Decoded<Hex>, Key)> {
        self.keys.iter().map(|key| (metadata::tuf_id(&key.id()), metadata::tuf_key(key)))
    }
}

impl Founding {
    /// The first root, targets and (empty) list of plans, for owners and approvers to sign. A host is given the root
    /// when it enrols; a person compares [`Proposal::digest`].
    pub fn propose(&self, now: Timestamp) -> Result<Proposal, Error> {
        self.check()?;
        Ok(Proposal {
            root: Some(unsigned(self.root(NonZeroU64::MIN, now))),
            targets: Some(unsigned(self.targets(NonZeroU64::MIN, now))),
            plans: Some(unsigned(plans(NonZeroU64::MIN, now, HashMap::new()))),
        })
    }

    fn check(&self) -> Result<(), Error> {
        let alone = |quorum: &Quorum| quorum.keys.len() == 1;
        if self.one_key && !(alone(&self.owners) && alone(&self.approvers)) {
            return Err(Error::NotOneKey);
        }
        let online = self.online.id();
        if self.owners.has(&online) || self.approvers.has(&online) {
            return Err(Error::ServersKey(online));
        }
        Ok(())
    }

    fn root(&self, version: NonZeroU64, now: Timestamp) -> Root {
        let online = Quorum { keys: vec![self.online.clone()], threshold: 1 };
        let names: BTreeMap<String, &str> = [&self.owners, &self.approvers, &online]
            .into_iter()
            .flat_map(|quorum| &quorum.keys)
            .filter(|key| !key.name().is_empty())
            .map(|key| (key.id().to_string(), key.name()))
            .collect();
        let mut extra = HashMap::from([(NAMES.to_owned(), serde_json::json!(names))]);
        if self.one_key {
            extra.insert(ONE_KEY.to_owned(), serde_json::Value::Bool(true));
        }
        Root {
            spec_version: SPECIFICATION.to_owned(),
            consistent_snapshot: true,
            version,
            expires: to_tough(now.saturating_add(ROOT_LIFE).unwrap_or(Timestamp::MAX)),
            keys: self.owners.tuf_keys().chain(online.tuf_keys()).collect(),
            roles: HashMap::from([
                (RoleType::Root, self.owners.role_keys()),
                (RoleType::Targets, self.owners.role_keys()),
                (RoleType::Snapshot, online.role_keys()),
                (RoleType::Timestamp, online.role_keys()),
            ]),
            _extra: extra,
        }
    }

    fn targets(&self, version: NonZeroU64, now: Timestamp) -> Targets {
        let role = DelegatedRole {
            name: PLANS.to_owned(),
            keyids: self.approvers.role_keys().keyids,
            threshold: self.approvers.role_keys().threshold,
            paths: PathSet::Paths(vec![PathPattern::new("plans/*").expect("this is a pattern")]),
            terminating: true,
            targets: None,
        };
        Targets {
            delegations: Some(Delegations { keys: self.approvers.tuf_keys().collect(), roles: vec![role] }),
            ..empty(version, now, ROOT_LIFE)
        }
    }
}

impl Standing {
    /// What stands when `root`, `targets` and `plans` do: each verified by the one before.
    pub(crate) fn new(
        root: Signed<Root>,
        targets: Signed<Targets>,
        plans: Signed<Targets>,
    ) -> Result<Self, Error> {
        let unsigned = |what| move |problem| Error::Unsigned(what, Box::new(problem));
        metadata::check_root(&root.signed)?;
        root.signed.verify_role(&root).map_err(unsigned("root"))?;
        root.signed.verify_role(&targets).map_err(unsigned("targets"))?;
        let (delegations, role) = metadata::plans_role(&targets.signed).ok_or(Error::NoPlansRole)?;
        metadata::check_plans_role(delegations, role)?;
        delegations.verify_role(&plans, PLANS).map_err(unsigned(PLANS))?;
        Ok(Self { root, targets, plans })
    }

    /// The root, as a host is given it when it enrols.
    pub fn root_bytes(&self) -> Vec<u8> {
        metadata::canonical(&self.root)
    }

    /// Who sign a new root.
    pub fn owners(&self) -> Quorum {
        let root = &self.root.signed;
        root.roles.get(&RoleType::Root).map_or(Quorum { keys: Vec::new(), threshold: u32::MAX }, |role| {
            quorum(&role.keyids, role.threshold, &root.keys, root)
        })
    }

    /// Who sign plans.
    pub fn approvers(&self) -> Quorum {
        let (delegations, role) = self.plans_role();
        quorum(&role.keyids, role.threshold, &delegations.keys, &self.root.signed)
    }

    /// The server's keys.
    pub fn online(&self) -> Vec<PublicKey> {
        let root = &self.root.signed;
        let ids = root.roles.get(&RoleType::Timestamp).map_or(&[][..], |role| &role.keyids);
        metadata::holders(ids, &root.keys, root)
    }

    /// Who must be captured before a host installs what nobody approved. To be said aloud wherever it is the server.
    pub fn custody(&self) -> Custody {
        let approvers = self.approvers();
        let online = self.online();
        let servers = approvers.keys.iter().filter(|key| online.contains(key)).count();
        // Said in the root, or to be seen: the flag alone could have been forgotten.
        let said = self.root.signed._extra.get(ONE_KEY).is_some_and(|flag| *flag != false);
        if said || u32::try_from(servers).is_ok_and(|servers| servers >= approvers.threshold) {
            return Custody::Server;
        }
        Custody::People { threshold: u64::from(approvers.threshold), keys: approvers.keys.len() }
    }

    /// The plans in force, by name.
    pub fn plans(&self) -> Vec<PlanTarget> {
        listed(&self.plans.signed)
    }

    /// Versions of the root, the targets and the list of plans.
    pub fn versions(&self) -> [u64; 3] {
        [&self.root.signed.version, &self.targets.signed.version, &self.plans.signed.version]
            .map(|version| version.get())
    }

    /// When the root, the targets and the list of plans expire; people must have signed anew before.
    pub fn expiries(&self) -> [(&'static str, Timestamp); 3] {
        [
            ("root", from_tough(self.root.signed.expires)),
            ("targets", from_tough(self.targets.signed.expires)),
            (PLANS, from_tough(self.plans.signed.expires)),
        ]
    }

    /// Proposes the documents that `changes` make of this standing. Nothing is in force before enough have signed.
    pub fn propose(&self, changes: &[Change], now: Timestamp) -> Result<Proposal, Error> {
        let mut wanted = Founding {
            owners: self.owners(),
            approvers: self.approvers(),
            online: self.online().into_iter().next().ok_or(Error::NoPlansRole)?,
            one_key: self.custody() == Custody::Server,
        };
        let mut list = self.plans.signed.targets.clone();
        // People's keys, the server's key, the targets.
        let (mut who, mut root, mut renewed) = (false, false, false);
        for change in changes {
            match change {
                Change::Plan(plan) => {
                    list.insert(tuf_name(plan.name), tuf_target(plan));
                }
                Change::Withdraw(name) => {
                    list.remove(&tuf_name(*name)).ok_or(Error::NoSuchPlan(*name))?;
                }
                Change::Approvers(quorum) => (wanted.approvers, who) = (quorum.clone(), true),
                Change::Owners(quorum) => (wanted.owners, who) = (quorum.clone(), true),
                Change::Online(key) => (wanted.online, root) = (key.clone(), true),
                Change::Renew => renewed = true,
            }
        }
        if list.len() > PLANS_MAX {
            return Err(Error::TooManyPlans);
        }
        if who {
            // Other people: it is over with one key, unless there is again only one.
            wanted.one_key &= wanted.owners.keys.len() == 1
                && wanted.approvers == self.approvers()
                && wanted.owners == self.owners();
        }
        wanted.check()?;
        let signed_anew = who || renewed;
        Ok(Proposal {
            root: (signed_anew || root)
                .then(|| next(self.root.signed.version, "root").map(|v| unsigned(wanted.root(v, now))))
                .transpose()?,
            targets: signed_anew
                .then(|| {
                    next(self.targets.signed.version, "targets").map(|v| unsigned(wanted.targets(v, now)))
                })
                .transpose()?,
            plans: (signed_anew || list != self.plans.signed.targets)
                .then(|| next(self.plans.signed.version, PLANS).map(|v| unsigned(plans(v, now, list))))
                .transpose()?,
        })
    }

    /// Proposes `new` in the place of `old`, wherever that is. The old key signs for it once more, where it can.
    pub fn rotate(&self, old: &KeyId, new: &PublicKey, now: Timestamp) -> Result<Proposal, Error> {
        self.replace(old, Some(new), now)
    }

    /// Proposes to take a key out, wherever it is. What it has signed is signed anew by the others.
    pub fn revoke(&self, old: &KeyId, now: Timestamp) -> Result<Proposal, Error> {
        self.replace(old, None, now)
    }

    fn replace(&self, old: &KeyId, new: Option<&PublicKey>, now: Timestamp) -> Result<Proposal, Error> {
        let swap = |keys: &mut Vec<PublicKey>| {
            keys.retain(|key| key.id() != *old);
            keys.extend(new.cloned());
        };
        let mut changes = Vec::new();
        if self.owners().has(old) {
            changes.push(Change::Owners(self.owners().with(swap)?));
        }
        if self.approvers().has(old) {
            changes.push(Change::Approvers(self.approvers().with(swap)?));
        }
        if let (Some(new), true) = (new, self.online().iter().any(|key| key.id() == *old)) {
            changes.push(Change::Online(new.clone()));
        }
        if changes.is_empty() {
            return Err(Error::NoSuchKey(old.clone()));
        }
        self.propose(&changes, now)
    }

    pub(crate) fn plans_role(&self) -> (&Delegations, &DelegatedRole) {
        metadata::plans_role(&self.targets.signed).expect("no Standing is made without")
    }
}

impl TryFrom<Documents> for Standing {
    type Error = Error;

    fn try_from(Documents { root, targets, plans }: Documents) -> Result<Self, Error> {
        Self::new(root, targets, plans)
    }
}

impl From<Standing> for Documents {
    fn from(Standing { root, targets, plans }: Standing) -> Self {
        Self { root, targets, plans }
    }
}

/// The plans that a list names, by name. Other names are no plans, and nobody gets to see them.
pub(crate) fn listed(plans: &Targets) -> Vec<PlanTarget> {
    let mut found: Vec<PlanTarget> = plans
        .targets
        .iter()
        .filter_map(|(name, target)| {
            let sha256 = <[u8; 32]>::try_from(&*target.hashes.sha256).ok()?;
            Some(PlanTarget { name: name.raw().parse().ok()?, length: target.length, sha256 })
        })
        .collect();
    found.sort_by_key(|plan| plan.name);
    found
}

pub(crate) fn tuf_name(name: PlanName) -> TargetName {
    TargetName::new(name.to_string()).expect("a plan's name has nothing to resolve")
}

pub(crate) fn tuf_target(plan: &PlanTarget) -> Target {
    Target {
        length: plan.length,
        hashes: Hashes { sha256: plan.sha256.to_vec().into(), _extra: HashMap::new() },
        custom: HashMap::new(),
        _extra: HashMap::new(),
    }
}

fn quorum(
    ids: &[Decoded<Hex>],
    threshold: NonZeroU64,
    keys: &HashMap<Decoded<Hex>, Key>,
    root: &Root,
) -> Quorum {
    let threshold = u32::try_from(threshold.get()).unwrap_or(u32::MAX);
    Quorum { keys: metadata::holders(ids, keys, root), threshold }
}

fn unsigned<T>(signed: T) -> Signed<T> {
    Signed { signed, signatures: Vec::new() }
}

fn next(version: NonZeroU64, what: &'static str) -> Result<NonZeroU64, Error> {
    version.checked_add(1).ok_or(Error::LastVersion(what))
}

fn plans(version: NonZeroU64, now: Timestamp, targets: HashMap<TargetName, Target>) -> Targets {
    Targets { targets, ..empty(version, now, PLANS_LIFE) }
}

fn empty(version: NonZeroU64, now: Timestamp, life: SignedDuration) -> Targets {
    Targets {
        spec_version: SPECIFICATION.to_owned(),
        version,
        expires: to_tough(now.saturating_add(life).unwrap_or(Timestamp::MAX)),
        targets: HashMap::new(),
        delegations: None,
        _extra: HashMap::new(),
    }
}
