//! Between TUF's documents, as `tough` has them, and our words: keys, moments, canonical bytes, single signers.
//!
//! Thresholds are counted by `tough` alone (`verify_role`): there is no second loop here that could count differently.
//! Where one signer is asked about, a copy of the role with threshold 1 is verified by the same code.

use crate::keys::{self, KeyId, PublicKey, Signer};
use crate::plan::{PLANS, hex};
use jiff::Timestamp;
use olpc_cjson::CanonicalFormatter;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU64;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use tough::schema::{DelegatedRole, Delegations, Role, RoleKeys, RoleType, Root, Signature, Signed, Targets};

/// TUF's specification that the documents follow.
pub(crate) const SPECIFICATION: &str = "1.0.0";
/// In the root: the server holds the approvers' key.
pub(crate) const ONE_KEY: &str = "x-palisade-one-key";
/// In the root: whose keys they are, by id.
pub(crate) const NAMES: &str = "x-palisade-names";

/// What is wrong with the keys of a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// One key under two ids would count twice.
    #[error("key {0} is named twice for the role {1}: one key must not count as two")]
    Twice(String, String),
    /// Only ed25519 is read.
    #[error("the role {0} names a key that is not there, weak, or not a plain ed25519 key")]
    Kind(String),
    /// More signers wanted than there are.
    #[error("the role {0} wants {1} signers of {2} keys")]
    Threshold(String, u64, usize),
}

/// The key as TUF writes it.
pub(crate) fn tuf_key(key: &PublicKey) -> Key {
    Key::Ed25519 {
        keyval: Ed25519Key { public: key.bytes().to_vec().into(), _extra: HashMap::new() },
        scheme: Ed25519Scheme::Ed25519,
        _extra: HashMap::new(),
    }
}

/// The id that TUF computes.
pub(crate) fn key_id(key: &Key) -> KeyId {
    KeyId(hex(&key.key_id().expect("a key can always be written as JSON")))
}

/// The id as `tough` has it.
pub(crate) fn tuf_id(id: &KeyId) -> Decoded<Hex> {
    id.0.parse().expect("an id is hex")
}

/// Our word for an id of TUF's.
pub(crate) fn our_id(id: &[u8]) -> KeyId {
    KeyId(hex(id))
}

/// The moment as `tough` has it, whole seconds. One that it has not got is long ago: whatever expires has expired.
pub(crate) fn to_tough(at: Timestamp) -> tough_jiff::Timestamp {
    tough_jiff::Timestamp::from_second(at.as_second()).unwrap_or(tough_jiff::Timestamp::MIN)
}

/// The moment as everybody else has it; see [`to_tough`].
pub(crate) fn from_tough(at: tough_jiff::Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(Timestamp::MIN)
}

/// The one spelling of `value`, whatever the order of its maps. There is none for fractions, so a document from elsewhere
/// may have none.
pub(crate) fn spelled(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut bytes, CanonicalFormatter::new());
    value.serialize(&mut writer)?;
    Ok(bytes)
}

/// The one spelling of what we made, or what was verified or read, and so has one.
pub(crate) fn canonical(value: &impl Serialize) -> Vec<u8> {
    spelled(value).expect("a document with fractions is neither verified nor read")
}

/// Signs `document`, taking the place of what the same key has signed before.
pub(crate) fn sign<T: Role>(document: &mut Signed<T>, signer: &Signer) -> Result<(), keys::Error> {
    let signature = signature(&document.signed, signer)?;
    document.signatures.retain(|old| old.keyid != signature.keyid);
    document.signatures.push(signature);
    Ok(())
}

/// `document`, signed by one.
pub(crate) fn signature<T: Serialize>(document: &T, signer: &Signer) -> Result<Signature, keys::Error> {
    let sig = signer.sign(&canonical(document))?.to_vec().into();
    Ok(Signature { keyid: tuf_id(&signer.public().id()), sig })
}

/// Whether what one has signed of `document` counts for its role in `root`.
pub(crate) fn counts<T: Role + Serialize + Clone>(root: &Root, document: &T, signature: &Signature) -> bool {
    let mut one = root.clone();
    if let Some(role) = one.roles.get_mut(&T::TYPE) {
        role.threshold = NonZeroU64::MIN;
    }
    one.verify_role(&Signed { signed: document.clone(), signatures: vec![signature.clone()] }).is_ok()
}

/// Whether what one has signed of `plans` counts for the role that lists plans.
pub(crate) fn counts_for_plans(delegations: &Delegations, plans: &Targets, signature: &Signature) -> bool {
    let mut one = delegations.clone();
    for role in &mut one.roles {
        role.threshold = NonZeroU64::MIN;
    }
    let signed = Signed { signed: plans.clone(), signatures: vec![signature.clone()] };
    one.verify_role(&signed, PLANS).is_ok()
}

/// The role that lists plans, where the top-level targets delegate to it.
pub(crate) fn plans_role(targets: &Targets) -> Option<(&Delegations, &DelegatedRole)> {
    let delegations = targets.delegations.as_ref()?;
    delegations.roles.iter().find(|role| role.name == PLANS).map(|role| (delegations, role))
}

/// Refuses a root in which a key could count twice, or is of a kind that we cannot compare.
pub(crate) fn check_root(root: &Root) -> Result<(), BadKeys> {
    for kind in [RoleType::Root, RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp] {
        let role = root.roles.get(&kind).ok_or_else(|| BadKeys::Kind(kind.to_string()))?;
        check_role(&kind.to_string(), role, &root.keys)?;
    }
    Ok(())
}

/// The same for the role that lists plans.
pub(crate) fn check_plans_role(delegations: &Delegations, role: &DelegatedRole) -> Result<(), BadKeys> {
    check_role(&role.name, &role.keys(), &delegations.keys)
}

fn check_role(name: &str, role: &RoleKeys, keys: &HashMap<Decoded<Hex>, Key>) -> Result<(), BadKeys> {
    let mut seen = HashSet::new();
    for id in &role.keyids {
        let Some(Key::Ed25519 { keyval, .. }) = keys.get(id) else {
            return Err(BadKeys::Kind(name.to_owned()));
        };
        let bytes = <[u8; 32]>::try_from(&*keyval.public).ok();
        // Anybody can sign for a weak key.
        if bytes.and_then(|bytes| PublicKey::new(bytes, "")).is_none() {
            return Err(BadKeys::Kind(name.to_owned()));
        }
        // By their bytes: a field more in the key's description makes another id of the same key.
        if !seen.insert(keyval.public.to_vec()) {
            return Err(BadKeys::Twice(our_id(id).short().to_owned(), name.to_owned()));
        }
    }
    if u64::try_from(seen.len()).unwrap_or(u64::MAX) < role.threshold.get() {
        return Err(BadKeys::Threshold(name.to_owned(), role.threshold.get(), seen.len()));
    }
    Ok(())
}

/// The keys that `ids` name among `keys`, with the names that the root gives their holders.
pub(crate) fn holders(
    ids: &[Decoded<Hex>],
    keys: &HashMap<Decoded<Hex>, Key>,
    root: &Root,
) -> Vec<PublicKey> {
    let names: BTreeMap<String, String> = root
        ._extra
        .get(NAMES)
        .and_then(|names| serde_json::from_value(names.clone()).ok())
        .unwrap_or_default();
    ids.iter()
        .filter_map(|id| {
            let Key::Ed25519 { keyval, .. } = keys.get(id)? else { return None };
            let bytes = <[u8; 32]>::try_from(&*keyval.public).ok()?;
            let name = names.get(&hex(id)).map_or("", String::as_str);
            PublicKey::new(bytes, name).or_else(|| PublicKey::new(bytes, ""))
        })
        .collect()
}

/// What a library says about hostile input, fit for a terminal: no control characters, not without end.
pub(crate) fn printable(said: &impl std::fmt::Display) -> String {
    let said = said.to_string();
    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
